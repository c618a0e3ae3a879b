//! `InvalidDefinitionDescription`

use super::{Report, Rule, Scope};
use crate::ast::{Instruction, InstructionKind};

pub(super) static RULE: Rule = Rule {
    name: "InvalidDefinitionDescription",
    summary: "a comment right above a stage or an argument describes it",
    explanation: "`--call=outline` and `--call=targets` show the comment above a `FROM … AS name` or an `ARG` when it begins \
                  with the name. Begin it so, or set it apart by an empty line.",
    bad: "# the base\nFROM alpine AS base\n",
    good: "# base holds what all stages need\nFROM alpine AS base\n\n# settings\n\nARG VERSION\n",
    experimental: true,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for instruction in scope.instructions {
        let names = names(instruction);
        let Some(comment) = instruction.comments.last().filter(|_| !names.is_empty()) else { continue };
        let first = comment.split(' ').next().unwrap_or_default();
        if !names.iter().any(|name| name == first) {
            let name = if let [name] = names.as_slice() { name } else { "NAME" };
            report.add_with_hint(
                instruction.keyword.span,
                format!("the comment above this {} does not begin with its name", instruction.kind.name()),
                format!("write `# {name} description`, or put an empty line between"),
            );
        }
    }
}

fn names(instruction: &Instruction) -> Vec<String> {
    match &instruction.kind {
        InstructionKind::From(from) => from.stage_name().into_iter().collect(),
        InstructionKind::Arg(args) => args.iter().map(|arg| arg.name.text.clone()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn comments() {
        let said = "does not begin with its name";
        check(&RULE, "# x\nFROM a AS b", &[&format!("FROM: the comment above this FROM {said}")]);
        check(&RULE, "# A is\n# so\nARG A B\nFROM a", &[&format!("ARG: the comment above this ARG {said}")]);
        check(&RULE, "# B is\nARG A B\n# x\nFROM a\n# y\n\nARG c\n# z\nRUN d\n# e\n#\nARG f", &[]);
        // Directives are no comments.
        check(&RULE, "# syntax=docker/dockerfile:1\nFROM a AS b", &[]);
    }
}
