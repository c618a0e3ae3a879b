//! `CopyBeforeDependencies`

use super::edits::Manner;
use super::unread::is_only;
use super::{Finding, Report, Rule, Scope, copies_everything, go_modules, takes_from_stages};
use crate::ast::{CommandForm, Instruction, InstructionKind, MountFlag, Source};
use crate::rules::scope::Stage;
use crate::rules::{CommandFacts, Edit, Fix};
use crate::span::Span;

pub(in crate::rules) static RULE: Rule = Rule {
    name: "CopyBeforeDependencies",
    summary: "dependencies are fetched before all files are copied",
    explanation: "A step runs again when any file that was copied before it has changed. Dependencies only depend on the files that list them: \
                  copy these, fetch, and copy the rest afterwards; then an edit of the program leaves the dependencies alone.\n\n\
                  The fix does this for `go mod download`, which reads `go.mod` and `go.sum` alone where the context has no `go.work` and no `vendor`, and no \
                  `replace` names a directory; in stages that are no image themselves, whose `go.mod` nobody copies. (`go mod download` mends a `go.mod` \
                  that does not hold together. Should yours be one, the build then stops at `go build`, and tells you to run `go mod tidy`.)\n\n\
                  For other tools the move is left to you, since they may read more than their lists: `npm`, `pnpm`, `yarn`, `bun` and `composer` run scripts of the project \
                  and of its dependencies, and `npm install` writes its lock file; `cargo fetch` needs the files of all targets; `bundle`, `uv`, `poetry` and `pip -e` build \
                  the project itself, requirements may name others and directories.",
    bad: "FROM golang:1.25 AS build\nWORKDIR /src\nCOPY . .\nRUN go mod download\nRUN --mount=type=cache,target=/root/.cache/go-build go build -o /app\n\n\
          FROM scratch\nCOPY --from=build /app /\n",
    good: "FROM golang:1.25 AS build\nWORKDIR /src\nCOPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\n\
           RUN --mount=type=cache,target=/root/.cache/go-build go build -o /app\n\n\
           FROM scratch\nCOPY --from=build /app /\n",
    experimental: false,
    own: true,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for stage in scope.built() {
        let mut copied: Option<(usize, Span)> = None;
        for (at, instruction) in stage.body.iter().enumerate() {
            if let InstructionKind::Run(_) = &instruction.kind {
                let step = scope.facts.step(instruction);
                let lists = step.iter().flat_map(|step| &step.commands).find_map(lists);
                match (lists, copied) {
                    // What was fetched before is there already.
                    (Some(_), None) => break,
                    (Some((does, lists)), Some((copy, span))) => {
                        report.push(Finding {
                            message: format!("all files are copied before `{does}`, which each edit runs again"),
                            span,
                            hint: Some(format!("copy {lists} alone before it, and the rest after it")),
                            fix: fix(scope, stage, copy, at),
                        });
                        break;
                    }
                    (None, _) => {}
                }
            }
            copied = copied.or_else(|| Some((at, copies_everything(scope, stage, at)?)));
        }
    }
}

/// Copies the lists first, and everything below the step at `run`, if the stage is then as it was.
fn fix(scope: &Scope<'_>, stage: &Stage<'_>, copy: usize, run: usize) -> Option<Fix> {
    let (copying, fetching) = (&stage.body[copy], &stage.body[run]);
    let step = scope.facts.step(fetching).filter(|step| !step.in_image && step.is_root)?;
    let settles = |between: &Instruction| {
        matches!(between.kind, InstructionKind::Arg(_) | InstructionKind::Env(_) | InstructionKind::Label(_))
    };
    if !stage.body[copy + 1..run].iter().all(settles) {
        return None;
    }
    let destination = plain_destination(copying)?;
    if resolved(&step.cwd, destination) != step.cwd || !mounts_stay_apart(fetching, &step.cwd) {
        return None;
    }
    let files = go_modules::manifests(&is_only(step, fetching)?, step, scope.facts)?;
    if takes(scope, &step.cwd, &files) {
        return None;
    }
    let manner = Manner::of(scope);
    let before = copy.checked_sub(1).map_or(stage.instruction, |before| &stage.body[before]);
    let (span, lines) = manner.block(before, copying)?;
    let slash = if destination.ends_with('/') { "" } else { "/" };
    let text = format!("{} {} {destination}{slash}", copying.keyword.value, files.join(" "));
    let edits = vec![Edit { span, text }, manner.lines_below(fetching, lines)?];
    Some(Fix { title: format!("copy {} first", files.join(" and ")), edits })
}

