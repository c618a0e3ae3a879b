//! `--secret`: where a secret comes from, as `docker buildx build` says it.

use super::output;
use crate::error::UsageError;
use kiln_engine::{SecretSource, SecretValue};
use std::env;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A secret's id and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Secret {
    pub(super) id: String,
    pub(super) source: SecretSource,
}

/// `id=ID[,src=FILE|,env=NAME][,type=file|env]`. With an id alone it is the variable of that name, or else the file.
pub(super) fn parse(text: &str) -> Result<Secret, UsageError> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in output::csv(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| {
            UsageError::new(format!("bad secret `{text}`: `{field}` has no value")).hint("expected `id=ID,src=FILE`")
        })?;
        let place = match key.to_ascii_lowercase().as_str() {
            "id" => &mut id,
            "src" | "source" => &mut file,
            "env" => &mut variable,
            "type" => &mut kind,
            other => {
                return Err(UsageError::new(format!("bad secret `{text}`: unknown field `{other}`"))
                    .hint("the fields are `id`, `src`, `env` and `type`"));
            }
        };
        *place = Some(value.to_owned());
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| {
        UsageError::new(format!("bad secret `{text}`: it has no `id`")).hint("expected `id=ID,src=FILE`")
    })?;
    let from_env = match (kind.as_deref(), &file, &variable) {
        (Some("env"), None, _) | (None, None, Some(_)) => true,
        // As with buildx, `src` may name the variable of a secret whose type says so.
        (Some("env"), Some(_), None) => true,
        (Some("file") | None, Some(_), None) | (Some("file"), None, None) => false,
        (None, None, None) => env::var_os(&id).is_some(),
        (Some("file" | "env") | None, _, _) => {
            return Err(UsageError::new(format!("bad secret `{text}`: it comes from a file or a variable, not both")));
        }
        (Some(other), _, _) => {
            return Err(UsageError::new(format!("bad secret `{text}`: unknown type `{other}`"))
                .hint("the types are `file` and `env`"));
        }
    };
    let source = if from_env {
        let name = variable.or(file).unwrap_or_else(|| id.clone());
        let value = env::var_os(&name).ok_or_else(|| {
            UsageError::new(format!("bad secret `{text}`: there is no variable `{name}` in the environment"))
        })?;
        SecretSource::Value(SecretValue(value.into_vec()))
    } else {
        SecretSource::File(PathBuf::from(file.unwrap_or_else(|| id.clone())))
    };
    Ok(Secret { id, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let file = |path: &str| SecretSource::File(PathBuf::from(path));
        for (text, expected) in [
            ("id=a,src=f", file("f")),
            ("id=a,source=f,type=file", file("f")),
            ("id=a-file", file("a-file")),
            ("type=file,id=HOME", file("HOME")),
        ] {
            let secret = parse(text).unwrap();
            assert_eq!(secret.source, expected, "{text}");
        }
        let home = SecretSource::Value(SecretValue(env::var_os("HOME").unwrap().into_vec()));
        for text in ["id=a,env=HOME", "id=HOME", "id=HOME,type=env", "id=a,type=env,src=HOME"] {
            assert_eq!(parse(text).unwrap().source, home, "{text}");
        }
        for bad in
            ["", "a", "src=f", "id=", "id=a,x=y", "id=a,src=f,env=HOME", "id=a,type=b", "id=a,env=KILN_SURELY_NOT_SET"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
