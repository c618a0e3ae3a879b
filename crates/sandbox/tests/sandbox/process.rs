//! Program, arguments, environment, user, working directory, exit.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use kiln_sandbox::{ExitStatus, Output, Rlimit, Root, SpawnError, User};

use crate::fixture::{Trial, base, chain, finish, need_root};

#[test]
fn exit_codes_and_signals() {
    need_root!();
    assert_eq!(Trial::new(&["/bin/true"]).run().exit.status, ExitStatus::Code(0));
    assert_eq!(Trial::sh("exit 42").run().exit.status, ExitStatus::Code(42));
    // The first process of a pid namespace takes no signal from inside that it does not handle, so the kill comes from here.
    let mut child = Trial::new(&["sleep", "100"]).spawn().unwrap();
    child.kill();
    let exit = child.wait().unwrap();
    assert_eq!(exit.status, ExitStatus::Signal(9));
    assert_eq!(exit.code(), 137);
    assert_eq!(child.wait().unwrap(), exit);
}

#[test]
fn streams_are_apart() {
    need_root!();
    let ran = Trial::sh("echo out; echo err >&2; cat; echo again > /dev/stdout").run();
    assert_eq!(ran.out, "out\nagain\n");
    assert_eq!(ran.err, "err\n");
}

#[test]
fn users_may_open_their_streams_anew() {
    need_root!();
    let mut sandbox = Trial::sh("echo out > /dev/stdout; echo err > /proc/self/fd/2");
    sandbox.spec.user = User { uid: 1000, gid: 1000, additional_gids: vec![] };
    let ran = sandbox.run();
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("out\n", "err\n"));
}

#[test]
fn standard_input_is_a_pipe_at_its_end() {
    need_root!();
    let mut sandbox = Trial::sh("test -p /dev/stdin && echo pipe; cat; cat /dev/stdin; echo end");
    sandbox.spec.user = User { uid: 1000, gid: 1000, additional_gids: vec![] };
    assert_eq!(sandbox.output(), "pipe\nend");
}

#[test]
fn huge_output_arrives_whole() {
    need_root!();
    let ran = Trial::sh("dd if=/dev/zero bs=1M count=64 2>/dev/null | tr '\\0' x").run();
    assert!(ran.exit.success());
    assert_eq!(ran.out.len(), 64 << 20);
}

#[test]
fn environment_is_what_the_spec_says() {
    need_root!();
    let mut sandbox = Trial::new(&["env"]);
    sandbox.spec.env.push(("KEY".to_owned(), "a value\nof two lines".to_owned()));
    assert_eq!(sandbox.output(), "PATH=/bin\nKEY=a value\nof two lines");
}

#[test]
fn working_directory() {
    need_root!();
    let mut sandbox = Trial::new(&["pwd"]);
    sandbox.spec.cwd = "/home/user".to_owned();
    assert_eq!(sandbox.output(), "/home/user");
    // Entered before privileges are dropped, as Docker does.
    let mut sandbox = Trial::new(&["pwd"]);
    sandbox.spec.cwd = "/root".to_owned();
    sandbox.spec.user.uid = 1000;
    assert_eq!(sandbox.output(), "/root");

    // Made where it is missing, as Docker does.
    let mut sandbox = Trial::sh("pwd; stat -c '%a %u' . ..");
    sandbox.spec.cwd = "/no/where".to_owned();
    sandbox.spec.user.uid = 1000;
    assert_eq!(sandbox.output(), "/no/where\n755 0\n755 0");
    let mut sandbox = Trial::sh("pwd; stat -c '%a %u %g' .");
    let group = sandbox.upper().join("group");
    fs::create_dir(&group).unwrap();
    chown(&group, Some(5), Some(6)).unwrap();
    fs::set_permissions(&group, PermissionsExt::from_mode(0o2775)).unwrap();
    sandbox.spec.cwd = "/group/made".to_owned();
    assert_eq!(sandbox.output(), "/group/made\n2755 0 0");
    sandbox.spec.cwd = "/group/made/../..".to_owned();
    assert_eq!(sandbox.output().lines().next(), Some("/"));

    let mut sandbox = Trial::new(&["pwd"]);
    sandbox.spec.cwd = "/bin/sh/below".to_owned();
    assert_eq!(sandbox.failure(), "working directory `/bin/sh/below`: Not a directory (os error 20)");
}

