//! Progress on a real terminal, which util-linux's `script` provides.

use crate::support::{Kiln, Ran, has_program};
use std::process::Command;

/// Builds on a terminal of 80 columns; what the terminal was sent.
fn on_terminal(kiln: &Kiln, environment: &[(&str, &str)], status: i32) -> String {
    let build = kiln.build_command(["--progress=auto"]);
    let words = std::iter::once(build.get_program()).chain(build.get_args()).map(|word| word.to_str().unwrap());
    let line = format!("stty cols 80 rows 24; {}", words.collect::<Vec<_>>().join(" "));
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).current_dir(kiln.context());
    for (name, value) in build.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command.env("TERM", "xterm").env_remove("NO_COLOR").envs(environment.iter().copied());
    let ran = Ran::of(&mut command);
    ran.exits(status);
    ran.stdout()
}

#[test]
fn a_live_view() {
    let Some(kiln) = Kiln::for_builds() else { return };
    if !has_program("script") {
        return;
    }
    kiln.write("Dockerfile", "FROM base\nRUN echo working; sleep 0.5; printf '\\033]0;title\\007'\n");
    let text = on_terminal(&kiln, &[("NO_COLOR", "1")], 0);
    assert!(text.contains("[+] Building 0.") && text.contains(" => => working"), "{text}");
    assert!(text.contains(" => [2/2] RUN echo working") && text.contains("built sha256:"), "{text}");
    assert!(!text.contains("\x1b]") && !text.contains("\x1b[0m"), "{text:?}");
    let again = on_terminal(&kiln, &[], 0);
    assert!(again.contains("CACHED [2/2] RUN echo working") && again.contains("\x1b[36m"), "{again:?}");
    assert!(!again.contains("[+] Building"), "nothing is drawn for so short a build: {again:?}");
    let dumb = on_terminal(&kiln, &[("TERM", "dumb")], 0);
    assert!(dumb.contains("#2 CACHED") && !dumb.contains('\x1b'), "{dumb:?}");
}

#[test]
fn a_failure_shows_the_log_once() {
    let Some(kiln) = Kiln::for_builds() else { return };
    if !has_program("script") {
        return;
    }
    kiln.write("Dockerfile", "FROM base\nRUN echo the-log; exit 3\n");
    let text = on_terminal(&kiln, &[("NO_COLOR", "1")], 1);
    assert!(text.contains("ERROR [2/2] RUN echo the-log") && text.contains("Dockerfile:2:1"), "{text}");
    assert_eq!(text.lines().filter(|line| line.trim() == "the-log").count(), 1, "{text}");
}
