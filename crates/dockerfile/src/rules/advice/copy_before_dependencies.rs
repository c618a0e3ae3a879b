//! `CopyBeforeDependencies`

use super::{Finding, Report, Rule, Scope, copies_everything};
use crate::ast::InstructionKind;
use crate::rules::CommandFacts;

pub(in crate::rules) static RULE: Rule = Rule {
    name: "CopyBeforeDependencies",
    summary: "dependencies are fetched before all files are copied",
    explanation: "A step runs again when any file that was copied before it has changed. Dependencies only depend on the files that list them: \
                  copy these, fetch, and copy the rest afterwards; then an edit of the program leaves the dependencies alone.\n\n\
                  There is no fix, since a fetch may read more than its lists: a script that it runs, a package of the project's own.",
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
        let mut copied = None;
        for (at, instruction) in stage.body.iter().enumerate() {
            if let InstructionKind::Run(_) = &instruction.kind {
                let step = scope.facts.step(instruction);
                let lists = step.iter().flat_map(|step| &step.commands).find_map(lists);
                match (lists, copied) {
                    // What was fetched before is there already.
                    (Some(_), None) => break,
                    (Some((does, lists)), Some(span)) => {
                        report.push(Finding {
                            message: format!("all files are copied before `{does}`, which each edit runs again"),
                            span,
                            hint: Some(format!("copy {lists} alone before it, and the rest after it")),
                            fix: None,
                        });
                        break;
                    }
                    (None, _) => {}
                }
            }
            copied = copied.or_else(|| copies_everything(scope, stage, at));
        }
    }
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
