//! What a COPY or ADD selects from a tree: wildcards, links of the sources followed, exclusions, and the digest of it all.

use crate::ops::file::listings::Listings;
use crate::ops::parallel;
use kiln_digest::{ContentDigest, Hasher};
use kiln_graph::Copy;
use kiln_layer::{Entry, Kind, Tree, TreeError, resolve};
use kiln_solver::FileListing;
use kiln_sources::local::{BadPattern, IgnoreRules, Pattern, Verdict};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// All that one copy action takes, by source.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) matches: Vec<Match>,
    /// The digest of all that was selected: what a cache key depends on.
    pub(crate) digest: ContentDigest,
}

/// One source, or one match of a source with wildcards.
#[derive(Debug)]
pub(crate) struct Match {
    /// The path as it was named, without links followed: its last component names the copy.
    pub(crate) named: PathBuf,
    /// With `--parents`, how many components of `named` are not made in the destination: those before `/./`.
    pub(crate) pivot: usize,
    /// With `--parents`, the directories from there down to the source, the outermost first.
    pub(crate) parents: Vec<Selected>,
    /// The source itself first, then, for a directory, all below it in the order of a walk.
    pub(crate) files: Vec<Selected>,
}

/// One file, directory, link or device.
#[derive(Debug)]
pub(crate) struct Selected {
    /// Where it is in the tree that is copied from.
    pub(crate) path: PathBuf,
    /// Where in `path` the part below the source begins.
    below: usize,
    pub(crate) entry: Entry,
    pub(crate) xattrs: Vec<(OsString, Vec<u8>)>,
    /// The digest of a regular file's bytes.
    pub(crate) content: Option<ContentDigest>,
    /// The digest of metadata and content.
    pub(crate) identity: [u8; 16],
}

impl Selected {
    /// Its path below the source; empty for the source itself.
    pub(crate) fn relative(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path.as_os_str().as_bytes()[self.below..]))
    }
}

impl Match {
    /// The path of a file below the source, as the source was named.
    pub(crate) fn name_of(&self, file: &Selected) -> PathBuf {
        join(&self.named, file.relative())
    }
}

/// As [`Path::join`], but an empty path adds no slash.
pub(crate) fn join(path: &Path, relative: &Path) -> PathBuf {
    if relative.as_os_str().is_empty() { path.to_owned() } else { path.join(relative) }
}

/// Why nothing can be selected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SelectError {
    #[error("`{path}` does not exist {place}")]
    NotFound { path: String, place: &'static str },
    #[error("`{path}` is a symbolic link to `{target}`, which does not exist {place}")]
    Dangling { path: String, target: String, place: &'static str },
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Selects what `copy` takes from `tree` and hashes it. Fails once `stop` is true.
pub(crate) fn select(tree: &dyn Tree, copy: &Copy, stop: &AtomicBool) -> Result<Selection, SelectError> {
    let exclude = excluded(copy)?;
    let mut listings = Listings::new(tree, copy.sources.len() > 1);
    let mut selection = Selection { matches: Vec::new(), digest: ContentDigest::of_bytes(b"") };
    for source in &copy.sources {
        let pivot = source
            .split_once("/./")
            .filter(|_| copy.parents)
            .map_or(0, |(before, _)| plain(before).components().count());
        for named in matches(&mut listings, source, copy)? {
            let mut walk = Walk { tree, exclude: &exclude, from_context: copy.from_context, files: Vec::new() };
            if copy.parents {
                walk.parents(&named, pivot)?;
            }
            let parents = std::mem::take(&mut walk.files);
            walk.start(&named, pivot, copy)?;
            selection.matches.push(Match { named, pivot, parents, files: walk.files });
        }
    }
    hash(tree, &mut selection, copy.from_context, stop)?;
    selection.digest = selection.compute_digest();
    Ok(selection)
}

/// The patterns of `--exclude`. They are for names below a source, so that one with a leading slash matches nothing, as in BuildKit.
fn excluded(copy: &Copy) -> Result<IgnoreRules, BadPattern> {
    let (mut exclude, mut nothing) = (IgnoreRules::default(), IgnoreRules::default());
    for pattern in &copy.exclude {
        let bare = pattern.trim();
        let is_absolute = bare.strip_prefix('!').unwrap_or(bare).starts_with('/');
        if is_absolute {
            nothing.add(pattern)?
        } else {
            exclude.add(pattern)?
        };
    }
    Ok(exclude)
}

fn place(copy: &Copy) -> &'static str {
    if copy.from_context { "in the build context" } else { "in the image, stage or context that is copied from" }
}

/// A path below the root, `..` resolved as far as it goes.
fn plain(path: &str) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    plain
}

