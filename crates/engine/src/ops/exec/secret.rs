//! Secrets: read when a step needs them, handed to its sandbox, kept nowhere.

use super::mounts::NotGiven;
use crate::build::StepContext;
use crate::error::{EngineError, ErrorKind};
use crate::history::Redaction;
use crate::request::{SecretSource, SecretValue};
use std::io::Read;

/// The bytes of a secret; nothing if the user gave none of that id and the step can do without.
pub(super) fn read(id: &str, required: bool, context: &StepContext<'_>) -> Result<Option<Vec<u8>>, EngineError> {
    match context.build.secrets.get(id) {
        None if required => Err(EngineError::user(NotGiven::Secret(id.to_owned()))),
        None => Ok(None),
        Some(source) => bytes(id, source, context.build.redaction).map(Some),
    }
}

/// The bytes of a secret that the user gave. From now on they are in nothing that is remembered of the build.
pub(crate) fn bytes(id: &str, source: &SecretSource, redaction: &Redaction) -> Result<Vec<u8>, EngineError> {
    let bytes = match source {
        SecretSource::Value(value) => value.0.clone(),
        SecretSource::File(path) => {
            let unreadable = |error| {
                let text = format!("failed to read the secret `{id}` from `{}`", path.display());
                EngineError::new(ErrorKind::User, text).with_source(error)
            };
            let mut bytes = Vec::new();
            let file = std::fs::File::open(path).map_err(unreadable)?;
            file.take(SecretValue::MAX_SIZE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
            bytes
        }
    };
    if bytes.len() as u64 > SecretValue::MAX_SIZE {
        let text = format!("the secret `{id}` is larger than {} bytes", SecretValue::MAX_SIZE);
        return Err(EngineError::new(ErrorKind::User, text));
    }
    redaction.add(&bytes);
    Ok(bytes)
}

/// A secret as the value of a variable.
pub(super) fn as_variable(id: &str, data: &[u8]) -> Result<String, EngineError> {
    let text = std::str::from_utf8(data).ok().filter(|text| !text.contains('\0'));
    text.map(str::to_owned).ok_or_else(|| {
        EngineError::new(ErrorKind::User, format!("the secret `{id}` cannot be the value of a variable"))
            .with_hint("a variable is UTF-8 without NUL bytes; mount it as a file instead")
    })
}
