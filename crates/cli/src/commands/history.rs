//! `kiln history`: the builds that kiln remembers, for `kiln why`.

use crate::args::Globals;
use crate::error::CliError;
use crate::exit::ExitStatus;
use crate::session::Session;
use crate::table::Table;
use crate::{human, terminal};
use clap::Args;
use jiff::Timestamp;
use kiln_engine::{BuildRecord, HistoryId, StepEnd};
use serde_json::json;
use std::time::Duration;

/// Options of `kiln history`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct HistoryArgs {
    /// Print JSON, one object a line
    #[arg(long)]
    json: bool,
}

/// Lists builds, the newest first.
pub(crate) fn execute(globals: &Globals, args: &HistoryArgs) -> Result<ExitStatus, CliError> {
    let session = Session::open(globals)?;
    let history = session.engine.history()?;
    let text = if args.json {
        history.builds().map(|(id, build)| json(id, &build) + "\n").collect()
    } else {
        table(history.builds(), Timestamp::now())
    };
    terminal::print(&text)?;
    Ok(ExitStatus::SUCCESS)
}

fn table(builds: impl Iterator<Item = (HistoryId, BuildRecord)>, now: Timestamp) -> String {
    let mut table = Table::new(["BUILD", "STARTED", "TOOK", "RAN", "CACHED", "RESULT", "DOCKERFILE"]);
    for (id, build) in builds {
        table.row([
            id.to_string(),
            age(&build, now),
            human::duration(Duration::from_micros(build.duration)),
            build.ran().count().to_string(),
            cached(&build).to_string(),
            if build.error.is_none() { "ok" } else { "failed" }.to_owned(),
            build.dockerfile,
        ]);
    }
    table.render()
}

/// How long ago a build started.
pub(super) fn age(build: &BuildRecord, now: Timestamp) -> String {
    human::age(now.as_second(), i64::try_from(build.started / 1000).unwrap_or(i64::MAX))
}

/// Steps of the Dockerfile whose results were there.
pub(super) fn cached(build: &BuildRecord) -> usize {
    build.steps.iter().filter(|step| step.end == StepEnd::Cached && !step.instruction.is_empty()).count()
}

fn json(id: HistoryId, build: &BuildRecord) -> String {
    let started = i64::try_from(build.started).ok().and_then(|millis| Timestamp::from_millisecond(millis).ok());
    json!({
        "id": id.to_string(),
        "started": started,
        "duration": Duration::from_micros(build.duration).as_secs_f64(),
        "ran": build.ran().count(),
        "cached": cached(build),
        "error": build.error,
        "context": build.context,
        "dockerfile": build.dockerfile,
        "target": build.target,
        "names": build.names,
        "image": build.image,
    })
    .to_string()
}
