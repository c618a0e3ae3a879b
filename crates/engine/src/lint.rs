//! The lints of a build: which ones run, on what, and what they find as callers see it.
//!
//! A build runs BuildKit's rules, a check also those of kiln's own ([`Rules`]), which may have fixes.
//!
//! `# check=…` on top of the Dockerfile says which rules run and whether findings fail the build; the build argument
//! `BUILDKIT_DOCKERFILE_CHECK` takes its place as a whole.

use crate::build::contexts::Contexts;
use crate::build::dockerfile::Dockerfile;
use crate::error::{EngineError, ErrorKind};
use crate::event::{Event, EventSink};
use kiln_dockerfile::rules::{self, Facts, Fix, Options, ReadText, StageFacts, StepFacts};
use kiln_dockerfile::{SourceMap, Span, ast};
use serde::Serialize;
use std::collections::BTreeMap;

/// Which lints run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// BuildKit's, as in a build.
    BuildKit,
    /// Also kiln's own.
    All,
}

/// The build argument that says what the directive would.
const OPTIONS_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What the lints found in a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lints {
    /// The Dockerfile as the user named it.
    pub file: String,
    /// Its text, for excerpts.
    pub text: String,
    /// The findings, in the order of the file.
    pub findings: Vec<Lint>,
    /// Whether findings are errors (`error=true`).
    pub fatal: bool,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lint {
    /// The rule's name.
    pub rule: &'static str,
    /// What the rule asks for.
    pub summary: &'static str,
    /// What was found: a lowercase fragment.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Byte range in the Dockerfile.
    pub span: (u32, u32),
    /// The first and the last line of that range, from 1.
    pub lines: (u32, u32),
    /// What mends it without a change of what the image holds.
    #[serde(skip)]
    pub fix: Option<Fix>,
}

/// What the lints are told.
pub(crate) struct Told<'a> {
    pub(crate) rules: Rules,
    pub(crate) build_args: &'a BTreeMap<String, String>,
    /// Without facts about a stage, rules that need them keep quiet there.
    pub(crate) stages: &'a [StageFacts],
    pub(crate) steps: &'a [StepFacts],
    pub(crate) contexts: &'a Contexts,
}

/// What a run of the lints gives.
pub(crate) struct Report {
    pub(crate) lints: Lints,
    /// Rules that the options name and that don't exist.
    pub(crate) unknown: Vec<Unknown>,
}

/// A rule that does not exist.
pub(crate) struct Unknown {
    pub(crate) message: String,
    /// The directive that names it, if one does.
    pub(crate) span: Option<(u32, u32)>,
}

/// Runs the lints on a Dockerfile.
pub(crate) fn run(dockerfile: &Dockerfile, parsed: &ast::Dockerfile, told: &Told<'_>) -> Result<Report, EngineError> {
    let (options, place) = options(dockerfile, parsed, told.build_args)?;
    let options = Options { advice: told.rules == Rules::All, ..options };
    let ignored = told.contexts.ignored();
    let (holds, text) = (told.contexts.holds(), told.contexts.text());
    let facts = Facts {
        build_args: told.build_args.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        stages: told.stages.to_vec(),
        source: &dockerfile.text,
        steps: told.steps.to_vec(),
        context_holds: holds.as_ref().map(|holds| holds as &dyn Fn(&str) -> bool),
        context_text: text.as_ref().map(|text| text as ReadText<'_>),
        ignored: ignored.as_ref().map(|ignored| ignored as &dyn Fn(&str) -> bool),
    };
    let warnings = rules::check(parsed, &facts, &options);
    let lints = if warnings.is_empty() {
        Lints { file: String::new(), text: String::new(), findings: Vec::new(), fatal: options.error }
    } else {
        let lines = SourceMap::new(&dockerfile.text);
        let finding = |warning: rules::Warning| Lint {
            rule: warning.rule.name,
            summary: warning.rule.summary,
            message: warning.message,
            hint: warning.hint,
            span: (warning.span.start, warning.span.end),
            lines: lines.lines(warning.span),
            fix: warning.fix,
        };
        Lints {
            file: dockerfile.name.clone(),
            text: dockerfile.text.clone(),
            findings: warnings.into_iter().map(finding).collect(),
            fatal: options.error,
        }
    };
    let unknown = options.unknown_rules().into_iter().map(|(name, near)| Unknown {
        message: match near {
            Some(near) => format!("there is no lint rule `{name}`; did you mean `{near}`?"),
            None => format!("there is no lint rule `{name}`"),
        },
        span: place.map(|span| (span.start, span.end)),
    });
    Ok(Report { lints, unknown: unknown.collect() })
}

/// The options, and where they stand if that is in the Dockerfile.
fn options(
    dockerfile: &Dockerfile,
    parsed: &ast::Dockerfile,
    build_args: &BTreeMap<String, String>,
) -> Result<(Options, Option<Span>), EngineError> {
    if let Some(text) = build_args.get(OPTIONS_ARG) {
        return match Options::parse(text) {
            Ok(options) => Ok((options, None)),
            Err(error) => {
                let mut wrong = EngineError::user(error);
                wrong.message = format!("build argument `{OPTIONS_ARG}`: {}", wrong.message);
                Err(wrong)
            }
        };
    }
    let Some(directive) = &parsed.directives.check else { return Ok((Options::default(), None)) };
    match Options::parse(&directive.value) {
        Ok(options) => Ok((options, Some(directive.span))),
        Err(error) => {
            let mut wrong = EngineError::user(error);
            wrong.place = Some(Box::new(dockerfile.place(directive.span, String::new())));
            Err(wrong)
        }
    }
}

impl Report {
    /// Sends what was found as events; the findings, if there are any.
    ///
    /// # Errors
    /// Findings that are errors.
    pub(crate) fn tell(self, events: &dyn EventSink) -> Result<Option<Box<Lints>>, EngineError> {
        for Unknown { message, span } in self.unknown {
            events.event(Event::Warning { message, span });
        }
        for finding in &self.lints.findings {
            events.event(Event::Lint(finding.clone()));
        }
        match self.lints.refused() {
            Some(error) => Err(error),
            None => Ok((!self.lints.findings.is_empty()).then(|| Box::new(self.lints))),
        }
    }
}

impl Lints {
    /// The error that findings are, if they are one. It carries the findings.
    pub(crate) fn refused(&self) -> Option<EngineError> {
        if !self.fatal || self.findings.is_empty() {
            return None;
        }
        let mut rules: Vec<&str> = self.findings.iter().map(|finding| finding.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        let message = format!("lint violation found for rules: {}", rules.join(", "));
        let mut error = EngineError::new(ErrorKind::User, message)
            .with_hint("`error=true` makes lint warnings errors; `skip=RULE,…` leaves rules out");
        error.lints = Some(Box::new(self.clone()));
        Some(error)
    }
}
