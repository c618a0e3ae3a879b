//! `docs/lints.md` is made from the rules: a rule that changes without the page fails here. `SNAPSHOTS=overwrite cargo test -p
//! kiln-dockerfile --test page` writes it anew.

use kiln_dockerfile::rules::RULES;
use std::fmt::Write;
use std::path::Path;

const HEAD: &str = "# Lints

Every build lints its Dockerfile, and tells what was found when it is over. `kiln check CONTEXT`, or `kiln build --check`, lints without
building: all stages, or those that `--target` needs. Base images are resolved, since some rules look at their platform and variables,
but never pulled. One that cannot be resolved is an error; what the rules find without it is told all the same, but has no fix.

Most rules and their names are BuildKit's. [Those of kiln's own](#rules-of-kilns-own) are about builds that are slower, or images that are
larger, than they need be; `kiln check` alone has them, and no build tells of them or fails because of them.

What a build finds never makes it fail, unless the Dockerfile asks for that. `kiln check` ends with status 1 if there are findings.

## Fixes

`kiln check --fix` mends what can be mended without a change of the image, and tells what is left; `kiln check --diff` prints the same as a
patch for `patch -p1` or `git apply`, and leaves the file alone.

- Only stages that are no image themselves are changed. Images are the last stage, or that of `--target`, and every stage that no other one uses,
  unless it stands on another stage, ends with a `RUN` and sets no `CMD` or `ENTRYPOINT`: that is a test.
- The image then has the same files and the same configuration. That the configuration stays is made sure of before anything is written.
- Comments, line breaks and all else that no fix is about stay byte for byte. Mending a second time changes nothing.
- The file is replaced at once, with its mode; a link to it stays a link. A Dockerfile that is no file of this machine cannot be mended.
- A cache mount hides what the base image has at its place. A step that has no network must find there what it needs: none of those gets one.

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
perhaps `hint` and `fix`, and `location`: lines from 1, characters from 0), `sources` (`filename`, `language`, and `data`, the text in base 64), and,
where the Dockerfile cannot be built, `buildError` (`message`, perhaps `location`).

`kiln check --format sarif` prints a log of SARIF 2.1.0, with fixes. A Dockerfile that cannot be built is a result of `CannotBeBuilt`.

## Rules of BuildKit

";

const OWN: &str = "
## Rules of kiln's own

They look at what steps run, as far as that can be read with certainty: what [auto-cache.md](auto-cache.md) says of recognising tools is
true here. `# check=skip=RULE` leaves one out.

";

fn page() -> String {
    let mut page = HEAD.to_owned();
    section(&mut page, false);
    page.push_str(OWN);
    section(&mut page, true);
    page
}

fn section(page: &mut String, own: bool) {
    page.push_str("| rule | asks that | |\n|---|---|---|\n");
    let rules = || RULES.iter().filter(|rule| rule.own == own);
    for rule in rules() {
        let note = if rule.experimental { "experimental" } else { "" };
        writeln!(page, "| [{0}](#{1}) | {2} | {note} |", rule.name, rule.name.to_lowercase(), rule.summary).unwrap();
    }
    for rule in rules() {
        writeln!(page, "\n### {}\n\n{}", rule.name, rule.explanation).unwrap();
        if !rule.bad.is_empty() {
            writeln!(page, "\nReported:\n\n```dockerfile\n{}```", rule.bad).unwrap();
            writeln!(page, "\nNot reported:\n\n```dockerfile\n{}```", rule.good).unwrap();
        }
    }
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
