//! Dockerfiles in, graphs, configs and errors out, with images that exist only here.

mod advice;
mod args;
mod auto_cache;
mod config;
mod errors;
mod files;
mod fixes;
mod images;
mod lints;
mod mission;
mod misuse;
mod onbuild;
mod robust;
mod run;
mod speed;
mod stages;
mod support;
