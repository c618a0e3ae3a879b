//! Fixes of generated Dockerfiles: they add what they say, and leave everything else as it was written.

use crate::advice::{images, mended, sound};
use crate::support::{options, try_lower_with};
use kiln_dockerfile::ast::{Instruction, InstructionKind};
use kiln_dockerfile::parse_strict;
use kiln_lower::Options;
use proptest::prelude::*;

/// Commands of known tools and of others, on one line each; `~` stands for a place where the line may go on in the next.
const COMMANDS: &[&str] = &[
    "go build -o /a ~./cmd/...",
    "go mod download",
    "CGO_ENABLED=0 ~go build -o app",
    "go vet && ~go test ./... && ~go build",
    "npm ci --omit=dev",
    "npm install ~&& npm run build",
    "cargo build ~--release",
    "pip install ~-r requirements.txt",
    "pip install --no-cache-dir ~flask",
    "apt-get update && ~apt-get install -y gcc",
    "apt-get update && ~apt-get install -y gcc ~&& rm -rf /var/lib/apt/lists/*",
    "apt-get update ~&& rm -rf /var/lib/apt/lists/* ~&& true",
    "set -eux; ~apk add curl",
    "dnf install -y gcc ~&& dnf clean all",
    "make ~all",
    "echo 'a  b' # not a comment",
    "",
];

/// Other instructions, and what may stand between them.
const LINES: &[&str] = &[
    "",
    "  ",
    "# A comment: RUN go build",
    "\t# An indented one",
    "COPY go.mod go.sum ./",
    "COPY . .",
    "copy  package.json   .",
    "ENV GOCACHE=/cache",
    "ENV A=b C=\"d e\"",
    "ENV HOME=/home/x",
    "ARG COMMIT",
    "WORKDIR /src",
    "USER app",
    "RUN [\"npm\", \"ci\"]",
];

const BASES: &[&str] = &["golang:1.25", "node", "rust", "python", "debian"];

/// A RUN as somebody may write it.
#[derive(Debug, Clone)]
struct Run {
    keyword: &'static str,
    blanks: &'static str,
    flags: &'static str,
    command: &'static str,
    /// What follows the escape character at the places where a line may go on; none for a command on one line.
    breaks: Option<&'static str>,
    heredoc: bool,
}

fn run() -> impl Strategy<Value = Run> {
    let keyword = prop::sample::select(&["RUN", "RUN", "run"][..]);
    let blanks = prop::sample::select(&[" ", " ", "   ", "\t", "\\ "][..]);
    let flags = prop::sample::select(
        &[
            "",
            "",
            "--network=default ",
            "--mount=type=tmpfs,target=/tmp ",
            "--mount=type=cache,target=/root/.cache/go-build ",
        ][..],
    );
    let breaks = prop::option::of(prop::sample::select(&["", "  ", "\n# why", "\n  # why", "\n"][..]));
    (keyword, blanks, flags, prop::sample::select(COMMANDS), breaks, prop::bool::weighted(0.15)).prop_map(
        |(keyword, blanks, flags, command, breaks, heredoc)| Run { keyword, blanks, flags, command, breaks, heredoc },
    )
}

impl Run {
    /// Its text, with `\` for the escape character.
    fn text(&self) -> String {
        let Self { keyword, blanks, flags, command, breaks, heredoc } = self;
        let start =
            if *blanks == "\\ " { format!("{keyword} \\\n  {flags}") } else { format!("{keyword}{blanks}{flags}") };
        match (heredoc, breaks) {
            (true, _) => format!("{keyword} {flags}<<EOF\n{}\nEOF", command.replace('~', "")),
            (_, None) => format!("{start}{}", command.replace('~', "")),
            (_, Some(between)) => format!("{start}{}", command.replace('~', &format!("\\{between}\n    "))),
        }
    }
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![2 => prop::sample::select(LINES).prop_map(str::to_owned), 3 => run().prop_map(|run| run.text())]
}

fn stage() -> impl Strategy<Value = String> {
    (prop::sample::select(BASES), prop::collection::vec(line(), 1..6))
        .prop_map(|(base, lines)| format!("FROM {base} AS @\n{}", lines.join("\n")))
}

prop_compose! {
    /// A Dockerfile: stages, a last one that copies from them, in one of the manners that files are written in.
    fn dockerfile()(
        stages in prop::collection::vec(stage(), 1..4),
        last in prop::sample::select(&["FROM scratch", "FROM debian\nRUN apt-get update", "FROM s0"][..]),
        copied in prop::sample::select(&["/a", "/root", "/etc", "/src/app"][..]),
        line_break in prop::sample::select(&["\n", "\n", "\r\n"][..]),
        escape in prop::sample::select(&["\\", "\\", "`"][..]),
        mark in any::<bool>(),
        ends in any::<bool>(),
    ) -> String {
        let stages = stages.iter().enumerate().map(|(place, stage)| stage.replacen('@', &format!("s{place}"), 1));
        let mut lines: Vec<String> = stages.collect();
        lines.extend([last.to_owned(), format!("COPY --from=s0 {copied} /x")]);
        if escape != "\\" {
            lines.insert(0, format!("# escape={escape}"));
        }
        let text = lines.join("\n").replace('\\', escape).replace('\n', line_break);
        format!("{}{text}{}", if mark { "\u{feff}" } else { "" }, if ends { line_break } else { "" })
    }
}

