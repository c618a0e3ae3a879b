//! The operations of a build: what makes up their keys, and how they are carried out.

pub(crate) mod exec;
pub(crate) mod file;
mod parallel;
pub(crate) mod users;
