//! An image as a list of lines that can be compared: everything that a build
//! decides about it, without times.
//!
//! A line has a section (`image`, `config`, `history`, `layer 0` …), a key within it
//! and a value. The digests of layers are left out, as they hold the files'
//! times; the files' own properties stand in their place:
//!
//! ```text
//! layer 1  usr/bin/tool  file 0755 0:0 size=12 content=d2a84f4b… links=usr/bin/tool,usr/bin/other
//! ```
//!
//! Two layers with the same blob are not read: [`Listing::of`] gets the blobs that
//! both archives have at the same places, and writes one line for each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::archive::{Archive, Image};
use super::layer;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
}

/// The lines of all images of one archive.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) lines: Vec<Line>,
}

impl Listing {
    /// Lists the archive; of the `shared` layers (numbers of image and layer) only that they are.
    pub(super) fn of(archive: &Archive, shared: &BTreeSet<(usize, usize)>) -> Result<Self> {
        let mut listing = Self::default();
        let several = archive.images.len() > 1;
        for (number, image) in archive.images.iter().enumerate() {
            let prefix = if several { format!("image {number} ") } else { String::new() };
            listing.image(archive, image, &prefix, |layer| shared.contains(&(number, layer)))?;
        }
        Ok(listing)
    }

    fn image(
        &mut self,
        archive: &Archive,
        image: &Image,
        prefix: &str,
        is_shared: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let section = format!("{prefix}manifest");
        self.value(&section, "platform", &image.platform);
        for key in ["mediaType", "artifactType", "annotations", "subject"] {
            self.value(&section, key, image.manifest.get(key).unwrap_or(&Value::Null));
        }
        let media_type = &image.manifest["config"]["mediaType"];
        self.value(&section, "config.mediaType", media_type);

        let mut config = image.config.clone();
        let history = config.as_object_mut().and_then(|config| {
            config.remove("created");
            if let Some(rootfs) = config.get_mut("rootfs").and_then(Value::as_object_mut) {
                // Go writes an empty list as `null`.
                let count = rootfs.remove("diff_ids").and_then(|ids| ids.as_array().map(Vec::len));
                rootfs.insert("layers".to_owned(), count.unwrap_or(0).into());
            }
            config.remove("history")
        });
        self.value(&format!("{prefix}config"), "", &config);
        for (number, entry) in history.as_ref().and_then(Value::as_array).into_iter().flatten().enumerate() {
            let mut entry = entry.clone();
            entry.as_object_mut().and_then(|entry| entry.remove("created"));
            self.value(&format!("{prefix}history {number}"), "", &entry);
        }
        for (number, descriptor) in image.layers.iter().enumerate() {
            let section = format!("{prefix}layer {number}");
            self.push(&section, "mediaType", descriptor.media_type.clone());
            if is_shared(number) {
                self.push(&section, "blob", "the same".to_owned());
                continue;
            }
            let blob = archive.open(&descriptor.digest)?;
            let entries = layer::read(blob).with_context(|| format!("layer {number} ({})", descriptor.digest))?;
            for (path, value) in entries {
                self.push(&section, &path, value);
            }
        }
        Ok(())
    }

