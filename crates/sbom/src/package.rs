//! A package, as its database describes it.

use serde::{Deserialize, Serialize};

/// Something that was installed or linked in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Package {
    /// Who names it.
    pub ecosystem: Ecosystem,
    /// Its name there.
    pub name: String,
    /// Its version; empty where none is known, as for a Go program that was built in its own source tree.
    pub version: String,
    /// The architecture that it is for.
    pub architecture: Option<String>,
    /// The package or file that it was built from, if that has another name.
    pub source: Option<String>,
    /// Who maintains it.
    pub supplier: Option<String>,
    /// The licence, in the words of the database.
    pub license: Option<String>,
    /// The file that tells of it, relative to the root.
    pub found_in: String,
}

/// Whose names and versions a package has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ecosystem {
    /// Debian's packages, and those of its relatives.
    Dpkg,
    /// Alpine's packages.
    Apk,
    /// Packages of Fedora, SUSE and their relatives.
    Rpm,
    /// Go modules, the standard library among them.
    Go,
}
