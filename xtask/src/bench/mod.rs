//! `cargo xtask bench`: kiln next to other builders, in one run.
//!
//! Each workload (one file each) makes a context and says what to measure on
//! it; [`run`] interleaves the builders, so that whatever else the machine does
//! hits all of them; [`report`] prints medians, ratios and budgets. The budgets
//! are those of `ARCHITECTURE.md`.
//!
//! [`auto_cache`] compares kiln with itself instead: with and without the caches that it gives to steps. [`big_layer`] measures the memory
//! that it takes for a layer of 2 GiB.
//!
//! The whole benchmark runs again inside [`namespaces`] of its own.

mod auto_cache;
mod big_layer;
mod content;
mod context;
mod export;
mod go_edit;
mod monolith;
mod nothing;
mod pull;
mod remote_cache;
mod report;
mod run;
mod stages;
mod steps;
mod workload;

use anyhow::{Result, anyhow, bail};

use crate::images;
use crate::kiln::Binary;
use crate::moto::{self, Moto};
use crate::namespaces;
use crate::peers::{BuildKit, Buildah, Builder, Docker, Kiln, PlainGo, Registry, Setting};
use crate::places::{self, Places};

use workload::Workload;

const WORKLOADS: &[fn() -> Workload] = &[
    nothing::workload,
    steps::workload,
    go_edit::cached,
    go_edit::unoptimised,
    go_edit::fixed,
    context::workload,
    export::workload,
    pull::workload,
    stages::workload,
    monolith::workload,
    remote_cache::cached,
    remote_cache::unoptimised,
    remote_cache::monolith,
];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The workloads to run [default: all but auto-cache and big-layer]; an unknown name lists them
    workloads: Vec<String>,
    /// Set up the peers that this machine lacks: Docker's BuildKit and buildah
    #[arg(long)]
    with_peers: bool,
    /// Measure only these builders: kiln, buildkit, buildah, go
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// How often each row is measured [default: as each workload says]
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// In `auto-cache`, how fast steps download, in megabits a second; 0 for as fast as they can
    #[arg(long, value_name = "MEGABITS", default_value_t = 20)]
    link: u32,
    /// Print JSON with every sample in place of the table
    #[arg(long)]
    json: bool,
}

impl Arguments {
    fn wants(&self, builder: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == builder)
    }

    fn names(&self, workload: &str) -> bool {
        self.workloads.iter().any(|name| name == workload)
    }

    fn workloads(&self) -> Result<Vec<Workload>> {
        let all: Vec<Workload> = WORKLOADS.iter().map(|workload| workload()).collect();
        for name in &self.workloads {
            if !all.iter().any(|workload| workload.name == name) {
                let names: Vec<_> = all.iter().map(|workload| workload.name).chain(auto_cache::names()).collect();
                bail!("no workload `{name}`\nhint: there are {}, {}", names.join(", "), big_layer::NAME);
            }
        }
        let wanted =
            |workload: &Workload| self.workloads.is_empty() || self.workloads.iter().any(|name| name == workload.name);
        Ok(all.into_iter().filter(wanted).collect())
    }
}

pub(crate) fn run(places: &Places, arguments: &Arguments) -> Result<()> {
    if arguments.workloads.iter().any(|name| auto_cache::is_name(name)) {
        return auto_cache::run(places, arguments);
    }
    if arguments.names(big_layer::NAME) {
        return big_layer::run(places, arguments);
    }
    let workloads = arguments.workloads()?;
    if !namespaces::inside() {
        let status = namespaces::enter("the benchmark")?;
        return if status.success() { Ok(()) } else { Err(anyhow!("the benchmark failed")) };
    }
    let folder = places.target.join("bench");
    places::make_empty(&folder)?;
    let kiln = if arguments.wants("kiln") { Some(Binary::release(places)?) } else { None };
    // What earlier runs left there would not be sent again.
    Registry::forget(places, &["beside", "cache"])?;
    let registry = Registry::start(places, &folder)?;
    for recipe in [&images::GOLANG, &images::UBUNTU] {
        registry.publish(places, recipe)?;
    }
    let bucket = match workloads.iter().any(|workload| workload.name == remote_cache::CACHED) {
        true => {
            moto::ensure(places)?;
            Moto::start()
        }
        false => None,
    };
    let setting = Setting {
        folder: folder.clone(),
        registry: registry.address().to_owned(),
        bucket: bucket.as_ref().map(|server| server.address().to_owned()),
    };
    let mut builders = builders(places, arguments, kiln, &setting)?;
    let mut rows = Vec::new();
    for workload in &workloads {
        rows.extend(run::workload(workload, &folder, &mut builders, arguments.rounds)?);
    }
    let versions: Vec<String> = builders.iter().map(|builder| builder.version()).collect::<Result<_>>()?;
    if arguments.json {
        println!("{}", report::json(&versions, &rows)?);
    } else {
        print!("{}", report::table(&versions, &rows));
    }
    // The daemons hold the folder's mounts until they have ended.
    drop(builders);
    drop(registry);
    places::remove_store(&folder)?;
    let failed = rows.iter().filter(|row| row.failed("kiln")).count();
    if failed > 0 {
        bail!("kiln failed in {failed} rows");
    }
    Ok(())
}

fn builders(
    places: &Places,
    arguments: &Arguments,
    kiln: Option<Binary>,
    setting: &Setting,
) -> Result<Vec<Box<dyn Builder>>> {
    let mut builders: Vec<Box<dyn Builder>> = Vec::new();
    if let Some(kiln) = kiln {
        builders.push(Box::new(Kiln::new(kiln, setting.clone())?));
    }
    if arguments.wants("buildkit") {
        if BuildKit::is_installed() {
            builders.push(Box::new(BuildKit::start(setting.clone())?));
        } else {
            if arguments.with_peers && !Docker::is_installed(places) {
                Docker::install(places)?;
            }
            if Docker::is_installed(places) {
                builders.push(Box::new(Docker::start(places, setting.clone(), &[])?));
            } else {
                eprintln!("note: no BuildKit here\nhint: `--with-peers` sets it up");
            }
        }
    }
    if arguments.wants("buildah") {
        if arguments.with_peers {
            Buildah::install()?;
        }
        if Buildah::is_installed() {
            builders.push(Box::new(Buildah::new(setting.clone())?));
        } else {
            eprintln!("note: no buildah here\nhint: `--with-peers` installs it");
        }
    }
    if arguments.wants("go") {
        builders.push(Box::new(PlainGo::new(places, setting)?));
    }
    Ok(builders)
}
