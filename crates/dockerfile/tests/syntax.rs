//! What instructions are read as: one line in, one compact line out.

use kiln_dockerfile::ast::{
    CommandForm, Healthcheck, Heredoc, InstructionKind, MountFlag, Pairs, RunScript, Source, Word,
};
use kiln_dockerfile::{parse, parse_trigger};

fn words<'a>(words: impl IntoIterator<Item = &'a Word>) -> String {
    let texts: Vec<_> = words.into_iter().map(|word| format!("{:?}", word.text)).collect();
    texts.join(" ")
}

fn form(form: &CommandForm) -> String {
    match form {
        CommandForm::Shell(word) => format!("shell {:?}", word.text),
        CommandForm::Exec(list) => format!("exec [{}]", words(list)),
    }
}

fn pairs(pairs: &Pairs) -> String {
    let texts: Vec<_> = pairs.pairs.iter().map(|(key, value)| format!("{:?}={:?}", key.text, value.text)).collect();
    format!("{}{}", if pairs.legacy { "legacy " } else { "" }, texts.join(" "))
}

fn heredoc(heredoc: &Heredoc) -> String {
    let expand = if heredoc.expand { "" } else { " raw" };
    format!("<<{}{expand} {:?}", heredoc.name, heredoc.text())
}

fn mount(flag: &MountFlag) -> String {
    let fields: Vec<_> = flag
        .fields
        .iter()
        .map(|(key, value)| match value {
            Some(word) => format!("{}={:?}", key.value, word.text),
            None => key.value.clone(),
        })
        .collect();
    format!("mount({})", fields.join(" "))
}

fn sources(sources: &[Source], dest: &Word) -> String {
    let texts: Vec<_> = sources
        .iter()
        .map(|source| match source {
            Source::Path(word) => format!("{:?}", word.text),
            Source::Heredoc(found) => heredoc(found),
        })
        .collect();
    format!("{} -> {:?}", texts.join(" "), dest.text)
}

fn option(name: &str, word: &Option<Word>) -> String {
    word.as_ref().map_or_else(String::new, |word| format!("{name}={:?} ", word.text))
}

fn show(kind: &InstructionKind) -> String {
    let name = kind.name().to_lowercase();
    let rest = match kind {
        InstructionKind::Add(add) => format!(
            "{}{}{}{}{}{}exclude[{}] {}",
            option("chown", &add.chown),
            option("chmod", &add.chmod),
            option("checksum", &add.checksum),
            add.link.map_or(String::new(), |link| format!("link={} ", link.value)),
            add.keep_git_dir.map_or(String::new(), |keep| format!("keep={} ", keep.value)),
            add.unpack.map_or(String::new(), |unpack| format!("unpack={} ", unpack.value)),
            words(&add.exclude),
            sources(&add.sources, &add.dest),
        ),
        InstructionKind::Copy(copy) => format!(
            "{}{}{}{}{}{}{}",
            option("from", &copy.from),
            option("chown", &copy.chown),
            option("chmod", &copy.chmod),
            copy.link.map_or(String::new(), |link| format!("link={} ", link.value)),
            copy.parents.map_or(String::new(), |parents| format!("parents={} ", parents.value)),
            if copy.exclude.is_empty() { String::new() } else { format!("exclude[{}] ", words(&copy.exclude)) },
            sources(&copy.sources, &copy.dest),
        ),
        InstructionKind::Arg(args) => {
            let texts: Vec<_> = args
                .iter()
                .map(|arg| match &arg.default {
                    Some(default) => format!("{:?}={:?}", arg.name.text, default.text),
                    None => format!("{:?}", arg.name.text),
                })
                .collect();
            texts.join(" ")
        }
        InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => form(command),
        InstructionKind::Env(list) | InstructionKind::Label(list) => pairs(list),
        InstructionKind::Expose(list) | InstructionKind::Volume(list) | InstructionKind::Shell(list) => words(list),
        InstructionKind::From(from) => format!(
            "{}{:?}{}",
            option("platform", &from.platform),
            from.image.text,
            from.stage_name().map_or(String::new(), |name| format!(" as {name}"))
        ),
        InstructionKind::Healthcheck(Healthcheck::None) => "none".to_owned(),
        InstructionKind::Healthcheck(Healthcheck::Probe(probe)) => format!(
            "{:?} {:?} {:?} {:?} {:?} {}",
            probe.interval,
            probe.timeout,
            probe.start_period,
            probe.start_interval,
            probe.retries,
            form(&probe.form)
        ),
        InstructionKind::Maintainer(word)
        | InstructionKind::StopSignal(word)
        | InstructionKind::User(word)
        | InstructionKind::Workdir(word) => format!("{:?}", word.text),
        InstructionKind::Onbuild(onbuild) => format!(
            "{:?} {}",
            onbuild.text,
            onbuild.instruction.as_ref().map_or("?".to_owned(), |inner| show(&inner.kind))
        ),
        InstructionKind::Run(run) => {
            let mut parts: Vec<_> = run.mounts.iter().map(mount).collect();
            parts.extend(run.network.map(|network| format!("network={:?}", network.value)));
            parts.extend(run.security.map(|security| format!("security={:?}", security.value)));
            parts.push(form(&run.form));
            parts.extend(run.heredocs.iter().map(heredoc));
            parts.join(" ")
        }
    };
    format!("{name} {rest}").trim_end().to_owned()
}

