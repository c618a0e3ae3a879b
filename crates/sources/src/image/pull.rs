//! Pulling layers: several at once, each stored, decompressed and unpacked while it arrives, committed from the bottom up.
//!
//! A blob is verified against its digest in the manifest, the unpacked stream against its diff id in the config; a layer is
//! committed only when both hold.

use super::chain_ids;
use super::origin::{FetchError, Origin};
use super::resolve::{ImageError, Images, Resolution};
use crate::patience::Stop;
use kiln_digest::{ContentDigest, Digest, Hasher, ParseDigestError};
use kiln_layer::{Applied, ApplyError, ApplyOptions, Stack, TreeError, apply, decompress_ahead, settle};
use kiln_store::{AS_PULLED, BlobInfo, LayerId, LockError, NewLayer, Store, TempDir};
use oci_spec::image::{Descriptor, ImageManifest};
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// As many layers are fetched at once.
const PARALLEL: usize = 4;

/// Told of bytes as they arrive. Called from several threads.
pub trait PullProgress: Sync {
    /// A layer, by its digest: bytes so far, bytes in all, and whether it is unpacked.
    fn layer(&self, digest: &Digest, current: u64, total: u64, done: bool);
    /// Whether to stop.
    fn is_cancelled(&self) -> bool;
}

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// A layer could not be fetched.
    #[error("failed to fetch layer `{digest}` of `{reference}`")]
    Fetch {
        /// The image.
        reference: String,
        /// The layer's blob.
        digest: Digest,
        /// The cause.
        source: Box<FetchError>,
    },
    /// A layer's blob does not have its digest, or could not be stored.
    #[error("failed to store layer `{digest}` of `{reference}`")]
    Blob {
        /// The image.
        reference: String,
        /// The layer's blob.
        digest: Digest,
        /// The cause.
        source: Box<kiln_store::BlobError>,
    },
    /// A layer could not be unpacked.
    #[error("failed to unpack layer `{digest}` of `{reference}`")]
    Unpack {
        /// The image.
        reference: String,
        /// The layer's blob.
        digest: Digest,
        /// The cause.
        source: Box<ApplyError>,
    },
    /// The stream broke off.
    #[error("failed to read layer `{digest}` of `{reference}`")]
    Read {
        /// The image.
        reference: String,
        /// The layer's blob.
        digest: Digest,
        /// The cause.
        source: io::Error,
    },
    /// The blob could not be written: a full disk, most likely.
    #[error("failed to store layer `{digest}` of `{reference}`")]
    Write {
        /// The image.
        reference: String,
        /// The layer's blob.
        digest: Digest,
        /// The cause.
        source: io::Error,
    },
    /// The unpacked layer is not the one that the config names.
    #[error("layer `{digest}` of `{reference}` unpacks to `{actual}`, but the config says `{expected}`")]
    WrongDiffId {
        /// The image.
        reference: String,
        /// The layer's blob.
        digest: Digest,
        /// What it is.
        actual: Digest,
        /// What it should be.
        expected: Digest,
    },
    /// The image was never packed and its layers were removed.
    #[error(
        "the layers of `{reference}` are no longer in the store\nhint: build the image again, or pull it with `--pull`"
    )]
    Gone {
        /// The image.
        reference: String,
    },
    /// A layer was removed meanwhile.
    #[error("a layer of the image was removed while it was pulled")]
    Layers(#[source] kiln_store::LayerError),
    /// The image could not be named.
    #[error("failed to keep the pulled image")]
    Keep(#[source] kiln_store::ImageError),
    /// Somebody cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The image itself.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A digest that cannot be verified.
    #[error(transparent)]
    Digest(#[from] ParseDigestError),
    /// The layers below could not be read.
    #[error("failed to read the layers below")]
    Tree(#[from] TreeError),
    /// The store.
    #[error(transparent)]
    Store(#[from] kiln_store::Error),
}

/// The layers of an image, if all are in the store.
pub(super) fn present(store: &Store, diff_ids: &[Digest]) -> Result<Option<Vec<LayerId>>, kiln_store::Error> {
    let mut layers = Vec::with_capacity(diff_ids.len());
    for chain in chain_ids(diff_ids) {
        match store.chain(&chain)? {
            Some(layer) => layers.push(layer),
            None => return Ok(None),
        }
    }
    Ok(Some(layers))
}

/// Makes all layers of an image be in the store.
pub(super) fn layers(
    images: &Images,
    resolution: &Resolution,
    progress: &dyn PullProgress,
) -> Result<Vec<LayerId>, PullError> {
    let store = images.store();
    if let Some(layers) = present(store, &resolution.diff_ids)? {
        return Ok(layers);
    }
    let Some(manifest) = &resolution.manifest else {
        return Err(PullError::Gone { reference: resolution.reference.clone() });
    };
    let pull = Pull {
        store,
        origin: images.origin(resolution)?,
        resolution,
        progress,
        chains: chain_ids(&resolution.diff_ids),
        descriptors: manifest.layers(),
        failed: AtomicBool::new(false),
    };
    let layers = pull.run()?;
    images.keep(resolution, manifest, &layers)?;
    Ok(layers)
}

/// The compressed layers of a packed image, fetched where the store does not have them.
pub(super) fn blobs(
    images: &Images,
    resolution: &Resolution,
    manifest: &ImageManifest,
    stop: Stop<'_>,
) -> Result<Vec<BlobInfo>, PullError> {
    let store = images.store();
    let mut blobs = Vec::with_capacity(manifest.layers().len());
    for descriptor in manifest.layers() {
        let digest: Digest = descriptor.digest().to_string().parse()?;
        if !store.has_blob(&digest)? {
            let source = images.origin(resolution)?;
            let source = source.blob(descriptor, &digest, stop).map_err(|source| PullError::Fetch {
                reference: resolution.reference.clone(),
                digest,
                source: Box::new(source),
            })?;
            let mut writer = store.blob_writer()?;
            let blob = Blob { reference: &resolution.reference, digest, size: descriptor.size() };
            blob.pump(source, &mut writer, stop, |_, _| {})?;
            let unstored =
                |source| PullError::Blob { reference: resolution.reference.clone(), digest, source: Box::new(source) };
            writer.commit(Some(&digest)).map_err(unstored)?;
        }
        blobs.push(BlobInfo { digest, size: descriptor.size(), media_type: oci_media_type(descriptor) });
    }
    Ok(blobs)
}

/// A blob on its way into the store.
struct Blob<'a> {
    reference: &'a str,
    digest: Digest,
    size: u64,
}

impl Blob<'_> {
    /// Writes all of `source`, which may not be larger than it was said to be, and passes on each chunk with the bytes so far.
    fn pump(
        &self,
        mut source: Box<dyn Read + Send + '_>,
        writer: &mut impl Write,
        stop: Stop<'_>,
        mut pass_on: impl FnMut(Vec<u8>, u64),
    ) -> Result<(), PullError> {
        let (reference, digest) = (|| self.reference.to_owned(), self.digest);
        let unreadable = |source| PullError::Read { reference: reference(), digest, source };
        let mut current = 0;
        loop {
            if stop() {
                return Err(PullError::Cancelled);
            }
            let mut chunk = vec![0; 256 * 1024];
            let read = match source.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(error)),
            };
            chunk.truncate(read);
            writer.write_all(&chunk).map_err(|source| PullError::Write { reference: reference(), digest, source })?;
            current += read as u64;
            if current > self.size {
                let text = format!("it is larger than the {} bytes that its manifest says", self.size);
                return Err(unreadable(io::Error::other(text)));
            }
            pass_on(chunk, current);
        }
    }
}

