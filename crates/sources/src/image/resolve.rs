//! From a reference to a config: which image of which platform, found out with as few questions as possible.

use super::layout::Layout;
use super::origin::{FetchError, Origin};
use super::pull::{self, PullError, PullProgress};
use crate::patience::Stop;
use kiln_digest::{Digest, ParseDigestError};
use kiln_graph::{ImageLocation, Platform};
use kiln_lower::ImageConfig;
use kiln_registry::{Client, Manifest, Reference, ReferenceError};
use kiln_store::{BlobInfo, Image, LayerId, Store};
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// A config is read into memory; none is larger than a manifest may be.
const MAX_CONFIG: u64 = 8 << 20;
/// Memos of what references were resolved to.
const MEMO: &str = "image";

/// Finds images and pulls them. Cheap to clone.
#[derive(Clone)]
pub struct Images {
    store: Store,
    client: Client,
}

/// What a reference was resolved to.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// The canonical name, `docker.io/library/golang:1.25-trixie`.
    pub reference: String,
    /// Digest of the platform's manifest, or of the config for an image of kiln's own that was never packed.
    pub digest: Digest,
    /// The manifest's layers; absent for an image that was never packed.
    pub manifest: Option<Arc<ImageManifest>>,
    /// Digest of the config.
    pub config_digest: Digest,
    /// The config.
    pub config: ImageConfig,
    /// The uncompressed digests of its layers.
    pub diff_ids: Vec<Digest>,
    /// The image's own platform.
    pub platform: Platform,
    /// Where its blobs are.
    pub location: ImageLocation,
}

