//! Each thing that the language knows, written wrong: a table with a row for every instruction, flag and mount option, and a test
//! that none is missing.

use crate::support::{Images, options};
use kiln_dockerfile::mount::OPTIONS;
use kiln_dockerfile::{FLAGS, KEYWORDS};

/// What is misused, a line that does, and what is said: `place: message [hint]`.
const ROWS: &[(&str, &str, &str)] = &[
    ("ADD", "ADD x", "x: ADD has no destination [write ADD x DESTINATION]"),
    ("ARG", "ARG =x", "=x: `=x` has no name before `=`"),
    ("CMD", "CMD [\"a\", 1]", "1: a JSON list here may only hold strings [put it in double quotes]"),
    ("COPY", "COPY x", "x: COPY has no destination [write COPY x DESTINATION]"),
    ("ENTRYPOINT", "ENTRYPOINT [true]", "true: a JSON list here may only hold strings [put it in double quotes]"),
    ("ENV", "ENV NAME", "NAME: ENV of `NAME` has no value [write ENV NAME=VALUE]"),
    (
        "EXPOSE",
        "EXPOSE 99999",
        "99999: `99999` is not a port or a range of ports [a port is `80`, `80/udp` or `8000-8010`]",
    ),
    ("FROM", "FROM a b", "b: FROM takes an image, or an image, `AS` and a name [to name the stage: AS b]"),
    (
        "HEALTHCHECK",
        "HEALTHCHECK curl localhost",
        "curl: HEALTHCHECK has no type `curl` [write HEALTHCHECK CMD command, or HEALTHCHECK NONE]",
    ),
    ("LABEL", "LABEL name", "name: LABEL of `name` has no value [write LABEL name=VALUE]"),
    ("MAINTAINER", "MAINTAINER", "MAINTAINER: MAINTAINER needs a name"),
    ("ONBUILD", "ONBUILD FROM x", "FROM: ONBUILD cannot hold FROM"),
    ("RUN", "RUN []", "[]: RUN of an empty list has nothing to execute"),
    (
        "SHELL",
        "SHELL bash -c",
        "bash -c: SHELL needs a JSON list of strings [write SHELL [\"program\", \"argument\"], with double quotes]",
    ),
    ("STOPSIGNAL", "STOPSIGNAL SIGTREM", "SIGTREM: `SIGTREM` is not a signal [did you mean `SIGTERM`?]"),
    ("USER", "USER", "USER: USER needs a user"),
    ("VOLUME", "VOLUME [\"\"]", "\"\": a VOLUME's path may not be empty"),
    ("WORKDIR", "WORKDIR", "WORKDIR: WORKDIR needs a path"),
    (
        "ADD --checksum",
        "ADD --checksum=md5:1 https://example.org/x /",
        "md5:1: digest `md5:1` uses an algorithm that kiln cannot verify [only `sha256:` is supported]",
    ),
    ("ADD --chmod", "ADD --chmod=rwx x /", "rwx: `--chmod=rwx` is not a mode [write `0755`, or `u=rwX,go=rX`]"),
    (
        "ADD --chown",
        "ADD --chown x /",
        "--chown: flag `--chown` needs a value [write --chown=VALUE, without blanks around `=`]",
    ),
    (
        "ADD --exclude",
        "ADD --exclude x /",
        "--exclude: flag `--exclude` needs a value [write --exclude=VALUE, without blanks around `=`]",
    ),
    (
        "ADD --keep-git-dir",
        "ADD --keep-git-dir=maybe x /",
        "--keep-git-dir=maybe: flag `--keep-git-dir` is `true` or `false`, not `maybe`",
    ),
    ("ADD --link", "ADD --link=yes x /", "--link=yes: flag `--link` is `true` or `false`, not `yes`"),
    ("ADD --unpack", "ADD --unpack=no x /", "--unpack=no: flag `--unpack` is `true` or `false`, not `no`"),
    ("COPY --chmod", "COPY --chmod=888 x /", "888: `--chmod=888` is not a mode [write `0755`, or `u=rwX,go=rX`]"),
    (
        "COPY --chown",
        "COPY --chown x /",
        "--chown: flag `--chown` needs a value [write --chown=VALUE, without blanks around `=`]",
    ),
    (
        "COPY --exclude",
        "COPY --exclude x /",
        "--exclude: flag `--exclude` needs a value [write --exclude=VALUE, without blanks around `=`]",
    ),
    ("COPY --from", "COPY --from=7 x /", "7: there is no stage 7 [stages are counted from 0; the last one is 0]"),
    ("COPY --link", "COPY --link= x /", "--link=: flag `--link` is `true` or `false`, not ``"),
    ("COPY --parents", "COPY --parents=all x /", "--parents=all: flag `--parents` is `true` or `false`, not `all`"),
    (
        "FROM --platform",
        "FROM --platform=linux/a/b/c x",
        "linux/a/b/c: `linux/a/b/c` is not a platform [a platform is `os/architecture[/variant]`, for example `linux/arm64`]",
    ),
    (
        "HEALTHCHECK --interval",
        "HEALTHCHECK --interval=30 CMD x",
        "30: `--interval=30`: the unit is missing after `30` [durations are written like 30s, 1m30s or 500ms]",
    ),
    ("HEALTHCHECK --retries", "HEALTHCHECK --retries=-1 CMD x", "-1: `--retries=-1`: expected a number, not negative"),
    (
        "HEALTHCHECK --start-interval",
        "HEALTHCHECK --start-interval=x CMD x",
        "x: `--start-interval=x`: `x` is not a duration [durations are written like 30s, 1m30s or 500ms]",
    ),
    (
        "HEALTHCHECK --start-period",
        "HEALTHCHECK --start-period=1d CMD x",
        "1d: `--start-period=1d`: there is no unit `d`; units are ns, us, ms, s, m and h [durations are written like 30s, 1m30s or 500ms]",
    ),
    (
        "HEALTHCHECK --timeout",
        "HEALTHCHECK --timeout=10us CMD x",
        "10us: `--timeout=10us`: an interval is at least 1ms, or 0 for the default [durations are written like 30s, 1m30s or 500ms]",
    ),
    ("RUN --mount", "RUN --mount= x", ": `--mount` has no fields [write --mount=type=cache,target=/PATH]"),
    (
        "RUN --network",
        "RUN --network=bridge x",
        "bridge: `--network` cannot be `bridge` [it is one of `default`, `none`, `host`]",
    ),
    (
        "RUN --security",
        "RUN --security=none x",
        "none: `--security` cannot be `none` [it is one of `sandbox`, `insecure`]",
    ),
    (
        "RUN --mount=type=bind,target",
        "RUN --mount=type=bind,source=a x",
        "--mount=type=bind,source=a: a mount cannot take the place of the root directory [give it a target below `/`]",
    ),
    (
        "RUN --mount=type=bind,dst",
        "RUN --mount=type=bind,dst= x",
        "--mount=type=bind,dst=: a mount cannot take the place of the root directory [give it a target below `/`]",
    ),
    (
        "RUN --mount=type=bind,destination",
        "RUN --mount=type=bind,destination x",
        "destination: mount option `destination` needs a value [write destination=VALUE]",
    ),
    (
        "RUN --mount=type=bind,source",
        "RUN --mount=type=bind,source,target=/a x",
        "source: mount option `source` needs a value [write source=VALUE]",
    ),
    (
        "RUN --mount=type=bind,src",
        "RUN --mount=type=bind,src,target=/a x",
        "src: mount option `src` needs a value [write src=VALUE]",
    ),
    (
        "RUN --mount=type=bind,from",
        "RUN --mount=type=bind,from=$X,target=/a x",
        "$X: `from` of a mount does not expand variables [name a stage before: FROM image-with-variables AS name]",
    ),
    (
        "RUN --mount=type=bind,readonly",
        "RUN --mount=type=bind,readonly=maybe,target=/a x",
        "maybe: `readonly` is `true` or `false`, not `maybe`",
    ),
    ("RUN --mount=type=bind,ro", "RUN --mount=type=bind,ro=,target=/a x", ": `ro` is `true` or `false`, not ``"),
    (
        "RUN --mount=type=bind,readwrite",
        "RUN --mount=type=bind,readwrite=yes,target=/a x",
        "yes: `readwrite` is `true` or `false`, not `yes`",
    ),
    ("RUN --mount=type=bind,rw", "RUN --mount=type=bind,rw=2,target=/a x", "2: `rw` is `true` or `false`, not `2`"),
    (
        "RUN --mount=type=cache,id",
        "RUN --mount=type=cache,id,target=/a x",
        "id: mount option `id` needs a value [write id=VALUE]",
    ),
    (
        "RUN --mount=type=cache,target",
        "RUN --mount=type=cache,id=a x",
        "--mount=type=cache,id=a: a mount cannot take the place of the root directory [give it a target below `/`]",
    ),
    (
        "RUN --mount=type=cache,dst",
        "RUN --mount=type=cache,dst= x",
        "--mount=type=cache,dst=: a mount cannot take the place of the root directory [give it a target below `/`]",
    ),
    (
        "RUN --mount=type=cache,destination",
        "RUN --mount=type=cache,destination x",
        "destination: mount option `destination` needs a value [write destination=VALUE]",
    ),
    (
        "RUN --mount=type=cache,source",
        "RUN --mount=type=cache,source,target=/a x",
        "source: mount option `source` needs a value [write source=VALUE]",
    ),
    (
        "RUN --mount=type=cache,src",
        "RUN --mount=type=cache,src,target=/a x",
        "src: mount option `src` needs a value [write src=VALUE]",
    ),
    (
        "RUN --mount=type=cache,from",
        "RUN --mount=type=cache,from=$X,target=/a x",
        "$X: `from` of a mount does not expand variables [name a stage before: FROM image-with-variables AS name]",
    ),
    (
        "RUN --mount=type=cache,readonly",
        "RUN --mount=type=cache,readonly=maybe,target=/a x",
        "maybe: `readonly` is `true` or `false`, not `maybe`",
    ),
    ("RUN --mount=type=cache,ro", "RUN --mount=type=cache,ro=,target=/a x", ": `ro` is `true` or `false`, not ``"),
    (
        "RUN --mount=type=cache,readwrite",
        "RUN --mount=type=cache,readwrite=yes,target=/a x",
        "yes: `readwrite` is `true` or `false`, not `yes`",
    ),
    ("RUN --mount=type=cache,rw", "RUN --mount=type=cache,rw=2,target=/a x", "2: `rw` is `true` or `false`, not `2`"),
    (
        "RUN --mount=type=cache,sharing",
        "RUN --mount=type=cache,target=/a,sharing=none x",
        "none: `sharing` cannot be `none` [it is one of `shared`, `private`, `locked`]",
    ),
    (
        "RUN --mount=type=cache,mode",
        "RUN --mount=type=cache,target=/a,mode=rwx x",
        "rwx: `mode` cannot be `rwx`: expected octal digits, such as 0755",
    ),
    (
        "RUN --mount=type=cache,uid",
        "RUN --mount=type=cache,target=/a,uid=root x",
        "root: `uid` cannot be `root`: expected a number",
    ),
    (
        "RUN --mount=type=cache,gid",
        "RUN --mount=type=cache,target=/a,gid=-1 x",
        "-1: `gid` cannot be `-1`: expected a number",
    ),
    (
        "RUN --mount=type=tmpfs,target",
        "RUN --mount=type=tmpfs,size=1m x",
        "--mount=type=tmpfs,size=1m: a mount cannot take the place of the root directory [give it a target below `/`]",
    ),
    (
        "RUN --mount=type=tmpfs,dst",
        "RUN --mount=type=tmpfs,dst= x",
        "--mount=type=tmpfs,dst=: a mount cannot take the place of the root directory [give it a target below `/`]",
    ),
    (
        "RUN --mount=type=tmpfs,destination",
        "RUN --mount=type=tmpfs,destination=/ x",
        "--mount=type=tmpfs,destination=/: a mount cannot take the place of the root directory [give it a target below `/`]",
    ),
    (
        "RUN --mount=type=tmpfs,size",
        "RUN --mount=type=tmpfs,target=/a,size=big x",
        "big: `big` is not a size such as `64m` or `1GiB`",
    ),
    (
        "RUN --mount=type=secret,id",
        "RUN --mount=type=secret,id= x",
        "--mount=type=secret,id=: a secret mount needs an `id` [add id=NAME, and give it: --secret id=NAME,src=FILE]",
    ),
    (
        "RUN --mount=type=secret,source",
        "RUN --mount=type=secret,id=a,source=b x",
        "--mount=type=secret,id=a,source=b: a secret mount has `id` or `source`, not both",
    ),
    (
        "RUN --mount=type=secret,src",
        "RUN --mount=type=secret,src= x",
        "--mount=type=secret,src=: a secret mount needs an `id` [add id=NAME, and give it: --secret id=NAME,src=FILE]",
    ),
    (
        "RUN --mount=type=secret,target",
        "RUN --mount=type=secret,target=/ x",
        "--mount=type=secret,target=/: a mount cannot take the place of the root directory [give it a target below `/`]",
    ),
    (
        "RUN --mount=type=secret,dst",
        "RUN --mount=type=secret,id=a,dst x",
        "dst: mount option `dst` needs a value [write dst=VALUE]",
    ),
    (
        "RUN --mount=type=secret,destination",
        "RUN --mount=type=secret,id=a,destination=/ x",
        "--mount=type=secret,id=a,destination=/: a mount cannot take the place of the root directory [give it a target below `/`]",
    ),
    (
        "RUN --mount=type=secret,env",
        "RUN --mount=type=secret,id=a,env x",
        "env: mount option `env` needs a value [write env=VALUE]",
    ),
    (
        "RUN --mount=type=secret,required",
        "RUN --mount=type=secret,id=a,required=maybe x",
        "maybe: `required` is `true` or `false`, not `maybe`",
    ),
    (
        "RUN --mount=type=secret,mode",
        "RUN --mount=type=secret,id=a,mode=9 x",
        "9: `mode` cannot be `9`: expected octal digits, such as 0755",
    ),
    (
        "RUN --mount=type=secret,uid",
        "RUN --mount=type=secret,id=a,uid=root x",
        "root: `uid` cannot be `root`: expected a number",
    ),
    (
        "RUN --mount=type=secret,gid",
        "RUN --mount=type=secret,id=a,gid=-1 x",
        "-1: `gid` cannot be `-1`: expected a number",
    ),
    ("RUN --mount=type=ssh,id", "RUN --mount=type=ssh,id x", "id: mount option `id` needs a value [write id=VALUE]"),
    (
        "RUN --mount=type=ssh,target",
        "RUN --mount=type=ssh,target=/ x",
        "--mount=type=ssh,target=/: a mount cannot take the place of the root directory [give it a target below `/`]",
    ),
    (
        "RUN --mount=type=ssh,dst",
        "RUN --mount=type=ssh,dst x",
        "dst: mount option `dst` needs a value [write dst=VALUE]",
    ),
    (
        "RUN --mount=type=ssh,destination",
        "RUN --mount=type=ssh,destination=/proc/x x",
        "--mount=type=ssh,destination=/proc/x: a mount cannot be at `/proc/x`: `/proc` is the kernel's [give it a target elsewhere]",
    ),
    (
        "RUN --mount=type=ssh,required",
        "RUN --mount=type=ssh,required=maybe x",
        "maybe: `required` is `true` or `false`, not `maybe`",
    ),
    (
        "RUN --mount=type=ssh,mode",
        "RUN --mount=type=ssh,mode=rw x",
        "rw: `mode` cannot be `rw`: expected octal digits, such as 0755",
    ),
    ("RUN --mount=type=ssh,uid", "RUN --mount=type=ssh,uid=me x", "me: `uid` cannot be `me`: expected a number"),
    ("RUN --mount=type=ssh,gid", "RUN --mount=type=ssh,gid= x", ": `gid` cannot be ``: expected a number"),
];

