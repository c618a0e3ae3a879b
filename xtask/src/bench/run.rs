//! Runs a workload: for every round of every row, each builder once, the first
//! one another in each round.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use serde::Serialize;

use super::remote_cache;
use super::workload::{Budget, Row, Start, Workload};
use crate::peers::{Builder, Job, Output, Sample, Travel};
use crate::places;

/// A builder that needs longer than this for a round is measured only once in
/// that row: it does not come out of the noise, and the run has an end.
const LONG_SECONDS: f64 = 15.0;

/// What was measured for one row, by builder.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) workload: &'static str,
    pub(super) title: &'static str,
    #[serde(skip)]
    pub(super) budget: Budget,
    pub(super) builders: BTreeMap<String, Samples>,
}

/// One builder's samples of one row, or why it has none.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Samples {
    Measured(Vec<Sample>),
    Failed(String),
}

impl Measured {
    /// The median time in seconds.
    pub(super) fn median(&self, builder: &str) -> Option<f64> {
        match self.builders.get(builder)? {
            Samples::Measured(samples) => {
                let mut seconds: Vec<f64> = samples.iter().map(|sample| sample.seconds).collect();
                seconds.sort_by(f64::total_cmp);
                seconds.get(seconds.len() / 2).copied()
            }
            Samples::Failed(_) => None,
        }
    }

    /// The greatest memory of any round, in KiB.
    pub(super) fn peak_kib(&self, builder: &str) -> Option<u64> {
        match self.builders.get(builder)? {
            Samples::Measured(samples) => samples.iter().map(|sample| sample.peak_kib).max(),
            Samples::Failed(_) => None,
        }
    }

    /// The bytes that the first export of a cache sent, and the most of any later one.
    pub(super) fn sent(&self, builder: &str) -> Option<(u64, u64)> {
        let Samples::Measured(samples) = self.builders.get(builder)? else { return None };
        let mut sent = samples.iter().filter_map(|sample| sample.sent);
        Some((sent.next()?, sent.max()?))
    }

    pub(super) fn failed(&self, builder: &str) -> bool {
        matches!(self.builders.get(builder), Some(Samples::Failed(_)))
    }
}

/// Measures all rows of a workload below `folder`.
pub(super) fn workload(
    workload: &Workload,
    folder: &Path,
    builders: &mut [Box<dyn Builder>],
    rounds: Option<u32>,
) -> Result<Vec<Measured>> {
    eprintln!("{}: preparing", workload.name);
    let context = folder.join("contexts").join(workload.name);
    places::make_empty(&context)?;
    (workload.prepare)(&context)?;
    if workload.mended {
        mend(builders, &context.join(workload.dockerfile))?;
    }
    let mut measured = Vec::new();
    for (index, row) in workload.rows.iter().enumerate() {
        eprintln!("{}: {}", workload.name, row.title);
        let mut run = RowRun {
            workload,
            row,
            context: &context,
            results: BTreeMap::new(),
            rounds: rounds.unwrap_or(row.rounds),
            first_change: (index as u32 + 1) * 1000,
        };
        run.measure(builders)?;
        measured.push(Measured {
            workload: workload.name,
            title: row.title,
            budget: row.budget,
            builders: run.results,
        });
    }
    places::remove(&context)?;
    Ok(measured)
}

/// Has the builder that can do so mend a Dockerfile.
fn mend(builders: &[Box<dyn Builder>], dockerfile: &Path) -> Result<()> {
    for builder in builders {
        if builder.mend(dockerfile)? {
            return Ok(());
        }
    }
    bail!("only kiln mends Dockerfiles\nhint: `--only` has to name it, too");
}

struct RowRun<'a> {
    workload: &'a Workload,
    row: &'a Row,
    context: &'a Path,
    results: BTreeMap<String, Samples>,
    rounds: u32,
    first_change: u32,
}

