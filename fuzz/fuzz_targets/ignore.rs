//! `.dockerignore`: any patterns judge any path, and a path judged on the way down is judged as from the root.

#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use kiln_sources::local::IgnoreRules;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (String, Vec<u8>)| {
    let (patterns, path) = input;
    let Ok(rules) = IgnoreRules::parse(&patterns) else { return };
    let path = Path::new(OsStr::from_bytes(&path));
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return;
    }
    let (mut verdict, mut below) = (rules.root(), PathBuf::new());
    for part in path.components() {
        below.push(part);
        verdict = rules.judge(&below, &verdict);
    }
    assert_eq!(verdict.is_ignored(), rules.judge_from_root(path).is_ignored());
});
