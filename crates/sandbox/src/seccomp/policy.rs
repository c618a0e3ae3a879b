//! From the table of system calls to decisions, architecture by architecture.
//!
//! - A call that the table allows goes through; some only with certain arguments.
//! - `clone3` does not exist, for its flags are behind a pointer: programs fall back to `clone`, whose flags can be seen.
//! - Any other call is refused with `EPERM`.
//! - A call newer than all in the table does not exist either (`ENOSYS`): programs that probe for new calls expect that.
//! - A call of an architecture that is not the host's or its smaller sibling's kills the process.

use std::collections::BTreeMap;

use libc::sock_filter;

use super::bpf::{
    self, Block, allow, fail, if_argument_has, if_argument_in_set, if_argument_is_one_of, if_equal, kill,
    load_architecture, load_number, search,
};
use super::syscalls::{NO, SYSCALLS};

/// What the policy says of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// It goes through.
    Allow,
    /// It goes through for the address families in [`SOCKET_FAMILIES`].
    Socket,
    /// It goes through for the execution domains in [`PERSONALITIES`].
    Personality,
    /// It goes through when it makes no namespace.
    Clone,
    /// It does not exist.
    Missing,
}

/// One call.
pub(super) struct Row {
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reader, and for tests"))]
    pub(super) name: &'static str,
    pub(super) rule: Rule,
    pub(super) numbers: [u32; 5],
}

/// An architecture as seccomp tells it.
pub(super) struct Architecture {
    /// `AUDIT_ARCH_*`.
    pub(super) audit: u32,
    /// Columns of the table.
    pub(super) columns: &'static [usize],
    /// A bit of the number that does not matter.
    pub(super) ignored: u32,
}

/// The number of a call of the x32 ABI has this bit. Without it the number means the same call on x86_64, or none, so one
/// search serves both.
const X32_BIT: u32 = 0x4000_0000;

pub(super) const X86_64: &[Architecture] = &[
    Architecture { audit: 0xc000_003e, columns: &[0, 1], ignored: X32_BIT },
    Architecture { audit: 0x4000_0003, columns: &[2], ignored: 0 },
];
pub(super) const AARCH64: &[Architecture] = &[
    Architecture { audit: 0xc000_00b7, columns: &[3], ignored: 0 },
    Architecture { audit: 0x4000_0028, columns: &[4], ignored: 0 },
];

/// The architectures that this machine's kernel may run; none if the table has no column for them.
pub(super) fn host_architectures() -> &'static [Architecture] {
    if cfg!(target_arch = "x86_64") {
        X86_64
    } else if cfg!(target_arch = "aarch64") {
        AARCH64
    } else {
        &[]
    }
}

/// Address families that a process may make sockets of: those that Linux still has, without `AF_ALG` (38), which is
/// a way into the kernel that no build needs, and `AF_VSOCK` (40), which reaches the machine around a virtual one.
const SOCKET_FAMILIES: u64 = {
    const REFUSED: [u32; 11] = [12, 19, 20, 23, 25, 34, 37, 38, 40, 46, 47];
    let mut families = (1 << 48) - 1;
    let mut index = 0;
    while index < REFUSED.len() {
        families &= !(1 << REFUSED[index]);
        index += 1;
    }
    families
};

/// `PER_LINUX`, `PER_LINUX32`, both with `UNAME26`, and the question which it is.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// `CLONE_NEW` for mount, cgroup, UTS, IPC, user, pid and network namespaces.
const NAMESPACES: u32 = 0x7e02_0000;

/// Numbers from here on are not consecutive to those below: x32 has its own from 512, arm a few from `0xf0000`.
const SPACES: [u32; 2] = [512, 0x000f_0000];

/// Compiles the policy for some architectures. `None` if there are none, or the kernel would refuse the program's length.
pub(super) fn compile(architectures: &[Architecture]) -> Option<Vec<sock_filter>> {
    if architectures.is_empty() {
        return None;
    }
    let mut program = vec![load_architecture()];
    program.extend(architectures.iter().rev().fold(kill(), |others, architecture| {
        let mut own = load_number(architecture.ignored);
        own.extend(search(&ranges(architecture)));
        if_equal(architecture.audit, own, others)
    }));
    (program.len() <= bpf::MAX_LEN).then_some(program)
}