    /// A JSON value as one line for each scalar and each empty container.
    fn value(&mut self, section: &str, key: &str, value: &Value) {
        match value {
            Value::Null => {}
            Value::Object(fields) if !fields.is_empty() => {
                let sorted: BTreeMap<_, _> = fields.iter().collect();
                for (name, field) in sorted {
                    let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                    self.value(section, &key, field);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                for (number, item) in items.iter().enumerate() {
                    self.value(section, &format!("{key}[{number}]"), item);
                }
            }
            value => self.push(section, key, value.to_string()),
        }
    }

    fn push(&mut self, section: &str, key: &str, value: String) {
        self.lines.push(Line { section: section.to_owned(), key: key.to_owned(), value });
    }

    /// The lines as text, tab-separated.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            let _ = writeln!(text, "{}\t{}\t{}", line.section, line.key, line.value);
        }
        text
    }

    /// What [`Listing::text`] wrote.
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut listing = Self::default();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let mut parts = line.splitn(3, '\t');
            let (Some(section), Some(key), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
                anyhow::bail!("`{}`: line {} has no three columns", path.display(), number + 1);
            };
            listing.push(section, key, value.to_owned());
        }
        Ok(listing)
    }

    /// Those sections alone that `other` has too.
    pub(super) fn sections_of(mut self, other: &Self) -> Self {
        let sections: BTreeSet<&str> = other.lines.iter().map(|line| line.section.as_str()).collect();
        self.lines.retain(|line| sections.contains(line.section.as_str()));
        self
    }
}

/// How `one` and `other` differ, in words; empty when they are the same.
pub(super) fn differences(names: [&str; 2], one: &Listing, other: &Listing) -> Vec<String> {
    let index = |listing: &Listing| -> BTreeMap<(String, String), String> {
        listing.lines.iter().map(|line| ((line.section.clone(), line.key.clone()), line.value.clone())).collect()
    };
    let (left, right) = (index(one), index(other));
    let mut found = Vec::new();
    for line in &one.lines {
        let key = (line.section.clone(), line.key.clone());
        match right.get(&key) {
            None => found.push(format!("{} `{}`: only {} has it: {}", line.section, line.key, names[0], line.value)),
            Some(value) if *value != line.value => found.push(format!(
                "{} `{}`: {} has {}, {} has {value}",
                line.section, line.key, names[0], line.value, names[1]
            )),
            Some(_) => {}
        }
    }
    for line in &other.lines {
        if !left.contains_key(&(line.section.clone(), line.key.clone())) {
            found.push(format!("{} `{}`: only {} has it: {}", line.section, line.key, names[1], line.value));
        }
    }
    if found.is_empty() && one.lines != other.lines {
        let place = one.lines.iter().zip(&other.lines).find(|(a, b)| a != b);
        let (a, b) = place.unwrap_or((&one.lines[0], &other.lines[0]));
        found.push(format!("{}: order: {} has `{}` where {} has `{}`", a.section, names[0], a.key, names[1], b.key));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(lines: &[(&str, &str, &str)]) -> Listing {
        let mut listing = Listing::default();
        for (section, key, value) in lines {
            listing.push(section, key, (*value).to_owned());
        }
        listing
    }

    #[test]
    fn each_way_to_differ_is_told() {
        let one = listing(&[("layer 0", "a", "file"), ("layer 0", "b", "file"), ("config", "User", "x")]);
        let other = listing(&[("layer 0", "a", "dir"), ("config", "User", "x"), ("config", "Cmd", "y")]);
        assert_eq!(
            differences(["kiln", "Docker"], &one, &other),
            [
                "layer 0 `a`: kiln has file, Docker has dir",
                "layer 0 `b`: only kiln has it: file",
                "config `Cmd`: only Docker has it: y",
            ]
        );
        assert!(differences(["kiln", "Docker"], &one, &one).is_empty());
    }

    #[test]
    fn order_counts() {
        let one = listing(&[("layer 0", "a", "file"), ("layer 0", "b", "file")]);
        let other = listing(&[("layer 0", "b", "file"), ("layer 0", "a", "file")]);
        assert_eq!(
            differences(["kiln", "Docker"], &one, &other),
            ["layer 0: order: kiln has `a` where Docker has `b`"]
        );
    }

    #[test]
    fn text_is_read_again() {
        let one = listing(&[("layer 0", "a b", "file 1"), ("config", "", "{}")]);
        let read = Listing::parse(&one.text(), Path::new("x")).unwrap();
        assert_eq!(read.lines, one.lines);
        assert!(Listing::parse("only one", Path::new("x")).is_err());
    }
}
