//! Tables of words and what they stand for.

use super::*;
use crate::lines::{Cursor, Line};

fn env(name: &str) -> Option<String> {
    let value = match name {
        "HOME" => "/root",
        "EMPTY" => "",
        "FILE" => "a.tar.gz",
        "PATH_" => "/usr/local/bin",
        "LIST" => "a  b c",
        "1" => "one",
        "QUOTED" => "\"q\"",
        "ü" => "umlaut",
        _ => return None,
    };
    Some(value.to_owned())
}

fn text(word: &str) -> String {
    match expand(word, '\\', &env) {
        Ok(expanded) => expanded.text,
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn words_are_expanded() {
    for (word, expected) in [
        ("plain", "plain"),
        ("$HOME", "/root"),
        ("${HOME}/x", "/root/x"),
        ("$HOMEx", ""),
        ("a$", "a$"),
        ("$ a", "$ a"),
        ("$1x", "onex"),
        ("$?", ""),
        ("$ü", "umlaut"),
        ("\\$HOME", "$HOME"),
        ("\\\\$HOME", "\\/root"),
        ("'$HOME'", "$HOME"),
        ("'a\\'", "a\\"),
        ("\"$HOME\"", "/root"),
        ("\"\\$HOME \\a \\\"\"", "$HOME \\a \""),
        ("a\\ b", "a b"),
        ("a\\", "a"),
        ("\"a'b\"", "a'b"),
        ("'a\"b'", "a\"b"),
        ("$QUOTED", "\"q\""),
        ("x''y", "xy"),
        // The modifiers.
        ("${NO:-d}", "d"),
        ("${NO-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${HOME:-d}", "/root"),
        ("${NO:+d}", ""),
        ("${EMPTY:+d}", ""),
        ("${EMPTY+d}", "d"),
        ("${HOME:+d}", "d"),
        ("${HOME:?m}", "/root"),
        ("${EMPTY?m}", ""),
        ("${NO:-${EMPTY:-$HOME}}", "/root"),
        ("${NO:-'a b'}", "a b"),
        ("${NO:-\"$HOME\"}", "/root"),
        ("${NO:-a\\}b}", "a}b"),
        ("${NO:-}", ""),
        ("${FILE#*.}", "tar.gz"),
        ("${FILE##*.}", "gz"),
        ("${FILE%.*}", "a.tar"),
        ("${FILE%%.*}", "a"),
        ("${FILE%.tar.gz}", "a"),
        ("${PATH_//\\//-}", "-usr-local-bin"),
        ("${PATH_/local/$HOME}", "/usr//root/bin"),
        ("${FILE/.*/}", "a"),
        ("${NO#x}", ""),
        ("\"${FILE%.gz}\"", "a.tar"),
        // Faults.
        ("${HOME", "error: `${` is not closed: missing `}`"),
        ("${", "error: `${` is not closed: missing `}`"),
        ("${NO:-a", "error: `${` is not closed: missing `}`"),
        ("${}", "error: bad substitution: expected a name after `${`"),
        ("${{a}", "error: bad substitution: expected a name after `${`"),
        ("${HOME^}", "error: unsupported modifier `^` in substitution"),
        ("${FILE:#a}", "error: unsupported modifier `:#` in substitution"),
        ("${HOME:x}", "error: unsupported modifier `:x` in substitution"),
        ("${HOME/a}", "error: `${…/…` is not complete: missing `/`"),
        ("${HOME#\\a}", "error: invalid pattern `\\a` in substitution"),
        ("${NO:?}", "error: NO: is not allowed to be unset"),
        ("${NO?say why}", "error: NO: say why"),
        ("${EMPTY:?}", "error: EMPTY: is not allowed to be empty"),
        ("'a", "error: `'` is not closed"),
        ("a\"b", "error: `\"` is not closed"),
        ("${NO:-'}", "error: `'` is not closed"),
    ] {
        assert_eq!(text(word), expected, "{word}");
    }
}

#[test]
fn escape_may_be_a_backtick() {
    let expanded = expand("c:\\$HOME`$`\" \"`\"\\\"", '`', &env).unwrap();
    assert_eq!(expanded.text, "c:\\/root$\" \"\\");
}

#[test]
fn values_are_split_unless_quoted() {
    for (word, expected) in [
        ("$LIST", &["a", "b", "c"][..]),
        ("\"$LIST\"", &["a  b c"]),
        ("x$LIST", &["xa", "b", "c"]),
        ("$EMPTY", &[]),
        ("''", &[]),
        ("a\\ b c", &["a b", "c"]),
        (" a  b ", &["a", "b"]),
        ("80 443", &["80", "443"]),
    ] {
        assert_eq!(expand(word, '\\', &env).unwrap().words, expected, "{word}");
    }
}

#[test]
fn variables_are_reported() {
    let expanded = expand("$HOME ${NO:-$HOME} $GONE ${NO}", '\\', &env).unwrap();
    assert_eq!(expanded.used, ["HOME"]);
    let unset: Vec<_> = expanded.unset.iter().map(|unset| (unset.name.as_str(), unset.handled)).collect();
    assert_eq!(unset, [("NO", false), ("GONE", false)]);
    let expanded = expand("${NO:-a}${NO+b}", '\\', &env).unwrap();
    assert!(expanded.unset[0].handled);
}

#[test]
fn heredocs_keep_their_quotes() {
    let expanded = expand_heredoc("it's \"$HOME\" \\$HOME a\\b\n", &env).unwrap();
    assert_eq!(expanded.text, "it's \"/root\" $HOME ab\n");
}

#[test]
fn limits_hold() {
    let nested = format!("{}{}", "${A:-".repeat(100), "}".repeat(100));
    assert_eq!(expand(&nested, '\\', &env).unwrap_err().kind, ExpandErrorKind::Depth);
    let deep = format!("{}x{}", "${A:-".repeat(60), "}".repeat(60));
    assert_eq!(expand(&deep, '\\', &env).unwrap().text, "x");
    let long = "x".repeat(MAX_LENGTH / 2);
    let double = |_: &str| Some(long.clone());
    assert_eq!(expand("$a$b$c$d", '\\', &double).unwrap_err().kind, ExpandErrorKind::Length);
    assert!(expand("$a$b", '\\', &double).is_ok());
}

#[test]
fn errors_point_into_the_word() {
    let word = crate::ast::Word::new("ab${HOME^}", crate::Span::new(10, 20));
    let error = expand(&word.text, '\\', &env).unwrap_err().at(&word);
    assert_eq!(error.span, crate::Span::new(18, 19));
    assert!(error.hint.is_some());
}

#[test]
fn arguments_are_split_into_words() {
    let words = |source: &str, escape: char| -> Vec<String> {
        let mut cursor = Cursor::new(source, 0);
        let first = cursor.next().unwrap();
        let line = Line::read(first, &mut cursor, escape);
        split(line.text(), escape).into_iter().map(|word| word.as_str().to_owned()).collect()
    };
    for (source, expected) in [
        ("a=b c=d", &["a=b", "c=d"][..]),
        ("a=\"b c\" d='e f'", &["a=\"b c\"", "d='e f'"]),
        ("a=b\\ c", &["a=b\\ c"]),
        ("a=\"b\\\" c\"", &["a=\"b\\\" c\""]),
        ("a='b\\' c", &["a='b\\'", "c"]),
        ("a=\\\"b c", &["a=\\\"b", "c"]),
        ("a=\"b c", &["a=\"b c"]),
        ("''", &["''"]),
        ("x\u{a0}y", &["x", "y"]),
    ] {
        assert_eq!(words(source, '\\'), expected, "{source}");
    }
    assert_eq!(words("a=` b c", '`'), ["a=` b", "c"]);
}

#[test]
fn commands_are_shown_with_what_is_known() {
    let shown = expand_command("echo \"$HOME\" '$HOME' $NO ${NO:-x} ${NO:0:2}", '\\', &env).unwrap();
    assert_eq!(shown, "echo \"/root\" '$HOME' $NO ${NO:-x} ${NO:0:2}");
}
