//! `CacheDeletedInStep`

use super::{Finding, Report, Rule, Scope, keyword, mounting};
use crate::ast::{CommandForm, InstructionKind};
use crate::rules::scope::Stage;
use crate::rules::{CacheFacts, CommandFacts, Edit, Fix, StepFacts};
use crate::span::Span;

pub(in crate::rules) static RULE: Rule = Rule {
    name: "CacheDeletedInStep",
    summary: "steps keep what package managers download",
    explanation: "A step that downloads packages and then deletes them, or is told not to keep them, downloads all of them again when it runs again: for \
                  one package more. A cache mount keeps them outside of the image, which is just as small. Take out what deletes them \
                  (`rm -rf /var/lib/apt/lists/*`, `npm cache clean`, `--no-cache-dir`), and give the step the mounts.\n\n\
                  Debian's and Ubuntu's images also delete what APT has downloaded, by `/etc/apt/apt.conf.d/docker-clean`; a step above has to remove \
                  that file.\n\n\
                  The fix does all of this for an `rm -rf` of APT's directories, in stages that are no image themselves.",
    bad: "FROM python:3.13\nCOPY requirements.txt .\nRUN pip install --no-cache-dir -r requirements.txt\n",
    good: "FROM python:3.13\nCOPY requirements.txt .\n\
           RUN --mount=type=cache,target=/root/.cache/pip \\\n    pip install -r requirements.txt\n",
    experimental: false,
    own: true,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    let instructions =
        scope.built().flat_map(|stage| stage.body.iter().enumerate().map(move |(at, it)| (stage, at, it)));
    for (stage, at, instruction) in instructions {
        let InstructionKind::Run(run) = &instruction.kind else { continue };
        let Some(step) = scope.facts.step(instruction) else { continue };
        let has_cache = run.mounts.iter().any(|mount| mount.value("type").is_some_and(|word| word.text == "cache"));
        let Some(deletion) = deletion(step).filter(|_| !has_cache) else { continue };
        report.push(Finding {
            message: format!("`{}` makes each run of the step download all packages again", deletion.text),
            span: keyword(instruction),
            hint: Some(format!("leave it out, and add `{}`", deletion.instead)),
            fix: fix(scope, stage, at, step, &deletion),
        });
    }
}

/// Takes the deletion out where mounts take its place: where the image is another stage, and they hold all that it deletes.
fn fix(scope: &Scope<'_>, stage: &Stage<'_>, at: usize, step: &StepFacts, deletion: &Deletion) -> Option<Fix> {
    let caches: Vec<&CacheFacts> = step.caches.iter().filter(|cache| cache.is_of_system()).collect();
    let mut paths = deletion.text.strip_prefix("rm ")?.split(' ').filter(|word| !word.starts_with('-'));
    let is_held = |path: &str| caches.iter().any(|cache| below(path, &cache.target));
    let InstructionKind::Run(run) = &stage.body[at].kind else { return None };
    let is_line = matches!(run.form, CommandForm::Shell(_)) && run.heredocs.is_empty();
    if step.in_image || !is_line || !paths.all(is_held) {
        return None;
    }
    let mut edits = mounting::edits(scope, stage, at, &caches)?;
    edits.push(without(scope, stage.body[at].span, &deletion.text)?);
    Some(Fix { title: "keep packages in cache mounts".to_owned(), edits })
}

fn below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) && !path.contains("..")
}

/// Takes a command out of an instruction's `… && command`, if it stands there once and is followed by nothing but `&& …`.
fn without(scope: &Scope<'_>, instruction: Span, command: &str) -> Option<Edit> {
    let text = scope.facts.source.get(instruction.range())?;
    let escape = scope.directives.escape;
    let mut found = text.match_indices(command);
    let (Some((at, _)), None) = (found.next(), found.next()) else { return None };
    let end = at + command.len();
    let after = skip_forward(&text[end..], escape);
    if !after.is_empty() && !after.starts_with("&&") {
        return None;
    }
    let before = skip_back(skip_back(&text[..at], escape).strip_suffix("&&")?, escape);
    // The line break after a comment would be left, and lead on into the next instruction.
    if before.ends_with('\n') {
        return None;
    }
    let place = |at: usize| Some(instruction.start + u32::try_from(at).ok()?);
    Some(Edit::remove(Span::new(place(before.len())?, place(end)?)))
}

