//! `IgnoreEntryMissing`

use super::{Finding, Report, Rule, Scope, copies_everything};

pub(in crate::rules) static RULE: Rule = Rule {
    name: "IgnoreEntryMissing",
    summary: "what no build needs is left out of the context",
    explanation: "`COPY . .` takes all that is in the context: the history of the repository (`.git`), and what this machine compiled and installed \
                  (`target`, `node_modules`). That is slow to copy, makes steps run again without need, and is not what the image should hold. Name it \
                  in `.dockerignore`.\n\nThere is no fix, since a step may read it: to tell its version by the last commit, for example.",
    bad: "",
    good: "FROM scratch\nCOPY main.go .\n",
    experimental: false,
    own: true,
    check,
};

/// Directories, each with the file beside it by which it is known for what it is.
const DIRECTORIES: &[(&str, Option<&str>)] = &[
    (".git", None),
    ("target", Some("Cargo.toml")),
    ("target", Some("pom.xml")),
    ("node_modules", Some("package.json")),
];

fn check(scope: &Scope<'_>, report: &mut Report) {
    let Some(holds) = scope.facts.context_holds else { return };
    let present = DIRECTORIES.iter().filter(|(directory, beside)| holds(directory) && beside.is_none_or(holds));
    let names: Vec<String> = present.map(|(directory, _)| format!("`{directory}`")).collect();
    if names.is_empty() {
        return;
    }
    let copied =
        scope.built().find_map(|stage| (0..stage.body.len()).find_map(|at| copies_everything(scope, stage, at)));
    if let Some(span) = copied {
        report.push(Finding {
            message: format!("{} of the context is copied with everything else", names.join(" and ")),
            span,
            hint: Some(format!("add {} to `.dockerignore`, unless a step reads it", names.join(" and "))),
            fix: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::Facts;
    use crate::rules::tests::check_with;

    #[test]
    fn what_is_there() {
        let check = |there: &'static [&str], source: &str, expected: &[&str]| {
            let holds = move |name: &str| there.contains(&name);
            check_with(&RULE, &Facts { context_holds: Some(&holds), ..Facts::default() }, source, expected);
        };
        let both = ".: `.git` and `target` of the context is copied with everything else";
        check(&[".git", "target", "Cargo.toml"], "FROM a\nCOPY . .", &[both]);
        let git = "./: `.git` of the context is copied with everything else";
        check(&[".git", "target", "node_modules"], "FROM a\nADD x ./ /y/", &[git]);
        check(&[".git"], "FROM a\nCOPY --from=x . .\nCOPY src .", &[]);
        check(&["src"], "FROM a\nCOPY . .", &[]);
    }
}
