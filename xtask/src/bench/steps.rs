//! What a step costs that does nothing, as a part of fifty of them.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::workload::{Budget, Row, Workload};
use crate::places;

const STEPS: u32 = 50;

pub(super) fn workload() -> Workload {
    let title = "one of 50 `RUN true`";
    Workload {
        name: "steps",
        prepare,
        dockerfile: "Dockerfile",
        mended: false,
        plain_go: false,
        rows: vec![Row { no_cache: true, parts: STEPS, ..Row::new(title, Budget::Seconds(0.010)) }],
    }
}

fn prepare(context: &Path) -> Result<()> {
    let mut dockerfile = String::from("FROM ubuntu:24.04\n");
    for step in 0..STEPS {
        // The argument keeps the steps apart; equal steps need to run only once.
        let _ = writeln!(dockerfile, "RUN true {step}");
    }
    places::write(&context.join("Dockerfile"), dockerfile)
}
