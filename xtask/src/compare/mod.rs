//! `cargo xtask compare`: the same Dockerfiles built by kiln and by Docker's
//! BuildKit, and what differs between the images.
//!
//! [`case`] finds what to build, [`builders`] builds it, [`archive`], [`layer`] and
//! [`listing`] turn the results into lines that can be compared, [`verdict`] judges
//! and reports. Several cases are built at once; all share one store of each
//! builder, which starts empty. Base images come from a local registry in Docker Hub's
//! place.
//!
//! It all runs in [`namespaces`] of its own.

mod archive;
mod builders;
mod case;
mod layer;
mod listing;
mod verdict;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::kiln::Binary;
use crate::peers::{Docker, Kiln, Registry, Setting};
use crate::places::{self, Places};
use crate::{images, namespaces};

pub(crate) use archive::Archive;
use builders::{Builders, Cache, Prepared};
use case::Case;
use listing::{Listing, differences};
use verdict::{Report, Verdict};

/// kiln's own cases, below the work tree.
const CASES: &str = "tests/cases";
/// What kiln must make of a case that is too new for the peer.
const EXPECTED: &str = "expected";
/// The page that lists the deliberate differences.
const DIFFERENCES: &str = "docs/dockerfile.md";
const NAMES: [&str; 2] = ["kiln", "Docker"];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to look for Dockerfiles [default: tests/cases]
    #[arg(value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Only cases whose names hold one of these texts
    #[arg(long, value_delimiter = ',', value_name = "TEXT")]
    only: Vec<String>,
    /// Builds at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: usize,
    /// Seconds that one build may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// Keep the archives, logs and listings of all cases, not only of those that differ
    #[arg(long)]
    keep: bool,
    /// Write what kiln makes of cases that are too new for Docker into their `expected` files
    #[arg(long)]
    write_expected: bool,
    /// Print JSON in place of text
    #[arg(long)]
    json: bool,
}

/// Builds and compares; an error when anything differs that should not.
pub(crate) fn run(places: &Places, arguments: &Arguments) -> Result<()> {
    let dirs = arguments.directories(places)?;
    if !namespaces::inside() {
        // Found and read first: mistakes in descriptions need no daemon.
        arguments.cases(places, &dirs)?;
        let status = namespaces::enter("the comparison")?;
        return if status.success() { Ok(()) } else { Err(anyhow!("the comparison failed")) };
    }
    let cases = arguments.cases(places, &dirs)?;
    let start = Instant::now();
    let folder = places.target.join("compare");
    places::remove_store(&folder)?;
    places::make(&folder)?;
    let binary = Binary::release(places)?;
    let registry = Registry::start(places, &folder)?;
    for recipe in [&images::BUSYBOX, &images::DEBIAN, &images::CONFIGURED, &images::ONBUILD] {
        registry.publish(places, recipe)?;
    }
    let setting = Setting { folder: folder.clone(), registry: registry.address().to_owned(), bucket: None };
    if !Docker::is_installed(places) {
        Docker::install(places)?;
    }
    let shared: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
    let docker = Docker::start(places, setting.clone(), &shared)?;
    let kiln = Kiln::new(binary, setting)?;
    let builders = Builders { kiln, docker, folder, limit: Duration::from_secs(arguments.timeout) };
    let comparison = Comparison { places, arguments, builders, page: deliberate_differences(places) };
    let report = comparison.run(&cases);
    if arguments.json {
        println!("{}", report.json()?);
    } else {
        println!("{} in {:.0} s", report.summary(), start.elapsed().as_secs_f64());
        println!("archives, logs and listings of what differs: {}", comparison.builders.folder.join("cases").display());
    }
    match report.unexpected() {
        0 => Ok(()),
        count => bail!("{count} of {} cases are not as they should be", cases.len()),
    }
}

impl Arguments {
    fn directories(&self, places: &Places) -> Result<Vec<PathBuf>> {
        if self.dirs.is_empty() {
            return Ok(vec![places.root.join(CASES)]);
        }
        let absolute = |dir: &PathBuf| dir.canonicalize().with_context(|| format!("cannot find `{}`", dir.display()));
        self.dirs.iter().map(absolute).collect()
    }

    fn cases(&self, places: &Places, dirs: &[PathBuf]) -> Result<Vec<Case>> {
        let own = places.root.join(CASES);
        let mut cases = Vec::new();
        for dir in dirs {
            // A case has the same name whether all are asked for or one area of them.
            let top = if dir.starts_with(&own) { &own } else { dir };
            cases.extend(case::find(top, dir)?);
        }
        cases.retain(|case| self.only.is_empty() || self.only.iter().any(|text| case.name.contains(text)));
        if cases.is_empty() {
            bail!("no Dockerfile to build");
        }
        Ok(cases)
    }
}

/// How two archives differ, in all but times; empty when they are the same.
pub(crate) fn image_differences(names: [&str; 2], one: &Archive, other: &Archive) -> Result<Vec<String>> {
    let shared = one.shared_layers(other);
    Ok(differences(names, &Listing::of(one, &shared)?, &Listing::of(other, &shared)?))
}

/// The text of the page that must name each case with a deliberate difference.
fn deliberate_differences(places: &Places) -> String {
    std::fs::read_to_string(places.root.join(DIFFERENCES)).unwrap_or_default()
}

