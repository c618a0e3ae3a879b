//! Contexts on the command line: the one that every build has, and `--build-context NAME=VALUE`.

use crate::error::UsageError;
use kiln_engine::NamedContextSource;
use kiln_registry::Reference;
use std::fs;
use std::path::{Path, PathBuf};

/// Reads the positional arguments of `kiln COMMAND`: exactly one directory.
pub(crate) fn main_context(command: &str, arguments: &[PathBuf]) -> Result<PathBuf, UsageError> {
    let context = match arguments {
        [] => {
            return Err(UsageError::new(format!(
                "`kiln {command}` needs a context, the directory that COPY and ADD take files from"
            ))
            .hint(format!("`kiln {command} .` takes the current directory")));
        }
        [context] => context,
        [_, rest @ ..] => {
            let rest: Vec<_> = rest.iter().map(|path| path.to_string_lossy()).collect();
            return Err(UsageError::new(format!("`kiln {command}` takes one context; what is `{}`?", rest.join(" ")))
                .hint("options that take a value take it as `--option=VALUE` or `--option VALUE`"));
        }
    };
    let path = context.as_path();
    let context = context.to_string_lossy();
    if context == "-" {
        return Err(UsageError::unsupported("a context from standard input is not supported")
            .hint(format!("`kiln {command} -f - DIR` reads the Dockerfile alone from standard input")));
    }
    if let Some(scheme) = remote(&context).filter(|_| !path.exists()) {
        return Err(UsageError::unsupported(format!("a {scheme} context is not supported: `{context}`"))
            .hint("fetch it to a directory first"));
    }
    directory(path, "the context").map_err(|error| match path.is_file() {
        true if error.hint.is_none() => {
            error.hint(format!("`kiln {command} -f {context} DIR` uses another Dockerfile"))
        }
        _ => error,
    })
}

/// Reads one `--build-context`. The name is as Dockerfiles write it: without `docker.io/library/` and `:latest`.
pub(crate) fn named(text: &str) -> Result<(String, NamedContextSource), UsageError> {
    let (name, value) =
        text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty()).ok_or_else(|| {
            UsageError::new(format!("`{text}` is not `NAME=VALUE`"))
                .hint("for example `--build-context base=oci-layout://DIR`")
        })?;
    let reference = Reference::parse(name).map_err(|_| {
        UsageError::new(format!("bad name `{name}`")).hint("names are in lower case, like those of stages and images")
    })?;
    let familiar = reference.familiar();
    let name = familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned();
    Ok((name, source(value)?))
}

fn source(value: &str) -> Result<NamedContextSource, UsageError> {
    if let Some(image) = value.strip_prefix("docker-image://") {
        Reference::parse(image).map_err(|error| crate::values::split_hint(&error.to_string()))?;
        return Ok(NamedContextSource::Image(image.to_owned()));
    }
    if let Some(layout) = value.strip_prefix("oci-layout://") {
        return oci_layout(layout);
    }
    let path = Path::new(value);
    if let Some(scheme) = remote(value).filter(|_| !path.exists()) {
        return Err(UsageError::unsupported(format!("a {scheme} context is not supported: `{value}`"))
            .hint("there are directories, `docker-image://REFERENCE` and `oci-layout://DIR`"));
    }
    directory(path, "the context").map(NamedContextSource::Directory)
}

/// `DIR[:TAG][@DIGEST]`; the digest wins.
fn oci_layout(text: &str) -> Result<NamedContextSource, UsageError> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    // A directory may have a colon in its name; a tag never has a slash.
    let (dir, tag) = match rest.rsplit_once(':') {
        Some((dir, tag)) if !tag.contains('/') && !Path::new(rest).is_dir() => (dir, Some(tag)),
        _ => (rest, None),
    };
    if let Some(digest) = digest {
        digest.parse::<kiln_digest::Digest>().map_err(|error| UsageError::new(error.to_string()))?;
    }
    let path = directory(Path::new(dir), "the OCI layout")?;
    if !path.join("oci-layout").is_file() {
        return Err(UsageError::new(format!("`{dir}` is not an OCI layout: it has no file `oci-layout`")));
    }
    Ok(NamedContextSource::OciLayout { path, reference: digest.or(tag).map(str::to_owned) })
}

