//! `--cache-to` and `--cache-from`: where the caches of other machines are. What the attributes mean is `kiln-remote`'s; the environment
//! variables that stand for some of them are read here.

use super::output::csv;
use crate::error::UsageError;
use crate::values::split_hint;
use kiln_engine::{CacheExport, CacheImport, CacheLocationError};

/// Reads one `--cache-to`.
pub(crate) fn export(text: &str) -> Result<Vec<CacheExport>, UsageError> {
    CacheExport::parse(&csv(text)?, &variable).map_err(|error| usage(&error))
}

/// Reads one `--cache-from`.
pub(crate) fn import(text: &str) -> Result<Vec<CacheImport>, UsageError> {
    CacheImport::parse(&csv(text)?, &variable).map_err(|error| usage(&error))
}

fn usage(error: &CacheLocationError) -> UsageError {
    let unsupported = matches!(error, CacheLocationError::Unsupported { .. });
    UsageError { unsupported, ..split_hint(&error.to_string()) }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