/// Where an instruction copies to, if it is `COPY . DESTINATION` and nothing else.
fn plain_destination(instruction: &Instruction) -> Option<&str> {
    let InstructionKind::Copy(copy) = &instruction.kind else { return None };
    let [Source::Path(source)] = &copy.sources[..] else { return None };
    let words = [instruction.keyword.value.as_str(), source.text.as_str(), copy.dest.text.as_str()];
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    let is_all = instruction.original.split_whitespace().eq(words);
    (is_all && matches!(source.text.as_str(), "." | "./") && plain(&copy.dest.text)).then_some(&copy.dest.text)
}

/// A path as seen from a directory; with `..` one that fits nothing.
fn resolved(cwd: &str, path: &str) -> String {
    let mut whole = if path.starts_with('/') { String::new() } else { cwd.trim_end_matches('/').to_owned() };
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        whole.push('/');
        whole.push_str(part);
    }
    if whole.is_empty() { "/".to_owned() } else { whole }
}

/// Whether a step has no mounts but caches that are nowhere near a directory.
fn mounts_stay_apart(run: &Instruction, directory: &str) -> bool {
    let InstructionKind::Run(run) = &run.kind else { return false };
    let apart = |mount: &MountFlag| {
        let word = |name: &str| mount.value(name).map(|word| word.text.as_str());
        let target = word("target").or_else(|| word("dst")).or_else(|| word("destination")).unwrap_or_default();
        let plain = target.starts_with('/') && !target.contains(['$', '"', '\'', '\\']) && !target.contains("..");
        let target = resolved("/", target);
        word("type") == Some("cache") && word("from").is_none() && plain && !near(&target, directory)
    };
    matches!(run.form, CommandForm::Shell(_)) && run.mounts.iter().all(apart)
}

/// Whether one of two paths leads to the other.
fn near(path: &str, other: &str) -> bool {
    let below = |path: &str, other: &str| {
        path.strip_prefix(other.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    below(path, other) || below(other, path)
}

/// Whether some instruction may take one of the files out of a stage's directory.
fn takes(scope: &Scope<'_>, directory: &str, files: &[&str]) -> bool {
    takes_from_stages(scope, |path| {
        let path = resolved("/", path);
        files.iter().any(|file| near(&format!("{directory}/{file}"), &path))
    })
}

/// The files that list what a command fetches, if that is all it does.
fn lists(command: &CommandFacts) -> Option<(&str, &'static str)> {
    let does = command.does.as_deref()?;
    let named = || command.args().skip(1).any(|arg| !arg.starts_with('-'));
    let lists = match does {
        "go mod download" => "`go.mod` and `go.sum`",
        "npm ci" | "npm clean-install" => "`package.json` and `package-lock.json`",
        "npm install" | "npm i" if !named() => "`package.json` and `package-lock.json`",
        "pnpm install" | "pnpm i" if !named() => "`package.json` and `pnpm-lock.yaml`",
        "yarn install" => "`package.json` and `yarn.lock`",
        "bun install" | "bun i" if !named() => "`package.json` and `bun.lock`",
        "pip install" if command.args().any(|arg| arg == "-r" || arg.starts_with("--requirement")) => {
            "the requirements"
        }
        "uv sync" => "`pyproject.toml` and `uv.lock`",
        "poetry install" => "`pyproject.toml` and `poetry.lock`",
        "cargo fetch" => "`Cargo.toml` and `Cargo.lock`",
        "bundle install" => "`Gemfile` and `Gemfile.lock`",
        "composer install" => "`composer.json` and `composer.lock`",
        "dotnet restore" => "the project files",
        _ => return None,
    };
    Some((does, lists))
}
