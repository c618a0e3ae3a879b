//! Where things are by default: the store's root and the configuration file, for root and for everybody else.

use crate::args::Globals;
use crate::error::{CliError, UsageError};
use std::env;
use std::path::{Path, PathBuf};

/// The configuration file to read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ConfigFile {
    pub(crate) path: PathBuf,
    /// Whether somebody asked for this very file, so that it has to exist.
    pub(crate) explicit: bool,
}

/// The store's root, absolute.
pub(crate) fn root(globals: &Globals) -> Result<PathBuf, CliError> {
    let path = match globals.root.clone().or_else(|| variable("KILN_ROOT")) {
        Some(path) => path,
        None if is_root() => PathBuf::from("/var/lib/kiln"),
        None => below_home("XDG_DATA_HOME", ".local/share").ok_or_else(|| {
            UsageError::new("no place for the store: neither `HOME` nor `XDG_DATA_HOME` is set")
                .hint("choose a directory with `--root DIR`")
        })?,
    };
    let path = absolute(&path);
    if let Some(file) = path.ancestors().find(|path| path.exists()).filter(|path| !path.is_dir()) {
        let message = format!("the store cannot be in `{}`: `{}` is not a directory", path.display(), file.display());
        return Err(UsageError::new(message).hint("`--root DIR` and `KILN_ROOT` say where it is").into());
    }
    Ok(path)
}

/// The configuration file; `None` where there is no place to look for one.
pub(crate) fn config(globals: &Globals) -> Option<ConfigFile> {
    if let Some(path) = globals.config.clone().or_else(|| variable("KILN_CONFIG")) {
        return Some(ConfigFile { path, explicit: true });
    }
    let path = if is_root() {
        PathBuf::from("/etc/kiln/config.toml")
    } else {
        below_home("XDG_CONFIG_HOME", ".config")?.join("config.toml")
    };
    Some(ConfigFile { path, explicit: false })
}

/// `$VARIABLE/kiln`, or `~/FALLBACK/kiln`. The XDG specification ignores relative paths.
fn below_home(name: &str, fallback: &str) -> Option<PathBuf> {
    let base = match variable(name).filter(|path| path.is_absolute()) {
        Some(base) => base,
        None => variable("HOME")?.join(fallback),
    };
    Some(base.join("kiln"))
}

/// An environment variable that is set to something.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The path as other processes can use it, whatever their current directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