/// Checks that there is a directory.
fn directory(path: &Path, what: &str) -> Result<PathBuf, UsageError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(path.to_owned()),
        Ok(_) => Err(UsageError::new(format!("{what} `{}` is not a directory", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(UsageError::new(format!("{what} `{}` does not exist", path.display())))
        }
        Err(error) => Err(UsageError::new(format!("cannot look at {what} `{}`: {error}", path.display()))),
    }
}

/// What kind of remote context this is, if it is one.
fn remote(text: &str) -> Option<&'static str> {
    let is_git = text.starts_with("git://")
        || text.starts_with("ssh://")
        || text.starts_with("git@")
        || text.starts_with("github.com/")
        || text.split('#').next().is_some_and(|url| url.contains("://") && url.ends_with(".git"));
    match text.split_once("://") {
        _ if is_git => Some("git"),
        Some(("http" | "https", _)) => Some("http"),
        Some(_) => Some("remote"),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_contexts() {
        let dir = tempfile::tempdir().unwrap();
        let layout = dir.path().join("lay:out");
        fs::create_dir(&layout).unwrap();
        fs::write(layout.join("oci-layout"), "{}").unwrap();
        let (root, layout_text) = (dir.path().display(), layout.display());
        let digest = format!("sha256:{}", "0".repeat(64));

        let (name, source) = named(&format!("docker.io/library/alpine:latest={root}")).unwrap();
        assert_eq!(name, "alpine");
        assert!(matches!(source, NamedContextSource::Directory(path) if path == dir.path()));
        let (name, source) = named("golang:1.25=docker-image://golang:1.26").unwrap();
        assert_eq!(name, "golang:1.25");
        assert!(matches!(source, NamedContextSource::Image(image) if image == "golang:1.26"));
        for (suffix, wanted) in [
            (String::new(), None),
            (":v1".into(), Some("v1".to_owned())),
            (format!("@{digest}"), Some(digest.clone())),
            (format!(":v1@{digest}"), Some(digest.clone())),
        ] {
            match named(&format!("base=oci-layout://{layout_text}{suffix}")).unwrap().1 {
                NamedContextSource::OciLayout { path, reference } => {
                    assert_eq!((path, reference), (layout.clone(), wanted), "{suffix}");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn mistakes_in_contexts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let (root, file) = (dir.path().display(), file.display());
        for (text, message, unsupported) in [
            ("base".to_owned(), "is not `NAME=VALUE`", false),
            ("base=".to_owned(), "is not `NAME=VALUE`", false),
            (format!("Base={root}"), "bad name `Base`", false),
            (format!("base={root}/none"), "does not exist", false),
            (format!("base={file}"), "is not a directory", false),
            (format!("base=oci-layout://{root}"), "is not an OCI layout", false),
            (format!("base=oci-layout://{root}@sha256:0"), "digest", false),
            ("base=docker-image://A B".to_owned(), "A B", false),
            ("base=https://example.com/a.tar".to_owned(), "a http context is not supported", true),
            ("base=https://example.com/a.git#main".to_owned(), "a git context is not supported", true),
            ("base=git@example.com:a".to_owned(), "a git context is not supported", true),
        ] {
            let error = named(&text).unwrap_err();
            assert!(error.message.contains(message), "{text}: {}", error.message);
            assert_eq!(error.unsupported, unsupported, "{text}");
        }
        for (arguments, message) in [
            (vec![], "needs a context"),
            (vec![".", "x", "y"], "what is `x y`?"),
            (vec!["-"], "standard input"),
            (vec!["https://example.com/a.git"], "a git context"),
        ] {
            let arguments: Vec<PathBuf> = arguments.into_iter().map(PathBuf::from).collect();
            let error = main_context("build", &arguments).unwrap_err();
            assert!(error.message.contains(message), "{arguments:?}: {}", error.message);
            assert!(error.hint.is_some());
        }
    }
}
