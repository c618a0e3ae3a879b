//! What is wrong, where, and what to do about it.

use crate::support::{Images, options, try_lower_with};
use kiln_lower::{NamedContext, Options};

const UNSET: &str = "FROM sees only the ARGs before the first FROM, and `--build-arg` for these";
const ORDER: &str = "a stage can only use stages that stand before it";

/// The message, what the span covers, and the hint.
fn fault(text: &str, options: &Options, images: &Images) -> (String, String, String) {
    let error = try_lower_with(text, options, images).expect_err(text);
    let place = error.span.map(|span| text[span.range()].to_owned()).unwrap_or_default();
    (error.message, place, error.hint.unwrap_or_default())
}

fn check(cases: &[(&str, &str, &str, &str)]) {
    for &(text, message, place, hint) in cases {
        let (was, at, help) = fault(text, &options(), &Images::default());
        assert_eq!((was.as_str(), at.as_str(), help.as_str()), (message, place, hint), "{text}");
    }
}

#[test]
fn faults_of_from() {
    check(&[
        ("FROM $IMAGE\n", "the base image `$IMAGE` is empty", "$IMAGE", &format!("`IMAGE` is not set; {UNSET}")),
        ("ARG IMAGE=a\nFROM $IMAG\n", "the base image `$IMAG` is empty", "$IMAG", "did you mean `IMAGE`?"),
        (
            "FROM a AS b\nARG XYZ=1\nFROM $XYZ\n",
            "the base image `$XYZ` is empty",
            "$XYZ",
            &format!("`XYZ` is not set; {UNSET}"),
        ),
        (
            "FROM Alpine\n",
            "`Alpine` is neither a stage nor an image reference",
            "Alpine",
            "names of images are in lower case: `alpine`",
        ),
        (
            "FROM a AS build\nFROM BULID\n",
            "`BULID` is neither a stage nor an image reference",
            "BULID",
            "did you mean `build`?",
        ),
        (
            "FROM a:b:c\n",
            "`a:b:c` is neither a stage nor an image reference",
            "a:b:c",
            "an image is named `[registry/]name[:tag][@digest]`",
        ),
        ("FROM --platform=$PLAT a\n", "the platform `$PLAT` is empty", "$PLAT", &format!("`PLAT` is not set; {UNSET}")),
        (
            "FROM --platform=$TARGETPLATFROM a\n",
            "the platform `$TARGETPLATFROM` is empty",
            "$TARGETPLATFROM",
            "did you mean `TARGETPLATFORM`?",
        ),
        (
            "FROM --platform=a/b/c/d a\n",
            "`a/b/c/d` is not a platform",
            "a/b/c/d",
            "a platform is `os/architecture[/variant]`, for example `linux/arm64`",
        ),
        ("FROM ${X:?needed}\n", "X: needed", "${X:?needed}", "set it: --build-arg X=…"),
        ("ARG A=${B\nFROM a\n", "`${` is not closed: missing `}`", "${B", ""),
    ]);
}

#[test]
fn faults_of_stages_that_use_each_other() {
    check(&[
        ("FROM a\nCOPY --from=5 x .\n", "there is no stage 5", "5", "stages are counted from 0; the last one is 0"),
        ("FROM a\nCOPY --from=-1 x .\n", "there is no stage -1", "-1", "stages are counted from 0; the last one is 0"),
        ("FROM a AS x\nCOPY --from=x x .\n", "stage `x` needs itself", "COPY --from=x x .", ORDER),
        ("FROM a AS x\nCOPY --from=0 x .\n", "stage `x` needs itself", "COPY --from=0 x .", ORDER),
        (
            "FROM a AS x\nCOPY --from=y x .\nFROM x AS y\n",
            "stages `x` and `y` need each other",
            "COPY --from=y x .",
            ORDER,
        ),
        (
            "FROM a AS x\nRUN --mount=from=y,target=/y t\nFROM a AS y\nRUN --mount=from=x,target=/y t\n",
            "stages `x` and `y` need each other",
            "RUN --mount=from=y,target=/y t",
            ORDER,
        ),
        (
            "FROM a AS x\nCOPY --from=later x .\nFROM b AS later\nFROM x\n",
            "stage `later` is used before it is defined",
            "later",
            "move the stage `later` above this one",
        ),
        (
            "FROM a\nCOPY --from=$X x .\n",
            "variables are not expanded in `--from`",
            "$X",
            "give the image a stage of its own, with an ARG before the first FROM: `FROM $IMAGE AS name`",
        ),
        (
            "FROM a\nCOPY --from=Bad x .\n",
            "`Bad` is neither a stage nor an image reference",
            "Bad",
            "names of images are in lower case: `bad`",
        ),
    ]);
}

