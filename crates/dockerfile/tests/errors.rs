//! Each way to get a Dockerfile wrong: what is said, what the caret points at, and the hint.

use kiln_dockerfile::{Error, parse, parse_strict};

/// `caret: message [hint]` of every error of `FROM a` and then `source`.
fn faults(source: &str) -> Vec<String> {
    let whole = format!("FROM a\n{source}");
    shown(&whole, &parse(&whole).1)
}

fn shown(source: &str, errors: &[Error]) -> Vec<String> {
    errors
        .iter()
        .map(|error| {
            let caret = &source[error.span.range()];
            match &error.hint {
                Some(hint) => format!("{caret}: {} [{hint}]", error.message),
                None => format!("{caret}: {}", error.message),
            }
        })
        .collect()
}

fn check(cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        assert_eq!(faults(source).join("\n"), *expected, "{source}");
    }
}

#[test]
fn keywords() {
    check(&[
        ("RNU x", "RNU: unknown instruction `RNU` [did you mean `RUN`?]"),
        ("  copyy a b", "copyy: unknown instruction `copyy` [did you mean `COPY`?]"),
        ("INCLUDE x", "INCLUDE: unknown instruction `INCLUDE`"),
        (
            "RUN a\n  && b",
            "&&: unknown instruction `&&` [to continue the instruction above, end its last line with the escape character \
             (`\\`)]",
        ),
        (
            "RUN\u{a0}x",
            "RUN\u{a0}x: unknown instruction `RUN\u{a0}x` [there is a blank here that is no ordinary space; type it again]",
        ),
        (
            "RUN echo ${x^^} <<E\nfoo\nE",
            "foo: unknown instruction `foo` [the instruction above has `<<`, but quotes or `${…}` in it that cannot be read, \
             so its heredoc was not seen]\nE: unknown instruction `E` [the instruction above has `<<`, but quotes or `${…}` in \
             it that cannot be read, so its heredoc was not seen]",
        ),
    ]);
}

#[test]
fn flags() {
    check(&[
        ("COPY --form=x a b", "--form=x: COPY has no flag `--form` [did you mean `--from`?]"),
        ("COPY --FROM=x a b", "--FROM=x: COPY has no flag `--FROM` [flags are in lower case: --from]"),
        ("COPY --from=x --from=y a b", "--from=y: flag `--from` is given twice"),
        ("COPY --from x a b", "--from: flag `--from` needs a value [write --from=VALUE, without blanks around `=`]"),
        ("COPY --link=yes a b", "--link=yes: flag `--link` is `true` or `false`, not `yes`"),
        ("COPY --link= a b", "--link=: flag `--link` is `true` or `false`, not ``"),
        (
            "USER --x y",
            "--x: USER has no flag `--x` [USER has no flags; to begin an argument with `--` put `--` before it]",
        ),
        ("FROM --os=x y", "--os=x: FROM has no flag `--os` [it has `--platform`]"),
        (
            "RUN --device=x y",
            "--device=x: RUN has no flag `--device` [`--device` exists only in experimental versions of the Dockerfile syntax]",
        ),
        ("RUN --network=bridge x", "bridge: `--network` cannot be `bridge` [it is one of `default`, `none`, `host`]"),
        ("RUN --network= x", ": `--network` cannot be `` [it is one of `default`, `none`, `host`]"),
        ("RUN --security=none x", "none: `--security` cannot be `none` [it is one of `sandbox`, `insecure`]"),
    ]);
}

