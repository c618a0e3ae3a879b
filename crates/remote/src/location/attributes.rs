//! The attributes of one location, taken one after the other; what is left over belongs to no location of this type.

use super::{CacheLocation, ExportOptions, LocationError, Mode, Mounts, S3Credentials, S3Location};
use kiln_digest::Digest;
use kiln_layer::{BlobCompression, BlobFormat};
use kiln_registry::{DEFAULT_TAG, Reference};

/// What every export has.
const EXPORT: &[&str] = &[
    "mode",
    "mounts",
    "compression",
    "compression-level",
    "force-compression",
    "image-manifest",
    "oci-mediatypes",
    "ignore-error",
];

const REGISTRY: &[&str] = &["ref", "registry.insecure"];
const S3: &[&str] = &[
    "bucket",
    "region",
    "endpoint_url",
    "prefix",
    "blobs_prefix",
    "manifests_prefix",
    "name",
    "use_path_style",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "upload_parallelism",
];

/// The name of a cache in a bucket. Not BuildKit's own `buildkit`: an export there would put an end to its cache.
const S3_NAME: &str = "kiln";
/// As many parts of a blob are sent at once.
const S3_PARALLELISM: usize = 4;

/// The attributes that are left to be read.
pub(super) struct Attributes {
    left: Vec<(String, String)>,
    export: bool,
}

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Attributes {
    /// The pairs of each location: one, or as many as there are references.
    pub(super) fn read(fields: &[String]) -> Result<Vec<Self>, LocationError> {
        let of = |left| Self { left, export: false };
        if fields.iter().all(|field| !field.contains('=')) {
            let registry = |field: &String| {
                of(vec![("type".to_owned(), "registry".to_owned()), ("ref".to_owned(), field.clone())])
            };
            return match fields.iter().find(|field| field.is_empty()) {
                Some(_) => Err(LocationError::Empty),
                None => Ok(fields.iter().map(registry).collect()),
            };
        }
        let mut left = Vec::new();
        for field in fields {
            let (key, value) = field.split_once('=').ok_or_else(|| LocationError::NotAPair(field.clone()))?;
            let key = key.trim().to_ascii_lowercase();
            if key != "mounts" && left.iter().any(|(other, _)| *other == key) {
                return Err(LocationError::Twice(key));
            }
            left.push((key, value.to_owned()));
        }
        Ok(vec![of(left)])
    }

    /// Where the cache is.
    pub(super) fn location(&mut self, export: bool, env: Env<'_>) -> Result<CacheLocation, LocationError> {
        self.export = export;
        let kind = self.take("type").ok_or(LocationError::NoType)?;
        match kind.as_str() {
            "registry" => self.registry(),
            "local" => self.local(),
            "s3" => self.s3(env).map(|location| CacheLocation::S3(Box::new(location))),
            "inline" if export => Ok(CacheLocation::Inline),
            "inline" => {
                let hint = "a cache in an image is read with `type=registry,ref=IMAGE`";
                Err(LocationError::Unsupported { what: "type=inline".to_owned(), hint: Some(hint) })
            }
            "gha" | "azblob" => {
                let hint = "the types are `registry`, `local`, `s3` and `inline`";
                Err(LocationError::Unsupported { what: format!("type={kind}"), hint: Some(hint) })
            }
            _ => Err(LocationError::UnknownType(kind)),
        }
    }

    fn registry(&mut self) -> Result<CacheLocation, LocationError> {
        let text = self.needed("registry", "ref")?;
        let reference = Reference::parse(&text)?;
        if self.export && reference.digest().is_some() {
            return Err(LocationError::Digest(text));
        }
        Ok(CacheLocation::Registry { reference, insecure: self.boolean("registry.insecure")?.unwrap_or(false) })
    }

    fn local(&mut self) -> Result<CacheLocation, LocationError> {
        let directory = self.needed("local", if self.export { "dest" } else { "src" })?.into();
        let tag = self.take("tag").filter(|tag| !tag.is_empty()).unwrap_or_else(|| DEFAULT_TAG.to_owned());
        let digest = if self.export { None } else { self.take("digest") };
        Ok(CacheLocation::Local { directory, tag, digest: digest.map(|text| text.parse::<Digest>()).transpose()? })
    }

    fn s3(&mut self, env: Env<'_>) -> Result<S3Location, LocationError> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let missing = |name, variable| LocationError::Missing { kind: "s3", name, variable: Some(variable) };
        let mut given = |name: &'static str| self.take(name).filter(|value| !value.is_empty());
        let bucket = given("bucket").or_else(|| set("AWS_BUCKET")).ok_or_else(|| missing("bucket", "AWS_BUCKET"))?;
        let region = given("region").or_else(|| set("AWS_REGION")).ok_or_else(|| missing("region", "AWS_REGION"))?;
        let endpoint_url =
            given("endpoint_url").or_else(|| set("AWS_ENDPOINT_URL_S3")).or_else(|| set("AWS_ENDPOINT_URL"));
        let is_plain = |url: &String| {
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['@', '?', '#']))
        };
        if endpoint_url.as_ref().is_some_and(|url| !is_plain(url)) {
            // The value may hold a password.
            return Err(bad("endpoint_url", "…", "`https://HOST[:PORT]`, or `http://…`, without a login"));
        }
        let names: Vec<_> = given("name")
            .unwrap_or_else(|| S3_NAME.to_owned())
            .split(';')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        let prefix = given("prefix").unwrap_or_default();
        let blobs_prefix = given("blobs_prefix").unwrap_or_else(|| "blobs/".to_owned());
        let manifests_prefix = given("manifests_prefix").unwrap_or_else(|| "manifests/".to_owned());
        let key = (given("access_key_id"), given("secret_access_key"), given("session_token"));
        let credentials = match key {
            (None, None, None) => match (set("AWS_ACCESS_KEY_ID"), set("AWS_SECRET_ACCESS_KEY")) {
                (Some(access_key_id), Some(secret_access_key)) => {
                    Some(S3Credentials { access_key_id, secret_access_key, session_token: set("AWS_SESSION_TOKEN") })
                }
                _ => None,
            },
            (Some(access_key_id), Some(secret_access_key), session_token) => {
                Some(S3Credentials { access_key_id, secret_access_key, session_token })
            }
            (None, ..) => return Err(LocationError::Missing { kind: "s3", name: "access_key_id", variable: None }),
            _ => return Err(LocationError::Missing { kind: "s3", name: "secret_access_key", variable: None }),
        };
        let upload_parallelism = match given("upload_parallelism") {
            None => S3_PARALLELISM,
            Some(text) => {
                text.parse().ok().filter(|number| (1..=64).contains(number)).ok_or(LocationError::BadValue {
                    name: "upload_parallelism",
                    value: text,
                    expected: "a number from 1 to 64",
                })?
            }
        };
        if names.is_empty() {
            return Err(LocationError::Missing { kind: "s3", name: "name", variable: None });
        }
        let use_path_style = self.boolean("use_path_style")?.unwrap_or(false);
        Ok(S3Location {
            bucket,
            region,
            endpoint_url,
            prefix,
            blobs_prefix,
            manifests_prefix,
            names,
            use_path_style,
            credentials,
            upload_parallelism,
        })
    }

    /// What every export has.
    pub(super) fn export_options(&mut self) -> Result<ExportOptions, LocationError> {
        let mode = match self.take("mode").as_deref() {
            None | Some("min") => Mode::Min,
            Some("max") => Mode::Max,
            Some(other) => return Err(bad("mode", other, "`min` or `max`")),
        };
        for (name, what) in [("image-manifest", "image-manifest=false"), ("oci-mediatypes", "oci-mediatypes=false")] {
            if self.boolean(name)? == Some(false) {
                let hint = Some("a cache is always an OCI image manifest");
                return Err(LocationError::Unsupported { what: what.to_owned(), hint });
            }
        }
        Ok(ExportOptions {
            mode,
            mounts: self.mounts()?,
            compression: self.compression()?,
            force_compression: self.boolean("force-compression")?.unwrap_or(false),
            ignore_error: self.boolean("ignore-error")?.unwrap_or(false),
        })
    }

    /// `mounts=all|used|none`, or `mounts=id=…` as often as there are ids.
    fn mounts(&mut self) -> Result<Mounts, LocationError> {
        let mut ids = Vec::new();
        let mut word = None;
        while let Some(text) = self.take("mounts") {
            let mounts = match text.as_str() {
                "all" => Mounts::All,
                "used" => Mounts::Used,
                "none" => Mounts::None,
                other => match other.strip_prefix("id=").filter(|id| !id.is_empty()) {
                    Some(id) => {
                        ids.push(id.to_owned());
                        continue;
                    }
                    None => return Err(bad("mounts", other, "`all`, `used`, `none` or `id=ID`")),
                },
            };
            if word.replace(mounts).is_some() {
                return Err(LocationError::Twice("mounts".to_owned()));
            }
        }
        match (word, ids.is_empty()) {
            (Some(_), false) => Err(LocationError::Twice("mounts".to_owned())),
            (Some(mounts), true) => Ok(mounts),
            (None, true) => Ok(Mounts::default()),
            (None, false) => Ok(Mounts::Ids(ids)),
        }
    }

    fn compression(&mut self) -> Result<Option<BlobCompression>, LocationError> {
        let format = match self.take("compression").as_deref() {
            None => None,
            Some("gzip") => Some(BlobFormat::Gzip),
            Some("zstd") => Some(BlobFormat::Zstd),
            Some("uncompressed") => Some(BlobFormat::Tar),
            Some("estargz") => {
                return Err(LocationError::Unsupported {
                    what: "compression=estargz".to_owned(),
                    hint: Some("a cache's layers are `gzip`, `zstd` or `uncompressed`; an image's can be `estargz`"),
                });
            }
            Some(other) => return Err(bad("compression", other, "`gzip`, `zstd` or `uncompressed`")),
        };
        let Some(text) = self.take("compression-level") else { return Ok(format.map(BlobCompression::from)) };
        let format = format.unwrap_or_default();
        let (highest, expected) = match format {
            BlobFormat::Gzip | BlobFormat::Estargz => (9, "a number from 0 to 9"),
            BlobFormat::Zstd => (22, "a number from 0 to 22"),
            BlobFormat::Tar => return Err(bad("compression-level", &text, "none with `compression=uncompressed`")),
        };
        let level = text.parse().ok().filter(|level| *level <= highest);
        let level = level.ok_or_else(|| bad("compression-level", &text, expected))?;
        Ok(Some(BlobCompression { format, level: Some(level) }))
    }

    /// Refuses what is left.
    pub(super) fn finish(self, location: &CacheLocation) -> Result<(), LocationError> {
        let Some((name, _)) = self.left.into_iter().next() else { return Ok(()) };
        let own: &[&str] = match location {
            CacheLocation::Registry { .. } => REGISTRY,
            CacheLocation::Local { .. } if self.export => &["dest", "tag"],
            CacheLocation::Local { .. } => &["src", "tag", "digest"],
            CacheLocation::S3(_) => S3,
            CacheLocation::Inline => &[],
        };
        let known = own.iter().chain(if self.export { EXPORT } else { &[] });
        let known: Vec<_> = known.map(|name| format!("`{name}`")).collect();
        let kind = location.kind();
        Err(LocationError::UnknownAttribute { kind, name, known: known.join(", ") })
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let position = self.left.iter().position(|(key, _)| key == name)?;
        Some(self.left.remove(position).1)
    }

    fn needed(&mut self, kind: &'static str, name: &'static str) -> Result<String, LocationError> {
        let value = self.take(name).filter(|value| !value.is_empty());
        value.ok_or(LocationError::Missing { kind, name, variable: None })
    }

    /// What Go's `strconv.ParseBool` takes; without a value it is true.
    fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, LocationError> {
        match self.take(name).as_deref() {
            None => Ok(None),
            Some("" | "1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
            Some(other) => Err(bad(name, other, "`true` or `false`")),
        }
    }
}

fn bad(name: &'static str, value: &str, expected: &'static str) -> LocationError {
    LocationError::BadValue { name, value: value.to_owned(), expected }
}
