//! `--secret`: where a secret comes from, as `docker buildx build` says it.

use super::output;
use crate::error::UsageError;
use kiln_engine::{SecretSource, SecretValue};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

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
        let path = PathBuf::from(file.unwrap_or_else(|| id.clone()));
        check(&path).map_err(|what| UsageError::new(format!("bad secret `{text}`: {what}")))?;
        SecretSource::File(path)
    };
    Ok(Secret { id, source })
}

/// Finds what could only go wrong when a step needs the secret. What is no regular file may become one of any size.
fn check(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(format!("there is no file `{shown}`")),
        Err(error) => Err(format!("cannot look at `{shown}`: {error}")),
        Ok(metadata) if metadata.is_dir() => Err(format!("`{shown}` is a directory")),
        Ok(metadata) if metadata.len() > SecretValue::MAX_SIZE => {
            Err(format!("`{shown}` is larger than {} bytes", SecretValue::MAX_SIZE))
        }
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        // Tests run in the crate's directory.
        let file = SecretSource::File(PathBuf::from("Cargo.toml"));
        for text in
            ["id=a,src=Cargo.toml", "id=a,source=Cargo.toml,type=file", "id=Cargo.toml", "type=file,id=Cargo.toml"]
        {
            assert_eq!(parse(text).unwrap().source, file, "{text}");
        }
        let home = SecretSource::Value(SecretValue(env::var_os("HOME").unwrap().into_vec()));
        for text in ["id=a,env=HOME", "id=HOME", "id=HOME,type=env", "id=a,type=env,src=HOME"] {
            assert_eq!(parse(text).unwrap().source, home, "{text}");
        }
        let large = tempfile::NamedTempFile::new().unwrap();
        large.as_file().set_len(SecretValue::MAX_SIZE + 1).unwrap();
        let large = format!("id=a,src={}", large.path().display());
        for (bad, message) in [
            ("", "has no value"),
            ("a", "`a` has no value"),
            ("src=Cargo.toml", "it has no `id`"),
            ("id=", "it has no `id`"),
            ("id=a,x=y", "unknown field `x`"),
            ("id=a,src=Cargo.toml,env=HOME", "not both"),
            ("id=a,type=b", "unknown type `b`"),
            ("id=a,type=b,src=Cargo.toml", "unknown type `b`"),
            ("id=a,env=KILN_SURELY_NOT_SET", "there is no variable `KILN_SURELY_NOT_SET`"),
            ("id=a,src=none", "there is no file `none`"),
            ("id=none", "there is no file `none`"),
            ("type=file,id=HOME", "there is no file `HOME`"),
            ("id=a,src=src", "`src` is a directory"),
            (&large, "is larger than 512000 bytes"),
        ] {
            let error = parse(bad).unwrap_err();
            assert!(error.message.contains(message), "{bad}: {}", error.message);
        }
    }
}
