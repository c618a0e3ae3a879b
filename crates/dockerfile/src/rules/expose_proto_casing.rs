//! `ExposeProtoCasing`

use super::expose_invalid_format::ports;
use super::{Report, Rule, Scope};

pub(super) static RULE: Rule = Rule {
    name: "ExposeProtoCasing",
    summary: "protocols in EXPOSE are in lower case",
    explanation: "Protocols are `tcp`, `udp` and `sctp`; capitals are accepted and turned into lower case.",
    bad: "FROM alpine\nEXPOSE 53/UDP\n",
    good: "FROM alpine\nEXPOSE 53/udp\n",
    experimental: false,
    own: false,
    check,
};

fn check(scope: &Scope<'_>, report: &mut Report) {
    for (span, text, ports) in ports(scope) {
        if ports.protocol_in_capitals {
            report.add_with_hint(
                span,
                format!("the protocol of `{text}` is not in lower case"),
                format!("write `{}`", text.to_lowercase()),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RULE;
    use crate::rules::tests::check;

    #[test]
    fn protocols() {
        check(
            &RULE,
            "FROM a\nARG P=TCP\nEXPOSE 80/Tcp 81/$P 82",
            &[
                "80/Tcp: the protocol of `80/Tcp` is not in lower case",
                "81/$P: the protocol of `81/TCP` is not in lower case",
            ],
        );
    }
}
