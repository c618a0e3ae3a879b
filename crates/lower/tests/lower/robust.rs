//! Any Dockerfile gets an answer: a graph in order, or an error with a place inside the text.

use crate::support::{Images, options};
use kiln_lower::{NamedContext, NoCache, Options, lower};

/// Lines that like to meet: stages that name each other, triggers, odd words.
const LINES: &[&str] = &[
    "FROM a AS a",
    "FROM b AS a",
    "FROM a",
    "FROM scratch AS s",
    "FROM triggers AS t",
    "FROM $B",
    "FROM --platform=$TARGETPLATFORM a AS p",
    "ARG A",
    "ARG B=a C=$A",
    "ENV A=$B B=${C:-x}",
    "ENV PATH=",
    "COPY . .",
    "COPY --from=a --parents /./x/../y .",
    "COPY --from=s / /",
    "COPY --from=0 a b",
    "COPY --from=1 a b",
    "COPY --from=t ../../.. ..",
    "COPY --link --chmod=$A <<E <<F $B/",
    "E",
    "F",
    "ADD https://example.org/%2e%2e?x ./",
    "RUN --mount=target=/x,from=a --mount=type=cache,target=$A/c x",
    "RUN --mount=type=ssh --mount=type=secret,id=$B,env=A $A",
    "RUN <<E",
    "#!x",
    "ONBUILD COPY --from=a x y",
    "ONBUILD RUN $",
    "WORKDIR $A/../..",
    "WORKDIR ",
    "USER $A:$B",
    "SHELL [\"\"]",
    "SHELL []",
    "CMD",
    "ENTRYPOINT []",
    "EXPOSE $A 1-3",
    "VOLUME $A",
    "STOPSIGNAL ${A}é",
    "HEALTHCHECK CMD é",
    "LABEL a=\"${A%é}\" \"${B//a/é}\"=",
    "MAINTAINER é",
];

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn random_dockerfiles() {
    let images = Images::with(&[(
        "docker.io/library/triggers:latest",
        r#"{"config": {"Env": ["", "A", "=", "B=1=2"], "WorkingDir": "rel/../..", "User": ":",
            "OnBuild": ["RUN --mount=from=a,target=/a x", "COPY --from=0 a b", "ENV A=$A"]}}"#,
    )]);
    let contexts = [("p".to_owned(), NamedContext::Local), ("b".to_owned(), NamedContext::Image("a".to_owned()))];
    let variants = [
        options(),
        Options { target: Some("a".to_owned()), no_cache: NoCache::All, multi_platform: true, ..options() },
        Options {
            contexts: contexts.into(),
            implicit_platform: false,
            build_args: [("A".to_owned(), "é/..".to_owned()), ("B".to_owned(), "s".to_owned())].into(),
            ..options()
        },
    ];
    let mut random = Random(7);
    let mut built = 0;
    for round in 0..6_000 {
        let mut text = if random.below(4) == 0 { String::new() } else { "FROM a AS a\n".to_owned() };
        for _ in 0..random.below(14) {
            text.push_str(LINES[random.below(LINES.len())]);
            text.push('\n');
        }
        // What could be read is lowered, even where the rest has errors.
        let (dockerfile, _) = kiln_dockerfile::parse(&text);
        match lower(&dockerfile, &variants[round % variants.len()], &images) {
            Ok(lowered) => {
                built += 1;
                for (index, vertex) in lowered.graph.vertices().iter().enumerate() {
                    assert!(vertex.inputs.iter().all(|input| input.index() < index), "{text}");
                    if let Some((start, end)) = vertex.label.span {
                        assert!(text.get(start as usize..end as usize).is_some(), "{text}");
                    }
                }
            }
            Err(error) => {
                assert!(error.span.is_none_or(|span| text.get(span.range()).is_some()), "{text}\n{error}");
            }
        }
    }
    assert!(built > 500, "only {built} of the Dockerfiles could be lowered");
}
