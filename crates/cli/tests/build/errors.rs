//! What goes wrong in a Dockerfile or in a step: the excerpt, the hint, the status, and that nothing is left behind.

use crate::support::{Kiln, Ran};
use snapbox::{IntoData, assert_data_eq, str};
use std::process::Command;

/// Builds this Dockerfile, which fails; the error without the progress above it.
#[track_caller]
fn error(kiln: &Kiln, dockerfile: &str, status: i32) -> String {
    kiln.write("Dockerfile", dockerfile);
    let ran = kiln.build::<&str>([]);
    ran.exits(status).stdout_is("");
    let at = ran.stderr.find("error: ").unwrap_or_else(|| panic!("no error: {ran}"));
    ran.stderr[at..].replace(&kiln.context().display().to_string(), "[CONTEXT]")
}

#[test]
fn a_store_on_an_overlay_cannot_run_steps() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let layer = |name: &str| {
        let path = kiln.path("overlay").join(name);
        std::fs::create_dir_all(&path).unwrap();
        path.display().to_string()
    };
    let options = format!("lowerdir={},upperdir={},workdir={}", layer("lower"), layer("upper"), layer("work"));
    let place = kiln.root();
    std::fs::create_dir_all(&place).unwrap();
    let mounted = Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&place).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: cannot mount an overlay");
        return;
    }
    kiln.write("Dockerfile", "FROM base\nRUN echo one\n");
    let ran = kiln.build::<&str>([]);
    let unmounted = Command::new("umount").args(["-l"]).arg(&place).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
    ran.exits(4).stderr_has("is on an overlay filesystem").stderr_has("hint: put kiln's store on another filesystem");
}

#[test]
fn a_failing_step() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let text = error(
        &kiln,
        "FROM base\n\nRUN echo fine\nRUN echo one && \\\n    echo two >&2 && \\\n    exit 42\nRUN echo never\n",
        1,
    );
    assert_data_eq!(
        text,
        str![[r#"
error: `echo one &&     echo two >&2 &&     exit 42` failed: exit code 42
 --> [CONTEXT]/Dockerfile:4:1
  |
4 | / RUN echo one && \
5 | |     echo two >&2 && \
6 | |     exit 42
  | |___________^ this step failed

"#]]
        .raw()
    );
    let ran = kiln.build::<&str>([]);
    ran.exits(1).stderr_has("the last output of the step:\n  one\n  two\n").stderr_lacks("echo never");
}

#[test]
fn a_failing_script_is_named_by_its_first_line() {
    let Some(kiln) = Kiln::for_builds() else { return };
    assert_data_eq!(
        error(&kiln, "FROM base\nRUN <<EOF\necho one\nfalse\nEOF\n", 1),
        str![[r#"
error: `echo one …` failed: exit code 1
 --> [CONTEXT]/Dockerfile:2:1
  |
2 | / RUN <<EOF
3 | | echo one
4 | | false
5 | | EOF
  | |___^ this step failed

"#]]
        .raw()
    );
}

#[test]
fn the_caret_is_under_the_word_that_is_wrong() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("there", "x");
    for (dockerfile, message, place) in [
        ("FROM base\nCOPY there nosuch /x/\n", "`nosuch` does not exist in the build context", ":2:12"),
        ("FROM base\nCOPY [\"nosuch\", \"/x/\"]\n", "`nosuch` does not exist", ":2:8"),
        ("FROM scratch\nCOPY --chown=nobodyx there /x\n", "user `nobodyx` is not in `/etc/passwd`", ":2:14"),
        ("FROM scratch\nCOPY --chown=0:many there /x\n", "group `many` is not in `/etc/group`", ":2:16"),
        ("FROM base\nRUN --mount=from=base,source=no/such,target=/x a\n", "`/no/such` does not exist", ":2:30"),
        ("FROM base\nRUN --mount=type=secret,id=key,required \\\n  a\n", "the secret `key`", ":2:28"),
        ("FROM base\nRUN --mount=type=ssh,id=git,required a\n", "the SSH agent `git`", ":2:25"),
        ("FROM base\nCOPY there [ /x/\n", "bad pattern `[`", ":2:12"),
        ("FROM base\nCOPY --exclude=a[ there /x/\n", "bad pattern `a[`", ":2:16"),
        // Not to be found as it was written.
        ("FROM base\nARG A=nosuch\nCOPY $A /x\n", "`nosuch` does not exist", ":3:1"),
        ("FROM base\nUSER none\nRUN a\n", "user `none` is not in `/etc/passwd`", ":3:1"),
    ] {
        let text = error(&kiln, dockerfile, 1);
        assert!(text.contains(message) && text.contains(&format!("Dockerfile{place}\n")), "{text}");
    }
}

#[test]
fn what_is_not_in_the_context() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("src/main.go", "x").write("secret.txt", "x").write(".dockerignore", "*.txt\nignored\n");
    for (source, hint) in [
        ("secret.txt", "hint: the directory has it, but `.dockerignore` leaves it out\n"),
        ("/src/mian.go", "hint: did you mean `src/main.go`?\n"),
        ("scr/main.go", "here\n\n"),
        ("ignored", "here\n\n"),
    ] {
        let text = error(&kiln, &format!("FROM base\nCOPY {source} /x\n"), 1);
        let path = source.trim_start_matches('/');
        assert!(text.contains(&format!("`{path}` does not exist in the build context")), "{text}");
        assert!(text.contains("Dockerfile:2:6\n"), "{text}");
        assert!(format!("{text}\n").contains(hint), "{text}");
    }
}

#[test]
fn a_failing_step_is_shown_under_quiet() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo the reason && false\n");
    let ran = Ran::of(kiln.command(["build", "-q", "--build-context"]).arg(kiln.base()).arg("."));
    ran.exits(1).stdout_is("").stderr_has("  the reason\n").stderr_has("Dockerfile:2:1");
}

