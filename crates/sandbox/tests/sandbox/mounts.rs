//! What the caller mounts, the mount points created for it, and what is left of them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use kiln_sandbox::{Mount, MountKind, Writable};

use crate::fixture::{Trial, need_root, tree};

fn bind(source: impl Into<PathBuf>, target: &str) -> Mount {
    let kind = MountKind::Bind { source: source.into(), subpath: PathBuf::new(), read_only: false, recursive: true };
    Mount { target: target.into(), kind }
}

fn tmpfs(target: &str) -> Mount {
    Mount { target: target.into(), kind: MountKind::Tmpfs { size: None, mode: 0o1777, read_only: false } }
}

#[test]
fn binds_show_the_source_and_keep_writes() {
    need_root!();
    let mut sandbox = Trial::sh("cat /mnt/a/in; echo out > /mnt/a/out");
    let source = sandbox.make("source");
    fs::write(source.join("in"), "in\n").unwrap();
    sandbox.spec.mounts.push(bind(&source, "/mnt/a"));
    assert_eq!(sandbox.output(), "in");
    assert_eq!(fs::read_to_string(source.join("out")).unwrap(), "out\n");
    assert_eq!(tree(&sandbox.upper()), Vec::<String>::new());
}

#[test]
fn read_only_binds() {
    need_root!();
    let mut sandbox = Trial::sh("touch /mnt/x 2>&1; touch /mnt/sub/x 2>&1; echo y > /file 2>&1; cat /file");
    let source = sandbox.make("source/sub");
    let file = source.join("file");
    fs::write(&file, "text\n").unwrap();
    for (source, target) in [(source.parent().unwrap(), "/mnt"), (file.as_path(), "/file")] {
        let kind =
            MountKind::Bind { source: source.to_owned(), subpath: PathBuf::new(), read_only: true, recursive: true };
        sandbox.spec.mounts.push(Mount { target: target.into(), kind });
    }
    let ran = sandbox.run();
    assert_eq!((ran.out + &ran.err).matches("Read-only file system").count(), 3);
    assert_eq!(fs::read_to_string(&file).unwrap(), "text\n");
}

#[test]
fn binds_of_a_part() {
    need_root!();
    let mut sandbox = Trial::sh("cat /mnt/f; cat /one");
    let source = sandbox.make("source");
    fs::create_dir_all(source.join("real/deep")).unwrap();
    fs::write(source.join("real/deep/f"), "deep\n").unwrap();
    // An absolute link in the source means the source's root.
    symlink("/real/deep", source.join("link")).unwrap();
    for (subpath, target) in [("link", "/mnt"), ("/link/../deep/f", "/one")] {
        let kind =
            MountKind::Bind { source: source.clone(), subpath: subpath.into(), read_only: true, recursive: false };
        sandbox.spec.mounts.push(Mount { target: target.into(), kind });
    }
    // `..` is cleaned away before the link is looked at.
    assert!(sandbox.failure().starts_with("open the source of the mount at `/one`: No such file"));
    if let MountKind::Bind { subpath, .. } = &mut sandbox.spec.mounts[1].kind {
        *subpath = "link/f".into();
    }
    assert_eq!(sandbox.output(), "deep\ndeep");
}

#[test]
fn overlays_with_and_without_writes() {
    need_root!();
    let mut sandbox = Trial::sh(
        "cat /ro/f /rw/f /one/f; cd /ro && ls; touch /ro/x 2>/dev/null || echo refused; rm /rw/f; echo n > /rw/n; cat /sub/f",
    );
    let (bottom, top) = (sandbox.make("bottom/d"), sandbox.make("top/d"));
    let (bottom, top) = (bottom.parent().unwrap(), top.parent().unwrap());
    fs::write(bottom.join("f"), "bottom\n").unwrap();
    fs::write(top.join("f"), "top\n").unwrap();
    fs::write(bottom.join("g"), "").unwrap();
    fs::write(bottom.join("d/f"), "below\n").unwrap();
    let lower = vec![bottom.to_owned(), top.to_owned()];
    let writable = Writable { upper: sandbox.make("u"), work: sandbox.make("w") };
    let overlay = |lower: &[PathBuf], writable: Option<Writable>, subpath: &str, target: &str| Mount {
        target: target.into(),
        kind: MountKind::Overlay { lower: lower.to_vec(), writable, subpath: subpath.into() },
    };
    sandbox.spec.mounts = vec![
        overlay(&lower, None, "", "/ro"),
        overlay(&lower, Some(writable.clone()), "", "/rw"),
        overlay(&lower[..1], None, "", "/one"),
        overlay(&lower, None, "d", "/sub"),
    ];
    assert_eq!(sandbox.output(), "top\ntop\nbottom\nd\nf\ng\nrefused\nbelow");
    assert_eq!(tree(&writable.upper), ["f", "n"]);
    assert_eq!(tree(bottom), ["d", "d/f", "f", "g"]);
    assert_eq!(tree(top), ["d", "f"]);
    assert_eq!(tree(&sandbox.upper()), Vec::<String>::new());
}

