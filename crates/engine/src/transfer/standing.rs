//! What a registry has under a name stands for more than what is here: the other platforms of an index. A push must not take
//! these away without being told to.

use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::outcome::ManifestDescriptor;
use kiln_digest::Digest;
use kiln_registry::{Manifest, Reference, RegistryError};
use kiln_store::Image;
use serde_json::Value;

impl Engine {
    /// The index that an image was pulled from, if its registry still has it under this name: then nothing is to be pushed.
    ///
    /// # Errors
    /// If there is another index by now, of which a push of this image would leave nothing; the registry's.
    pub(super) fn standing_index(
        &self,
        reference: &Reference,
        images: &[Image],
    ) -> Result<Option<ManifestDescriptor>, EngineError> {
        if !images.iter().all(|image| image.pulled) {
            return Ok(None);
        }
        let fetched = match self.client().manifest(reference) {
            Ok(fetched) => fetched,
            Err(RegistryError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(EngineError::from_registry(error)),
        };
        let Manifest::Index(index) = &fetched.manifest else { return Ok(None) };
        let listed = |image: &Image| {
            let digest = image.manifest.map(|digest| digest.to_string());
            index.manifests().iter().any(|child| Some(child.digest().to_string()) == digest)
        };
        if !images.iter().any(listed) {
            let text = format!("`{reference}` is by now an index of other images, which a push would take away");
            let hint =
                "`--platform` pushes the image of one platform in its place; `kiln pull` brings what there is now";
            return Err(EngineError::new(ErrorKind::User, text).with_hint(hint));
        }
        Ok(Some(ManifestDescriptor {
            media_type: fetched.descriptor.media_type().to_string(),
            digest: fetched.digest,
            size: fetched.descriptor.size(),
        }))
    }

    /// Sees to it that whatever an index names is here or in the repository that it goes to.
    ///
    /// # Errors
    /// If it is not; the registry's.
    pub(super) fn check_complete(
        &self,
        reference: &Reference,
        index: &[u8],
        images: &[Image],
    ) -> Result<(), EngineError> {
        let index: Value = serde_json::from_slice(index).unwrap_or_default();
        for child in index["manifests"].as_array().into_iter().flatten() {
            let platform = &child["platform"];
            let name = |part: &str| platform[part].as_str().unwrap_or("unknown").to_owned();
            let digest = child["digest"].as_str().and_then(|digest| digest.parse::<Digest>().ok());
            let is_here = |digest: Digest| images.iter().any(|image| image.manifest == Some(digest));
            // What is stated of an image is no image.
            let Some(digest) = digest.filter(|digest| name("os") != "unknown" && !is_here(*digest)) else { continue };
            if !self.client().has_manifest(reference.repository(), &digest).map_err(EngineError::from_registry)? {
                let platform = format!("{}/{}", name("os"), name("architecture"));
                let text =
                    format!("the image of `{platform}` is no longer here, and `{reference}` is an index with it");
                let hint = "build or pull it again, or push what is here with `--platform`";
                return Err(EngineError::new(ErrorKind::User, text).with_hint(hint));
            }
        }
        Ok(())
    }
}