#[test]
fn arguments() {
    check(&[
        ("FROM", "FROM: FROM needs an image, `scratch` or a stage"),
        ("FROM a b", "b: FROM takes an image, or an image, `AS` and a name [to name the stage: AS b]"),
        (
            "FROM a AS",
            "AS: FROM takes an image, or an image, `AS` and a name [a name for the stage is missing after `AS`]",
        ),
        ("FROM a SA b", "SA: FROM takes an image, or an image, `AS` and a name [did you mean `AS`?]"),
        ("FROM a AS b c", "AS: FROM takes an image, or an image, `AS` and a name"),
        (
            "FROM a AS 1b",
            "1b: `1b` cannot be the name of a stage [a name begins with a letter, and has only letters, digits, `-`, `_` and \
             `.`]",
        ),
        ("COPY", "COPY: COPY needs at least two arguments: sources and a destination"),
        ("COPY a", "a: COPY has no destination [write COPY a DESTINATION]"),
        ("ADD [\"a\"]", "\"a\": ADD has no destination [write ADD a DESTINATION]"),
        ("ENV", "ENV: ENV needs at least one name=value"),
        ("ENV a", "a: ENV of `a` has no value [write ENV a=VALUE]"),
        ("ENV a=b c", "c: `c` is no name=value [a value with blanks goes in quotes: name=\"some words\"]"),
        ("LABEL =b", "=b: `=b` has no name before `=`"),
        ("ARG", "ARG: ARG needs at least one name"),
        ("ARG =x", "=x: `=x` has no name before `=`"),
        ("WORKDIR", "WORKDIR: WORKDIR needs a path"),
        ("USER ", "USER: USER needs a user"),
        ("EXPOSE", "EXPOSE: EXPOSE needs at least one port"),
        ("VOLUME []", "VOLUME: VOLUME needs at least one path"),
        ("VOLUME [\" \"]", "\" \": a VOLUME's path may not be empty"),
        ("STOPSIGNAL", "STOPSIGNAL: STOPSIGNAL needs a signal"),
        ("MAINTAINER", "MAINTAINER: MAINTAINER needs a name"),
        ("RUN []", "[]: RUN of an empty list has nothing to execute"),
    ]);
}

#[test]
fn json() {
    check(&[
        ("RUN [\"a\", 1]", "1: a JSON list here may only hold strings [put it in double quotes]"),
        ("CMD [true]", "true: a JSON list here may only hold strings [put it in double quotes]"),
        ("COPY [\"a\", null]", "null: a JSON list here may only hold strings [put it in double quotes]"),
        (
            "SHELL bash -c",
            "bash -c: SHELL needs a JSON list of strings [write SHELL [\"program\", \"argument\"], with double quotes]",
        ),
        (
            "SHELL ['bash']",
            "['bash']: SHELL needs a JSON list of strings [write SHELL [\"program\", \"argument\"], with double quotes]",
        ),
        (
            "SHELL []",
            "SHELL: SHELL needs a JSON list with at least one string [write SHELL [\"program\", \"argument\"], with double \
             quotes]",
        ),
    ]);
}

#[test]
fn healthcheck() {
    let durations = "durations are written like 30s, 1m30s or 500ms";
    let cases = [
        ("HEALTHCHECK", "HEALTHCHECK: HEALTHCHECK needs `NONE` or `CMD` and a command".to_owned()),
        ("HEALTHCHECK NONE x", "x: HEALTHCHECK NONE takes no arguments".to_owned()),
        (
            "HEALTHCHECK curl x",
            "curl: HEALTHCHECK has no type `curl` [write HEALTHCHECK CMD command, or HEALTHCHECK NONE]".to_owned(),
        ),
        ("HEALTHCHECK CMD", "CMD: HEALTHCHECK CMD needs a command".to_owned()),
        ("HEALTHCHECK CMD []", "CMD: HEALTHCHECK CMD needs a command".to_owned()),
        (
            "HEALTHCHECK --interval=30 CMD x",
            format!("30: `--interval=30`: the unit is missing after `30` [{durations}]"),
        ),
        (
            "HEALTHCHECK --timeout=1d CMD x",
            format!("1d: `--timeout=1d`: there is no unit `d`; units are ns, us, ms, s, m and h [{durations}]"),
        ),
        (
            "HEALTHCHECK --timeout=10us CMD x",
            format!("10us: `--timeout=10us`: an interval is at least 1ms, or 0 for the default [{durations}]"),
        ),
        (
            "HEALTHCHECK --timeout=-1s CMD x",
            format!("-1s: `--timeout=-1s`: an interval is at least 1ms, or 0 for the default [{durations}]"),
        ),
        ("HEALTHCHECK --retries=-1 CMD x", "-1: `--retries=-1`: expected a number, not negative".to_owned()),
        ("HEALTHCHECK --retries=x CMD x", "x: `--retries=x`: expected a number, not negative".to_owned()),
    ];
    for (source, expected) in cases {
        assert_eq!(faults(source).join("\n"), expected, "{source}");
    }
}

