//! What happens with a build's result (`--output`). Plain data.

use kiln_exporters::DaemonAddress;
use kiln_graph::Platform;
use std::path::PathBuf;

/// One output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Into kiln's image store, or a registry, or both.
    Image(ImageOutput),
    /// An OCI image layout, as a tar archive or a directory.
    Oci {
        /// Where it goes.
        dest: Destination,
        /// What the image is like.
        image: ImageOptions,
    },
    /// An archive for `docker load`.
    Docker {
        /// Where it goes.
        dest: Destination,
        /// What the image is like.
        image: ImageOptions,
    },
    /// Into a running Docker daemon, or podman's service.
    Load {
        /// Where it listens.
        daemon: DaemonAddress,
        /// What the image is like. Its layers are sent as they are, unless a compression is asked for.
        image: ImageOptions,
    },
    /// The files of the final stage, into a directory.
    Local {
        /// The directory.
        dest: PathBuf,
        /// Whether each platform gets a directory of its own; if absent, where there are several.
        platform_split: Option<bool>,
    },
    /// The files of the final stage, as a tar archive.
    Tar {
        /// Where it goes.
        dest: Destination,
        /// As for `Local`.
        platform_split: Option<bool>,
    },
    /// Nothing but what the steps left in the store. Other outputs beside it are made all the same.
    CacheOnly,
}

impl Output {
    /// What the image is like, for outputs that are images.
    pub fn image(&self) -> Option<&ImageOptions> {
        match self {
            Self::Image(ImageOutput { image, .. })
            | Self::Oci { image, .. }
            | Self::Docker { image, .. }
            | Self::Load { image, .. } => Some(image),
            Self::Local { .. } | Self::Tar { .. } | Self::CacheOnly => None,
        }
    }

    /// The same, to be changed.
    pub fn image_mut(&mut self) -> Option<&mut ImageOptions> {
        match self {
            Self::Image(ImageOutput { image, .. })
            | Self::Oci { image, .. }
            | Self::Docker { image, .. }
            | Self::Load { image, .. } => Some(image),
            Self::Local { .. } | Self::Tar { .. } | Self::CacheOnly => None,
        }
    }
}

/// An image by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOutput {
    /// What it is like.
    pub image: ImageOptions,
    /// Whether kiln's image store gets it.
    pub store: bool,
    /// Whether its registry gets it.
    pub push: Option<Push>,
    /// Whether anybody's certificate will do for that registry, or none.
    pub insecure: bool,
}

impl Default for ImageOutput {
    fn default() -> Self {
        Self { image: ImageOptions::default(), store: true, push: None, insecure: false }
    }
}

/// How an image is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Push {
    /// Under its names.
    Names,
    /// Under its digest, into the repositories of its names.
    Digest,
}

/// What an image is like, besides its files and its config.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageOptions {
    /// The names it has if the build has no tags, as the user wrote them.
    pub names: Vec<String>,
    /// How layers are compressed; gzip if absent.
    pub compression: Option<LayerCompression>,
    /// How hard to try: 0 to 9 for gzip and eStargz, 0 to 22 for Zstandard.
    pub compression_level: Option<u8>,
    /// Whether layers of base images are compressed so, too.
    pub force_compression: bool,
    /// Whether documents and layers have the media types that Docker used before OCI's.
    pub docker_media_types: bool,
    /// Whether no file of the layers made here is of a later time than `SOURCE_DATE_EPOCH`.
    pub rewrite_timestamp: bool,
    /// Notes on the image.
    pub annotations: Vec<Annotation>,
}

impl ImageOptions {
    /// Whether nothing is asked for that only blobs and a manifest can have.
    pub fn is_plain(&self) -> bool {
        *self == Self { names: self.names.clone(), ..Self::default() }
    }
}

/// A note on an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// What it is written on.
    pub place: AnnotationPlace,
    /// The platform whose manifest it is for; all if absent.
    pub platform: Option<Platform>,
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// What an annotation is written on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnotationPlace {
    /// The image's manifest.
    Manifest,
    /// The manifest's descriptor in the index.
    ManifestDescriptor,
    /// The index.
    Index,
    /// The index's descriptor in an OCI layout.
    IndexDescriptor,
}

/// Where an archive goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A file, replaced when the new one is whole.
    File(PathBuf),
    /// A directory (`tar=false`).
    Directory(PathBuf),
    /// Standard output (`dest=-`).
    Stdout,
}

/// How exported layers are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LayerCompression {
    /// gzip, which everybody reads.
    #[default]
    Gzip,
    /// Zstandard.
    Zstd,
    /// Not at all.
    Uncompressed,
    /// gzip of which runtimes fetch single files.
    Estargz,
}