/// The paths that a source names. A source without wildcards must exist; one with wildcards may match nothing, but the directory
/// that stands before the first of them must be there.
fn matches(listings: &mut Listings<'_>, source: &str, copy: &Copy) -> Result<Vec<PathBuf>, SelectError> {
    let tree = listings.tree;
    let plain = plain(source);
    let not_found = |path: &str| SelectError::NotFound { path: path.to_owned(), place: place(copy) };
    let plain_text = plain.to_str().ok_or_else(|| not_found(source))?;
    if !has_wildcards(plain_text) {
        let resolved = resolve(tree, &plain, !copy.parents)?;
        if tree.entry(&resolved)?.is_none() {
            return Err(dangling(tree, &plain, copy)?.unwrap_or_else(|| not_found(source)));
        }
        return Ok(vec![plain]);
    }
    // Only what stands below the components without wildcards can match.
    let fixed: PathBuf =
        plain.components().take_while(|part| !part.as_os_str().to_str().is_some_and(has_wildcards)).collect();
    if !fixed.as_os_str().is_empty() && tree.entry(&resolve(tree, &fixed, true)?)?.is_none() {
        return Err(dangling(tree, &fixed, copy)?.unwrap_or_else(|| not_found(&fixed.to_string_lossy())));
    }
    let text = literal(&fixed.to_string_lossy()) + &plain_text[fixed.as_os_str().len()..];
    let pattern = if copy.parents { Pattern::new(&text)? } else { Pattern::new(&single_stars(&text))? };
    let depth = if copy.parents && plain_text.contains("**") { usize::MAX } else { plain.components().count() };
    let mut found = Vec::new();
    collect_matches(listings, &fixed, &pattern, depth, &mut found)?;
    Ok(found)
}

