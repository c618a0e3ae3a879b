//! The export of one layer of 512 MiB, half of which does not compress.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::content::Generator;
use super::workload::{Budget, Row, Start, Workload};
use crate::peers::Output;
use crate::places;

const BLOCK: usize = 64 * 1024;
const BLOCKS: usize = 512 * 1024 * 1024 / BLOCK;

pub(super) fn workload() -> Workload {
    let title = "export of a 512 MiB layer, gzip OCI tar";
    Workload {
        name: "export",
        prepare,
        dockerfile: "Dockerfile",
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
    let mut generator = Generator::new(512);
    let mut file = BufWriter::new(File::create(context.join("data")).context("cannot make data")?);
    for block in 0..BLOCKS {
        let bytes = if block % 2 == 0 { generator.bytes(BLOCK) } else { generator.text(BLOCK) };
        file.write_all(&bytes).context("cannot write data")?;
    }
    file.flush().context("cannot write data")
}

/// Makes another layer of it, so that no builder has it compressed already.
fn change(context: &Path, round: u32) -> Result<()> {
    let file = File::options().write(true).open(context.join("data"));
    file.and_then(|file| file.write_all_at(&round.to_le_bytes(), 0)).context("cannot change data")
}
