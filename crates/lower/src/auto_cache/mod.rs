//! Auto-cache: RUN steps get the caches that their tools would keep on a person's own machine, without an edit of the Dockerfile.
//!
//! Once the graph is whole, [`give`] reads what each step runs (`step`, `shell`), asks each tool's rule what it recognises (`tool`, and one
//! file a tool), and decides which caches the step gets (`policy`, with what `mentions` finds). They are put into
//! [`kiln_graph::Exec::auto_caches`]; mounting, seeding and keeping them is the engine's. [`steps`] tells the lints which mounts would do the same. `docs/auto-cache.md` is made from the rules.
//!
//! Invariants: no key and no definition depends on it; what cannot be read with certainty is not recognised; the work is bounded by the
//! length of the Dockerfile, and a build that names no tool costs a look at each RUN.

mod advice;
mod candidate;
mod mentions;
mod policy;
mod shell;
mod step;
#[cfg(test)]
mod testing;
mod tool;

mod apk;
mod apt;
mod bun;
mod bundler;
mod cargo;
mod ccache;
mod composer;
mod dnf;
mod go;
mod gradle;
mod maven;
mod npm;
mod nuget;
mod pip;
mod pnpm;
mod poetry;
mod uv;
mod yarn;

pub(crate) use advice::steps;
pub(crate) use policy::give;
pub use tool::{AutoCacheRule, Documented, rules};

/// Which caches steps get without asking for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum AutoCacheMode {
    /// None.
    Off,
    /// Pure caches, in stages that are not part of the exported image.
    #[default]
    Safe,
    /// Also seeded outputs, and in the exported image's stages the caches that leave no trace in it.
    All,
}
