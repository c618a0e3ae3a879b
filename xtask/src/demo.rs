//! `cargo xtask demo`: what kiln is for, in one table.
//!
//! The example is built by its two Dockerfiles, each with a fresh store of its
//! own, so that a first build is one. Then a line is edited and it is built
//! again, and once more with nothing changed; the image is run, and looked
//! through for what must not be in it. Anything that is not right is an error.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::debian::{self, Package, files, program};
use crate::kiln::Binary;
use crate::places::{self, Places};
use crate::{images, process};

const PACKAGES: &[Package] = &[program("build-essential", "cc"), files("ca-certificates"), program("tar", "tar")];

/// The cached form after an edit must beat the baseline by this factor.
const LEAST_SPEEDUP: f64 = 12.0;

/// How often the edit and the unchanged build are measured; the table shows the
/// median.
const ROUNDS: usize = 3;

/// Where the cached form keeps Go's build cache, which no image may hold.
const BUILD_CACHE: &str = "root/.cache/go-build";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Do not ask Docker Hub, use the images that kiln makes itself
    #[arg(long)]
    own_images: bool,
}

struct Times {
    first: Duration,
    edited: Duration,
    unchanged: Duration,
}

pub(crate) fn run(places: &Places, arguments: &Arguments) -> Result<()> {
    debian::ensure("the demo", PACKAGES)?;
    println!("building kiln in release mode");
    let kiln = Binary::release(places)?;
    let folder = places.target.join("demo");
    places::make_empty(&folder)?;
    let own_images = arguments.own_images || !hub_answers(&kiln, &folder)?;

    let baseline = Variant::new(places, &kiln, &folder, "baseline");
    let cached = Variant::new(places, &kiln, &folder, "cached");
    let before = baseline.measure(own_images)?;
    let after = cached.measure(own_images)?;
    for variant in [&baseline, &cached] {
        variant.check_program()?;
        variant.check_content()?;
    }
    print_table(&before, &after);
    let speedup = ratio(before.edited, after.edited);
    println!("the program runs, and `/{BUILD_CACHE}` is in neither image");
    if speedup < LEAST_SPEEDUP {
        bail!(
            "after an edit the cached form is only {speedup:.1} times faster, \
             less than {LEAST_SPEEDUP}"
        );
    }
    Ok(())
}

/// Whether Docker Hub has the example's base images, asked through kiln itself.
fn hub_answers(kiln: &Binary, folder: &Path) -> Result<bool> {
    let probe = folder.join("probe");
    places::make(&probe)?;
    for recipe in [&images::GOLANG, &images::UBUNTU] {
        places::write(&probe.join("Dockerfile"), format!("FROM {}\n", recipe.reference))?;
        // A machine without a network may drop packets instead of refusing.
        let mut command = Command::new("timeout");
        let build = kiln.command(&folder.join("probe-store"));
        command.arg("60").arg(build.get_program()).args(build.get_args());
        command.args(["build", "--progress", "plain"]).arg(&probe);
        if let Err(error) = process::quiet(&mut command) {
            let error = error.to_string();
            // The innermost cause is the one that says what the network did.
            let cause = error.lines().rev().find_map(|line| line.strip_prefix("caused by: "));
            let reason = cause.or(error.lines().last()).unwrap_or_default();
            println!("Docker Hub did not give {}: {reason}", recipe.reference);
            println!(
                "so the base images are made here, by kiln, from Debian's packages and PyPI's \
                 Go toolchain:"
            );
            for recipe in [&images::GOLANG, &images::UBUNTU] {
                println!("  {} is {}", recipe.reference, recipe.note());
            }
            return Ok(false);
        }
    }
    println!("using Docker Hub's {} and {}", images::GOLANG.reference, images::UBUNTU.reference);
    Ok(true)
}

/// One of the example's Dockerfiles, with its own copy of the example and its
/// own store.
struct Variant<'a> {
    places: &'a Places,
    kiln: &'a Binary,
    name: &'static str,
    store: PathBuf,
    context: PathBuf,
    log: PathBuf,
}

impl<'a> Variant<'a> {
    fn new(places: &'a Places, kiln: &'a Binary, folder: &Path, name: &'static str) -> Self {
        let in_folder = |what: &str| folder.join(format!("{name}-{what}"));
        Self {
            places,
            kiln,
            name,
            store: in_folder("store"),
            context: in_folder("context"),
            log: in_folder("build.log"),
        }
    }

