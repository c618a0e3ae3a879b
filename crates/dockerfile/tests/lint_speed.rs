//! The budget of the lints: 0.3 ms for 2,000 lines, since a build in which nothing changed runs them too.

use kiln_dockerfile::rules::{BaseFacts, Facts, Options, StageFacts, check};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// 2,000 lines of what long Dockerfiles are made of: stages on top of each other, each with a variable.
fn long() -> String {
    let mut text = "ARG VERSION=1\n".to_owned();
    for stage in 0..24 {
        let base = if stage == 0 { "golang:1.25".to_owned() } else { format!("s{}", stage - 1) };
        text.push_str(&format!(
            "FROM {base} AS s{stage}\nARG VERSION\nENV VAR_{stage}=\"${{VERSION}}-{stage}\"\nWORKDIR /src/{stage}\n"
        ));
        for step in 0..7 {
            text.push_str(&format!(
                "# step {step}\n\
                 COPY dir{step}/*.go ./dir{step}/\n\
                 RUN --mount=type=cache,target=/root/.cache/go-build \\\n    \
                 go build -ldflags \"-X main.version=$VERSION\" ./...\n\
                 COPY --chown=app:app assets{step} /srv/$VERSION/assets\n\
                 RUN apt-get update && \\\n    \
                 apt-get install -y --no-install-recommends \\\n    \
                 curl \\\n    git \\\n    make && \\\n    \
                 rm -rf /var/lib/apt/lists/*\n\n"
            ));
        }
    }
    text
}

/// The processor time of this thread: what others do on the machine at the same time does not count.
fn spent() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

#[test]
fn two_thousand_lines() {
    let text = long();
    assert!(text.lines().count() >= 1900, "{}", text.lines().count());
    let (dockerfile, errors) = kiln_dockerfile::parse(&text);
    assert_eq!(errors, []);
    let base = BaseFacts { env: [("GOPATH".to_owned(), "/go".to_owned())].into(), ..BaseFacts::default() };
    let facts = Facts { stages: vec![StageFacts { skipped: false, base: Some(base) }], ..Facts::default() };
    let best = (0..30)
        .map(|_| {
            let start = spent();
            assert_eq!(check(&dockerfile, &facts, &Options::default()), []);
            spent() - start
        })
        .min()
        .unwrap();
    println!("linted {} lines in {best:?}", text.lines().count());
    // The budget is that of optimized code whose caches and cores are its own; tests share theirs.
    let limit = if cfg!(debug_assertions) { 30_000 } else { 1_000 };
    assert!(best.as_micros() <= limit, "{best:?} is more than {limit} µs");
}
