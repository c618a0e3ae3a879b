//! A root filesystem made of busybox, and what a process in it printed.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;

use kiln_sandbox::{Child, Exit, Root, Sandbox, SpawnError, Spec};
use tempfile::TempDir;

const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

/// Returns from the test, saying so, when the machine cannot run it.
macro_rules! need_root {
    () => {
        if let Some(reason) = $crate::fixture::lacking() {
            eprintln!("skipped: {reason}");
            return;
        }
    };
}
pub(crate) use need_root;

/// Why sandboxes cannot be tested here.
pub(crate) fn lacking() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root");
    }
    if busybox().is_none() {
        return Some("needs busybox-static");
    }
    None
}

fn busybox() -> Option<&'static str> {
    BUSYBOX.into_iter().find(|path| Path::new(path).exists())
}

/// The lower directory shared by all tests: never written to.
pub(crate) fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        // Made once and left below the build's target directory: several test processes share it.
        let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("busybox-root-1");
        if !base.exists() {
            let made = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            fill(made.path());
            // Fails when another process was quicker.
            if fs::rename(made.path(), &base).is_ok() {
                let _ = made.keep();
            }
        }
        base
    })
}

fn fill(root: &Path) {
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    for directory in ["bin", "etc", "proc", "sys", "dev", "root", "tmp", "home/user", "var/cache"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(root.join("root"), fs::Permissions::from_mode(0o700)).unwrap();
    let busybox = busybox().unwrap();
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    let applets = std::process::Command::new(busybox).arg("--list").output().unwrap();
    for applet in String::from_utf8(applets.stdout).unwrap().lines() {
        if applet != "busybox" {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n").unwrap();
    fs::write(root.join("etc/resolv.conf"), "image\n").unwrap();
    fs::write(root.join("etc/hosts"), "image\n").unwrap();
}

/// A sandbox over the base, with directories of its own.
pub(crate) struct Trial {
    pub(crate) directory: TempDir,
    pub(crate) spec: Spec,
}

/// What a process printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Trial {
    /// A sandbox whose process is `args`.
    pub(crate) fn new(args: &[&str]) -> Self {
        Self::over(vec![base().to_owned()], args)
    }

    /// A sandbox whose process is a shell script.
    pub(crate) fn sh(script: &str) -> Self {
        Self::new(&["/bin/sh", "-c", script])
    }

    /// A sandbox over other layers.
    pub(crate) fn over(lower: Vec<PathBuf>, args: &[&str]) -> Self {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        for name in ["upper", "work"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        let root = Root::Overlay { lower, upper: directory.path().join("upper"), work: directory.path().join("work") };
        let mut spec = Spec::new(root, args.iter().map(|&argument| argument.to_owned()).collect());
        spec.env.push(("PATH".to_owned(), "/bin".to_owned()));
        Self { directory, spec }
    }

    /// A sandbox over the base with a layer on top of it, which `fill` fills.
    pub(crate) fn with_layer(args: &[&str], fill: impl FnOnce(&Path)) -> (Self, TempDir) {
        let layer = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::set_permissions(layer.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fill(layer.path());
        (Self::over(vec![base().to_owned(), layer.path().to_owned()], args), layer)
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.directory.path().join("upper")
    }

    /// Makes a directory beside the upper one, for mounts.
    pub(crate) fn make(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Spawns with a new work directory: that of a volatile overlay serves once.
    pub(crate) fn spawn(&self) -> Result<Child, SpawnError> {
        let work = self.directory.path().join("work");
        fs::remove_dir_all(&work).unwrap();
        fs::create_dir(&work).unwrap();
        Sandbox::spawn(&self.spec)
    }

    /// Runs to the end and cleans up.
    pub(crate) fn run(&self) -> Ran {
        let mut child = self.spawn().unwrap_or_else(|error| panic!("{}", chain(&error)));
        let ran = finish(&mut child);
        child.stubs().clean_up().unwrap();
        ran
    }

    /// Runs to the end, expects success, and returns what was printed, without the last line's end.
    pub(crate) fn output(&self) -> String {
        let ran = self.run();
        assert!(ran.exit.success(), "{ran:?}");
        ran.out.trim_end().to_owned()
    }

    /// The message of the error that the spawn fails with, causes included.
    pub(crate) fn failure(&self) -> String {
        match self.spawn() {
            Ok(_) => panic!("it started"),
            Err(error) => chain(&error),
        }
    }
}

/// Reads both pipes to their end and waits.
pub(crate) fn finish(child: &mut Child) -> Ran {
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let reader = thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).unwrap();
        text
    });
    let mut out = Vec::new();
    stdout.read_to_end(&mut out).unwrap();
    let err = reader.join().unwrap();
    let exit = child.wait().unwrap();
    Ran { exit, out: String::from_utf8_lossy(&out).into_owned(), err: String::from_utf8_lossy(&err).into_owned() }
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// All paths below a directory, sorted.
pub(crate) fn tree(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            found.push(path.strip_prefix(directory).unwrap().display().to_string());
            if entry.file_type().unwrap().is_dir() {
                pending.push(path);
            }
        }
    }
    found.sort();
    found
}
