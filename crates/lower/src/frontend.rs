//! Which language the file is in: `# syntax=IMAGE` asks for a frontend, and kiln is one, for Dockerfiles.

use crate::{LowerError, Options};
use kiln_dockerfile::ast::Directives;

/// Repositories, without their registry, whose images read the same language as kiln.
const DOCKERFILE: &[&str] = &["docker/dockerfile", "docker/dockerfile-upstream"];

/// Refuses a file that asks for another frontend. The build argument `BUILDKIT_SYNTAX` goes before the file's directive.
///
/// # Errors
/// A frontend for anything but Dockerfiles.
pub(crate) fn check(directives: &Directives, options: &Options) -> Result<(), LowerError> {
    let given = options.build_args.get("BUILDKIT_SYNTAX").filter(|value| !value.is_empty());
    let (text, span) = match (given, &directives.syntax) {
        (Some(text), _) => (text.as_str(), None),
        (None, Some(directive)) => (directive.value.as_str(), Some(directive.span)),
        (None, None) => return Ok(()),
    };
    // Further words are arguments of the frontend.
    let image = text.split_whitespace().next().unwrap_or_default();
    let name = image.split('@').next().unwrap_or_default();
    let name = match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    };
    let known = DOCKERFILE
        .iter()
        .any(|known| name.strip_suffix(known).is_some_and(|registry| registry.is_empty() || registry.ends_with('/')));
    if known || image.is_empty() {
        return Ok(());
    }
    Err(LowerError::unsupported(format!("the frontend `{image}` is not supported"), span)
        .hint("kiln reads Dockerfiles itself: `docker/dockerfile` of any version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frontends() {
        let syntax = |text: &str, argument: &str| {
            let (dockerfile, _) = kiln_dockerfile::parse(&format!("# syntax={text}\nFROM a\n"));
            let build_args = [("BUILDKIT_SYNTAX".to_owned(), argument.to_owned())].into();
            check(&dockerfile.directives, &Options { build_args, ..Options::default() })
        };
        for good in [
            "docker/dockerfile:1",
            "docker/dockerfile",
            "docker.io/docker/dockerfile:1.7-labs",
            "docker/dockerfile-upstream:master",
            "localhost:5000/docker/dockerfile@sha256:00",
            "docker/dockerfile:1 --flag",
        ] {
            assert!(syntax(good, "").is_ok(), "{good}");
        }
        for bad in ["r2d4/mockerfile", "mydocker/dockerfile", "docker/dockerfile-x"] {
            let error = syntax(bad, "").unwrap_err();
            assert_eq!(error.message, format!("the frontend `{bad}` is not supported"));
            assert!(error.span.is_some());
        }
        assert!(syntax("other/frontend", "docker/dockerfile:1").is_ok());
        assert!(syntax("docker/dockerfile:1", "other/frontend").unwrap_err().span.is_none());
    }
}
