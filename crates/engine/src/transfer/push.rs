//! Images of the store to registries. One that was never packed is packed as a build that pushes it would: layers of a base image that was
//! pulled stay the blobs they were.

use super::{STEP, told};
use crate::cancel::CancelToken;
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::event::EventSink;
use crate::export::remote::{by_repository, told as told_of_blobs};
use crate::outcome::ManifestDescriptor;
use kiln_digest::Digest;
use kiln_exporters::{Assembly, Attestation, Document, ImageBlobs, LayerSource, MediaTypes, Packing, PushTarget};
use kiln_graph::Platform;
use kiln_lower::ImageConfig;
use kiln_registry::{Manifest, Reference};
use kiln_store::Image;
use serde_json::{Value, json};
use std::io::Read;

/// An image to push.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// Its name, which says where it goes.
    pub name: String,
    /// The platform to push, of several that are not below one index.
    pub platform: Option<Platform>,
}

/// No manifest and no config is larger.
const DOCUMENT_MAX: u64 = 8 << 20;

impl Engine {
    /// Pushes an image of the store under its name, and says what the registry has then.
    ///
    /// # Errors
    /// If there is no such image; the registry's.
    pub fn push_image(
        &self,
        request: &PushRequest,
        events: &dyn EventSink,
        cancel: &CancelToken,
    ) -> Result<ManifestDescriptor, EngineError> {
        let reference = Reference::parse(&request.name).map_err(EngineError::user)?;
        let images = self.images_of(&reference.to_string())?;
        told(events, format!("pushing {reference}"), || {
            if request.platform.is_none()
                && let Some(standing) = self.standing_index(&reference, &images)?
            {
                return Ok(standing);
            }
            let assembly = self.assembly(&reference, images, request, cancel)?;
            for (repository, names) in by_repository(std::slice::from_ref(&reference)) {
                let mount_from = self.mounts(repository.registry(), repository.name())?;
                let target = PushTarget { repository, names, mount_from };
                let told = told_of_blobs(events, STEP);
                kiln_exporters::push(self.client(), self.store(), &assembly, &target, &told, &cancel.flag())
                    .map_err(EngineError::from_push)?;
            }
            Ok(ManifestDescriptor::of(assembly.root()))
        })
    }

    /// The blobs of an image of one platform, or of an index.
    fn assembly(
        &self,
        reference: &Reference,
        mut images: Vec<Image>,
        request: &PushRequest,
        cancel: &CancelToken,
    ) -> Result<Assembly, EngineError> {
        let index = images[0].index.filter(|index| images.iter().all(|image| image.index == Some(*index)));
        match (&request.platform, index) {
            (None, Some(index)) => {
                let bytes = self.document(&index)?;
                self.check_complete(reference, &bytes, &images)?;
                let (_, media_type) = Manifest::parse(&bytes, None).map_err(EngineError::user)?;
                let mut packed = Vec::with_capacity(images.len());
                for image in &images {
                    packed.push(self.blobs(image, cancel)?);
                }
                let types = if media_type.to_string() == MediaTypes::Docker.index() {
                    MediaTypes::Docker
                } else {
                    MediaTypes::Oci
                };
                let attestations = self.attestations(&bytes)?;
                let index = Some(Document::new(types.index(), bytes));
                return Ok(Assembly {
                    images: packed,
                    attestations,
                    index,
                    descriptor_annotations: Default::default(),
                });
            }
            (Some(platform), _) => images.retain(|image| image.platform == platform.to_string()),
            (None, None) if images.len() > 1 => {
                let host = Platform::host().to_string();
                images.retain(|image| image.platform == host);
            }
            (None, None) => {}
        }
        match &images[..] {
            [image] => Ok(Assembly::single(self.blobs(image, cancel)?)),
            _ => Err(EngineError::new(ErrorKind::User, format!("`{}` is not here for that platform", request.name))
                .with_hint("`kiln images` lists what there is; `--platform` chooses")),
        }
    }

