//! `CacheDeletedInStep`

use super::{Finding, Report, Rule, Scope, keyword};
use crate::ast::InstructionKind;
use crate::rules::{CommandFacts, StepFacts};

pub(in crate::rules) static RULE: Rule = Rule {
    name: "CacheDeletedInStep",
    summary: "steps keep what package managers download",
    explanation: "A step that downloads packages and then deletes them, or is told not to keep them, downloads all of them again when it runs again: for \
                  one package more. A cache mount keeps them outside of the image, which is just as small. Take out what deletes them \
                  (`rm -rf /var/lib/apt/lists/*`, `npm cache clean`, `--no-cache-dir`), and give the step the mounts.\n\n\
                  Debian's and Ubuntu's images also delete what APT has downloaded, by `/etc/apt/apt.conf.d/docker-clean`; a step above has to remove \
                  that file.",
    bad: "FROM python:3.13\nCOPY requirements.txt .\nRUN pip install --no-cache-dir -r requirements.txt\n",
    good: "FROM python:3.13\nCOPY requirements.txt .\n\
           RUN --mount=type=cache,target=/root/.cache/pip \\\n    pip install -r requirements.txt\n",
    experimental: false,
    own: true,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for instruction in scope.built().flat_map(|stage| stage.body) {
        let InstructionKind::Run(run) = &instruction.kind else { continue };
        let Some(step) = scope.facts.step(instruction) else { continue };
        let has_cache = run.mounts.iter().any(|mount| mount.value("type").is_some_and(|word| word.text == "cache"));
        let Some(deletion) = deletion(step).filter(|_| !has_cache) else { continue };
        report.push(Finding {
            message: format!("`{}` makes each run of the step download all packages again", deletion.text),
            span: keyword(instruction),
            hint: Some(format!("leave it out, and add `{}`", deletion.instead)),
            fix: None,
        });
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
