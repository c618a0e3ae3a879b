//! The Go image from a registry on this machine, pulled, unpacked, and one step
//! run in it.

use super::workload::{Budget, Row, Start, Workload};
use crate::places;

pub(super) fn workload() -> Workload {
    let title = "pull and unpack of the Go image, RUN true";
    Workload {
        name: "pull",
        prepare: |context| {
            let dockerfile = "FROM golang:1.25-trixie\nRUN true\n";
            places::write(&context.join("Dockerfile"), dockerfile)
        },
        dockerfile: "Dockerfile",
        mended: false,
        plain_go: false,
        rows: vec![Row { start: Start::Empty, rounds: 3, ..Row::new(title, Budget::OfBuildKit(0.5)) }],
    }
}
