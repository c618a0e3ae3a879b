//! `cargo xtask fuzz`: runs a fuzz target of `fuzz/`, beginning with the Dockerfiles, words, names and ignore files of `tests/cases`.
//!
//! The targets are a workspace of their own, built by cargo-fuzz with a sanitizer. They are no part of `cargo xtask ci`: even checking
//! them takes two minutes, since none of what the other steps compile can be used. `CUSTOM_LIBFUZZER_PATH=/none.a cargo check` in
//! `fuzz/` does that. What is found is written below `fuzz/artifacts`, and
//! `cargo fuzz run TARGET FILE` shows it again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::places::Places;
use crate::process;

/// What is fuzzed, and for how long.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The target
    target: Target,
    /// For how many seconds
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// The targets, all that are below `fuzz/fuzz_targets`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    Dockerfile,
    Words,
    Reference,
    Ignore,
    Layer,
    Manifest,
    Mount,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Dockerfile => "dockerfile",
            Self::Words => "words",
            Self::Reference => "reference",
            Self::Ignore => "ignore",
            Self::Layer => "layer",
            Self::Manifest => "manifest",
            Self::Mount => "mount",
        }
    }

    /// What a file of the cases has to begin with.
    fn seeds(self, name: &str, text: &str) -> Vec<String> {
        let ignore = name.ends_with(".dockerignore");
        match self {
            Self::Dockerfile if name.contains("ockerfile") && !ignore => vec![text.to_owned()],
            Self::Ignore if ignore => vec![text.to_owned()],
            Self::Words => text.split_whitespace().filter(|word| word.contains('$')).map(str::to_owned).collect(),
            Self::Reference => {
                let bases = text.lines().filter_map(|line| line.strip_prefix("FROM "));
                bases.filter_map(|rest| rest.split_whitespace().next()).map(str::to_owned).collect()
            }
            Self::Dockerfile | Self::Ignore | Self::Layer | Self::Manifest | Self::Mount => Vec::new(),
        }
    }
}

pub(crate) fn run(places: &Places, arguments: &Arguments) -> Result<()> {
    let fuzz = places.root.join("fuzz");
    let name = arguments.target.name();
    let corpus = fuzz.join("corpus").join(name);
    fs::create_dir_all(&corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    seed(&places.root.join("tests/cases"), arguments.target, &corpus)?;
    let installed = process::cargo().args(["fuzz", "--version"]).output();
    if !installed.is_ok_and(|output| output.status.success()) {
        process::run(process::cargo().args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let mut command = process::cargo();
    // The sanitizer's flags are not stable; this is instead of a second toolchain.
    command.env("RUSTC_BOOTSTRAP", "1").current_dir(&fuzz).args(["fuzz", "run", name, "--"]);
    command.arg(format!("-max_total_time={}", arguments.seconds)).args(["-timeout=10", "-rss_limit_mb=2048"]);
    // The longest seeds would make every input long, and runs few.
    command.arg("-max_len=16384");
    // Threads that are joined may still be clearing up when leaks are looked for, and count as such.
    command.arg("-detect_leaks=0");
    process::run(&mut command)
}

/// Writes what the cases have to begin with, each text once.
fn seed(directory: &Path, target: Target, corpus: &Path) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    for path in paths {
        if path.is_dir() {
            seed(&path, target, corpus)?;
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for seed in target.seeds(&name, &text) {
            let place = corpus.join(format!("seed-{:016x}", digest(&seed)));
            fs::write(&place, seed).with_context(|| format!("cannot write {}", place.display()))?;
        }
    }
    Ok(())
}

/// FNV-1a: the same text has the same name on every machine.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |digest, byte| (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_what_targets_read() {
        let text = "FROM a:1 AS b\nENV A=$B c\n";
        let seeds = |target: Target, name: &str| target.seeds(name, text);
        assert_eq!(seeds(Target::Dockerfile, "x.Dockerfile"), [text]);
        assert_eq!(seeds(Target::Dockerfile, "Dockerfile.dockerignore"), [""; 0]);
        assert_eq!(seeds(Target::Ignore, ".dockerignore"), [text]);
        assert_eq!(seeds(Target::Words, "Dockerfile"), ["A=$B"]);
        assert_eq!(seeds(Target::Reference, "Dockerfile"), ["a:1"]);
    }
}