#[test]
fn faults_of_copy_and_add() {
    let mode_hint = "write `0755`, or `u=rwX,go=rX`";
    check(&[
        ("FROM a\nCOPY https://example.org/x .\n", "COPY cannot copy from a URL", "https://example.org/x", "use ADD"),
        (
            "FROM a\nCOPY git@example.org:x/y .\n",
            "COPY cannot copy from a git repository",
            "git@example.org:x/y",
            "use ADD",
        ),
        ("FROM a\nCOPY --chmod=99999 a b\n", "`--chmod=99999` is not a mode", "99999", mode_hint),
        ("FROM a\nCOPY --chmod=77777 a b\n", "`--chmod=77777` is not a mode", "77777", mode_hint),
        ("FROM a\nCOPY --chmod=rwx a b\n", "`--chmod=rwx` is not a mode", "rwx", mode_hint),
        (
            "FROM a\nADD https://example.org/x.git?rev=1 b\n",
            "unknown query `rev` in the address of a git repository",
            "https://example.org/x.git?rev=1",
            "there are `ref`, `branch`, `tag`, `commit`, `checksum`, `subdir`, `keep-git-dir` and `submodules`",
        ),
        (
            "FROM a\nADD --keep-git-dir=false https://example.org/x.git?keep-git-dir=true b\n",
            "`--keep-git-dir` and the address say different things",
            "--keep-git-dir=false",
            "",
        ),
        (
            "FROM a\nADD --checksum=abc https://example.org/x.git?checksum=abd b\n",
            "`--checksum` and the address name different commits",
            "abc",
            "",
        ),
        (
            "FROM a\nADD --checksum=sha256:1 https://example.org/x.git b\n",
            "`sha256:1` is not the id of a commit",
            "sha256:1",
            "it is the commit that the reference must lead to",
        ),
        (
            "FROM a\nADD --checksum=sha256:1 https://example.org/x b\n",
            "`sha256:1` is not a digest: expected `sha256:` and 64 lower-case hexadecimal digits",
            "sha256:1",
            "",
        ),
        ("FROM a\nADD --checksum=sha256:1 x b\n", "`--checksum` needs a URL to check", "sha256:1", ""),
        ("FROM a\nADD --checksum=sha256:1 x y b/\n", "`--checksum` goes with one source only", "sha256:1", ""),
        (
            "FROM a\nCOPY <<a/b /x\na/b\n",
            "a heredoc cannot be named `a/b`: it is the name of a file",
            "<<a/b",
            "choose a name without `/`",
        ),
    ]);
}

#[test]
fn faults_of_run() {
    let root = "a mount cannot take the place of the root directory";
    check(&[
        (
            "FROM a\nRUN --mount=type=cache,target=/ x\n",
            root,
            "--mount=type=cache,target=/",
            "give it a target below `/`",
        ),
        (
            "FROM a\nRUN --mount=type=cache,target=. x\n",
            root,
            "--mount=type=cache,target=.",
            "give it a target below `/`",
        ),
        (
            "FROM a\nWORKDIR /proc\nRUN --mount=type=tmpfs,target=self x\n",
            "a mount cannot be at `/proc/self`: `/proc` is the kernel's",
            "--mount=type=tmpfs,target=self",
            "give it a target elsewhere",
        ),
        (
            "FROM a\nRUN --mount=type=cach,target=/c x\n",
            "there is no mount type `cach`",
            "cach",
            "did you mean `cache`?",
        ),
        (
            "FROM a\nRUN --security=insecure x\n",
            "`--security=insecure` is not allowed",
            "insecure",
            "allow it with `--allow security.insecure`, if you trust this Dockerfile with the whole machine",
        ),
    ]);
}

