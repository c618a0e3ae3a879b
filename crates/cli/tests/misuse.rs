//! Mistakes on the command line and in the configuration: what is said, and the status.

use crate::support::{Kiln, Ran};
use std::fs;
use std::process::Stdio;

/// Runs and expects `error: MESSAGE`, a hint that contains `hint`, and the status.
#[track_caller]
fn expect(kiln: &Kiln, arguments: &[&str], status: i32, message: &str, hint: &str) {
    let ran = kiln.run(arguments);
    ran.exits(status).stdout_is("");
    let first = ran.stderr.lines().next().unwrap_or_default();
    assert!(first.starts_with("error: ") && format!("{first}\n").contains(message), "no `{message}` in {ran}");
    let hints: String = ran.stderr.lines().filter(|line| line.starts_with("hint: ")).collect();
    assert!(hints.contains(hint) && hints.is_empty() == hint.is_empty(), "no `{hint}` in {ran}");
}

#[test]
fn commands_and_options() {
    let kiln = Kiln::new();
    for (arguments, message, hint) in [
        (&["biuld", "."][..], "unknown command `biuld`", "did you mean `kiln build`?"),
        (&["frobnicate"], "unknown command `frobnicate`", "`kiln --help`"),
        (&["--frob"], "unknown option `--frob`", "`kiln --help`"),
        (&["build", "--lable", "x", "."], "unknown option `--lable`", "did you mean `--label`?"),
        (&["build", "-x", "."], "unknown option `-x`", "`kiln build --help`"),
        (&["build"], "needs a context", "`kiln build .`"),
        (&["build", ".", "more"], "what is `more`?", "options that take a value"),
        (&["build", "none"], "the context `none` does not exist", ""),
        (&["build", "-t"], "`--tag` needs a value", "--help`"),
        (&["build", "-t", "App", "."], "`--tag`: bad reference `App`", "did you mean `app`?"),
        (&["build", "--network", "bridge", "."], "`--network`: unknown network `bridge`", "`host`"),
        (&["build", "--platform", "foo", "."], "`--platform`: bad platform `foo`", "linux/amd64"),
        (&["build", "--platform", "linux/", "."], "`--platform`: bad platform `linux/`", "linux/amd64"),
        (&["build", "--progress", "loud", "."], "`--progress`: bad value `loud`", "auto, tty, plain, quiet, rawjson"),
        (&["build", "--progress", "tty", "."], "needs a terminal", "--progress=plain"),
        (&["build", "-q", "--progress", "plain", "."], "contradict", "leave one out"),
        (&["build", "--pull=perhaps", "."], "`--pull`: bad value `perhaps`", "expected `true` or `false`"),
        (&["build", "--build-arg", "=x", "."], "`--build-arg`: `=x` has no name", "NAME=VALUE"),
        (&["build", "--label", "=x", "."], "`--label`: `=x` has no name", "NAME=VALUE"),
        (&["build", "--add-host", "db", "."], "`--add-host`: no address in `db`", "HOST:IP"),
        (&["build", "--ulimit", "files=1", "."], "`--ulimit`: unknown limit `files`", "nofile"),
        (&["build", "--shm-size", "big", "."], "`--shm-size`: bad size `big`", "64m"),
        (&["build", "--secret", "id=a,src=none", "."], "there is no file `none`", ""),
        (&["build", "--ssh", "default", "."], "`SSH_AUTH_SOCK` is not set", "--ssh default=FILE"),
        (&["build", "--ssh", "a=none", "."], "`--ssh`: cannot read `none`", ""),
        (&["build", "--allow", "all", "."], "`--allow`: unknown entitlement `all`", "`network.host`"),
        (&["build", "-m", "1m", "."], "`--memory`: `1m` is too little", "6m"),
        (&["build", "--memory-swap", "1g", "."], "`--memory-swap` needs `--memory`", ""),
        (&["build", "-m", "1g", "--memory-swap", "512m", "."], "less than `--memory`", ""),
        (&["build", "--cpuset-cpus", "x", "."], "`--cpuset-cpus`: bad list `x`", "0-2,5"),
        (
            &["build", "--cpuset-cpus", "4000", "."],
            "`--cpuset-cpus`: there is no processor 4000",
            "this machine has `0",
        ),
        (&["build", "--cpu-quota", "5", "."], "`--cpu-quota`: 5 is not in 1000..", ""),
        (&["build", "--cgroup-parent", "../x", "."], "`--cgroup-parent`: bad control group `../x`", "/builds"),
        (&["build", "--build-context", "x=none", "."], "`--build-context`: the context `none` does not exist", ""),
        (&["build", "-o", "type=zip", "."], "`--output`: unknown type `zip`", "`oci`"),
        (&["build", "-o", "type=oci,colour=red", "."], "unknown attribute `colour`", "`compression`"),
        (&["build", "--push", "."], "an image without a name cannot be pushed", "--tag"),
        (&["build", "--annotation", "layer:a=b", "."], "`--annotation`: unknown place `layer`", "`manifest`"),
        (&["build", "-o", "-", "-o", "type=oci", "."], "more than one output", "`dest`"),
        (&["build", "-q", "-o", "-", "."], "`--quiet` prints the image id", "--iidfile"),
        (&["build", "-o", "type=oci,dest=/", "."], "the destination `/` is a directory", "name of a file"),
        (&["build", "--auto-cache", "some", "."], "error: `--auto-cache`: unknown mode `some`\n", "`safe`"),
        (&["build", "--no-cache-mounts", "."], "`--no-cache-mounts` says", "`--no-cache`"),
        (&["cache", "rm"], "`kiln cache rm` needs <ID>", "`kiln cache rm --help`"),
        (&["cache", "rm", "--all"], "asks before it removes anything", "`kiln cache rm --all --force`"),
        (&["cache", "rm", "--all", "x"], "`--all` cannot be used together with `ID`", ""),
        (&["rmi"], "`kiln rmi` needs <NAME|ID>", "`kiln rmi --help`"),
        (&["images", "--json", "-q"], "cannot be used together", ""),
        (&["tag", "a", "b:c:d"], "error: bad reference `b:c:d`: `c:d` is not a tag", "letters, digits"),
        (&["prune", "--keep-mounts"], "`--keep-mounts` needs `--all`\n", "kept anyway"),
        (&["images", "x"], "unexpected argument `x`", "`kiln images --help`"),
        (&["prune"], "asks before it removes anything", "--force"),
        (&["prune", "--filter", "label=x"], "`--filter`: unknown filter `label=x`", "until=24h"),
        (&["prune", "--filter", "until=1x"], "`--filter`: bad duration `1x`", "24h"),
        (&["prune", "--max-used-space", "x"], "`--max-used-space`: bad size `x`", "64m"),
        (&["ps"], "unknown command `ps`", "no container outlives `kiln run`"),
        (&["buildx", "build", "."], "unknown command `buildx`", "`kiln build …`"),
    ] {
        expect(&kiln, arguments, 2, message, hint);
    }
}

