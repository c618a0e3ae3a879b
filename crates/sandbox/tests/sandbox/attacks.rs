//! Images and targets that try to reach the host.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use kiln_sandbox::{Mount, MountKind, SpawnError};

use crate::fixture::{Trial, base, need_root, tree};

/// A host directory that an attack aims at, and its unchanged content.
fn victim(sandbox: &Trial) -> PathBuf {
    let victim = sandbox.make("victim");
    fs::write(victim.join("secret"), "secret\n").unwrap();
    victim
}

#[test]
fn etc_that_leads_to_the_host_root() {
    need_root!();
    let probe = Trial::new(&["true"]);
    let victim = victim(&probe);
    for link in [victim.to_str().unwrap(), "/", "../../../../../..", "/proc/1/root"] {
        let layer = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for name in ["bin", "proc", "sys", "dev"] {
            fs::create_dir(layer.path().join(name)).unwrap();
        }
        fs::copy(base().join("bin/busybox"), layer.path().join("bin/sh")).unwrap();
        symlink(link, layer.path().join("etc")).unwrap();
        let mut sandbox = Trial::over(vec![layer.path().to_owned()], &["/bin/sh", "-c", "exit 0"]);
        let file = sandbox.directory.path().join("hosts");
        fs::write(&file, "ours\n").unwrap();
        sandbox.spec.hosts = Some(file);
        match sandbox.spawn() {
            Ok(mut child) => {
                child.wait().unwrap();
                child.stubs().clean_up().unwrap();
            }
            // A link that leads through a magic link is refused.
            Err(error) => assert!(matches!(error, SpawnError::Setup { .. }), "{error}"),
        }
        assert_eq!(tree(&victim), ["secret"]);
        assert!(!PathBuf::from("/hosts").exists(), "{link}");
    }
}

#[test]
fn system_directories_that_are_links() {
    need_root!();
    for name in ["proc", "sys", "dev"] {
        let layer = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir_all(layer.path().join("elsewhere")).unwrap();
        for other in ["proc", "sys", "dev"] {
            if other == name {
                symlink("/elsewhere", layer.path().join(other)).unwrap();
            } else {
                fs::create_dir(layer.path().join(other)).unwrap();
            }
        }
        let sandbox = Trial::over(vec![layer.path().to_owned()], &["/x"]);
        let failure = sandbox.failure();
        assert_eq!(failure, format!("mount `/{name}`: Too many levels of symbolic links (os error 40)"));
    }
}

#[test]
fn targets_that_climb_or_follow_links_out() {
    need_root!();
    let probe = Trial::new(&["true"]);
    let victim = victim(&probe);
    let absolute = victim.to_str().unwrap().to_owned();
    let (mut sandbox, _layer) = Trial::with_layer(&["true"], |layer| {
        symlink(&absolute, layer.join("absolute")).unwrap();
        symlink(format!("../../../../../../../..{absolute}"), layer.join("relative")).unwrap();
        symlink("/proc/self/root", layer.join("magic")).unwrap();
        symlink("loop", layer.join("loop")).unwrap();
    });
    let source = sandbox.make("source");
    let bind = |target: String| Mount {
        target: target.into(),
        kind: MountKind::Bind { source: source.clone(), subpath: PathBuf::new(), read_only: false, recursive: true },
    };
    for target in ["/absolute/x".to_owned(), "/relative/x".to_owned(), format!("/../../../..{absolute}/x")] {
        sandbox.spec.mounts = vec![bind(target.clone())];
        let child = sandbox.spawn();
        assert!(child.is_ok(), "{target}: {:?}", child.err());
        let mut child = child.unwrap();
        // What was created is inside: the same path below the sandbox's root.
        let created: Vec<_> = child.stubs().iter().map(|stub| stub.path.clone()).collect();
        assert_eq!(created.last(), Some(&victim.join("x")), "{target}");
        child.wait().unwrap();
        child.stubs().clean_up().unwrap();
        assert_eq!(tree(&victim), ["secret"], "{target}");
        assert_eq!(tree(&sandbox.upper()), Vec::<String>::new());
    }
    for target in ["/magic/etc", "/loop/x", "/proc/self/cwd/x"] {
        sandbox.spec.mounts = vec![bind(target.to_owned())];
        let failure = sandbox.failure();
        assert!(failure.contains("ymbolic links") || failure.contains("inside `/proc`"), "{target}: {failure}");
    }
}

#[test]
fn sources_that_lead_out() {
    need_root!();
    let mut sandbox = Trial::new(&["ls", "-A", "/mnt"]);
    let victim = victim(&sandbox);
    let source = sandbox.make("source");
    symlink(&victim, source.join("out")).unwrap();
    symlink("../victim", source.join("up")).unwrap();
    for subpath in ["out", "up", "../victim"] {
        let kind =
            MountKind::Bind { source: source.clone(), subpath: subpath.into(), read_only: false, recursive: false };
        sandbox.spec.mounts = vec![Mount { target: "/mnt".into(), kind }];
        assert!(sandbox.failure().starts_with("open the source"), "{subpath}");
    }
}

#[test]
fn programs_and_interpreters_that_are_the_builder() {
    need_root!();
    let script = |layer: &std::path::Path, name: &str, interpreter: &str| {
        let path = layer.join(name);
        fs::write(&path, format!("#!{interpreter} x\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let (mut sandbox, _layer) = Trial::with_layer(&[], |layer| {
        symlink("/proc/self/exe", layer.join("link")).unwrap();
        symlink("/proc/self/fd/3", layer.join("descriptor")).unwrap();
        script(layer, "script", "/proc/self/exe");
        script(layer, "nested", "/script");
        script(layer, "linked", "/link");
    });
    for program in ["/proc/self/exe", "/proc/1/exe", "/link", "/descriptor", "/script", "/nested", "/linked"] {
        sandbox.spec.args = vec![program.to_owned()];
        let error = sandbox.spawn().map(|_| ()).unwrap_err();
        assert!(matches!(error, SpawnError::MagicLink { .. }), "{program}: {error}");
        assert_eq!(error.exit_code(), Some(126));
    }
}

#[test]
fn working_directories_that_are_descriptors() {
    need_root!();
    for cwd in ["/proc/self/fd/3", "/proc/self/fd/9/../..", "/proc/self/root", "/cwd"] {
        let (mut sandbox, _layer) = Trial::with_layer(&["true"], |layer| {
            symlink("/proc/self/fd/7", layer.join("cwd")).unwrap();
        });
        sandbox.spec.cwd = cwd.to_owned();
        let error = sandbox.spawn().map(|_| ()).unwrap_err();
        assert!(matches!(error, SpawnError::Cwd { .. }), "{cwd}: {error}");
    }
}

#[test]
fn root_of_the_process_is_the_image() {
    need_root!();
    let sandbox = Trial::sh(
        "cd /; cd ../../..; pwd; ls /proc/1/root/ | head -3 | tr '\\n' ' '; chroot /tmp /bin/sh 2>/dev/null; ls -d /../work 2>/dev/null; echo end",
    );
    assert_eq!(sandbox.output(), "/\nbin dev etc end");
}
