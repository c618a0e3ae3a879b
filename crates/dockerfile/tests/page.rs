//! `docs/lints.md` is made from the rules: a rule that changes without the page fails here. `SNAPSHOTS=overwrite cargo test -p
//! kiln-dockerfile --test page` writes it anew.

use kiln_dockerfile::rules::RULES;
use std::fmt::Write;
use std::path::Path;

const HEAD: &str = "# Lints

Every build lints its Dockerfile, and tells what was found when it is over. `kiln check CONTEXT`, or `kiln build --check`, lints without
building: all stages, or those that `--target` needs. Base images are resolved, since some rules look at their platform and variables,
but never pulled. The rules and their names are those of BuildKit.

What a build finds never makes it fail, unless the Dockerfile asks for that. `kiln check` ends with status 1 if there are findings.

## Options

The first lines of a Dockerfile may hold

```dockerfile
# check=skip=StageNameCasing,FromAsCasing;error=true
```

| option | meaning |
|---|---|
| `skip=RULE,…` | these rules don't run; `skip=all`: none |
| `experimental=RULE,…` | these experimental rules run too; `experimental=all`: all of them |
| `error=true` | findings are errors: the build fails before anything runs, with status 1 |

`--build-arg BUILDKIT_DOCKERFILE_CHECK=…` with the same options takes the place of the line as a whole. An option that does not exist is
an error; a rule that does not exist is a warning.

## JSON

`kiln check --format json` and `kiln build --call=check,format=json` print an object with `warnings` (each with `ruleName`, `description`, `detail`,
perhaps `hint`, and `location`: lines from 1, characters from 0), `sources` (`filename`, `language`, and `data`, the text in base 64), and,
where the Dockerfile cannot be built, `buildError` (`message`, perhaps `location`).

## Rules

";

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("| rule | asks that | |\n|---|---|---|\n");
    for rule in RULES {
        let note = if rule.experimental { "experimental" } else { "" };
        writeln!(page, "| [{0}](#{1}) | {2} | {note} |", rule.name, rule.name.to_lowercase(), rule.summary).unwrap();
    }
    for rule in RULES {
        writeln!(page, "\n### {}\n\n{}", rule.name, rule.explanation).unwrap();
        if !rule.bad.is_empty() {
            writeln!(page, "\nReported:\n\n```dockerfile\n{}```", rule.bad).unwrap();
            writeln!(page, "\nNot reported:\n\n```dockerfile\n{}```", rule.good).unwrap();
        }
    }
    page
}

#[test]
fn the_page_is_what_the_rules_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lints.md");
    let page = page();
    if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    for rule in RULES {
        assert!(written.contains(&format!("### {}\n", rule.name)), "docs/lints.md lacks {}", rule.name);
    }
    assert!(
        written == page,
        "docs/lints.md differs from the rules: run `SNAPSHOTS=overwrite cargo test -p kiln-dockerfile`"
    );
}

#[test]
fn examples_end_with_a_line_feed() {
    for rule in RULES {
        assert!(rule.good.ends_with('\n') && (rule.bad.is_empty() || rule.bad.ends_with('\n')), "{}", rule.name);
    }
}