/// Why a reference does not lead to an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The reference is malformed.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The registry or the layout.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The index has no image of this platform.
    #[error("`{reference}` has no image for `{platform}`\nhint: it has {available}")]
    NoPlatform {
        /// The image.
        reference: String,
        /// What was asked for.
        platform: Platform,
        /// What there is.
        available: String,
    },
    /// Its manifest or config is malformed.
    #[error("malformed {document} of `{reference}`")]
    Malformed {
        /// The image.
        reference: String,
        /// `manifest` or `config`.
        document: &'static str,
        /// The cause.
        source: serde_json::Error,
    },
    /// A manifest that kiln cannot use.
    #[error("unusable manifest of `{reference}`: {reason}")]
    Unusable {
        /// The image.
        reference: String,
        /// Why.
        reason: String,
    },
    /// The config is not what the manifest promises.
    #[error("the config of `{reference}` does not have the digest `{expected}`")]
    WrongConfig {
        /// The image.
        reference: String,
        /// The digest in the manifest.
        expected: Digest,
    },
    /// A digest that cannot be verified.
    #[error(transparent)]
    Digest(#[from] ParseDigestError),
    /// The config could not be read to its end.
    #[error("failed to fetch the config of `{reference}`")]
    Read {
        /// The image.
        reference: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A blob of the store.
    #[error(transparent)]
    Blob(#[from] kiln_store::BlobError),
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
}

/// What a reference was resolved to, as the store remembers it.
#[derive(Serialize, Deserialize)]
struct Remembered {
    manifest: Digest,
}

impl Images {
    /// Images of `store`, pulled with `client`.
    pub fn new(store: Store, client: Client) -> Self {
        Self { store, client }
    }

    /// The store that images go to.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Resolves a reference to an image of a registry, or of kiln's own store. `stop` is asked while the network is waited for.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn resolve(
        &self,
        reference: &str,
        platform: &Platform,
        pull: bool,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Resolution, ImageError> {
        let reference = Reference::parse(reference)?;
        let name = reference.to_string();
        let memo_key = format!("{name} {platform}");
        if !pull {
            let image = match self.store.image(&name, &platform.to_string())? {
                None => self.built(&name, platform)?,
                image => image,
            };
            if let Some(image) = image {
                return self.of_image_row(&name, &image, stop);
            }
            if let Some(remembered) = self.remembered(&memo_key)? {
                let origin = Origin::Registry(self.client.clone(), reference.clone());
                if let Some(found) = self.stored(&name, remembered.manifest, ImageLocation::Registry, &origin, stop)? {
                    return Ok(found);
                }
            }
        }
        let origin = Origin::Registry(self.client.clone(), reference);
        let found = self.fetch(&name, platform, &origin, ImageLocation::Registry, stop)?;
        let remembered = Remembered { manifest: found.digest };
        let value = serde_json::to_vec(&remembered).expect("a digest is JSON");
        self.store.put_memo(MEMO, memo_key.as_bytes(), &value)?;
        Ok(found)
    }

    /// The image that was built under a name and serves a platform that it was not built for: one for a compatible platform. One
    /// that is not part of an index serves all, as it does in Docker's image store.
    fn built(&self, name: &str, platform: &Platform) -> Result<Option<Image>, ImageError> {
        let images = self.store.images_named(name)?;
        let mut built: Vec<Image> = images.into_iter().filter(|image| !image.pulled).collect();
        let of = |wanted: &Platform| built.iter().position(|image| image.platform == wanted.to_string());
        if let Some(place) = platform.compatible().iter().find_map(of) {
            return Ok(Some(built.swap_remove(place)));
        }
        if built.iter().any(|image| image.index.is_some()) {
            let available: Vec<String> = built.into_iter().map(|image| image.platform).collect();
            let available = available.join(", ");
            return Err(ImageError::NoPlatform { reference: name.to_owned(), platform: platform.clone(), available });
        }
        Ok(built.pop())
    }

    /// An image of the store by its id, the digest of its config.
    ///
    /// # Errors
    /// [`ImageError::Read`] if its config is not in the store.
    pub fn by_id(&self, id: &Digest, name: &str) -> Result<Resolution, ImageError> {
        let source = || std::io::Error::other("it is not in the store");
        let bytes = self.blob(id)?.ok_or_else(|| ImageError::Read { reference: name.to_owned(), source: source() })?;
        self.of_config(name, *id, *id, None, &bytes, ImageLocation::Registry)
    }

    /// Resolves an image of an OCI image layout; `wanted` is a tag or a digest.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn resolve_layout(
        &self,
        path: &Path,
        wanted: Option<&str>,
        platform: &Platform,
    ) -> Result<Resolution, ImageError> {
        let name = format!("oci-layout://{}", path.display());
        let origin = Origin::Layout(Layout::new(path, wanted));
        self.fetch(&name, platform, &origin, ImageLocation::Layout(path.display().to_string()), &|| false)
    }

    /// The compressed layers of an image that has a manifest, fetched where the store does not have them; none for one that was
    /// never packed.
    ///
    /// # Errors
    /// [`PullError`].
    pub fn layer_blobs(
        &self,
        resolution: &Resolution,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<BlobInfo>, PullError> {
        match &resolution.manifest {
            Some(manifest) => pull::blobs(self, resolution, manifest, stop),
            None => Ok(Vec::new()),
        }
    }

    /// Makes the layers of an image be in the store, and names it there.
    ///
    /// # Errors
    /// [`PullError`].
    pub fn pull(&self, resolution: &Resolution, progress: &dyn PullProgress) -> Result<Vec<LayerId>, PullError> {
        let layers = pull::layers(self, resolution, progress)?;
        if let Some(manifest) = &resolution.manifest {
            self.keep(resolution, manifest, &layers)?;
        }
        Ok(layers)
    }

    /// Names a pulled image in the store, so that its layers and blobs stay.
    pub(super) fn keep(
        &self,
        resolution: &Resolution,
        manifest: &ImageManifest,
        layers: &[LayerId],
    ) -> Result<(), PullError> {
        if resolution.location != ImageLocation::Registry {
            return Ok(());
        }
        let mut size = 0;
        for layer in self.store.layers(layers).map_err(PullError::Layers)? {
            size += layer.size;
        }
        let blobs =
            manifest.layers().iter().map(|layer| layer.digest().to_string().parse()).collect::<Result<_, _>>()?;
        let image = Image {
            name: resolution.reference.clone(),
            platform: resolution.platform.to_string(),
            config: resolution.config_digest,
            manifest: Some(resolution.digest),
            index: None,
            created: SystemTime::now(),
            size,
            pulled: true,
            layers: layers.to_vec(),
            blobs,
        };
        self.store.put_image(&image).map_err(PullError::Keep)
    }

    /// Where the blobs of a resolution come from.
    pub(super) fn origin(&self, resolution: &Resolution) -> Result<Origin, ImageError> {
        match &resolution.location {
            ImageLocation::Registry => {
                Ok(Origin::Registry(self.client.clone(), Reference::parse(&resolution.reference)?))
            }
            ImageLocation::Layout(path) => Ok(Origin::Layout(Layout::new(&PathBuf::from(path), None))),
        }
    }

    fn remembered(&self, key: &str) -> Result<Option<Remembered>, ImageError> {
        let value = self.store.memo(MEMO, key.as_bytes())?;
        Ok(value.and_then(|value| serde_json::from_slice(&value).ok()))
    }

    /// The manifest and config from the blob store, if both are still there.
    fn stored(
        &self,
        name: &str,
        manifest: Digest,
        location: ImageLocation,
        origin: &Origin,
        stop: Stop<'_>,
    ) -> Result<Option<Resolution>, ImageError> {
        match self.blob(&manifest)? {
            Some(bytes) => self.of_manifest(name, &bytes, location, origin, stop).map(Some),
            None => Ok(None),
        }
    }

    fn of_image_row(&self, name: &str, image: &Image, stop: Stop<'_>) -> Result<Resolution, ImageError> {
        let missing = |document: &'static str, digest: &Digest| ImageError::Read {
            reference: name.to_owned(),
            source: std::io::Error::other(format!("its {document} `{digest}` is not in the store")),
        };
        if let Some(digest) = image.manifest {
            let bytes = self.blob(&digest)?.ok_or_else(|| missing("manifest", &digest))?;
            let origin = Origin::Registry(self.client.clone(), Reference::parse(name)?);
            return self.of_manifest(name, &bytes, ImageLocation::Registry, &origin, stop);
        }
        let bytes = self.blob(&image.config)?.ok_or_else(|| missing("config", &image.config))?;
        self.of_config(name, image.config, image.config, None, &bytes, ImageLocation::Registry)
    }

    fn fetch(
        &self,
        name: &str,
        platform: &Platform,
        origin: &Origin,
        location: ImageLocation,
        stop: Stop<'_>,
    ) -> Result<Resolution, ImageError> {
        let mut bytes = origin.manifest(None, stop)?;
        if let Manifest::Index(index) = parse(name, &bytes)? {
            let digest: Digest = choose(name, &index, platform)?.digest().to_string().parse()?;
            bytes = match self.blob(&digest)? {
                Some(bytes) => bytes,
                None => origin.manifest(Some(digest), stop)?,
            };
        }
        self.store.put_blob(&bytes)?;
        self.of_manifest(name, &bytes, location, origin, stop)
    }

    fn of_manifest(
        &self,
        name: &str,
        bytes: &[u8],
        location: ImageLocation,
        origin: &Origin,
        stop: Stop<'_>,
    ) -> Result<Resolution, ImageError> {
        let Manifest::Image(manifest) = parse(name, bytes)? else {
            let reason = "an index in an index".to_owned();
            return Err(ImageError::Unusable { reference: name.to_owned(), reason });
        };
        let expected: Digest = manifest.config().digest().to_string().parse()?;
        let config = match self.blob(&expected)? {
            Some(config) => config,
            None => {
                let config = fetch_config(name, origin, manifest.config(), &expected, stop)?;
                self.store.put_blob(&config)?;
                config
            }
        };
        let digest = Digest::of_bytes(bytes);
        let found = self.of_config(name, digest, expected, Some(Arc::new(*manifest)), &config, location)?;
        let layers = found.manifest.as_ref().map_or(0, |manifest| manifest.layers().len());
        if layers != found.diff_ids.len() {
            let reason = format!("{layers} layers, but its config has {} diff ids", found.diff_ids.len());
            return Err(ImageError::Unusable { reference: name.to_owned(), reason });
        }
        Ok(found)
    }

    fn of_config(
        &self,
        name: &str,
        digest: Digest,
        config_digest: Digest,
        manifest: Option<Arc<ImageManifest>>,
        bytes: &[u8],
        location: ImageLocation,
    ) -> Result<Resolution, ImageError> {
        let config = ImageConfig::from_json(bytes).map_err(|source| ImageError::Malformed {
            reference: name.to_owned(),
            document: "config",
            source,
        })?;
        let diff_ids = config.rootfs.diff_ids.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
        let platform = Platform::from_parts(&config.os, &config.architecture, config.variant.as_deref());
        Ok(Resolution {
            reference: name.to_owned(),
            digest,
            manifest,
            config_digest,
            config,
            diff_ids,
            platform,
            location,
        })
    }

    fn blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, ImageError> {
        if !self.store.has_blob(digest)? {
            return Ok(None);
        }
        let (file, _) = self.store.open_blob(digest)?;
        let mut bytes = Vec::new();
        let read = file.take(MAX_CONFIG).read_to_end(&mut bytes);
        read.map_err(|source| ImageError::Read { reference: digest.to_string(), source })?;
        // A blob that a crash cut short is as good as none.
        Ok((Digest::of_bytes(&bytes) == *digest).then_some(bytes))
    }
}

fn parse(name: &str, bytes: &[u8]) -> Result<Manifest, ImageError> {
    let (manifest, _) = Manifest::parse(bytes, None)
        .map_err(|problem| ImageError::Unusable { reference: name.to_owned(), reason: problem.to_string() })?;
    Ok(manifest)
}

fn choose<'a>(name: &str, index: &'a ImageIndex, platform: &Platform) -> Result<&'a Descriptor, ImageError> {
    let platform_of = |entry: &Descriptor| {
        let found = entry.platform().as_ref()?;
        let (os, architecture) = (found.os().to_string(), found.architecture().to_string());
        Some(Platform::from_parts(&os, &architecture, found.variant().as_deref()))
    };
    // What tells of an image, such as its provenance, is for no platform.
    let is_image = |entry: &&Descriptor| platform_of(entry).is_none_or(|platform| platform.os != "unknown");
    let entries: Vec<&Descriptor> = index.manifests().iter().filter(is_image).collect();
    let of = |wanted: &Platform| entries.iter().copied().find(|entry| platform_of(entry).as_ref() == Some(wanted));
    let found = platform.compatible().iter().find_map(of);
    // An index of one image without a platform says that it runs anywhere.
    let only = entries.first().copied().filter(|entry| entries.len() == 1 && entry.platform().is_none());
    found.or(only).ok_or_else(|| {
        let available: Vec<String> =
            entries.iter().filter_map(|entry| platform_of(entry)).map(|platform| platform.to_string()).collect();
        ImageError::NoPlatform {
            reference: name.to_owned(),
            platform: platform.clone(),
            available: if available.is_empty() { "none".to_owned() } else { available.join(", ") },
        }
    })
}

fn fetch_config(
    name: &str,
    origin: &Origin,
    descriptor: &Descriptor,
    expected: &Digest,
    stop: Stop<'_>,
) -> Result<Vec<u8>, ImageError> {
    let mut bytes = Vec::new();
    let read = origin.blob(descriptor, expected, stop)?.take(MAX_CONFIG).read_to_end(&mut bytes);
    read.map_err(|source| ImageError::Read { reference: name.to_owned(), source })?;
    if Digest::of_bytes(&bytes) == *expected {
        Ok(bytes)
    } else {
        Err(ImageError::WrongConfig { reference: name.to_owned(), expected: *expected })
    }
}