#[test]
fn files_that_are_no_contexts() {
    let kiln = Kiln::new();
    kiln.write("Dockerfile", "FROM scratch\n");
    expect(
        &kiln,
        &["build", "Dockerfile"],
        2,
        "the context `Dockerfile` is not a directory",
        "`kiln build -f Dockerfile DIR`",
    );
    assert!(!kiln.root().exists(), "nothing was done");
}

#[test]
fn files_to_write_are_looked_at_first() {
    let kiln = Kiln::new();
    kiln.write("Dockerfile", "FROM scratch\n").write("dir/x", "").write("file", "");
    for (arguments, message, hint) in [
        (&["build", "--metadata-file", "dir", "."][..], "`--metadata-file`: `dir` is a directory", "name of a file"),
        (&["build", "--iidfile", "dir", "."], "`--iidfile`: `dir` is a directory", "name of a file"),
        (&["build", "--iidfile", "none/x", "."], "`--iidfile`: there is no directory for `none/x`", ""),
        (&["build", "--iidfile", "file/x", "."], "`--iidfile`: there is no directory for `file/x`", ""),
        (&["--root", "file", "images"], "/file` is not a directory", "`--root DIR`"),
        (&["--root", "file/below", "images"], "/file` is not a directory", "`--root DIR`"),
        (&["build", "--annotation", "index:a=b", "."], "`a` is for an index", "several platforms"),
    ] {
        expect(&kiln, arguments, 2, message, hint);
    }
    assert!(!kiln.root().exists(), "nothing was done");
}

