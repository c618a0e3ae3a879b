//! Nothing changed: the build that a developer starts by habit.

use super::go_edit;
use super::workload::{Budget, Row, Workload};

pub(super) fn workload() -> Workload {
    Workload {
        name: "nothing",
        prepare: go_edit::prepare,
        dockerfile: "Dockerfile.cached",
        mended: false,
        plain_go: false,
        rows: vec![Row { rounds: 11, ..Row::new("nothing changed", Budget::Seconds(0.020)) }],
    }
}
