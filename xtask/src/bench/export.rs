//! The export of one layer of 512 MiB, half of which does not compress.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::content;
use super::workload::{Budget, Row, Start, Workload};
use crate::peers::Output;
use crate::places;

pub(super) fn workload() -> Workload {
    let title = "export of a 512 MiB layer, gzip OCI tar";
    Workload {
        name: "export",
        prepare,
        dockerfile: "Dockerfile",
        mended: false,
        plain_go: false,
        rows: vec![Row {
            start: Start::Built,
            change,
            output: Output::OciTar,
            rounds: 3,
            ..Row::new(title, Budget::OfBuildKit(0.35))
        }],
    }
}

fn prepare(context: &Path) -> Result<()> {
    places::write(&context.join("Dockerfile"), "FROM scratch\nCOPY data /data\n")?;
    content::write_half_compressible(&context.join("data"), 512, 1)
}

/// Makes another layer of it, so that no builder has it compressed already.
fn change(context: &Path, round: u32) -> Result<()> {
    let file = File::options().write(true).open(context.join("data"));
    file.and_then(|file| file.write_all_at(&round.to_le_bytes(), 0)).context("cannot change data")
}