#[test]
fn faults_of_the_other_instructions() {
    check(&[
        (
            "FROM a\nEXPOSE 99999\n",
            "`99999` is not a port or a range of ports",
            "99999",
            "a port is `80`, `80/udp` or `8000-8010`",
        ),
        ("FROM a\nSTOPSIGNAL SIGTREM\n", "`SIGTREM` is not a signal", "SIGTREM", "did you mean `SIGTERM`?"),
        ("FROM a\nSTOPSIGNAL $X\n", "`` is not a signal", "$X", "a signal is a name such as `SIGTERM`, or a number"),
        ("FROM a\nVOLUME [\"$X\"]\n", "a volume's path is empty", "\"$X\"", ""),
        (
            "FROM a\nENV A=${B^}\n",
            "unsupported modifier `^` in substitution",
            "^",
            "known are `:-`, `-`, `:+`, `+`, `:?`, `?`, `#`, `##`, `%`, `%%`, `/` and `//`",
        ),
        ("FROM a\nWORKDIR ${B\n", "`${` is not closed: missing `}`", "${B", ""),
    ]);
}

#[test]
fn faults_in_stages_that_are_not_needed_do_not_matter() {
    let images = Images::default();
    for text in [
        "FROM a\nEXPOSE 99999\nFROM b\n",
        "FROM Bad\nFROM b\n",
        "FROM missing:1\nFROM b\n",
        "FROM a\nRUN --mount=type=nope,target=/x y\nFROM b\n",
        "FROM a\nCOPY --from=later x .\nFROM b AS later\n",
    ] {
        try_lower_with(text, &options(), &images).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    // As in BuildKit, what stages are called and which numbers they use is looked at in all of them.
    for text in ["FROM a\nCOPY --from=9 x .\nFROM b\n", "FROM $X\nFROM b\n", "FROM a AS x\nCOPY --from=x y z\nFROM b\n"]
    {
        assert!(try_lower_with(text, &options(), &images).is_err(), "{text}");
    }
}

#[test]
fn faults_of_options() {
    let text = "FROM alpine AS build\nFROM alpine\nFROM alpine AS final\n";
    let target = |name: &str| Options { target: Some(name.to_owned()), ..options() };
    let args =
        |name: &str, value: &str| Options { build_args: [(name.to_owned(), value.to_owned())].into(), ..options() };
    let contexts = [("alpine".to_owned(), NamedContext::Image("BAD".to_owned()))];
    let options = options();
    for (options, message, hint) in [
        (target("biuld"), "target stage `biuld` is not in the Dockerfile", "did you mean `build`?"),
        (
            target("x1234"),
            "target stage `x1234` is not in the Dockerfile",
            "its stages are `build`, `stage-1`, `final`",
        ),
        (target("3"), "target stage `3` is not in the Dockerfile", "its stages are `build`, `stage-1`, `final`"),
        (args("SOURCE_DATE_EPOCH", "now"), "`SOURCE_DATE_EPOCH=now` is not a number of seconds since 1970", ""),
        (
            args("BUILDKIT_MULTI_PLATFORM", "2"),
            "build argument `BUILDKIT_MULTI_PLATFORM=2` is not a boolean",
            "use `true` or `false`",
        ),
        (
            Options { contexts: contexts.into(), ..options.clone() },
            "build context `alpine`: `BAD` is not an image reference",
            "",
        ),
    ] {
        let (was, place, help) = fault(text, &options, &Images::default());
        assert_eq!((was.as_str(), place.as_str(), help.as_str()), (message, "", hint));
    }
}

#[test]
fn faults_of_triggers_point_at_the_from() {
    for (trigger, message) in [
        ("NOPE x", "the base's trigger `ONBUILD NOPE x` cannot be used: unknown instruction `NOPE`"),
        ("FROM x", "the base's trigger `ONBUILD FROM x` cannot be used: a trigger cannot be FROM"),
        ("ONBUILD RUN x", "the base's trigger `ONBUILD ONBUILD RUN x` cannot be used: ONBUILD cannot be triggered"),
        (
            "RUN a\nRUN b",
            "the base's trigger `ONBUILD RUN a\nRUN b` cannot be used: a trigger must be exactly one instruction",
        ),
        ("EXPOSE x", "`x` is not a port or a range of ports"),
        ("COPY --from=7 a b", "there is no stage 7"),
    ] {
        let json = serde_json::json!({"config": {"OnBuild": [trigger]}}).to_string();
        let images = Images::with(&[("docker.io/library/base:latest", json.leak())]);
        let (was, place, _) = fault("FROM base\nRUN x\n", &options(), &images);
        assert_eq!((was.as_str(), place.as_str()), (message, "base"));
    }
}
