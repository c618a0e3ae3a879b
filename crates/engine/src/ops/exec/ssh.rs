//! SSH agents of a step: each gets a socket of its own, for as long as the step runs.

use super::mounts::NotGiven;
use crate::build::StepContext;
use crate::error::EngineError;
use kiln_ssh::{Forward, SocketOwner};
use std::path::Path;
use std::sync::Arc;

/// A socket at `place` on which the agent of that id answers; nothing if the user gave none and the step can do without.
pub(super) fn forward(
    id: &str,
    required: bool,
    place: &Path,
    owner: SocketOwner,
    context: &StepContext<'_>,
) -> Result<Option<Forward>, EngineError> {
    let Some(agent) = context.build.ssh.get(id) else {
        if !required {
            return Ok(None);
        }
        let how = if id == "default" { id.to_owned() } else { format!("{id}=SOCKET|KEY") };
        return Err(EngineError::user(NotGiven::Agent(id.to_owned(), how)));
    };
    let forward = Forward::start(Arc::clone(agent), place, owner);
    forward.map(Some).map_err(EngineError::io("make the socket", place))
}