/// Whether a path names more than one file. As BuildKit has it, an escaped wildcard is none, and a backslash before anything else
/// escapes nothing: without wildcards, a path or the beginning of one is meant literally, backslashes and all.
fn has_wildcards(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// A pattern that matches just this path.
fn literal(path: &str) -> String {
    let mut pattern = String::with_capacity(path.len());
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// The pattern as BuildKit reads it unless there is `--parents`: `**` means no more than `*`, and matches within one directory.
fn single_stars(pattern: &str) -> String {
    let mut single = String::with_capacity(pattern.len());
    let (mut escaped, mut starred) = (false, false);
    for c in pattern.chars() {
        let star = c == '*' && !escaped;
        if !(star && starred) {
            single.push(c);
        }
        starred = star;
        escaped = c == '\\' && !escaped;
    }
    single
}

/// What to say of a path that leads nowhere, if it is a link.
fn dangling(tree: &dyn Tree, path: &Path, copy: &Copy) -> Result<Option<SelectError>, SelectError> {
    let link = tree.entry(&resolve(tree, path, false)?)?;
    Ok(link.and_then(|entry| match entry.kind {
        Kind::Symlink(target) => Some(SelectError::Dangling {
            path: path.display().to_string(),
            target: Path::new(&target).display().to_string(),
            place: place(copy),
        }),
        _ => None,
    }))
}

fn collect_matches(
    listings: &mut Listings<'_>,
    directory: &Path,
    pattern: &Pattern,
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), SelectError> {
    let resolved = resolve(listings.tree, directory, true)?;
    for (name, entry) in listings.of(&resolved)?.iter() {
        let path = directory.join(name);
        if pattern.matches(path.as_os_str().as_encoded_bytes()) {
            found.push(path);
        } else if entry.is_directory() && path.components().count() < depth {
            collect_matches(listings, &path, pattern, depth, found)?;
        }
    }
    Ok(())
}

struct Walk<'a> {
    tree: &'a dyn Tree,
    exclude: &'a IgnoreRules,
    from_context: bool,
    files: Vec<Selected>,
}

impl Walk<'_> {
    fn start(&mut self, named: &Path, pivot: usize, copy: &Copy) -> Result<(), SelectError> {
        // A link that is named stands for what it leads to; with `--parents` it stays a link among others.
        let resolved = resolve(self.tree, named, !copy.parents)?;
        let not_found = || SelectError::NotFound { path: named.display().to_string(), place: place(copy) };
        let entry = self.tree.entry(&resolved)?.ok_or_else(not_found)?;
        if entry.is_directory() {
            let length = resolved.as_os_str().len();
            self.push(resolved.clone(), length, entry);
            let mut folders = self.list(resolved, length + usize::from(length > 0))?;
            self.take(&mut folders, 0);
            return Ok(());
        }
        // Patterns are for what is below a source. A file has nothing below it, but with `--parents` its directories are the source.
        let below: PathBuf = named.components().skip(pivot).collect();
        if !copy.parents || !self.exclude.judge_from_root(&below).is_ignored() {
            let length = resolved.as_os_str().len();
            self.push(resolved, length, entry);
        }
        Ok(())
    }

    /// The directories that `named` lies in, those before the pivot left out.
    fn parents(&mut self, named: &Path, pivot: usize) -> Result<(), SelectError> {
        let mut directories: Vec<&Path> = named.ancestors().skip(1).collect();
        directories.reverse();
        // The first one is the root, which is nobody's parent here.
        for directory in directories.into_iter().skip(pivot + 1) {
            let path = resolve(self.tree, directory, true)?;
            if let Some(entry) = self.tree.entry(&path)?.filter(Entry::is_directory) {
                let length = path.as_os_str().len();
                self.push(path, length, entry);
            }
        }
        Ok(())
    }

    /// Lists a directory and all below it, one level after the other, the directories of a level on all cores.
    fn list(&self, root: PathBuf, below: usize) -> Result<Vec<Folder>, SelectError> {
        let mut folders = vec![Folder { path: root, below, verdict: self.exclude.root(), children: Vec::new() }];
        let mut listed = 0;
        while listed < folders.len() {
            let level = listed;
            listed = folders.len();
            parallel::for_each(&mut folders[level..], WORTHWHILE_FOLDERS, |folder| {
                folder.list(self.tree, self.exclude)
            })?;
            for at in level..listed {
                let mut children = std::mem::take(&mut folders[at].children);
                for child in &mut children {
                    let Some(verdict) = child.descend.take() else { continue };
                    child.folder = Some(folders.len());
                    folders.push(Folder { path: child.path.clone(), below, verdict, children: Vec::new() });
                }
                folders[at].children = children;
            }
        }
        Ok(folders)
    }

    /// Takes what was listed, in the order of a walk.
    fn take(&mut self, folders: &mut [Folder], at: usize) {
        for child in std::mem::take(&mut folders[at].children) {
            if !child.is_ignored {
                self.push(child.path, folders[at].below, child.entry);
            }
            if let Some(folder) = child.folder {
                self.take(folders, folder);
            }
        }
    }

    fn push(&mut self, path: PathBuf, below: usize, mut entry: Entry) {
        if entry.kind == Kind::Socket {
            return;
        }
        if self.from_context && path.as_os_str().is_empty() {
            // The context's own directory is where the user happens to work; only what is in it counts.
            entry.mode = 0o755;
        }
        if self.from_context {
            // Who owns a file on the user's machine says nothing about the image.
            (entry.uid, entry.gid) = (0, 0);
        }
        self.files.push(Selected { path, below, entry, xattrs: Vec::new(), content: None, identity: [0; 16] });
    }
}

/// A directory that is walked.
struct Folder {
    path: PathBuf,
    /// Where in the paths of its children the part below the source begins.
    below: usize,
    verdict: Verdict,
    children: Vec<Child>,
}

struct Child {
    path: PathBuf,
    entry: Entry,
    is_ignored: bool,
    /// For a directory that is to be listed as well, the verdict on it; taken once it has a place among the folders.
    descend: Option<Verdict>,
    folder: Option<usize>,
}

impl Folder {
    fn list(&mut self, tree: &dyn Tree, exclude: &IgnoreRules) -> Result<(), TreeError> {
        for (name, entry) in tree.children(&self.path)? {
            let path = self.path.join(name);
            let relative = Path::new(OsStr::from_bytes(&path.as_os_str().as_bytes()[self.below..]));
            let verdict = exclude.judge(relative, &self.verdict);
            let is_ignored = verdict.is_ignored();
            let descend = entry.is_directory() && (!is_ignored || exclude.may_keep_below(relative));
            if descend || !is_ignored {
                let descend = descend.then_some(verdict);
                self.children.push(Child { path, entry, is_ignored, descend, folder: None });
            }
        }
        Ok(())
    }
}

