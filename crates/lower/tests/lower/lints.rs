//! What lowering tells the lints and outlines: facts of stages, parameters of targets.

use crate::support::{Images, lower_with, options, try_lower_with};
use kiln_lower::{Lowered, NamedContext, Options};

/// Each stage as `skipped`, `-` without facts of a base, or its variables, shell and mismatch.
fn facts(lowered: &Lowered) -> Vec<String> {
    let text = |stage: &kiln_dockerfile::rules::StageFacts| match (&stage.base, stage.skipped) {
        (_, true) => "skipped".to_owned(),
        (None, false) => "-".to_owned(),
        (Some(base), false) => {
            let names: Vec<&str> = base.env.iter().map(|(name, _)| name.as_str()).collect();
            format!("{} shell={} {:?}", names.join(","), base.has_shell, base.platform_mismatches)
        }
    };
    lowered.facts.iter().map(text).collect()
}

const FILE: &str = "FROM shell AS a\nFROM scratch AS b\nFROM a AS c\nFROM arm AS d\nFROM a AS e\nCOPY --from=d / /\n";

fn images() -> Images {
    Images::with(&[
        ("docker.io/library/shell:latest", r#"{"config": {"Env": ["A=1", "B"], "Shell": ["/bin/ash", "-c"]}}"#),
        ("docker.io/library/arm:latest", r#"{"os": "linux", "architecture": "arm64", "variant": "v8", "config": {}}"#),
    ])
}

#[test]
fn stages() {
    let mismatch = " shell=false [(\"linux/amd64\", \"linux/arm64\")]";
    let lowered = lower_with(FILE, &options(), &images());
    assert_eq!(facts(&lowered), ["A,B shell=true []", "skipped", "skipped", mismatch, "-"]);
    assert_eq!(lowered.target_stage, 4);
    let target = Options { target: Some("B".to_owned()), ..options() };
    let lowered = lower_with(FILE, &target, &images());
    assert_eq!(facts(&lowered), ["skipped", "-", "skipped", "skipped", "skipped"]);
    assert_eq!(lowered.target_stage, 1);
    let all = Options { all_stages: true, ..target };
    let lowered = lower_with(FILE, &all, &images());
    assert_eq!(facts(&lowered), ["A,B shell=true []", "-", "-", mismatch, "-"]);
    assert_eq!(lowered.target_stage, 1);
    // What was asked for explicitly is no mismatch.
    let lowered = lower_with("FROM --platform=linux/arm64 arm\n", &options(), &images());
    assert_eq!(facts(&lowered), [" shell=false []"]);
    // A context in the place of a stage: its instructions are not built.
    let contexts = [("a".to_owned(), NamedContext::Local)].into();
    let lowered = lower_with(FILE, &Options { contexts, ..options() }, &images());
    assert_eq!(facts(&lowered)[0], "skipped");
}

#[test]
fn stages_of_one_image_share_its_variables() {
    let all = Options { all_stages: true, ..options() };
    let lowered = lower_with("FROM shell\nFROM arm\nFROM shell\n", &all, &images());
    let envs: Vec<_> = lowered.facts.iter().filter_map(|stage| stage.base.as_ref()).map(|base| &base.env).collect();
    assert!(std::sync::Arc::ptr_eq(envs[0], envs[2]));
    assert!(envs[1].is_empty());
}

#[test]
fn faults_of_stages_that_nobody_needs() {
    let file = "FROM scratch\nCOPY --chmod=99 a b\nFROM scratch\n";
    lower_with(file, &options(), &images());
    let all = Options { all_stages: true, ..options() };
    assert!(try_lower_with(file, &all, &images()).is_err());
}

fn args(lowered: &Lowered) -> Vec<String> {
    let args = lowered.parameters.args.iter();
    args.map(|arg| format!("{}={:?} {:?}", arg.name, arg.value.as_deref(), arg.description.as_deref())).collect()
}

#[test]
fn arguments() {
    let file = "# BASE is first\nARG BASE=a UNUSED\nARG V=${W:-1}\nARG W\nARG X=$V\n\
                FROM $BASE AS one\n# Y tells\nARG Y=\"$X\"\nARG V X=own\nARG TARGETOS\nARG Z\n\
                FROM scratch AS two\nARG Q=1\nFROM one\nARG Y=2\n";
    let lowered = lower_with(file, &options(), &images());
    assert_eq!(
        args(&lowered),
        [
            r#"BASE=Some("a") Some("is first")"#,
            r#"V=Some("1") None"#,
            r#"X=Some("own") None"#,
            "Z=None None",
            r#"Y=Some("2") None"#,
        ]
    );
    let given = [("Z".to_owned(), "z".to_owned()), ("V".to_owned(), "v".to_owned())].into();
    let lowered = lower_with(file, &Options { build_args: given, ..options() }, &images());
    let args = args(&lowered);
    assert!(args.contains(&r#"Z=Some("z") None"#.to_owned()), "{args:?}");
    assert!(args.contains(&r#"V=Some("v") None"#.to_owned()), "{args:?}");
}

#[test]
fn mounts() {
    let file = "FROM a\nRUN --mount=type=secret,id=s --mount=type=cache,target=/c --mount=type=ssh,required a\n\
                RUN --mount=type=secret,id=s,required --mount=type=cache,target=/d,id=c2 --mount=type=cache,target=/c b\n";
    let parameters = lower_with(file, &options(), &images()).parameters;
    let text = |uses: &[kiln_lower::MountUse]| -> Vec<String> {
        uses.iter().map(|mount| format!("{} {} {}", mount.id, mount.required, &file[mount.span.range()])).collect()
    };
    assert_eq!(text(&parameters.secrets), ["s true --mount=type=secret,id=s"]);
    assert_eq!(text(&parameters.ssh), ["default true --mount=type=ssh,required"]);
    assert_eq!(
        text(&parameters.caches),
        ["/c false --mount=type=cache,target=/c", "c2 false --mount=type=cache,target=/d,id=c2"]
    );
}
