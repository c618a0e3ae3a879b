//! `cargo xtask bench auto-cache`: projects of several tools, built without automatic caches, with them, and with mounts
//! written by hand.
//!
//! Each [`project`] is built once by each [`way`], then changed and built again; what the last builds made must be the same
//! file for file. What the steps download comes through a [`link`] that is as slow as people's are. [`report`] prints the table.

mod link;
mod project;
mod report;
mod way;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};

use super::Arguments;
use crate::compare::image_differences;
use crate::images::Recipe;
use crate::kiln::Binary;
use crate::places::{self, Places};
use crate::process;

use link::Link;
use project::{PROJECTS, Project};
use report::Measured;
use way::{BY_HAND, MODES, Way};

/// The name on the command line; those of single projects begin with it.
const NAME: &str = "auto-cache";

/// The names on the command line: of all projects together, and of each.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    [NAME].into_iter().chain(PROJECTS.iter().map(|project| project.name))
}

/// Whether it is one of them.
pub(super) fn is_name(name: &str) -> bool {
    names().any(|known| known == name)
}

/// Measures the projects that are named, and prints the table.
pub(super) fn run(places: &Places, arguments: &Arguments) -> Result<()> {
    if let Some(name) = arguments.workloads.iter().find(|name| !is_name(name)) {
        bail!("`{name}` cannot be measured together with `{NAME}`");
    }
    let named = |project: &&Project| arguments.names(NAME) || arguments.names(project.name);
    let projects: Vec<&Project> = PROJECTS.iter().filter(named).collect();
    let folder = places.target.join("bench-auto-cache");
    places::remove_store(&folder)?;
    places::make(&folder)?;
    let kiln = Binary::release(places)?;
    let link = if arguments.link == 0 { None } else { Some(Link::start(arguments.link)?) };
    let mut images: Vec<&Recipe> = Vec::new();
    for image in projects.iter().flat_map(|project| project.images) {
        if !images.iter().any(|known| known.reference == image.reference) {
            images.push(image);
        }
    }
    let names = MODES.into_iter().chain([BY_HAND]);
    let ways: Vec<Way<'_>> =
        names.map(|name| Way::new(places, &kiln, &images, link.as_ref(), &folder, name)).collect::<Result<_>>()?;
    let mut rows = Vec::new();
    for project in &projects {
        eprintln!("{}", project.title);
        let context = folder.join("contexts").join(project.name);
        places::make(&context)?;
        project.prepare(places, &context)?;
        rows.push(measure(project, &context, &ways, arguments.rounds)?);
        places::remove(&context)?;
    }
    if arguments.json {
        println!("{}", report::json(&rows)?);
    } else {
        let version = process::stdout(kiln.plain_command().arg("--version"))?;
        let link = match arguments.link {
            0 => "downloads as fast as this machine gets them".to_owned(),
            megabits => format!("downloads at {megabits} Mbit/s, in place of the internet"),
        };
        print!("{}", report::table(version.trim(), &link, &rows));
    }
    places::remove_store(&folder)?;
    match rows.iter().filter(|row| !row.holds()).count() {
        0 => Ok(()),
        count => bail!("{count} of {} rows are not as they should be", rows.len()),
    }
}

fn measure(project: &Project, context: &Path, ways: &[Way<'_>], rounds: Option<u32>) -> Result<Measured> {
    let lock = || match (Project::lock(context), ways.first()) {
        (Some(dockerfile), Some(way)) => way.lock(&dockerfile, context),
        _ => Ok(()),
    };
    lock()?;
    let mut first = BTreeMap::new();
    for way in ways {
        let seconds = way.build(context)?.seconds;
        eprintln!("  {}: first build {seconds:.1} s", way.name);
        first.insert(way.name, seconds);
    }
    let mut changed: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for value in project.rounds(rounds) {
        project.change(context, value)?;
        lock()?;
        for way in ways {
            let seconds = way.build(context)?.seconds;
            eprintln!("  {}: {seconds:.2} s", way.name);
            changed.entry(way.name).or_default().push(seconds);
        }
    }
    let images = ways.iter().filter(|way| way.name != BY_HAND);
    let images = images.map(|way| Ok((way.name, way.image(context)?))).collect::<Result<Vec<_>>>()?;
    let mut found = Vec::new();
    if let Some(((off, without), others)) = images.split_first() {
        for (name, archive) in others {
            let differences = image_differences([off, name], without, archive)?;
            found.extend(differences.into_iter().filter(|difference| !project.varies(difference)));
        }
    }
    Ok(Measured { title: project.title, first, changed, differences: found })
}
