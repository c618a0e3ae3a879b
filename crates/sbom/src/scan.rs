//! Looking for packages in a tree.

use crate::package::Package;
use crate::release::Release;
use crate::{MAX_DATABASE, MAX_PACKAGES, apk, dpkg, go, rpm};
use kiln_layer::{Entry, Tree, TreeError, resolve};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// What a tree says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inventory {
    /// The distribution.
    pub release: Option<Release>,
    /// The packages, sorted, each once for every file that tells of it.
    pub packages: Vec<Package>,
    /// Databases that could not be read.
    pub unread: Vec<Unread>,
}

/// A database that could not be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// The file, relative to the root.
    pub path: String,
    /// For people.
    pub reason: String,
}

/// Why a tree could not be looked through.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The tree.
    #[error("failed to look for packages")]
    Tree(#[from] TreeError),
    /// Somebody said stop.
    #[error("cancelled")]
    Cancelled,
}

/// Finds the packages of a root filesystem. Once `stop` is true, it fails.
///
/// # Errors
/// [`ScanError`].
pub fn scan(tree: &dyn Tree, stop: &AtomicBool) -> Result<Inventory, ScanError> {
    let mut scan = Scan { tree, stop, found: Inventory::default() };
    scan.databases()?;
    scan.programs()?;
    let Inventory { packages, .. } = &mut scan.found;
    packages.sort_unstable();
    packages.dedup();
    packages.truncate(MAX_PACKAGES);
    Ok(scan.found)
}

struct Scan<'a> {
    tree: &'a dyn Tree,
    stop: &'a AtomicBool,
    found: Inventory,
}

/// What is found in a file.
type Reader = fn(&str, &str) -> Vec<Package>;

const TEXTS: &[(&str, Reader)] = &[
    ("var/lib/dpkg/status", dpkg::packages),
    ("lib/apk/db/installed", apk::packages),
    ("usr/lib/apk/db/installed", apk::packages),
];

/// Where rpm keeps its database: by default, and where the root is read-only.
const RPM: &[&str] = &["var/lib/rpm", "usr/lib/sysimage/rpm", "usr/share/rpm"];
/// The formats that are not read.
const OLDER_RPM: &[&str] = &["Packages", "Packages.db"];

impl Scan<'_> {
    fn databases(&mut self) -> Result<(), ScanError> {
        for path in ["etc/os-release", "usr/lib/os-release"] {
            if self.found.release.is_none()
                && let Some((_, text)) = self.text(path)?
            {
                self.found.release = Release::parse(&text);
            }
        }
        for (path, read) in TEXTS {
            if let Some((place, text)) = self.text(path)? {
                self.found.packages.extend(read(&text, &place));
            }
        }
        let directory = resolve(self.tree, Path::new("var/lib/dpkg/status.d"), true)?;
        if self.tree.entry(&directory)?.is_some_and(|entry| entry.is_directory()) {
            for (name, _) in self.tree.children(&directory)? {
                // Checksums of a package's files lie beside its description.
                if !name.as_encoded_bytes().ends_with(b".md5sums")
                    && let Some((place, text)) = self.text(directory.join(&name))?
                {
                    self.found.packages.extend(dpkg::packages(&text, &place));
                }
            }
        }
        RPM.iter().try_for_each(|directory| self.rpm(Path::new(directory)))
    }

    fn rpm(&mut self, directory: &Path) -> Result<(), ScanError> {
        if let Some((place, file)) = self.file(directory.join("rpmdb.sqlite"))? {
            if self.found.packages.iter().any(|package| package.found_in == place) {
                return Ok(());
            }
            match rpm::packages(&file, &place) {
                Ok(packages) => self.found.packages.extend(packages),
                Err(error) => self.found.unread.push(Unread { path: place, reason: error.to_string() }),
            }
            return Ok(());
        }
        for name in OLDER_RPM {
            if let Some((path, _)) = self.file(directory.join(name))? {
                let reason = "only rpm databases in SQLite are read".to_owned();
                self.found.unread.push(Unread { path, reason });
            }
        }
        Ok(())
    }

    /// Every file that can be executed, for what Go wrote into it.
    fn programs(&mut self) -> Result<(), ScanError> {
        let mut left = vec![PathBuf::new()];
        while let Some(directory) = left.pop() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(ScanError::Cancelled);
            }
            for (name, entry) in self.tree.children(&directory)? {
                let path = directory.join(&name);
                if entry.is_directory() {
                    left.push(path);
                } else if is_program(&entry) && self.found.packages.len() < MAX_PACKAGES {
                    let program = self.tree.open(&path)?;
                    self.found.packages.extend(go::packages(program, &path.to_string_lossy()));
                }
            }
        }
        Ok(())
    }

    /// A regular file, links followed within the root, with its place. One that is too large counts as unread.
    fn file(&mut self, path: impl AsRef<Path>) -> Result<Option<(String, File)>, ScanError> {
        let path = resolve(self.tree, path.as_ref(), true)?;
        let Some(entry) = self.tree.entry(&path)?.filter(Entry::is_file) else { return Ok(None) };
        let place = path.to_string_lossy().into_owned();
        if entry.size > MAX_DATABASE {
            let reason = format!("it is larger than {} MiB", MAX_DATABASE >> 20);
            self.found.unread.push(Unread { path: place, reason });
            return Ok(None);
        }
        Ok(Some((place, self.tree.open(&path)?)))
    }

    fn text(&mut self, path: impl AsRef<Path>) -> Result<Option<(String, String)>, ScanError> {
        let Some((place, file)) = self.file(path)? else { return Ok(None) };
        let mut bytes = Vec::new();
        match file.take(MAX_DATABASE).read_to_end(&mut bytes) {
            Ok(_) => Ok(Some((place, String::from_utf8_lossy(&bytes).into_owned()))),
            Err(error) => {
                self.found.unread.push(Unread { path: place, reason: error.to_string() });
                Ok(None)
            }
        }
    }
}

/// Whether a file may be a program: no program is smaller than an ELF header.
fn is_program(entry: &Entry) -> bool {
    entry.is_file() && entry.mode & 0o111 != 0 && entry.size > 64
}
