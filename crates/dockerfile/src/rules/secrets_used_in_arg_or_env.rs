//! `SecretsUsedInArgOrEnv`

use super::{Report, Rule, Scope};
use crate::ast::{InstructionKind, Word};

pub(super) static RULE: Rule = Rule {
    name: "SecretsUsedInArgOrEnv",
    summary: "secrets are no ARG or ENV",
    explanation: "What `ARG` and `ENV` hold stays in the image or its history, for everybody to read. Give a step its secrets \
                  with `RUN --mount=type=secret`. Names are judged by their words (`TOKEN`, `PASSWORD`, `KEY`, …).",
    bad: "FROM scratch\nARG AWS_SECRET_ACCESS_KEY\n",
    good: "FROM scratch\nRUN --mount=type=secret,id=aws,target=/root/.aws/credentials [\"/deploy\"]\n",
    experimental: false,
    own: false,
    check,
};

const SECRET: &[&str] =
    &["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];

/// Words that make the others harmless.
const HARMLESS: &[&str] = &["public", "file", "version"];

fn check(scope: &Scope<'_>, report: &mut Report) {
    for stage in scope.built() {
        for (at, instruction) in stage.body.iter().enumerate() {
            let names: Vec<&Word> = match &instruction.kind {
                InstructionKind::Arg(args) => args.iter().map(|arg| &arg.name).collect(),
                InstructionKind::Env(pairs) => pairs.pairs.iter().map(|(name, _)| name).collect(),
                _ => continue,
            };
            for word in names {
                let Ok(expanded) = scope.expand(stage, at, word) else { continue };
                if is_secret_name(&expanded.text) {
                    let kind = instruction.kind.name();
                    report.add_with_hint(
                        word.span,
                        format!("`{}` looks like a secret, and {kind} does not keep it", expanded.text),
                        "use RUN --mount=type=secret",
                    );
                }
            }
        }
    }
}

/// Whether a variable of this name looks like a secret.
pub fn is_secret_name(name: &str) -> bool {
    has_word(name, SECRET) && !has_word(name, HARMLESS)
}

/// Whether one of the words, between underscores, is in the name.
fn has_word(name: &str, words: &[&str]) -> bool {
    name.to_lowercase().split('_').any(|part| words.contains(&part))
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn names() {
        check(
            &RULE,
            "ARG TOKEN\nFROM a\nARG github_token\nENV A=1 DB_PASSWORD=x\nENV AUTH x",
            &[
                "github_token: `github_token` looks like a secret, and ARG does not keep it",
                "DB_PASSWORD: `DB_PASSWORD` looks like a secret, and ENV does not keep it",
                "AUTH: `AUTH` looks like a secret, and ENV does not keep it",
            ],
        );
        check(&RULE, "FROM a\nENV MONKEY=1 PUBLIC_KEY=2 KEY_FILE=3 TOKEN_VERSION=4 AUTHOR=5", &[]);
    }
}
