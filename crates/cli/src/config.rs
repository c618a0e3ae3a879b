//! Reads `config.toml`. Its tables belong to the crates that use them; so far that is `registry` alone (`kiln_registry::Config`).

use crate::error::CliError;
use crate::paths::ConfigFile;
use kiln_registry::Config;
use std::fs;
use std::io::ErrorKind;

/// Reads the configuration; all defaults where nobody asked for a file and there is none.
pub(crate) fn load(file: Option<ConfigFile>) -> Result<Config, CliError> {
    let Some(ConfigFile { path, explicit }) = file else {
        return Ok(Config::default());
    };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && !explicit => return Ok(Config::default()),
        Err(source) => return Err(CliError::ReadConfig { path, source }),
    };
    Config::parse(&text).map_err(|source| CliError::Config { path, source })
}
