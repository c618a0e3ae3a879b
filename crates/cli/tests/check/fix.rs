//! `kiln check --fix` and `--diff`: what is written, what is printed, what the status says; and the findings as SARIF.

use super::{json, rules, run};
use crate::support::{Kiln, has_program};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

const SLOW: &str =
    "FROM scratch AS build\n\n# Build it\nRUN go build -o /app # all\n\nFROM scratch\nCOPY --from=build /app /\n";
const FAST: &str = "FROM scratch AS build\n\nENV GOCACHE=/root/.cache/go-build\n# Build it\n\
                    RUN --mount=type=cache,target=/root/.cache/go-build \\\n    \
                    --mount=type=cache,target=/root/go/pkg/mod/cache/download \\\n    \
                    go build -o /app # all\n\nFROM scratch\nCOPY --from=build /app /\n";

fn with(dockerfile: &str) -> Kiln {
    let kiln = Kiln::new();
    kiln.write("Dockerfile", dockerfile);
    kiln
}

fn read(kiln: &Kiln, name: &str) -> String {
    fs::read_to_string(kiln.context().join(name)).unwrap()
}

#[test]
fn a_file_is_mended_in_place() {
    let kiln = with(SLOW);
    kiln.chmod("Dockerfile", 0o640);
    let ran = run(&kiln, &["check", "."]);
    ran.exits(1).stdout_has("CacheMountMissing").stdout_has("`kiln check --fix` mends 1 finding of this\n");
    let ran = run(&kiln, &["check", "--fix", "."]);
    ran.succeeds().stdout_is("Check complete, no warnings found.\n").stderr_has("mended 1 finding in ./Dockerfile:");
    assert_eq!(read(&kiln, "Dockerfile"), FAST);
    assert_eq!(fs::metadata(kiln.context().join("Dockerfile")).unwrap().permissions().mode() & 0o7777, 0o640);
    let ran = run(&kiln, &["check", "--fix", "."]);
    ran.succeeds().stdout_is("Check complete, no warnings found.\n");
    assert_eq!((ran.stderr.as_str(), read(&kiln, "Dockerfile").as_str()), ("", FAST));
    assert_eq!(fs::read_dir(kiln.context()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_link_stays_one_and_a_file_is_a_context() {
    let kiln = with("FROM scratch\n");
    kiln.write("build/Slow", SLOW);
    symlink("build/Slow", kiln.context().join("Link")).unwrap();
    run(&kiln, &["check", "--fix", "-f", "Link", "."]).succeeds();
    assert!(fs::symlink_metadata(kiln.context().join("Link")).unwrap().is_symlink());
    assert_eq!(read(&kiln, "build/Slow"), FAST);
    kiln.write("build/Slow", SLOW);
    run(&kiln, &["check", "--fix", "build/Slow"]).succeeds();
    assert_eq!(read(&kiln, "build/Slow"), FAST);
}

#[test]
fn what_is_left_is_told() {
    let kiln = with("FROM scratch as Build\nRUN npm ci --omit=dev\nFROM scratch\nRUN npm ci\nCOPY --from=Build /x /\n");
    let ran = run(&kiln, &["check", "--fix", "--format=json", "."]);
    let answer = json(ran.exits(1));
    assert_eq!(rules(&answer), ["FromAsCasing", "StageNameCasing", "CacheMountMissing"]);
    assert_eq!(answer["warnings"][2].get("fix"), None, "that would take the cache out of the image");
    assert!(read(&kiln, "Dockerfile").starts_with("FROM scratch as Build\nRUN --mount=type=cache,"));
}

/// What a fix of the order makes sure of, it reads in the context.
#[test]
fn modules_are_copied_first() {
    let text = "FROM scratch AS build\nARG COMMIT\nWORKDIR /src\nCOPY . .\nRUN go mod download\nRUN go build -ldflags -X=m.c=$COMMIT -o /app\n\n\
                FROM scratch\nCOPY --from=build /app /\n";
    let kiln = with(text);
    run(&kiln, &["check", "--fix", "."]).exits(1).stdout_has("CopyBeforeDependencies");
    assert!(read(&kiln, "Dockerfile").contains("WORKDIR /src\nCOPY . .\nRUN"), "there is no go.mod");
    kiln.write("Dockerfile", text);
    kiln.write("go.mod", "module m\n\ngo 1.25\n");
    let answer = json(run(&kiln, &["check", "--format=json", "."]).exits(1));
    assert_eq!(rules(&answer)[..2], ["ChangingArgTooEarly", "CopyBeforeDependencies"]);
    assert!(answer["warnings"][0]["fix"].is_object() && answer["warnings"][1]["fix"].is_object());
    let log = json(run(&kiln, &["check", "--format=sarif", "."]).exits(1));
    is_sarif(&log);
    let results = log["runs"][0]["results"].as_array().unwrap();
    for (result, rule) in results.iter().zip(["ChangingArgTooEarly", "CopyBeforeDependencies"]) {
        let mended = mended(text, result);
        assert_eq!(result["ruleId"], rule);
        let order = match rule {
            "ChangingArgTooEarly" => ["WORKDIR /src\n", "go mod download\n", "ARG COMMIT\n", "go build"],
            _ => ["COPY go.mod ./\n", "go mod download\n", "COPY . .\n", "go build"],
        };
        let place = |line: &str| mended.find(line).unwrap_or_else(|| panic!("{line} is not in {mended}"));
        assert!(order.map(place).is_sorted() && mended.matches("COMMIT").count() == 2, "{mended}");
    }
    run(&kiln, &["check", "--diff", "."]).exits(1).stdout_has("+COPY go.mod ./");
    let mended = run(&kiln, &["check", "--fix", "."]);
    mended.succeeds().stdout_is("Check complete, no warnings found.\n");
    let lines = read(&kiln, "Dockerfile");
    let place = |line: &str| lines.find(line).unwrap_or_else(|| panic!("{line} is not in {lines}"));
    let order = ["COPY go.mod ./", "go mod download\n", "COPY . .", "ARG COMMIT", "go build"].map(place);
    assert!(order.is_sorted(), "{lines}");
    assert_eq!(lines.matches("COMMIT").count(), 2);
}

#[test]
fn builds_have_none_of_it() {
    let kiln = with(&format!("# check=error=true\n{SLOW}"));
    run(&kiln, &["build", "--check", "."]).succeeds().stdout_is("Check complete, no warnings found.\n");
    run(&kiln, &["check", "."]).exits(1).stderr_has("lint violation found for rules: CacheMountMissing");
    let skipped = with(&format!("# check=skip=CacheMountMissing\n{SLOW}"));
    run(&skipped, &["check", "."]).succeeds();
    run(&skipped, &["check", "--fix", "."]).succeeds();
    assert!(read(&skipped, "Dockerfile").ends_with(SLOW));
}

#[test]
fn patches_apply() {
    for (name, text, mended) in [
        ("Dockerfile", SLOW.to_owned(), FAST.to_owned()),
        ("a dir/Dockerfile", SLOW.replace('\n', "\r\n"), FAST.replace('\n', "\r\n")),
        ("Dockerfile", SLOW.trim_end().to_owned(), FAST.trim_end().to_owned()),
    ] {
        let kiln = Kiln::new();
        kiln.write(name, &text);
        let ran = run(&kiln, &["check", "--diff", "-f", name, "."]);
        ran.exits(1);
        assert_eq!((read(&kiln, name), ran.stderr.as_str()), (text.clone(), ""), "nothing but a patch");
        fs::write(kiln.path("patch"), &ran.stdout).unwrap();
        for (program, arguments) in [("git", &["apply", "-p1"][..]), ("patch", &["-p1", "--binary", "-i"])] {
            if !has_program(program) {
                println!("skipped: there is no `{program}`");
                continue;
            }
            kiln.write(name, &text);
            let mut command = Command::new(program);
            let output = command.args(arguments).arg(kiln.path("patch")).current_dir(kiln.context()).output().unwrap();
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(read(&kiln, name), mended, "{program}");
        }
        kiln.write(name, &text);
        let both = run(&kiln, &["check", "--fix", "--diff", "-f", name, "."]);
        assert_eq!(both.succeeds().stdout, ran.stdout);
        assert_eq!(read(&kiln, name), mended);
        run(&kiln, &["check", "--diff", "-f", name, "."]).succeeds().stdout_is("");
    }
}

#[test]
fn misuse() {
    let kiln = with(SLOW);
    run(&kiln, &["check", "--diff", "--format=json", "."]).exits(2).stdout_is("").stderr_has("takes no `--format`");
    let ran = kiln.run_with_input(["check", "--fix", "-f", "-", "."], SLOW.as_bytes());
    ran.exits(1).stderr_has("is no file that could be changed").stderr_has("hint:");
    kiln.write("Dockerfile", "FROM scratch\nCOPYY a b\n");
    run(&kiln, &["check", "--fix", "."]).exits(1).stderr_has("Dockerfile:2:1");
    kiln.write("Dockerfile", format!("{SLOW}COPY --from=9 a b\n"));
    run(&kiln, &["check", "--diff", "."]).exits(1).stdout_is("").stderr_has("there is no stage 9");
}

/// What the schema of SARIF 2.1.0 requires of the objects that are used.
fn is_sarif(log: &Value) {
    let text = |value: &Value| assert!(value["text"].as_str().is_some_and(|text| !text.is_empty()), "{value}");
    let region = |region: &Value| {
        for field in ["startLine", "startColumn", "endLine", "endColumn"] {
            assert!(region[field].as_u64().is_some_and(|number| number > 0), "{region}");
        }
    };
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().ends_with("sarif-schema-2.1.0.json"));
    let run = &log["runs"][0];
    let driver = &run["tool"]["driver"];
    assert_eq!(driver["name"], "kiln");
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        assert!(rule["id"].is_string());
        text(&rule["shortDescription"]);
    }
    for result in run["results"].as_array().unwrap() {
        text(&result["message"]);
        assert!(["none", "note", "warning", "error"].contains(&result["level"].as_str().unwrap()));
        assert_eq!(rules[result["ruleIndex"].as_u64().unwrap() as usize]["id"], result["ruleId"]);
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "Dockerfile");
        if place.get("region").is_some() {
            region(&place["region"]);
        }
        for fix in result.get("fixes").and_then(Value::as_array).into_iter().flatten() {
            let changes = fix["artifactChanges"].as_array().unwrap();
            assert!(!changes.is_empty());
            for change in changes {
                assert!(change["artifactLocation"]["uri"].is_string());
                let replacements = change["replacements"].as_array().unwrap();
                assert!(!replacements.is_empty());
                replacements.iter().for_each(|replacement| region(&replacement["deletedRegion"]));
            }
        }
    }
}

