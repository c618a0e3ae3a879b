//! Contexts on the command line: the one that every build has, and `--build-context NAME=VALUE`.

use super::request::{DOCKERFILE_LIMIT, dockerfile_text};
use crate::error::{CliError, UsageError};
use kiln_engine::{ContextArchive, ContextSource, DockerfileSource, NamedContextSource};
use kiln_graph::{GitAddress, HttpFile};
use kiln_registry::Reference;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Reads the positional arguments of `kiln COMMAND` and `--file`: exactly one context, and where its Dockerfile is. Standard input is
/// read if it is one of them.
pub(crate) fn main_context(
    command: &str,
    arguments: &[PathBuf],
    file: Option<PathBuf>,
) -> Result<(ContextSource, Option<DockerfileSource>), CliError> {
    let context = match arguments {
        [] => {
            return Err(UsageError::new(format!(
                "`kiln {command}` needs a context, the directory that COPY and ADD take files from"
            ))
            .hint(format!("`kiln {command} .` takes the current directory"))
            .into());
        }
        [context] => context,
        [_, rest @ ..] => {
            let rest: Vec<_> = rest.iter().map(|path| path.to_string_lossy()).collect();
            return Err(UsageError::new(format!("`kiln {command}` takes one context; what is `{}`?", rest.join(" ")))
                .hint("options that take a value take it as `--option=VALUE` or `--option VALUE`")
                .into());
        }
    };
    if context.as_os_str() == "-" {
        return from_stdin(io::stdin(), file.as_deref());
    }
    let source = source(command, context)?;
    let dockerfile = match file {
        Some(path) if path.as_os_str() == "-" => Some(dockerfile_text(&mut io::stdin().lock())?),
        Some(path) => match path.to_str().filter(|text| HttpFile::is_url(text)) {
            Some(url) if !path.exists() => Some(DockerfileSource::Url(url.to_owned())),
            _ => Some(DockerfileSource::File(path)),
        },
        None => None,
    };
    Ok((source, dockerfile))
}

fn source(command: &str, path: &Path) -> Result<ContextSource, UsageError> {
    let text = path.to_string_lossy();
    // What is there is meant, even if it looks like an address.
    if !path.exists() {
        if let Some(address) = GitAddress::parse(&text) {
            return address.map(|address| ContextSource::Git(address.tree)).map_err(|error| from_address(&error));
        }
        if HttpFile::is_url(&text) {
            return Ok(ContextSource::Http(text.into_owned()));
        }
        if let Some((scheme, _)) = text.split_once("://") {
            return Err(UsageError::unsupported(format!(
                "a context of the scheme `{scheme}` is not supported: `{text}`"
            ))
            .hint("there are directories, git repositories, and archives at http(s) URLs"));
        }
    }
    directory(path, "the context").map(ContextSource::Directory).map_err(|error| match path.is_file() {
        true if error.hint.is_none() => error.hint(format!("`kiln {command} -f {text} DIR` uses another Dockerfile")),
        _ => error,
    })
}

/// Whether a context is a repository that is reached by SSH.
pub(super) fn is_ssh(context: &ContextSource) -> bool {
    matches!(context, ContextSource::Git(tree) if !HttpFile::is_url(&tree.remote) && !tree.remote.starts_with("git://"))
}

/// An archive on standard input is the context; anything else there is a Dockerfile without one.
fn from_stdin(
    mut stdin: impl Read + Send + 'static,
    file: Option<&Path>,
) -> Result<(ContextSource, Option<DockerfileSource>), CliError> {
    if file.is_some_and(|file| file.as_os_str() == "-") {
        return Err(UsageError::new("standard input cannot be both the context and the Dockerfile").into());
    }
    let mut header = Vec::new();
    let most = ContextArchive::HEADER_LENGTH as u64;
    stdin.by_ref().take(most).read_to_end(&mut header).map_err(CliError::Stdin)?;
    if header.is_empty() {
        return Err(UsageError::new("standard input, which is to be the context, is empty")
            .hint("pipe an archive or a Dockerfile into kiln")
            .into());
    }
    let is_archive = ContextArchive::is_one(&header);
    let mut all = io::Cursor::new(header).chain(stdin);
    if is_archive {
        let dockerfile = file.map(|path| DockerfileSource::File(path.to_owned()));
        return Ok((ContextSource::Archive(ContextArchive::new(all)), dockerfile));
    }
    if file.is_some() {
        return Err(UsageError::new("there are two Dockerfiles: that of `--file`, and what is on standard input")
            .hint("an archive on standard input would be the context")
            .into());
    }
    Ok((ContextSource::Empty, Some(dockerfile_text(&mut all.by_ref().take(DOCKERFILE_LIMIT + 1))?)))
}

/// Reads one `--build-context`. The name is as Dockerfiles write it: without `docker.io/library/` and `:latest`.
pub(crate) fn named(text: &str) -> Result<(String, NamedContextSource), UsageError> {
    let (name, value) =
        text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty()).ok_or_else(|| {
            let error = UsageError::new(format!("`{text}` is not `NAME=CONTEXT`"));
            match text.trim_matches('=') {
                "" => error.hint("for example `--build-context src=../src`"),
                // Most likely the half that is there is a path or an address, or else the name.
                part if part.contains(['/', '.', ':']) => {
                    error.hint(format!("give it a name: `--build-context NAME={part}`"))
                }
                part => error.hint(format!("say what it is: `--build-context {part}=DIR`")),
            }
        })?;
    let reference = Reference::parse(name).map_err(|_| {
        UsageError::new(format!("bad name `{name}`")).hint("names are in lower case, like those of stages and images")
    })?;
    let familiar = reference.familiar();
    let name = familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned();
    Ok((name, named_source(value)?))
}

