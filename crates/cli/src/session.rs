//! What most commands start and end with: the configuration is read and the store opened; what was written is brought to the disk
//! by another process, so that nobody waits for it.

use crate::args::Globals;
use crate::error::CliError;
use crate::{config, paths};
use kiln_engine::{Engine, Settings};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// An engine on a store.
pub(crate) struct Session {
    pub(crate) engine: Engine,
    root: PathBuf,
}

impl Session {
    /// Opens the engine on the root that the global options choose.
    pub(crate) fn open(globals: &Globals) -> Result<Self, CliError> {
        let root = paths::root(globals)?;
        let registries = config::load(paths::config(globals))?;
        let engine = Engine::open(Settings { root: root.clone(), registries })?;
        Ok(Self { engine, root })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.engine.needs_sync() {
            // Without it, what is in the store is only less durable.
            let _less_durable = start_sync(&self.root, self.engine.take_replaced());
        }
    }
}

/// Starts `kiln internal-sync` as a process of its own, with no stream and no process group in common with this one, so that neither a
/// closed pipe nor Ctrl-C reaches it. What was `replaced` by an output is its to close: that takes as long as the kernel needs to free
/// the file.
fn start_sync(root: &PathBuf, replaced: Option<File>) -> std::io::Result<()> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.arg("internal-sync").arg("--root").arg(root).current_dir("/").process_group(0);
    command.stdin(replaced.map_or_else(Stdio::null, Stdio::from)).stdout(Stdio::null()).stderr(Stdio::null());
    // Never waited for: it outlives this process, and is then init's.
    command.spawn().map(drop)
}