impl RowRun<'_> {
    fn measure(&mut self, builders: &mut [Box<dyn Builder>]) -> Result<()> {
        if self.row.start == Start::Warm {
            for builder in builders.iter_mut() {
                self.attempt(builder.as_mut(), |builder, job| {
                    builder.build(&Job { output: Output::Cache, ..job.clone() })?;
                    Ok(None)
                });
            }
            // A round that does not count: what the first one waits for is what was made before it, on its way to the disk.
            (self.row.change)(self.context, self.first_change - 1)?;
            for builder in builders.iter_mut() {
                self.attempt(builder.as_mut(), |builder, job| builder.build(job).map(|_| None));
            }
        }
        if let Start::Elsewhere(place) = self.row.start {
            for builder in builders.iter_mut() {
                self.attempt(builder.as_mut(), |builder, job| {
                    builder.forget()?;
                    builder.build(&Job { output: Output::Cache, travel: Some(Travel::To(place)), ..job.clone() })?;
                    Ok(None)
                });
            }
        }
        if self.row.start == Start::Pushed {
            for builder in builders.iter_mut() {
                self.attempt(builder.as_mut(), |builder, job| {
                    builder.forget()?;
                    builder.build(&Job { travel: Some(Travel::Pushed), ..job.clone() }).map(Some)
                });
            }
        }
        for round in 0..self.rounds {
            (self.row.change)(self.context, self.first_change + round)?;
            let first = round as usize % builders.len().max(1);
            builders.rotate_left(first);
            for builder in builders.iter_mut() {
                let start = self.row.start;
                self.attempt(builder.as_mut(), |builder, job| {
                    match start {
                        Start::Warm => {}
                        Start::Empty => builder.forget()?,
                        Start::Built => {
                            builder.build(&Job { output: Output::Cache, ..job.clone() })?;
                        }
                        Start::Elsewhere(place) => {
                            builder.forget()?;
                            builder.build(&remote_cache::bases(job)?)?;
                            let travel = Some(Travel::From(place));
                            return builder.build(&Job { travel, ..job.clone() }).map(Some);
                        }
                        Start::Pushed => {
                            let travel = Some(Travel::Pushed);
                            return builder.build(&Job { travel, ..job.clone() }).map(Some);
                        }
                    }
                    builder.build(job).map(Some)
                });
            }
            builders.rotate_right(first);
        }
        Ok(())
    }

    /// Lets one builder work, unless it has failed in this row before. A
    /// builder's failure is a result like any other.
    fn attempt(
        &mut self,
        builder: &mut dyn Builder,
        work: impl FnOnce(&mut dyn Builder, &Job) -> Result<Option<Sample>>,
    ) {
        // Nobody else says what it sends.
        let silent = matches!(self.row.budget, Budget::OfFirstExport(_)) && builder.name() != "kiln";
        if silent || (builder.name() == "go build" && !self.workload.plain_go) {
            return;
        }
        let samples = self.results.entry(builder.name().to_owned()).or_insert_with(|| Samples::Measured(Vec::new()));
        let Samples::Measured(list) = samples else { return };
        // Of exports the first, which is long, says nothing of the others.
        let counts = self.row.start != Start::Pushed;
        if counts && list.last().is_some_and(|sample| sample.seconds * f64::from(self.row.parts) > LONG_SECONDS) {
            return;
        }
        let job = Job {
            context: self.context.to_owned(),
            dockerfile: self.workload.dockerfile,
            output: self.row.output,
            no_cache: self.row.no_cache,
            travel: None,
        };
        match work(builder, &job) {
            Ok(Some(mut sample)) => {
                sample.seconds /= f64::from(self.row.parts);
                list.push(sample);
            }
            Ok(None) => {}
            Err(error) => {
                eprintln!("{} failed: {error:#}", builder.name());
                *samples = Samples::Failed(format!("{error:#}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts its builds and fails when told to.
    struct Fake {
        name: &'static str,
        builds: u32,
        fails_at: Option<u32>,
    }

    impl Builder for Fake {
        fn name(&self) -> &str {
            self.name
        }

        fn version(&self) -> Result<String> {
            Ok(self.name.to_owned())
        }

        fn build(&mut self, _: &Job) -> Result<Sample> {
            self.builds += 1;
            if self.fails_at == Some(self.builds) {
                anyhow::bail!("broken");
            }
            Ok(Sample { seconds: f64::from(self.builds), peak_kib: 7, sent: Some(u64::from(1000 / self.builds)) })
        }

        fn forget(&mut self) -> Result<()> {
            Ok(())
        }
    }

    fn fake_workload(start: Start) -> Workload {
        let mut row = Row::new("row", Budget::Seconds(1.0));
        row.start = start;
        row.rounds = 3;
        Workload {
            name: "fake",
            prepare: |_| Ok(()),
            dockerfile: "Dockerfile",
            mended: false,
            plain_go: false,
            rows: vec![row],
        }
    }

    fn measure(start: Start, fakes: Vec<Fake>) -> Measured {
        let folder = tempfile::tempdir().unwrap();
        let mut builders: Vec<Box<dyn Builder>> = Vec::new();
        for fake in fakes {
            builders.push(Box::new(fake));
        }
        workload(&fake_workload(start), folder.path(), &mut builders, None).unwrap().remove(0)
    }

    #[test]
    fn what_warms_is_not_measured() {
        let row = measure(Start::Warm, vec![Fake { name: "kiln", builds: 0, fails_at: None }]);
        assert_eq!(row.median("kiln"), Some(4.0));
        assert_eq!(row.peak_kib("kiln"), Some(7));
    }

    #[test]
    fn the_first_export_is_the_measure_of_the_others() {
        let row = measure(Start::Pushed, vec![Fake { name: "kiln", builds: 0, fails_at: None }]);
        assert_eq!(row.sent("kiln"), Some((1000, 500)));
    }

    #[test]
    fn a_slow_builder_is_measured_once() {
        let row = measure(Start::Empty, vec![Fake { name: "buildah", builds: 99, fails_at: None }]);
        assert_eq!(row.median("buildah"), Some(100.0));
    }

    #[test]
    fn a_failure_is_one_builders_own() {
        let fakes = vec![
            Fake { name: "kiln", builds: 0, fails_at: None },
            Fake { name: "buildah", builds: 0, fails_at: Some(2) },
            Fake { name: "go build", builds: 0, fails_at: None },
        ];
        let row = measure(Start::Empty, fakes);
        assert_eq!(row.median("kiln"), Some(2.0));
        assert!(row.failed("buildah") && row.median("buildah").is_none());
        assert!(!row.builders.contains_key("go build"), "it does not do this work");
    }
}
