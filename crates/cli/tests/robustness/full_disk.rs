//! A disk without space: each kind of write says so, leaves nothing half-made, and works once there is space again.

use crate::fake_registry::{FakeRegistry, base_layout};
use crate::leftovers;
use crate::support::{Kiln, Ran};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small filesystem of its own, unmounted when dropped.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one; `None`, having said so, where that is not possible.
    fn mount(path: &Path, mebibytes: u32) -> Option<Self> {
        fs::create_dir_all(path).expect("a directory");
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self { path: path.to_owned() });
        }
        println!("skipped: cannot mount a tmpfs");
        None
    }

    /// Takes all space but this much away; gives the file that holds it.
    fn fill(&self, but: u64) -> PathBuf {
        let filler = self.path.join("filler");
        let free = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(&self.path).output().expect("stat");
        let free: u64 =
            String::from_utf8_lossy(&free.stdout).split_whitespace().filter_map(|n| n.parse::<u64>().ok()).product();
        fs::write(&filler, vec![1; usize::try_from(free.saturating_sub(but)).expect("a size")]).expect("a file");
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            let _lazily = Command::new("umount").args(["-l"]).arg(&self.path).status();
        }
    }
}

/// The build fails because there is no space, says so, and says what to do.
#[track_caller]
fn says_full(ran: &Ran) {
    assert!(matches!(ran.status, Some(1 | 5)), "{ran}");
    let text = ran.stderr.to_lowercase();
    assert!(text.contains("no space left on device") || text.contains("no space is left"), "{ran}");
    ran.stderr_has("hint: ").stderr_has("kiln prune").stderr_lacks("panicked").stderr_lacks("mistake in kiln");
}

#[track_caller]
fn nothing_left(kiln: &Kiln) {
    leftovers::none(kiln);
    leftovers::no_temporary_files(kiln);
}

#[test]
fn each_kind_of_step_on_a_full_disk() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let Some(_disk) = SmallDisk::mount(&kiln.root(), 40) else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo works > /works\n");
    kiln.build::<&str>([]).succeeds();
    let layers = leftovers::names(&kiln, "layers");

    kiln.write("big", vec![7; 60 << 20]);
    for dockerfile in [
        "FROM base\nRUN dd if=/dev/zero of=/big bs=1M count=60\n",
        "FROM base\nCOPY big /big\n",
        "FROM base\nRUN --mount=type=bind,source=big,target=/big ls -l /big\n",
        "FROM base\nRUN --mount=type=cache,target=/cache dd if=/dev/zero of=/cache/big bs=1M count=60\n",
    ] {
        kiln.write("Dockerfile", dockerfile);
        says_full(&kiln.build::<&str>([]));
        nothing_left(&kiln);
        let now = leftovers::names(&kiln, "layers");
        assert!(now.iter().all(|layer| layers.contains(layer)), "{dockerfile}");
        if dockerfile.contains("type=cache") {
            // What a step put into a cache mount stays there; pruning frees it.
            kiln.run(["prune", "--all", "--force"]).succeeds();
        }
    }

    kiln.write("big", vec![7; 2 << 20]);
    kiln.write("Dockerfile", "FROM base\nCOPY big /big\nRUN wc -c < /big && dd if=/dev/zero of=/more bs=1M count=2\n");
    kiln.build::<&str>([]).succeeds().logs("2097152");
}

#[test]
fn exports_on_a_full_disk() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let Some(disk) = SmallDisk::mount(&kiln.path("small"), 12) else { return };
    kiln.write("Dockerfile", "FROM base\nRUN dd if=/dev/urandom of=/noise bs=1M count=16 2>/dev/null\n");
    for output in ["type=oci", "type=docker", "type=tar", "type=oci,tar=false", "type=local"] {
        let dest = disk.path.join("out");
        let ran = kiln.build(["-o", &format!("{output},dest={}", dest.display())]);
        assert!(matches!(ran.status, Some(1 | 5)), "{output}: {ran}");
        ran.stderr_has("No space left on device").stderr_has("out");
        nothing_left(&kiln);
        let directory = output.ends_with("false") || output.ends_with("local");
        assert!(directory || leftovers_in(&disk.path).is_empty(), "{output}: {:?}", leftovers_in(&disk.path));
        let _partly_written = fs::remove_dir_all(&dest);
    }
    // To a disk with space it works.
    kiln.build(["-o", &format!("type=oci,dest={}", kiln.path("out.tar").display())]).succeeds();
}

fn leftovers_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_store_without_any_space() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let Some(disk) = SmallDisk::mount(&kiln.root(), 24) else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo one > /one\n");
    kiln.build(["-t", "one"]).succeeds();
    leftovers::wait_for_sync(&kiln);
    for left in [0, 16 << 10, 256 << 10] {
        let filler = disk.fill(left);
        kiln.write(
            "Dockerfile",
            format!("FROM base\nRUN dd if=/dev/zero of=/two bs=1k count=600 && echo {left} > /two\n"),
        );
        let ran = kiln.build(["-t", "two"]);
        assert_ne!(ran.status, Some(0), "{left} bytes left: {ran}");
        says_full(&ran);
        leftovers::none(&kiln);
        // Looking and pruning still work.
        kiln.run(["images"]).succeeds().stdout_has("one");
        kiln.run(["du"]).succeeds();
        kiln.run(["prune", "--force"]).succeeds();
        fs::remove_file(filler).expect("the filler");
        kiln.write("Dockerfile", format!("FROM base\nRUN echo {left} > /two\nCMD cat /two\n"));
        kiln.build(["-t", "two"]).succeeds();
        kiln.run(["run", "two"]).succeeds().stdout_is(&format!("{left}\n"));
        nothing_left(&kiln);
    }
}

#[test]
fn a_new_store_without_space() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let Some(disk) = SmallDisk::mount(&kiln.root(), 8) else { return };
    let filler = disk.fill(0);
    kiln.write("Dockerfile", "FROM base\nRUN true\n");
    says_full(&kiln.build::<&str>([]));
    fs::remove_file(filler).expect("the filler");
    kiln.build::<&str>([]).succeeds();
    nothing_left(&kiln);
}

#[test]
fn a_pull_onto_a_full_disk() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let Some(disk) = SmallDisk::mount(&kiln.root(), 24) else { return };
    let registry = FakeRegistry::of_layout(&base_layout(&kiln));
    let config = kiln.path("config.toml");
    fs::write(&config, registry.config()).expect("a file");
    kiln.run(["images"]).succeeds();
    kiln.write("Dockerfile", format!("FROM {}/base:latest\nRUN echo works\n", registry.address()));
    let build = || {
        let mut command = kiln.build_command::<&str>([]);
        Ran::of(command.env("KILN_CONFIG", &config))
    };
    // Not even the manifest; the blob but half; the blob but not the files.
    for left in [0, 400 << 10, 1500 << 10] {
        let filler = disk.fill(left);
        let ran = build();
        assert_eq!(ran.status, Some(5), "{left}: {ran}");
        says_full(&ran);
        fs::remove_file(filler).expect("the filler");
        nothing_left(&kiln);
    }
    build().succeeds().logs("works");
}
