//! Programs of other architectures. The kernel runs them where `binfmt_misc` has an emulator for them; where it has none, this says
//! why, and what to do about it. Nothing is asked before the kernel has refused, so that whatever it can run is run: 32-bit
//! programs, and images that do not say what they are for.

use crate::error::{EngineError, ErrorKind};
use kiln_sandbox::Machine;
use std::fs;
use std::path::Path;

/// Where the kernel shows its emulators (Linux, `admin-guide/binfmt-misc.rst`).
const BINFMT_MISC: &str = "/proc/sys/fs/binfmt_misc";

/// The error of a command that was not started since its program is for another machine.
pub(super) fn explain(command: &str, program: &str, machine: Machine) -> EngineError {
    let architecture = machine.architecture().unwrap_or("another architecture");
    let (reason, hint) = advice(architecture, find(Path::new(BINFMT_MISC), machine).as_ref());
    let message = format!("cannot run `{command}`: `{program}` is a program for {architecture}, {reason}");
    EngineError::new(ErrorKind::Unsupported, message).with_hint(hint)
}

/// An emulator that is registered.
#[derive(Debug, PartialEq, Eq)]
struct Emulator {
    name: String,
    interpreter: String,
    enabled: bool,
    /// Whether the kernel opened it when it was registered (`F`), so that it is found in every root.
    fixed: bool,
}

/// Why the program does not run, and what to do about it.
fn advice(architecture: &str, emulator: Option<&Emulator>) -> (String, String) {
    match emulator {
        None => (
            "and no emulator is registered for it".to_owned(),
            format!(
                "install one: `qemu-user-static` on Debian, Ubuntu and Fedora registers it with binfmt_misc{}; or let the \
                 stage run on this machine and cross-compile: `FROM --platform=$BUILDPLATFORM`",
                if Path::new(BINFMT_MISC).join("status").exists() {
                    ""
                } else {
                    ", once that is mounted on /proc/sys/fs/binfmt_misc"
                }
            ),
        ),
        Some(Emulator { name, enabled: false, .. }) => {
            (format!("whose emulator `{name}` is disabled"), format!("`echo 1 > {BINFMT_MISC}/{name}` enables it"))
        }
        Some(Emulator { name, interpreter, fixed: false, .. }) => (
            format!("and its emulator `{interpreter}` is not in the image"),
            format!(
                "register `{name}` with the flag `F`, as `qemu-user-static` does, or copy the emulator into the image"
            ),
        ),
        Some(Emulator { name, interpreter, .. }) => (
            format!("which its emulator `{interpreter}` cannot execute"),
            format!("`{name}` may be registered for another kind of {architecture}"),
        ),
    }
}

/// The emulator for programs of a machine; one that works goes before one that does not.
fn find(directory: &Path, machine: Machine) -> Option<Emulator> {
    let mut found: Vec<Emulator> = fs::read_dir(directory)
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name() != "register" && entry.file_name() != "status")
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            parse(&entry.file_name().to_string_lossy(), &text, machine)
        })
        .collect();
    found.sort_by_key(|emulator| (!emulator.enabled, !emulator.fixed));
    found.into_iter().next()
}

/// Reads an entry as the kernel shows it; `None` if it is for other files.
fn parse(name: &str, text: &str, machine: Machine) -> Option<Emulator> {
    let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    if field("offset ").is_none_or(|offset| offset != "0") || Machine::of_elf(&bytes(field("magic ")?)?)? != machine {
        return None;
    }
    Some(Emulator {
        name: name.to_owned(),
        interpreter: field("interpreter ")?.to_owned(),
        enabled: text.lines().next() == Some("enabled"),
        fixed: field("flags:").is_some_and(|flags| flags.contains('F')),
    })
}

/// The bytes that hexadecimal digits stand for.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAGIC: &str = "7f454c460201010000000000000000000200b700";

    fn arm64() -> Machine {
        Machine::of_elf(&bytes(MAGIC).unwrap()).unwrap()
    }

    fn entry(state: &str, flags: &str) -> String {
        format!(
            "{state}\ninterpreter /usr/bin/qemu-aarch64\nflags: {flags}\noffset 0\nmagic {MAGIC}\nmask ffffffffffffff00\n"
        )
    }

    #[test]
    fn the_emulator_that_works_is_found() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path(), arm64()), None);
        for (name, text) in [
            ("status", "enabled\n".to_owned()),
            ("off", entry("disabled", "F")),
            ("python", "enabled\ninterpreter /usr/bin/python3\nflags: \noffset 0\nmagic cb0d0d0a\n".to_owned()),
            ("jar", "enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n".to_owned()),
            ("riscv", entry("enabled", "F").replace("0200b700", "0200f300")),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let found = |dir: &Path| find(dir, arm64()).map(|emulator| emulator.name);
        assert_eq!(found(dir.path()).as_deref(), Some("off"));
        fs::write(dir.path().join("plain"), entry("enabled", "OC")).unwrap();
        assert_eq!(found(dir.path()).as_deref(), Some("plain"));
        fs::write(dir.path().join("fixed"), entry("enabled", "OCF")).unwrap();
        assert_eq!(found(dir.path()).as_deref(), Some("fixed"));
    }

    #[test]
    fn each_state_has_its_advice() {
        let parse = |state, flags| parse("qemu", &entry(state, flags), arm64());
        for (emulator, reason, hint) in [
            (None, "no emulator is registered", "qemu-user-static"),
            (parse("disabled", "F"), "`qemu` is disabled", "echo 1 > "),
            (parse("enabled", "OC"), "`/usr/bin/qemu-aarch64` is not in the image", "flag `F`"),
            (parse("enabled", "F"), "cannot execute", "another kind of arm64"),
        ] {
            let said = advice("arm64", emulator.as_ref());
            assert!(said.0.contains(reason) && said.1.contains(hint), "{said:?}");
        }
    }
}
