//! `type=docker` without `dest`: into a running Docker daemon, or podman's service, by `POST /images/load` of its API.
//!
//! An image that is there only gets its names. Of another one, a daemon that keeps layers by their chain ids (Docker without the containerd
//! image store) gets those that none of its images begins with: for the others it looks only at what it has. Podman and the
//! containerd image store want all of them each time.

mod http;

use crate::archive::{self, Content, Files};
use crate::destination::{ExportError, Stream};
use crate::docker::docker_layout;
use crate::oci::blob_path;
use crate::pack::{Annotations, ImageBlobs, PackError, PackedLayer, Packing, describe};
use http::Answer;
use kiln_digest::Digest;
use kiln_layer::{BlobFormat, PackOptions, Stoppable};
use kiln_lower::ImageConfig;
use kiln_registry::Reference;
use kiln_store::{AS_PULLED, BlobInfo, LayerId, Store};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where a daemon listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DaemonAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// A host and port, without TLS.
    Tcp(String),
}

impl std::fmt::Display for DaemonAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// Why an image did not get into a daemon.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Nobody answers.
    #[error(
        "no Docker daemon answers at `{address}`: {source}\nhint: start one, or say where it is with `DOCKER_HOST`; without one, \
         `-o type=docker,dest=FILE` writes an archive"
    )]
    Unreachable {
        /// Where it should be.
        address: DaemonAddress,
        /// The cause.
        source: io::Error,
    },
    /// It says no.
    #[error("the daemon at `{address}` refused {what}: {message}")]
    Refused {
        /// Where it is.
        address: DaemonAddress,
        /// What it was asked to do.
        what: String,
        /// What it says.
        message: String,
    },
    /// Its answer makes no sense.
    #[error("the daemon at `{address}` answered something else than Docker's API prescribes for `{target}`")]
    Malformed {
        /// Where it is.
        address: DaemonAddress,
        /// What was asked for.
        target: String,
    },
    /// The connection broke.
    #[error("lost the connection to the daemon at `{address}`")]
    Lost {
        /// Where it is.
        address: DaemonAddress,
        /// The cause.
        source: io::Error,
    },
    /// The archive could not be made.
    #[error(transparent)]
    Archive(#[from] ExportError),
    /// Somebody said stop.
    #[error("cancelled")]
    Cancelled,
}

/// An image whose layers go to a daemon as they are: those that were made here without ever being compressed, those of a base image as
/// they were pulled.
#[derive(Debug, Clone)]
pub struct PlainImage {
    /// Its config and a manifest of its layers; the uncompressed ones are not in the store as blobs.
    pub image: ImageBlobs,
    /// Those that are not.
    layers: HashMap<Digest, LayerId>,
}

impl PlainImage {
    /// An image of the store's layers, given with their diff ids. `config` gets the latter.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn new(
        store: &Store,
        config: ImageConfig,
        layers: &[(LayerId, Digest)],
        packing: &Packing,
        stop: &AtomicBool,
    ) -> Result<Self, PackError> {
        let mut blobs = Vec::with_capacity(layers.len());
        let mut unpacked = HashMap::new();
        for &(id, digest) in layers {
            if let Some(blob) = store.layer_blob(&digest, AS_PULLED)? {
                blobs.push(PackedLayer { diff_id: digest, blob, annotations: Annotations::new() });
                continue;
            }
            unpacked.insert(digest, id);
            let size = match store.layer(id)?.and_then(|layer| layer.diff_size) {
                Some(size) => size,
                None => {
                    kiln_layer::pack(&store.layer_path(id), Stoppable::new(io::sink(), stop), &PackOptions::default())
                        .map_err(|source| PackError::Layer { layer: id, source: Box::new(source) })?
                        .size
                }
            };
            let media_type = BlobFormat::Tar.media_type().to_owned();
            let blob = BlobInfo { digest, size, media_type };
            blobs.push(PackedLayer { diff_id: digest, blob, annotations: Annotations::new() });
        }
        let image = describe(config, blobs, packing)?;
        Ok(Self { image, layers: unpacked })
    }

    fn files(&self, names: &[Reference]) -> Files {
        let mut files = docker_layout(&self.image, names);
        for (_, content) in &mut files {
            if let Content::Blob(digest) = content
                && let Some(id) = self.layers.get(digest)
                && let Some(layer) = self.image.layers.iter().find(|layer| layer.digest == *digest)
            {
                *content = Content::Layer { id: *id, diff_id: *digest, size: layer.size };
            }
        }
        files
    }
}

