//! Real sandboxes, over a root filesystem of busybox. Where the machine lacks something, tests say `skipped`.

mod attacks;
mod calls;
mod cgroups;
mod confinement;
mod fixture;
mod life;
mod mounts;
mod process;
