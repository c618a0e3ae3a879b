//! A Dockerfile mended by the fixes of the lints: [`Engine::fix`] finds what it would be, [`Fixed::write`] puts it in its place.
//!
//! Invariants: the mended text is a Dockerfile that can be built, and the image's config is the one it had, or there is an error instead;
//! a file is replaced as a whole, by one rename, and never if it changed in between.

use crate::build::contexts;
use crate::build::dockerfile::Dockerfile;
use crate::build::resolver::Resolver;
use crate::cancel::CancelToken;
use crate::check::{Check, Look, look};
use crate::engine::Engine;
use crate::error::{EngineError, ErrorKind};
use crate::lint::Rules;
use crate::request::BuildRequest;
use kiln_dockerfile::rules::fix;
use rustix::fs::{Gid, Mode, Uid, fchmod, fchown};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What fixes make of a Dockerfile.
#[derive(Debug)]
pub struct Fixed {
    /// The file, without links on the way to it.
    pub path: PathBuf,
    /// Its text.
    pub before: String,
    /// The text that takes its place; the same if there is nothing to mend.
    pub after: String,
    /// What was mended: each rule's name and what its fix does.
    pub mended: Vec<(&'static str, String)>,
    /// What is found in the text as it is now.
    pub check: Check,
}

impl Engine {
    /// Mends the Dockerfile of a request as far as its image stays what it is. The file is left alone.
    ///
    /// # Errors
    /// If there is no Dockerfile, it cannot be parsed, or it is no file of this machine. What else is wrong with it is part of the answer.
    pub fn fix(&self, request: &BuildRequest) -> Result<Fixed, EngineError> {
        let (main, dockerfile) = self.find(request)?;
        let Some(path) = &dockerfile.path else {
            let message = format!("`{}` is no file that could be changed", dockerfile.name);
            return Err(EngineError::new(ErrorKind::User, message)
                .with_hint("fixes are for a Dockerfile in a directory of this machine"));
        };
        let path = fs::canonicalize(path).map_err(|error| failed("find", path, error))?;
        let contexts = contexts::open(self, request, main, &dockerfile)?;
        let resolver = Resolver::new(self, request.pull, CancelToken::new());
        let how = Look { request, rules: Rules::All, contexts: &contexts, resolver: &resolver };
        let (mut check, config) = look(&how, &dockerfile)?;
        let before = dockerfile.text.clone();
        let settled = fix::settle(&before, |text| {
            if text != check.lints.text {
                let mended = Dockerfile { text: text.to_owned(), name: dockerfile.name.clone(), path: None };
                let (now, same) = look(&how, &mended)?;
                if same != config {
                    return Err(EngineError::new(
                        ErrorKind::Internal,
                        "a fix would have changed the image's configuration",
                    )
                    .with_hint("nothing was changed; `# check=skip=RULE` leaves a rule out"));
                }
                check = now;
            }
            Ok(check.lints.findings.iter().filter_map(|found| Some((found.rule, found.fix.clone()?))).collect())
        })?;
        Ok(Fixed { path, before, after: settled.text, mended: settled.mended, check })
    }
}

impl Fixed {
    /// Whether anything was mended.
    pub fn is_changed(&self) -> bool {
        self.before != self.after
    }

    /// Puts the mended text in the file's place, with the file's mode and owner.
    ///
    /// # Errors
    /// If the file changed since it was read, or the directory cannot be written to.
    pub fn write(&self) -> Result<(), EngineError> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let beside = self.path.with_file_name(format!(".{name}.kiln-{}", std::process::id()));
        let mut file = File::create_new(&beside).map_err(|error| failed("write", &beside, error))?;
        let written = self.fill(&mut file).and_then(|()| {
            if fs::read(&self.path).map_err(|error| failed("read", &self.path, error))? != self.before.as_bytes() {
                let message = format!("`{}` changed while it was looked at", self.path.display());
                return Err(EngineError::new(ErrorKind::User, message).with_hint("run `kiln check --fix` again"));
            }
            fs::rename(&beside, &self.path).map_err(|error| failed("replace", &self.path, error))
        });
        if written.is_err() {
            // What went wrong is told already.
            let _ = fs::remove_file(&beside);
        }
        written
    }

    fn fill(&self, file: &mut File) -> Result<(), EngineError> {
        let write = |error: io::Error| failed("write", &self.path, error);
        let old = fs::metadata(&self.path).map_err(|error| failed("read", &self.path, error))?;
        file.write_all(self.after.as_bytes()).map_err(write)?;
        // Only root may give files away; anybody else's file is the user's own from now on.
        let _ = fchown(&*file, Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())));
        fchmod(&*file, Mode::from_raw_mode(old.mode() & 0o7777)).map_err(|error| write(error.into()))?;
        file.sync_all().map_err(write)
    }
}

fn failed(what: &str, path: &Path, error: io::Error) -> EngineError {
    EngineError::new(ErrorKind::User, format!("failed to {what} `{}`", path.display())).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::Lints;
    use std::os::unix::fs::PermissionsExt;

    fn fixed(path: &Path, before: &str, after: &str) -> Fixed {
        let lints = Lints { file: String::new(), text: String::new(), findings: Vec::new(), fatal: false };
        let check = Check { lints, notes: Vec::new(), error: None };
        Fixed { path: path.to_owned(), before: before.to_owned(), after: after.to_owned(), mended: Vec::new(), check }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Dockerfile");
        fs::write(&path, "a").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        fixed(&path, "a", "b").write().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "b");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o750);
        let error = fixed(&path, "a", "c").write().unwrap_err();
        assert!(error.message.ends_with("changed while it was looked at"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "b");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