/// A text without the blanks, and the line breaks that end nothing, at its beginning.
fn skip_forward(text: &str, escape: char) -> &str {
    let text = text.trim_start_matches([' ', '\t']);
    let next = text.strip_prefix(escape).map(|rest| rest.trim_start_matches([' ', '\t', '\r']));
    match next.and_then(|rest| rest.strip_prefix('\n')) {
        Some(rest) => skip_forward(rest, escape),
        None => text,
    }
}

/// The same at its end.
fn skip_back(text: &str, escape: char) -> &str {
    let text = text.trim_end_matches([' ', '\t']);
    let above = text.strip_suffix('\n').map(|above| above.trim_end_matches([' ', '\t', '\r']));
    match above.and_then(|above| above.strip_suffix(escape)) {
        Some(above) => skip_back(above, escape),
        None => text,
    }
}

/// What deletes what the step has downloaded, or keeps it from being kept.
pub(super) struct Deletion {
    pub(super) text: String,
    /// The mounts that take its place.
    pub(super) instead: &'static str,
}

const APT: &str = "--mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt/lists,sharing=locked";
const NPM: &str = "--mount=type=cache,target=/root/.npm/_cacache";
const PIP: &str = "--mount=type=cache,target=/root/.cache/pip";

/// The first one of a step.
pub(super) fn deletion(step: &StepFacts) -> Option<Deletion> {
    let downloads = |prefixes: &[&str]| {
        step.commands.iter().any(|command| {
            command.does.as_deref().is_some_and(|does| prefixes.iter().any(|prefix| does.starts_with(prefix)))
        })
    };
    step.commands.iter().find_map(|command| {
        let (instead, fits) = what(command)?;
        let text: Vec<&str> = command.words.iter().flatten().map(String::as_str).collect();
        let whole = || Deletion { text: text.join(" "), instead };
        match fits {
            Fits::Itself(flag) => Some(Deletion { text: flag.to_owned(), instead }),
            Fits::After(prefixes) => downloads(prefixes).then(whole),
        }
    })
}

enum Fits {
    /// The command downloads, and this is the word that says to keep nothing.
    Itself(&'static str),
    /// It matters where a command that does one of these has downloaded.
    After(&'static [&'static str]),
}

fn what(command: &CommandFacts) -> Option<(&'static str, Fits)> {
    let args: Vec<&str> = command.args().collect();
    let apt = Fits::After(&["apt-get update", "apt-get install", "apt update", "apt install"]);
    match (command.name(), &args[..]) {
        ("rm", paths)
            if paths
                .iter()
                .any(|path| path.starts_with("/var/lib/apt/lists") || path.starts_with("/var/cache/apt")) =>
        {
            Some((APT, apt))
        }
        ("apt-get" | "apt", ["clean" | "autoclean" | "distclean", ..]) => Some((APT, apt)),
        ("npm", ["cache", "clean", ..]) => Some((NPM, Fits::After(&["npm "]))),
        ("rm", paths) if paths.iter().any(|path| path.starts_with("/root/.npm")) => Some((NPM, Fits::After(&["npm "]))),
        ("pip" | "pip3", ["install", rest @ ..]) if rest.contains(&"--no-cache-dir") => {
            Some((PIP, Fits::Itself("--no-cache-dir")))
        }
        ("pip" | "pip3", ["cache", "purge"]) => Some((PIP, Fits::After(&["pip install"]))),
        _ => None,
    }
}