/// The instructions of `FROM a` and then `source`.
fn read(source: &str) -> Vec<String> {
    let whole = format!("FROM a\n{source}");
    let (dockerfile, errors) = parse(&whole);
    assert_eq!(errors, [], "{source}");
    dockerfile.instructions.iter().skip(1).map(|instruction| show(&instruction.kind)).collect()
}

fn check(cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        assert_eq!(read(source).join("\n"), *expected, "{source}");
    }
}

#[test]
fn from() {
    check(&[
        ("FROM alpine:3.20", r#"from "alpine:3.20""#),
        ("from scratch as Base", r#"from "scratch" as base"#),
        (
            "FROM --platform=$BUILDPLATFORM golang:1 AS b.1-x_y",
            r#"from platform="$BUILDPLATFORM" "golang:1" as b.1-x_y"#,
        ),
        ("FROM ${IMAGE:-alpine}@sha256:00", r#"from "${IMAGE:-alpine}@sha256:00""#),
        ("FROM --platform= a", r#"from "a""#),
        ("\tFrOm\ta\tAs\tb ", r#"from "a" as b"#),
    ]);
}

#[test]
fn commands() {
    check(&[
        ("RUN go build -o app", r#"run shell "go build -o app""#),
        ("RUN [\"go\", \"build\"]", r#"run exec ["go" "build"]"#),
        ("RUN [ -f x ] && echo 'a b'", r#"run shell "[ -f x ] && echo 'a b'""#),
        ("RUN ['go']", r#"run shell "['go']""#),
        ("RUN", r#"run shell """#),
        ("CMD", r#"cmd shell """#),
        ("CMD []", "cmd exec []"),
        ("CMD [\"a\",\"b\"] ", r#"cmd exec ["a" "b"]"#),
        ("CMD exec a \"$b\"", r#"cmd shell "exec a \"$b\"""#),
        ("CMD -- --flag", r#"cmd shell "--flag""#),
        ("ENTRYPOINT [\"/a\"]", r#"entrypoint exec ["/a"]"#),
        ("ENTRYPOINT a  b", r#"entrypoint shell "a  b""#),
        ("SHELL [\"/bin/bash\", \"-c\"]", r#"shell "/bin/bash" "-c""#),
        ("HEALTHCHECK NONE", "healthcheck none"),
        ("HEALTHCHECK --interval=5s none", "healthcheck none"),
        (
            "HEALTHCHECK --interval=30s --timeout=1m --start-period=0 --start-interval=500ms --retries=3 CMD curl x",
            r#"healthcheck Some(30s) Some(60s) None Some(500ms) Some(3) shell "curl x""#,
        ),
        ("HEALTHCHECK cmd [\"a\"]", r#"healthcheck None None None None None exec ["a"]"#),
    ]);
}

#[test]
fn run_flags() {
    check(&[
        (
            "RUN --mount=type=cache,target=/root/.cache,ID=$X,ro --network=none --security=insecure make",
            r#"run mount(type="cache" target="/root/.cache" id="$X" ro) network=None security=Insecure shell "make""#,
        ),
        (
            "RUN --mount='type=bind,\"source=a,b\",target=/x' x",
            r#"run mount(type="bind" source="a,b" target="/x") shell "x""#,
        ),
        ("RUN --mount=type=bind,\"target=/a b\" x", r#"run mount(type="bind" target="/a b") shell "x""#),
        ("RUN --mount=target=/a --mount=target=/b [\"x\"]", r#"run mount(target="/a") mount(target="/b") exec ["x"]"#),
        ("RUN --mount=from=a$,target=/a x", r#"run mount(from="a$" target="/a") shell "x""#),
        (
            "RUN \\\n  --mount=target=/a \\\n  --network=host \\\n  x",
            r#"run mount(target="/a") network=Host shell "x""#,
        ),
    ]);
}

#[test]
fn files() {
    check(&[
        ("COPY a b /c/", r#"copy "a" "b" -> "/c/""#),
        ("COPY [\"a b\", \"c\"]", r#"copy "a b" -> "c""#),
        (
            "COPY --from=build --chown=1:$G --chmod=u+x --link --parents=TRUE --exclude=*.md --exclude=.git a b",
            r#"copy from="build" chown="1:$G" chmod="u+x" link=true parents=true exclude["*.md" ".git"] "a" -> "b""#,
        ),
        ("COPY --link=false a b", r#"copy link=false "a" -> "b""#),
        ("COPY --from= a b", r#"copy "a" -> "b""#),
        ("COPY $A \"b c\" d", r#"copy "$A" "\"b" "c\"" -> "d""#),
        (
            "ADD --checksum=sha256:0 --keep-git-dir --unpack=false https://x/y /z",
            r#"add checksum="sha256:0" keep=true unpack=false exclude[] "https://x/y" -> "/z""#,
        ),
        ("ADD -- --odd /z", r#"add exclude[] "--odd" -> "/z""#),
    ]);
}

#[test]
fn pairs_and_arguments() {
    check(&[
        ("ENV a=b c='d e' f=\"g\\\"h\" i=j\\ k l=", r#"env "a"="b" "c"="'d e'" "f"="\"g\\\"h\"" "i"="j\\ k" "l"="""#),
        ("ENV a b  c=d", r#"env legacy "a"="b  c=d""#),
        ("ENV a \"b\"", r#"env legacy "a"="\"b\"""#),
        ("ENV a=b=c", r#"env "a"="b=c""#),
        ("ENV a=1 \\\n    b=2", r#"env "a"="1" "b"="2""#),
        ("LABEL \"a.b\"=c d=\"e \\\nf\"", r#"label "\"a.b\""="c" "d"="\"e f\"""#),
        ("LABEL a b", r#"label legacy "a"="b""#),
        ("ARG a b=c d=", r#"arg "a" "b"="c" "d"="""#),
        ("ARG a='b c'", r#"arg "a"="'b c'""#),
    ]);
}

#[test]
fn the_rest() {
    check(&[
        ("WORKDIR /a b", r#"workdir "/a b""#),
        ("USER $U:g", r#"user "$U:g""#),
        ("EXPOSE 80 443/tcp $P", r#"expose "$P" "443/tcp" "80""#),
        ("VOLUME /a /b", r#"volume "/a" "/b""#),
        ("VOLUME [\"/a b \"]", r#"volume "/a b""#),
        ("STOPSIGNAL SIGKILL", r#"stopsignal "SIGKILL""#),
        ("MAINTAINER A B <a@b>", r#"maintainer "A B <a@b>""#),
        ("ONBUILD RUN make  ", r#"onbuild "RUN make  " run shell "make""#),
        ("ONBUILD COPY --bogus a b", r#"onbuild "COPY --bogus a b" ?"#),
        ("ONBUILD include x", r#"onbuild "include x" ?"#),
    ]);
}

#[test]
fn heredocs() {
    check(&[
        ("RUN <<EOF\na\n  b\nEOF", r#"run shell "<<EOF" <<EOF "a\n  b\n""#),
        ("RUN <<-EOF\n\ta\n\t\tb\n\tEOF\nUSER x", "run shell \"<<-EOF\" <<EOF \"a\\nb\\n\"\nuser \"x\""),
        ("RUN cat <<A 3<<'B' >f\n1\nA\n2\nB", r#"run shell "cat <<A 3<<'B' >f" <<A "1\n" <<B raw "2\n""#),
        (
            "COPY <<a.txt <<\"b.txt\" c /d/\n$x\na.txt\n$y\nb.txt",
            r#"copy <<a.txt "$x\n" <<b.txt raw "$y\n" "c" -> "/d/""#,
        ),
        ("COPY --chmod=755 <<EOF /x\n#!/bin/sh\nEOF", r##"copy chmod="755" <<EOF "#!/bin/sh\n" -> "/x""##),
        ("ADD <<-E /x\n\ta\n\tE", r#"add exclude[] <<E "a\n" -> "/x""#),
        ("RUN <<EOF\r\na\r\nEOF\r\nUSER x", "run shell \"<<EOF\" <<EOF \"a\\r\\n\"\nuser \"x\""),
        ("RUN <<EOF\nEOF", r#"run shell "<<EOF" <<EOF """#),
        // A comment or an empty line within a heredoc is its text, and a continuation is none.
        ("RUN <<EOF\n# a\n\nb \\\nEOF", r##"run shell "<<EOF" <<EOF "# a\n\nb \\\n""##),
        ("RUN cat \\\n  <<EOF\na\nEOF", r#"run shell "cat   <<EOF" <<EOF "a\n""#),
        ("ONBUILD RUN <<EOF\na\nEOF", r#"onbuild "RUN <<EOF\na\nEOF" run shell "<<EOF" <<EOF "a\n""#),
        // No heredocs in JSON, in other instructions, in quotes and here-strings.
        ("RUN [\"cat\", \"<<EOF\"]", r#"run exec ["cat" "<<EOF"]"#),
        ("CMD cat <<EOF", r#"cmd shell "cat <<EOF""#),
        ("RUN echo '<<EOF'", r#"run shell "echo '<<EOF'""#),
        ("RUN cat <<<word", r#"run shell "cat <<<word""#),
        ("RUN echo $((1<<2))", r#"run shell "echo $((1<<2))""#),
        ("RUN echo ${X:0:3} <<E\na\nE", r#"run shell "echo ${X:0:3} <<E" <<E "a\n""#),
        ("COPY [\"<<EOF\", \"/x\"]", r#"copy <<EOF "" -> "/x""#),
    ]);
}

#[test]
fn scripts() {
    let script = |source: &str| {
        let (dockerfile, errors) = parse(&format!("FROM a\n{source}"));
        assert_eq!(errors, [], "{source}");
        match &dockerfile.instructions[1].kind {
            InstructionKind::Run(run) => run.script(),
            other => panic!("{other:?}"),
        }
    };
    let shell = |text: &str| RunScript::Shell(text.to_owned());
    assert_eq!(script("RUN a b"), shell("a b"));
    assert_eq!(script("RUN [\"a\"]"), RunScript::Exec(vec!["a".to_owned()]));
    assert_eq!(script("RUN <<-EOF\n\ta\n\tb\nEOF"), shell("a\nb\n"));
    assert_eq!(script("RUN python <<EOF\nprint()\nEOF"), shell("python <<EOF\nprint()\nEOF"));
    assert_eq!(script("RUN cat <<A <<-B\n1\nA\n\t2\nB"), shell("cat <<A <<-B\n1\nA\n\t2\nB"));
    assert_eq!(
        script("RUN <<run\n#!/usr/bin/env python\nprint()\nrun"),
        RunScript::Shebang { name: "run".to_owned(), text: "#!/usr/bin/env python\nprint()\n".to_owned() }
    );
}

#[test]
fn lines_and_comments() {
    check(&[
        ("RUN a \\\n  # comment\n\n  b", r#"run shell "a   b""#),
        ("# comment\n\n  RUN a # not a comment", r#"run shell "a # not a comment""#),
        ("RUN a \\", r#"run shell "a""#),
        ("RUN a\\\r\n b\r\n", r#"run shell "a b""#),
        ("RUN a \\  \n b", r#"run shell "a  b""#),
        ("\\\nRUN a", r#"run shell "a""#),
    ]);
    let (dockerfile, errors) = parse("\u{feff}# escape=`\nFROM a\nRUN a `\n  c:\\b\nCOPY a c:\\\n");
    assert_eq!(errors, []);
    let shown: Vec<_> = dockerfile.instructions.iter().map(|instruction| show(&instruction.kind)).collect();
    assert_eq!(shown, [r#"from "a""#, r#"run shell "a   c:\\b""#, r#"copy "a" -> "c:\\""#]);
}

#[test]
fn instructions_know_their_text() {
    let source =
        "# base is the base\nFROM a AS base\n\n# one\n#\n# two\n\nARG x\n# y\nrun  a \\\n  b  \nRUN <<E\nx\nE\n\nCMD b";
    let (dockerfile, errors) = parse(source);
    assert_eq!(errors, []);
    let facts: Vec<_> = dockerfile
        .instructions
        .iter()
        .map(|instruction| {
            (
                instruction.original.as_str(),
                &source[instruction.span.range()],
                instruction.keyword.value.as_str(),
                instruction.comments.join("|"),
            )
        })
        .collect();
    assert_eq!(
        facts,
        [
            ("FROM a AS base", "FROM a AS base", "FROM", "base is the base".to_owned()),
            ("ARG x", "ARG x", "ARG", String::new()),
            ("run  a   b", "run  a \\\n  b  ", "run", "y".to_owned()),
            ("RUN <<E", "RUN <<E\nx\nE", "RUN", String::new()),
            ("CMD b", "CMD b", "CMD", String::new()),
        ]
    );
}

#[test]
fn triggers() {
    let shown = |text: &str| parse_trigger(text).map(|instruction| show(&instruction.kind));
    assert_eq!(shown("COPY . /src").unwrap(), r#"copy "." -> "/src""#);
    assert_eq!(shown("RUN <<E\na\nE").unwrap(), r#"run shell "<<E" <<E "a\n""#);
    assert!(shown("RUN a\nRUN b").is_err());
    assert!(shown("").is_err());
    assert!(shown("FROM a").is_err());
    assert!(shown("COPY --bogus a b").is_err());
}