/// For fewer directories, starting threads takes longer than listing them.
const WORTHWHILE_FOLDERS: usize = 8;

/// Reads attributes and hashes, on all cores.
fn hash(tree: &dyn Tree, selection: &mut Selection, from_context: bool, stop: &AtomicBool) -> Result<(), TreeError> {
    let mut files: Vec<&mut Selected> =
        selection.matches.iter_mut().flat_map(|m| m.parents.iter_mut().chain(&mut m.files)).collect();
    parallel::for_each(&mut files, WORTHWHILE_FILES, |file| file.hash(tree, from_context, stop))
}

/// For fewer files, starting threads takes longer than hashing them.
const WORTHWHILE_FILES: usize = 64;

impl Selected {
    fn hash(&mut self, tree: &dyn Tree, from_context: bool, stop: &AtomicBool) -> Result<(), TreeError> {
        let entry = &self.entry;
        let is_context_root = from_context && self.path.as_os_str().is_empty();
        if entry.is_file() {
            let content = tree.content(&self.path, entry, stop)?;
            (self.content, self.xattrs) = (Some(content.digest), content.xattrs);
        } else if entry.is_directory() && !is_context_root {
            self.xattrs = tree.xattrs(&self.path)?;
        }
        if from_context {
            // What a file of the user's may do on the user's machine says nothing of the image. BuildKit's transfer loses it too.
            self.xattrs.retain(|(name, _)| name != "security.capability");
        }
        let mut hasher = Hasher::new("kiln file v1");
        match &entry.kind {
            Kind::File => {
                hasher.field(b"f").field(self.content.as_ref().map_or(&[], |content| &content.as_bytes()[..]))
            }
            Kind::Directory => hasher.field(b"d"),
            Kind::Symlink(target) => hasher.field(b"l").field(target.as_encoded_bytes()),
            Kind::Fifo => hasher.field(b"p"),
            Kind::Socket => hasher.field(b"s"),
            Kind::Character { major, minor } => hasher.field(b"c").number(u64::from(*major)).number(u64::from(*minor)),
            Kind::Block { major, minor } => hasher.field(b"b").number(u64::from(*major)).number(u64::from(*minor)),
        };
        // A symbolic link has no mode of its own.
        let mode = if matches!(entry.kind, Kind::Symlink(_)) { 0 } else { entry.mode };
        hasher.number(u64::from(mode)).number(u64::from(entry.uid)).number(u64::from(entry.gid));
        for (name, value) in &self.xattrs {
            hasher.field(name.as_encoded_bytes()).field(value);
        }
        self.identity.copy_from_slice(&hasher.content().as_bytes()[..16]);
        Ok(())
    }
}

impl Selection {
    fn compute_digest(&self) -> ContentDigest {
        let mut hasher = Hasher::new("kiln selection v1");
        for found in &self.matches {
            hasher.field(found.named.as_os_str().as_encoded_bytes()).number(found.files.len() as u64);
            for directory in &found.parents {
                hasher.field(&directory.identity);
            }
            for file in &found.files {
                hasher.field(file.relative().as_os_str().as_encoded_bytes()).field(&file.identity);
            }
        }
        hasher.content()
    }

    /// The name of the one file that was selected; empty for a directory.
    pub(crate) fn file_name(&self) -> PathBuf {
        match &self.matches[..] {
            [found] if found.files.first().is_some_and(|file| !file.entry.is_directory()) => {
                found.named.file_name().map(PathBuf::from).unwrap_or_default()
            }
            _ => PathBuf::new(),
        }
    }

