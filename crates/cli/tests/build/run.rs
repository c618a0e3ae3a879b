//! `kiln run`.

use crate::support::{Kiln, Ran};

fn image() -> Option<Kiln> {
    let kiln = Kiln::for_builds()?;
    kiln.write(
        "Dockerfile",
        "FROM base\nENV GREETING=hello\nWORKDIR /srv\nUSER app\nENTRYPOINT [\"/bin/echo\", \"entry\"]\nCMD [\"default\"]\n",
    );
    kiln.build(["-t", "app"]).succeeds();
    Some(kiln)
}

#[test]
fn entrypoint_and_command() {
    let Some(kiln) = image() else { return };
    kiln.run(["run", "app"]).succeeds().stdout_is("entry default\n");
    kiln.run(["run", "app", "one", "--two"]).succeeds().stdout_is("entry one --two\n");
    kiln.run(["run", "--entrypoint", "/bin/pwd", "app"]).succeeds().stdout_is("/srv\n");
    kiln.run(["run", "--entrypoint", "", "app", "/bin/echo", "bare"]).succeeds().stdout_is("bare\n");
    kiln.run(["run", "app", "-c", "-e", "--user", "x", "--", "--help"])
        .succeeds()
        .stdout_is("entry -c -e --user x -- --help\n");
    kiln.run(["run", "--rm", "app:latest"]).succeeds().stdout_is("entry default\n");
}

#[test]
fn settings() {
    let Some(kiln) = image() else { return };
    let sh = |options: &[&str], script: &str| {
        let mut arguments = vec!["run", "--entrypoint", "/bin/sh"];
        arguments.extend(options);
        arguments.extend(["app", "-c", script]);
        let ran = Ran::of(kiln.command(arguments).env("PASSED_ON", "from outside"));
        ran.succeeds();
        ran.stdout()
    };
    assert_eq!(sh(&[], "echo $GREETING $HOME; id -u; pwd"), "hello /home/app\n1000\n/srv\n");
    assert_eq!(
        sh(&["-e", "GREETING=bye", "-e", "PASSED_ON", "-e", "NOT_SET"], "echo $GREETING $PASSED_ON $NOT_SET."),
        "bye from outside .\n"
    );
    assert_eq!(sh(&["-u", "12:34", "-w", "/tmp"], "id -u; id -g; pwd"), "12\n34\n/tmp\n");
    assert_eq!(sh(&["--network", "none"], "ls /sys/class/net"), "lo\n");
}

#[test]
fn exit_statuses() {
    let Some(kiln) = image() else { return };
    let sh = |script: &str| kiln.run(["run", "--entrypoint", "/bin/sh", "app", "-c", script]).status;
    assert_eq!(sh("exit 42"), Some(42));
    assert_eq!(sh("sleep 9 & kill -9 $!; wait $!"), Some(137));
    kiln.run(["run", "--entrypoint", "/no/such", "app"]).exits(127).stderr_has("/no/such");
    kiln.run(["run", "--entrypoint", "/etc/passwd", "app"]).exits(126).stderr_has("/etc/passwd");
    kiln.run(["run", "127.0.0.1:1/no-such-image"])
        .exits(125)
        .stderr_has("error: there is no image `127.0.0.1:1/no-such-image` here, and it cannot be pulled");
    kiln.run(["run", "--entrypoint", "", "app"]).exits(125).stderr_has("without an entrypoint there is nothing to run");
}

#[test]
fn streams() {
    let Some(kiln) = image() else { return };
    let ran =
        kiln.run_with_input(["run", "--entrypoint", "/bin/sh", "app", "-c", "cat; echo err >&2"], b"through the pipe");
    ran.succeeds().stdout_is("through the pipe");
    assert_eq!(ran.stderr, "err\n");
}

#[test]
fn nothing_is_kept() {
    let Some(kiln) = image() else { return };
    let sh = |script: &str| kiln.run(["run", "-u", "0", "--entrypoint", "/bin/sh", "app", "-c", script]);
    sh("echo x > /new && rm /etc/group").succeeds();
    sh("test ! -e /new && test -e /etc/group").succeeds();
    assert_eq!(super::errors::mounts(&kiln), "");
}

#[test]
fn ids_work_too() {
    let Some(kiln) = image() else { return };
    let id = kiln.run(["images", "-q"]).stdout();
    kiln.run(["run", id.trim()]).succeeds().stdout_is("entry default\n");
    let whole = kiln.run(["images", "-q", "--no-trunc"]).stdout();
    kiln.run(["run", whole.trim()]).succeeds().stdout_is("entry default\n");
}

#[test]
fn the_image_of_a_build_has_no_capabilities_but_dockers() {
    let Some(kiln) = image() else { return };
    let ran = kiln.run(["run", "-u", "0", "--entrypoint", "/bin/grep", "app", "CapEff", "/proc/self/status"]);
    ran.succeeds().stdout_is("CapEff:\t00000000a80425fb\n");
}