/// What is done with which numbers: where each range starts, and what it gets. Rising, from 0.
fn ranges(architecture: &Architecture) -> Vec<(u32, Block)> {
    let mut rules: BTreeMap<u32, Rule> = BTreeMap::new();
    for row in SYSCALLS {
        for &column in architecture.columns {
            let number = row.numbers[column];
            if number != NO {
                rules.insert(number, row.rule);
            }
        }
    }
    let mut ranges: Vec<(u32, Option<Rule>)> = Vec::with_capacity(rules.len() / 2);
    let mut push = |start: u32, rule: Option<Rule>| match ranges.last() {
        Some((_, last)) if *last == rule => {}
        _ => ranges.push((start, rule)),
    };
    // Between a number and the next one of the same space lies what is refused; between spaces, what does not exist.
    let mut free = 0;
    for (&number, &rule) in &rules {
        if number > free {
            let space = SPACES.into_iter().rev().find(|space| *space <= number).unwrap_or(0);
            if space > free {
                push(free, Some(Rule::Missing));
                push(space, None);
            } else {
                push(free, None);
            }
        }
        push(number, Some(rule));
        free = number + 1;
    }
    push(free, Some(Rule::Missing));
    ranges.into_iter().map(|(start, rule)| (start, block(rule))).collect()
}

