//! `cargo xtask demo`: what kiln is for, in one table.
//!
//! The example is built by its two Dockerfiles, the first of them with and
//! without the caches that kiln gives to steps by itself, each with a fresh store
//! of its own, so that a first build is one. Then a line is edited and it is built
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

/// After an edit, caches must beat none by this factor.
const LEAST_SPEEDUP: f64 = 12.0;

/// The three ways to build the example: name, Dockerfile, `--auto-cache`.
const WAYS: [(&str, &str, &str); 3] = [
    ("off", "Dockerfile.baseline", "off"),
    ("auto", "Dockerfile.baseline", "safe"),
    ("cached", "Dockerfile.cached", "safe"),
];

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

    let ways = WAYS.map(|way| Variant::new(places, &kiln, &folder, way));
    let times = ways.iter().map(|way| way.measure(own_images)).collect::<Result<Vec<_>>>()?;
    for way in &ways {
        way.check_program()?;
        way.check_content()?;
    }
    let [off, auto, _] = &ways;
    if off.files()? != auto.files()? {
        bail!("the images that were built with and without automatic caches differ");
    }
    print_table(&times);
    println!("the program runs, `/{BUILD_CACHE}` is in no image, and automatic caches changed no file");
    for (way, times_of_way) in ways.iter().zip(&times).skip(1) {
        let speedup = ratio(times[0].edited, times_of_way.edited);
        if speedup < LEAST_SPEEDUP {
            bail!("after an edit `{}` is only {speedup:.1} times faster, less than {LEAST_SPEEDUP}", way.name);
        }
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

/// One way to build the example, with its own copy of the example and its own
/// store.
struct Variant<'a> {
    places: &'a Places,
    kiln: &'a Binary,
    name: &'static str,
    dockerfile: &'static str,
    auto_cache: &'static str,
    store: PathBuf,
    context: PathBuf,
    log: PathBuf,
}

impl<'a> Variant<'a> {
    fn new(
        places: &'a Places,
        kiln: &'a Binary,
        folder: &Path,
        (name, dockerfile, auto_cache): (&'static str, &'static str, &'static str),
    ) -> Self {
        let in_folder = |what: &str| folder.join(format!("{name}-{what}"));
        Self {
            places,
            kiln,
            name,
            dockerfile,
            auto_cache,
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
        println!("building {} with --auto-cache={}", self.dockerfile, self.auto_cache);
        let first = self.build()?;
        let mut edited = Vec::new();
        let mut unchanged = Vec::new();
        for round in 1..=ROUNDS {
            self.edit(&format!("Hello from edit {round}!"))?;
            edited.push(self.build()?);
            unchanged.push(self.build()?);
        }
        Ok(Times { first, edited: median(edited), unchanged: median(unchanged) })
    }

    fn build(&self) -> Result<Duration> {
        let log = std::fs::File::create(&self.log).context("cannot make the build's log")?;
        let mut command = self.command();
        command.args(["--tag", &self.image()]).stdout(log.try_clone()?).stderr(log);
        let start = Instant::now();
        let status = command.status().context("cannot run kiln")?;
        let elapsed = start.elapsed();
        if !status.success() {
            bail!("the build of `{}` failed:\n{}", self.name, process::log_tail(&self.log));
        }
        Ok(elapsed)
    }

    /// `kiln build` of the example.
    fn command(&self) -> Command {
        let mut command = self.kiln.command(&self.store);
        command.args(["build", "--progress", "plain", "--auto-cache", self.auto_cache]);
        command.arg("--file").arg(self.context.join(self.dockerfile)).arg(&self.context);
        command
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
        let expected = format!("Hello from edit {ROUNDS}!");
        if !output.contains(&expected) {
            bail!("the image of `{}` does not say `{expected}` but:\n{output}", self.name);
        }
        println!("$ kiln run {}\n{}", self.image(), output.trim_end());
        Ok(())
    }

    /// The image must hold the program and nothing of the build cache.
    fn check_content(&self) -> Result<()> {
        let tar = self.export()?;
        let listing = process::stdout(Command::new("tar").arg("-tf").arg(&tar))?;
        let mut paths = listing.lines().map(|path| path.trim_start_matches("./"));
        if !paths.clone().any(|path| path == "app/app") {
            bail!("the image of `{}` has no `/app/app`", self.name);
        }
        if let Some(path) = paths.find(|path| path.starts_with(BUILD_CACHE)) {
            bail!("the image of `{}` holds `/{path}`", self.name);
        }
        places::remove(&tar)
    }

    /// The files of the image: paths, modes, owners and sizes, and the digest of the program.
    fn files(&self) -> Result<String> {
        let tar = self.export()?;
        let listing = process::stdout(Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&tar))?;
        let without_time = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (before, after) = words.split_at(words.len().min(3));
            format!("{} {}\n", before.join(" "), after.get(2..).unwrap_or_default().join(" "))
        };
        let mut files: String = listing.lines().map(without_time).collect();
        let digest = "tar -xOf \"$1\" app/app | sha256sum";
        files += &process::stdout(Command::new("sh").args(["-c", digest, "sh"]).arg(&tar))?;
        places::remove(&tar)?;
        Ok(files)
    }

    /// Writes the image's files to an archive.
    fn export(&self) -> Result<PathBuf> {
        let tar = self.context.with_extension("tar");
        process::quiet(self.command().arg("--output").arg(format!("type=tar,dest={}", tar.display())))?;
        Ok(tar)
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

fn print_table(times: &[Times]) {
    let [off, auto, cached] = times else { return };
    println!();
    println!("| hello-go           | baseline, off | baseline  | speed-up | cached form | speed-up |");
    println!("|--------------------|--------------:|----------:|---------:|------------:|---------:|");
    for (what, [off, auto, cached]) in [
        ("first build", [off.first, auto.first, cached.first]),
        ("after an edit", [off.edited, auto.edited, cached.edited]),
        ("nothing changed", [off.unchanged, auto.unchanged, cached.unchanged]),
    ] {
        println!(
            "| {what:<18} | {:>11.3} s | {:>7.3} s | {:>7.1}× | {:>9.3} s | {:>7.1}× |",
            off.as_secs_f64(),
            auto.as_secs_f64(),
            ratio(off, auto),
            cached.as_secs_f64(),
            ratio(off, cached)
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
