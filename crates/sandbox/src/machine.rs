//! Which machine a program was made for, as the head of its file says (System V ABI, ELF header).

/// The machine that an ELF file was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// `e_machine`.
    number: u16,
    little_endian: bool,
    wide: bool,
}

impl Machine {
    /// Reads the head of a file; `None` for what is no ELF file.
    pub fn of_elf(head: &[u8]) -> Option<Self> {
        let [0x7f, b'E', b'L', b'F', class, data, ..] = head else { return None };
        let little_endian = *data == 1;
        let number = [*head.get(18)?, *head.get(19)?];
        let number = if little_endian { u16::from_le_bytes(number) } else { u16::from_be_bytes(number) };
        Some(Self { number, little_endian, wide: *class == 2 })
    }

    /// Its architecture, as image configs spell it.
    pub fn architecture(self) -> Option<&'static str> {
        Some(match (self.number, self.wide, self.little_endian) {
            (3, ..) => "386",
            (8, false, true) => "mipsle",
            (8, false, false) => "mips",
            (8, true, true) => "mips64le",
            (8, true, false) => "mips64",
            (21, _, true) => "ppc64le",
            (21, _, false) => "ppc64",
            (22, ..) => "s390x",
            (40, ..) => "arm",
            (62, ..) => "amd64",
            (183, ..) => "arm64",
            (243, true, _) => "riscv64",
            (258, ..) => "loong64",
            _ => return None,
        })
    }

    /// Whether it is another machine than the one that this program was made for, and none that it can be at the same time.
    pub fn is_foreign(self) -> bool {
        let own = match std::env::consts::ARCH {
            "x86_64" => ["amd64", "386"],
            "aarch64" => ["arm64", "arm"],
            other => [other, other],
        };
        !self.architecture().is_some_and(|architecture| own.contains(&architecture))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(!Machine::of_elf(&own).unwrap().is_foreign());
        let mut head = [0; 20];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        for (bytes, architecture) in
            [([0xb7, 0], Some("arm64")), ([0xf3, 0], Some("riscv64")), ([62, 0], Some("amd64")), ([0xff, 0xff], None)]
        {
            head[18..].copy_from_slice(&bytes);
            let machine = Machine::of_elf(&head).unwrap();
            assert_eq!(machine.architecture(), architecture);
            let own = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
            assert_eq!(machine.is_foreign(), architecture != Some(own));
        }
        head[5] = 2;
        head[18..].copy_from_slice(&[0, 22]);
        assert_eq!(Machine::of_elf(&head).unwrap().architecture(), Some("s390x"));
        assert_eq!(Machine::of_elf(&head[..19]), None);
        assert_eq!(Machine::of_elf(b"#!/bin/sh"), None);
    }
}
