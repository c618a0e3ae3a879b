//! What could be done about steps that ran for nothing: those that made what they had made before.
//!
//! Of some commands it is known which files of a project they read: those that only fetch what a project depends on. For the
//! others the advice is a condition, since nobody but the user knows what they need.

use super::record::{BuildRecord, StepRecord};
use kiln_solver::{Change, Reason};
use std::time::Duration;

/// Something that would make the next build quicker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advice {
    /// The number of the step that need not have run.
    pub step: u32,
    /// What to do.
    pub text: String,
    /// What it would have saved.
    pub saving: Duration,
}

/// Less is not worth an edit.
const WORTHWHILE: Duration = Duration::from_millis(200);

/// Commands that only fetch what a project depends on: their first words, and the files that they read, where `*` stands for anything.
const FETCHES: [(&[&str], &[&str]); 26] = [
    (&["go", "mod", "download"], &["go.mod", "go.sum", "go.work", "go.work.sum"]),
    (&["cargo", "fetch"], &["Cargo.toml", "Cargo.lock"]),
    (&["npm", "ci"], NPM),
    (&["npm", "install"], NPM),
    (&["npm", "i"], NPM),
    (&["yarn", "install"], &["package.json", "yarn.lock", ".yarnrc", ".yarnrc.yml"]),
    (&["pnpm", "install"], PNPM),
    (&["pnpm", "i"], PNPM),
    (&["pnpm", "fetch"], PNPM),
    (&["bun", "install"], &["package.json", "bun.lock", "bun.lockb", "bunfig.toml"]),
    (&["pip", "install", "-r"], PIP),
    (&["pip3", "install", "-r"], PIP),
    (&["pip", "install", "--requirement"], PIP),
    (&["pip3", "install", "--requirement"], PIP),
    (&["poetry", "install", "--no-root"], &["pyproject.toml", "poetry.lock", "poetry.toml"]),
    (&["uv", "sync", "--no-install-project"], &["pyproject.toml", "uv.lock"]),
    (&["bundle", "install"], &["Gemfile", "Gemfile.lock", "*.gemspec"]),
    (&["dotnet", "restore"], &["*.csproj", "*.fsproj", "*.sln", "*.props", "packages.lock.json", "nuget.config"]),
    (&["mvn", "dependency:go-offline"], &["pom.xml"]),
    (&["mvn", "dependency:resolve"], &["pom.xml"]),
    (&["apt-get", "update"], &[]),
    (&["apt-get", "install"], &[]),
    (&["apt", "update"], &[]),
    (&["apt", "install"], &[]),
    (&["apk", "add"], &[]),
    (&["dnf", "install"], &[]),
];

const NPM: &[&str] = &["package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"];
const PNPM: &[&str] = &["package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml", ".npmrc"];
const PIP: &[&str] = &["*.txt", "*.in"];

/// Commands beside those, which read no file of the project.
const HARMLESS: [&str; 7] = ["cd", "echo", "export", "mkdir", "set", "true", "rm"];

impl BuildRecord {
    /// What would have saved time: for a step that ran because of another, and made what it had made before.
    pub fn advice(&self) -> Vec<Advice> {
        let mut advice = Vec::new();
        for step in self.ran().filter(|step| step.same && step.instruction.starts_with("RUN")) {
            let saving = Duration::from_micros(step.duration);
            if saving < WORTHWHILE {
                continue;
            }
            let root = std::iter::successors(Some(step), |step| self.blamed(step)).last().unwrap_or(step);
            if let Some(text) = advise(step, root) {
                advice.push(Advice { step: step.number, text, saving });
            }
        }
        advice.sort_by_key(|advice| std::cmp::Reverse(advice.saving));
        advice
    }
}

fn advise(step: &StepRecord, root: &StepRecord) -> Option<String> {
    let Some(Reason::Changed(changes)) = &root.reason else { return None };
    let first = changes.first()?;
    let for_nothing = format!("`{}` made the same as before although {first}", step.instruction);
    if root.number == step.number {
        return match first {
            Change::Text { part, .. } if part.starts_with("ARG ") => {
                Some(format!("{for_nothing}: moving `{part}` below it would have kept it cached"))
            }
            _ => None,
        };
    }
    // Nothing can be moved below a step of another stage, and a step cannot do without what it runs on.
    let copies = root.instruction.starts_with("COPY") || root.instruction.starts_with("ADD");
    if root.stage != step.stage || !copies {
        return None;
    }
    let moved = format!("moving `{}` below it would have kept it cached", root.instruction);
    let Some(needs) = needs(&step.instruction) else {
        return Some(format!("{for_nothing}: if it does not need that, {moved}"));
    };
    if changes.iter().any(|change| touches(change, &needs)) {
        return None;
    }
    Some(match &needs[..] {
        [] => format!("{for_nothing}: {moved}"),
        [one, ..] => format!("{for_nothing}: copying only `{one}` and the like before it and {moved}"),
    })
}

