//! A context that is an archive from a pipe: read when the build needs it, once, whatever becomes of the build.

use crate::error::EngineError;
use kiln_digest::ContentDigest;
use kiln_sources::archive::ArchiveError;
use kiln_store::LayerId;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

/// A tar archive, plain or compressed.
#[derive(Clone)]
pub struct ContextArchive(Arc<Mutex<State>>);

enum State {
    Unread(Box<dyn Read + Send>),
    /// The layer, which stays in the store for as long as this process lives.
    Unpacked(LayerId, ContentDigest),
    /// Reading it failed.
    Spent,
}

impl ContextArchive {
    /// An archive that nobody has read from yet.
    pub fn new(reader: impl Read + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(State::Unread(Box::new(reader)))))
    }

    /// Whether a file that begins with these bytes is an archive that can be a context; [`ContextArchive::HEADER_LENGTH`] of them are
    /// enough.
    pub fn is_one(header: &[u8]) -> bool {
        kiln_sources::archive::is_archive(header)
    }

    /// As many first bytes tell an archive.
    pub const HEADER_LENGTH: usize = kiln_sources::archive::HEADER_LENGTH;

    pub(crate) fn unpacked(
        &self,
        unpack: impl FnOnce(Box<dyn Read + Send>) -> Result<(LayerId, ContentDigest), ArchiveError>,
    ) -> Result<(LayerId, ContentDigest), EngineError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Spent) {
            State::Unread(reader) => {
                let (layer, content) = unpack(reader).map_err(EngineError::from_archive)?;
                *state = State::Unpacked(layer, content);
                Ok((layer, content))
            }
            State::Unpacked(layer, content) => {
                *state = State::Unpacked(layer, content);
                Ok((layer, content))
            }
            State::Spent => Err(EngineError::from_archive(ArchiveError::Read(std::io::ErrorKind::BrokenPipe.into()))),
        }
    }
}

impl std::fmt::Debug for ContextArchive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContextArchive(…)")
    }
}
