//! A fresh machine that has the base images and a cache which another machine left in a registry, a directory or a bucket: one line of
//! the example program edited, built for the first time there.

use anyhow::{Context, Result};

use super::workload::{Budget, Row, Start, Workload};
use super::{go_edit, monolith};
use crate::peers::{Job, Output, Place};
use crate::places;

/// The workload that needs an S3 server.
pub(super) const CACHED: &str = "remote-cache";

pub(super) fn cached() -> Workload {
    let registry = row("fresh machine, cache in a registry", Place::Registry);
    let directory = row("the same, cache in a directory", Place::Directory);
    // Docker's BuildKit has no S3.
    let bucket = Row { budget: Budget::Seconds(2.5), ..row("the same, cache in S3", Place::Bucket) };
    Workload {
        name: CACHED,
        prepare: go_edit::prepare,
        dockerfile: "Dockerfile.cached",
        mended: false,
        plain_go: false,
        rows: vec![registry, directory, bucket],
    }
}

pub(super) fn unoptimised() -> Workload {
    Workload {
        name: "remote-cache-unoptimized",
        prepare: go_edit::prepare,
        dockerfile: "Dockerfile.baseline",
        mended: false,
        plain_go: false,
        rows: vec![row("fresh machine, registry, unoptimized Dockerfile", Place::Registry)],
    }
}

pub(super) fn monolith() -> Workload {
    let title = "fresh machine, registry, monolith of 400 packages";
    Workload {
        name: "remote-cache-monolith",
        prepare: monolith::prepare,
        dockerfile: "Dockerfile",
        mended: false,
        plain_go: false,
        // BuildKit's cache has no cache mounts: it compiles everything, as a machine without any cache would.
        rows: vec![
            Row { change: monolith::edit, budget: Budget::OfBuildKit(0.25), ..row(title, Place::Registry) },
            Row {
                start: Start::Pushed,
                change: monolith::edit,
                budget: Budget::OfFirstExport(0.05),
                ..row("what the next cache export sends, one package edited", Place::Registry)
            },
        ],
    }
}

fn row(title: &'static str, place: Place) -> Row {
    Row {
        start: Start::Elsewhere(place),
        change: go_edit::edit,
        output: Output::OciTar,
        rounds: 3,
        ..Row::new(title, Budget::SecondsAndOfBuildKit(2.5, 0.2))
    }
}

/// A build that only brings in and unpacks the base images of the example.
pub(super) fn bases(job: &Job) -> Result<Job> {
    let name = job.context.file_name().context("a context has a name")?.to_string_lossy();
    let context = job.context.with_file_name(format!("{name}-bases"));
    places::make_empty(&context)?;
    let dockerfile =
        "FROM golang:1.25-trixie AS builder\nRUN true > /true\nFROM ubuntu:24.04\nCOPY --from=builder /true /\n";
    places::write(&context.join("Dockerfile"), dockerfile)?;
    Ok(Job { context, dockerfile: "Dockerfile", output: Output::Cache, no_cache: false, travel: None })
}
