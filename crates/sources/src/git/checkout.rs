//! The files of a commit in a directory: submodules with it, `.git` left out unless it is wanted, a subdirectory alone if that is.

use super::program::{Git, Reach};
use super::refs::Found;
use super::repository::Repository;
use super::{GitError, io};
use kiln_graph::{GitTree, without_credentials};
use kiln_layer::{Directory, Tree, resolve};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Checks the commit out below `directory`; the result is where its files are.
pub(super) fn checkout(
    git: &Git<'_>,
    tree: &GitTree,
    found: &Found,
    repository: &Repository,
    directory: &Path,
) -> Result<PathBuf, GitError> {
    let work = directory.join("work");
    fs::create_dir(&work).map_err(io("create", &work))?;
    fs::set_permissions(&work, fs::Permissions::from_mode(0o755)).map_err(io("chmod", &work))?;
    git.run(&work, Reach::Nothing, ["init", "--quiet", "--template=", found.object_format(), "."])?;
    let dot_git = work.join(".git");
    // As with BuildKit, a subdirectory has no `.git`.
    let keeps = tree.keep_git_dir && tree.subdir.is_none();
    if keeps {
        let what = format!("refs/kiln/{}", found.commit);
        let fetch = ["fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-fetch-head", "--"];
        let from = [repository.path.as_os_str(), what.as_ref()];
        git.run(&work, Reach::Files, fetch.map(OsStr::new).into_iter().chain(from))?;
    } else {
        let alternates = dot_git.join("objects/info/alternates");
        fs::create_dir_all(dot_git.join("objects/info")).map_err(io("create", &alternates))?;
        fs::write(&alternates, format!("{}/objects\n", repository.path.display())).map_err(io("write", &alternates))?;
        let shallow = repository.path.join("shallow");
        if shallow.exists() {
            fs::copy(&shallow, dot_git.join("shallow")).map_err(io("copy", &shallow))?;
        }
    }
    git.run(&work, Reach::Nothing, ["remote", "add", "origin", git.remote.as_str()])?;
    git.run(&work, Reach::Nothing, ["checkout", "--quiet", "--detach", found.commit.as_str()])?;
    let has_submodules = work.join(".gitmodules").symlink_metadata().is_ok();
    if tree.submodules && has_submodules {
        submodules(git, &work)?;
    }
    if keeps {
        if let Some(name) = found.name.as_ref().filter(|name| name.starts_with("refs/")) {
            git.run(&work, Reach::Nothing, ["update-ref", name, &found.commit])?;
        }
        make_index_again(git, &work, tree.submodules && has_submodules)?;
        return Ok(work);
    }
    remove_git(&work, tree.submodules && has_submodules)?;
    match &tree.subdir {
        None => Ok(work),
        Some(subdir) => subdirectory(&work, subdir, tree),
    }
}

/// Makes the index of the repository and of its submodules anew, without the times and inodes of the files: the same commit is then the
/// same layer, whoever checks it out and when. Files in a layer have others anyway, and git finds out again.
fn make_index_again(git: &Git<'_>, work: &Path, with_submodules: bool) -> Result<(), GitError> {
    let index = work.join(".git/index");
    fs::remove_file(&index).map_err(io("remove", &index))?;
    git.run(work, Reach::Nothing, ["read-tree", "HEAD"])?;
    if with_submodules {
        let again = "rm -f \"$(git rev-parse --git-dir)/index\" && git read-tree HEAD";
        git.run(work, Reach::Nothing, ["submodule", "--quiet", "foreach", "--quiet", "--recursive", again])?;
    }
    Ok(())
}

fn submodules(git: &Git<'_>, work: &Path) -> Result<(), GitError> {
    let update = ["submodule", "update", "--progress", "--init", "--recursive"];
    git.progress.log("fetching submodules");
    match git.run(work, Reach::Anywhere, update.into_iter().chain(["--depth=1"])) {
        // Not every server gives a commit without its history, or one that no reference names.
        Err(GitError::Refused { .. }) => git.run(work, Reach::Anywhere, update).map(drop),
        done => done.map(drop),
    }
}

/// Removes `.git` of the repository and of its submodules. Nothing that git checks out has that name.
fn remove_git(directory: &Path, below: bool) -> Result<(), GitError> {
    for entry in fs::read_dir(directory).map_err(io("list", directory))? {
        let entry = entry.map_err(io("list", directory))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(io("look at", directory))?);
        match (entry.file_name() == ".git", kind.is_dir()) {
            (true, true) => fs::remove_dir_all(&path).map_err(io("remove", &path))?,
            (true, false) => fs::remove_file(&path).map_err(io("remove", &path))?,
            (false, true) if below => remove_git(&path, below)?,
            (false, _) => {}
        }
    }
    Ok(())
}

/// Where a subdirectory is, links followed within the repository.
fn subdirectory(work: &Path, subdir: &str, tree: &GitTree) -> Result<PathBuf, GitError> {
    let none = || GitError::NoDirectory { remote: without_credentials(&tree.remote), subdir: subdir.to_owned() };
    let files = Directory::new(work)?;
    let resolved = resolve(&files, Path::new(subdir), true)?;
    if !files.entry(&resolved)?.is_some_and(|entry| entry.is_directory()) {
        return Err(none());
    }
    let path = work.join(resolved);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(io("chmod", &path))?;
    Ok(path)
}