    /// The files as people know them, to say later which one changed.
    pub(crate) fn listing(&self) -> FileListing {
        let mut files = Vec::new();
        for found in &self.matches {
            for file in found.files.iter().filter(|file| !file.entry.is_directory()) {
                files.push((found.name_of(file).to_string_lossy().into_owned(), file.identity));
            }
        }
        files.sort_unstable();
        files.dedup();
        FileListing { files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_graph::{Port, Unpack};
    use kiln_layer::Directory;

    fn copy(sources: &[&str], exclude: &[&str]) -> Copy {
        Copy {
            from: Port(0),
            sources: sources.iter().map(|s| (*s).to_owned()).collect(),
            dest: "/".into(),
            owner: None,
            mode: None,
            unpack: Unpack::No,
            parents: false,
            exclude: exclude.iter().map(|s| (*s).to_owned()).collect(),
            link: false,
            from_context: true,
        }
    }

    fn tree(files: &[&str]) -> (tempfile::TempDir, Directory) {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        let tree = Directory::new(directory.path()).unwrap();
        (directory, tree)
    }

    fn selected(tree: &dyn Tree, copy: &Copy) -> Vec<String> {
        let selection = select(tree, copy, &AtomicBool::new(false)).unwrap();
        selection.listing().files.into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn sources_table() {
        let (_directory, tree) = tree(&["a.go", "b.go", "b.txt", "x/c.go", "x/y/d.go"]);
        for (sources, exclude, expected) in [
            (&["a.go"][..], &[][..], &["a.go"][..]),
            (&["/a.go"], &[], &["a.go"]),
            (&["../../a.go"], &[], &["a.go"]),
            (&["*.go"], &[], &["a.go", "b.go"]),
            (&["b*"], &[], &["b.go", "b.txt"]),
            (&["none*"], &[], &[]),
            (&["x"], &[], &["x/c.go", "x/y/d.go"]),
            (&["x/*"], &[], &["x/c.go", "x/y/d.go"]),
            (&["x/*/none", "x/none*", "a.go/*"], &[], &[]),
            (&["."], &[], &["a.go", "b.go", "b.txt", "x/c.go", "x/y/d.go"]),
            (&["**/*.go"], &[], &["x/c.go"]),
            (&["x/**"], &[], &["x/c.go", "x/y/d.go"]),
            (&["."], &["**/*.go"], &["b.txt"]),
            (&["."], &["x", "!x/y"], &["a.go", "b.go", "b.txt", "x/y/d.go"]),
            (&["."], &["/x", "./a.go", "b.txt/"], &["b.go", "x/c.go", "x/y/d.go"]),
            (&["a.go", "b*", "x"], &["*.go", "**"], &["a.go", "b.go", "b.txt"]),
        ] {
            assert_eq!(selected(&tree, &copy(sources, exclude)), expected, "{sources:?} {exclude:?}");
        }
        for source in ["nope", "nope/*.go", "nope/**"] {
            let error = select(&tree, &copy(&[source], &[]), &AtomicBool::new(false)).unwrap_err();
            assert_eq!(error.to_string(), "`nope` does not exist in the build context", "{source}");
        }
    }

    #[test]
    fn stars_of_sources() {
        for (pattern, single) in
            [("**/*.go", "*/*.go"), ("a***b", "a*b"), (r"\**", r"\**"), (r"\\**", r"\\*"), ("*/*", "*/*"), ("x", "x")]
        {
            assert_eq!(single_stars(pattern), single);
        }
    }

    #[test]
    fn backslashes_are_parts_of_names_unless_wildcards_are_near() {
        let (_directory, tree) = tree(&[r"a\x2d.c", "ax2d.c", r"d\x2d/e.c", "[id].c"]);
        for (source, expected) in [
            (r"a\x2d.c", &[r"a\x2d.c"][..]),
            (r"d\x2d", &[r"d\x2d/e.c"]),
            (r"d\x2d/e.c", &[r"d\x2d/e.c"]),
            (r"d\x2d/*.c", &[r"d\x2d/e.c"]),
            (r"a\x2d.*", &["ax2d.c"]),
            (r"\[id]*", &["[id].c"]),
        ] {
            assert_eq!(selected(&tree, &copy(&[source], &[])), expected, "{source}");
        }
        for source in [r"\[id\].c", r"ax2d\.c", r"d\\x2d/*.c"] {
            select(&tree, &copy(&[source], &[]), &AtomicBool::new(false)).unwrap_err();
        }
    }

    #[test]
    fn digest_follows_content_and_mode_but_not_time() {
        let (directory, tree) = tree(&["f"]);
        let digest = || select(&tree, &copy(&["f"], &[]), &AtomicBool::new(false)).unwrap().digest;
        let first = digest();
        let file = directory.path().join("f");
        let times = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        std::fs::File::options().write(true).open(&file).unwrap().set_times(times).unwrap();
        assert_eq!(digest(), first);
        std::fs::write(&file, "other").unwrap();
        assert_ne!(digest(), first);
    }
}
