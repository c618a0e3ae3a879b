//! Lints, outlines and targets through the program: what is printed, as text and as JSON, and the exit status.

#[path = "support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the other test programs use the rest")]
mod support;

#[path = "check/fix.rs"]
mod fix;

use serde_json::{Value, json};
use snapbox::{IntoData, assert_data_eq, str};
use support::{Kiln, Ran};

/// A `kiln` with this Dockerfile.
fn with(dockerfile: &str) -> Kiln {
    let kiln = Kiln::new();
    kiln.write("Dockerfile", dockerfile);
    kiln
}

/// Runs it in the context.
fn run(kiln: &Kiln, arguments: &[&str]) -> Ran {
    kiln.run(arguments)
}

#[track_caller]
fn json(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
}

/// The rules that a JSON answer names.
fn rules(answer: &Value) -> Vec<&str> {
    answer["warnings"].as_array().unwrap().iter().map(|warning| warning["ruleName"].as_str().unwrap()).collect()
}

const BAD: &str = "FROM scratch as Base\nWORKDIR app\nCMD echo hello\n";

#[test]
fn findings_as_text() {
    let kiln = with(BAD);
    for arguments in [&["check", "."][..], &["build", "--check", "."], &["build", "--call=check", "."]] {
        let ran = run(&kiln, arguments);
        ran.exits(1);
        assert_eq!(ran.stderr, "");
        assert_data_eq!(
            ran.stdout(),
            str![[r#"
Check complete, 4 warnings have been found!

warning: FromAsCasing: `as` is not in the case of `FROM`
 --> ./Dockerfile:1:14
  |
1 | FROM scratch as Base
  |              ^^
hint: write `AS`

warning: StageNameCasing: stage name `Base` is not in lower case
 --> ./Dockerfile:1:17
  |
1 | FROM scratch as Base
  |                 ^^^^

warning: WorkdirRelativePath: relative path `app` depends on the base image
 --> ./Dockerfile:2:9
  |
2 | WORKDIR app
  |         ^^^

warning: JSONArgsRecommended: CMD in shell form does not get signals
 --> ./Dockerfile:3:5
  |
3 | CMD echo hello
  |     ^^^^^^^^^^
hint: write it as a list: CMD ["program", "argument"]


"#]]
            .raw()
        );
    }
    assert!(!kiln.root().join("layers").read_dir().is_ok_and(|mut dir| dir.next().is_some()), "nothing was built");
}

#[test]
fn findings_as_json() {
    let kiln = with(BAD);
    for arguments in [
        &["check", "--format", "json", "."][..],
        &["check", "--format=json", "-f", "Dockerfile", "."],
        &["build", "--call=check,format=json", "."],
        &["build", "--call=check,format=json", "--check", "."],
    ] {
        let ran = run(&kiln, arguments);
        ran.exits(1);
        let answer = json(&ran);
        assert_eq!(rules(&answer), ["FromAsCasing", "StageNameCasing", "WorkdirRelativePath", "JSONArgsRecommended"]);
        assert_eq!(
            answer["warnings"][0],
            json!({
                "ruleName": "FromAsCasing",
                "description": "`AS` is written in the same case as `FROM`",
                "detail": "`as` is not in the case of `FROM`",
                "hint": "write `AS`",
                "location": {"ranges": [{"start": {"line": 1, "character": 13}, "end": {"line": 1, "character": 15}}]},
            })
        );
        assert_eq!(answer["sources"][0]["language"], "Dockerfile");
        assert!(answer["sources"][0]["filename"].as_str().unwrap().ends_with("Dockerfile"));
        assert_eq!(answer["sources"][0]["data"], base64(BAD));
        assert_eq!(answer.get("buildError"), None);
    }
}

/// Base 64 of an ASCII text, by a program that is not kiln.
fn base64(text: &str) -> String {
    let script = format!("printf '%s' '{text}' | base64 -w0");
    let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn nothing_found() {
    let kiln = with("FROM scratch\n");
    run(&kiln, &["check", "."]).succeeds().stdout_is("Check complete, no warnings found.\n");
    let answer = json(run(&kiln, &["check", "--format=json", "."]).succeeds());
    assert_eq!(answer["warnings"], json!([]));
}

#[test]
fn the_dockerfile_chooses_rules() {
    let kiln = with(&format!("# check=skip=FromAsCasing,StageNameCasing\n{BAD}"));
    let answer = json(&run(&kiln, &["check", "--format=json", "."]));
    assert_eq!(rules(&answer), ["WorkdirRelativePath", "JSONArgsRecommended"]);
    // The build argument counts alone.
    let ran = run(&kiln, &["check", "--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all", "."]);
    ran.succeeds().stdout_is("Check complete, no warnings found.\n");
    let arg = "BUILDKIT_DOCKERFILE_CHECK=skip=JSONArgsRecommended";
    let answer = json(&run(&kiln, &["check", "--format=json", "--build-arg", arg, "."]));
    assert_eq!(rules(&answer), ["FromAsCasing", "StageNameCasing", "WorkdirRelativePath"]);
    run(&kiln, &["build", "--call=check,ignorestatus=true", "."]).succeeds().stdout_has("2 warnings have been found!");
}

#[test]
fn options_that_are_wrong() {
    for (directive, message, place) in [
        ("skip", "check option `skip` has no value", "Dockerfile:1:9"),
        ("warn=true", "there is no check option `warn`", "Dockerfile:1:9"),
        ("error=maybe", "is `true` or `false`, not `maybe`", "Dockerfile:1:9"),
    ] {
        let kiln = with(&format!("# check={directive}\nFROM scratch\n"));
        for command in ["check", "build"] {
            run(&kiln, &[command, "."]).exits(1).stdout_is("").stderr_has(message).stderr_has(place);
        }
        let kiln = with("FROM scratch\n");
        let arg = format!("BUILDKIT_DOCKERFILE_CHECK={directive}");
        let ran = run(&kiln, &["check", "--build-arg", &arg, "."]);
        ran.exits(1).stderr_has(message).stderr_has("build argument `BUILDKIT_DOCKERFILE_CHECK`");
    }
    let kiln = with("# check=skip=FromAsCaseing\nFROM scratch\n");
    run(&kiln, &["check", "."]).succeeds().stderr_has("`FromAsCaseing`; did you mean `FromAsCasing`?");
}

#[test]
fn misuse() {
    let kiln = with("FROM scratch\n");
    for (arguments, message, hint) in [
        (&["check"][..], "`kiln check` needs a context", "`kiln check .`"),
        (&["check", ".", "more"], "`kiln check` takes one context", ""),
        (&["check", "none"], "the context `none` does not exist", ""),
        (&["check", "/dev/null"], "is not a directory", ""),
        (&["check", "--format=yaml", "."], "`--format`: bad value `yaml`", "text, json, sarif"),
        (&["check", "-t", "x", "."], "unknown option `-t`", "`kiln check --help`"),
        (&["build", "--call=lnit", "."], "`--call`: unknown method `lnit`", "`check`"),
        (&["build", "--call=check,format=xml", "."], "`--call`: unknown format `xml`", "`json`"),
        (&["build", "--call=outline", "--check", "."], "contradict", "leave one out"),
    ] {
        run(&kiln, arguments).exits(2).stdout_is("").stderr_has(message).stderr_has(hint);
    }
    run(&kiln, &["check", "-f", "None", "."]).exits(1).stderr_has("there is no Dockerfile `None`").stderr_has("hint:");
    run(&kiln, &["check", "--target=none", "."]).exits(1).stderr_has("target stage `none`");
    assert!(!kiln.root().join("blobs").join("sha256").read_dir().is_ok_and(|mut dir| dir.next().is_some()));
}

#[test]
fn what_cannot_be_built() {
    let kiln = with("FROM scratch as a\nCOPY --from=9 x /\n");
    let ran = run(&kiln, &["check", "."]);
    ran.exits(1).stdout_has("FromAsCasing").stderr_has("error: there is no stage 9").stderr_has("Dockerfile:2:13");
    let ran = run(&kiln, &["check", "--format=json", "."]);
    let answer = json(ran.exits(1));
    assert_eq!(rules(&answer), ["FromAsCasing"]);
    assert_eq!(answer["buildError"]["message"], "there is no stage 9");
    assert_eq!(answer["buildError"]["location"]["ranges"][0]["start"], json!({"line": 2, "character": 12}));
    let kiln = with("FROM scratch\nCOPPY a b\n");
    run(&kiln, &["check", "."]).exits(1).stdout_is("").stderr_has("Dockerfile:2:1").stderr_has("COPY");
}

#[test]
fn a_base_that_cannot_be_resolved_silences_no_rule_that_can_do_without() {
    let text = "FROM gone AS deps\nWORKDIR /src\nCOPY . .\nRUN npm ci\n\n\
                FROM scratch AS build\nRUN go build -o /app\n\n\
                FROM scratch\nCOPY --from=deps /src/x /$NONE\nCOPY --from=build /app /\n";
    let kiln = with(text);
    let layout = kiln.path("nowhere");
    std::fs::create_dir(&layout).unwrap();
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    std::fs::write(layout.join("index.json"), r#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    let gone = format!("gone=oci-layout://{}:latest", layout.display());
    let ran = run(&kiln, &["check", "--format=json", "--build-context", &gone, "."]);
    let answer = json(ran.exits(1));
    // Where npm's cache would be is the base's to say.
    assert_eq!(rules(&answer), ["CopyBeforeDependencies", "CacheMountMissing", "UndefinedVar"]);
    assert_eq!(answer["warnings"][1]["location"]["ranges"][0]["start"]["line"], 7);
    assert!(answer["buildError"]["message"].as_str().unwrap().contains("cannot resolve image `gone`"), "{answer}");
    // Nobody can make sure that the image stays what it is.
    let ran = run(&kiln, &["check", "--fix", "--build-context", &gone, "."]);
    ran.exits(1).stdout_has("CacheMountMissing").stderr_has("cannot resolve image `gone`").stderr_has("Dockerfile:1:6");
    assert_eq!(std::fs::read_to_string(kiln.context().join("Dockerfile")).unwrap(), text);
    // What an image would have been copied from may be missing, too.
    let kiln = with(
        "FROM scratch AS build\nCOPY --from=gone /x /\nRUN go build -o /app\nFROM scratch\nCOPY --from=build /app /\n",
    );
    let ran = run(&kiln, &["check", "--build-context", &gone, "."]);
    ran.exits(1).stdout_has("CacheMountMissing").stderr_has("cannot resolve image `gone`");
}

#[test]
fn all_stages_or_those_of_the_target() {
    let kiln = with("FROM scratch AS a\nWORKDIR a\nFROM scratch AS b\nWORKDIR b\n");
    let answer = json(&run(&kiln, &["check", "--format=json", "."]));
    assert_eq!(rules(&answer), ["WorkdirRelativePath"; 2]);
    let answer = json(&run(&kiln, &["check", "--format=json", "--target=b", "."]));
    assert_eq!(rules(&answer), ["WorkdirRelativePath"]);
    assert_eq!(answer["warnings"][0]["location"]["ranges"][0]["start"]["line"], 4);
    // A mistake in a stage that no target needs is found only when all are looked at.
    let kiln = with("FROM scratch AS a\nCOPY --chmod=99 a b\nFROM scratch AS b\n");
    run(&kiln, &["check", "--target=b", "."]).succeeds();
    run(&kiln, &["check", "."]).exits(1).stderr_has("Dockerfile:2");
}

#[test]
fn ignored_files() {
    let kiln = with("# check=experimental=CopyIgnoredFile\nFROM scratch\nCOPY a.log /\nCOPY b.txt /\n");
    kiln.write(".dockerignore", "*.log\n");
    let answer = json(run(&kiln, &["check", "--format=json", "."]).exits(1));
    assert_eq!(rules(&answer), ["CopyIgnoredFile"]);
    kiln.write(".dockerignore", "*.log\n!b.log\n");
    run(&kiln, &["check", "."]).succeeds();
}

#[test]
fn base_images_tell_their_variables_and_platforms() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let base = kiln.base();
    kiln.write("Dockerfile", "FROM base\nWORKDIR /x/$PATH/$PTAH\n");
    let ran = run(&kiln, &["check", "--format=json", "--build-context", &base, "."]);
    let answer = json(ran.exits(1));
    assert_eq!(rules(&answer), ["UndefinedVar"]);
    assert_eq!(answer["warnings"][0]["hint"], "did you mean `$PATH`?");
}

#[test]
fn base_images_are_looked_at_for_each_platform() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let (base, other) = (kiln.base(), if cfg!(target_arch = "x86_64") { "arm64" } else { "amd64" });
    let own = if other == "arm64" { "amd64" } else { "arm64" };
    let platforms = format!("--platform=linux/{own},linux/{other}");
    kiln.write("Dockerfile", "FROM base\nWORKDIR /x\n");
    let ran = run(&kiln, &["check", "--format=json", "--build-context", &base, &platforms, "."]);
    let answer = json(ran.exits(1));
    assert_eq!(rules(&answer), ["InvalidBaseImagePlatform"]);
    kiln.build([&platforms]).succeeds().stderr_has(&format!("for linux/{own}, not for linux/{other}"));
}

#[test]
fn a_build_tells_what_was_found() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base as x\nRUN echo ran\nCMD echo $HOME\n");
    let ran = kiln.build::<&str>([]);
    ran.succeeds().logs("ran");
    let at = ran.stderr.find("2 warnings found").unwrap_or_else(|| panic!("no warnings: {ran}"));
    let end = ran.stderr.find("built ").unwrap_or_else(|| panic!("no summary: {ran}"));
    assert_data_eq!(
        ran.stderr[at..end].replace(&kiln.context().display().to_string(), "[CONTEXT]"),
        str![[r#"
2 warnings found

warning: FromAsCasing: `as` is not in the case of `FROM`
 --> [CONTEXT]/Dockerfile:1:11
  |
1 | FROM base as x
  |           ^^
hint: write `AS`

warning: JSONArgsRecommended: CMD in shell form does not get signals
 --> [CONTEXT]/Dockerfile:3:5
  |
3 | CMD echo $HOME
  |     ^^^^^^^^^^
hint: write it as a list: CMD ["program", "argument"]


"#]]
        .raw()
    );
    // Also when nothing runs.
    kiln.build::<&str>([]).succeeds().stderr_has("all cached").stderr_has("2 warnings found");
    kiln.build(["--build-arg=BUILDKIT_DOCKERFILE_CHECK=skip=all"]).succeeds().stderr_lacks("warning");
    let quiet = run(&kiln, &["build", "-q", "--build-context", &kiln.base(), "."]);
    quiet.succeeds().stderr_lacks("warning");
    let raw = run(&kiln, &["build", "--progress=rawjson", "--build-context", &kiln.base(), "."]);
    let events = raw.succeeds().stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let lints: Vec<Value> = events.filter(|event| event["event"] == "lint").collect();
    assert_eq!(lints.len(), 2, "{raw}");
    assert_eq!(lints[0]["rule"], "FromAsCasing");
    assert_eq!(lints[0]["lines"], json!([1, 1]));
}

#[test]
fn findings_fail_a_build_before_anything_runs() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "# check=error=true\nFROM base as x\nRUN echo ran\n");
    let ran = kiln.build::<&str>([]);
    ran.exits(1).stderr_has("error: lint violation found for rules: FromAsCasing").stderr_has("Dockerfile:2:11");
    ran.stderr_lacks("RUN");
    kiln.build(["--build-arg=BUILDKIT_DOCKERFILE_CHECK=error=false"]).succeeds().logs("ran");
    kiln.write("Dockerfile", "FROM base as x\nRUN echo ran again\n");
    kiln.build(["--build-arg=BUILDKIT_DOCKERFILE_CHECK=error=true"]).exits(1).stderr_lacks("ran again\n#");
    // Stages that are not built do not fail it.
    kiln.write("Dockerfile", "# check=error=true\nFROM scratch AS x\nWORKDIR x\nFROM base\nRUN echo b\n");
    kiln.build::<&str>([]).succeeds();
    let ran = run(&kiln, &["check", "--build-context", &kiln.base(), "."]);
    ran.exits(1)
        .stdout_has("1 warning has been found!")
        .stderr_has("lint violation found for rules: WorkdirRelativePath");
}

const PARAMETERS: &str = "\
# BASE is what the stages begin with
ARG BASE=scratch
ARG UNUSED=1
ARG PREFIX=2 VERSION=${PREFIX}.1

FROM $BASE AS build
# VERSION is told by the program
ARG VERSION
# FLAGS go to the compiler
# and are many
ARG FLAGS=\"-a -b\"
RUN --mount=type=cache,target=/root/.cache --mount=type=secret,id=token \\
    --mount=type=secret,id=key,required=true --mount=type=ssh true

FROM scratch AS other
ARG OTHER=1

# release holds the program alone
FROM scratch AS release
ARG TARGETARCH
ARG NOTHING
COPY --from=build /x /x
";

#[test]
fn outline() {
    let kiln = with(PARAMETERS);
    let ran = run(&kiln, &["build", "--call=outline", "."]);
    ran.succeeds();
    assert_data_eq!(
        ran.stdout(),
        str![[r#"
TARGET:        release
DESCRIPTION:   holds the program alone

BUILD ARG   VALUE     DESCRIPTION
BASE        scratch   is what the stages begin with
PREFIX      2
VERSION     2.1
FLAGS       -a -b     go to the compiler
NOTHING

SECRET   REQUIRED
token
key      true

SSH       REQUIRED
default

CACHE MOUNT
/root/.cache

"#]]
        .raw()
    );
    let ran = run(&kiln, &["build", "--call=outline", "--target=other", "--build-arg=OTHER=5", "."]);
    ran.succeeds().stdout_is("TARGET:   other\n\nBUILD ARG   VALUE   DESCRIPTION\nOTHER       5\n");
    run(&with("FROM scratch\n"), &["build", "--call=outline", "."]).succeeds().stdout_is("");
}

#[test]
fn outline_as_json() {
    let kiln = with(PARAMETERS);
    let mut answer = json(run(&kiln, &["build", "--call=outline,format=json", "."]).succeeds());
    assert_eq!(answer["sources"], json!([base64(PARAMETERS)]));
    answer["sources"].take();
    let at = |line: u32| json!({"ranges": [{"start": {"line": line}, "end": {"line": line}}]});
    assert_eq!(
        answer,
        json!({
            "name": "release",
            "description": "holds the program alone",
            "args": [
                {"name": "BASE", "value": "scratch", "description": "is what the stages begin with", "location": at(2)},
                {"name": "PREFIX", "value": "2", "location": at(4)},
                {"name": "VERSION", "value": "2.1", "location": at(4)},
                {"name": "FLAGS", "value": "-a -b", "description": "go to the compiler", "location": at(11)},
                {"name": "NOTHING", "location": at(21)},
            ],
            "secrets": [
                {"name": "token", "location": at(12)},
                {"name": "key", "required": true, "location": at(13)},
            ],
            "ssh": [{"name": "default", "location": at(13)}],
            "cache": [{"ID": "/root/.cache", "location": at(12)}],
            "sources": null,
        })
    );
}

#[test]
fn targets() {
    let kiln = with(PARAMETERS);
    run(&kiln, &["build", "--call=targets", "."])
        .succeeds()
        .stdout_is("TARGET              DESCRIPTION\nbuild\nother\nrelease (default)   holds the program alone\n");
    let answer = json(run(&kiln, &["build", "--call=targets,format=json", "."]).succeeds());
    assert_eq!(answer["targets"].as_array().unwrap().len(), 3);
    assert_eq!(
        answer["targets"][2],
        json!({
            "name": "release",
            "default": true,
            "description": "holds the program alone",
            "base": "scratch",
            "location": {"ranges": [{"start": {"line": 19}, "end": {"line": 19}}]},
        })
    );
    assert_eq!(answer["targets"][0]["base"], "$BASE");
    assert_eq!(answer["sources"], json!([base64(PARAMETERS)]));
    // Nothing is resolved: the base need not exist.
    let kiln = with("FROM --platform=$BUILDPLATFORM no.such.example/image\n");
    run(&kiln, &["build", "--call=targets", "."]).succeeds().stdout_is("TARGET      DESCRIPTION\n(default)\n");
    let answer = json(run(&kiln, &["build", "--call=targets,format=json", "."]).succeeds());
    assert_eq!(answer["targets"][0]["platform"], "$BUILDPLATFORM");
}

#[test]
fn a_call_of_build_builds() {
    let kiln = with("FROM scratch\nLABEL a=b\n");
    run(&kiln, &["build", "--call=build", "."]).succeeds().stderr_has("built ");
}
