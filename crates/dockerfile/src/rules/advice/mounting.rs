//! Gives steps the cache mounts that they lack, with what these need beside them: the variable that names the place, and an APT that
//! keeps what it downloads.
//!
//! Debian's and Ubuntu's images have APT delete each package once it is installed (`docker-clean`), from a cache mount too. A step on
//! top removes that configuration: of a stage that is no image itself, and only where nothing is copied from the directory it is in.

use super::edits::Manner;
use super::{says, takes_from_stages};
use crate::ast::{Instruction, InstructionKind, Pairs};
use crate::rules::scope::Stage;
use crate::rules::{CacheFacts, Edit, Scope};

/// Has APT keep packages, in the mount that its steps get.
const KEEP: &str = "RUN rm -f /etc/apt/apt.conf.d/docker-clean; \
                    echo 'Binary::apt::APT::Keep-Downloaded-Packages \"true\";' > /etc/apt/apt.conf.d/keep-cache";

/// What says that somebody has thought of it.
const THOUGHT_OF: [&str; 2] = ["docker-clean", "Keep-Downloaded-Packages"];

const PACKAGES: &str = "/var/cache/apt";

/// The edits that give the instruction at `at` mounts, in the order of the file. `None` where that cannot be done.
pub(super) fn edits(scope: &Scope<'_>, stage: &Stage<'_>, at: usize, caches: &[&CacheFacts]) -> Option<Vec<Edit>> {
    let manner = Manner::of(scope);
    let mounts = manner.add_mounts(&stage.body[at], caches)?;
    let line = |stage: &Stage<'_>, at: usize, line: &str| {
        let before = at.checked_sub(1).map_or(stage.instruction, |before| &stage.body[before]);
        manner.line_above(before, &stage.body[at], line)
    };
    let mut edits = Vec::new();
    if keeps_packages(caches.iter().copied()) && !thought_of(scope, stage, at) {
        if takes_configuration(scope) {
            return None;
        }
        // Several steps may need it. All ask for it at one place, so that only the first of their fixes is applied at once.
        let (first, place) = first_with_packages(scope, stage).unwrap_or((stage, at));
        edits.push(line(first, place, KEEP));
    }
    if let Some((name, value)) = variable(scope, stage, at, caches) {
        edits.push(line(stage, at, &format!("ENV {name}={value}")));
    }
    edits.push(mounts);
    Some(edits)
}

fn keeps_packages<'c>(caches: impl IntoIterator<Item = &'c CacheFacts>) -> bool {
    caches.into_iter().any(|cache| cache.target == PACKAGES)
}

/// A stage and those that it begins with, the first one last.
fn chain<'s, 'a>(scope: &'s Scope<'a>, stage: &'s Stage<'a>) -> impl Iterator<Item = &'s Stage<'a>> {
    std::iter::successors(Some(stage), |stage| stage.base.map(|base| &scope.stages[base]))
}

/// The first instruction that a stage stands on which could have a mount for APT's packages.
fn first_with_packages<'s, 'a>(scope: &'s Scope<'a>, stage: &'s Stage<'a>) -> Option<(&'s Stage<'a>, usize)> {
    let could =
        |instruction: &Instruction| scope.facts.step(instruction).is_some_and(|step| keeps_packages(&step.caches));
    chain(scope, stage).filter_map(|stage| Some((stage, stage.body.iter().position(could)?))).last()
}

/// Whether an instruction before this one, or of a stage that this one begins with, does something about it.
fn thought_of(scope: &Scope<'_>, stage: &Stage<'_>, at: usize) -> bool {
    let bases = chain(scope, stage).skip(1).flat_map(|base| base.body);
    stage.body[..at].iter().chain(bases).any(|instruction| THOUGHT_OF.iter().any(|word| says(instruction, word)))
}

/// Whether some instruction may take APT's configuration out of a stage.
fn takes_configuration(scope: &Scope<'_>) -> bool {
    takes_from_stages(scope, |path| {
        let path = path.trim_start_matches(['/', '.']);
        path.contains("//") || path.is_empty() || path.trim_end_matches('/') == "etc" || path.starts_with("etc/apt")
    })
}

/// The variable that an `ENV` above the step should set. None where later steps could mean another place by it.
fn variable<'c>(
    scope: &Scope<'_>,
    stage: &Stage<'_>,
    at: usize,
    caches: &[&'c CacheFacts],
) -> Option<(&'static str, &'c str)> {
    let (name, target) = caches.iter().find_map(|cache| Some((cache.variable?, cache.target.as_str())))?;
    let sets =
        |pairs: &Pairs| pairs.pairs.iter().any(|(known, _)| ["HOME", "XDG_CACHE_HOME"].contains(&known.text.as_str()));
    let moves = |kind: &InstructionKind| match kind {
        InstructionKind::User(_) => true,
        InstructionKind::Env(pairs) => sets(pairs),
        _ => false,
    };
    let is_base =
        scope.stages.iter().any(|other| other.base.is_some_and(|base| std::ptr::eq(&scope.stages[base], stage)));
    let settled = !is_base && !stage.body[at + 1..].iter().any(|later| moves(&later.kind));
    (settled && !scope.is_declared(stage, at, name)).then_some((name, target))
}
