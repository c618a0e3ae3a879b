//! A build in which nothing changed looks at metadata only. Counted with `strace`.

use crate::fake_registry::{FakeRegistry, base_layout};
use crate::leftovers;
use crate::support::{Image, Kiln, Ran, has_program};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DOCKERFILE: &str = r#"FROM base AS tool
RUN mkdir /out && echo tool > /out/tool
FROM base
WORKDIR /work
COPY src ./src
COPY --chmod=640 --from=tool /out /out
ENV A=1
RUN --mount=type=cache,target=/cache --mount=type=bind,from=tool,source=/out,target=/tool cat /tool/tool src/a > all
RUN --mount=type=bind,source=src,target=/bound cat /bound/b >> all
CMD ["cat", "/work/all"]
"#;

/// Mounting, or getting ready to.
const MOUNTING: [&str; 11] = [
    "mount",
    "umount2",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "move_mount",
    "open_tree",
    "mount_setattr",
    "pivot_root",
    "chroot",
];
/// Processes and namespaces.
const STARTING: [&str; 6] = ["fork", "vfork", "execveat", "unshare", "setns", "clone3"];
/// Changing files or their contents.
const WRITING: [&str; 26] = [
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "ftruncate",
    "truncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "fsync",
    "fdatasync",
    "syncfs",
    "fsetxattr",
    "fchmod",
    "copy_file_range",
];

/// The system calls of one run of kiln.
pub(crate) struct Calls {
    lines: Vec<String>,
}

impl Calls {
    /// Runs a command under strace; descriptors are shown with their paths.
    pub(crate) fn of(command: &Command, log: &Path) -> Self {
        let mut traced = Command::new("strace");
        traced.args(["-f", "-y", "-s", "300", "-o"]).arg(log).arg(command.get_program()).args(command.get_args());
        traced.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        traced.current_dir(command.get_current_dir().expect("a directory"));
        Ran::of(&mut traced).succeeds();
        let text = fs::read(log).expect("strace writes its log");
        Self { lines: String::from_utf8_lossy(&text).lines().map(str::to_owned).collect() }
    }

    /// The calls of these names.
    fn named(&self, names: &[&str]) -> Vec<&str> {
        let is = |line: &&str| names.contains(&name(line));
        self.lines.iter().map(String::as_str).filter(is).collect()
    }

    /// Where the first call is of which this is true, by its name and its line.
    pub(crate) fn position(&self, is: impl Fn(&str, &str) -> bool) -> Option<usize> {
        self.lines.iter().position(|line| is(name(line), line))
    }

    /// And the last.
    pub(crate) fn last(&self, is: impl Fn(&str, &str) -> bool) -> Option<usize> {
        self.lines.iter().rposition(|line| is(name(line), line))
    }

    /// The calls that mention a text.
    fn with(&self, text: &str) -> Vec<&str> {
        self.lines.iter().map(String::as_str).filter(|line| line.contains(text)).collect()
    }
}

/// `1234  openat(…` and `1234  <... openat resumed>` are both `openat`.
fn name(line: &str) -> &str {
    let call = line.split_once(' ').map_or(line, |(_, call)| call.trim_start());
    let call = call.strip_prefix("<... ").unwrap_or(call);
    call.split(['(', ' ']).next().unwrap_or_default()
}

#[track_caller]
fn none(what: &str, calls: Vec<&str>) {
    assert!(calls.is_empty(), "{what}: {} calls\n{}", calls.len(), calls.join("\n"));
}

/// Sizes, times and bytes of the database's files.
fn database(kiln: &Kiln) -> BTreeMap<PathBuf, Vec<u8>> {
    ["meta.db", "meta.db-wal"]
        .into_iter()
        .map(|name| kiln.root().join(name))
        .map(|path| (path.clone(), fs::read(&path).unwrap_or_default()))
        .collect()
}

fn check(kiln: &Kiln, arguments: &[&str]) {
    // The first run after an edit remembers files by their stat only once they are old enough, hence three.
    for _ in 0..3 {
        kiln.build(arguments).succeeds();
        std::thread::sleep(std::time::Duration::from_millis(60));
    }
    leftovers::wait_for_sync(kiln);
    let before = database(kiln);
    let calls = Calls::of(&kiln.build_command(arguments), &kiln.path("strace"));
    assert!(calls.lines.len() > 50, "strace saw nothing");
    assert!(!calls.with("meta.db").is_empty(), "strace shows no paths");

    none("mounts", calls.named(&MOUNTING));
    // `clone3` makes threads as well; those share the address space.
    let processes: Vec<&str> = calls
        .named(&STARTING)
        .into_iter()
        .chain(calls.named(&["clone"]))
        .filter(|line| !line.contains("CLONE_THREAD") && !line.contains("resumed>"))
        .collect();
    none("processes or namespaces", processes);
    none("programs", calls.named(&["execve"]).into_iter().skip(1).collect());
    let layers = kiln.root().join("layers/");
    none("files below layers/", calls.with(layers.to_str().expect("a plain name")));
    for layer in Image::of_layout(&base_layout(kiln)).manifest["layers"].as_array().expect("layers") {
        let digest = layer["digest"].as_str().expect("a digest");
        none("a layer's blob", calls.with(&digest.replace("sha256:", "/sha256/")));
    }
    none("the network", calls.named(&["connect", "socket"]));

    // The mark of a living process may come, and it goes; the index of SQLite's log is shared memory; what is told of the build is
    // one small file.
    let root = kiln.root();
    let root = root.to_str().expect("a plain name");
    let harmless =
        |line: &str| [".lock\"", ".lock>", "meta.db-shm>", "/history/"].iter().any(|known| line.contains(known));
    let written = calls.named(&WRITING).into_iter().filter(|line| line.contains(root) && !harmless(line));
    none("writes to the store", written.collect());
    assert!(database(kiln) == before, "the database changed");
    leftovers::no_temporary_files(kiln);
}

#[test]
fn a_cached_build_only_looks_at_metadata() {
    let Some(kiln) = Kiln::for_builds() else { return };
    if !has_program("strace") {
        return;
    }
    for name in ["src/a", "src/b", "src/deep/c"] {
        kiln.write(name, name);
    }
    kiln.write("Dockerfile", DOCKERFILE);
    check(&kiln, &["-t", "app"]);
    check(&kiln, &[]);
}

#[test]
fn a_cached_build_on_a_pulled_image_asks_nobody() {
    let Some(kiln) = Kiln::for_builds() else { return };
    if !has_program("strace") {
        return;
    }
    for name in ["src/a", "src/b"] {
        kiln.write(name, name);
    }
    let registry = FakeRegistry::of_layout(&base_layout(&kiln));
    let image = format!("FROM {}/base:1", registry.address());
    kiln.write("Dockerfile", DOCKERFILE.replace("FROM base", &image));
    let output = format!("type=oci,dest={}", kiln.path("out.tar").display());
    kiln.build(["-o", &output]).succeeds();
    let asked = registry.requests().len();
    check(&kiln, &["-t", "app"]);
    assert_eq!(registry.requests().len(), asked);
}
