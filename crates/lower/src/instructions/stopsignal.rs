//! STOPSIGNAL: how a container is asked to end.

use crate::LowerError;
use crate::history::config_only;
use crate::stage::Step;
use kiln_dockerfile::ast::Word;

/// The signals of Linux by name, without `SIG` and without the real-time ones.
const SIGNALS: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "UNUSED", "URG",
    "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

pub(super) fn lower(step: &mut Step<'_>, word: &Word) -> Result<(), LowerError> {
    let signal = step.expand(word)?;
    if !is_signal(&signal) {
        let plain = signal.to_uppercase();
        let names: Vec<_> = SIGNALS.iter().map(|name| format!("SIG{name}")).collect();
        let written = if plain.starts_with("SIG") { plain } else { format!("SIG{plain}") };
        return Err(LowerError::new(format!("`{signal}` is not a signal"), word.span)
            .hint("a signal is a name such as `SIGTERM`, or a number")
            .suggest(&written, names.iter().map(String::as_str)));
    }
    step.record(config_only(format!("STOPSIGNAL {signal}")));
    step.stage.config.config.stop_signal = signal;
    Ok(())
}

fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if SIGNALS.contains(&name) || matches!(name, "RTMIN" | "RTMAX") {
        return true;
    }
    let offset = |prefix: &str| name.strip_prefix(prefix).and_then(|digits| digits.parse::<u32>().ok());
    offset("RTMIN+").is_some_and(|n| (1..=15).contains(&n)) || offset("RTMAX-").is_some_and(|n| (1..=14).contains(&n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for good in ["SIGTERM", "term", "9", "SIGRTMIN", "RTMIN+15", "SIGRTMAX-1", "sigkill"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["", "0", "SIGNOPE", "RTMIN+16", "RTMAX-", "SIG"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
