//! `UndefinedVar`

use super::scope::Stage;
use super::{Report, Rule, Scope};
use crate::ast::{Add, Arg, Copy, InstructionKind, Pairs, Source, Word};
use crate::span::Span;
use crate::suggest;
use crate::words::{ExpandError, Expanded};

pub(super) static RULE: Rule = Rule {
    name: "UndefinedVar",
    summary: "variables are set before they are used",
    explanation: "A variable that neither `ARG`, `ENV` nor the base image sets is empty, which is rarely meant; often its name \
                  is mistyped. Commands are not looked at: their variables are the shell's.",
    bad: "FROM scratch\nCOPY $SOURCE /app\n",
    good: "FROM scratch\nARG SOURCE\nCOPY $SOURCE /app\n",
    experimental: false,
    own: false,
    check,
};

/// Set by the builder without being variables.
const NOT_VARIABLES: &[&str] = &["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

fn check(scope: &Scope<'_>, report: &mut Report) {
    for stage in scope.built().filter(|stage| stage.complete) {
        for (at, instruction) in stage.body.iter().enumerate() {
            if report.is_full() {
                return;
            }
            let mut told: Vec<String> = Vec::new();
            for (span, name) in unset(scope, stage, at, &instruction.kind) {
                if report.is_full() {
                    return;
                }
                let known = scope.is_declared(stage, at, &name) || NOT_VARIABLES.contains(&name.as_str());
                if known || told.contains(&name) {
                    continue;
                }
                let message = format!("variable `${name}` is not set");
                match suggest::nearest(&name, scope.names(stage, at)) {
                    Some(near) => report.add_with_hint(span, message, format!("did you mean `${near}`?")),
                    None => report.add(span, message),
                }
                told.push(name);
            }
        }
    }
}

/// The variables that an instruction looks up and does not find, with the words that do.
fn unset(scope: &Scope<'_>, stage: &Stage<'_>, at: usize, kind: &InstructionKind) -> Vec<(Span, String)> {
    let mut found = Vec::new();
    let mut add = |span: Span, expanded: Result<Expanded, ExpandError>| {
        // What cannot be expanded is an error of the build.
        let unset = expanded.map(|expanded| expanded.unset).unwrap_or_default();
        found.extend(unset.into_iter().map(|unset| (span, unset.name)));
    };
    for word in words(kind) {
        add(word.span, scope.expand(stage, at, word));
    }
    let (InstructionKind::Copy(Copy { sources, .. }) | InstructionKind::Add(Add { sources, .. })) = kind else {
        return found;
    };
    for source in sources {
        if let Source::Heredoc(heredoc) = source
            && heredoc.expand
        {
            add(heredoc.span, scope.expand_heredoc(stage, at, heredoc));
        }
    }
    found
}

/// The words of an instruction in which variables are expanded.
fn words(kind: &InstructionKind) -> Vec<&Word> {
    let mut words: Vec<&Word> = Vec::new();
    match kind {
        InstructionKind::Add(add) => {
            words.extend([&add.chown, &add.chmod, &add.checksum].into_iter().flatten());
            words.extend(add.sources.iter().filter_map(path));
            words.push(&add.dest);
        }
        InstructionKind::Copy(copy) => {
            words.extend([&copy.chown, &copy.chmod].into_iter().flatten());
            words.extend(copy.sources.iter().filter_map(path));
            words.push(&copy.dest);
        }
        InstructionKind::Arg(args) => {
            words.extend(args.iter().flat_map(|Arg { name, default }| std::iter::once(name).chain(default)));
        }
        InstructionKind::Env(Pairs { pairs, .. }) | InstructionKind::Label(Pairs { pairs, .. }) => {
            words.extend(pairs.iter().flat_map(|(name, value)| [name, value]));
        }
        InstructionKind::Expose(list) | InstructionKind::Volume(list) => words.extend(list),
        InstructionKind::Run(run) => {
            words.extend(run.mounts.iter().flat_map(|mount| &mount.fields).filter_map(|(_, value)| value.as_ref()));
        }
        InstructionKind::StopSignal(word) | InstructionKind::User(word) | InstructionKind::Workdir(word) => {
            words.push(word);
        }
        _ => {}
    }
    words
}

fn path(source: &Source) -> Option<&Word> {
    match source {
        Source::Path(word) => Some(word),
        Source::Heredoc(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::{check, check_with};
    use crate::rules::{BaseFacts, Facts, StageFacts};

    #[test]
    fn variables() {
        check(
            &RULE,
            "FROM scratch\nARG A\nENV B=1\nCOPY $A $B $C /$C\nWORKDIR ${D:-x}\nRUN $E\nUSER $PATH",
            &["$C: variable `$C` is not set", "${D:-x}: variable `$D` is not set"],
        );
        check(&RULE, "FROM scratch\nCOPY <<A <<'B' /c/\n$D $D\nA\n$E\nB", &["<<A: variable `$D` is not set"]);
        // All pairs of one ENV see the same.
        check(&RULE, "FROM scratch\nENV A=1 B=$A", &["$A: variable `$A` is not set"]);
        check(&RULE, "FROM scratch AS a\nENV A=1\nFROM a\nUSER $A", &[]);
    }

    #[test]
    fn base_images_count() {
        // What the image sets is not known: nothing can be said.
        check(&RULE, "FROM a\nUSER $A", &[]);
        let base = BaseFacts { env: [("GOPATH".to_owned(), "/go".to_owned())].into(), ..BaseFacts::default() };
        let facts = Facts { stages: vec![StageFacts { skipped: false, base: Some(base) }], ..Facts::default() };
        check_with(
            &RULE,
            &facts,
            "FROM a\nWORKDIR $GOPATH/src/$GOPTH",
            &["$GOPATH/src/$GOPTH: variable `$GOPTH` is not set"],
        );
        // Each stage sees the variables of its own image, and so do those that begin with it.
        let stage = |env: &[&str]| {
            let env = env.iter().map(|name| ((*name).to_owned(), "/x".to_owned())).collect();
            StageFacts { skipped: false, base: Some(BaseFacts { env, ..BaseFacts::default() }) }
        };
        let facts =
            Facts { stages: vec![stage(&["A"]), stage(&["B"]), stage(&[]), StageFacts::default()], ..Facts::default() };
        check_with(
            &RULE,
            &facts,
            "FROM a\nUSER $A$B\nFROM b AS b\nENV A=1\nUSER $A$B\nFROM c\nUSER $A$PATH\nFROM b\nUSER $A$B$C",
            &[
                "$A$B: variable `$B` is not set",
                "$A$PATH: variable `$A` is not set",
                "$A$B$C: variable `$C` is not set",
            ],
        );
        let facts = Facts { stages: vec![StageFacts { skipped: true, base: None }], ..Facts::default() };
        check_with(&RULE, &facts, "FROM scratch\nUSER $A", &[]);
    }
}
