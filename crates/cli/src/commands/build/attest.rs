//! `--attest`, and its short forms `--provenance` and `--sbom`, as `docker buildx build` reads them.
//!
//! | text | meaning |
//! |---|---|
//! | `--provenance true` | `--attest type=provenance` |
//! | `--provenance mode=max` | `--attest type=provenance,mode=max` |
//! | `--sbom false` | `--attest type=sbom,disabled=true` |

use super::output;
use crate::error::UsageError;
use kiln_engine::{AttestationOptions, ProvenanceMode, ProvenanceOptions};

/// One attestation; `None` where it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Requested {
    /// How the image was made.
    Provenance(Option<ProvenanceOptions>),
    /// What is in it.
    Sbom(Option<()>),
}

const TYPES: &str = "the types are `provenance` and `sbom`";

/// Reads one `--attest`.
pub(super) fn parse(text: &str) -> Result<Requested, UsageError> {
    let mut kind = None;
    let mut attributes = Vec::new();
    for field in output::csv(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| {
            UsageError::new(format!("bad attestation `{text}`: `{field}` has no value"))
                .hint("for example `type=provenance,mode=max`")
        })?;
        match key.to_ascii_lowercase().as_str() {
            "type" => kind = Some(value.to_owned()),
            key => attributes.push((key.to_owned(), value.to_owned())),
        }
    }
    match kind.as_deref() {
        Some("provenance") => provenance(&attributes),
        Some("sbom") => sbom(&attributes),
        Some(other) => Err(UsageError::new(format!("unknown attestation `{other}`")).hint(TYPES)),
        None => Err(UsageError::new(format!("bad attestation `{text}`: no `type`")).hint(TYPES)),
    }
}

/// Reads `--provenance`.
pub(super) fn parse_provenance(text: &str) -> Result<Requested, UsageError> {
    parse(&long("provenance", text))
}

/// Reads `--sbom`.
pub(super) fn parse_sbom(text: &str) -> Result<Requested, UsageError> {
    parse(&long("sbom", text))
}

/// The long form of a short one.
fn long(kind: &str, text: &str) -> String {
    match boolean(text) {
        Some(on) => format!("type={kind},disabled={}", !on),
        None => format!("type={kind},{text}"),
    }
}

/// What all options together ask for.
pub(super) fn all(requested: Vec<Requested>) -> Result<AttestationOptions, UsageError> {
    let (mut provenance, mut sbom) = (None, None);
    for request in requested {
        let twice = match request {
            Requested::Provenance(options) => provenance.replace(options).is_some().then_some("provenance"),
            Requested::Sbom(wanted) => sbom.replace(wanted).is_some().then_some("sbom"),
        };
        if let Some(kind) = twice {
            return Err(UsageError::new(format!("the attestation `{kind}` is given twice"))
                .hint(format!("`--{kind}` is short for `--attest type={kind}`; leave one out")));
        }
    }
    Ok(AttestationOptions { provenance: provenance.flatten(), sbom: sbom.flatten().is_some() })
}

fn provenance(attributes: &[(String, String)]) -> Result<Requested, UsageError> {
    let mut options = ProvenanceOptions::default();
    let mut disabled = false;
    for (key, value) in attributes {
        match key.as_str() {
            "disabled" => disabled = flag(key, value)?,
            "mode" => {
                options.mode = match value.as_str() {
                    "min" => ProvenanceMode::Min,
                    "max" => ProvenanceMode::Max,
                    other => {
                        return Err(UsageError::new(format!("unknown mode `{other}` of the provenance"))
                            .hint("the modes are `min` and `max`"));
                    }
                }
            }
            "builder-id" => options.builder_id.clone_from(value),
            "reproducible" => options.reproducible = flag(key, value)?,
            "inline-only" => options.inline_only = flag(key, value)?,
            "version" if value == "v1" => {}
            "version" => {
                return Err(UsageError::unsupported(format!("version `{value}` of the provenance is not supported"))
                    .hint("kiln writes SLSA provenance `v1`"));
            }
            other => {
                return Err(UsageError::new(format!("unknown attribute `{other}` of the provenance"))
                    .hint("there are `mode`, `builder-id`, `reproducible`, `inline-only`, `version` and `disabled`"));
            }
        }
    }
    Ok(Requested::Provenance((!disabled).then_some(options)))
}

fn sbom(attributes: &[(String, String)]) -> Result<Requested, UsageError> {
    let mut disabled = false;
    for (key, value) in attributes {
        match key.as_str() {
            "disabled" => disabled = flag(key, value)?,
            "generator" => {
                return Err(UsageError::unsupported("`generator` of the SBOM is not supported")
                    .hint("kiln looks into the image by itself; leave it out"));
            }
            other => {
                return Err(
                    UsageError::new(format!("unknown attribute `{other}` of the SBOM")).hint("there is `disabled`")
                );
            }
        }
    }
    Ok(Requested::Sbom((!disabled).then_some(())))
}

fn flag(key: &str, value: &str) -> Result<bool, UsageError> {
    boolean(value).ok_or_else(|| UsageError::new(format!("`{key}={value}` is neither `true` nor `false`")))
}

/// What Go's `strconv.ParseBool` takes.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_forms_mean_the_same() {
        for (short, long) in [
            (parse_provenance("true"), "type=provenance"),
            (parse_provenance("0"), "type=provenance,disabled=true"),
            (parse_provenance("mode=max,builder-id=https://ci"), "type=provenance,mode=max,builder-id=https://ci"),
            (parse_sbom("true"), "type=sbom"),
            (parse_sbom("disabled=true"), "type=sbom,disabled=1"),
        ] {
            assert_eq!(short.unwrap(), parse(long).unwrap());
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("provenance", "`provenance` has no value"),
            ("mode=max", "no `type`"),
            ("type=signature", "unknown attestation `signature`"),
            ("type=provenance,mode=medium", "unknown mode `medium`"),
            ("type=provenance,version=v0.2", "version `v0.2` of the provenance is not supported"),
            ("type=provenance,colour=red", "unknown attribute `colour`"),
            ("type=provenance,disabled=maybe", "`disabled=maybe` is neither"),
            ("type=sbom,generator=scanner", "`generator` of the SBOM is not supported"),
            ("type=sbom,mode=max", "unknown attribute `mode` of the SBOM"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let twice = [parse_sbom("true").unwrap(), parse("type=sbom").unwrap()];
        assert!(all(twice.into()).unwrap_err().to_string().contains("`sbom` is given twice"));
    }
}