/// Makes an image be in a daemon under its names, until `stop` is true; its layers are sent as they are. `progress` is told how many
/// bytes were sent.
///
/// # Errors
/// [`DaemonError`].
pub fn load_plain(
    store: &Store,
    address: &DaemonAddress,
    image: &PlainImage,
    names: &[Reference],
    progress: &dyn Fn(u64),
    stop: &AtomicBool,
) -> Result<Loaded, DaemonError> {
    load(store, address, &image.image, image.files(names), names, progress, stop)
}

/// The same with layers that are blobs of the store.
///
/// # Errors
/// [`DaemonError`].
pub fn load_packed(
    store: &Store,
    address: &DaemonAddress,
    image: &ImageBlobs,
    names: &[Reference],
    progress: &dyn Fn(u64),
    stop: &AtomicBool,
) -> Result<Loaded, DaemonError> {
    load(store, address, image, docker_layout(image, names), names, progress, stop)
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    /// How many layers the daemon had.
    pub present: usize,
    /// How many bytes were sent.
    pub sent: u64,
}

/// A daemon that answers.
struct Daemon<'a> {
    address: &'a DaemonAddress,
    stop: &'a AtomicBool,
}

fn load(
    store: &Store,
    address: &DaemonAddress,
    image: &ImageBlobs,
    mut files: Files,
    names: &[Reference],
    progress: &dyn Fn(u64),
    stop: &AtomicBool,
) -> Result<Loaded, DaemonError> {
    let daemon = Daemon { address, stop };
    let layers = daemon.connect()?;
    for id in [image.config_digest, image.manifest.digest] {
        if daemon.ask("GET", &format!("/images/{id}/json"))?.status == 200 {
            daemon.name(&id, names)?;
            return Ok(Loaded { present: image.layers.len(), sent: 0 });
        }
    }
    let mut seen = HashSet::new();
    files.retain(|(path, _)| seen.insert(path.clone()));
    let present = match layers {
        Layers::ByChain => daemon.present(&diff_ids(image))?,
        Layers::All => 0,
    };
    if present > 0 {
        let needed: HashSet<_> = image.layers[present..].iter().map(|layer| layer.digest).collect();
        let there = image.layers[..present].iter().map(|layer| layer.digest).filter(|digest| !needed.contains(digest));
        let there: HashSet<_> = there.map(|digest| blob_path(&digest)).collect();
        let (_, lacking): (Files, Files) = files.iter().cloned().partition(|(path, _)| there.contains(path));
        match daemon.send(store, lacking, progress) {
            // One of them may have been removed meanwhile.
            Err(DaemonError::Refused { .. }) => {}
            sent => return Ok(Loaded { present, sent: sent? }),
        }
    }
    Ok(Loaded { present: 0, sent: daemon.send(store, files, progress)? })
}

/// The uncompressed layers' digests, as the config tells them.
fn diff_ids(image: &ImageBlobs) -> Vec<String> {
    ImageConfig::from_json(&image.config).map(|config| config.rootfs.diff_ids).unwrap_or_default()
}

