//! `cargo xtask test`: `ci` on a machine that has everything the tests need.
//!
//! Privileged tests and those against real clients and registries skip
//! themselves, with a reason, where the machine lacks something; this task sees
//! to it that it lacks nothing.

use anyhow::Result;

use crate::ci;
use crate::debian::{self, Package, files, program};
use crate::images;
use crate::moto;
use crate::places::Places;

const PACKAGES: &[Package] = &[
    // The bundled SQLite and the compression libraries are C.
    program("build-essential", "cc"),
    program("git", "git"),
    files("ca-certificates"),
    files("busybox-static"),
    files("qemu-user-static"),
    program("docker-registry", "docker-registry"),
    program("skopeo", "skopeo"),
    program("openssl", "openssl"),
    program("tar", "tar"),
    program("uidmap", "newuidmap"),
    program("docker.io", "dockerd"),
    program("chromium", "chromium"),
    program("chromium-driver", "chromedriver"),
    files("fonts-dejavu-core"),
];

pub(crate) fn run(places: &Places) -> Result<()> {
    debian::ensure("testing kiln", PACKAGES)?;
    images::GOLANG.context(places)?;
    images::TOOLCHAINS.context(places)?;
    moto::ensure(places)?;
    ci::run(places)
}
