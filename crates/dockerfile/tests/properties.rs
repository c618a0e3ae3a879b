//! What must hold for any text: an answer without panic, spans within the text, and time linear in its length.

use kiln_dockerfile::ast::{CommandForm, Dockerfile, InstructionKind, Source, Word};
use kiln_dockerfile::{Span, mount, parse, parse_trigger, ports, rules, words};
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// Pieces that a Dockerfile is made of, so that random text gets past the keywords.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec![
            "FROM ", "RUN ", "COPY ", "ADD ", "ENV ", "ARG ", "LABEL ", "ONBUILD ", "CMD ", "ENTRYPOINT ", "SHELL ",
            "HEALTHCHECK ", "EXPOSE ", "VOLUME ", "USER ", "WORKDIR ", "STOPSIGNAL ", "MAINTAINER ", "\nFROM a\n",
        ]).prop_map(str::to_owned),
        5 => prop::sample::select(vec![
            "\n", " \\\n", "\\", "`", "#", "# escape=`\n", "# syntax=x\n", "<<EOF", "<<-'E'", "\nEOF\n", "\nE\n", "--mount=",
            "--from=", "type=cache", ",", "target=/x", "\"", "'", "[\"a\", \"b\"]", "[", "]", "{", "}", "$", "${", "x", ":-",
            "#*", "%%", "/", "//", "=", "NONE", "CMD", " AS b", "\r\n", "\t", " ", "\u{feff}", "\u{a0}", "é", "\u{1f600}", "\0",
            "--", "1", "\\u00e9", "\\ud800",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,5}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::collection::vec(piece(), 0..40).prop_map(|pieces| pieces.concat()),
        1 => any::<String>(),
    ]
}

fn spans(dockerfile: &Dockerfile) -> Vec<Span> {
    let mut found = Vec::new();
    let directives = &dockerfile.directives;
    found.extend([&directives.syntax, &directives.check].into_iter().flatten().map(|value| value.span));
    for instruction in &dockerfile.instructions {
        found.extend([instruction.span, instruction.keyword.span]);
        found.extend(instruction.gap);
        let mut words: Vec<&Word> = Vec::new();
        match &instruction.kind {
            InstructionKind::From(from) => {
                words.push(&from.image);
                words.extend(&from.platform);
            }
            InstructionKind::Run(run) => {
                for flag in &run.mounts {
                    found.push(flag.span);
                    found.extend(flag.fields.iter().map(|(key, _)| key.span));
                    words.extend(flag.fields.iter().filter_map(|(_, value)| value.as_ref()));
                }
                for heredoc in &run.heredocs {
                    found.extend([heredoc.span, heredoc.content_span]);
                }
                if let CommandForm::Exec(list) = &run.form {
                    words.extend(list);
                }
            }
            InstructionKind::Copy(copy) => {
                words.push(&copy.dest);
                for source in &copy.sources {
                    match source {
                        Source::Path(word) => words.push(word),
                        Source::Heredoc(heredoc) => found.extend([heredoc.span, heredoc.content_span]),
                    }
                }
            }
            InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
                for (key, value) in &pairs.pairs {
                    words.extend([key, value]);
                }
            }
            InstructionKind::Expose(list) | InstructionKind::Volume(list) | InstructionKind::Shell(list) => {
                words.extend(list);
            }
            _ => {}
        }
        found.extend(words.iter().map(|word| word.span));
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gives_an_answer(source in text()) {
        let (dockerfile, errors) = parse(&source);
        prop_assert!(!dockerfile.instructions.is_empty() || !errors.is_empty());
        for span in spans(&dockerfile).into_iter().chain(errors.iter().map(|error| error.span)) {
            prop_assert!(source.get(span.range()).is_some(), "{span:?} of {source:?}");
        }
        let mut end = 0;
        for instruction in &dockerfile.instructions {
            prop_assert!(instruction.span.start >= end);
            end = instruction.span.end;
            prop_assert_eq!(&source[instruction.keyword.span.range()], &instruction.keyword.value);
            if let InstructionKind::Run(run) = &instruction.kind {
                let _ = run.script();
                for flag in &run.mounts {
                    let fields = flag.expand(|word| Ok::<_, ()>(word.text.clone())).unwrap();
                    if let Err(error) = mount::parse(&fields, flag.span) {
                        prop_assert!(source.get(error.span.range()).is_some());
                    }
                }
            }
        }
        for warning in rules::check(&dockerfile, &rules::Facts::default(), &rules::Options::default()) {
            prop_assert!(source.get(warning.span.range()).is_some(), "{warning:?} of {source:?}");
        }
        let _ = parse_trigger(&source);
    }

    #[test]
    fn any_word_expands_or_fails(word in text(), value in ".{0,8}") {
        let env = |name: &str| (name.len() % 2 == 1).then(|| value.clone());
        for escape in ['\\', '`'] {
            match words::expand(&word, escape, &env) {
                Ok(expanded) => prop_assert!(expanded.text.len() <= words::MAX_LENGTH),
                Err(error) => prop_assert!(word.get(error.range.clone()).is_some(), "{:?} of {:?}", error, word),
            }
        }
        let _ = words::expand_heredoc(&word, &env);
        let _ = ports::parse(&word);
        let _ = kiln_dockerfile::duration::parse(&word);
        let _ = kiln_dockerfile::size::parse(&word);
    }

    /// Words without quotes, escapes and variables stand for themselves.
    #[test]
    fn plain_words_stand_for_themselves(word in "[a-zA-Z0-9/._:@+-]{1,20}") {
        let expanded = words::expand(&word, '\\', &|_| None).unwrap();
        prop_assert_eq!(expanded.text, word);
    }

    /// A continuation may stand between any two words.
    #[test]
    fn continuations_change_nothing(words in prop::collection::vec("[a-z/$=.]{1,8}", 2..6)) {
        let one = format!("FROM a\nRUN {}\n", words.join(" "));
        let many = format!("FROM a\nRUN {}\n", words.join(" \\\n# comment\n"));
        let originals = |source: &str| -> Vec<String> {
            parse(source).0.instructions.into_iter().map(|instruction| instruction.original).collect()
        };
        prop_assert_eq!(originals(&one), originals(&many));
    }
}

