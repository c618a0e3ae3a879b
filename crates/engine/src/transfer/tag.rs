//! Further names for images of the store.

use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use kiln_registry::Reference;
use kiln_store::Image;

impl Engine {
    /// Gives an image, by its name or id, another name. Whatever had that name loses it.
    ///
    /// # Errors
    /// If there is no such image, or the new name is none.
    pub fn tag_image(&self, name_or_id: &str, name: &str) -> Result<(), EngineError> {
        let reference = Reference::parse(name).map_err(EngineError::user)?;
        if reference.digest().is_some() {
            return Err(EngineError::new(ErrorKind::User, format!("cannot tag an image as `{name}`"))
                .with_hint("a tag has no digest: `name:tag`"));
        }
        let name = reference.to_string();
        let images = self.images_of(name_or_id)?;
        // Whoever names an image wants to keep it, also one that came from a registry.
        let rows: Vec<Image> =
            images.into_iter().map(|image| Image { name: name.clone(), pulled: false, ..image }).collect();
        self.store().put_image_of_platforms(&name, &rows).map_err(EngineError::from_store_image)
    }
}
