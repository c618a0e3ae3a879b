//! A stranger's Dockerfile: parsed, linted, and lowered for a registry that has every image. Nothing may panic or hang, and
//! every span that an error or a finding names must lie in the text.

#![no_main]

use kiln_digest::Digest;
use kiln_dockerfile::{Span, parse, rules};
use kiln_graph::ImageLocation;
use kiln_lower::{ImageConfig, ImageRequest, ImageResolver, Options, ResolveError, ResolvedImage, lower};
use libfuzzer_sys::fuzz_target;

/// Has every image, and each has triggers.
struct AnyImage;

impl ImageResolver for AnyImage {
    fn resolve(&self, request: &ImageRequest) -> Result<ResolvedImage, ResolveError> {
        let mut config = ImageConfig::empty(&request.platform);
        config.config.on_build = vec!["ARG A=b".to_owned(), "RUN echo $A".to_owned()];
        Ok(ResolvedImage {
            reference: request.reference.clone(),
            digest: Digest::of_bytes(request.reference.as_bytes()),
            platform: request.platform.clone(),
            location: ImageLocation::Registry,
            config,
        })
    }
}

fuzz_target!(|text: &str| {
    let inside = |span: Span| {
        assert!(text.get(span.start as usize..span.end as usize).is_some(), "{span:?} is no part of the text");
    };
    let (dockerfile, errors) = parse(text);
    errors.iter().for_each(|error| inside(error.span));
    let options = Options { all_stages: true, ..Options::default() };
    match lower(&dockerfile, &options, &AnyImage) {
        Ok(lowered) => {
            lowered.warnings.iter().filter_map(|warning| warning.span).for_each(inside);
            let facts = rules::Facts { stages: lowered.facts, ..rules::Facts::default() };
            let findings = rules::check(&dockerfile, &facts, &rules::Options::default());
            findings.iter().for_each(|finding| inside(finding.span));
        }
        Err(error) => error.span.into_iter().for_each(inside),
    }
});
