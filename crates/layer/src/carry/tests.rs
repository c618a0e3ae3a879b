//! What is carried, what the base and the step have to say about it, and that nothing earlier changes.

use super::*;
use crate::Stack;
use std::fs;
use std::os::unix::fs::MetadataExt;

struct Places {
    _dir: tempfile::TempDir,
    earlier: PathBuf,
    base: PathBuf,
    carried: PathBuf,
    upper: PathBuf,
}

/// An earlier layer with `out/{a,sub/b,sub/c,kept/d}`, a link, a whiteout if this process may make one; a base with `out/a`.
fn places() -> Places {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    let (earlier, base, carried, upper) = (place("earlier"), place("base"), place("carried"), place("upper"));
    for path in ["out/sub", "out/kept", "other"] {
        fs::create_dir_all(earlier.join(path)).unwrap();
    }
    for path in ["out/a", "out/sub/b", "out/sub/c", "out/kept/d", "other/x"] {
        fs::write(earlier.join(path), "earlier").unwrap();
    }
    std::os::unix::fs::symlink("a", earlier.join("out/link")).unwrap();
    fs::create_dir_all(base.join("out")).unwrap();
    fs::write(base.join("out/a"), "base").unwrap();
    fs::create_dir(&upper).unwrap();
    Places { _dir: dir, earlier, base, carried, upper }
}

fn carry(places: &Places, except: &[PathBuf]) -> u64 {
    let base = Arc::new(Stack::new(vec![places.base.clone()]).unwrap());
    carry_over(&places.earlier, &["out".into()], except, base, places.carried.clone()).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            found.push(path.strip_prefix(directory).unwrap().display().to_string());
            if path.symlink_metadata().unwrap().is_dir() {
                left.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_the_base_lacks_is_linked() {
    let places = places();
    assert_eq!(carry(&places, &["out/kept".into()]), 3);
    assert_eq!(names(&places.carried), ["out", "out/link", "out/sub", "out/sub/b", "out/sub/c"]);
    let inode = |root: &Path| fs::metadata(root.join("out/sub/b")).unwrap().ino();
    assert_eq!(inode(&places.carried), inode(&places.earlier));
}

#[test]
fn what_the_step_still_saw_is_taken_up() {
    let places = places();
    carry(&places, &[]);
    // The step changed a file, put a directory in the place of another one, and left `kept` alone.
    fs::create_dir_all(places.upper.join("out/sub")).unwrap();
    fs::write(places.upper.join("out/sub/b"), "new").unwrap();
    let time = fs::metadata(places.upper.join("out/sub")).unwrap().modified().unwrap();
    take_up(&places.upper, &places.carried).unwrap();
    let all = ["out", "out/kept", "out/kept/d", "out/link", "out/sub", "out/sub/b", "out/sub/c"];
    assert_eq!(names(&places.upper), all);
    assert_eq!(fs::read_to_string(places.upper.join("out/sub/b")).unwrap(), "new");
    assert_eq!(fs::read_to_string(places.earlier.join("out/sub/b")).unwrap(), "earlier");
    assert_eq!(fs::metadata(places.upper.join("out/sub")).unwrap().modified().unwrap(), time);
}

#[test]
fn what_the_step_removed_stays_away() {
    let places = places();
    carry(&places, &[]);
    fs::create_dir_all(places.upper.join("out/sub")).unwrap();
    let whiteout = rustix::fs::mknodat(
        rustix::fs::CWD,
        places.upper.join("out/kept"),
        rustix::fs::FileType::CharacterDevice,
        Mode::empty(),
        0,
    );
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let sub = rustix::fs::open(places.upper.join("out/sub"), flags, Mode::empty()).unwrap();
    if whiteout.is_err() || overlay::set_opaque(sub.as_fd(), Namespace::of_process()).is_err() {
        println!("skipped: whiteouts and opaque marks need root");
        return;
    }
    take_up(&places.upper, &places.carried).unwrap();
    assert_eq!(names(&places.upper), ["out", "out/kept", "out/link", "out/sub"]);
}
