//! What runs, how often, and at the same time as what.

use crate::leftovers;
use crate::support::Kiln;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// How often steps wrote a line into a file of any cache mount, as the host sees it.
pub(crate) fn runs(kiln: &Kiln, file: &str) -> usize {
    let mounts = leftovers::names(kiln, "mounts");
    let logs = mounts.iter().map(|mount| kiln.root().join("mounts").join(mount).join("fs").join(file));
    logs.filter_map(|log| fs::read_to_string(log).ok()).map(|text| text.lines().count()).sum()
}

#[test]
fn the_same_result_invalidates_nothing() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base AS builder\nCOPY src /src\nRUN grep -v '^#' /src/code > /program\nFROM base\n\
         COPY --from=builder /program /bin/\nRUN echo after $(cat /bin/program)\n",
    );
    kiln.write("src/code", "# first comment\ncode\n");
    kiln.build::<&str>([]).succeeds().logs("after code");
    kiln.write("src/code", "# second comment\ncode\n");
    let ran = kiln.build::<&str>([]);
    ran.succeeds().executed("COPY src").executed("RUN grep").cached("COPY --from").cached("RUN echo after");

    // Within a stage as well.
    let dockerfile =
        |n: u32| format!("FROM base\nRUN echo same > /same # {n}\nRUN cat /same\nCOPY src /src\nRUN ls /src\n");
    kiln.write("Dockerfile", dockerfile(1));
    kiln.build::<&str>([]).succeeds();
    for n in 2..4 {
        kiln.write("Dockerfile", dockerfile(n));
        let ran = kiln.build::<&str>([]);
        ran.succeeds().executed("echo same").cached("RUN cat").cached("COPY src").cached("RUN ls");
    }
}

#[test]
fn independent_stages_run_at_once() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN true\n");
    kiln.build::<&str>([]).succeeds();
    kiln.write(
        "Dockerfile",
        "FROM base AS a\nRUN sleep 1 && echo a > /a\nFROM base AS b\nRUN sleep 1 && echo b > /b\n\
         FROM base\nCOPY --from=a /a /\nCOPY --from=b /b /\nRUN cat /a /b\n",
    );
    let started = Instant::now();
    kiln.build::<&str>([]).succeeds().logs("a").logs("b");
    let took = started.elapsed();
    assert!(took < Duration::from_millis(1800), "{took:?}");
}

#[test]
fn unused_stages_are_not_built() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base AS unused\nRUN false\nCOPY missing /\nFROM base AS used\nRUN echo used\n\
         FROM 127.0.0.1:1/no/image AS unreachable\nRUN true\nFROM used AS last\nRUN echo last\nFROM base\nRUN false\n",
    );
    kiln.build(["--target", "last"]).succeeds().logs("used").logs("last").stderr_lacks("unreachable");
}

#[test]
fn identical_steps_run_once() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let step = "RUN --mount=type=cache,id=log,target=/log sleep 0.2 && echo x >> /log/same && echo x > /x\n";
    kiln.write(
        "Dockerfile",
        format!(
            "FROM base AS a\n{step}FROM base AS b\n{step}FROM base AS c\n{step}RUN echo c > /c\n\
             FROM scratch\nCOPY --from=a /x /a\nCOPY --from=b /x /b\nCOPY --from=c /c /c\n"
        ),
    );
    kiln.build::<&str>([]).succeeds();
    assert_eq!(runs(&kiln, "same"), 1);
}

#[test]
fn what_was_built_before_is_found_again() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nCOPY f /f\nRUN cat /f\n");
    for round in 0..2 {
        for text in ["one", "two", "three"] {
            kiln.write("f", text);
            let ran = kiln.build::<&str>([]);
            ran.succeeds();
            if round > 0 {
                ran.cached("COPY f").cached("RUN cat");
            }
        }
    }
    fs::set_permissions(kiln.context().join("f"), fs::Permissions::from_mode(0o755)).unwrap();
    let ran = kiln.build::<&str>([]);
    ran.succeeds().executed("COPY f");
    assert!(ran.step("COPY f").iter().any(|line| line.starts_with("why: ") && line.contains("f changed")), "{ran}");
}
