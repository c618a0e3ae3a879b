//! What is built again and what is not, and what kiln says about it.

use crate::support::Kiln;
use std::fs;
use std::time::{Duration, SystemTime};

const DOCKERFILE: &str = "FROM base\nWORKDIR /app\nCOPY go.mod .\nRUN echo download\nCOPY . .\nRUN echo compile\n";

fn project() -> Option<Kiln> {
    let kiln = Kiln::for_builds()?;
    kiln.write("Dockerfile", DOCKERFILE).write("go.mod", "module x\n").write("main.go", "one\n");
    kiln.build(["-t", "app"]).succeeds();
    Some(kiln)
}

#[test]
fn nothing_changed() {
    let Some(kiln) = project() else { return };
    let ran = kiln.build(["-t", "app"]);
    ran.succeeds().cached("COPY go.mod").cached("RUN echo download").cached("COPY . .").cached("RUN echo compile");
    ran.stderr_has("all cached").stderr_lacks("why:");
}

#[test]
fn a_changed_file_reruns_what_needs_it_and_is_named() {
    let Some(kiln) = project() else { return };
    kiln.write("main.go", "two\n");
    let ran = kiln.build(["-t", "app"]);
    ran.succeeds().cached("COPY go.mod").cached("RUN echo download").executed("COPY . .").executed("RUN echo compile");
    assert!(ran.step("COPY . .").contains(&"why: main.go changed"), "{ran}");
    assert!(ran.step("RUN echo compile").iter().any(|line| line.starts_with("why: ")), "{ran}");
}

#[test]
fn files_that_come_go_and_change_mode_are_named() {
    let Some(kiln) = project() else { return };
    kiln.write("new.go", "new\n");
    let ran = kiln.build::<&str>([]);
    assert!(ran.step("COPY . .").contains(&"why: new.go added"), "{ran}");
    fs::remove_file(kiln.context().join("new.go")).unwrap();
    // As it was before: the first build's record still holds.
    kiln.build::<&str>([]).succeeds().cached("COPY . .").cached("RUN echo compile");
    kiln.chmod("main.go", 0o755);
    let ran = kiln.build::<&str>([]);
    ran.succeeds().executed("COPY . .");
    assert!(ran.step("COPY . .").iter().any(|line| line.starts_with("why: ") && line.contains("main.go")), "{ran}");
}

#[test]
fn times_do_not_count() {
    let Some(kiln) = project() else { return };
    let file = fs::File::options().write(true).open(kiln.context().join("main.go")).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(1_000_000)).unwrap();
    drop(file);
    kiln.build::<&str>([]).succeeds().cached("COPY . .").cached("RUN echo compile");
}

#[test]
fn a_change_that_keeps_size_and_times_is_noticed() {
    let Some(kiln) = project() else { return };
    let path = kiln.context().join("main.go");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    kiln.write("main.go", "six\n");
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    kiln.build::<&str>([]).succeeds().executed("COPY . .");
}

#[test]
fn early_cutoff() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nCOPY input /in\nRUN wc -c < /in > /size && rm /in\nRUN echo expensive\n");
    kiln.write("input", "abc");
    kiln.build::<&str>([]).succeeds();
    kiln.write("input", "xyz");
    let ran = kiln.build::<&str>([]);
    ran.succeeds().executed("COPY input");
    kiln.write("Dockerfile", "FROM base AS gen\nCOPY input /in\nRUN wc -c < /in > /size\nFROM base\nCOPY --from=gen /size /size\nRUN echo expensive\n");
    kiln.build::<&str>([]).succeeds();
    kiln.write("input", "uvw");
    let ran = kiln.build::<&str>([]);
    ran.succeeds().executed("RUN wc -c").cached("COPY --from=gen").cached("RUN echo expensive");
}

#[test]
fn a_rerun_that_makes_the_same_bytes_changes_nothing_above() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nARG V\nRUN echo same > /made\nRUN echo expensive\n");
    kiln.build(["--build-arg", "V=1"]).succeeds();
    let ran = kiln.build(["--build-arg", "V=2"]);
    ran.succeeds().executed("RUN echo same").stderr_has("V: 1 → 2");
}

#[test]
fn commands_and_arguments_are_named() {
    let before = "FROM base\nARG VERSION=1.2\nENV E=a\nRUN echo $VERSION $E\n";
    for (from, to, reason) in [
        ("VERSION=1.2", "VERSION=1.3", "VERSION: 1.2 → 1.3"),
        ("E=a", "E=b", "E: a → b"),
        ("RUN echo", "RUN printf", "command: "),
        ("RUN echo", "USER app\nRUN echo", "user"),
        ("RUN echo", "RUN --network=none echo", "network"),
    ] {
        let Some(kiln) = Kiln::for_builds() else { return };
        kiln.write("Dockerfile", before);
        kiln.build::<&str>([]).succeeds();
        kiln.write("Dockerfile", before.replace(from, to));
        let ran = kiln.build::<&str>([]);
        let why = ran.step("RUN").iter().find_map(|line| line.strip_prefix("why: ")).unwrap_or_default().to_owned();
        assert!(why.contains(reason), "no `{reason}` in `{why}`: {ran}");
    }
}

#[test]
fn an_argument_that_the_step_does_not_see_says_nothing() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo one\nARG LATER\n");
    kiln.build(["--build-arg", "LATER=1"]).succeeds();
    kiln.build(["--build-arg", "LATER=2"]).succeeds().cached("RUN echo one");
}

#[test]
fn no_cache() {
    let Some(kiln) = project() else { return };
    let ran = kiln.build(["--no-cache"]);
    ran.succeeds().executed("COPY go.mod").executed("RUN echo download").executed("RUN echo compile");
    kiln.write("Dockerfile", "FROM base AS a\nRUN echo in-a\nFROM base AS b\nRUN echo in-b\nFROM scratch\nCOPY --from=a /etc /a\nCOPY --from=b /etc /b\n");
    kiln.build::<&str>([]).succeeds();
    let ran = kiln.build(["--no-cache-filter", "b"]);
    ran.succeeds().cached("RUN echo in-a").executed("RUN echo in-b");
}

#[test]
fn ignored_files_do_not_count() {
    let Some(kiln) = project() else { return };
    kiln.write(".dockerignore", "*.log\n.dockerignore\n");
    kiln.build::<&str>([]).succeeds();
    kiln.write("debug.log", "noise");
    kiln.build::<&str>([]).succeeds().cached("COPY . .");
}

#[test]
fn whitespace_and_comments_of_the_dockerfile_do_not_count() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("a", "a").write(".dockerignore", "Dockerfile\n");
    kiln.write("Dockerfile", "FROM base\nCOPY a /a\nRUN echo one\n");
    kiln.build::<&str>([]).succeeds();
    kiln.write("Dockerfile", "# a comment\nfrom base\n\n\nCOPY   a   /a\n# another\nRUN echo one\n");
    kiln.build::<&str>([]).succeeds().cached("COPY").cached("RUN echo one");
}

#[test]
fn a_failed_step_is_not_cached() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo good\nRUN test -e /made || exit 3\n");
    kiln.build::<&str>([]).exits(1);
    kiln.build::<&str>([]).exits(1).cached("RUN echo good").executed("RUN test -e");
}
