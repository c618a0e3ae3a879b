//! SIGINT and SIGTERM: the first cancels what is going on, the second ends the process at once.
//!
//! A thread of its own waits for them, so that cancelling may lock and call hooks. It is never joined: it ends with the process.

use crate::error::CliError;
use crate::exit::ExitStatus;
use kiln_engine::{CancelToken, EngineError, ErrorKind};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

/// Cancellation by signals.
pub(crate) struct Interrupts {
    /// Cancelled by the first signal.
    pub(crate) cancel: CancelToken,
    first: Arc<AtomicI32>,
}

impl Interrupts {
    /// Takes over SIGINT and SIGTERM.
    pub(crate) fn install() -> Result<Self, CliError> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(CliError::Signals)?;
        let interrupts = Self { cancel: CancelToken::new(), first: Arc::default() };
        let (cancel, first) = (interrupts.cancel.clone(), Arc::clone(&interrupts.first));
        let wait = move || {
            for signal in signals.forever() {
                if first.swap(signal, Ordering::SeqCst) == 0 {
                    cancel.cancel();
                } else {
                    std::process::exit(i32::from(status(signal).0));
                }
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(CliError::Signals)?;
        Ok(interrupts)
    }

    /// The engine's error as the command's: one of cancellation gets the status of the signal.
    pub(crate) fn error(&self, error: EngineError) -> CliError {
        match (error.kind, self.first.load(Ordering::SeqCst)) {
            (ErrorKind::Cancelled, signal) if signal != 0 => CliError::Cancelled(status(signal)),
            _ => error.into(),
        }
    }
}

fn status(signal: i32) -> ExitStatus {
    if signal == SIGTERM { ExitStatus::TERMINATED } else { ExitStatus::INTERRUPTED }
}
