//! `ChangingArgTooEarly`

use super::edits::Manner;
use super::unread::{is_nobodys, reads_no_variable};
use super::{Finding, Report, Rule, Scope, mentions};
use crate::ast::{Arg, InstructionKind};
use crate::rules::Fix;
use crate::rules::scope::Stage;

pub(in crate::rules) static RULE: Rule = Rule {
    name: "ChangingArgTooEarly",
    summary: "arguments that always change stand below the steps that don't use them",
    explanation: "Every step below an `ARG` gets it as a variable, so that a new value makes all of them run again. A date or a commit is new in each \
                  build. Declare it right above what uses it, below the steps that download and compile.\n\n\
                  The fix moves it below steps that certainly don't read it, of stages that are no image themselves: those of `go mod download`, \
                  `go build` and `cargo fetch`, which run no program of anybody else's. Where a step runs a script, installs packages, or compiles with \
                  `cargo` (whose build scripts see all variables), nobody can tell, and the move is left to you.",
    bad: "FROM golang:1.25 AS build\nARG COMMIT\nWORKDIR /src\nCOPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\n\
          RUN --mount=type=cache,target=/root/.cache/go-build go build -ldflags \"-X main.commit=$COMMIT\" -o /app\n\n\
          FROM scratch\nCOPY --from=build /app /\n",
    good: "FROM golang:1.25 AS build\nWORKDIR /src\nCOPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\nARG COMMIT\n\
           RUN --mount=type=cache,target=/root/.cache/go-build go build -ldflags \"-X main.commit=$COMMIT\" -o /app\n\n\
           FROM scratch\nCOPY --from=build /app /\n",
    experimental: false,
    own: true,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for stage in scope.built() {
        for (at, instruction) in stage.body.iter().enumerate() {
            let InstructionKind::Arg(args) = &instruction.kind else { continue };
            for arg in args.iter().filter(|arg| changes(arg)) {
                let name = &arg.name.text;
                let below = stage.body[at + 1..].iter();
                let unrelated = below.take_while(|later| !mentions(later, name)).find_map(|later| {
                    let step = scope.facts.step(later)?;
                    step.commands.iter().find_map(|command| command.does.clone())
                });
                if let Some(does) = unrelated {
                    report.push(Finding {
                        message: format!("each new `{name}` runs `{does}` again, which does not use it"),
                        span: arg.name.span,
                        hint: Some(format!("move `ARG {name}` to right above what uses it")),
                        fix: fix(scope, stage, at, args),
                    });
                }
            }
        }
    }
}

/// Moves the argument below the steps that don't read it, if one of them is worth it.
fn fix(scope: &Scope<'_>, stage: &Stage<'_>, at: usize, args: &[Arg]) -> Option<Fix> {
    let [arg] = args else { return None };
    let plain = |text: &str| !text.contains(['$', '"', '\'', '\\', '`']);
    if !is_nobodys(&arg.name.text) || !arg.default.as_ref().is_none_or(|default| plain(&default.text)) {
        return None;
    }
    let below = &stage.body[at + 1..];
    let passes = |instruction: &&crate::ast::Instruction| {
        !mentions(instruction, &arg.name.text)
            && match &instruction.kind {
                InstructionKind::Run(_) => reads_no_variable(scope, stage, instruction),
                InstructionKind::Onbuild(_) => false,
                _ => true,
            }
    };
    let passed = below.iter().take_while(passes).count();
    let mut steps = below[..passed].iter().filter_map(|passed| scope.facts.step(passed));
    if !steps.any(|step| step.commands.iter().any(|command| command.does.is_some())) {
        return None;
    }
    let user = at + 1 + passed;
    let manner = Manner::of(scope);
    let before = at.checked_sub(1).map_or(stage.instruction, |before| &stage.body[before]);
    let (span, lines) = manner.block(before, &stage.body[at])?;
    let edits =
        vec![manner.without_lines(span)?, manner.line_above(&stage.body[user - 1], stage.body.get(user)?, lines)];
    Some(Fix { title: format!("move `ARG {}` to what may use it", arg.name.text), edits })
}

/// Whether an argument's name says that each build gives it another value, and nothing says which one it is.
fn changes(arg: &Arg) -> bool {
    const WORDS: &[&str] = &[
        "DATE",
        "TIMESTAMP",
        "COMMIT",
        "SHA",
        "REVISION",
        "BUILDDATE",
        "BUILDTIME",
        "BUILDNUMBER",
        "GITSHA",
        "GITCOMMIT",
    ];
    const PAIRS: &[&str] = &["BUILD_TIME", "BUILD_NUMBER", "BUILD_ID", "VCS_REF", "GIT_REF", "GIT_HASH", "COMMIT_HASH"];
    // A default of some length is a version that is held on to.
    let open = arg.default.as_ref().is_none_or(|default| default.text.trim_matches(['"', '\'']).len() < 8);
    let name = arg.name.text.to_ascii_uppercase();
    let is_predefined = name == "SOURCE_DATE_EPOCH";
    open && !is_predefined
        && (name.split('_').any(|part| WORDS.contains(&part)) || PAIRS.iter().any(|pair| name.contains(pair)))
}