#[test]
fn signals_and_missing_programs() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let text = error(&kiln, "FROM base\nRUN sleep 9 & kill -9 $!; wait $!\n", 1);
    assert!(text.contains("Dockerfile:2:1") && text.contains("137"), "{text}");
    let text = error(&kiln, "FROM base\nRUN [\"/no/such/program\"]\n", 1);
    assert!(text.contains("/no/such/program") && text.contains("Dockerfile:2"), "{text}");
    let text = error(&kiln, "FROM scratch\nRUN echo\n", 1);
    assert!(text.contains("/bin/sh") && text.contains("Dockerfile:2"), "{text}");
    assert!(text.contains("hint: the image has no shell"), "{text}");
}

#[test]
fn mistakes_in_dockerfiles() {
    let Some(kiln) = Kiln::for_builds() else { return };
    assert_data_eq!(
        error(&kiln, "FROM base\nRUNN echo\n", 1),
        str![[r#"
error: unknown instruction `RUNN`
 --> [CONTEXT]/Dockerfile:2:1
  |
2 | RUNN echo
  | ^^^^
hint: did you mean `RUN`?

"#]]
        .raw()
    );
    assert_data_eq!(
        error(&kiln, "FROM base\nCOPY --form=x a b\n", 1),
        str![[r#"
error: COPY has no flag `--form`
 --> [CONTEXT]/Dockerfile:2:6
  |
2 | COPY --form=x a b
  |      ^^^^^^^^
hint: did you mean `--from`?

"#]]
        .raw()
    );
    assert_data_eq!(
        error(&kiln, "RUN echo\n", 1),
        str![[r#"
error: RUN stands before the first FROM
 --> [CONTEXT]/Dockerfile:1:1
  |
1 | RUN echo
  | ^^^
hint: a Dockerfile begins with FROM; only ARG may stand before it

"#]]
        .raw()
    );
    assert_data_eq!(
        error(&kiln, "", 1),
        str![[r#"
error: the Dockerfile has no instructions
 --> [CONTEXT]/Dockerfile:1:1
  |
1 |
  | ^
hint: the least is one line: FROM image

"#]]
        .raw()
    );
    assert_data_eq!(
        error(&kiln, "FROM base\nCOPY missing.txt /\n", 1),
        str![[r#"
error: `missing.txt` does not exist in the build context
 --> [CONTEXT]/Dockerfile:2:6
  |
2 | COPY missing.txt /
  |      ^^^^^^^^^^^ here

"#]]
        .raw()
    );
    assert_data_eq!(
        error(&kiln, "FROM base AS a\nCOPY --from=b /x /x\nFROM base AS b\nCOPY --from=a /x /x\n", 1),
        str![[r#"
error: stages `a` and `b` need each other
 --> [CONTEXT]/Dockerfile:2:1
  |
2 | COPY --from=b /x /x
  | ^^^^^^^^^^^^^^^^^^^
hint: a stage can only use stages that stand before it

"#]]
        .raw()
    );
    assert_data_eq!(
        error(&kiln, "FROM Bad/Name:tag:tag\n", 1),
        str![[r#"
error: `Bad/Name:tag:tag` is neither a stage nor an image reference
 --> [CONTEXT]/Dockerfile:1:6
  |
1 | FROM Bad/Name:tag:tag
  |      ^^^^^^^^^^^^^^^^
hint: an image is named `[registry/]name[:tag][@digest]`

"#]]
        .raw()
    );
    assert_data_eq!(
        error(&kiln, "FROM base\nRUN <<EOF\necho\n", 1),
        str![[r#"
error: heredoc `EOF` is not closed
 --> [CONTEXT]/Dockerfile:2:5
  |
2 | RUN <<EOF
  |     ^^^^^
hint: end it with a line that is exactly `EOF`; only `<<-` lets tabs stand before it

"#]]
        .raw()
    );
    assert_data_eq!(
        error(&kiln, "FROM base\nCOPY only\n", 1),
        str![[r#"
error: COPY has no destination
 --> [CONTEXT]/Dockerfile:2:6
  |
2 | COPY only
  |      ^^^^
hint: write COPY only DESTINATION

"#]]
        .raw()
    );
    assert_data_eq!(
        error(&kiln, "FROM base\nENV A=${B?missing}\n", 1),
        str![[r#"
error: B: missing
 --> [CONTEXT]/Dockerfile:2:7
  |
2 | ENV A=${B?missing}
  |       ^^^^^^^^^^^^
hint: set it: --build-arg B=…

"#]]
        .raw()
    );
    assert_data_eq!(
        error(&kiln, "FROM base\nCOPY --from=base /no/such /x\n", 1),
        str![[r#"
error: `no/such` does not exist in the image, stage or context that is copied from
 --> [CONTEXT]/Dockerfile:2:18
  |
2 | COPY --from=base /no/such /x
  |                  ^^^^^^^^ here

"#]]
        .raw()
    );
    assert_data_eq!(
        error(&kiln, "FROM scratch\nCOPY --chown=nobody-here Dockerfile /x\n", 1),
        str![[r#"
error: user `nobody-here` is not in `/etc/passwd` of the image
 --> [CONTEXT]/Dockerfile:2:14
  |
2 | COPY --chown=nobody-here Dockerfile /x
  |              ^^^^^^^^^^^ here
hint: use a numeric id, or make the user before this step

"#]]
        .raw()
    );
    assert_data_eq!(
        error(&kiln, "FROM base\nUSER nobody-here\nRUN true\n", 1),
        str![[r#"
error: user `nobody-here` is not in `/etc/passwd` of the image
 --> [CONTEXT]/Dockerfile:3:1
  |
3 | RUN true
  | ^^^^^^^^ here
hint: use a numeric id, or make the user before this step

"#]]
        .raw()
    );
    assert_data_eq!(
        error(&kiln, "FROM base\r\nRUNN \u{e9}\r\n", 1),
        str![[r#"
error: unknown instruction `RUNN`
 --> [CONTEXT]/Dockerfile:2:1
  |
2 | RUNN é
  | ^^^^
hint: did you mean `RUN`?

"#]]
        .raw()
    );
}

#[test]
fn what_is_not_supported_says_where() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let text = error(&kiln, "# syntax=example.com/other/frontend\nFROM base\n", 4);
    assert!(text.contains("Dockerfile:"), "{text}");
}

#[test]
fn a_missing_dockerfile() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let ran = kiln.build::<&str>([]);
    ran.exits(1).stderr_has("Dockerfile").stderr_has("hint: ");
    kiln.write("dockerfile.txt", "FROM base\n");
    kiln.build(["-f", "none"]).exits(1).stderr_has("`none`");
}

#[test]
fn unreachable_registries() {
    let Some(kiln) = Kiln::for_builds() else { return };
    // Nobody listens on this port.
    let text = error(&kiln, "FROM 127.0.0.1:1/image\n", 3);
    assert!(text.contains("127.0.0.1:1") && text.contains("Dockerfile:1"), "{text}");
}

#[test]
fn nothing_is_left_of_a_failure() {
    let Some(kiln) = Kiln::for_builds() else { return };
    error(&kiln, "FROM base\nRUN sleep 100 & touch /x; exit 1\n", 1);
    assert_eq!(mounts(&kiln), "");
    let left = std::fs::read_dir(kiln.root().join("tmp")).map_or(0, Iterator::count);
    assert!(left <= 1, "{left} directories below tmp");
}

/// The lines of this namespace's mount table that name the store.
pub(super) fn mounts(kiln: &Kiln) -> String {
    let root = kiln.root().display().to_string();
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.contains(&root)).collect()
}
