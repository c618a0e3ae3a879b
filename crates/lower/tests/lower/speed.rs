//! The budget of a long Dockerfile.

use crate::support::{Images, options};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// 2,000 lines of what long Dockerfiles are made of: 24 stages on top of each other, each with a variable.
fn long() -> String {
    let mut text = "ARG VERSION=1\n".to_owned();
    for stage in 0..24 {
        let base = if stage == 0 { "golang:1.25".to_owned() } else { format!("s{}", stage - 1) };
        text.push_str(&format!(
            "FROM {base} AS s{stage}\nARG VERSION\nENV VAR_{stage}=\"${{VERSION}}-{stage}\"\nWORKDIR /src/{stage}\n"
        ));
        for n in 0..7 {
            text.push_str(&format!(
                "# step {n}\n\
                 COPY dir{n}/*.go ./dir{n}/\n\
                 RUN --mount=type=cache,target=/root/.cache/go-build \\\n    \
                 go build -ldflags \"-X main.version=$VERSION\" ./...\n\
                 COPY --chown=app:app assets{n} /srv/assets\n\
                 RUN apt-get update && \\\n    \
                 apt-get install -y --no-install-recommends \\\n    \
                 curl \\\n    git \\\n    make && \\\n    \
                 rm -rf /var/lib/apt/lists/*\n\n"
            ));
        }
    }
    text
}

#[test]
fn two_thousand_lines() {
    check(&long(), 20);
}

/// The same in stages that are not exported, where each step may get caches.
#[test]
fn two_thousand_lines_with_automatic_caches() {
    check(&format!("{}FROM scratch\nCOPY --from=s23 /app /\n", long()), 20);
}

/// What an instruction or a stage costs does not grow with the variables before it.
#[test]
fn two_thousand_lines_of_variables() {
    let set: String = (0..1_950).map(|n| format!("ENV VAR_{n}=$VAR_{}x\n", n % 50)).collect();
    check(&format!("FROM scratch\n{set}"), 5);
    let stages: String = (1..975).map(|n| format!("FROM s{} AS s{n}\nENV VAR_{n}=value\n", n - 1)).collect();
    check(&format!("FROM scratch AS s0\n{stages}"), 5);
}

/// The processor time of this thread: what others do on the machine at the same time does not count.
fn spent() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

fn check(text: &str, rounds: u32) {
    assert!(text.lines().count() >= 1900, "{}", text.lines().count());
    let images = Images::default();
    let best = (0..rounds)
        .map(|_| {
            let start = spent();
            let (dockerfile, errors) = kiln_dockerfile::parse(text);
            assert!(errors.is_empty());
            kiln_lower::lower(&dockerfile, &options(), &images).unwrap();
            spent() - start
        })
        .min()
        .unwrap();
    println!("parsed and lowered {} lines in {best:?}", text.lines().count());
    // 5 ms is the budget of optimized code whose caches and cores are its own; tests share theirs.
    let limit = if cfg!(debug_assertions) { 200 } else { 15 };
    assert!(best.as_millis() <= limit, "{best:?} is more than {limit} ms");
}
