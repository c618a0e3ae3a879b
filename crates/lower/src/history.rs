//! History entries: the text of each instruction, as BuildKit writes it into the image config.
//!
//! BuildKit prints its values with Go's `%v` and `%q`; the functions here do the same for lists, strings and durations.

use crate::env::Env;
use crate::image_config::{HealthConfig, History};
use std::collections::BTreeSet;

/// Says which builder's rules an entry follows. Tools look for it to tell an instruction from a shell command.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// The entry of an instruction that only changes the config.
pub(crate) fn config_only(text: String) -> History {
    entry(text, true)
}

/// The entry of an instruction that makes a layer.
pub(crate) fn layer(text: String) -> History {
    entry(text, false)
}

fn entry(created_by: String, empty_layer: bool) -> History {
    History { created_by, empty_layer, comment: COMMENT.into(), ..History::default() }
}

/// The text of a RUN: the arguments that were declared, with their values, then the command.
pub(crate) fn run(args: &[String], declared: &[(String, Option<String>)], env: &Env) -> String {
    let long: usize = args.iter().map(|arg| arg.len() + 1).sum();
    let mut text = String::with_capacity(long + 32 * (1 + declared.len()));
    text.push_str("RUN ");
    if !declared.is_empty() {
        text.push_str(&format!("|{} ", declared.len()));
    }
    // An argument that is declared twice is there twice, with the value that it has at last: the step's own. A few have one that steps
    // do not see.
    for (name, value) in declared {
        text.extend([name, "=", env.get(name).or(value.as_deref()).unwrap_or_default(), " "]);
    }
    for arg in args {
        text.extend([arg, " "]);
    }
    text.push_str("# buildkit");
    text
}

/// A list of strings as Go's `%v` prints it: `[a b]`.
pub(crate) fn list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

/// A set of strings as Go's `%v` prints it, a sorted map to nothing: `map[a:{} b:{}]`.
pub(crate) fn set(items: &[String]) -> String {
    let sorted: BTreeSet<&String> = items.iter().collect();
    let pairs: Vec<String> = sorted.into_iter().map(|item| format!("{item}:{{}}")).collect();
    format!("map[{}]", pairs.join(" "))
}

/// A list of strings as Go's `%q` prints it: `["a" "b"]`.
pub(crate) fn quoted_list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| quote(item)).collect();
    format!("[{}]", quoted.join(" "))
}

/// A string as Go's `strconv.Quote` prints it.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            ' '..='~' => quoted.push(c),
            c if c.is_ascii() => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            // Rust's own rule of what is printable is Go's but for combining marks, which Rust escapes only when they stand first.
            c if c.is_control() || (c.is_whitespace() || !is_printable(c)) => {
                let code = c as u32;
                quoted.push_str(&if code > 0xffff { format!("\\U{code:08x}") } else { format!("\\u{code:04x}") });
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn is_printable(c: char) -> bool {
    format!("x{c}").escape_debug().count() == 2
}

/// A health check as Go's `%q` prints a pointer to the struct: durations as quoted strings, the number as a character.
pub(crate) fn healthcheck(check: &HealthConfig) -> String {
    let [interval, timeout, start_period, start_interval] =
        [check.interval, check.timeout, check.start_period, check.start_interval].map(|time| quote(&duration(time)));
    format!(
        "HEALTHCHECK &{{{} {interval} {timeout} {start_period} {start_interval} {}}}",
        quoted_list(&check.test),
        quote_character(check.retries),
    )
}

/// A number as Go's `%q` prints it: the character of that code.
fn quote_character(code: i64) -> String {
    let c = u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
    match c {
        '\'' => r"'\''".to_owned(),
        '"' => r#"'"'"#.to_owned(),
        c => format!("'{}'", quote(c.encode_utf8(&mut [0; 4])).trim_matches('"')),
    }
}

/// Nanoseconds as Go's `time.Duration` prints them: `1h0m0s`, `1m30s`, `1.5s`, `300ms`, `0s`.
fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let fraction = |value: u64, digits: usize| {
        let text = format!("{value:0digits$}");
        let text = text.trim_end_matches('0');
        if text.is_empty() { String::new() } else { format!(".{text}") }
    };
    let text = match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{total}ns"),
        1_000..1_000_000 => format!("{}{}µs", total / 1_000, fraction(total % 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{}{}ms", total / 1_000_000, fraction(total % 1_000_000, 6)),
        _ => {
            let seconds = total / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let tail = format!("{}{}s", seconds % 60, fraction(total % 1_000_000_000, 9));
            match (hours, minutes) {
                (0, 0) => tail,
                (0, minutes) => format!("{minutes}m{tail}"),
                (hours, minutes) => format!("{hours}h{minutes}m{tail}"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_prints_them() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (300_000_000, "300ms"),
            (1_500_000_000, "1.5s"),
            (30_000_000_000, "30s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_661_000_000_001, "1h1m1.000000001s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
    }

    #[test]
    fn strings_as_go_quotes_them() {
        for (text, quoted) in [
            ("echo hi", r#""echo hi""#),
            ("a\"b\\c\n\t\x00\x1b\x7f", r#""a\"b\\c\n\t\x00\x1b\x7f""#),
            ("é 日本 \u{a0}\u{200b}", r#""é 日本 \u00a0\u200b""#),
            ("e\u{301}", "\"e\u{301}\""),
            ("\u{e000}\u{f0000}", r#""\ue000\U000f0000""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
        assert_eq!(quoted_list(&[]), "[]");
        assert_eq!(quoted_list(&["a b".into(), "c".into()]), r#"["a b" "c"]"#);
    }

    #[test]
    fn health_checks_as_go_prints_them() {
        let check = |retries| HealthConfig {
            test: vec!["CMD-SHELL".into(), "a \"b\"".into()],
            interval: 90_000_000_000,
            retries,
            ..HealthConfig::default()
        };
        for (retries, character) in [
            (0, r"'\x00'"),
            (3, r"'\x03'"),
            (10, r"'\n'"),
            (34, r#"'"'"#),
            (39, r"'\''"),
            (65, "'A'"),
            (-1, "'\u{fffd}'"),
        ] {
            let text = format!(r#"HEALTHCHECK &{{["CMD-SHELL" "a \"b\""] "1m30s" "0s" "0s" "0s" {character}}}"#);
            assert_eq!(healthcheck(&check(retries)), text);
        }
    }

    #[test]
    fn run_shows_the_declared_arguments() {
        let declared =
            [("A".to_owned(), Some("1".to_owned())), ("B".to_owned(), None), ("A".to_owned(), Some("2".to_owned()))];
        let mut env = Env::default();
        env.set("A", "2");
        assert_eq!(run(&["x".into()], &declared, &env), "RUN |3 A=2 B= A=2 x # buildkit");
        env.set("A", "from env");
        assert_eq!(run(&["x".into()], &declared, &env), "RUN |3 A=from env B= A=from env x # buildkit");
        assert_eq!(run(&["/bin/sh".into(), "-c".into(), "y".into()], &[], &env), "RUN /bin/sh -c y # buildkit");
    }
}