#[test]
fn user_and_groups() {
    need_root!();
    let mut sandbox = Trial::sh("id -u; id -g; id -G; umask");
    sandbox.spec.user = User { uid: 1000, gid: 1001, additional_gids: vec![7, 4242] };
    assert_eq!(sandbox.output(), "1000\n1001\n1001 7 4242\n0022");
    assert_eq!(Trial::sh("id -u; id -g; id -G").output(), "0\n0\n0");
}

#[test]
fn first_in_its_pid_namespace_and_session() {
    need_root!();
    assert_eq!(
        Trial::sh("echo $$; cut -d' ' -f5,6 /proc/self/stat | head -1; ls -d /proc/[0-9]* | wc -l").output(),
        "1\n1 1\n3"
    );
}

#[test]
fn hostname() {
    need_root!();
    assert_eq!(Trial::new(&["hostname"]).output(), "buildkitsandbox");
    let mut sandbox = Trial::new(&["hostname"]);
    sandbox.spec.hostname = "kiln".to_owned();
    assert_eq!(sandbox.output(), "kiln");
}

#[test]
fn signals_are_reset() {
    need_root!();
    // This process ignores SIGPIPE, as every Rust program does.
    let status = Trial::new(&["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]).output();
    for line in status.lines() {
        assert!(line.ends_with("0000000000000000"), "{status}");
    }
}

#[test]
fn no_descriptor_leaks() {
    need_root!();
    let leaked = fs::File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    // `ls` itself has the directory open.
    assert_eq!(Trial::new(&["ls", "/proc/self/fd"]).output(), "0\n1\n2\n3");
}

#[test]
fn limits() {
    need_root!();
    let mut sandbox = Trial::sh("ulimit -n; ulimit -Hn");
    sandbox.spec.rlimits.push(Rlimit { resource: 7, soft: 100, hard: 200 });
    assert_eq!(sandbox.output(), "100\n200");
}

#[test]
fn usage_is_measured() {
    need_root!();
    let mut sandbox =
        Trial::sh("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; dd if=/dev/zero of=/dev/null bs=300M count=1");
    sandbox.spec.env.clear();
    let ran = sandbox.run();
    assert!(ran.exit.usage.max_rss.is_some_and(|bytes| bytes > 300 << 20), "{ran:?}");
    // Less than what this process has.
    assert_eq!(Trial::new(&["true"]).run().exit.usage.max_rss, None);
    assert!(ran.exit.usage.user.as_micros() > 0, "{ran:?}");
}

#[test]
fn program_lookup() {
    need_root!();
    let code = |sandbox: &Trial| sandbox.spawn().unwrap_err().exit_code();

    let missing = Trial::new(&["/bin/shx"]);
    assert_eq!(missing.failure(), "exec `/bin/shx`: No such file or directory (os error 2)");
    assert_eq!(code(&missing), Some(127));

    let unknown = Trial::new(&["shx"]);
    assert_eq!(unknown.failure(), "exec `shx`: not found in `PATH`");
    assert_eq!(code(&unknown), Some(127));

    let plain = Trial::new(&["/etc/passwd"]);
    assert_eq!(plain.failure(), "exec `/etc/passwd`: Permission denied (os error 13)");
    assert_eq!(code(&plain), Some(126));

    let directory = Trial::new(&["/etc"]);
    assert_eq!(directory.failure(), "exec `/etc`: Permission denied (os error 13)");

    let (script, _layer) = Trial::with_layer(&["/s"], |layer| write_program(layer, "s", "#!/bin/lost -x\n"));
    assert_eq!(script.failure(), "exec `/s`: its interpreter `/bin/lost` is not in the image");
    assert_eq!(code(&script), Some(127));

    let (garbage, _layer) = Trial::with_layer(&["/g"], |layer| write_program(layer, "g", "\x01\x02garbage"));
    assert_eq!(garbage.failure(), "exec `/g`: Exec format error (os error 8)");
    assert_eq!(code(&garbage), Some(126));

    let loaderless = std::env::current_exe().unwrap();
    let (binary, _layer) = Trial::with_layer(&["/b"], |layer| {
        fs::copy(&loaderless, layer.join("b")).unwrap();
    });
    let error = binary.failure();
    assert!(error.starts_with("exec `/b`: its interpreter `/lib") && error.contains("ld-"), "{error}");

    assert!(matches!(Trial::new(&[""]).spawn(), Err(SpawnError::NotInPath { .. })));
    assert!(matches!(Trial::new(&[]).spawn(), Err(SpawnError::Invalid { .. })));
}

fn write_program(layer: &std::path::Path, name: &str, text: &str) {
    let path = layer.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn path_is_searched_in_order() {
    need_root!();
    let (mut sandbox, _layer) = Trial::with_layer(&["tool"], |layer| {
        for (directory, mode) in [("a", 0o644), ("b", 0o755), ("c", 0o755)] {
            fs::create_dir(layer.join(directory)).unwrap();
            let path = layer.join(directory).join("tool");
            fs::write(&path, format!("#!/bin/sh\necho {directory}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    });
    sandbox.spec.env = vec![("PATH".to_owned(), "/none:/a:/b:/c".to_owned())];
    assert_eq!(sandbox.output(), "b");
    // Found but not executable anywhere.
    sandbox.spec.env = vec![("PATH".to_owned(), "/none:/a:/none2".to_owned())];
    let error = sandbox.spawn().unwrap_err();
    assert_eq!(
        (chain(&error).as_str(), error.exit_code()),
        ("exec `tool`: Permission denied (os error 13)", Some(126))
    );
}

#[test]
fn without_path_dockers_is_used() {
    need_root!();
    let mut sandbox = Trial::new(&["echo", "found"]);
    sandbox.spec.env.clear();
    assert_eq!(sandbox.output(), "found");
}

#[test]
fn a_directory_is_a_root_as_well() {
    need_root!();
    let mut sandbox = Trial::sh("ls /; echo written > /written");
    let root = sandbox.make("root");
    for directory in ["bin", "proc", "sys", "dev"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    fs::copy(base().join("bin/busybox"), root.join("bin/sh")).unwrap();
    fs::copy(base().join("bin/busybox"), root.join("bin/ls")).unwrap();
    sandbox.spec.root = Root::Directory(root.clone());
    assert_eq!(sandbox.output(), "bin\ndev\nproc\nsys");
    assert_eq!(fs::read_to_string(root.join("written")).unwrap(), "written\n");
}

#[test]
fn inherited_streams() {
    need_root!();
    let mut sandbox = Trial::sh("exit 3");
    sandbox.spec.output = Output::Inherit;
    let mut child = sandbox.spawn().unwrap();
    assert!(child.stdout.is_none() && child.stderr.is_none());
    assert_eq!(child.wait().unwrap().code(), 3);
}

#[test]
fn zero_bytes_are_refused() {
    need_root!();
    let mut sandbox = Trial::new(&["true"]);
    sandbox.spec.env.push(("A".to_owned(), "b\0c".to_owned()));
    assert!(sandbox.failure().contains("holds a zero byte"));
}

#[test]
fn descendants_die_with_the_first_process() {
    need_root!();
    let sandbox = Trial::sh("(setsid sleep 1000 > /dev/null 2>&1 &) ; sleep 0.1; echo done");
    let mut child = sandbox.spawn().unwrap();
    let ran = finish(&mut child);
    assert_eq!(ran.out, "done\n");
    assert!(!crate::life::any_process_with("sleep\u{0}1000"));
}
