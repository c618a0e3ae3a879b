//! Finding and executing the program, in the new root.
//!
//! While the child has not yet executed anything, `/proc/self/exe` is the caller's own binary on the host. An image whose
//! program, or whose script's interpreter, is a link to it would run that binary inside the sandbox and could then
//! write to it. So the way to the program is looked at before privileges are dropped (a program need not be readable
//! for its user), and a magic link on it is refused.
//!
//! What remains: a program in a mount that another running sandbox shares can be exchanged after it was looked at, and the
//! interpreters that the host registered with `binfmt_misc` without its `F` flag are not looked at. Either way the
//! kernel lets nobody write to a binary that is running, and the sandbox dies with the caller that runs it.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{CWD, FileType, OFlags, ResolveFlags, fstat};
use rustix::io::{Errno, read};

use crate::error::{Failure, Stage};
use crate::mounts::last_errno;
use crate::openat2::openat2;
use crate::plan::{HEAD_LEN, Plan};

/// As many interpreters of interpreters as the kernel follows.
const SCRIPT_DEPTH: usize = 5;
/// As much of a script's first line as the kernel reads.
const SCRIPT_LINE: usize = 256;

/// Refuses programs that lead out of the image.
pub(crate) fn inspect(plan: &mut Plan) -> Result<(), Failure> {
    for (index, candidate) in plan.executable.candidates.iter().enumerate() {
        if leads_out(candidate) {
            return Err(Failure { stage: Stage::MagicLink, index, errno: Errno::LOOP });
        }
    }
    Ok(())
}

fn leads_out(candidate: &CStr) -> bool {
    let mut line = [0u8; SCRIPT_LINE + 1];
    let mut next = read_head(candidate, &mut line[..SCRIPT_LINE]);
    for _ in 0..SCRIPT_DEPTH {
        let length = match next {
            Err(Errno::LOOP) => return true,
            // What cannot be opened here cannot be executed either, and `execve` says why.
            Err(_) => return false,
            Ok(length) => length,
        };
        let Some(range) = script_interpreter(&line[..length]) else { return false };
        // Moves the interpreter's name out of the way of the next line.
        let mut path = [0u8; SCRIPT_LINE + 1];
        let name = &line[range];
        path[..name.len()].copy_from_slice(name);
        let Ok(path) = CStr::from_bytes_until_nul(&path) else { return false };
        next = read_head(path, &mut line[..SCRIPT_LINE]);
    }
    false
}

/// Reads the first bytes of a regular file, without following magic links.
fn read_head(path: &CStr, head: &mut [u8]) -> rustix::io::Result<usize> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    // The link is looked at before the file is opened: opening a device or a FIFO could have effects.
    let place = openat2(CWD, path, OFlags::PATH, ResolveFlags::NO_MAGICLINKS)?;
    if FileType::from_raw_mode(fstat(&place)?.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    let file = openat2(CWD, path, flags, ResolveFlags::NO_MAGICLINKS)?;
    read_full(file.as_fd(), head)
}

fn read_full(file: std::os::fd::BorrowedFd<'_>, buffer: &mut [u8]) -> rustix::io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match read(file, &mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(length)
}

/// Tries the candidates as `execvpe` does. Returns only on failure.
pub(crate) fn run(plan: &mut Plan) -> Failure {
    let mut worst = Errno::NOENT;
    let mut last = 0;
    for (index, candidate) in plan.executable.candidates.iter().enumerate() {
        // SAFETY: path, arguments and environment are zero-terminated and outlive the call.
        unsafe {
            libc::syscall(
                libc::SYS_execve,
                candidate.as_ptr(),
                plan.executable.argv.as_ptr(),
                plan.executable.envp.as_ptr(),
            )
        };
        match last_errno() {
            Errno::NOENT | Errno::NOTDIR if !exists(candidate) => {}
            // A file that may not be executed hides none that comes later in the path.
            Errno::ACCESS => (worst, last) = (Errno::ACCESS, index),
            errno => {
                (worst, last) = (errno, index);
                break;
            }
        }
    }
    // The head tells the parent which interpreter is missing, or which machine the program is for.
    if matches!(worst, Errno::NOENT | Errno::NOEXEC)
        && let Some(candidate) = plan.executable.candidates.get(last)
    {
        let head = &mut plan.outcome.head;
        head.resize(HEAD_LEN, 0);
        let length = read_head(candidate, head).unwrap_or(0);
        head.truncate(length);
    }
    Failure { stage: Stage::Exec, index: last, errno: worst }
}

fn exists(path: &CStr) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok()
}

/// The interpreter that the first bytes of a program name: of a script, or of a dynamically linked binary.
pub(crate) fn interpreter(head: &[u8]) -> Option<&[u8]> {
    if let Some(range) = script_interpreter(&head[..head.len().min(SCRIPT_LINE)]) {
        return head.get(range);
    }
    elf_interpreter(head)
}

fn script_interpreter(line: &[u8]) -> Option<std::ops::Range<usize>> {
    if !line.starts_with(b"#!") {
        return None;
    }
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = 2 + line[2..].iter().position(|byte| !blank(byte))?;
    let length = line[start..].iter().position(|byte| blank(byte) || matches!(byte, b'\n' | 0));
    let end = length.map_or(line.len(), |length| start + length);
    if start == end { None } else { Some(start..end) }
}

/// ELF, 64-bit little-endian: the program header of type `PT_INTERP`.
fn elf_interpreter(head: &[u8]) -> Option<&[u8]> {
    const PT_INTERP: u64 = 3;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let table = usize::try_from(number(32, 8)?).ok()?;
    let size = usize::try_from(number(54, 2)?).ok()?;
    let count = usize::try_from(number(56, 2)?).ok()?;
    let header = (0..count)
        .map(|index| table.checked_add(index.checked_mul(size)?))
        .map_while(|at| at.filter(|at| *at < head.len()))
        .find(|at| number(*at, 4) == Some(PT_INTERP))?;
    let offset = usize::try_from(number(header.checked_add(8)?, 8)?).ok()?;
    let text = head.get(offset..)?;
    let end = text.iter().position(|byte| *byte == 0)?;
    Some(&text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_their_interpreter() {
        for (line, expected) in [
            (&b"#!/bin/sh\n"[..], Some(&b"/bin/sh"[..])),
            (b"#! \t/usr/bin/env -S python3\n", Some(b"/usr/bin/env")),
            (b"#!/bin/sh", Some(b"/bin/sh")),
            (b"#!\n", None),
            (b"#!", None),
            (b"#!   ", None),
            (b"echo", None),
            (b"", None),
        ] {
            assert_eq!(interpreter(line), expected, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn broken_binaries_name_nothing() {
        let mut head = vec![0u8; 200];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        assert_eq!(interpreter(&head), None);
        for byte in [0x01, 0x7f, 0xff] {
            head[32..64].fill(byte);
            assert_eq!(interpreter(&head), None);
        }
        for length in 0..head.len() {
            interpreter(&head[..length]);
        }
    }

    #[test]
    fn own_loader_is_found() {
        let binary = std::fs::read("/proc/self/exe").unwrap();
        let found = interpreter(&binary[..HEAD_LEN]).map(String::from_utf8_lossy);
        assert!(found.as_deref().is_some_and(|path| path.contains("ld-")), "{found:?}");
    }
}