    /// What an index says is stated of its images, as far as it is in the store.
    fn attestations(&self, index: &[u8]) -> Result<Vec<Attestation>, EngineError> {
        let index: Value = serde_json::from_slice(index).unwrap_or_default();
        let mut attestations = Vec::new();
        for entry in index["manifests"].as_array().into_iter().flatten() {
            if let Some((subject, digest)) = Attestation::of_entry(entry)
                && self.store().has_blob(&digest).map_err(EngineError::store)?
            {
                let manifest = self.document(&digest)?;
                attestations.extend(Attestation::read(subject, manifest, |digest| self.document(digest))?);
            }
        }
        Ok(attestations)
    }

    /// The blobs of one image: those of its manifest, or new ones.
    fn blobs(&self, image: &Image, cancel: &CancelToken) -> Result<ImageBlobs, EngineError> {
        let stop = || cancel.is_cancelled();
        let pull = |error| EngineError::from_pull(error, cancel.is_cancelled());
        let config = self.document(&image.config)?;
        if let Some(digest) = image.manifest {
            let platform = image.platform.parse().unwrap_or_else(|_| Platform::host());
            let resolution =
                self.registry().resolve(&image.name, &platform, false, &stop).map_err(EngineError::from_image)?;
            let bytes = self.document(&digest)?;
            let (_, media_type) = Manifest::parse(&bytes, None).map_err(EngineError::user)?;
            let types = if media_type.to_string() == MediaTypes::Docker.manifest() {
                MediaTypes::Docker
            } else {
                MediaTypes::Oci
            };
            return Ok(ImageBlobs {
                config,
                config_digest: image.config,
                manifest: Document::new(types.manifest(), bytes),
                layers: self.registry().layer_blobs(&resolution, &stop).map_err(pull)?,
                platform: describe(&platform),
                descriptor_annotations: Default::default(),
            });
        }
        let config = ImageConfig::from_json(&config)
            .map_err(|error| EngineError::new(ErrorKind::Internal, "malformed config").with_source(error))?;
        let malformed = EngineError::internal("failed to read the image's config");
        let diff_ids = config.rootfs.diff_ids.iter().map(|id| id.parse::<Digest>());
        let diff_ids = diff_ids.collect::<Result<Vec<_>, _>>().map_err(malformed)?;
        let layers = image.layers.iter().zip(diff_ids);
        let sources: Vec<_> = layers.map(|(id, diff_id)| LayerSource::Stored { id: *id, diff_id }).collect();
        kiln_exporters::pack(self.store(), config, &sources, &Packing::default(), &|_, _| (), &cancel.flag())
            .map_err(EngineError::pack)
    }

    /// Repositories of a registry from which images of the store came, by their blobs.
    fn mounts(&self, registry: &str, except: &str) -> Result<Vec<(Digest, String)>, EngineError> {
        let images = self.store().images().map_err(EngineError::store)?;
        let mut mounts = Vec::new();
        for image in images.iter().filter(|image| image.pulled) {
            let Ok(reference) = Reference::parse(&image.name) else { continue };
            let name = reference.repository().name();
            if reference.registry() == registry && name != except {
                mounts.extend(image.blobs.iter().map(|blob| (*blob, name.to_owned())));
            }
        }
        Ok(mounts)
    }

    /// A small blob of the store.
    pub(super) fn document(&self, digest: &Digest) -> Result<Vec<u8>, EngineError> {
        let (file, _) = self.store().open_blob(digest).map_err(EngineError::store)?;
        let mut bytes = Vec::new();
        file.take(DOCUMENT_MAX)
            .read_to_end(&mut bytes)
            .map_err(EngineError::io("read", &self.store().blob_path(digest)))?;
        Ok(bytes)
    }
}

fn describe(platform: &Platform) -> Value {
    let mut described = json!({ "architecture": platform.architecture, "os": platform.os });
    if let Some(variant) = &platform.variant {
        described["variant"] = json!(variant);
    }
    described
}
