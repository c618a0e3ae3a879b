//! Where a build's inputs come from: images of registries and layouts ([`image`]), directories of the user's ([`local`]), files from
//! URLs ([`http`]), trees of git repositories ([`git`]), archives ([`archive`]).
//!
//! All give trees that are read only when somebody needs them: an image is resolved to a config without its layers, a context is
//! walked only below the paths that a step copies, a URL is asked only whether it changed, a repository only for the id of a commit.

pub mod archive;
pub mod git;
pub mod http;
pub mod image;
pub mod local;
mod patience;
mod progress;

pub use progress::Progress;
