//! Programs that Go linked: since Go 1.18 each holds, in a section `.go.buildinfo`, the version of Go and the modules it was built
//! from (Go's package `debug/buildinfo`). Older programs hold pointers instead and are not read.

use crate::package::{Ecosystem, Package};
use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, FileKind, ReadCache, elf};
use std::fs::File;

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The strings follow the 32 bytes of the section's header.
const HEADER: usize = 32;
/// The header's flags.
const FLAGS: usize = 15;
const FLAG_INLINE: u8 = 2;
/// The text about modules stands between two marks of so many bytes.
const MARK: usize = 16;
/// No program tells of its modules in more bytes.
const MAX_SECTION: u64 = 4 << 20;

/// The modules of a program; nothing if Go did not link it.
pub(crate) fn packages(program: File, found_in: &str) -> Vec<Package> {
    let cache = ReadCache::new(program);
    let section = match FileKind::parse(&cache) {
        Ok(FileKind::Elf64) => section::<elf::FileHeader64<Endianness>>(&cache),
        Ok(FileKind::Elf32) => section::<elf::FileHeader32<Endianness>>(&cache),
        _ => None,
    };
    section.and_then(|section| modules(section, found_in)).unwrap_or_default()
}

/// The section of an ELF file.
fn section<Elf: FileHeader<Endian = Endianness>>(file: &ReadCache<File>) -> Option<&[u8]> {
    let header = Elf::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, file).ok()?;
    let (_, section) = sections.section_by_name(endian, b".go.buildinfo")?;
    let size: u64 = section.sh_size(endian).into();
    if size > MAX_SECTION {
        return None;
    }
    section.data(endian, file).ok()
}

fn modules(section: &[u8], found_in: &str) -> Option<Vec<Package>> {
    let inline = section.starts_with(MAGIC) && section.get(FLAGS)? & FLAG_INLINE != 0;
    let mut left = section.get(HEADER..).filter(|_| inline)?;
    let go = string(&mut left)?;
    let info = string(&mut left).unwrap_or_default();
    let info = info.get(MARK..info.len().saturating_sub(MARK)).unwrap_or_default();
    let info = String::from_utf8_lossy(info);
    let package = |name: &str, version: &str| Package {
        ecosystem: Ecosystem::Go,
        name: name.to_owned(),
        // What Go calls the version of a program that it built in its source tree.
        version: if version == "(devel)" { String::new() } else { version.to_owned() },
        architecture: None,
        source: None,
        supplier: None,
        license: None,
        found_in: found_in.to_owned(),
    };
    let go = String::from_utf8_lossy(go);
    let version = go.split_whitespace().next().unwrap_or_default();
    let mut packages = vec![package("stdlib", version.strip_prefix("go").unwrap_or(version))];
    for line in info.lines() {
        let mut fields = line.split('\t');
        let (kind, name, version) = (fields.next(), fields.next(), fields.next());
        match (kind, name, version) {
            (Some("mod" | "dep"), Some(name), version) if !name.is_empty() => {
                packages.push(package(name, version.unwrap_or_default()));
            }
            // The module above was replaced with this one.
            (Some("=>"), Some(name), version) if packages.len() > 1 => {
                packages.pop();
                packages.push(package(name, version.unwrap_or_default()));
            }
            _ => {}
        }
    }
    Some(packages)
}

/// A string after its length, which is a variable-length integer.
fn string<'a>(left: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length: usize = 0;
    let mut used = 0;
    for (at, byte) in left.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        used = at + 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let text = left.get(used..used.checked_add(length)?)?;
    *left = &left[used + length..];
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn section_of(go: &str, info: &str) -> Vec<u8> {
        let mut section = MAGIC.to_vec();
        section.resize(HEADER, 0);
        section[FLAGS] = FLAG_INLINE;
        let info = format!("{}{info}{}", "<".repeat(MARK), ">".repeat(MARK));
        for text in [go, &info] {
            let mut length = text.len();
            while length >= 0x80 {
                section.push(length as u8 | 0x80);
                length >>= 7;
            }
            section.push(length as u8);
            section.extend(text.bytes());
        }
        section
    }

    #[test]
    fn modules_and_what_replaced_them_are_told() {
        let info = "path\texample.com/app\nmod\texample.com/app\t(devel)\t\ndep\tgolang.org/x/net\tv0.1.0\th1:x=\n\
                    dep\tgithub.com/a/b\tv1.0.0\n=>\tgithub.com/c/b\tv1.0.1\th1:y=\nbuild\tCGO_ENABLED=0\n";
        let found = modules(&section_of("go1.25.5 X:nocoverageredesign", info), "app").unwrap();
        let told: Vec<_> = found.iter().map(|package| (package.name.as_str(), package.version.as_str())).collect();
        let expected = [
            ("stdlib", "1.25.5"),
            ("example.com/app", ""),
            ("golang.org/x/net", "v0.1.0"),
            ("github.com/c/b", "v1.0.1"),
        ];
        assert_eq!(told, expected);
    }

    proptest! {
        #[test]
        fn no_section_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            modules(&bytes, "app");
            let mut section = section_of("go1", "");
            section.truncate(HEADER);
            section.append(&mut bytes);
            modules(&section, "app");
        }
    }
}
