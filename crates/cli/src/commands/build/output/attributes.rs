//! The attributes of one `--output`, under BuildKit's names and with its defaults.

use super::Requested;
use super::annotation;
use crate::error::UsageError;
use crate::values;
use kiln_engine::{AnnotationPlace, Destination, ImageOptions, ImageOutput, LayerCompression, Output, Push};
use std::path::PathBuf;

const TYPES: &str = "the types are `image`, `registry`, `oci`, `docker`, `local`, `tar` and `cacheonly`";

/// What outputs that are images have in common.
const IMAGE: &[&str] = &[
    "name",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "rewrite-timestamp",
    "annotation.KEY",
];

/// The attributes of each type, besides those of every image.
const ATTRIBUTES: &[(&str, bool, &[&str])] = &[
    ("image", true, &["push", "push-by-digest", "name-canonical", "store", "unpack", "registry.insecure"]),
    ("registry", true, &["push", "push-by-digest", "name-canonical", "store", "unpack", "registry.insecure"]),
    ("oci", true, &["dest", "tar"]),
    ("docker", true, &["dest", "tar"]),
    ("local", false, &["dest", "platform-split"]),
    ("tar", false, &["dest", "platform-split"]),
    ("cacheonly", false, &[]),
];

/// Attributes of BuildKit's outputs that kiln does not have, with what to do instead.
const MISSING: &[(&str, &str)] = &[
    ("attestation-inline", ""),
    ("attestation-prefix", ""),
    ("buildinfo", "it is no longer made by BuildKit either"),
    ("context", "`DOCKER_CONTEXT` chooses the daemon"),
    ("dangling-name-prefix", "`name` names the image"),
    ("epoch", "`--build-arg SOURCE_DATE_EPOCH=SECONDS`"),
    ("mode", ""),
    ("oci-artifact", ""),
    ("prefer-nondist-layers", ""),
];

/// The attributes as they were given.
#[derive(Default)]
pub(super) struct Attributes {
    kind: Option<String>,
    given: Vec<String>,
    dest: Option<String>,
    tar: Option<bool>,
    push: Option<bool>,
    push_by_digest: bool,
    name_canonical: bool,
    store: Option<bool>,
    insecure: bool,
    platform_split: Option<bool>,
    image: ImageOptions,
}

impl Attributes {
    /// Takes one `KEY=VALUE`.
    pub(super) fn add(&mut self, key: &str, value: &str) -> Result<(), UsageError> {
        if key == "type" {
            self.kind = Some(value.to_owned());
            return Ok(());
        }
        self.given.push(key.to_owned());
        match key {
            "dest" => self.dest = Some(value.to_owned()).filter(|dest| !dest.is_empty()),
            "tar" => self.tar = Some(boolean(value)?),
            "name" => {
                for name in value.split(',').filter(|name| !name.is_empty()) {
                    self.image.names.push(values::tag(name)?);
                }
            }
            "push" => self.push = Some(boolean(value)?),
            "push-by-digest" => self.push_by_digest = boolean(value)?,
            "name-canonical" => self.name_canonical = boolean(value)?,
            "registry.insecure" => self.insecure = boolean(value)?,
            "store" => self.store = Some(boolean(value)?),
            "platform-split" => self.platform_split = Some(boolean(value)?),
            // What is in kiln's store is always unpacked.
            "unpack" => drop(boolean(value)?),
            "compression" => self.image.compression = Some(compression(value)?),
            "compression-level" => {
                let level =
                    value.parse().map_err(|_| UsageError::new(format!("`{value}` is not a compression level")))?;
                self.image.compression_level = Some(level);
            }
            "force-compression" => self.image.force_compression = boolean(value)?,
            "rewrite-timestamp" => self.image.rewrite_timestamp = boolean(value)?,
            "oci-mediatypes" => self.image.docker_media_types = !boolean(value)?,
            other => match other.strip_prefix("annotation") {
                Some(rest) if rest.starts_with(['.', '-', '[']) => {
                    self.given.pop();
                    self.given.push("annotation.KEY".to_owned());
                    self.image.annotations.push(annotation::attribute(rest, value)?);
                }
                // Whether it is known depends on the type, which may follow.
                _ => {}
            },
        }
        Ok(())
    }

    /// The output that they describe; `text` is how it was given.
    pub(super) fn output(mut self, text: &str) -> Result<Requested, UsageError> {
        let kind = self.kind.take().ok_or_else(|| UsageError::new(format!("no `type` in `{text}`")).hint(TYPES))?;
        let Some((_, is_image, own)) = ATTRIBUTES.iter().find(|(name, ..)| *name == kind) else {
            return Err(match kind.as_str() {
                "oci-layout" => UsageError::unsupported(format!("`type={kind}` is not supported")).hint(TYPES),
                other => UsageError::new(format!("unknown type `{other}`")).hint(TYPES),
            });
        };
        let known: Vec<&str> = own.iter().chain(if *is_image { IMAGE } else { &[] }).copied().collect();
        self.check_names(&kind, &known)?;
        self.check_image(&kind)?;
        let image = std::mem::take(&mut self.image);
        let output = match kind.as_str() {
            "image" => self.image_output(false, image)?,
            "registry" => self.image_output(true, image)?,
            "oci" => Output::Oci { dest: self.archive()?, image },
            "docker" if self.dest.is_none() && self.tar.is_none() => return Ok(Requested::Load(image)),
            "docker" => Output::Docker { dest: self.archive()?, image },
            "local" => match self.dest.take().as_deref() {
                None => {
                    return Err(
                        UsageError::new("`type=local` needs `dest`").hint("for example `--output type=local,dest=out`")
                    );
                }
                Some("-") => {
                    return Err(
                        UsageError::new("a directory cannot go to standard output").hint("`type=tar,dest=-` can")
                    );
                }
                Some(dest) => Output::Local { dest: dest.into(), platform_split: self.platform_split },
            },
            "cacheonly" => Output::CacheOnly,
            _ => Output::Tar { dest: file(self.dest.take()), platform_split: self.platform_split },
        };
        Ok(Requested::Whole(output))
    }