/// Texts that invite quadratic time; each would take minutes if it got it.
#[test]
fn hard_texts_take_little_time() {
    let many = 100_000;
    let texts = [
        format!("FROM a\nRUN {}", "<<E ".repeat(many)),
        format!("FROM a\nRUN {}", "a \\\n".repeat(many)),
        format!("FROM a\nRUN {}", "\\\n\n".repeat(many)),
        format!("FROM a\nENV {}", "a=b ".repeat(many)),
        format!("FROM a\nCOPY {}", "a ".repeat(many)),
        format!("FROM a\nCOPY {}", "--exclude=a ".repeat(many / 2)),
        format!("FROM a\nRUN --mount={} x", "a,".repeat(many)),
        format!("FROM a\nRUN [{}]", "\"a\",".repeat(many)),
        format!("FROM a\nRUN {}", "[".repeat(many)),
        format!("FROM a\nRUN << {}", "${a:-".repeat(many)),
        "ONBUILD ".repeat(many),
        "#\n".repeat(many),
        "XYZ\n".repeat(many),
        format!("FROM a\nCOPY {} /x\n{}{}", "<<a ".repeat(many), "a\n".repeat(many - 1), "x\n".repeat(many) + "a\n"),
        format!("FROM a\nCOPY {} /x\n{}", (0..20_000).map(|n| format!("<<f{n} ")).collect::<String>(), {
            (0..20_000).map(|n| format!("x\nf{n}\n")).collect::<String>()
        }),
    ];
    let variables: String = (0..many).map(|n| format!("$v{n}")).collect();
    let texts = texts.into_iter().chain([
        format!("FROM scratch\nENV a={variables}"),
        format!(
            "FROM scratch AS s\n{}",
            (0..2_400).map(|n| format!("ENV v{n}=$w{n}\nFROM s AS s\n")).collect::<String>()
        ),
        format!("FROM scratch AS s\n{}", "FROM s AS s\nUSER $x\n".repeat(2_400)),
        format!("FROM scratch\nENV a=xxxxxxxxxx\n{}", "ENV a=$a$a$a$a\n".repeat(4_000)),
    ]);
    for text in texts {
        let start = Instant::now();
        let (dockerfile, _) = parse(&text);
        let _ = rules::check(&dockerfile, &rules::Facts::default(), &rules::Options::default());
        let taken = start.elapsed();
        assert!(taken < Duration::from_secs(30), "{taken:?} for {:?}…", &text[..40]);
    }
}
