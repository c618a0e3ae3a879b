//! `CacheMountMissing`

use super::cache_deleted_in_step::deletion;
use super::edits::{Manner, flag};
use super::{Finding, Report, Rule, Scope, keyword};
use crate::ast::{InstructionKind, Pairs};
use crate::rules::scope::Stage;
use crate::rules::{CacheFacts, Fix};

pub(in crate::rules) static RULE: Rule = Rule {
    name: "CacheMountMissing",
    summary: "steps keep the caches of their tools",
    explanation: "Each time a step runs, its tools begin with what is in the image: they compile and download everything again. A cache mount \
                  keeps what they had, from build to build and outside of the image. Known are the tools of [auto-cache.md](auto-cache.md), whose caches \
                  `kiln build` keeps without a mount; other builders need it.\n\n\
                  The fix adds the mounts, and for Go the variable that names the place. It is offered for steps of stages that are no image themselves, \
                  where nothing after the step looks at the directory: elsewhere the image, or a step, would lack what the directory held.",
    bad: "FROM golang:1.25 AS build\nWORKDIR /src\nCOPY . .\nRUN go build -o /app\n\nFROM scratch\nCOPY --from=build /app /\n",
    good: "FROM golang:1.25 AS build\nWORKDIR /src\nCOPY . .\nENV GOCACHE=/root/.cache/go-build\n\
           RUN --mount=type=cache,target=/root/.cache/go-build \\\n    \
           --mount=type=cache,target=/go/pkg/mod/cache/download \\\n    \
           go build -o /app\n\nFROM scratch\nCOPY --from=build /app /\n",
    experimental: false,
    own: true,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    let manner = Manner::of(scope);
    for stage in scope.built() {
        for (at, instruction) in stage.body.iter().enumerate() {
            let InstructionKind::Run(_) = &instruction.kind else { continue };
            let Some(step) = scope.facts.step(instruction) else { continue };
            // What the step deletes itself no mount keeps: that is for CacheDeletedInStep to tell.
            let deletes = deletion(step).is_some();
            let caches: Vec<&CacheFacts> =
                step.caches.iter().filter(|cache| !deletes || !cache.is_of_system()).collect();
            let Some(first) = caches.first() else { continue };
            let before = at.checked_sub(1).map_or(stage.instruction, |before| &stage.body[before]);
            let flags: Vec<String> = caches.iter().filter_map(|cache| flag(cache)).collect();
            let mut hint = format!("add `{}`", flags.join(" "));
            if step.in_image {
                hint.push_str("; the image then lacks what is there, so that `--fix` leaves it to you");
            }
            let edits = manner.add_mounts(instruction, &caches).map(|mounts| {
                let variable = variable(scope, stage, at, &caches);
                let line = variable
                    .map(|(name, value)| manner.line_above(before, instruction, &format!("ENV {name}={value}")));
                line.into_iter().chain([mounts]).collect()
            });
            let fix = edits.map(|edits| Fix { title: "add cache mounts".to_owned(), edits });
            report.push(Finding {
                message: format!("`{}` starts without its cache each time", first.command),
                span: keyword(instruction),
                hint: Some(hint),
                fix: fix.filter(|_| !step.in_image),
            });
        }
    }
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
