//! `kiln cache ls`: the cache mounts, what each is worth and who uses it; with `--from` a remote cache ([`super::contents`]).

use super::{SHORT_ID, contents};
use crate::args::Globals;
use crate::commands::build::caches;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::session::Session;
use crate::table::Table;
use crate::{human, terminal, text};
use clap::Args;
use jiff::Timestamp;
use kiln_engine::{CacheImport, CacheMountInfo};
use serde::Serialize;
use std::time::SystemTime;

/// Options of `kiln cache ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// List what a remote cache holds, named as in `kiln build --cache-from`, instead of this machine's cache mounts
    #[arg(long, value_name = "CACHE", value_parser = caches::import)]
    from: Vec<Vec<CacheImport>>,
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
    /// Show whole ids, and every step that uses a cache
    #[arg(long, conflicts_with = "json")]
    no_trunc: bool,
}

/// One line of `--json`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    id: String,
    name: &'a str,
    /// In bytes.
    size: u64,
    /// RFC 3339.
    created: Option<Timestamp>,
    used: Option<Timestamp>,
    uses: u64,
    /// Uses in which it was not empty.
    hits: u64,
    in_use: bool,
    /// The latest first.
    steps: &'a [String],
}

/// Lists the cache mounts.
pub(crate) fn execute(globals: &Globals, args: &LsArgs) -> Result<ExitStatus, CliError> {
    let session = Session::open(globals)?;
    if !args.from.is_empty() {
        let mut caches = args.from.iter().flatten();
        caches.try_for_each(|cache| contents::list(&session, cache, args.json, args.no_trunc))?;
        return Ok(ExitStatus::SUCCESS);
    }
    let mounts = session.engine.cache_mounts()?;
    terminal::print(&render(&mounts, args, Timestamp::now()))?;
    Ok(ExitStatus::SUCCESS)
}

fn render(mounts: &[CacheMountInfo], args: &LsArgs, now: Timestamp) -> String {
    if args.json {
        return mounts.iter().map(|mount| json(mount) + "\n").collect();
    }
    let mut table = Table::new(["ID", "NAME", "SIZE", "USED", "HITS", "STEP"]);
    for mount in mounts {
        let mut id = mount.id.to_string();
        if !args.no_trunc {
            id.truncate(SHORT_ID);
        }
        let used = match timestamp(mount.used) {
            _ if mount.in_use => "now".to_owned(),
            Some(used) => human::age(now.as_second(), used.as_second()),
            None => "-".to_owned(),
        };
        let steps = mount.steps.iter().map(|step| text::message(step).replace('\n', " "));
        let mut steps = steps.take(if args.no_trunc { usize::MAX } else { 1 });
        let name = text::message(mount.key.as_str()).replace('\n', " ");
        let hits = format!("{}/{}", mount.hits, mount.uses);
        table.row([id, name, human::size(mount.size), used, hits, steps.next().unwrap_or_default()]);
        for step in steps {
            table.row([String::new(), String::new(), String::new(), String::new(), String::new(), step]);
        }
    }
    table.render()
}

fn json(mount: &CacheMountInfo) -> String {
    let line = Line {
        id: mount.id.to_string(),
        name: mount.key.as_str(),
        size: mount.size,
        created: timestamp(mount.created),
        used: timestamp(mount.used),
        uses: mount.uses,
        hits: mount.hits,
        in_use: mount.in_use,
        steps: &mount.steps,
    };
    serde_json::to_string(&line).unwrap_or_default()
}

pub(super) fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_engine::CacheMountKey;
    use snapbox::{IntoData, assert_data_eq, str};
    use std::time::Duration;

    fn mounts() -> Vec<CacheMountInfo> {
        let mount = |id: &str, key: &str, uses, hits, steps: &[&str]| CacheMountInfo {
            id: id.parse().unwrap(),
            key: CacheMountKey::new(key),
            size: 61_000_000,
            created: SystemTime::UNIX_EPOCH,
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(3600),
            in_use: uses == 0,
            uses,
            hits,
            steps: steps.iter().map(|&step| step.to_owned()).collect(),
        };
        vec![
            mount("00112233445566aa", "auto/go-build", 12, 11, &["Dockerfile:7 [b 4/5] RUN go build", "x:1 RUN go"]),
            mount("ffeeddccbbaa9988", "/root/.npm", 0, 0, &[]),
        ]
    }

    fn rendered(json: bool, no_trunc: bool) -> String {
        render(&mounts(), &LsArgs { from: Vec::new(), json, no_trunc }, Timestamp::from_second(10_800).unwrap())
    }

    #[test]
    fn tables() {
        assert_data_eq!(
            rendered(false, false),
            str![[r#"
ID             NAME            SIZE   USED          HITS    STEP
001122334455   auto/go-build   61MB   2 hours ago   11/12   Dockerfile:7 [b 4/5] RUN go build
ffeeddccbbaa   /root/.npm      61MB   now           0/0

"#]]
            .raw()
        );
        assert_data_eq!(
            rendered(false, true),
            str![[r#"
ID                 NAME            SIZE   USED          HITS    STEP
00112233445566aa   auto/go-build   61MB   2 hours ago   11/12   Dockerfile:7 [b 4/5] RUN go build
                                                                x:1 RUN go
ffeeddccbbaa9988   /root/.npm      61MB   now           0/0

"#]]
            .raw()
        );
    }

    #[test]
    fn json_has_everything() {
        let line: serde_json::Value = serde_json::from_str(rendered(true, false).lines().next().unwrap()).unwrap();
        assert_eq!(line["id"], "00112233445566aa");
        assert_eq!(line["used"], "1970-01-01T01:00:00Z");
        assert_eq!((&line["uses"], &line["hits"]), (&12.into(), &11.into()));
        assert_eq!(line["steps"][1], "x:1 RUN go");
    }
}
