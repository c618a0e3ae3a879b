//! A context of 30,000 small files, copied as one layer.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::content::Generator;
use super::workload::{Budget, Row, Start, Workload};
use crate::places;

const FOLDERS: u64 = 300;
const FILES_IN_EACH: u64 = 100;

pub(super) fn workload() -> Workload {
    Workload {
        name: "context",
        prepare,
        dockerfile: "Dockerfile",
        mended: false,
        plain_go: false,
        rows: vec![
            Row { start: Start::Empty, rounds: 3, ..Row::new("30,000 files: first", Budget::OfBuildKit(0.3)) },
            Row { rounds: 3, ..Row::new("30,000 files: unchanged", Budget::OfBuildKit(0.1)) },
            Row {
                change: |context, round| places::write(&file(context, 150, 50), format!("changed {round}\n")),
                rounds: 3,
                ..Row::new("30,000 files: one changed", Budget::OfBuildKit(0.2))
            },
        ],
    }
}

fn prepare(context: &Path) -> Result<()> {
    places::write(&context.join("Dockerfile"), "FROM scratch\nCOPY . /\n")?;
    let mut generator = Generator::new(30_000);
    for folder in 0..FOLDERS {
        places::make(&context.join(format!("src/d{folder:03}")))?;
        for index in 0..FILES_IN_EACH {
            let length = 100 + generator.below(1900) as usize;
            places::write(&file(context, folder, index), generator.text(length))?;
        }
    }
    Ok(())
}

fn file(context: &Path, folder: u64, index: u64) -> PathBuf {
    context.join(format!("src/d{folder:03}/f{index:03}.txt"))
}