#[test]
fn onbuild() {
    check(&[
        ("ONBUILD", "ONBUILD: ONBUILD needs an instruction"),
        ("ONBUILD onbuild RUN x", "onbuild: ONBUILD cannot hold ONBUILD"),
        ("ONBUILD FROM x", "FROM: ONBUILD cannot hold FROM"),
        ("ONBUILD MAINTAINER x", "MAINTAINER: ONBUILD cannot hold MAINTAINER"),
        ("ONBUILD ENV x", "x: ENV of `x` has no value [write ENV x=VALUE]"),
    ]);
}

#[test]
fn heredocs() {
    check(&[
        (
            "RUN <<EOF\nx\n EOF\n",
            "<<EOF: heredoc `EOF` is not closed [end it with a line that is exactly `EOF`; only `<<-` lets tabs stand before \
             it]",
        ),
        (
            "COPY <<-a b <<b /x\na\nx",
            "<<b: heredoc `b` is not closed [end it with a line that is exactly `b`; only `<<-` lets tabs stand before it]",
        ),
        (
            "COPY a <<EOF\nx\nEOF",
            "<<EOF: a heredoc cannot be the destination of COPY [the destination comes last, and is a path]",
        ),
    ]);
}

#[test]
fn mounts() {
    let comma = "a field with a comma goes in quotes: --mount='type=bind,\"source=a,b\",target=/x'";
    let cases = [
        ("RUN --mount= x", ": `--mount` has no fields [write --mount=type=cache,target=/PATH]".to_owned()),
        ("RUN --mount='type=bind,\"target=/x' y", format!("\": a quoted field is not closed [{comma}]")),
        ("RUN --mount='target=\"/x\"' y", format!("\": a quote may only stand around a whole field [{comma}]")),
        ("RUN --mount='\"target=/x\"a,ro' y", format!("\": a quoted field must end at a comma [{comma}]")),
        (
            "RUN --mount=from=$X,target=/x y",
            "$X: `from` of a mount does not expand variables [name a stage before: FROM image-with-variables AS name]"
                .to_owned(),
        ),
    ];
    for (source, expected) in cases {
        assert_eq!(faults(source).join("\n"), expected, "{source}");
    }
}

#[test]
fn whole_files() {
    for (source, expected) in [
        ("", ": the Dockerfile has no instructions [the least is one line: FROM image]"),
        ("# only\n\n", ": the Dockerfile has no instructions [the least is one line: FROM image]"),
        (
            "ARG x\nRUN y\nFROM z",
            "RUN: RUN stands before the first FROM [a Dockerfile begins with FROM; only ARG may stand before it]",
        ),
        ("# escape=^\nFROM a", "^: `^` cannot be the escape character [write a backslash or a backtick: # escape=`]"),
        ("# syntax=a\n# syntax=b\nFROM a", "syntax: parser directive `syntax` is given twice"),
        (
            "FROM a\nRUN x\0y\n# \0\nUSER b",
            "\0: a zero byte, which no command, name or path can hold [if there are more, the file may be UTF-16: save it as \
             UTF-8]",
        ),
        ("FROM a\n\\", "\\: the line continues, but nothing follows"),
        // A FROM that cannot be read is one fault, not two.
        ("FRM a\nRUN y", "FRM: unknown instruction `FRM` [did you mean `FROM`?]"),
    ] {
        let (_, errors) = parse(source);
        assert_eq!(shown(source, &errors).join("\n"), expected, "{source}");
    }
}

#[test]
fn one_fault_does_not_hide_another() {
    let source = "FROM a\nRNU x\nCOPY a\nRUN ok\nUSER\n";
    let (dockerfile, errors) = parse(source);
    assert_eq!(errors.len(), 3);
    assert_eq!(dockerfile.instructions.len(), 2);
    assert_eq!(parse_strict(source).unwrap_err(), errors[0]);
}

#[test]
fn sizes_are_bounded() {
    let long = format!("FROM a\nRUN {}\nUSER b", "x".repeat(kiln_dockerfile::MAX_LINE));
    let (dockerfile, errors) = parse(&long);
    assert_eq!((dockerfile.instructions.len(), errors.len()), (2, 1));
    let large = "#\n".repeat(kiln_dockerfile::MAX_FILE / 2 + 1);
    assert_eq!(parse(&large).1.len(), 1);
}
