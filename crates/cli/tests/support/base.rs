//! The base image of the tests: busybox, built by kiln itself from this machine's static `/bin/busybox`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::{Kiln, Ran};

/// Why builds cannot be tested here.
pub(super) fn missing() -> Option<&'static str> {
    // /proc/self belongs to the effective user.
    let root = fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0);
    if !root {
        return Some("builds need root");
    }
    if !Path::new("/bin/busybox").exists() {
        return Some("no /bin/busybox (Debian's package busybox-static)");
    }
    None
}

/// An OCI layout with the base image, made once for all tests of a process and removed by the next `cargo test`.
pub(super) fn layout() -> &'static Path {
    static LAYOUT: OnceLock<PathBuf> = OnceLock::new();
    LAYOUT.get_or_init(|| {
        let layout = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("base-{}", std::process::id()));
        remove_old(Path::new(env!("CARGO_TARGET_TMPDIR")));
        let kiln = Kiln::new();
        fs::copy("/bin/busybox", kiln.context().join("busybox")).expect("busybox");
        kiln.write("passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n");
        kiln.write("group", "root:x:0:\napp:x:1000:\nstaff:x:50:\n");
        kiln.write(
            "Dockerfile",
            "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
             COPY passwd group /etc/\nRUN mkdir -p /tmp /root /home/app && chmod 1777 /tmp && chown 1000:1000 /home/app\n\
             ENV PATH=/bin\nCMD [\"sh\"]\n",
        );
        let output = format!("type=oci,tar=false,dest={}", layout.display());
        Ran::of(kiln.command(["build", "--progress=plain", "-o", &output, "."]).current_dir(kiln.context())).succeeds();
        layout
    })
}

/// Removes what test processes that are gone have left.
fn remove_old(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix("base-"));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _another_process_may_be_doing_it = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether a program is there; says `skipped` if not.
pub(crate) fn has_program(name: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {name}")])
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: no `{name}`");
    }
    found
}
