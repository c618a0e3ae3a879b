//! Classic BPF for seccomp: code blocks, and a binary search over numbers.

use libc::sock_filter;

/// Most instructions that the kernel takes.
pub(super) const MAX_LEN: usize = 4096;

// `linux/bpf_common.h`, `linux/seccomp.h`.
const LD_ABS_WORD: u16 = 0x20;
const ALU_AND: u16 = 0x54;
const ALU_LSH_X: u16 = 0x6c;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGE: u16 = 0x35;
const JSET: u16 = 0x45;
const RET: u16 = 0x06;
const LD_IMMEDIATE: u16 = 0x00;
const TAX: u16 = 0x07;

const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_KILL_PROCESS: u32 = 0x8000_0000;

/// Offsets in `struct seccomp_data`.
const DATA_NUMBER: u32 = 0;
const DATA_ARCHITECTURE: u32 = 4;

/// Code that ends in a verdict on every path.
pub(super) type Block = Vec<sock_filter>;

const fn instruction(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The call goes through.
pub(super) fn allow() -> Block {
    vec![instruction(RET, RET_ALLOW)]
}

/// The call fails with an errno.
pub(super) fn fail(errno: i32) -> Block {
    vec![instruction(RET, RET_ERRNO | (errno as u32 & 0xffff))]
}

/// The process is killed.
pub(super) fn kill() -> Block {
    vec![instruction(RET, RET_KILL_PROCESS)]
}

pub(super) fn load_architecture() -> sock_filter {
    instruction(LD_ABS_WORD, DATA_ARCHITECTURE)
}

/// Loads the number of the call, without some bits.
pub(super) fn load_number(ignored: u32) -> Block {
    let mut block = vec![instruction(LD_ABS_WORD, DATA_NUMBER)];
    if ignored != 0 {
        block.push(instruction(ALU_AND, !ignored));
    }
    block
}

/// Loads the low half of an argument. All arguments that the policy looks at are `int`s to the kernel, which
/// ignores the high half, and all architectures are little-endian.
fn load_argument(index: u32) -> sock_filter {
    instruction(LD_ABS_WORD, 16 + 8 * index)
}

/// `then` if the value at hand is `value`.
pub(super) fn if_equal(value: u32, then: Block, otherwise: Block) -> Block {
    branch(JEQ, value, then, otherwise)
}

/// `then` if the argument has any of the bits.
pub(super) fn if_argument_has(index: u32, bits: u32, then: Block, otherwise: Block) -> Block {
    let mut block = vec![load_argument(index)];
    block.extend(branch(JSET, bits, then, otherwise));
    block
}

/// `then` if the argument is one of the values.
pub(super) fn if_argument_is_one_of(index: u32, values: &[u32], then: Block, otherwise: Block) -> Block {
    let tests = values.iter().rev().fold(otherwise, |otherwise, value| if_equal(*value, then.clone(), otherwise));
    let mut block = vec![load_argument(index)];
    block.extend(tests);
    block
}

/// `then` if the argument is below 64 and its bit is set.
pub(super) fn if_argument_in_set(index: u32, set: u64, then: Block, otherwise: Block) -> Block {
    let half = |bits: u32| {
        let mut block = vec![
            load_argument(index),
            instruction(ALU_AND, 31),
            instruction(TAX, 0),
            instruction(LD_IMMEDIATE, 1),
            instruction(ALU_LSH_X, 0),
        ];
        block.extend(branch(JSET, bits, then.clone(), otherwise.clone()));
        block
    };
    let (low, high) = (half(set as u32), half((set >> 32) as u32));
    let mut block = vec![load_argument(index)];
    block.extend(branch(JGE, 32, branch(JGE, 64, otherwise.clone(), high), low));
    block
}

/// Decides by the number at hand: `starts` are where each range begins, in rising order from 0; each range has a block.
pub(super) fn search(ranges: &[(u32, Block)]) -> Block {
    match ranges {
        [] => kill(),
        [(_, block)] => block.clone(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let middle = high.first().map_or(0, |(start, _)| *start);
            branch(JGE, middle, search(high), search(low))
        }
    }
}

fn branch(code: u16, k: u32, then: Block, otherwise: Block) -> Block {
    let mut block = Vec::with_capacity(2 + then.len() + otherwise.len());
    // Conditional jumps reach 255 instructions; the long jump takes any number.
    match u8::try_from(otherwise.len()) {
        Ok(length) => block.push(jump(code, k, length, 0)),
        Err(_) => {
            block.push(jump(code, k, 0, 1));
            block.push(instruction(JA, otherwise.len() as u32));
        }
    }
    block.extend(otherwise);
    block.extend(then);
    block
}

/// What a program returns for a call, as the kernel would run it.
#[cfg(test)]
pub(super) fn run(program: &[sock_filter], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = [0u32; 16];
    (data[0], data[1]) = (number, architecture);
    for (index, argument) in arguments.into_iter().enumerate() {
        data[4 + 2 * index] = argument as u32;
        data[5 + 2 * index] = (argument >> 32) as u32;
    }
    let (mut a, mut x, mut at) = (0u32, 0u32, 0);
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let mut conditional = |holds: bool| at += usize::from(if holds { jt } else { jf });
        match code {
            LD_ABS_WORD => a = data[k as usize / 4],
            LD_IMMEDIATE => a = k,
            ALU_AND => a &= k,
            ALU_LSH_X => a <<= x,
            TAX => x = a,
            JEQ => conditional(a == k),
            JGE => conditional(a >= k),
            JSET => conditional(a & k != 0),
            JA => at += k as usize,
            RET => return k,
            _ => panic!("unknown instruction {code:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_finds_every_range() {
        // Enough blocks for long jumps.
        let ranges: Vec<_> = (0..600u32).map(|index| (index * 3, fail(index as i32))).collect();
        let mut program = load_number(0);
        program.extend(search(&ranges));
        assert!(program.iter().any(|instruction| instruction.code == JA));
        for number in 0..1800 {
            assert_eq!(run(&program, 0, number, [0; 6]), RET_ERRNO | (number / 3), "{number}");
        }
        assert_eq!(run(&program, 0, u32::MAX, [0; 6]), RET_ERRNO | 599);
    }

    #[test]
    fn sets_of_values() {
        let set = 1 << 1 | 1 << 31 | 1 << 32 | 1 << 63;
        let program = if_argument_in_set(2, set, allow(), fail(1));
        for value in 0..200u64 {
            let expected = if value < 64 && set >> value & 1 == 1 { RET_ALLOW } else { RET_ERRNO | 1 };
            assert_eq!(run(&program, 0, 0, [9, 9, value, 9, 9, 9]), expected, "{value}");
        }
    }
}
