//! `ConsistentInstructionCasing`

use super::{Report, Rule, Scope};

pub(super) static RULE: Rule = Rule {
    name: "ConsistentInstructionCasing",
    summary: "all keywords are in the same case",
    explanation: "Keywords may be in capitals or in lower case. Use one of them throughout a file; the majority decides, and \
                  capitals when there is none.",
    bad: "FROM alpine\nrun echo a\nRUN echo b\n",
    good: "FROM alpine\nRUN echo a\nRUN echo b\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    let keywords = || {
        let instructions = scope.stages.iter().flat_map(|stage| std::iter::once(stage.instruction).chain(stage.body));
        instructions.map(|instruction| &instruction.keyword)
    };
    let count = |is: fn(&str) -> bool| keywords().filter(|keyword| is(&keyword.value)).count();
    let lower = count(is_lower) > count(is_upper);
    for keyword in keywords() {
        let (fits, case) =
            if lower { (is_lower(&keyword.value), "lower case") } else { (is_upper(&keyword.value), "capitals") };
        if !fits {
            report.add(keyword.span, format!("`{}` is not in {case} as most keywords here are", keyword.value));
        }
    }
}

fn is_lower(keyword: &str) -> bool {
    !keyword.contains(|c: char| c.is_ascii_uppercase())
}

fn is_upper(keyword: &str) -> bool {
    !keyword.contains(|c: char| c.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn majorities() {
        let capitals = "is not in capitals as most keywords here are";
        check(&RULE, "FROM a\nrun b", &[&format!("run: `run` {capitals}")]);
        check(&RULE, "FROM a\nRun b\nRUN c", &[&format!("Run: `Run` {capitals}")]);
        check(&RULE, "from a\nrun b\nCMD c", &["CMD: `CMD` is not in lower case as most keywords here are"]);
        // Those before the first FROM don't count.
        check(&RULE, "arg a\narg b\nFROM a", &[]);
    }
}