    fn measure(&self, own_images: bool) -> Result<Times> {
        copy_folder(&self.places.root.join("examples/hello-go"), &self.context)?;
        if own_images {
            for recipe in [&images::GOLANG, &images::UBUNTU] {
                recipe.build(self.places, self.kiln.command(&self.store))?;
            }
        }
        println!("building Dockerfile.{}", self.name);
        let first = self.build()?;
        let mut edited = Vec::new();
        let mut unchanged = Vec::new();
        for round in 1..=ROUNDS {
            self.edit(&format!("Hello from {} edit {round}!", self.name))?;
            edited.push(self.build()?);
            unchanged.push(self.build()?);
        }
        Ok(Times { first, edited: median(edited), unchanged: median(unchanged) })
    }

    fn build(&self) -> Result<Duration> {
        let log = std::fs::File::create(&self.log).context("cannot make the build's log")?;
        let mut command = self.kiln.command(&self.store);
        command.args(["build", "--progress", "plain", "--tag", &self.image()]);
        command.arg("--file").arg(self.context.join(format!("Dockerfile.{}", self.name)));
        command.arg(&self.context).stdout(log.try_clone()?).stderr(log);
        let start = Instant::now();
        let status = command.status().context("cannot run kiln")?;
        let elapsed = start.elapsed();
        if !status.success() {
            bail!("the build of Dockerfile.{} failed:\n{}", self.name, process::log_tail(&self.log));
        }
        Ok(elapsed)
    }

    /// Changes the line of `main.go` that holds the greeting.
    fn edit(&self, greeting: &str) -> Result<()> {
        let path = self.context.join("main.go");
        let text = places::read(&path)?;
        let line = text.lines().find(|line| line.starts_with("const greeting"));
        let line = line.context("the example's `main.go` has lost its greeting")?;
        places::write(&path, text.replace(line, &format!("const greeting = {greeting:?}")))
    }

    /// The image's program must print what the last edit made it say.
    fn check_program(&self) -> Result<()> {
        let mut command = self.kiln.command(&self.store);
        let output = process::stdout(command.args(["run", &self.image()]))?;
        let expected = format!("Hello from {} edit {ROUNDS}!", self.name);
        if !output.contains(&expected) {
            bail!("the image of Dockerfile.{} does not say `{expected}` but:\n{output}", self.name);
        }
        println!("$ kiln run {}\n{}", self.image(), output.trim_end());
        Ok(())
    }

    /// The image must hold the program and nothing of the build cache.
    fn check_content(&self) -> Result<()> {
        let tar = self.context.with_extension("tar");
        let mut command = self.kiln.command(&self.store);
        command.args(["build", "--progress", "plain", "--output"]);
        command.arg(format!("type=tar,dest={}", tar.display()));
        command.arg("--file").arg(self.context.join(format!("Dockerfile.{}", self.name)));
        process::quiet(command.arg(&self.context))?;
        let listing = process::stdout(Command::new("tar").arg("-tf").arg(&tar))?;
        let mut paths = listing.lines().map(|path| path.trim_start_matches("./"));
        if !paths.clone().any(|path| path == "app/app") {
            bail!("the image of Dockerfile.{} has no `/app/app`", self.name);
        }
        if let Some(path) = paths.find(|path| path.starts_with(BUILD_CACHE)) {
            bail!("the image of Dockerfile.{} holds `/{path}`", self.name);
        }
        places::remove(&tar)
    }

    fn image(&self) -> String {
        format!("hello:{}", self.name)
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    process::quiet(Command::new("cp").arg("-R").arg(from).arg(to))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ratio(before: Duration, after: Duration) -> f64 {
    before.as_secs_f64() / after.as_secs_f64()
}

fn print_table(before: &Times, after: &Times) {
    println!();
    println!("| hello-go           | baseline  | cached    | speed-up |");
    println!("|--------------------|----------:|----------:|---------:|");
    for (what, before, after) in [
        ("first build", before.first, after.first),
        ("after an edit", before.edited, after.edited),
        ("nothing changed", before.unchanged, after.unchanged),
    ] {
        println!(
            "| {what:<18} | {:>7.3} s | {:>7.3} s | {:>7.1}× |",
            before.as_secs_f64(),
            after.as_secs_f64(),
            ratio(before, after)
        );
    }
    println!();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let times = [5, 1, 3].map(Duration::from_secs).to_vec();
        assert_eq!(median(times), Duration::from_secs(3));
    }
}
