//! Reads OCI archives: a tar file of an OCI image layout.
//!
//! OCI image-spec, `image-layout.md`. Indexes within the index are followed, so an
//! archive of several platforms gives several images, in the index's order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// An archive, its manifests and configs read.
pub(crate) struct Archive {
    path: PathBuf,
    /// Where each file's bytes lie: offset and size.
    files: BTreeMap<String, (u64, u64)>,
    pub(super) images: Vec<Image>,
}

/// One manifest and what it names.
pub(super) struct Image {
    pub(super) platform: Value,
    pub(super) manifest: Value,
    pub(super) config: Value,
    pub(super) layers: Vec<Descriptor>,
}

/// OCI image-spec, `descriptor.md`, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
}

impl Archive {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let context = || format!("the archive `{}`", path.display());
        let mut tar = tar::Archive::new(File::open(path).with_context(context)?);
        let mut files = BTreeMap::new();
        for entry in tar.entries_with_seek().with_context(context)? {
            let entry = entry.with_context(context)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            files.insert(name.trim_start_matches("./").to_owned(), (entry.raw_file_position(), entry.size()));
        }
        let mut archive = Self { path: path.to_owned(), files, images: Vec::new() };
        let index = archive.json("index.json").with_context(context)?;
        let mut images = Vec::new();
        archive.follow(&index, &mut images).with_context(context)?;
        archive.images = images;
        Ok(archive)
    }

    fn follow(&self, index: &Value, images: &mut Vec<Image>) -> Result<()> {
        for descriptor in index["manifests"].as_array().into_iter().flatten() {
            let digest = descriptor["digest"].as_str().context("a manifest without a digest")?;
            let document = self.json(&blob(digest))?;
            if document["manifests"].is_array() {
                self.follow(&document, images)?;
                continue;
            }
            let config = document["config"]["digest"].as_str().context("a manifest without a config")?;
            images.push(Image {
                platform: descriptor["platform"].clone(),
                config: self.json(&blob(config))?,
                layers: layers(&document["layers"])?,
                manifest: document,
            });
        }
        Ok(())
    }

    /// The layers that both have at the same places: the numbers of the image and of the layer in it.
    pub(super) fn shared_layers(&self, other: &Self) -> BTreeSet<(usize, usize)> {
        let mut shared = BTreeSet::new();
        for (image, (one, other)) in self.images.iter().zip(&other.images).enumerate() {
            for (layer, (one, other)) in one.layers.iter().zip(&other.layers).enumerate() {
                if one.digest == other.digest {
                    shared.insert((image, layer));
                }
            }
        }
        shared
    }

    /// A blob's bytes.
    pub(super) fn open(&self, digest: &str) -> Result<impl Read + use<>> {
        self.open_file(&blob(digest))
    }

    fn open_file(&self, name: &str) -> Result<std::io::Take<File>> {
        let Some((offset, size)) = self.files.get(name) else { bail!("the archive has no `{name}`") };
        let mut file = File::open(&self.path).context("cannot open the archive")?;
        file.seek(SeekFrom::Start(*offset)).context("cannot read the archive")?;
        Ok(file.take(*size))
    }

    fn json(&self, name: &str) -> Result<Value> {
        serde_json::from_reader(std::io::BufReader::new(self.open_file(name)?)).with_context(|| format!("`{name}`"))
    }
}

/// A manifest's layers; Go writes an empty list as `null`.
fn layers(value: &Value) -> Result<Vec<Descriptor>> {
    match value {
        Value::Null => Ok(Vec::new()),
        value => serde_json::from_value(value.clone()).context("a manifest's layers"),
    }
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}
