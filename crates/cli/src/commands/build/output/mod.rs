//! `--output`: `type=KIND,key=value,…`, a directory, or `-`, as `docker buildx build` reads it.
//!
//! | text | meaning |
//! |---|---|
//! | `DIR` | `type=local,dest=DIR` |
//! | `-` | `type=tar,dest=-` |
//! | `type=image` | kiln's image store, and with `push=true` the registry of its name |
//! | `type=registry` | `type=image,push=true` |
//! | `type=oci[,dest=FILE][,tar=false]` | an OCI layout; without `dest` to standard output |
//! | `type=docker,dest=FILE` | an archive for `docker load`; without `dest` into a running daemon |
//! | `type=local,dest=DIR` | the files of the final stage |
//! | `type=tar[,dest=FILE]` | the same as a tar archive; without `dest` to standard output |
//! | `type=cacheonly` | nothing |

pub(crate) mod annotation;
mod attributes;
#[cfg(test)]
mod tests;

use crate::error::UsageError;
use attributes::Attributes;
use kiln_engine::{Annotation, DaemonAddress, Destination, ImageOptions, ImageOutput, Output, Push};

/// An output as the command line describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Requested {
    /// All of it.
    Whole(Output),
    /// Into a daemon; where that is, the environment says.
    Load(ImageOptions),
}

/// Reads one `--output`. Whether its destination can be written is not looked at.
pub(crate) fn parse(text: &str) -> Result<Requested, UsageError> {
    let fields = csv(text)?;
    if !text.starts_with("type=") && fields.len() == 1 && fields[0] == text {
        return match text {
            "" => Err(UsageError::new("the output is empty")
                .hint("for example `--output type=oci,dest=image.tar` or `--output DIR`")),
            "-" => Ok(Requested::Whole(Output::Tar { dest: Destination::Stdout, platform_split: None })),
            _ => Ok(Requested::Whole(Output::Local { dest: text.into(), platform_split: None })),
        };
    }
    let mut attributes = Attributes::default();
    for field in &fields {
        let (key, value) = field.split_once('=').ok_or_else(|| {
            UsageError::new(format!("`{field}` in `{text}` is not `key=value`"))
                .hint("a directory stands alone: `--output DIR`")
        })?;
        // Whoever reads an annotation cares for its letters.
        let key = key.trim();
        let lower = key.to_ascii_lowercase();
        attributes.add(if lower.starts_with("annotation") { key } else { &lower }, value)?;
    }
    attributes.output(text)
}

/// All outputs of a build: those of `--output`, and what `--push`, `--load` and `--annotation` make of them.
pub(super) fn all(
    requested: Vec<Requested>,
    push: bool,
    load: bool,
    annotations: Vec<Annotation>,
    daemon: impl FnOnce() -> Result<DaemonAddress, UsageError>,
) -> Result<Vec<Output>, UsageError> {
    let mut requested = requested;
    if load && !requested.iter().any(|output| matches!(output, Requested::Load(_))) {
        requested.push(Requested::Load(ImageOptions::default()));
    }
    let mut daemon = Some(daemon);
    let mut address = None;
    let mut outputs = Vec::with_capacity(requested.len());
    for output in requested {
        outputs.push(match output {
            Requested::Whole(output) => output,
            Requested::Load(image) => {
                if let Some(find) = daemon.take() {
                    address = Some(find()?);
                }
                Output::Load { daemon: address.clone().expect("found above"), image }
            }
        });
    }
    if push {
        let mut pushed = false;
        for output in &mut outputs {
            if let Output::Image(image) = output {
                image.push.get_or_insert(Push::Names);
                pushed = true;
            }
        }
        if !pushed {
            outputs.push(Output::Image(ImageOutput { push: Some(Push::Names), ..ImageOutput::default() }));
        }
    }
    if annotations.is_empty() {
        return Ok(outputs);
    }
    if outputs.is_empty() {
        outputs.push(Output::Image(ImageOutput::default()));
    }
    let mut annotated = false;
    for image in outputs.iter_mut().filter_map(Output::image_mut) {
        if image.docker_media_types {
            return Err(UsageError::new("`oci-mediatypes=false` leaves no place for annotations"));
        }
        image.annotations.extend(annotations.iter().cloned());
        annotated = true;
    }
    if annotated {
        Ok(outputs)
    } else {
        Err(UsageError::new("`--annotation` says nothing about files without an image"))
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
