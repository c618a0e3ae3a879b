//! A tree with every database, and the document that comes of it.

use kiln_layer::Directory;
use kiln_sbom::{Ecosystem, Subject, document, scan};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::AtomicBool;

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn subject() -> Subject<'static> {
    Subject { name: "docker.io/library/app:1", digest: "ab12", created: "2026-01-01T00:00:00Z", tool: "kiln-test" }
}

#[test]
fn the_document_names_every_package_once() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    write(root, "usr/lib/os-release", "ID=debian\nVERSION_ID=13\n");
    fs::create_dir_all(root.join("etc")).unwrap();
    symlink("../usr/lib/os-release", root.join("etc/os-release")).unwrap();
    write(
        root,
        "var/lib/dpkg/status",
        "Package: libstdc++6\nStatus: install ok installed\nSource: gcc-14\nMaintainer: Debian GCC <gcc@example.org>\n\
         Architecture: amd64\nVersion: 14.2.0-19\n",
    );
    write(root, "var/lib/dpkg/status.d/tzdata", "Package: tzdata\nVersion: 2026a-1\nArchitecture: all\n");
    write(root, "var/lib/dpkg/status.d/tzdata.md5sums", "Package: no\nVersion: 1\n");
    write(root, "lib/apk/db/installed", "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n");
    // The same database under its new place.
    fs::create_dir_all(root.join("usr/lib/apk")).unwrap();
    symlink("/lib/apk/db", root.join("usr/lib/apk/db")).unwrap();
    write(root, "var/lib/rpm/rpmdb.sqlite", "no database");
    let found = scan(&Directory::new(root).unwrap(), &AtomicBool::new(false)).unwrap();
    let names: Vec<_> = found.packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, ["libstdc++6", "tzdata", "musl"]);
    assert_eq!(found.unread.len(), 1);
    insta::assert_json_snapshot!(document(&subject(), &found));
}

#[test]
fn links_do_not_lead_out_of_the_tree() {
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "status", "Package: host\nVersion: 1\n");
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("var/lib/dpkg")).unwrap();
    symlink(outside.path().join("status"), root.path().join("var/lib/dpkg/status")).unwrap();
    symlink("status", root.path().join("var/lib/dpkg/status.d")).unwrap();
    let found = scan(&Directory::new(root.path()).unwrap(), &AtomicBool::new(false)).unwrap();
    assert!(found.packages.is_empty());
}

#[test]
fn programs_of_other_linkers_say_nothing() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("bin")).unwrap();
    for (name, content) in [("self", fs::read("/proc/self/exe").unwrap()), ("elf", b"\x7fELF\x02".repeat(40))] {
        let path = root.path().join("bin").join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let found = scan(&Directory::new(root.path()).unwrap(), &AtomicBool::new(false)).unwrap();
    assert!(found.packages.iter().all(|package| package.ecosystem != Ecosystem::Go));
}
