//! kiln's development tasks: `cargo xtask TASK`.
//!
//! One file a task. `tidy` and `ci` look at the code, `test` also prepares the
//! machine for the tests that need more than cargo, `images` makes the base
//! images, `demo` shows what kiln is for, `bench` measures it next to other
//! builders, `compare` compares its images with BuildKit's, and `fuzz` feeds
//! nonsense to what reads other people's input. What several
//! tasks share: [`process`] runs programs, [`places`] says where things lie,
//! [`debian`] installs packages, [`kiln`] builds and calls the binary,
//! [`namespaces`] confines daemons and mounts, [`peers`] are the other builders.
//!
//! Nothing here is linked into kiln, and nothing here depends on kiln's crates:
//! these tasks know the binary by its command line only.

mod bench;
mod ci;
mod compare;
mod debian;
mod demo;
mod fuzz;
mod images;
mod kiln;
mod moto;
mod namespaces;
mod peers;
mod places;
mod process;
mod test;
mod test_runner;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::places::Places;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "kiln's development tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check the rules of the code base that no compiler checks
    Tidy,
    /// Check formatting, lints and tidiness, and run all tests
    Ci,
    /// Install what the tests need, then do what `ci` does
    Test,
    /// Make the base images, with kiln, from Debian's packages and a Go toolchain
    Images(images::Arguments),
    /// Build the example both ways, edit it, build it again, and show the times
    Demo(demo::Arguments),
    /// Measure kiln, next to the builders that this machine has
    Bench(bench::Arguments),
    /// Build Dockerfiles with kiln and with Docker's BuildKit, and compare the images
    Compare(compare::Arguments),
    /// Run a fuzz target, beginning with the files of the cases
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    match run(&Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<()> {
    let places = Places::find()?;
    match task {
        Task::Tidy => tidy::run(&places.root),
        Task::Ci => ci::run(&places),
        Task::Test => test::run(&places),
        Task::Images(arguments) => images::run(&places, arguments),
        Task::Demo(arguments) => demo::run(&places, arguments),
        Task::Bench(arguments) => bench::run(&places, arguments),
        Task::Compare(arguments) => compare::run(&places, arguments),
        Task::Fuzz(arguments) => fuzz::run(&places, arguments),
    }
}
