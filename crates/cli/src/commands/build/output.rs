//! `--output`: `type=KIND,key=value,…`, a directory, or `-`, as `docker buildx build` reads it.
//!
//! | text | meaning |
//! |---|---|
//! | `DIR` | `type=local,dest=DIR` |
//! | `-` | `type=tar,dest=-` |
//! | `type=image` | kiln's image store |
//! | `type=oci[,dest=FILE][,tar=false][,compression=…]` | an OCI layout; without `dest` to standard output |
//! | `type=docker,dest=FILE[,compression=…]` | an archive for `docker load` |
//! | `type=local,dest=DIR` | the files of the final stage |
//! | `type=tar[,dest=FILE]` | the same as a tar archive; without `dest` to standard output |

use crate::error::UsageError;
use kiln_engine::{Destination, LayerCompression, Output};
use std::path::PathBuf;

/// Attributes of Docker's outputs that kiln does not have.
const MISSING: &[&str] = &[
    "buildinfo",
    "compression-level",
    "dangling-name-prefix",
    "epoch",
    "force-compression",
    "name",
    "name-canonical",
    "nydus",
    "oci-artifact",
    "oci-mediatypes",
    "platform-split",
    "push",
    "push-by-digest",
    "registry.insecure",
    "rewrite-timestamp",
    "store",
    "unpack",
];

/// The attributes of one `--output`.
#[derive(Default)]
struct Attributes {
    dest: Option<String>,
    tar: Option<bool>,
    compression: Option<LayerCompression>,
}

/// Reads one `--output`. Whether its destination can be written is not looked at.
pub(crate) fn parse(text: &str) -> Result<Output, UsageError> {
    let fields = csv(text)?;
    if !text.starts_with("type=") && fields.len() == 1 && fields[0] == text {
        return match text {
            "" => Err(UsageError::new("the output is empty")
                .hint("for example `--output type=oci,dest=image.tar` or `--output DIR`")),
            "-" => Ok(Output::Tar { dest: Destination::Stdout }),
            _ => Ok(Output::Local { dest: text.into() }),
        };
    }
    let mut kind = None;
    let mut attributes = Attributes::default();
    for field in &fields {
        let (key, value) = field.split_once('=').ok_or_else(|| {
            UsageError::new(format!("`{field}` in `{text}` is not `key=value`"))
                .hint("a directory stands alone: `--output DIR`")
        })?;
        let key = key.trim().to_ascii_lowercase();
        match key.as_str() {
            "type" => kind = Some(value.to_owned()),
            "dest" => attributes.dest = Some(value.to_owned()).filter(|dest| !dest.is_empty()),
            "tar" => attributes.tar = Some(boolean(value)?),
            "compression" => attributes.compression = Some(compression(value)?),
            other if MISSING.contains(&other) || other.starts_with("annotation") => {
                let usage = UsageError::unsupported(format!("`{other}` is not supported"));
                return Err(if other == "name" { usage.hint("`--tag` names the image") } else { usage });
            }
            other => {
                return Err(UsageError::new(format!("unknown attribute `{other}`"))
                    .hint("there are `type`, `dest`, `tar` and `compression`"));
            }
        }
    }
    let kind = kind.ok_or_else(|| UsageError::new(format!("no `type` in `{text}`")).hint(TYPES))?;
    attributes.output(&kind)
}

const TYPES: &str = "the types are `image`, `oci`, `docker`, `local` and `tar`";

impl Attributes {
    fn output(mut self, kind: &str) -> Result<Output, UsageError> {
        let output = match kind {
            "image" => Output::Image,
            "oci" => Output::Oci { dest: self.archive()?, compression: self.compression.take().unwrap_or_default() },
            "docker" if self.dest.is_none() => {
                return Err(UsageError::unsupported(
                    "`type=docker` without `dest` would load the image into Docker, which kiln does not talk to",
                )
                .hint("`kiln build -o type=docker,dest=- … | docker load`"));
            }
            "docker" => {
                Output::Docker { dest: self.archive()?, compression: self.compression.take().unwrap_or_default() }
            }
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
                Some(dest) => Output::Local { dest: dest.into() },
            },
            "tar" => Output::Tar { dest: file(self.dest.take()) },
            "registry" | "cacheonly" | "oci-layout" => {
                return Err(UsageError::unsupported(format!("`type={kind}` is not supported")).hint(TYPES));
            }
            other => return Err(UsageError::new(format!("unknown type `{other}`")).hint(TYPES)),
        };
        let left =
            [("dest", self.dest.is_some()), ("tar", self.tar.is_some()), ("compression", self.compression.is_some())];
        match left.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(UsageError::new(format!("`{name}` says nothing about `type={kind}`"))),
            None => Ok(output),
        }
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
        "estargz" => Err(UsageError::unsupported("`compression=estargz` is not supported")),
        other => {
            Err(UsageError::new(format!("unknown compression `{other}`"))
                .hint("expected `gzip`, `zstd` or `uncompressed`"))
        }
    }
}

