//! Capabilities, the seccomp policy, masked and read-only paths, devices, network.

use kiln_sandbox::{Network, Security, User};

use crate::fixture::{Trial, need_root};

const STATUS: &str = "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status | tr -d '\\t' | tr '\\n' ' '";

#[test]
fn capabilities_are_dockers() {
    need_root!();
    assert_eq!(
        Trial::sh(STATUS).output(),
        "CapInh:0000000000000000 CapPrm:00000000a80425fb CapEff:00000000a80425fb CapBnd:00000000a80425fb \
         CapAmb:0000000000000000 NoNewPrivs:0 Seccomp:2"
    );
}

#[test]
fn users_have_no_capabilities() {
    need_root!();
    let mut sandbox = Trial::sh(STATUS);
    sandbox.spec.user = User { uid: 1000, gid: 1000, additional_gids: vec![] };
    assert_eq!(
        sandbox.output(),
        "CapInh:0000000000000000 CapPrm:0000000000000000 CapEff:0000000000000000 CapBnd:00000000a80425fb \
         CapAmb:0000000000000000 NoNewPrivs:0 Seccomp:2"
    );
}

#[test]
fn set_uid_programs_work() {
    need_root!();
    let (mut sandbox, _layer) = Trial::with_layer(&["/su-id"], |layer| {
        use std::os::unix::fs::PermissionsExt;
        // busybox drops set-uid rights for most applets, so the test's own program is a copy under another name.
        std::fs::copy(crate::fixture::base().join("bin/busybox"), layer.join("su-id")).unwrap();
        std::fs::set_permissions(layer.join("su-id"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    });
    sandbox.spec.args = ["/bin/sh", "-c", "exec /su-id su root -c 'id -u'"].map(str::to_owned).to_vec();
    sandbox.spec.user = User { uid: 1000, gid: 1000, additional_gids: vec![] };
    let ran = sandbox.run();
    // Asking for a password is proof enough that it runs as root; without set-uid it says that it must be.
    assert!(!ran.err.contains("must be suid"), "{ran:?}");
}

#[test]
fn insecure_keeps_what_the_caller_has() {
    need_root!();
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own.lines().find(|line| line.starts_with("CapEff")).unwrap();
    let mut sandbox = Trial::sh("grep -E '^(CapEff|Seccomp:)' /proc/self/status");
    sandbox.spec.security = Security::Insecure;
    assert_eq!(sandbox.output(), format!("{own}\nSeccomp:\t0"));
    let mut sandbox = Trial::sh("mount -t tmpfs none /tmp && touch /tmp/x && cat /proc/keys > /dev/null && echo yes");
    sandbox.spec.security = Security::Insecure;
    assert_eq!(sandbox.output(), "yes");
}

#[test]
fn masked_paths_are_empty() {
    need_root!();
    let script = "for f in interrupts kcore keys latency_stats sched_debug timer_list timer_stats; do
            [ -e /proc/$f ] && [ -n \"$(head -c 1 /proc/$f)\" ] && echo /proc/$f
        done
        for d in /proc/acpi /proc/asound /proc/scsi /sys/firmware /sys/devices/virtual/powercap; do
            [ -d $d ] && [ -n \"$(ls $d)\" ] && echo $d
        done; echo end";
    assert_eq!(Trial::sh(script).output(), "end");
}

#[test]
fn sealed_paths_are_read_only() {
    need_root!();
    let script = "for f in /proc/sys/kernel/hostname /proc/sys/vm/drop_caches /proc/sysrq-trigger /proc/irq/default_smp_affinity \
            /sys/kernel/mm/transparent_hugepage/enabled /sys/power/state; do
            [ -e $f ] && (: > $f) 2>/dev/null && echo $f
        done; mkdir /sys/x /proc/x /sys/fs/cgroup/x 2>/dev/null && echo made; echo end";
    assert_eq!(Trial::sh(script).output(), "end");
}

#[test]
fn devices() {
    need_root!();
    let script = "ls /dev; for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo no $d; done
        head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; echo x > /dev/null; readlink /dev/ptmx; readlink /dev/stdin
        [ -c /dev/ptmx ] && touch /dev/shm/x && touch /dev/new && echo yes";
    let core = if std::fs::exists("/proc/kcore").unwrap() { "core " } else { "" };
    assert_eq!(
        Trial::sh(script).output().replace('\n', " "),
        core.to_owned()
            + "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero 3 3 pts/ptmx /proc/self/fd/0 yes"
    );
}

#[test]
fn other_devices_cannot_be_opened() {
    need_root!();
    let disk = std::fs::read_to_string("/proc/partitions").unwrap();
    let mut numbers = disk.lines().skip(2).find_map(|line| {
        let mut fields = line.split_whitespace();
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    });
    let (major, minor) = numbers.take().unwrap_or(("1".to_owned(), "0".to_owned()));
    let (mut sandbox, _layer) = Trial::with_layer(&[], |layer| {
        use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
        let device = makedev(major.parse().unwrap(), minor.parse().unwrap());
        mknodat(CWD, layer.join("disk"), FileType::BlockDevice, Mode::from_raw_mode(0o666), device).unwrap();
        // A harmless one, which opens wherever devices do.
        mknodat(CWD, layer.join("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3)).unwrap();
    });
    let tmpfs = kiln_sandbox::MountKind::Tmpfs { size: None, mode: 0o1777, read_only: false };
    sandbox.spec.mounts.push(kiln_sandbox::Mount { target: "/mnt".into(), kind: tmpfs });
    let source = sandbox.make("cache");
    let bind = kiln_sandbox::MountKind::Bind { source, subpath: "".into(), read_only: false, recursive: true };
    sandbox.spec.mounts.push(kiln_sandbox::Mount { target: "/cache".into(), kind: bind });
    let script = format!(
        "for d in / /tmp/ /dev/ /dev/shm/ /mnt/ /cache/; do
            mknod ${{d}}n c 1 3; mknod ${{d}}b b {major} {minor}
            (: < ${{d}}n) 2>/dev/null && echo opened ${{d}}n; (: < ${{d}}b) 2>/dev/null && echo opened ${{d}}b
        done; for f in /disk /null; do (: < $f) 2>/dev/null && echo opened $f; done; ls /n /b; (: < /dev/null) && echo end"
    );
    sandbox.spec.args = vec!["/bin/sh".to_owned(), "-c".to_owned(), script];
    assert_eq!(sandbox.output(), "/b\n/n\nend");
}

#[test]
fn network_of_its_own_has_loopback_only() {
    need_root!();
    let script = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; ifconfig lo | grep -c 'UP LOOPBACK RUNNING'; ls /sys/class/net";
    let mut sandbox = Trial::sh(script);
    sandbox.spec.network = Network::None;
    assert_eq!(sandbox.output(), "lo\n1\nlo");
}

#[test]
fn network_of_the_host_is_the_hosts() {
    need_root!();
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(Trial::new(&["readlink", "/proc/self/ns/net"]).output(), own.display().to_string());
}

#[test]
fn other_namespaces_are_its_own() {
    need_root!();
    for name in ["mnt", "pid", "ipc", "uts", "cgroup"] {
        let path = format!("/proc/self/ns/{name}");
        let own = std::fs::read_link(&path).unwrap();
        assert_ne!(Trial::new(&["readlink", &path]).output(), own.display().to_string(), "{name}");
    }
}

#[test]
fn privileged_calls_are_refused() {
    need_root!();
    let script = "unshare -U true; unshare -m true; mount -t tmpfs none /tmp; hostname x; dmesg; reboot -f; nsenter -t 1 -m true; echo end";
    let ran = Trial::sh(script).run();
    assert_eq!(ran.out, "end\n", "{ran:?}");
    assert_eq!(ran.err.matches("not permitted").count() + ran.err.matches("ermission denied").count(), 7, "{ran:?}");
}
