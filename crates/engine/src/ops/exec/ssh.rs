//! SSH agents of a step: each gets a socket of its own, for as long as the step runs.

use crate::build::StepContext;
use crate::error::{EngineError, ErrorKind};
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
        let how = if id == "default" { "--ssh default".to_owned() } else { format!("--ssh {id}=SOCKET|KEY") };
        return Err(EngineError::new(ErrorKind::User, format!("the step needs the SSH agent `{id}`"))
            .with_hint(format!("give it with `{how}`")));
    };
    let forward = Forward::start(Arc::clone(agent), place, owner);
    forward.map(Some).map_err(EngineError::io("make the socket", place))
}