/// The first thing that is said of a Dockerfile.
fn fault(text: &str) -> String {
    let (dockerfile, errors) = kiln_dockerfile::parse(text);
    let (message, span, hint) = match errors.into_iter().next() {
        Some(error) => (error.message, Some(error.span), error.hint),
        None => match kiln_lower::lower(&dockerfile, &options(), &Images::default()) {
            Ok(_) => return "nothing".to_owned(),
            Err(error) => (error.message, error.span, error.hint),
        },
    };
    let place = span.map_or("nowhere", |span| &text[span.range()]);
    let hint = hint.map(|hint| format!(" [{hint}]")).unwrap_or_default();
    format!("{place}: {message}{hint}")
}

#[test]
fn each_is_told() {
    let mut wrong = String::new();
    for (_, line, expected) in ROWS {
        let text = if line.starts_with("FROM") { format!("{line}\n") } else { format!("FROM a\n{line}\n") };
        let said = fault(&text);
        if said != *expected {
            wrong.push_str(&format!("{line}\n  {said}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn none_is_missing() {
    let mut known: Vec<String> = KEYWORDS.iter().map(|keyword| (*keyword).to_owned()).collect();
    for (instruction, flags) in FLAGS {
        known.extend(flags.iter().map(|(flag, _)| format!("{instruction} --{flag}")));
    }
    for (kind, options) in OPTIONS {
        known.extend(options.iter().map(|option| format!("RUN --mount=type={kind},{option}")));
    }
    known.sort();
    let mut rows: Vec<&str> = ROWS.iter().map(|(subject, ..)| *subject).collect();
    rows.sort_unstable();
    assert_eq!(known, rows);
}
