//! What is in an image, as an SPDX document. The same files are looked through once: the store remembers what was found by what the
//! snapshot is.

use crate::build::Build;
use crate::error::{EngineError, ErrorKind};
use crate::event::Event;
use crate::export::Image;
use kiln_digest::{Digest, Hasher};
use kiln_lower::ImageConfig;
use kiln_registry::Reference;
use kiln_sbom::{Inventory, ScanError, Subject};
use serde_json::Value;

/// Memos of the packages of a snapshot.
const MEMO: &str = "packages";

/// The document of an image.
pub(super) fn document(
    build: &Build<'_>,
    image: &Image,
    config: &[u8],
    names: &[Reference],
    digest: &Digest,
) -> Result<Value, EngineError> {
    let inventory = inventory(build, image)?;
    for unread in &inventory.unread {
        let message = format!("the SBOM lacks what `/{}` tells: {}", unread.path, unread.reason);
        build.events.event(Event::Warning { message, span: None });
    }
    // The image's time, so that the same image has the same document.
    let config = ImageConfig::from_json(config).unwrap_or_default();
    let created = config.created.and_then(|created| created.parse::<jiff::Timestamp>().ok());
    let created = created.unwrap_or(jiff::Timestamp::UNIX_EPOCH).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let subject = Subject {
        name: &names.first().map_or_else(|| "image".to_owned(), ToString::to_string),
        digest: &digest.hex(),
        created: &created,
        tool: concat!("kiln-", env!("CARGO_PKG_VERSION")),
    };
    Ok(kiln_sbom::document(&subject, &inventory))
}

fn inventory(build: &Build<'_>, image: &Image) -> Result<Inventory, EngineError> {
    let store = build.engine.store();
    let key = Hasher::new("kiln packages v1").field(image.snapshot.content.as_bytes()).content();
    if let Some(known) = store.memo(MEMO, key.as_bytes()).map_err(EngineError::store)?
        && let Ok(inventory) = postcard::from_bytes(&known)
    {
        return Ok(inventory);
    }
    let realized = build.realize(&image.snapshot)?;
    let inventory = kiln_sbom::scan(realized.tree.as_ref(), &build.cancel.flag()).map_err(|error| match error {
        ScanError::Cancelled => EngineError::cancelled(),
        error => EngineError::of(ErrorKind::Internal, error),
    })?;
    let value = postcard::to_stdvec(&inventory).expect("an inventory is plain data");
    store.put_memo(MEMO, key.as_bytes(), &value).map_err(EngineError::store)?;
    Ok(inventory)
}
