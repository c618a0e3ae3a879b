//! Error reports: excerpts, causes and hints as people see them.

use super::*;
use kiln_engine::ErrorKind;
use snapbox::{IntoData, assert_data_eq, str};
use std::io;

const PLAIN: Paint = Paint { colours: false };

/// An error at `needle` in `text`, which may stop in the middle of a character.
fn at(text: &str, needle: &str) -> String {
    let start = text.find(needle).unwrap();
    let span = (start as u32, (start + needle.len()) as u32);
    let mut error = EngineError::new(ErrorKind::User, "something is wrong");
    error.place = Some(Box::new(Place { file: "Dockerfile".into(), text: text.into(), span, label: "here".into() }));
    render(&error.into(), PLAIN, false)
}

#[test]
fn excerpts() {
    assert_data_eq!(
        at("FROM a\nRUN foo\nCMD x\n", "foo"),
        str![[r#"
error: something is wrong
 --> Dockerfile:2:5
  |
2 | RUN foo
  |     ^^^ here

"#]]
        .raw()
    );
    assert_data_eq!(
        at("FROM a\r\nRUN foo\r\nCMD x\r\n", "RUN foo"),
        str![[r#"
error: something is wrong
 --> Dockerfile:2:1
  |
2 | RUN foo
  | ^^^^^^^ here

"#]]
        .raw()
    );
    assert_data_eq!(
        at("FROM a\n\tRUN\tfoo\n", "foo"),
        str![[r#"
error: something is wrong
 --> Dockerfile:2:6
  |
2 |     RUN    foo
  |            ^^^ here

"#]]
        .raw()
    );
    assert_data_eq!(
        at("FROM a\nRUN é日本 foo\n", "foo"),
        str![[r#"
error: something is wrong
 --> Dockerfile:2:9
  |
2 | RUN é日本 foo
  |           ^^^ here

"#]]
        .raw()
    );
    assert_data_eq!(
        at("FROM a\nRUN x\x1b[31mfoo\x07\n", "foo"),
        str![[r#"
error: something is wrong
 --> Dockerfile:2:11
  |
2 | RUN x␛[31mfoo␇
  |           ^^^ here

"#]]
        .raw()
    );
    assert_data_eq!(
        at("FROM a\nRUN a \\\n  b \\\n  c\nCMD x\n", "RUN a \\\n  b \\\n  c"),
        str![[r#"
error: something is wrong
 --> Dockerfile:2:1
  |
2 | / RUN a \
3 | |   b \
4 | |   c
  | |___^ here

"#]]
        .raw()
    );
    let long = format!("RUN a{}", " \\\n  b".repeat(30));
    assert_data_eq!(
        at(&format!("FROM a\n{long}\nCMD x\n"), &long),
        str![[r#"
error: something is wrong
  --> Dockerfile:2:1
   |
 2 | / RUN a \
 3 | |   b \
 4 | |   b \
 5 | |   b \
...  |
31 | |   b \
32 | |   b
   | |___^ here

"#]]
        .raw()
    );
    assert_data_eq!(
        at("FROM a", ""),
        str![[r#"
error: something is wrong
 --> Dockerfile:1:1
  |
1 | FROM a
  | ^ here

"#]]
        .raw()
    );
}

#[test]
fn spans_out_of_place_do_not_panic() {
    for span in [(0, 99), (99, 100), (3, 1), (2, 3), (1, 2)] {
        let mut error = EngineError::new(ErrorKind::User, "x");
        error.place = Some(Box::new(Place { file: "D".into(), text: "é日\n".into(), span, label: String::new() }));
        assert!(render(&error.into(), PLAIN, false).contains("D:1:"), "{span:?}");
    }
    let mut error = EngineError::new(ErrorKind::User, "x");
    error.place = Some(Box::new(Place { file: "D".into(), text: String::new(), span: (0, 0), label: "empty".into() }));
    assert!(render(&error.into(), PLAIN, false).starts_with("error: x\n"));
}

#[derive(Debug, thiserror::Error)]
#[error("fetching `app`\nhint: is the registry up?")]
struct Fetch(#[source] io::Error);

#[test]
fn logs_causes_and_hints_are_in_order() {
    let mut error =
        EngineError::new(ErrorKind::BuildFailed, "process `false` failed with exit status 1\nhint: try again")
            .with_hint("or give up")
            .with_source(Fetch(io::Error::other("connection \x1b[31mrefused\x07")));
    error.log_tail = vec!["one".into(), "\x1b]0;title\x07two\r".into()];
    assert_data_eq!(
        render(&error.into(), PLAIN, false),
        str![[r#"
the last output of the step:
  one
  two

error: process `false` failed with exit status 1
caused by: fetching `app`
caused by: connection refused
hint: try again
hint: or give up
hint: is the registry up?

"#]]
        .raw()
    );
}

#[test]
fn causes_that_the_message_quotes_are_not_repeated() {
    let error =
        EngineError::new(ErrorKind::Internal, "cannot write: disk full").with_source(io::Error::other("disk full"));
    let text = render(&error.into(), PLAIN, false);
    assert_eq!(text.matches("disk full").count(), 1, "{text}");
}

#[test]
fn colours_are_only_there_when_wanted() {
    let error = || CliError::from(UsageError::new("bad").hint("better"));
    assert_eq!(render(&error(), PLAIN, false), "error: bad\nhint: better\n");
    assert_eq!(
        render(&error(), Paint { colours: true }, false),
        "\x1b[31merror\x1b[0m: bad\n\x1b[36mhint\x1b[0m: better\n"
    );
    assert!(render(&error(), PLAIN, true).contains("debug: Usage("));
}

#[test]
fn some_errors_are_short() {
    assert_eq!(render(&CliError::Cancelled(crate::exit::ExitStatus::INTERRUPTED), PLAIN, false), "cancelled\n");
    assert_eq!(render(&EngineError::cancelled().into(), PLAIN, false), "cancelled\n");
    assert_eq!(render(&CliError::Stdout(io::ErrorKind::BrokenPipe.into()), PLAIN, false), "");
}
