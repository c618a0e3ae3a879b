//! `kiln cache ls --from`: what a remote cache holds.

use super::ls::timestamp;
use crate::error::CliError;
use crate::session::Session;
use crate::signals::Interrupts;
use crate::table::Table;
use crate::{human, terminal, text};
use jiff::Timestamp;
use kiln_engine::{CacheContents, CacheImport};
use serde::Serialize;
use std::time::SystemTime;

/// As many digits of a layer's digest are shown.
const SHORT_DIGEST: usize = "sha256:".len() + 12;

/// One line of `--json`.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Layer {
        diff_id: String,
        /// Bytes in the cache.
        stored: u64,
        /// RFC 3339.
        used: Option<Timestamp>,
        steps: u64,
        /// Of these steps, in seconds.
        duration: f64,
    },
    Mount {
        name: &'a str,
        stored: u64,
        /// Bytes of its files.
        size: u64,
        used: Option<Timestamp>,
    },
}

/// Lists a remote cache.
pub(super) fn list(session: &Session, cache: &CacheImport, json: bool, no_trunc: bool) -> Result<(), CliError> {
    let interrupts = Interrupts::install()?;
    let contents = session.engine.cache_contents(cache, &interrupts.cancel);
    let contents = contents.map_err(|error| interrupts.error(error))?;
    let text = match &contents {
        Some(contents) if json => lines(contents),
        Some(contents) => table(contents, no_trunc, Timestamp::now()),
        None if json => String::new(),
        None => "there is no cache yet\n".to_owned(),
    };
    terminal::print(&text)
}

fn table(contents: &CacheContents, no_trunc: bool, now: Timestamp) -> String {
    let age = |time: SystemTime| match timestamp(time) {
        Some(time) => human::age(now.as_second(), time.as_second()),
        None => "-".to_owned(),
    };
    let mut table = Table::new(["TYPE", "NAME", "STORED", "USED", "WORTH"]);
    for layer in &contents.layers {
        let mut name = layer.diff_id.to_string();
        if !no_trunc {
            name.truncate(SHORT_DIGEST);
        }
        let worth = format!("{}, {}", human::count(layer.steps, "step"), human::duration(layer.duration));
        table.row(["layer".to_owned(), name, human::size(layer.stored), age(layer.used), worth]);
    }
    for mount in &contents.mounts {
        let name = text::message(&mount.key).replace('\n', " ");
        let worth = format!("{} of files", human::size(mount.size));
        table.row(["mount".to_owned(), name, human::size(mount.stored), age(mount.used), worth]);
    }
    let steps = human::count(contents.steps, "step");
    format!("{}{}: {steps}, written {}\n", table.render(), contents.place, age(contents.created))
}

fn lines(contents: &CacheContents) -> String {
    let layers = contents.layers.iter().map(|layer| Line::Layer {
        diff_id: layer.diff_id.to_string(),
        stored: layer.stored,
        used: timestamp(layer.used),
        steps: layer.steps,
        duration: layer.duration.as_secs_f64(),
    });
    let mounts = contents.mounts.iter().map(|mount| Line::Mount {
        name: &mount.key,
        stored: mount.stored,
        size: mount.size,
        used: timestamp(mount.used),
    });
    layers.chain(mounts).map(|line| serde_json::to_string(&line).unwrap_or_default() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_digest::Digest;
    use kiln_engine::{CachedLayerInfo, CachedMountInfo};
    use snapbox::{IntoData, assert_data_eq, str};
    use std::time::Duration;

    fn contents() -> CacheContents {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        CacheContents {
            place: "directory `/c`".to_owned(),
            created: at(7200),
            steps: 3,
            layers: vec![CachedLayerInfo {
                diff_id: Digest::of_bytes(b"layer"),
                stored: 2_000_000,
                used: at(3600),
                steps: 2,
                duration: Duration::from_millis(1500),
            }],
            mounts: vec![CachedMountInfo { key: "a\u{1b}[31mb".to_owned(), stored: 10, size: 61_000_000, used: at(0) }],
        }
    }

    #[test]
    fn a_table_and_lines() {
        assert_data_eq!(
            table(&contents(), false, Timestamp::from_second(10_800).unwrap()),
            str![[r#"
TYPE    NAME                  STORED   USED          WORTH
layer   sha256:dac1d7cfa950   2MB      2 hours ago   2 steps, 1.5s
mount   ab                    10B      3 hours ago   61MB of files
directory `/c`: 3 steps, written 1 hour ago

"#]]
            .raw()
        );
        let json = lines(&contents());
        let all: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&all[0]["type"], &all[0]["steps"], &all[1]["type"]), (&"layer".into(), &2.into(), &"mount".into()));
        assert_eq!(all[1]["used"], "1970-01-01T00:00:00Z");
    }
}
