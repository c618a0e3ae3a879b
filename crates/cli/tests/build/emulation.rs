//! RUN steps with programs of other architectures: by an emulator that the kernel knows, or an error that says what is missing.

use crate::support::{Kiln, Ran, has_program};
use std::fs;
use std::process::Command;

const ARM64: u16 = 183;
const RISCV64: u16 = 243;
const LOONG64: u16 = 258;

/// A static program of 64 bits, little endian: its code follows the two headers.
fn program(machine: u16, code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    for (value, length) in [
        (2, 2),
        (machine.into(), 2),
        (1, 4),
        (BASE + HEADERS, 8),
        (64, 8),
        (0, 8),
        (0, 4),
        (64, 2),
        (56, 2),
        (1, 2),
        (0, 6),
        // The only segment: all of the file, to be read and executed.
        (1, 4),
        (5, 4),
        (0, 8),
        (BASE, 8),
        (BASE, 8),
        (size, 8),
        (size, 8),
        (0x1000, 8),
    ] {
        bytes.extend_from_slice(&u64::to_le_bytes(value)[..length]);
    }
    bytes.extend_from_slice(code);
    bytes
}

/// A program for arm64 that writes `hello from arm64`.
fn hello() -> Vec<u8> {
    const TEXT: &[u8] = b"hello from arm64\n";
    // write(1, TEXT, length); exit(0)
    let code = [
        0xd280_0808_u32,
        0xd280_0020,
        0x1000_0001 | 6 << 5,
        0xd280_0002 | (TEXT.len() as u32) << 5,
        0xd400_0001,
        0xd280_0ba8,
        0xd280_0000,
        0xd400_0001,
    ];
    let code: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).chain(TEXT.iter().copied()).collect();
    program(ARM64, &code)
}

#[test]
fn a_foreign_program_without_an_emulator() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("app", program(RISCV64, &[0; 16])).chmod("app", 0o755);
    if Command::new(kiln.context().join("app")).status().is_ok() {
        println!("skipped: this machine has an emulator for riscv64");
        return;
    }
    kiln.write("Dockerfile", "FROM scratch\nCOPY app /\nENTRYPOINT [\"/app\"]\n");
    // What is only copied needs none.
    kiln.build(["--platform=linux/riscv64", "-t", "app"]).succeeds();
    kiln.write("Dockerfile", "FROM app\nRUN [\"/app\", \"--version\"]\n");
    let ran = kiln.build(["--platform=linux/riscv64"]);
    ran.exits(4)
        .stderr_has(
            "cannot run `/app --version`: `/app` is a program for riscv64, and no emulator is registered for it",
        )
        .stderr_has("hint: install one: `qemu-user-static`")
        .stderr_has("2 | RUN [\"/app\", \"--version\"]");
    // A shell that cannot run is found out before it does anything.
    kiln.write("Dockerfile", "FROM base\nCOPY app /bin/sh\nRUN echo hello\n");
    kiln.build::<&str>([]).exits(4).stderr_has("cannot run `echo hello`: `/bin/sh` is a program for riscv64");
    kiln.write("Dockerfile", "FROM scratch\nCOPY app /\nCMD [\"/app\"]\n");
    kiln.build(["-t", "native"]).succeeds();
    kiln.run(["run", "native"]).exits(126).stderr_has("is a program for riscv64");
}

#[test]
fn an_emulator_that_the_kernel_knows() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("hello", hello()).chmod("hello", 0o755);
    let dockerfile = "FROM base AS copied\nCOPY hello /bin/\nFROM copied\nRUN [\"hello\"]\nRUN echo \"$(hello)!\"\n";
    kiln.write("Dockerfile", dockerfile);
    if cfg!(target_arch = "aarch64") {
        kiln.build::<&str>([]).succeeds().logs("hello from arm64");
        return;
    }
    if !has_program("qemu-aarch64-static") || !has_program("unshare") {
        return;
    }
    // The kernel's list is the machine's, so that the entry goes at once; that it is shown is for this process alone.
    let name = format!("kiln-test-{}", std::process::id());
    let script = kiln.path("register");
    let magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00";
    let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
    fs::write(
        &script,
        format!(
            "set -e\ncd /proc/sys/fs/binfmt_misc\n[ -e register ] || mount -t binfmt_misc binfmt_misc . && cd /proc/sys/fs/binfmt_misc\n\
             [ -w register ] || {{ echo cannot register; exit 99; }}\n\
             printf '%s' ':{name}:M::{magic}'\"$1\"':{mask}:/usr/bin/qemu-aarch64-static:'$2 > register || exit 99\n\
             shift 2\n\
             trap 'echo -1 > {name}' EXIT\n(cd /; \"$@\")\n"
        ),
    )
    .unwrap();
    let build = |machine: &str, flags: &str| {
        let inner = kiln.build_command(["--no-cache"]);
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation=private", "sh"])
            .arg(&script)
            .args([machine, flags])
            .arg(inner.get_program());
        command.args(inner.get_args()).env_clear();
        for (key, value) in inner.get_envs() {
            command.env(key, value.unwrap_or_default());
        }
        Ran::of(&mut command)
    };
    let ran = build(r"\xb7\x00", "F");
    if ran.status == Some(99) {
        println!("skipped: binfmt_misc cannot be used here: {}", ran.stderr);
        return;
    }
    ran.succeeds().logs("hello from arm64").logs("hello from arm64!");
    // Another architecture, since another process may be doing the same as this one just now.
    kiln.write("hello", program(LOONG64, &[0; 16]));
    let ran = build(r"\x02\x01", "O");
    ran.exits(4)
        .stderr_has(
            "`hello` is a program for loong64, and its emulator `/usr/bin/qemu-aarch64-static` is not in the image",
        )
        .stderr_has("with the flag `F`");
}
