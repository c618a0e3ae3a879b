//! Six stages that do not need each other, of one second each.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::workload::{Budget, Row, Workload};
use crate::places;

const STAGES: u32 = 6;

pub(super) fn workload() -> Workload {
    let title = "six independent stages of 1 s";
    Workload {
        name: "stages",
        prepare,
        dockerfile: "Dockerfile",
        mended: false,
        plain_go: false,
        rows: vec![Row { no_cache: true, rounds: 3, ..Row::new(title, Budget::Seconds(1.3)) }],
    }
}

fn prepare(context: &Path) -> Result<()> {
    let mut dockerfile = String::new();
    for stage in 0..STAGES {
        let _ = writeln!(dockerfile, "FROM ubuntu:24.04 AS s{stage}");
        let _ = writeln!(dockerfile, "RUN sleep 1 && echo {stage} >/out{stage}\n");
    }
    dockerfile.push_str("FROM ubuntu:24.04\n");
    for stage in 0..STAGES {
        let _ = writeln!(dockerfile, "COPY --from=s{stage} /out{stage} /");
    }
    places::write(&context.join("Dockerfile"), dockerfile)
}
