//! A RUN that fails: what the user sees, and that nothing of it stays.

use crate::leftovers;
use crate::support::Kiln;

#[test]
fn a_failing_step_is_shown_and_leaves_nothing() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let cache = "--mount=type=cache,target=/cache";
    let first = format!("FROM base\nRUN {cache} echo kept >> /cache/log\n");
    kiln.write("Dockerfile", &first);
    kiln.build::<&str>([]).succeeds();
    let (layers, mounts) = (leftovers::names(&kiln, "layers"), leftovers::names(&kiln, "mounts"));
    let usage = kiln.run(["du"]).succeeds().stdout();

    let failing = format!(
        "{first}# Says much, then fails.\nRUN {cache} echo more >> /cache/log \\\n    && dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null \\\n    \
         && for i in $(seq 200); do echo line $i; done; echo last words >&2; exit 7\nRUN echo never\n"
    );
    kiln.write("Dockerfile", &failing);
    for arguments in [&[][..], &["--no-cache"]] {
        let ran = kiln.build(arguments);
        ran.exits(1).stderr_has("Dockerfile:4").stderr_has("exit code 7").logs("last words").logs("line 200");
        assert!(!ran.logged("never"), "{ran}");
        leftovers::none(&kiln);
        leftovers::no_temporary_files(&kiln);
        assert_eq!(leftovers::names(&kiln, "layers"), layers);
        assert_eq!(leftovers::names(&kiln, "mounts"), mounts);
    }
    let bytes = |text: &str| text.lines().filter(|line| line.contains("layer")).count();
    assert_eq!(bytes(&kiln.run(["du"]).succeeds().stdout()), bytes(&usage));

    kiln.write(
        "Dockerfile",
        format!("{first}RUN {cache} grep -c . /cache/log; grep -c kept /cache/log; test ! -e /big\n"),
    );
    kiln.build::<&str>([]).succeeds().logs("4").logs("2").cached("echo kept");
}

#[test]
fn a_step_that_is_killed_says_so() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo before; sh -c 'kill -SEGV $$'; exit $?\n");
    kiln.build::<&str>([]).exits(1).stderr_has("Dockerfile:2").stderr_has("exit code 139").stderr_has("before");
    kiln.write("Dockerfile", "FROM base\nRUN [\"/bin/none\"]\n");
    kiln.build::<&str>([]).exits(1).stderr_has("Dockerfile:2").stderr_has("/bin/none");
    kiln.write("Dockerfile", "FROM base\nSHELL [\"/bin/bash\", \"-c\"]\nRUN true\n");
    kiln.build::<&str>([]).exits(1).stderr_has("Dockerfile:3").stderr_has("/bin/bash");
}

#[test]
fn a_failure_stops_the_other_stages() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base AS slow\nRUN sleep 69 && touch /slow\nFROM base AS fails\nRUN sleep 0.5; exit 9\n\
         FROM scratch\nCOPY --from=slow /slow /\nCOPY --from=fails /fails /\n",
    );
    let started = std::time::Instant::now();
    kiln.build::<&str>([]).exits(1).stderr_has("Dockerfile:4").stderr_has("exit code 9");
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
    leftovers::none(&kiln);
    leftovers::no_temporary_files(&kiln);
}
