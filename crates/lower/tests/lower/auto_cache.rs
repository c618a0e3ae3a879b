//! Which steps get caches: Dockerfiles in, the caches of their steps out.

use crate::support::{Images, lower_with, options};
use kiln_graph::{CacheDirectory, CachePurpose, Op};
use kiln_lower::{AutoCacheMode, Options};

/// The steps that get caches: `go build: ~/.cache/go-build`, one a line, an output in parentheses.
fn caches_in(mode: AutoCacheMode, text: &str) -> String {
    let options = Options { auto_cache: mode, ..options() };
    let lowered = lower_with(text, &options, &Images::default());
    let mut lines = Vec::new();
    for vertex in lowered.graph.vertices() {
        let Op::Exec(exec) = &vertex.op else { continue };
        for cache in &exec.auto_caches {
            let path = match &cache.directory {
                CacheDirectory::Absolute(path) => path.clone(),
                CacheDirectory::Home(path) => format!("~/{path}"),
            };
            let path = if cache.purpose == CachePurpose::Output { format!("({path})") } else { path };
            lines.push(format!("{}: {path}", cache.command));
        }
    }
    lines.join("\n")
}

fn caches(text: &str) -> String {
    caches_in(AutoCacheMode::Safe, text)
}

const BASELINE: &str = "\
FROM golang:1.25-trixie as builder
WORKDIR /app
COPY go.mod .
COPY go.sum .
RUN go mod download
COPY . .
RUN go build -o app

FROM ubuntu:24.04
RUN mkdir /app
WORKDIR /app
COPY --from=builder /app/app .
ENTRYPOINT [\"./app\"]
";

#[test]
fn the_mission() {
    assert_eq!(caches(BASELINE), "go build: ~/.cache/go-build");
    assert_eq!(caches_in(AutoCacheMode::Off, BASELINE), "");
}

#[test]
fn ids_name_the_base_and_the_platform() {
    let lowered = lower_with(BASELINE, &options(), &Images::default());
    let ids: Vec<&str> = lowered
        .graph
        .vertices()
        .iter()
        .filter_map(|vertex| match &vertex.op {
            Op::Exec(exec) => Some(exec.auto_caches.iter().map(|cache| cache.id.as_str())),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(ids, ["go/build/docker.io/library/golang:1.25-trixie/linux/amd64"]);
}