/// What Go's `strconv.ParseBool` takes.
fn boolean(text: &str) -> Result<bool, UsageError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(UsageError::new(format!("`{other}` is neither `true` nor `false`"))),
    }
}

/// The fields of one line of comma-separated values (RFC 4180): a field in quotes may hold commas, and doubled quotes.
pub(crate) fn csv(line: &str) -> Result<Vec<String>, UsageError> {
    let error = |what: &str| {
        UsageError::new(format!("{what} in `{line}`")).hint("a field in quotes is quoted as a whole: `\"dest=a,b\"`")
    };
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let after = match rest.strip_prefix('"') {
            Some(mut quoted) => {
                let mut field = String::new();
                loop {
                    let quote = quoted.find('"').ok_or_else(|| error("a quote is not closed"))?;
                    field.push_str(&quoted[..quote]);
                    quoted = &quoted[quote + 1..];
                    match quoted.strip_prefix('"') {
                        Some(more) => {
                            field.push('"');
                            quoted = more;
                        }
                        None => break,
                    }
                }
                fields.push(field);
                quoted
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err(error("a quote in the middle of a field"));
                }
                fields.push(rest[..end].to_owned());
                &rest[end..]
            }
        };
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(error("text after a closing quote")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oci(dest: Destination, compression: LayerCompression) -> Output {
        Output::Oci { dest, compression }
    }

    #[test]
    fn outputs() {
        let gzip = LayerCompression::Gzip;
        for (text, output) in [
            ("out", Output::Local { dest: "out".into() }),
            ("./a=b", Output::Local { dest: "./a=b".into() }),
            ("-", Output::Tar { dest: Destination::Stdout }),
            ("type=image", Output::Image),
            ("type=local,dest=out", Output::Local { dest: "out".into() }),
            ("dest=out,type=local", Output::Local { dest: "out".into() }),
            ("type=tar", Output::Tar { dest: Destination::Stdout }),
            ("type=tar,dest=x.tar", Output::Tar { dest: Destination::File("x.tar".into()) }),
            ("type=oci", oci(Destination::Stdout, gzip)),
            ("type=oci,dest=-", oci(Destination::Stdout, gzip)),
            ("type=oci,dest=x.tar,compression=zstd", oci(Destination::File("x.tar".into()), LayerCompression::Zstd)),
            ("type=oci,dest=dir,tar=false", oci(Destination::Directory("dir".into()), gzip)),
            ("type=oci,\"dest=a,b.tar\",TAR=true", oci(Destination::File("a,b.tar".into()), gzip)),
            ("type=oci,\"dest=a\"\"b.tar\"", oci(Destination::File("a\"b.tar".into()), gzip)),
            (
                "type=docker,dest=x.tar,compression=uncompressed",
                Output::Docker { dest: Destination::File("x.tar".into()), compression: LayerCompression::Uncompressed },
            ),
        ] {
            assert_eq!(parse(text).unwrap(), output, "{text}");
        }
    }

    #[test]
    fn mistakes_in_outputs() {
        for (text, message, unsupported) in [
            ("", "the output is empty", false),
            ("type=oci,dest", "`dest` in `type=oci,dest` is not `key=value`", false),
            ("dest=x,tar=true", "no `type` in `dest=x,tar=true`", false),
            ("type=", "unknown type ``", false),
            ("type=zip", "unknown type `zip`", false),
            ("type=registry", "`type=registry` is not supported", true),
            (
                "type=docker",
                "`type=docker` without `dest` would load the image into Docker, which kiln does not talk to",
                true,
            ),
            ("type=local", "`type=local` needs `dest`", false),
            ("type=local,dest=", "`type=local` needs `dest`", false),
            ("type=local,dest=-", "a directory cannot go to standard output", false),
            ("type=local,dest=x,tar=false", "`tar` says nothing about `type=local`", false),
            ("type=image,compression=zstd", "`compression` says nothing about `type=image`", false),
            ("type=oci,tar=false", "`tar=false` needs `dest`", false),
            ("type=oci,tar=maybe", "`maybe` is neither `true` nor `false`", false),
            ("type=oci,compression=xz", "unknown compression `xz`", false),
            ("type=oci,compression=estargz", "`compression=estargz` is not supported", true),
            ("type=oci,name=x", "`name` is not supported", true),
            ("type=image,push=true", "`push` is not supported", true),
            ("type=oci,annotation.a=b", "`annotation.a` is not supported", true),
            ("type=oci,annotation-index.a=b", "`annotation-index.a` is not supported", true),
            (
                "type=oci,annotation-manifest[linux/amd64].a=b",
                "`annotation-manifest[linux/amd64].a` is not supported",
                true,
            ),
            ("type=oci,colour=red", "unknown attribute `colour`", false),
            ("type=oci,\"dest=a", "a quote is not closed in `type=oci,\"dest=a`", false),
            ("type=oci,de\"st=a", "a quote in the middle of a field in `type=oci,de\"st=a`", false),
            ("type=oci,\"dest=a\"b", "text after a closing quote in `type=oci,\"dest=a\"b`", false),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.message.as_str(), error.unsupported), (message, unsupported), "{text}");
        }
    }
}
