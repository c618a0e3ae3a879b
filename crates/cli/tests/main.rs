//! Tests of the program `kiln` as a user meets it: its arguments, its output, its exit status.
//!
//! Everything here runs in an environment of its own ([`support::Kiln`]). Those in [`build`] make containers, which needs root;
//! without it they say `skipped` and why.

mod auto_cache;
mod build;
mod docker;
mod go;
mod help;
mod misuse;
mod support;