/// Which layers a daemon wants to see.
enum Layers {
    /// Those that it lacks.
    ByChain,
    /// All, always.
    All,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Info {
    #[serde(default)]
    driver_status: Option<Vec<Vec<String>>>,
    #[serde(default)]
    server_version: Option<String>,
    #[serde(default)]
    docker_root_dir: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    #[serde(default)]
    components: Option<Vec<Component>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Component {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    #[serde(rename = "RootFS")]
    root_fs: Option<RootFs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RootFs {
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// One line of what a daemon tells while it loads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    error: Option<String>,
}

/// No more images than this are asked about: each costs a request.
const IMAGES_MAX: usize = 200;

impl Daemon<'_> {
    fn connect(&self) -> Result<Layers, DaemonError> {
        let answer =
            http::ask(self.address, "GET", "/version", self.stop).map_err(|source| match self.lost(source) {
                DaemonError::Lost { address, source } => DaemonError::Unreachable { address, source },
                cancelled => cancelled,
            })?;
        let version: Version = self.read("/version", &answer)?;
        if version.components.iter().flatten().any(|component| component.name.contains("Podman")) {
            return Ok(Layers::All);
        }
        let info: Info = self.get("/info")?;
        let containerd =
            info.driver_status.iter().flatten().flatten().any(|text| text.contains("containerd.snapshotter"));
        // Whoever doesn't say what it is gets everything.
        let docker = info.server_version.is_some() && info.docker_root_dir.is_some();
        Ok(if docker && !containerd { Layers::ByChain } else { Layers::All })
    }

    /// How many of the lowest layers some image of the daemon begins with.
    fn present(&self, wanted: &[String]) -> Result<usize, DaemonError> {
        let images: Vec<Listed> = self.get("/images/json?all=1")?;
        let mut most = 0;
        for image in images.iter().take(IMAGES_MAX) {
            let target = format!("/images/{}/json", image.id);
            let answer = self.ask("GET", &target)?;
            if answer.status != 200 {
                continue;
            }
            let inspected: Inspected = self.read(&target, &answer)?;
            let layers = inspected.root_fs.and_then(|root| root.layers).unwrap_or_default();
            most = most.max(wanted.iter().zip(&layers).take_while(|(wanted, there)| wanted == there).count());
        }
        Ok(most)
    }

    fn send(&self, store: &Store, files: Files, progress: &dyn Fn(u64)) -> Result<u64, DaemonError> {
        let mut sent = 0;
        let answer = http::post(self.address, "/images/load?quiet=1", self.stop, |out| {
            let mut counted = Counted { out, sent: &mut sent, progress };
            let mut stream = Stream::new(&mut counted, self.stop);
            archive::write_tar(store, files, &mut stream).map_err(Posting::Archive)?;
            Ok(stream.flush()?)
        });
        let answer = answer.map_err(|posting| match posting {
            Posting::Archive(_) if self.stop.load(Ordering::Relaxed) => DaemonError::Cancelled,
            Posting::Archive(error) => error.into(),
            Posting::Io(error) => self.lost(error),
        })?;
        let refused = |message: String| DaemonError::Refused {
            address: self.address.clone(),
            what: "the image".to_owned(),
            message,
        };
        if answer.status != 200 {
            return Err(refused(complaint(&answer)));
        }
        // It has begun to answer before it knows how it ends.
        for line in answer.body.split(|&byte| byte == b'\n') {
            if let Ok(Told { error: Some(error) }) = serde_json::from_slice(line) {
                return Err(refused(printable(&error)));
            }
        }
        Ok(sent)
    }

    fn name(&self, id: &Digest, names: &[Reference]) -> Result<(), DaemonError> {
        for name in names {
            let Some(tag) = name.tag() else { continue };
            let answer =
                self.ask("POST", &format!("/images/{id}/tag?repo={}&tag={tag}", name.repository().familiar()))?;
            if answer.status != 201 {
                return Err(DaemonError::Refused {
                    address: self.address.clone(),
                    what: format!("the name `{}`", name.familiar()),
                    message: complaint(&answer),
                });
            }
        }
        Ok(())
    }

    fn get<T: for<'de> Deserialize<'de>>(&self, target: &str) -> Result<T, DaemonError> {
        let answer = self.ask("GET", target)?;
        self.read(target, &answer)
    }

    fn ask(&self, method: &str, target: &str) -> Result<Answer, DaemonError> {
        http::ask(self.address, method, target, self.stop).map_err(|source| self.lost(source))
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, target: &str, answer: &Answer) -> Result<T, DaemonError> {
        let malformed = || DaemonError::Malformed { address: self.address.clone(), target: target.to_owned() };
        if answer.status != 200 {
            return Err(malformed());
        }
        serde_json::from_slice(&answer.body).map_err(|_| malformed())
    }

    fn lost(&self, source: io::Error) -> DaemonError {
        if self.stop.load(Ordering::Relaxed) {
            return DaemonError::Cancelled;
        }
        DaemonError::Lost { address: self.address.clone(), source }
    }
}

/// What a daemon says is wrong, as one printable line.
fn complaint(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Complaint {
        message: String,
    }
    let said = match serde_json::from_slice::<Complaint>(&answer.body) {
        Ok(complaint) => complaint.message,
        Err(_) => format!("status {}", answer.status),
    };
    printable(&said)
}

fn printable(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

/// Why posting failed: at our end or at theirs.
enum Posting {
    Archive(ExportError),
    Io(io::Error),
}

impl From<io::Error> for Posting {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

struct Counted<'a> {
    out: &'a mut dyn Write,
    sent: &'a mut u64,
    progress: &'a dyn Fn(u64),
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        *self.sent += written as u64;
        (self.progress)(*self.sent);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
