//! System calls made by programs of a few bytes, so that no library comes between.
#![cfg(target_arch = "x86_64")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use kiln_sandbox::Security;

use crate::fixture::{Trial, need_root};

const ENTRY: u8 = 0x78;
const EPERM: i32 = 1;
/// The exit code of a program whose call returned 1.
const NEGATED_ONE: i32 = 0xff;

/// A static program for x86_64.
fn program(code: &[u8]) -> Vec<u8> {
    let mut elf = Vec::new();
    elf.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0");
    for word in [0x40_0000 + u64::from(ENTRY), 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    elf.extend(b"\x01\0\0\0\x05\0\0\0");
    let size = u64::from(ENTRY) + code.len() as u64;
    for word in [0, 0x40_0000, 0x40_0000, size, size, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    assert_eq!(elf.len(), usize::from(ENTRY));
    elf.extend(code);
    elf
}

/// A program that makes one call and exits with the negated result: 0 or the errno.
fn call(number: u32, arguments: [u32; 3]) -> Vec<u8> {
    let mut code = Vec::new();
    // mov edi, esi, edx, eax
    for (opcode, value) in [(0xbf, arguments[0]), (0xbe, arguments[1]), (0xba, arguments[2]), (0xb8, number)] {
        code.push(opcode);
        code.extend(value.to_le_bytes());
    }
    // syscall; neg eax; mov edi, eax; mov eax, exit; syscall
    code.extend(b"\x0f\x05\xf7\xd8\x89\xc7\xb8\x3c\0\0\0\x0f\x05");
    program(&code)
}

fn run(binary: &[u8], security: Security) -> i32 {
    let (mut sandbox, _layer) = Trial::with_layer(&["/call"], |layer| {
        fs::write(layer.join("call"), binary).unwrap();
        fs::set_permissions(layer.join("call"), fs::Permissions::from_mode(0o755)).unwrap();
    });
    sandbox.spec.security = security;
    sandbox.run().exit.code()
}

#[test]
fn verdicts_of_the_policy() {
    need_root!();
    const NEW_USER: u32 = 0x1000_0000;
    for (what, number, arguments, expected) in [
        ("getuid", 102, [0, 0, 0], 0),
        ("setuid", 105, [0, 0, 0], 0),
        ("personality, asked", 135, [u32::MAX, 0, 0], 0),
        ("personality without randomization", 135, [0x4_0000, 0, 0], EPERM),
        ("keyctl", 250, [0, 0, 0], EPERM),
        ("add_key", 248, [0, 0, 0], EPERM),
        ("reboot", 169, [0, 0, 0], EPERM),
        ("mount", 165, [0, 0, 0], EPERM),
        ("fsopen", 430, [0, 0, 0], EPERM),
        ("unshare of a user namespace", 272, [NEW_USER, 0, 0], EPERM),
        ("clone of a user namespace", 56, [NEW_USER | 17, 0, 0], EPERM),
        ("setns", 308, [0, 0, 0], EPERM),
        ("bpf", 321, [0, 0, 0], EPERM),
        ("perf_event_open", 298, [0, 0, 0], EPERM),
        ("userfaultfd", 323, [0, 0, 0], EPERM),
        ("io_uring_setup", 425, [0, 0, 0], EPERM),
        ("open_by_handle_at", 304, [0, 0, 0], EPERM),
        ("init_module", 175, [0, 0, 0], EPERM),
        ("kexec_load", 246, [0, 0, 0], EPERM),
        ("socket of AF_ALG", 41, [38, 5, 0], EPERM),
        ("socket of AF_VSOCK", 41, [40, 1, 0], EPERM),
        ("socket of AF_UNIX", 41, [1, 1, 0], -3 & 0xff),
        ("clone3", 435, [0, 0, 0], 38),
        ("a call of the future", 500, [0, 0, 0], 38),
        // EFAULT: it got as far as its argument.
        ("chroot", 161, [0, 0, 0], 14),
    ] {
        assert_eq!(run(&call(number, arguments), Security::Sandbox), expected, "{what}");
    }
}

#[test]
fn without_the_policy_the_same_programs_succeed() {
    need_root!();
    assert_eq!(run(&call(135, [0x4_0000, 0, 0]), Security::Insecure), 0);
    // EINVAL: `clone3` exists, and refuses a size of 0.
    assert_eq!(run(&call(435, [0, 0, 0]), Security::Insecure), 22);
}

#[test]
fn calls_of_32_bits() {
    need_root!();
    // mov eax, NUMBER; mov ebx, ARGUMENT; int 0x80; neg eax; mov ebx, eax; mov eax, exit; int 0x80
    let call = |number: u8, argument: u8| {
        program(&[
            0xb8, number, 0, 0, 0, 0xbb, argument, 0, 0, 0, 0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd,
            0x80,
        ])
    };
    if run(&call(20, 0), Security::Insecure) != NEGATED_ONE {
        eprintln!("skipped: the kernel runs no 32-bit programs");
        return;
    }
    // getpid, which is 1; umount; exit through the other door.
    assert_eq!(run(&call(20, 0), Security::Sandbox), NEGATED_ONE);
    assert_eq!(run(&call(22, 0), Security::Sandbox), 1);
    assert_eq!(run(&call(1, 7), Security::Sandbox), 7);
}