#[test]
fn what_is_not_there() {
    let kiln = Kiln::new();
    kiln.write("Dockerfile", "FROM scratch\n");
    kiln.run(["build", "--progress=plain", "."]).succeeds();
    for (arguments, message, hint) in [
        (&["cache", "rm", "x"][..], "there is no cache mount `x`", "`kiln cache ls`"),
        (&["rmi", "x"], "there is no image `x`", "`kiln images`"),
        (&["why", "99"], "the build has no step `99`", "`kiln why`"),
        (&["why", "--build", "zz"], "zz", ""),
        (&["build", "-f", "none", "."], "there is no Dockerfile `none`", "current directory"),
    ] {
        let ran = kiln.run(arguments);
        ran.exits(1).stderr_has(message).stderr_has(hint);
    }
    kiln.run(["history"]).succeeds().stdout_has(" failed   none\n");
}

#[test]
fn what_docker_has_and_kiln_has_not() {
    let kiln = Kiln::new();
    for (arguments, message, hint) in [
        (&["build", "--rm=false", "."][..], "`--rm` is not supported", "leave it out"),
        (&["build", "--security-opt=x", "."], "`--security-opt` is not supported", ""),
        (&["build", "--allow=device", "."], "devices are not supported", "no devices"),
        (&["build", "--cache-from=type=gha", "."], "`type=gha` is not supported", "the types are"),
        (&["build", "ftp://example.com/x"], "a context of the scheme `ftp` is not supported", "git repositories"),
        (&["build", "-o", "type=oci-layout", "."], "`type=oci-layout` is not supported", "`cacheonly`"),
        (&["build", "--add-host", "db:host-gateway", "."], "`host-gateway` is not supported", "address"),
    ] {
        expect(&kiln, arguments, 4, message, hint);
    }
    assert!(!kiln.root().exists(), "nothing was done");
}

#[test]
fn run_has_a_status_of_its_own() {
    let kiln = Kiln::new();
    for (arguments, message) in [
        (&["run"][..], "`kiln run` needs <IMAGE>"),
        (&["run", "--frob", "x"], "unknown option `--frob`"),
        (&["run", "-it", "x"], "`-i` is not supported by `kiln run`"),
        (&["run", "-e", "=x", "x"], "`--env`: `=x` has no name"),
        (&["run", "--network", "foo", "x"], "`--network`: unknown network `foo`"),
        (&["--debug", "run", "-m", "1", "x"], "`--memory`: `1` is too little"),
    ] {
        kiln.run(arguments).exits(125).stderr_has(message);
    }
}

#[test]
fn configuration() {
    let kiln = Kiln::new();
    let config = kiln.path("config.toml");
    let path = config.to_str().unwrap();
    expect(&kiln, &["--config", path, "images"], 2, "cannot read the configuration file", "");
    fs::write(&config, "[registry.\"docker.io\"]\nmirror = []\n").unwrap();
    expect(
        &kiln,
        &["--config", path, "images"],
        2,
        "config.toml: line 2, column 1: unknown field `mirror`",
        "did you mean `mirrors`?",
    );
    fs::write(&config, "[registry\n").unwrap();
    expect(&kiln, &["images", "--config", path], 2, "config.toml: line 1, column ", "");
    fs::write(&config, "debug = true\n").unwrap();
    let ran = Ran::of(kiln.command(["images"]).env("KILN_CONFIG", &config));
    ran.exits(2).stderr_has("unknown field `debug`");
    let ran = Ran::of(kiln.command(["images"]).env("KILN_CONFIG", kiln.path("none.toml")));
    ran.exits(2).stderr_has("cannot read the configuration file");
}

#[test]
fn the_environment_chooses_progress() {
    let kiln = Kiln::new();
    let ran = Ran::of(kiln.command(["build", "."]).env("BUILDKIT_PROGRESS", "loud"));
    ran.exits(2).stderr_has("unknown progress `loud` in the environment variable `BUILDKIT_PROGRESS`");
}

#[test]
fn a_home_is_needed_only_without_root() {
    let kiln = Kiln::new();
    let ran = Ran::of(kiln.command(["--version"]).env_remove("HOME").env_remove("KILN_ROOT"));
    ran.succeeds();
}

#[test]
fn nobody_reads_standard_output() {
    let kiln = Kiln::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = kiln.command(["version"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
