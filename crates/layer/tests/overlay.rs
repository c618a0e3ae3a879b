//! The kernel's overlayfs as the judge of [`kiln_layer::Stack`] and [`kiln_layer::prune_unchanged`].

mod support;

use kiln_layer::{Directory, Stack, Tree, diff_digest, prune_unchanged, resolve};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use support::{Listing, Mount, Times, build, changes, in_private_namespace, listing, path};

fn stack(layers: &[PathBuf]) -> Stack {
    Stack::new(layers.to_vec()).unwrap()
}

/// What depends on the host, or what the kernel shows but an image can't keep.
fn without_links(listing: Listing) -> Listing {
    listing.into_iter().map(|(path, text)| (path, text.split(" = ").next().unwrap_or_default().to_owned())).collect()
}

#[test]
fn a_stack_shows_what_a_mount_shows() {
    if !in_private_namespace("a_stack_shows_what_a_mount_shows") {
        return;
    }
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let strategy = (prop::collection::vec(changes(), 2..5), prop::collection::vec(path(), 10));
    let tested = runner.run(&strategy, |(layers, paths)| {
        let work = tempfile::tempdir().unwrap();
        let mut dirs = Vec::new();
        for (number, changes) in layers.iter().enumerate() {
            let dir = work.path().join(format!("layer{number}"));
            let base: Option<Arc<dyn Tree>> = (!dirs.is_empty()).then(|| Arc::new(stack(&dirs)) as Arc<dyn Tree>);
            build(&dir, base, changes);
            dirs.push(dir);
        }
        let merged = work.path().join("merged");
        std::fs::create_dir(&merged).unwrap();
        let _mount = Mount::new(&merged, &dirs, None).unwrap();
        let (ours, kernels) = (stack(&dirs), Directory::new(&merged).unwrap());
        prop_assert_eq!(without_links(listing(&ours, Times::Exact)), without_links(listing(&kernels, Times::Exact)));
        for path in paths {
            prop_assert_eq!(ours.entry(&path).unwrap().is_some(), kernels.entry(&path).unwrap().is_some());
            let resolved = resolve(&ours, &path, true).map_err(|e| e.to_string());
            prop_assert_eq!(resolved, resolve(&kernels, &path, true).map_err(|e| e.to_string()));
        }
        Ok(())
    });
    tested.unwrap();
}

/// What a RUN might do.
const SCRIPTS: [&str; 12] = [
    "true",
    "touch new; mkdir -p deep/er; echo x > deep/er/file",
    "rm -rf a; mkdir -p a/b; echo y > a/b/c",
    "find . -mindepth 1 -delete",
    "for f in $(find . -type f | grep -v ' '); do chown 1:1 \"$f\" && chown 0:0 \"$f\"; done 2>/dev/null; true",
    "mkdir tmp; touch tmp/x; rm -r tmp",
    "for d in a b c; do [ -d $d ] && chmod 711 $d; done; true",
    "for d in a b c; do [ -d $d ] && mv $d moved; done; true",
    "for f in a b c; do [ -f $f ] && ln $f $f.link; done; true",
    "rm -rf b; touch b; rm b; mkdir b",
    "touch -d @5 . ; for f in */*; do touch -d @7 $f; done 2>/dev/null; true",
    "for f in */*; do [ -f $f ] && mv $f $f.moved && mv $f.moved $f; done; true",
];

#[test]
fn pruning_keeps_what_a_mount_shows() {
    if !in_private_namespace("pruning_keeps_what_a_mount_shows") {
        return;
    }
    let mut runner = TestRunner::new(Config { cases: 80, failure_persistence: None, ..Config::default() });
    let strategy = (prop::collection::vec(changes(), 1..4), prop::sample::select(SCRIPTS.to_vec()));
    let tested = runner.run(&strategy, |(layers, script)| {
        let work = tempfile::tempdir().unwrap();
        let mut dirs = Vec::new();
        for (number, changes) in layers.iter().enumerate() {
            let dir = work.path().join(format!("layer{number}"));
            let base: Option<Arc<dyn Tree>> = (!dirs.is_empty()).then(|| Arc::new(stack(&dirs)) as Arc<dyn Tree>);
            build(&dir, base, changes);
            dirs.push(dir);
        }
        let place = |name: &str| {
            let path = work.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let (upper, workdir, merged) = (place("upper"), place("work"), place("merged"));
        let mount = Mount::new(&merged, &dirs, Some((&upper, &workdir))).unwrap();
        let status = Command::new("sh").args(["-c", script]).current_dir(&merged).status().unwrap();
        prop_assert!(status.success(), "{}", script);
        let shown = without_links(listing(&Directory::new(&merged).unwrap(), Times::Files));
        drop(mount);

        let base = stack(&dirs);
        prune_unchanged(&upper, &base, &AtomicBool::new(false)).unwrap();
        let all: Vec<_> = dirs.iter().chain([&upper]).cloned().collect();
        prop_assert_eq!(without_links(listing(&stack(&all), Times::Files)), shown, "{}", script);
        if script == SCRIPTS[0] {
            prop_assert!(diff_digest(&upper).unwrap().is_empty());
        }
        for path in
            std::iter::once(PathBuf::new()).chain(listing(&Directory::new(&upper).unwrap(), Times::Left).into_keys())
        {
            let mut names = vec![0; 4096];
            let length = rustix::fs::llistxattr(upper.join(&path), &mut names[..]).unwrap();
            let text = String::from_utf8_lossy(&names[..length]).into_owned();
            let others = text.split('\0').filter(|name| name.contains(".overlay."));
            prop_assert_eq!(others.count(), 0, "{:?}: {}", path, text);
        }
        Ok(())
    });
    tested.unwrap();
}

#[test]
fn nothing_stays_of_what_was_merely_touched() {
    const NAME: &str = "nothing_stays_of_what_was_merely_touched";
    if !in_private_namespace(NAME) {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let path = work.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let (lower, upper, workdir, merged) = (place("lower"), place("upper"), place("work"), place("merged"));
    std::fs::create_dir_all(lower.join("etc/deep")).unwrap();
    std::fs::write(lower.join("etc/deep/file"), "x").unwrap();
    std::fs::write(lower.join("etc/other"), "x").unwrap();
    let mount = Mount::new(&merged, std::slice::from_ref(&lower), Some((&upper, &workdir))).unwrap();
    // Both copy the file up; only one changes anything.
    let script = "chown 0:0 etc/deep/file; chmod 600 etc/other";
    assert!(Command::new("sh").args(["-c", script]).current_dir(&merged).status().unwrap().success());
    drop(mount);
    assert!(upper.join("etc/deep/file").exists());
    prune_unchanged(&upper, &stack(&[lower]), &AtomicBool::new(false)).unwrap();
    let left: Vec<_> = listing(&Directory::new(&upper).unwrap(), Times::Left).into_keys().collect();
    assert_eq!(left, [Path::new("etc"), Path::new("etc/other")]);
}

#[test]
fn references_to_lower_layers_are_refused() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: trusted attributes need root");
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let upper = work.path().join("upper");
    std::fs::create_dir_all(upper.join("dir")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(upper.join("dir"), "trusted.overlay.redirect", b"/other", flags).unwrap();
    let error = prune_unchanged(&upper, &stack(&[]), &AtomicBool::new(false)).unwrap_err();
    assert!(
        error.to_string().contains("`dir` refers to a lower layer by the attribute `trusted.overlay.redirect`"),
        "{error}"
    );
}
