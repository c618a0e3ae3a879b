//! `CacheMountMissing`

use super::cache_deleted_in_step::deletion;
use super::edits::flag;
use super::{Finding, Report, Rule, Scope, keyword, mounting};
use crate::ast::InstructionKind;
use crate::rules::{CacheFacts, Fix};

pub(in crate::rules) static RULE: Rule = Rule {
    name: "CacheMountMissing",
    summary: "steps keep the caches of their tools",
    explanation: "Each time a step runs, its tools begin with what is in the image: they compile and download everything again. A cache mount \
                  keeps what they had, from build to build and outside of the image. Known are the tools of [auto-cache.md](auto-cache.md), whose caches \
                  `kiln build` keeps without a mount; other builders need it.\n\n\
                  The fix adds the mounts, for Go the variable that names the place, and for APT a step that has it keep what it downloads. It is offered for steps of stages that are no image themselves, \
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
    for stage in scope.built() {
        for (at, instruction) in stage.body.iter().enumerate() {
            let InstructionKind::Run(_) = &instruction.kind else { continue };
            let Some(step) = scope.facts.step(instruction) else { continue };
            // What the step deletes itself no mount keeps: that is for CacheDeletedInStep to tell.
            let deletes = deletion(step).is_some();
            let caches: Vec<&CacheFacts> =
                step.caches.iter().filter(|cache| !deletes || !cache.is_of_system()).collect();
            let Some(first) = caches.first() else { continue };
            let flags: Vec<String> = caches.iter().filter_map(|cache| flag(cache)).collect();
            let mut hint = format!("add `{}`", flags.join(" "));
            if step.in_image {
                hint.push_str("; the image then lacks what is there, so that `--fix` leaves it to you");
            }
            let edits = mounting::edits(scope, stage, at, &caches).filter(|_| !step.in_image);
            report.push(Finding {
                message: format!("`{}` starts without its cache each time", first.command),
                span: keyword(instruction),
                hint: Some(hint),
                fix: edits.map(|edits| Fix { title: "add cache mounts".to_owned(), edits }),
            });
        }
    }
}
