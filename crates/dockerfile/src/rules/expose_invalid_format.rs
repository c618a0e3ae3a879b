//! `ExposeInvalidFormat`

use super::{Report, Rule, Scope};
use crate::ast::InstructionKind;
use crate::ports::{self, Ports};
use crate::span::Span;

pub(super) static RULE: Rule = Rule {
    name: "ExposeInvalidFormat",
    summary: "EXPOSE holds ports of the container only",
    explanation: "An address or a port of the host in `EXPOSE` has no effect: it is `docker run --publish` that binds them. \
                  Write the container's port alone.",
    bad: "FROM alpine\nEXPOSE 127.0.0.1:8080:80\n",
    good: "FROM alpine\nEXPOSE 80\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for (span, text, ports) in ports(scope) {
        if ports.has_host {
            let port = text.rsplit(':').next().unwrap_or_default();
            report.add_with_hint(
                span,
                format!("`{text}` names an address or a port of the host"),
                format!("write `{port}`"),
            );
        }
    }
}

/// All words of `EXPOSE` that are ports.
pub(super) fn ports(scope: &Scope<'_>) -> Vec<(Span, String, Ports)> {
    let mut found = Vec::new();
    for stage in scope.built() {
        for (at, instruction) in stage.body.iter().enumerate() {
            let InstructionKind::Expose(words) = &instruction.kind else { continue };
            for word in words {
                let Ok(expanded) = scope.expand(stage, at, word) else { continue };
                for text in expanded.words {
                    if let Ok(ports) = ports::parse(&text) {
                        found.push((word.span, text, ports));
                    }
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn hosts() {
        check(
            &RULE,
            "FROM a\nARG P=\"80 8080:81\"\nEXPOSE $P 82\nexpose 9000:90/udp",
            &[
                "$P: `8080:81` names an address or a port of the host",
                "9000:90/udp: `9000:90/udp` names an address or a port of the host",
            ],
        );
    }
}
