//! Builds through the binary: real contexts, real containers, a store of their own for each test.

mod add_git;
mod add_url;
mod arguments;
mod cache;
mod cache_mounts;
mod contents;
mod context;
mod copy;
mod emulation;
mod errors;
mod images;
mod instructions;
mod interruption;
mod kept_caches;
mod limits;
mod outputs;
mod platforms;
mod processes;
mod registry;
mod remote_contexts;
mod run;
mod secrets;
mod ssh;
mod stages;
mod steps;
mod terminal;
