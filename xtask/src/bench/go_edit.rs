//! One line of the example program edited, the image written as an OCI tar: by
//! the Dockerfile with a cache mount, by the one without, whose step kiln gives
//! Go's cache to, and by the latter as `kiln check --fix` leaves it, which is
//! quick with other builders too.

use std::path::Path;

use anyhow::{Context, Result};

use super::workload::{Budget, Row, Workload};
use crate::peers::Output;
use crate::places;

const EDITED: &str = "one Go file edited, cache mount, OCI tar";
const UNOPTIMISED: &str = "the same, unoptimized Dockerfile";
const UNOPTIMISED_ONLY_BUILT: &str = "the same, unoptimized Dockerfile, no output";

pub(super) fn cached() -> Workload {
    Workload {
        name: "go-edit",
        prepare,
        dockerfile: "Dockerfile.cached",
        mended: false,
        plain_go: true,
        rows: vec![Row {
            change: edit,
            output: Output::OciTar,
            ..Row::new(EDITED, Budget::OfBuildKitAndGo(0.5, 1.25))
        }],
    }
}

pub(super) fn unoptimised() -> Workload {
    Workload {
        name: "go-unoptimized",
        prepare,
        dockerfile: "Dockerfile.baseline",
        mended: false,
        plain_go: false,
        rows: vec![
            Row {
                change: edit,
                output: Output::OciTar,
                rounds: 3,
                ..Row::new(UNOPTIMISED, Budget::OfRowAndBuildKit(1.1, EDITED, 0.05))
            },
            Row {
                change: |context, round| edit(context, round + 250_000),
                rounds: 3,
                ..Row::new(UNOPTIMISED_ONLY_BUILT, Budget::OfBuildKit(0.05))
            },
        ],
    }
}

pub(super) fn fixed() -> Workload {
    let title = "the same, after `kiln check --fix`, no output";
    Workload {
        name: "go-fixed",
        prepare,
        dockerfile: "Dockerfile.baseline",
        mended: true,
        plain_go: false,
        rows: vec![Row {
            // The mended file has the steps of the cached one: the same edit would be in kiln's cache by now.
            change: |context, round| edit(context, round + 500_000),
            ..Row::new(title, Budget::BothOfBuildKitInRow(1.0 / 12.0, UNOPTIMISED_ONLY_BUILT))
        }],
    }
}

/// The example, as the repository has it.
pub(super) fn prepare(context: &Path) -> Result<()> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello-go");
    for name in ["main.go", "go.mod", "go.sum", ".dockerignore", "Dockerfile.baseline", "Dockerfile.cached"] {
        std::fs::copy(example.join(name), context.join(name))
            .with_context(|| format!("cannot copy the example's `{name}`"))?;
    }
    Ok(())
}

pub(super) fn edit(context: &Path, round: u32) -> Result<()> {
    let path = context.join("main.go");
    let text = places::read(&path)?;
    let line = text.lines().find(|line| line.starts_with("const greeting"));
    let line = line.context("the example's `main.go` has lost its greeting")?;
    places::write(&path, text.replace(line, &format!("const greeting = \"Hello {round}!\"")))
}
