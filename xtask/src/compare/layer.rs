//! The entries of one layer as text, one line an entry, in the layer's order.
//!
//! OCI image-spec, `layer.md`. Times are left out. Which name of a hard-linked file
//! carries the bytes is left out too: every name gets the properties of the file
//! and the list of all its names in the layer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufReader, Read};

use anyhow::{Context, Result, bail};
use tar::EntryType;

/// PAX records that the header's own fields stand for, and times.
const KNOWN: &[&str] = &["path", "linkpath", "size", "uid", "gid", "mtime"];
const XATTR: &str = "SCHILY.xattr.";

struct Entry {
    path: String,
    text: String,
    /// The path of which this is another name.
    same_as: Option<String>,
}

/// The layer's entries: path and properties.
pub(super) fn read(blob: impl Read) -> Result<Vec<(String, String)>> {
    let mut archive = tar::Archive::new(decompressed(blob)?);
    let mut entries = Vec::new();
    for entry in archive.entries().context("not a tar archive")? {
        entries.push(read_entry(entry.context("not a tar archive")?)?);
    }
    Ok(with_links(entries))
}

fn decompressed(blob: impl Read) -> Result<Box<dyn Read>>
where
{
    let mut blob = BufReader::new(blob);
    let mut bytes = Vec::new();
    blob.read_to_end(&mut bytes).context("cannot read the blob")?;
    let bytes = io::Cursor::new(bytes);
    Ok(match bytes.get_ref().get(..4) {
        Some([0x1f, 0x8b, ..]) => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        Some([0x28, 0xb5, 0x2f, 0xfd]) => Box::new(zstd::Decoder::new(bytes).context("not zstd")?),
        _ => Box::new(bytes),
    })
}

fn read_entry<R: Read>(mut entry: tar::Entry<'_, R>) -> Result<Entry> {
    let path = name(&entry.path_bytes());
    let link = entry.link_name_bytes().map(|link| String::from_utf8_lossy(&link).into_owned());
    let mut further = BTreeMap::new();
    if let Some(extensions) = entry.pax_extensions().context("bad PAX records")? {
        // The parser takes a line feed within a value for the record's end; what it cannot read is left out.
        for extension in extensions.filter_map(Result::ok) {
            let key = String::from_utf8_lossy(extension.key_bytes()).into_owned();
            if !KNOWN.contains(&key.as_str()) {
                let key = key.strip_prefix(XATTR).map_or_else(|| format!("pax:{key}"), str::to_owned);
                further.insert(key, extension.value_bytes().to_vec());
            }
        }
    }
    let header = entry.header().clone();
    let kind = header.entry_type();
    if kind == EntryType::Link {
        let target = name(link.context("a hard link without a target")?.as_bytes());
        return Ok(Entry { path, text: String::new(), same_as: Some(target) });
    }
    let word = match kind {
        EntryType::Regular | EntryType::Continuous => "file",
        EntryType::Directory => "directory",
        EntryType::Symlink => "symlink",
        EntryType::Char => "char",
        EntryType::Block => "block",
        EntryType::Fifo => "fifo",
        other => bail!("`{path}` has the unknown type {other:?}"),
    };
    let mut text = format!("{word} {:04o} {}:{}", header.mode()?, header.uid()?, header.gid()?);
    if kind == EntryType::Symlink {
        let _ = write!(text, " to={}", link.unwrap_or_default());
    }
    if matches!(kind, EntryType::Char | EntryType::Block) {
        let numbers = [header.device_major()?, header.device_minor()?].map(Option::unwrap_or_default);
        let _ = write!(text, " device={}:{}", numbers[0], numbers[1]);
    }
    let mut hasher = blake3::Hasher::new();
    let size = io::copy(&mut entry, &mut hasher).with_context(|| format!("cannot read `{path}`"))?;
    if word == "file" || size > 0 {
        let _ = write!(text, " size={size} content={}", &hasher.finalize().to_hex()[..16]);
    }
    for (label, field) in [("user", header.username_bytes()), ("group", header.groupname_bytes())] {
        if let Some(field) = field.filter(|field| !field.is_empty()) {
            let _ = write!(text, " {label}={}", String::from_utf8_lossy(field));
        }
    }
    for (key, value) in further {
        let _ = write!(text, " {key}={}", value.escape_ascii());
    }
    Ok(Entry { path, text, same_as: None })
}

/// A path without the ways to write it: `./a/`, `/a` and `a` are one.
fn name(bytes: &[u8]) -> String {
    let path = bytes.escape_ascii().to_string();
    let path = path.trim_start_matches("./").trim_matches('/');
    if path.is_empty() || path == "." { ".".to_owned() } else { path.to_owned() }
}

fn with_links(entries: Vec<Entry>) -> Vec<(String, String)> {
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    for entry in &entries {
        let target = entry.same_as.as_ref().unwrap_or(&entry.path);
        let origin = first.get(target).cloned().unwrap_or_else(|| target.clone());
        first.insert(entry.path.clone(), origin.clone());
        if entry.same_as.is_none() {
            texts.insert(entry.path.clone(), entry.text.clone());
        }
        names.entry(origin).or_default().push(entry.path.clone());
    }
    for group in names.values_mut() {
        group.sort();
    }
    let text_of = |entry: &Entry| {
        let origin = &first[&entry.path];
        let text = texts.get(origin).map_or("a link to what the layer has not", String::as_str);
        match &names[origin] {
            group if group.len() > 1 => format!("{text} links={}", group.join(",")),
            _ => text.to_owned(),
        }
    };
    entries.iter().map(|entry| (entry.path.clone(), text_of(entry))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tar::{Builder, Header};

    fn header(kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1);
        header
    }

    #[test]
    fn which_name_of_a_hard_link_has_the_bytes_does_not_matter() {
        let layer = |first: &str, second: &str| {
            let mut tar = Builder::new(Vec::new());
            tar.append_data(&mut header(EntryType::Regular, 0o644, 2), first, &b"hi"[..]).unwrap();
            tar.append_link(&mut header(EntryType::Link, 0o644, 0), second, first).unwrap();
            let mut lines = read(io::Cursor::new(tar.into_inner().unwrap())).unwrap();
            lines.sort();
            lines
        };
        assert_eq!(layer("a", "b"), layer("./b", "a"));
        assert!(layer("a", "b")[0].1.ends_with("links=a,b"), "{:?}", layer("a", "b"));
    }

    #[test]
    fn properties_and_extended_attributes_are_told() {
        let mut tar = Builder::new(Vec::new());
        let records = [("SCHILY.xattr.user.x", &b"1"[..]), ("mtime", b"5.5"), ("comment", b"c")];
        tar.append_pax_extensions(records).unwrap();
        tar.append_data(&mut header(EntryType::Directory, 0o1777, 0), "./d/", io::empty()).unwrap();
        tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), "l", "../x").unwrap();
        let lines = read(io::Cursor::new(tar.into_inner().unwrap())).unwrap();
        let expected = [("d", "directory 1777 7:8 pax:comment=c user.x=1"), ("l", "symlink 0777 7:8 to=../x")];
        assert_eq!(lines, expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
    }
}
