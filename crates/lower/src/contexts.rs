//! Where a name of FROM, `COPY --from` or a mount leads when no stage has it: to a named context or to an image.

use crate::images::{ImageRequest, LayoutRequest};
use crate::reference::{canonical, familiar};
use crate::{LowerError, NamedContext, Options};
use kiln_dockerfile::Span;
use kiln_graph::{Platform, Source};
use std::collections::HashMap;

/// What stands behind a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nothing at all: `scratch`.
    Scratch,
    /// A directory of the user's, by the name of its context.
    Local(String),
    /// A repository or a file from elsewhere, by the name of its context.
    Remote(String, Source),
    /// An image.
    Image(ImageRequest),
}

/// The named contexts, by their short names.
#[derive(Debug)]
pub(crate) struct Contexts<'a> {
    by_name: HashMap<String, (&'a str, &'a NamedContext)>,
}

impl<'a> Contexts<'a> {
    /// Indexes them. `alpine`, `alpine:latest` and `docker.io/library/alpine` are the same name.
    pub(crate) fn new(options: &'a Options) -> Self {
        let by_name =
            options.contexts.iter().map(|(name, context)| (short_name(name), (name.as_str(), context))).collect();
        Self { by_name }
    }

    /// The context of this name, if there is one. One for the platform (`name::linux/arm64`) goes before one for all.
    ///
    /// # Errors
    /// A context whose image has a malformed name.
    pub(crate) fn find(&self, name: &str, platform: &Platform) -> Result<Option<Origin>, LowerError> {
        if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") || self.by_name.is_empty() {
            return Ok(None);
        }
        let short = short_name(name);
        let found = self.by_name.get(&format!("{short}::{platform}")).or_else(|| self.by_name.get(&short));
        let Some((key, context)) = found else { return Ok(None) };
        let origin = match context {
            NamedContext::Local => Origin::Local((*key).to_owned()),
            NamedContext::Git(tree) => Origin::Remote((*key).to_owned(), Source::Git(tree.clone())),
            NamedContext::Http(file) => Origin::Remote((*key).to_owned(), Source::Http(file.clone())),
            NamedContext::Image(image) => {
                let reference = canonical(image).ok_or_else(|| {
                    LowerError::new(format!("build context `{key}`: `{image}` is not an image reference"), None)
                })?;
                Origin::Image(ImageRequest { reference, platform: platform.clone(), layout: None })
            }
            NamedContext::OciLayout { path, reference } => Origin::Image(ImageRequest {
                reference: (*key).to_owned(),
                platform: platform.clone(),
                layout: Some(LayoutRequest { path: path.clone(), reference: reference.clone() }),
            }),
        };
        Ok(Some(origin))
    }

    /// What a name leads to that is not a stage's.
    ///
    /// # Errors
    /// A name that is not an image reference.
    pub(crate) fn origin<'n>(
        &self,
        name: &str,
        platform: &Platform,
        span: Span,
        stages: impl IntoIterator<Item = &'n str>,
    ) -> Result<Origin, LowerError> {
        if name == "scratch" {
            return Ok(Origin::Scratch);
        }
        if let Some(origin) = self.find(name, platform)? {
            return Ok(origin);
        }
        match canonical(name) {
            Some(reference) => Ok(Origin::Image(ImageRequest { reference, platform: platform.clone(), layout: None })),
            None => {
                let error = LowerError::new(format!("`{name}` is neither a stage nor an image reference"), span);
                let lower = name.to_lowercase();
                Err(if name != lower && canonical(&lower).is_some() {
                    error.hint(format!("names of images are in lower case: `{lower}`"))
                } else {
                    error.hint("an image is named `[registry/]name[:tag][@digest]`")
                }
                .suggest(name, stages))
            }
        }
    }
}

/// The name as people write it; one that no image could have is its own.
fn short_name(name: &str) -> String {
    match name.split_once("::") {
        Some((image, platform)) => format!("{}::{platform}", short_name(image)),
        None => familiar(name).unwrap_or_else(|| name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_found_by_any_spelling() {
        let options = Options {
            contexts: [
                ("docker.io/library/alpine:latest".to_owned(), NamedContext::Local),
                ("Odd".to_owned(), NamedContext::Local),
                ("go::linux/arm64".to_owned(), NamedContext::Image("golang:1".to_owned())),
                ("bad".to_owned(), NamedContext::Image("BAD".to_owned())),
                ("scratch".to_owned(), NamedContext::Local),
            ]
            .into(),
            ..Options::default()
        };
        let contexts = Contexts::new(&options);
        let amd64: Platform = "linux/amd64".parse().unwrap();
        let arm64: Platform = "linux/arm64".parse().unwrap();
        let local = |name: &str| Some(Origin::Local(name.to_owned()));
        assert_eq!(contexts.find("alpine", &amd64).unwrap(), local("docker.io/library/alpine:latest"));
        assert_eq!(contexts.find("alpine:3", &amd64).unwrap(), None);
        assert_eq!(contexts.find("Odd", &amd64).unwrap(), local("Odd"));
        assert_eq!(contexts.find("go", &amd64).unwrap(), None);
        assert!(matches!(contexts.find("go", &arm64).unwrap(), Some(Origin::Image(_))));
        assert!(contexts.find("bad", &amd64).is_err());
        assert_eq!(contexts.origin("scratch", &amd64, Span::at(0), []).unwrap(), Origin::Scratch);
    }

    #[test]
    fn bad_names_come_with_a_hint() {
        let options = Options::default();
        let contexts = Contexts::new(&options);
        let hint = |name: &str| contexts.origin(name, &options.platform, Span::at(0), ["builder"]).unwrap_err().hint;
        assert_eq!(hint("Alpine").as_deref(), Some("names of images are in lower case: `alpine`"));
        assert_eq!(hint("Builder").as_deref(), Some("did you mean `builder`?"));
        assert_eq!(hint("a b").as_deref(), Some("an image is named `[registry/]name[:tag][@digest]`"));
    }
}