/// What the fix of a result makes of the Dockerfile.
fn mended(text: &str, result: &Value) -> String {
    let place = |line: &Value, column: &Value| {
        let [line, column] = [line, column].map(|number| number.as_u64().unwrap() as usize - 1);
        text.split_inclusive('\n').take(line).map(str::len).sum::<usize>() + column
    };
    let replacements = result["fixes"][0]["artifactChanges"][0]["replacements"].as_array().unwrap();
    let mut edits: Vec<_> = replacements
        .iter()
        .map(|replacement| {
            let region = &replacement["deletedRegion"];
            let start = place(&region["startLine"], &region["startColumn"]);
            let end = place(&region["endLine"], &region["endColumn"]);
            (start..end, replacement["insertedContent"]["text"].as_str().unwrap_or_default())
        })
        .collect();
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    edits.into_iter().fold(text.to_owned(), |mut text, (range, new)| {
        text.replace_range(range, new);
        text
    })
}

#[test]
fn findings_as_sarif() {
    let kiln = with(&SLOW.replace("AS build", "as build"));
    let ran = run(&kiln, &["check", "--format=sarif", "."]);
    let log = json(ran.exits(1));
    is_sarif(&log);
    let results = log["runs"][0]["results"].as_array().unwrap();
    let ids: Vec<_> = results.iter().map(|result| result["ruleId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["FromAsCasing", "CacheMountMissing"]);
    assert!(results[1]["fixes"][0]["artifactChanges"][0]["replacements"].as_array().is_some_and(|all| all.len() == 2));
    kiln.write("Dockerfile", "FROM scratch\nCOPY --from=9 x /\n");
    let ran = run(&kiln, &["check", "--format=sarif", "."]);
    let log = json(ran.exits(1));
    is_sarif(&log);
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], "CannotBeBuilt");
    kiln.write("Dockerfile", "FROM scratch\n");
    let log = json(run(&kiln, &["check", "--format=sarif", "."]).succeeds());
    is_sarif(&log);
    assert_eq!(log["runs"][0]["results"], serde_json::json!([]));
}