    /// Refuses attributes that this type does not have.
    fn check_names(&self, kind: &str, known: &[&str]) -> Result<(), UsageError> {
        let Some(given) = self.given.iter().find(|given| !known.contains(&given.as_str())) else { return Ok(()) };
        if let Some((_, hint)) = MISSING.iter().find(|(name, _)| name == given) {
            let usage = UsageError::unsupported(format!("`{given}` is not supported"));
            return Err(if hint.is_empty() { usage } else { usage.hint(*hint) });
        }
        let mut all = ATTRIBUTES.iter().flat_map(|(_, _, own)| *own).chain(IMAGE);
        let error = match all.any(|name| name == given) {
            true => UsageError::new(format!("`{given}` says nothing about `type={kind}`")),
            false => UsageError::new(format!("unknown attribute `{given}`")),
        };
        let names: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
        let names = if names.is_empty() { "no attributes".to_owned() } else { names.join(", ") };
        Err(error.hint(format!("`type={kind}` has {names}")))
    }

    /// Refuses what cannot be together.
    fn check_image(&self, kind: &str) -> Result<(), UsageError> {
        let compression = self.image.compression.unwrap_or_default();
        if let Some(level) = self.image.compression_level {
            let highest = match compression {
                LayerCompression::Gzip | LayerCompression::Estargz => 9,
                LayerCompression::Zstd => 22,
                LayerCompression::Uncompressed => {
                    return Err(UsageError::new("`compression=uncompressed` has no `compression-level`"));
                }
            };
            if level > highest {
                return Err(UsageError::new(format!("there is no compression level {level}"))
                    .hint(format!("the levels are 0 to {highest}")));
            }
        }
        if self.image.docker_media_types && compression == LayerCompression::Estargz {
            return Err(UsageError::new(
                "`oci-mediatypes=false` leaves no place for what `compression=estargz` annotates",
            ));
        }
        if self.image.docker_media_types && !self.image.annotations.is_empty() {
            return Err(UsageError::new("`oci-mediatypes=false` leaves no place for annotations"));
        }
        let oci_only = |place| matches!(place, AnnotationPlace::IndexDescriptor);
        if kind != "oci"
            && let Some(annotation) = self.image.annotations.iter().find(|annotation| oci_only(annotation.place))
        {
            return Err(UsageError::new(format!(
                "`annotation-index-descriptor.{}` says nothing about `type={kind}`",
                annotation.key
            ))
            .hint("only an OCI layout describes its index"));
        }
        Ok(())
    }

    fn image_output(&self, registry: bool, image: ImageOptions) -> Result<Output, UsageError> {
        let push = self.push.unwrap_or(registry);
        let store = self.store.unwrap_or(true);
        if !push && !store {
            return Err(UsageError::new("`store=false` without `push=true` leaves nothing of the image"));
        }
        if self.push_by_digest && !push {
            return Err(UsageError::new("`push-by-digest=true` says how to push").hint("add `push=true`"));
        }
        if self.name_canonical && !self.push_by_digest {
            return Err(UsageError::unsupported("`name-canonical` is not supported without `push-by-digest=true`"));
        }
        let push = match (push, self.push_by_digest) {
            (false, _) => None,
            (true, false) => Some(Push::Names),
            (true, true) => Some(Push::Digest),
        };
        Ok(Output::Image(ImageOutput { image, store, push, insecure: self.insecure }))
    }

    /// A file, standard output, or with `tar=false` a directory.
    fn archive(&mut self) -> Result<Destination, UsageError> {
        let dest = self.dest.take();
        if self.tar.take().unwrap_or(true) {
            return Ok(file(dest));
        }
        match dest {
            None => Err(UsageError::new("`tar=false` needs `dest`")),
            Some(dest) if dest == "-" => {
                Err(UsageError::new("a directory cannot go to standard output").hint("leave out `tar=false`"))
            }
            Some(dest) => Ok(Destination::Directory(dest.into())),
        }
    }
}

fn file(dest: Option<String>) -> Destination {
    match dest.as_deref() {
        None | Some("-") => Destination::Stdout,
        Some(path) => Destination::File(PathBuf::from(path)),
    }
}

fn compression(text: &str) -> Result<LayerCompression, UsageError> {
    match text {
        "gzip" => Ok(LayerCompression::Gzip),
        "zstd" => Ok(LayerCompression::Zstd),
        "uncompressed" => Ok(LayerCompression::Uncompressed),
        "estargz" => Ok(LayerCompression::Estargz),
        other => Err(UsageError::new(format!("unknown compression `{other}`"))
            .hint("expected `gzip`, `zstd`, `estargz` or `uncompressed`")),
    }
}

/// What Go's `strconv.ParseBool` takes; without a value it is true.
fn boolean(text: &str) -> Result<bool, UsageError> {
    match text {
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(UsageError::new(format!("`{other}` is neither `true` nor `false`"))),
    }
}