/// The files that a RUN instruction reads of a project, if that is known.
fn needs(instruction: &str) -> Option<Vec<&'static str>> {
    let mut words = instruction.strip_prefix("RUN")?.trim_start();
    while words.starts_with("--") {
        words = words.split_once(char::is_whitespace)?.1.trim_start();
    }
    let mut needs = Vec::new();
    let mut fetches = false;
    for command in words.split(['\n', ';']).flat_map(|part| part.split("&&")).map(str::trim) {
        let words: Vec<&str> = command.trim_end_matches('\\').split_whitespace().collect();
        let Some(first) = words.first() else { continue };
        // Options may stand between a command's words: `apt-get -y install`.
        let known = FETCHES.iter().find(|(command, _)| {
            let mut rest = words.iter();
            *first == command[0] && command.iter().all(|wanted| rest.any(|word| word == wanted))
        });
        match known {
            Some((_, files)) => {
                fetches = true;
                needs.extend(*files);
            }
            None if HARMLESS.contains(first) => {}
            None => return None,
        }
    }
    fetches.then_some(needs)
}

/// Whether a change is one of these files. What else may have changed is taken for one.
fn touches(change: &Change, files: &[&str]) -> bool {
    let Change::Files { changed, added, removed, .. } = change else { return true };
    let mut paths = changed.iter().chain(added).chain(removed).peekable();
    let is_one = |path: &String| {
        let name = path.rsplit('/').next().unwrap_or_default();
        files.iter().any(|file| match file.strip_prefix('*') {
            Some(end) => name.ends_with(end),
            None => name == *file,
        })
    };
    paths.peek().is_none() || paths.any(is_one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::StepEnd;

    fn step(number: u32, instruction: &str, inputs: &[u32], changes: Vec<Change>) -> StepRecord {
        StepRecord {
            number,
            instruction: instruction.to_owned(),
            stage: Some("builder".to_owned()),
            inputs: inputs.to_vec(),
            end: StepEnd::Ran,
            reason: Some(Reason::Changed(changes)),
            duration: 14_000_000,
            same: true,
            ..StepRecord::default()
        }
    }

    fn files(path: &str) -> Vec<Change> {
        let part = "files".to_owned();
        vec![Change::Files { part, changed: vec![path.to_owned()], added: Vec::new(), removed: Vec::new() }]
    }

    fn copied(path: &str) -> StepRecord {
        StepRecord { reads_context: true, ..step(1, "COPY . .", &[], files(path)) }
    }

    fn advice(steps: Vec<StepRecord>) -> Vec<String> {
        let build = BuildRecord { steps, ..BuildRecord::default() };
        build.advice().into_iter().map(|advice| format!("{} {}", advice.text, advice.saving.as_secs())).collect()
    }

    #[test]
    fn copies_belong_below_what_does_not_need_them() {
        let input = || vec![Change::Input { part: "base".to_owned(), said: "COPY . . made something else".to_owned() }];
        let moved = "moving `COPY . .` below it would have kept it cached 14";
        for (command, changed, expected) in [
            ("RUN go mod download", "main.go", Some("copying only `go.mod` and the like before it and ")),
            (
                "RUN --mount=type=cache,target=/x cd a && npm ci --quiet",
                "src/a.js",
                Some("copying only `package.json` and the like before it and "),
            ),
            ("RUN apt-get update && apt-get -y install gcc", "main.c", Some("")),
            ("RUN go mod download", "sub/go.sum", None),
            ("RUN pip install -r requirements.txt", "requirements.txt", None),
            ("RUN make", "README.md", Some("if it does not need that, ")),
            ("RUN go mod download && go build", "main.go", Some("if it does not need that, ")),
            ("RUN pip install .", "setup.py", Some("if it does not need that, ")),
        ] {
            let told = advice(vec![copied(changed), step(2, command, &[1], input())]);
            let start = format!("`{command}` made the same as before although {changed} changed: ");
            let expected: Vec<_> = expected.into_iter().map(|what| format!("{start}{what}{moved}")).collect();
            assert_eq!(told, expected, "{command}");
        }
    }

    #[test]
    fn what_cannot_be_moved_is_not_advised() {
        let input = || vec![Change::Input { part: "base".to_owned(), said: String::new() }];
        let quick = StepRecord { duration: 10, ..step(2, "RUN make", &[1], input()) };
        let differs = StepRecord { same: false, ..step(2, "RUN make", &[1], input()) };
        let elsewhere = StepRecord { stage: Some("other".to_owned()), ..step(2, "RUN make", &[1], input()) };
        for step in [quick, differs, elsewhere] {
            assert_eq!(advice(vec![copied("main.go"), step]), Vec::<String>::new());
        }
        let base = step(1, "FROM golang", &[], input());
        assert_eq!(advice(vec![base, step(2, "RUN make", &[1], input())]), Vec::<String>::new());
    }

    #[test]
    fn arguments_that_change_nothing_belong_below() {
        let text = |value: &str| Some(value.to_owned());
        let change = Change::Text { part: "ARG VERSION".to_owned(), before: text("1"), after: text("2") };
        assert_eq!(
            advice(vec![step(1, "RUN make", &[], vec![change])]),
            [
                "`RUN make` made the same as before although ARG VERSION: 1 → 2: moving `ARG VERSION` below it would have kept it cached 14"
            ]
        );
    }
}