#[test]
fn tmpfs_has_size_and_mode() {
    need_root!();
    let mut sandbox = Trial::sh(
        "stat -c %a /t /u; dd if=/dev/zero of=/t/x bs=1M count=2 2>&1 | grep -o 'No space left'; stat -c %s /t/x; df -k /dev/shm | tail -1 | awk '{print $2}'",
    );
    let kind = MountKind::Tmpfs { size: Some(1 << 20), mode: 0o700, read_only: false };
    sandbox.spec.mounts.push(Mount { target: "/t".into(), kind });
    sandbox.spec.mounts.push(tmpfs("/u"));
    assert_eq!(sandbox.output(), "700\n1777\nNo space left\n1048576\n65536");
    let mut sandbox = Trial::sh("df -k /dev/shm | tail -1 | awk '{print $2}'");
    sandbox.spec.shm_size = 1 << 20;
    assert_eq!(sandbox.output(), "1024");
}

#[test]
fn a_read_only_tmpfs_refuses_writes_and_has_its_mode_all_the_same() {
    need_root!();
    let mut sandbox = Trial::sh(
        "touch /new/x 2>/dev/null || echo refused; touch /d/x 2>/dev/null || echo refused; stat -c %a /new /d",
    );
    let hidden = sandbox.upper().join("d");
    fs::create_dir(&hidden).unwrap();
    fs::set_permissions(&hidden, PermissionsExt::from_mode(0o710)).unwrap();
    for target in ["/new", "/d"] {
        let kind = MountKind::Tmpfs { size: None, mode: 0o1777, read_only: true };
        sandbox.spec.mounts.push(Mount { target: target.into(), kind });
    }
    assert_eq!(sandbox.output(), "refused\nrefused\n1777\n710");
}