/// The media type of a layer as OCI names it; Docker's own names mean the same formats.
fn oci_media_type(descriptor: &Descriptor) -> String {
    match descriptor.media_type().to_string().as_str() {
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        "application/vnd.docker.image.rootfs.diff.tar" => "application/vnd.oci.image.layer.v1.tar".to_owned(),
        other => other.to_owned(),
    }
}

struct Pull<'a> {
    store: &'a Store,
    origin: Origin,
    resolution: &'a Resolution,
    progress: &'a dyn PullProgress,
    chains: Vec<Digest>,
    descriptors: &'a [Descriptor],
    /// Whether one layer failed, and the others are of no use.
    failed: AtomicBool,
}

/// A layer that is unpacked but not committed.
struct Unpacked {
    directory: TempDir,
    applied: Applied,
}

impl Pull<'_> {
    fn run(&self) -> Result<Vec<LayerId>, PullError> {
        let count = self.descriptors.len();
        let unpacked: Vec<Mutex<Option<Unpacked>>> = (0..count).map(|_| Mutex::new(None)).collect();
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::SeqCst);
                if number >= count {
                    return;
                }
                match self.unpack(number) {
                    Ok(layer) => *unpacked[number].lock().unwrap_or_else(PoisonError::into_inner) = layer,
                    Err(error) => {
                        self.failed.store(true, Ordering::SeqCst);
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        next.store(count, Ordering::SeqCst);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..PARALLEL.min(count) {
                scope.spawn(work);
            }
            work();
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let mut layers = Vec::with_capacity(count);
        for (number, layer) in unpacked.into_iter().enumerate() {
            let layer = layer.into_inner().unwrap_or_else(PoisonError::into_inner);
            layers.push(self.commit(number, layer, &layers)?);
        }
        Ok(layers)
    }

    fn stops(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.progress.is_cancelled()
    }

    fn digest(&self, number: usize) -> Result<Digest, PullError> {
        Ok(self.descriptors[number].digest().to_string().parse()?)
    }

    /// Fetches and unpacks one layer; nothing if it is here.
    fn unpack(&self, number: usize) -> Result<Option<Unpacked>, PullError> {
        if self.store.chain(&self.chains[number])?.is_some() {
            return Ok(None);
        }
        // Of several processes that need the same layer one pulls it; the others wait and find it.
        let key = Hasher::new("kiln pull v1").field(self.chains[number].as_bytes()).key();
        let _lock = self.store.lock_step(&key, || !self.progress.is_cancelled()).map_err(|error| match error {
            LockError::Cancelled => PullError::Cancelled,
            LockError::Store(error) => PullError::Store(error),
        })?;
        if self.store.chain(&self.chains[number])?.is_some() {
            return Ok(None);
        }
        let descriptor = &self.descriptors[number];
        let digest = self.digest(number)?;
        let reference = || self.resolution.reference.clone();
        let unreadable = |source| PullError::Read { reference: reference(), digest, source };
        let directory = self.store.temp_dir()?;
        let fs = directory.path().join("fs");
        let unpack = |stream: &mut dyn Read| {
            apply(stream, &fs, &ApplyOptions::default()).map_err(|source| PullError::Unpack {
                reference: reference(),
                digest,
                source: Box::new(source),
            })
        };
        let applied = if self.store.has_blob(&digest)? {
            let gone = |source| PullError::Blob { reference: reference(), digest, source: Box::new(source) };
            let (file, _) = self.store.open_blob(&digest).map_err(gone)?;
            unpack(&mut decompress_ahead(file).map_err(unreadable)?)?
        } else {
            self.fetch(descriptor, digest, &unpack)?
        };
        let expected = self.resolution.diff_ids[number];
        if applied.diff_id != expected {
            return Err(PullError::WrongDiffId { reference: reference(), digest, actual: applied.diff_id, expected });
        }
        self.progress.layer(&digest, descriptor.size(), descriptor.size(), true);
        Ok(Some(Unpacked { directory, applied }))
    }

    /// Unpacks a blob while it is fetched and stored.
    fn fetch(
        &self,
        descriptor: &Descriptor,
        digest: Digest,
        unpack: &(dyn Fn(&mut dyn Read) -> Result<Applied, PullError> + Sync),
    ) -> Result<Applied, PullError> {
        let reference = || self.resolution.reference.clone();
        let stop = || self.stops();
        let source = self.origin.blob(descriptor, &digest, &stop).map_err(|source| PullError::Fetch {
            reference: reference(),
            digest,
            source: Box::new(source),
        })?;
        let unstored = |source| PullError::Blob { reference: reference(), digest, source: Box::new(source) };
        let mut writer = self.store.blob_writer()?;
        let blob = Blob { reference: &self.resolution.reference, digest, size: descriptor.size() };
        // One thread takes the bytes from the network to the disk and on to the one that unpacks.
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Vec<u8>>(16);
        let (applied, fetched) = std::thread::scope(|scope| {
            let unpacking = scope.spawn(move || {
                let stream = Received { receiver, chunk: Vec::new(), at: 0 };
                let mut stream = decompress_ahead(stream).map_err(|source| PullError::Read {
                    reference: reference(),
                    digest,
                    source,
                })?;
                unpack(&mut stream)
            });
            let fetched = blob.pump(source, &mut writer, &|| self.stops(), |chunk, current| {
                self.progress.layer(&digest, current, descriptor.size(), false);
                // Nobody receives when unpacking has failed; the rest of the blob is still wanted for its digest.
                let _ = sender.send(chunk);
            });
            drop(sender);
            let applied = unpacking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (applied, fetched)
        });
        // A broken stream also breaks the unpacking; the first cause is what helps.
        fetched?;
        writer.commit(Some(&digest)).map_err(unstored)?;
        applied
    }

    fn commit(&self, number: usize, layer: Option<Unpacked>, below: &[LayerId]) -> Result<LayerId, PullError> {
        let chain = &self.chains[number];
        let Some(Unpacked { directory, applied }) = layer else {
            let here = self.store.chain(chain)?;
            return here.ok_or_else(|| PullError::Gone { reference: self.resolution.reference.clone() });
        };
        let fs = directory.path().join("fs");
        if applied.deferred != Default::default() {
            let below = Stack::new(below.iter().map(|layer| self.store.layer_path(*layer)).collect())?;
            settle(&fs, &applied.deferred, &below).map_err(|source| PullError::Unpack {
                reference: self.resolution.reference.clone(),
                digest: self.resolution.diff_ids[number],
                source: Box::new(source),
            })?;
        }
        let new = NewLayer { content: pulled_content(chain), size: applied.bytes, entries: applied.entries };
        let id = self.store.commit_layer_for_chain(&fs, new, chain, applied.diff_id, applied.size)?.id;
        let (descriptor, reference) = (&self.descriptors[number], &self.resolution.reference);
        let digest: Digest = descriptor.digest().to_string().parse()?;
        let blob = BlobInfo { digest, size: descriptor.size(), media_type: oci_media_type(descriptor) };
        // Other tools write other archives of the same files: this one alone has the diff id that the image says.
        self.store.put_layer_blob(&applied.diff_id, AS_PULLED, &blob).map_err(|source| PullError::Blob {
            reference: reference.clone(),
            digest,
            source: Box::new(source),
        })?;
        Ok(id)
    }
}

/// A pulled layer is known by its chain: nobody needs the digest of its files.
fn pulled_content(chain: &Digest) -> ContentDigest {
    Hasher::new("kiln pulled layer v1").field(chain.as_bytes()).content()
}

/// The bytes that another thread sends, as a reader.
struct Received {
    receiver: std::sync::mpsc::Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            match self.receiver.recv() {
                Ok(chunk) => (self.chunk, self.at) = (chunk, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.at);
        buffer[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