/// What an instruction says, without the cache mounts that a fix adds.
fn said(instruction: &Instruction, with_mounts: bool) -> String {
    let InstructionKind::Run(run) = &instruction.kind else { return instruction.original.clone() };
    let mounts: Vec<&str> = instruction.original.split_whitespace().filter(|word| word.starts_with("--")).collect();
    let mounts = if with_mounts { mounts.join(" ") } else { String::new() };
    format!("{} {mounts} {:?}", instruction.keyword.value, run.script())
}

/// Whether a line is one that fixes put in.
fn is_added(line: &str) -> bool {
    ["ENV GOCACHE=", "    --mount=type=cache,", "RUN rm -f /etc/apt/apt.conf.d/docker-clean"]
        .iter()
        .any(|start| line.starts_with(start))
}

/// Checks that the lines of a mended text are those that it had, but for what was put before commands, and new ones.
fn lines_stay(before: &str, after: &str) {
    let mut old = before.split_inclusive('\n').peekable();
    for new in after.split_inclusive('\n') {
        let stays = old.peek().is_some_and(|line| {
            let command = line.get(3..).filter(|_| line[..line.len().min(3)].eq_ignore_ascii_case("run"));
            let command = command.map(|rest| rest.trim_start_matches([' ', '\t']));
            *line == new || command.is_some_and(|command| !command.trim().is_empty() && new.ends_with(command))
        });
        if stays {
            old.next();
            continue;
        }
        let starts =
            new.get(..3).is_some_and(|word| word.eq_ignore_ascii_case("run")) && new.contains("--mount=type=cache,");
        assert!(is_added(new) || starts, "{new:?} is new in\n{after}\nof\n{before}");
    }
    assert_eq!(old.next(), None, "{after}\nof\n{before}");
}

/// Checks that what was moved is all there, once, and that nothing else changed its place.
fn moved(before: &[Instruction], after: &[Instruction], copied: usize) {
    let is_new = |text: &str| text.contains("docker-clean") || text.starts_with("ENV GOCACHE=/root");
    let texts = |all: &[Instruction]| -> Vec<String> {
        all.iter().map(|one| said(one, false)).filter(|text| !is_new(text)).collect()
    };
    let (old, mut new) = (texts(before), texts(after));
    for _ in 0..copied {
        let first = new.iter().position(|text| {
            let words: Vec<&str> = text.split_whitespace().collect();
            matches!(&words[..], [copy, "go.mod", "go.sum", "./"] if copy.eq_ignore_ascii_case("copy"))
        });
        // Where the Dockerfile had such a line already, taking either leaves the same.
        new.remove(first.expect("the manifests are copied"));
    }
    let may_move = |text: &&String| text.starts_with("ARG ") || text.ends_with(" . .");
    let stays = |all: &[String]| all.iter().filter(|text| !may_move(text)).cloned().collect::<Vec<_>>();
    if copied == 0 || !old.iter().any(|text| text.contains("go.mod go.sum")) {
        assert_eq!(stays(&old), stays(&new));
    }
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all
    };
    assert_eq!(sorted(old), sorted(new));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn fixes_add_and_nothing_else(before in dockerfile()) {
        let images = images();
        let is_one = try_lower_with(&before, &Options { all_stages: true, ..options() }, &images).is_ok();
        prop_assume!(is_one);
        let parsed = parse_strict(&before).unwrap();
        let after = mended(&before, &images);
        sound(&before, &after.text, &images);
        let mended_by = |name: &str| after.mended.iter().filter(|(rule, _)| *rule == name).count();
        let copied = mended_by("CopyBeforeDependencies");
        if copied + mended_by("ChangingArgTooEarly") > 0 && mended_by("CacheDeletedInStep") == 0 {
            let now = parse_strict(&after.text).unwrap();
            moved(&parsed.instructions, &now.instructions, copied);
        } else if mended_by("CacheDeletedInStep") == 0 {
            lines_stay(&before, &after.text);
            let mended = parse_strict(&after.text).unwrap();
            let mut left = mended.instructions.iter();
            for instruction in &parsed.instructions {
                let same = left.find(|now| said(now, false) == said(instruction, false));
                prop_assert!(same.is_some(), "{:?} is gone from {}", instruction.original, after.text);
                let (now, then) = (said(same.unwrap(), true), said(instruction, true));
                let own: Vec<&str> = then.split(' ').filter(|word| word.starts_with("--")).collect();
                prop_assert!(own.iter().all(|flag| now.contains(flag)), "{then:?} has become {now:?}");
            }
        }
        let breaks = |text: &str| (text.matches("\r\n").count() == text.matches('\n').count(), text.ends_with('\n'));
        if before.contains('\n') {
            prop_assert_eq!(breaks(&before), breaks(&after.text));
        }
        prop_assert_eq!(before.starts_with('\u{feff}'), after.text.starts_with('\u{feff}'));
    }
}