fn block(rule: Option<Rule>) -> Block {
    let refuse = || fail(libc::EPERM);
    match rule {
        None => refuse(),
        Some(Rule::Allow) => allow(),
        Some(Rule::Missing) => fail(libc::ENOSYS),
        Some(Rule::Clone) => if_argument_has(0, NAMESPACES, refuse(), allow()),
        Some(Rule::Personality) => if_argument_is_one_of(0, &PERSONALITIES, allow(), refuse()),
        Some(Rule::Socket) => if_argument_in_set(0, SOCKET_FAMILIES, allow(), refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;
    const X86: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;
    const ARM64: u32 = 0xc000_00b7;
    const ARM: u32 = 0x4000_0028;

    fn verdict(architectures: &[Architecture], audit: u32, number: u32, first: u64) -> u32 {
        let program = compile(architectures).unwrap();
        bpf::run(&program, audit, number, [first, 0, 0, 0, 0, 0])
    }

    #[test]
    fn every_call_of_the_table_is_decided_by_its_rule() {
        for architectures in [X86_64, AARCH64] {
            let program = compile(architectures).unwrap();
            for architecture in architectures {
                let mut numbers: BTreeMap<u32, &str> = BTreeMap::new();
                for &column in architecture.columns {
                    for row in SYSCALLS.iter().filter(|row| row.numbers[column] != NO) {
                        let number = row.numbers[column];
                        let name = numbers.entry(number).or_insert(row.name);
                        assert_eq!(*name, row.name, "both have number {number}");
                        let number = if column == 1 { number | X32_BIT } else { number };
                        let run = |first| bpf::run(&program, architecture.audit, number, [first, 0, 0, 0, 0, 0]);
                        match row.rule {
                            Rule::Allow => assert_eq!(run(u64::MAX), ALLOW, "{}", row.name),
                            Rule::Missing => assert_eq!(run(0), ENOSYS, "{}", row.name),
                            Rule::Clone => {
                                assert_eq!(run(0x0001_0f11), ALLOW);
                                for bit in [17, 25, 26, 27, 28, 29, 30] {
                                    assert_eq!(run(1 << bit | 17), EPERM, "{bit}");
                                }
                            }
                            Rule::Personality => {
                                assert_eq!([0, 8, 0xffff_ffff, 0x2_0008].map(run), [ALLOW; 4]);
                                assert_eq!([0x40_0000, 1, 0x4_0000].map(run), [EPERM; 3]);
                            }
                            Rule::Socket => {
                                assert_eq!([1, 2, 10, 16, 17, 45].map(run), [ALLOW; 6]);
                                assert_eq!([12, 38, 40, 46, 63, 64, 1000, u64::MAX].map(run), [EPERM; 8]);
                            }
                        }
                    }
                }
                // Everything else up to the newest call is refused.
                for number in (0..=466).filter(|number| !numbers.contains_key(number)) {
                    assert_eq!(bpf::run(&program, architecture.audit, number, [0; 6]), EPERM, "{number}");
                }
                for number in [467, 511, 1000, 0x3fff_ffff, 0x4fff_ffff, u32::MAX] {
                    assert_eq!(bpf::run(&program, architecture.audit, number, [0; 6]), ENOSYS, "{number:#x}");
                }
            }
        }
    }

    #[test]
    fn dangerous_calls_are_refused() {
        // mount, reboot, init_module, keyctl, unshare, setns, bpf, perf_event_open, kexec_load, userfaultfd, io_uring_setup,
        // open_by_handle_at, pivot_root, swapon, add_key, syslog, settimeofday, iopl, quotactl, acct.
        for number in
            [165, 169, 175, 250, 272, 308, 321, 298, 246, 323, 425, 304, 155, 167, 248, 103, 164, 172, 179, 163]
        {
            assert_eq!(verdict(X86_64, X86, number, 0), EPERM, "{number}");
            assert_eq!(verdict(X86_64, X86, number | X32_BIT, 0), EPERM, "{number}");
        }
        // kexec_load and move_pages of x32.
        for number in [528, 533] {
            assert_eq!(verdict(X86_64, X86, number | X32_BIT, 0), EPERM, "{number}");
        }
        for number in [21, 88, 128, 288, 310, 346] {
            assert_eq!(verdict(X86_64, I386, number, 0), EPERM, "{number}");
        }
        for number in [40, 142, 105, 219, 97, 268, 280] {
            assert_eq!(verdict(AARCH64, ARM64, number, 0), EPERM, "{number}");
        }
        assert_eq!(verdict(AARCH64, ARM, 21, 0), EPERM);
        // `set_tls` of arm is allowed far from all others, its neighbours are not.
        assert_eq!(verdict(AARCH64, ARM, 0xf_0005, 0), ALLOW);
        assert_eq!(verdict(AARCH64, ARM, 0xf_0004, 0), EPERM);
        assert_eq!(verdict(AARCH64, ARM, 0xf_0006, 0), ENOSYS);
    }

    #[test]
    fn foreign_architectures_are_killed() {
        assert_eq!(verdict(X86_64, ARM64, 0, 0), 0x8000_0000);
        assert_eq!(verdict(AARCH64, X86, 0, 0), 0x8000_0000);
        assert!(compile(&[]).is_none());
    }

    #[test]
    fn table_agrees_with_libc() {
        let column = if cfg!(target_arch = "x86_64") { 0 } else { 3 };
        for (name, number) in [
            ("accept4", libc::SYS_accept4),
            ("clone", libc::SYS_clone),
            ("clone3", libc::SYS_clone3),
            ("socket", libc::SYS_socket),
            ("personality", libc::SYS_personality),
            ("openat2", libc::SYS_openat2),
            ("execve", libc::SYS_execve),
            ("chroot", libc::SYS_chroot),
            ("ptrace", libc::SYS_ptrace),
            ("statx", libc::SYS_statx),
            ("rseq", libc::SYS_rseq),
            ("close_range", libc::SYS_close_range),
            ("mseal", libc::SYS_mseal),
        ] {
            let row = SYSCALLS.iter().find(|row| row.name == name).unwrap();
            assert_eq!(i64::from(row.numbers[column]), number, "{name}");
        }
    }

    #[test]
    fn programs_are_short_and_quick() {
        for architectures in [X86_64, AARCH64] {
            let start = std::time::Instant::now();
            let length = compile(architectures).unwrap().len();
            println!("{length} instructions in {:?}", start.elapsed());
            assert!(length < 1000, "{length}");
        }
    }
}
