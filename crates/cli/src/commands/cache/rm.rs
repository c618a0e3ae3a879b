//! `kiln cache rm`: removes cache mounts by id or name, or all of them. Those that a step is using stay.

use super::SHORT_ID;
use crate::args::Globals;
use crate::confirm;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::session::Session;
use crate::{human, terminal};
use clap::Args;
use kiln_engine::{CacheMountInfo, EngineError, ErrorKind, MountId};

/// Options of `kiln cache rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Ids, the beginnings of ids, or names of cache mounts
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,
    /// Remove all cache mounts
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// Removes cache mounts.
pub(crate) fn execute(globals: &Globals, args: &RmArgs) -> Result<ExitStatus, CliError> {
    if args.all && !args.force {
        confirm::ask("kiln cache rm --all", "this removes all cache mounts")?;
    }
    let session = Session::open(globals)?;
    let known = session.engine.cache_mounts()?;
    let ids = match args.all {
        true => known.iter().map(|mount| mount.id).collect(),
        false => find_all(&known, &args.ids)?,
    };
    let outcome = session.engine.remove_cache_mounts(&ids)?;
    let text = match outcome.removed {
        0 => "nothing to remove\n".to_owned(),
        count => format!("removed {}\nfreed {}\n", human::count(count, "cache mount"), human::size(outcome.bytes)),
    };
    if outcome.removed > 0 || outcome.in_use.is_empty() {
        terminal::print(&text)?;
    }
    match &outcome.in_use[..] {
        [] => Ok(ExitStatus::SUCCESS),
        in_use => {
            let ids: Vec<String> = in_use.iter().map(|id| format!("`{}`", &id.to_string()[..SHORT_ID])).collect();
            let text = format!("a step is using {} {}", plural(in_use.len()), ids.join(", "));
            Err(EngineError::new(ErrorKind::User, text).with_hint("try again when that build is over").into())
        }
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "cache mount" } else { "cache mounts" }
}

fn find_all(known: &[CacheMountInfo], wanted: &[String]) -> Result<Vec<MountId>, CliError> {
    let mut ids = Vec::new();
    for text in wanted {
        ids.extend(find(known, text)?);
    }
    Ok(ids)
}

/// A name may stand for several directories, the beginning of an id only for one.
fn find(known: &[CacheMountInfo], text: &str) -> Result<Vec<MountId>, EngineError> {
    let named: Vec<MountId> = known.iter().filter(|mount| mount.key.as_str() == text).map(|mount| mount.id).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let begins = |mount: &&CacheMountInfo| !text.is_empty() && mount.id.to_string().starts_with(text);
    let found: Vec<MountId> = known.iter().filter(begins).map(|mount| mount.id).collect();
    match found.len() {
        1 => Ok(found),
        0 => Err(EngineError::new(ErrorKind::User, format!("there is no cache mount `{text}`"))
            .with_hint("`kiln cache ls` lists them")),
        _ => {
            Err(EngineError::new(ErrorKind::User, format!("several cache mounts have an id that begins with `{text}`"))
                .with_hint("give more digits"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_engine::CacheMountKey;
    use std::time::SystemTime;

    #[test]
    fn by_name_or_id() {
        let mount = |id: &str, key: &str| CacheMountInfo {
            id: id.parse().unwrap(),
            key: CacheMountKey::new(key),
            size: 0,
            created: SystemTime::UNIX_EPOCH,
            used: SystemTime::UNIX_EPOCH,
            in_use: false,
            uses: 0,
            hits: 0,
            steps: Vec::new(),
        };
        let known =
            [mount("00aa000000000001", "npm"), mount("00bb000000000002", "npm"), mount("0c00000000000003", "00")];
        let count = |text: &str| find(&known, text).map(|ids| ids.len()).map_err(|error| error.message);
        assert_eq!(count("npm"), Ok(2));
        assert_eq!(count("00"), Ok(1));
        assert_eq!(count("00aa"), Ok(1));
        assert_eq!(count("00bb000000000002"), Ok(1));
        assert!(count("0").unwrap_err().contains("several"));
        assert!(count("1").unwrap_err().contains("no cache mount `1`"));
        assert!(count("").is_err());
    }
}
