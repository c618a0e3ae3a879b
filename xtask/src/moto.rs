//! A server that speaks S3's protocol, for the tests of remote caches and the benchmark: `moto_server`, in a Python environment of its
//! own.

#[path = "../../crates/remote/tests/support/moto.rs"]
#[expect(dead_code, reason = "only the tests write objects themselves")]
mod server;

pub(crate) use server::{BUCKET, Moto};

use std::process::Command;

use anyhow::{Context, Result};

use crate::debian::{self, Package, files, program};
use crate::places::{self, Places};
use crate::process;

/// What is installed. The number is part of the folder's name, which the tests know as well.
const REQUIREMENT: &str = "moto[server]>=5,<6";
const FOLDER: &str = "moto-5";

const PACKAGES: &[Package] = &[program("python3", "python3"), files("python3-venv")];

/// Installs it below the cache where the machine has none.
pub(crate) fn ensure(places: &Places) -> Result<()> {
    if process::find("moto_server").is_some() {
        return Ok(());
    }
    let folder = places.cache.join(FOLDER);
    let stamp = folder.join("complete");
    if stamp.is_file() {
        return Ok(());
    }
    debian::ensure("a server for the tests of remote caches", PACKAGES)?;
    println!("installing `{REQUIREMENT}` for the tests of remote caches");
    places::make_empty(&folder)?;
    process::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    process::run(Command::new(folder.join("bin/pip")).args(["install", "--quiet", REQUIREMENT]))
        .context("cannot install a server for the tests")?;
    places::write(&stamp, "")
}