#[test]
fn tmpfs_has_the_mode_of_the_directory_that_it_hides() {
    need_root!();
    let mut sandbox = Trial::sh("stat -c '%a %u' /private; touch /private/x; umount /private 2>/dev/null; ls /private");
    let private = sandbox.upper().join("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, PermissionsExt::from_mode(0o2710)).unwrap();
    std::os::unix::fs::chown(&private, Some(5), Some(6)).unwrap();
    sandbox.spec.mounts.push(tmpfs("/private"));
    assert_eq!(sandbox.output(), "2710 0\nx");
}

#[test]
fn programs_run_from_a_tmpfs() {
    need_root!();
    let mut sandbox = Trial::sh("cp /bin/busybox /t/true && /t/true && echo ran");
    sandbox.spec.mounts.push(tmpfs("/t"));
    assert_eq!(sandbox.output(), "ran");
}

#[test]
fn resolv_conf_and_hosts_are_shown_and_not_kept() {
    need_root!();
    let mut sandbox = Trial::sh("cat /etc/resolv.conf /etc/hosts; echo x > /etc/hosts");
    let directory = sandbox.make("net");
    for name in ["resolv.conf", "hosts"] {
        fs::write(directory.join(name), format!("{name}\n")).unwrap();
    }
    sandbox.spec.resolv_conf = Some(directory.join("resolv.conf"));
    sandbox.spec.hosts = Some(directory.join("hosts"));
    let ran = sandbox.run();
    assert_eq!(ran.out, "resolv.conf\nhosts\n");
    assert!(ran.err.contains("Read-only file system"), "{ran:?}");
    assert_eq!(tree(&sandbox.upper()), Vec::<String>::new());
    assert_eq!(fs::read_to_string(directory.join("hosts")).unwrap(), "hosts\n");
    // What the caller mounts hides them.
    let own = sandbox.make("own");
    fs::write(own.join("file"), "own\n").unwrap();
    sandbox.spec.args[2] = "cat /etc/resolv.conf /etc/hosts".to_owned();
    sandbox.spec.mounts.push(bind(own.join("file"), "/etc/hosts"));
    assert_eq!(sandbox.run().out, "resolv.conf\nown\n");
    sandbox.spec.mounts = vec![bind(&own, "/etc")];
    assert_eq!(sandbox.run().out, "");
    assert_eq!(tree(&own), ["file"]);
}

#[test]
fn dangling_resolv_conf_is_followed_inside() {
    need_root!();
    for link in ["/run/systemd/resolve/stub-resolv.conf", "../run/systemd/resolve/stub-resolv.conf", "real"] {
        let (mut sandbox, _layer) = Trial::with_layer(&["cat", "/etc/resolv.conf"], |layer| {
            fs::create_dir(layer.join("etc")).unwrap();
            symlink(link, layer.join("etc/resolv.conf")).unwrap();
        });
        let file = sandbox.directory.path().join("resolv.conf");
        fs::write(&file, "ours\n").unwrap();
        sandbox.spec.resolv_conf = Some(file);
        assert_eq!(sandbox.output(), "ours", "{link}");
        assert_eq!(tree(&sandbox.upper()), Vec::<String>::new(), "{link}");
    }
}

#[test]
fn cache_mount_leaves_nothing_in_the_layer() {
    need_root!();
    let mut sandbox = Trial::new(&["true"]);
    let cache = sandbox.make("cache");
    sandbox.spec.mounts.push(bind(&cache, "/root/.cache/go-build"));
    sandbox.spec.mounts.push(bind(&cache, "/var/cache/apt"));
    sandbox.spec.mounts.push(bind(&cache, "/go/pkg/mod"));
    let before = fs::metadata(sandbox.upper()).unwrap().modified().unwrap();
    let mut child = sandbox.spawn().unwrap();
    let paths: Vec<String> = child.stubs().iter().map(|stub| stub.path.display().to_string()).collect();
    assert_eq!(paths, ["/root/.cache", "/root/.cache/go-build", "/var/cache/apt", "/go", "/go/pkg", "/go/pkg/mod"]);
    assert!(child.wait().unwrap().success());
    assert_eq!(tree(&sandbox.upper()).len(), 9);
    child.stubs().clean_up().unwrap();
    assert_eq!(tree(&sandbox.upper()), Vec::<String>::new());
    assert_eq!(fs::metadata(sandbox.upper()).unwrap().modified().unwrap(), before);
}

#[test]
fn what_the_process_writes_beside_a_stub_stays() {
    need_root!();
    let mut sandbox =
        Trial::sh("echo kept > /root/.cache/kept; echo kept > /root/kept; echo lost > /root/.cache/c/lost");
    let cache = sandbox.make("cache");
    sandbox.spec.mounts.push(bind(&cache, "/root/.cache/c"));
    sandbox.output();
    assert_eq!(tree(&sandbox.upper()), ["root", "root/.cache", "root/.cache/kept", "root/kept"]);
    assert_eq!(tree(&cache), ["lost"]);
    // The process changed this directory, so its time is that of the change.
    let written = fs::metadata(sandbox.upper().join("root/kept")).unwrap().mtime();
    assert!(fs::metadata(sandbox.upper().join("root")).unwrap().mtime() >= written);
}

#[test]
fn parents_changed_by_the_process_stay() {
    need_root!();
    let mut sandbox = Trial::sh("chmod 711 /root");
    let cache = sandbox.make("cache");
    sandbox.spec.mounts.push(bind(&cache, "/root/.cache/c"));
    sandbox.output();
    assert_eq!(tree(&sandbox.upper()), ["root"]);
    let root = fs::metadata(sandbox.upper().join("root")).unwrap();
    assert_eq!(root.permissions().mode() & 0o777, 0o711);
    let below = fs::metadata(crate::fixture::base().join("root")).unwrap();
    assert_eq!(root.modified().unwrap(), below.modified().unwrap());
}

#[test]
fn targets_below_other_mounts() {
    need_root!();
    let mut sandbox = Trial::sh("ls -A /a; echo x > /a/b/x");
    let (outer, inner) = (sandbox.make("outer"), sandbox.make("inner"));
    sandbox.spec.mounts.push(bind(&outer, "/a"));
    sandbox.spec.mounts.push(bind(&inner, "/a/b"));
    assert_eq!(sandbox.output(), "b");
    assert_eq!(tree(&inner), ["x"]);
    assert_eq!(tree(&sandbox.upper()), Vec::<String>::new());
}

#[test]
fn scratch_gets_its_system_directories() {
    need_root!();
    let mut sandbox = Trial::over(vec![], &["/busybox", "true"]);
    let lower = sandbox.make("lower");
    fs::copy(crate::fixture::base().join("bin/busybox"), lower.join("busybox")).unwrap();
    if let kiln_sandbox::Root::Overlay { lower: layers, .. } = &mut sandbox.spec.root {
        layers.push(lower);
    }
    sandbox.output();
    assert_eq!(tree(&sandbox.upper()), ["dev", "proc", "sys"]);
}

#[test]
fn read_only_root() {
    need_root!();
    let mut sandbox = Trial::sh("touch /x 2>&1; touch /tmp/x 2>&1; touch /mnt/x && touch /dev/shm/x && echo yes");
    sandbox.spec.read_only = true;
    sandbox.spec.mounts.push(tmpfs("/mnt"));
    let out = sandbox.output();
    assert_eq!(out.matches("Read-only file system").count(), 2, "{out}");
    assert!(out.ends_with("yes"), "{out}");
}

#[test]
fn many_layers_and_odd_names() {
    need_root!();
    let sandbox = Trial::new(&["true"]);
    let mut lower = vec![crate::fixture::base().to_owned()];
    for index in 0..150 {
        let layer = sandbox.make(&format!("layers/{index}, with:odd\\name"));
        fs::write(layer.join("index"), format!("{index}\n")).unwrap();
        fs::write(layer.join(format!("f{index}")), "").unwrap();
        lower.push(layer);
    }
    // Longer than what `fsconfig` takes.
    let long = sandbox.make(&format!("{}/{}", "l".repeat(200), "m".repeat(200)));
    fs::write(long.join("long"), "").unwrap();
    lower.push(long);
    let sandbox = Trial::over(lower, &["/bin/sh", "-c", "cat index; ls / | grep -c '^f[0-9]'; ls /long"]);
    assert_eq!(sandbox.output(), "149\n150\n/long");
}

#[test]
fn whiteouts_hide() {
    need_root!();
    let (sandbox, _layer) = Trial::with_layer(&["ls", "/home"], |layer| {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        fs::create_dir(layer.join("home")).unwrap();
        mknodat(CWD, layer.join("home/user"), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    });
    assert_eq!(sandbox.output(), "");
}

#[test]
fn bad_mounts() {
    need_root!();
    let cases: [(Mount, &str); 5] = [
        (tmpfs("/"), "invalid sandbox: a mount target is `/`"),
        (tmpfs("/proc/self"), "invalid sandbox: mount target `/proc/self` is inside `/proc`"),
        (tmpfs("/etc/passwd/x"), "make the mount point `/etc/passwd/x`: Not a directory (os error 20)"),
        (tmpfs("/sys/x"), "make the mount point `/sys/x`: "),
        (bind("/no/such/source", "/x"), "open the source of the mount at `/x`: No such file or directory (os error 2)"),
    ];
    for (mount, expected) in cases {
        let mut sandbox = Trial::new(&["true"]);
        sandbox.spec.mounts.push(mount);
        let failure = sandbox.failure();
        assert!(failure.starts_with(expected), "{failure}");
        assert_eq!(tree(&sandbox.upper()), Vec::<String>::new());
    }
}

#[test]
fn host_sees_no_mount() {
    need_root!();
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut sandbox = Trial::new(&["sleep", "100"]);
    let cache = sandbox.make("cache");
    sandbox.spec.mounts.push(bind(&cache, "/root/.cache"));
    let child = sandbox.spawn().unwrap();
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    let inside = fs::read_to_string(Path::new("/proc").join(child.pid().to_string()).join("mountinfo")).unwrap();
    assert!(!inside.contains("/dev/vda / /"), "{inside}");
    drop(child);
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
}
