//! `cargo xtask ci`: everything that must hold before a change lands.
//!
//! The steps run one after the other and all of them run, so that one pass
//! shows all that is wrong. The closing line `N passed, N failed` adds up what
//! the test runners themselves reported; it is left out when a runner failed
//! without reporting (a crate that does not compile, for one).

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::places::Places;
use crate::test_runner::{self, Runner, Tally};
use crate::{images, process, tidy};

struct Step {
    name: &'static str,
    run: fn(&Places, &mut Tally) -> Result<()>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", run: |places, _| cargo(places, &["fmt", "--all", "--check"]) },
    Step { name: "tidy", run: |places, _| tidy::run(&places.root) },
    Step {
        name: "clippy",
        run: |places, _| cargo(places, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    },
    Step { name: "tests", run: tests },
    Step { name: "doc tests", run: doc_tests },
];

/// Runs all steps; an error when one of them failed.
pub(crate) fn run(places: &Places) -> Result<()> {
    let mut tally = Tally::default();
    let mut results: Vec<(&str, Result<()>, Duration)> = Vec::new();
    for step in STEPS {
        println!("\n== {} ==", step.name);
        let start = Instant::now();
        let result = (step.run)(places, &mut tally);
        results.push((step.name, result, start.elapsed()));
    }

    println!("\n== summary ==");
    let mut failed = Vec::new();
    for (name, result, elapsed) in &results {
        let seconds = elapsed.as_secs_f64();
        match result {
            Ok(()) => println!("  ok      {name} ({seconds:.1} s)"),
            Err(error) => {
                println!("  FAILED  {name} ({seconds:.1} s): {error:#}");
                failed.push(*name);
            }
        }
    }
    for reason in &tally.reasons {
        println!("  skipped {reason}");
    }
    // A runner that failed yet reported no failed test did not run them all;
    // then the sum would say more than is known.
    let runners_failed = failed.iter().any(|name| name.ends_with("tests"));
    if tally.failed > 0 || !runners_failed {
        println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn tests(places: &Places, tally: &mut Tally) -> Result<()> {
    if process::find("cargo-nextest").is_some() {
        // The output of passing tests is wanted for the reasons why they skip.
        let arguments = ["nextest", "run", "--workspace", "--no-fail-fast", "--color=never"];
        let mut command = command(places, &arguments);
        command.args(["--success-output", "immediate"]);
        return test_runner::run(Runner::Nextest, &mut command, tally);
    }
    println!(
        "note: cargo-nextest is not installed; `cargo test` runs the tests, more slowly\n\
         hint: cargo install cargo-nextest --locked"
    );
    let arguments = ["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"];
    let mut command = command(places, &arguments);
    command.args(["--", "--show-output"]);
    test_runner::run(Runner::Libtest, &mut command, tally)
}

fn doc_tests(places: &Places, tally: &mut Tally) -> Result<()> {
    let mut command = command(places, &["test", "--workspace", "--doc"]);
    test_runner::run(Runner::Libtest, &mut command, tally)
}

fn command(places: &Places, arguments: &[&str]) -> Command {
    let mut command = process::cargo();
    command
        .args(arguments)
        .current_dir(&places.root)
        // A snapshot that differs is a failure here, never a new file.
        .env("INSTA_UPDATE", "no")
        // The same cases in each run: a change fails by what it does. Tests called by hand look for new cases.
        .env("PROPTEST_RNG_SEED", "20");
    // Tests with real tools make their base images from these; without them they say that they are skipped.
    for (variable, recipe) in [("KILN_TEST_GOLANG", &images::GOLANG), ("KILN_TEST_TOOLCHAINS", &images::TOOLCHAINS)] {
        if let Some(context) = recipe.cached_context(places) {
            command.env(variable, context);
        }
    }
    command
}

fn cargo(places: &Places, arguments: &[&str]) -> Result<()> {
    process::run(&mut command(places, arguments))
}