struct Comparison<'a> {
    places: &'a Places,
    arguments: &'a Arguments,
    builders: Builders,
    page: String,
}

impl Comparison<'_> {
    fn run(&self, cases: &[Case]) -> Report {
        let next = AtomicUsize::new(0);
        let report = Mutex::new(Report::default());
        thread::scope(|scope| {
            let work = || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(number) else { return };
                    let verdict =
                        self.judge(case, number).unwrap_or_else(|error| Verdict::Broken(format!("{error:#}")));
                    if !self.arguments.json {
                        print!("{}", verdict.text(&case.name));
                    }
                    report.lock().expect("no holder panics").add(&case.name, verdict);
                }
            };
            for _ in 0..self.arguments.jobs.max(1) {
                scope.spawn(work);
            }
        });
        report.into_inner().expect("no holder panics")
    }

    fn judge(&self, case: &Case, number: usize) -> Result<Verdict> {
        let prepared = self.builders.prepare(case, number)?;
        let kiln = self.builders.kiln(&prepared)?;
        let verdict = if let Some(version) = &case.newer {
            self.judge_alone(case, &prepared, version, kiln)?
        } else {
            let docker = self.builders.docker(&prepared, Cache::Used)?;
            match self.judge_both(case, &prepared, kiln.clone(), docker)? {
                // Under load Docker has been seen to lose a file of a layer.
                Verdict::Differs(first) => {
                    let again = self.builders.docker(&prepared, Cache::Unused)?;
                    match self.judge_both(case, &prepared, kiln, again)? {
                        Verdict::Same => Verdict::SameAgain(first),
                        second => second,
                    }
                }
                verdict => verdict,
            }
        };
        if !self.arguments.keep && verdict.is_expected() {
            places::remove(&prepared.own)?;
        }
        Ok(verdict)
    }

    /// What kiln made next to what the case expects.
    fn judge_alone(
        &self,
        case: &Case,
        prepared: &Prepared<'_>,
        version: &str,
        kiln: builders::Built,
    ) -> Result<Verdict> {
        let archive = match (kiln, &case.fails) {
            (Err(message), Some(reason)) if message.contains(reason) => return Ok(Verdict::Newer(version.to_owned())),
            (Err(message), _) => return Ok(Verdict::KilnRefuses(message)),
            (Ok(_), Some(_)) => return Ok(Verdict::NotRefused),
            (Ok(archive), None) => archive,
        };
        let listing = Listing::of(&Archive::read(&archive)?, &BTreeSet::new())?;
        let variant = case.name.rsplit_once(':').map(|(_, variant)| format!(".{variant}")).unwrap_or_default();
        let path = case.dir.join(format!("{EXPECTED}{variant}"));
        places::write(&prepared.own.join("kiln.listing"), listing.text())?;
        if self.arguments.write_expected {
            places::write(&path, listing.text())?;
        }
        let expected = Listing::parse(&places::read(&path)?, &path)?;
        let found = differences(["kiln", "the expected file"], &listing.sections_of(&expected), &expected);
        Ok(if found.is_empty() { Verdict::Newer(version.to_owned()) } else { Verdict::Differs(found) })
    }

    fn judge_both(
        &self,
        case: &Case,
        prepared: &Prepared<'_>,
        kiln: builders::Built,
        docker: builders::Built,
    ) -> Result<Verdict> {
        let list = |builder: &str, archive: &Archive, shared: &BTreeSet<(usize, usize)>| -> Result<Listing> {
            let listing = Listing::of(archive, shared)?;
            places::write(&prepared.own.join(format!("{builder}.listing")), listing.text())?;
            Ok(listing)
        };
        let found = match (kiln, docker) {
            (Err(kiln), Err(docker)) => {
                let own = case.dir.starts_with(self.places.root.join(CASES));
                return Ok(match &case.fails {
                    Some(reason) if kiln.contains(reason) => Verdict::Same,
                    Some(reason) => Verdict::OtherReason { wanted: reason.clone(), kiln, docker },
                    None => Verdict::BothRefuse { kiln, docker, wanted: !own },
                });
            }
            (Err(kiln), Ok(docker)) => {
                list("docker", &Archive::read(&docker)?, &BTreeSet::new())?;
                vec![format!("only kiln refuses: {kiln}")]
            }
            (Ok(kiln), Err(docker)) => {
                list("kiln", &Archive::read(&kiln)?, &BTreeSet::new())?;
                vec![format!("only Docker refuses: {docker}")]
            }
            (Ok(_), Ok(_)) if case.fails.is_some() => return Ok(Verdict::NotRefused),
            (Ok(kiln), Ok(docker)) => {
                let (kiln, docker) = (Archive::read(&kiln)?, Archive::read(&docker)?);
                let shared = kiln.shared_layers(&docker);
                differences(NAMES, &list("kiln", &kiln, &shared)?, &list("docker", &docker, &shared)?)
            }
        };
        Ok(match (&case.difference, found.is_empty()) {
            (None, true) => Verdict::Same,
            (None, false) => Verdict::Differs(found),
            (Some(_), true) => Verdict::NoDifference,
            (Some(reason), false) => {
                let name = case.name.split(':').next().unwrap_or(&case.name);
                if self.page.contains(&format!("`{name}`")) {
                    Verdict::Deliberate { reason: reason.clone(), found }
                } else {
                    Verdict::Unlisted(found)
                }
            }
        })
    }
}