fn named_source(value: &str) -> Result<NamedContextSource, UsageError> {
    if let Some(image) = value.strip_prefix("docker-image://") {
        Reference::parse(image).map_err(|error| crate::values::split_hint(&error.to_string()))?;
        return Ok(NamedContextSource::Image(image.to_owned()));
    }
    if let Some(layout) = value.strip_prefix("oci-layout://") {
        return oci_layout(layout);
    }
    let path = Path::new(value);
    if !path.exists() {
        if let Some(address) = GitAddress::parse(value) {
            return address.map(|address| NamedContextSource::Git(address.tree)).map_err(|error| from_address(&error));
        }
        if HttpFile::is_url(value) {
            return Ok(NamedContextSource::Http(value.to_owned()));
        }
        if let Some((scheme, _)) = value.split_once("://") {
            return Err(UsageError::unsupported(format!("a context of the scheme `{scheme}` is not supported: `{value}`"))
                .hint("there are directories, `docker-image://REFERENCE`, `oci-layout://DIR`, git repositories and http(s) URLs"));
        }
    }
    directory(path, "the context").map(NamedContextSource::Directory)
}

fn from_address(error: &kiln_graph::ParseGitError) -> UsageError {
    crate::values::split_hint(&error.to_string())
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
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(UsageError::new(format!("{what} `{}` does not exist", path.display())))
        }
        Err(error) => Err(UsageError::new(format!("cannot look at {what} `{}`: {error}", path.display()))),
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
            ("base".to_owned(), "is not `NAME=CONTEXT`", false),
            ("base=".to_owned(), "is not `NAME=CONTEXT`", false),
            (format!("Base={root}"), "bad name `Base`", false),
            (format!("base={root}/none"), "does not exist", false),
            (format!("base={file}"), "is not a directory", false),
            (format!("base=oci-layout://{root}"), "is not an OCI layout", false),
            (format!("base=oci-layout://{root}@sha256:0"), "digest", false),
            ("base=docker-image://A B".to_owned(), "A B", false),
            ("base=ftp://example.com/a.tar".to_owned(), "of the scheme `ftp` is not supported", true),
            ("base=https://example.com/a.git?x=y".to_owned(), "unknown query `x`", false),
        ] {
            let error = named(&text).unwrap_err();
            assert!(error.message.contains(message), "{text}: {}", error.message);
            assert_eq!(error.unsupported, unsupported, "{text}");
        }
        for (text, hint) in [
            ("base", "say what it is: `--build-context base=DIR`"),
            ("../src", "give it a name: `--build-context NAME=../src`"),
            ("=", "for example `--build-context src=../src`"),
        ] {
            assert_eq!(named(text).unwrap_err().hint.as_deref(), Some(hint));
        }
        for (arguments, message) in [
            (vec![], "needs a context"),
            (vec![".", "x", "y"], "what is `x y`?"),
            (vec!["ftp://example.com/a"], "of the scheme `ftp` is not supported"),
        ] {
            let arguments: Vec<PathBuf> = arguments.into_iter().map(PathBuf::from).collect();
            let Err(CliError::Usage(error)) = main_context("build", &arguments, None) else { panic!("{arguments:?}") };
            assert!(error.message.contains(message), "{arguments:?}: {}", error.message);
            assert!(error.hint.is_some());
        }
    }

    #[test]
    fn remote_contexts() {
        let main = |text: &str| main_context("build", &[PathBuf::from(text)], None).unwrap().0;
        assert!(
            matches!(main("https://example.com/a.tar.gz"), ContextSource::Http(url) if url == "https://example.com/a.tar.gz")
        );
        assert!(
            matches!(main("https://example.com/a.git#v1"), ContextSource::Git(tree) if tree.reference.as_deref() == Some("v1"))
        );
        assert!(matches!(main("github.com/a/b"), ContextSource::Git(tree) if tree.remote == "https://github.com/a/b"));
        assert!(matches!(named("x=git@example.com:a").unwrap().1, NamedContextSource::Git(_)));
        assert!(matches!(named("x=http://example.com/a").unwrap().1, NamedContextSource::Http(_)));
    }

    #[test]
    fn standard_input() {
        let read = |bytes: &'static [u8], file: Option<&str>| from_stdin(bytes, file.map(Path::new));
        let (context, dockerfile) = read(b"FROM scratch\n", None).unwrap();
        assert!(matches!(context, ContextSource::Empty));
        assert!(matches!(dockerfile, Some(DockerfileSource::Text { text, .. }) if text == "FROM scratch\n"));
        let (context, dockerfile) = read(&[0x1f, 0x8b, 8, 0, 0], Some("x")).unwrap();
        assert!(matches!(context, ContextSource::Archive(_)));
        assert!(matches!(dockerfile, Some(DockerfileSource::File(path)) if path == Path::new("x")));
        for (bytes, file, message) in [
            (&b""[..], None, "is empty"),
            (b"FROM scratch\n", Some("x"), "two Dockerfiles"),
            (b"FROM scratch\n", Some("-"), "cannot be both"),
            (b"\xff\xfe", None, "is UTF-16, not UTF-8"),
        ] {
            let Err(CliError::Usage(error)) = read(bytes, file) else { panic!("{message}") };
            assert!(error.message.contains(message), "{}", error.message);
        }
    }
}
