//! Lints: what is allowed in a Dockerfile and better avoided. The rules here and their names are BuildKit's; those of kiln's own, about
//! builds that are slower than they need be, are in `advice`.
//!
//! One rule a file, with its explanation, its code and its tests; a rule's `bad` example must be reported and its `good` one must
//! not, which a test proves. Rules see the instructions through `scope`, which knows the variables at each of them,
//! and what `lower` tells in [`Facts`]: a rule that needs a fact which isn't there reports nothing.
//!
//! A finding may have a [`Fix`]: edits of the text after which the image holds what it held before. [`fix`] applies them.
//!
//! Which rules run, and whether their findings fail the build, is in [`Options`], read from `# check=…`.

mod facts;
pub mod fix;
mod options;
mod scope;

mod advice;

mod consistent_instruction_casing;
mod copy_ignored_file;
mod duplicate_stage_name;
mod expose_invalid_format;
mod expose_proto_casing;
mod from_as_casing;
mod from_platform_flag_const_disallowed;
mod invalid_base_image_platform;
mod invalid_default_arg_in_from;
mod invalid_definition_description;
mod json_args_recommended;
mod legacy_key_value_format;
mod maintainer_deprecated;
mod multiple_instructions_disallowed;
mod no_empty_continuation;
mod redundant_target_platform;
mod reserved_stage_name;
mod secrets_used_in_arg_or_env;
mod stage_name_casing;
mod undefined_arg_in_from;
mod undefined_var;
mod workdir_relative_path;

#[cfg(test)]
mod tests;

pub use facts::{BaseFacts, CacheFacts, CommandFacts, Facts, ReadText, StageFacts, StepFacts};
pub use fix::{Edit, Fix};
pub use options::{Options, OptionsError};
pub use secrets_used_in_arg_or_env::is_secret_name;

use crate::ast::Dockerfile;
use crate::span::Span;
use scope::Scope;

/// A lint.
pub struct Rule {
    /// Its name, as options and reports have it.
    pub name: &'static str,
    /// What it asks for, in one line.
    pub summary: &'static str,
    /// Why, and what to do.
    pub explanation: &'static str,
    /// A Dockerfile that it reports.
    pub bad: &'static str,
    /// The same, mended.
    pub good: &'static str,
    /// Whether it runs only when asked for by name (`experimental=`).
    pub experimental: bool,
    /// Whether it is kiln's own, not BuildKit's.
    pub own: bool,
    check: fn(&Scope<'_>, &mut Report),
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// All rules: BuildKit's, then kiln's own.
pub static RULES: &[&Rule] = &[
    &consistent_instruction_casing::RULE,
    &copy_ignored_file::RULE,
    &duplicate_stage_name::RULE,
    &expose_invalid_format::RULE,
    &expose_proto_casing::RULE,
    &from_as_casing::RULE,
    &from_platform_flag_const_disallowed::RULE,
    &invalid_base_image_platform::RULE,
    &invalid_default_arg_in_from::RULE,
    &invalid_definition_description::RULE,
    &json_args_recommended::RULE,
    &legacy_key_value_format::RULE,
    &maintainer_deprecated::RULE,
    &multiple_instructions_disallowed::RULE,
    &no_empty_continuation::RULE,
    &redundant_target_platform::RULE,
    &reserved_stage_name::RULE,
    &secrets_used_in_arg_or_env::RULE,
    &stage_name_casing::RULE,
    &undefined_arg_in_from::RULE,
    &undefined_var::RULE,
    &workdir_relative_path::RULE,
    &advice::cache_deleted_in_step::RULE,
    &advice::cache_mount_missing::RULE,
    &advice::changing_arg_too_early::RULE,
    &advice::copy_before_dependencies::RULE,
    &advice::ignore_entry_missing::RULE,
    &advice::toolchain_in_image::RULE,
];

/// Longer Dockerfiles are not linted: nobody wrote them, and some rules compare instructions with each other.
pub const MAX_INSTRUCTIONS: usize = 5_000;
/// A rule reports no more findings than this.
pub const MAX_FINDINGS: usize = 100;

/// One finding of one rule.
#[derive(Clone, PartialEq, Debug)]
pub struct Warning {
    /// The rule.
    pub rule: &'static Rule,
    /// What it found: a lowercase fragment.
    pub message: String,
    /// What the caret points at.
    pub span: Span,
    /// What to do about it.
    pub hint: Option<String>,
    /// Edits that mend it without a change of what the image holds.
    pub fix: Option<Fix>,
}

/// Runs the rules that `options` let run. Findings are in the order of the file.
pub fn check(dockerfile: &Dockerfile, facts: &Facts<'_>, options: &Options) -> Vec<Warning> {
    if dockerfile.instructions.len() > MAX_INSTRUCTIONS {
        return Vec::new();
    }
    let scope = Scope::new(dockerfile, facts);
    let mut warnings = Vec::new();
    for rule in RULES.iter().filter(|rule| options.runs(rule)) {
        let mut report = Report { findings: Vec::new() };
        (rule.check)(&scope, &mut report);
        warnings.extend(report.findings.into_iter().map(|finding| Warning {
            rule,
            message: finding.message,
            span: finding.span,
            hint: finding.hint,
            fix: finding.fix.filter(|_| !facts.source.is_empty()),
        }));
    }
    warnings.sort_by_key(|warning| warning.span.start);
    warnings
}

/// What a rule has found so far.
struct Report {
    findings: Vec<Finding>,
}

/// One thing that a rule has found.
struct Finding {
    message: String,
    span: Span,
    hint: Option<String>,
    fix: Option<Fix>,
}

impl Report {
    fn is_full(&self) -> bool {
        self.findings.len() >= MAX_FINDINGS
    }

    fn add(&mut self, span: Span, message: impl Into<String>) {
        self.push(Finding { message: message.into(), span, hint: None, fix: None });
    }

    fn add_with_hint(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.push(Finding { message: message.into(), span, hint: Some(hint.into()), fix: None });
    }

    fn push(&mut self, finding: Finding) {
        if !self.is_full() {
            self.findings.push(finding);
        }
    }
}
