//! What `go mod download` reads of a project, where that is certain: `go.mod` and `go.sum`, and nothing else.
//!
//! Without arguments it leaves both as they are, since Go 1.18, but for a `go.mod` that does not hold together: with one a build that follows
//! stops, and says so. It writes to the module cache alone.

use crate::rules::{Facts, StepFacts};

/// The files to copy for a step that runs these words in the directory of the project, if that is all it reads.
pub(super) fn manifests(words: &[&str], step: &StepFacts, facts: &Facts<'_>) -> Option<Vec<&'static str>> {
    let (holds, text) = (facts.context_holds?, facts.context_text?);
    if !matches!(words, ["go", "mod", "download"] | ["go", "mod", "download", "-x"]) {
        return None;
    }
    let leads_elsewhere =
        ["GOENV", "GOFLAGS", "GOWORK", "GO111MODULE"].iter().any(|name| step.variable(name).is_some());
    let reads_more = ["go.work", "vendor", ".tool-versions", ".go-version"].iter().any(|name| holds(name));
    if leads_elsewhere || reads_more || !keeps_apart(step) || !stands_alone(&text("go.mod")?) {
        return None;
    }
    match (holds("go.sum"), text("go.sum")) {
        (true, Some(_)) => Some(vec!["go.mod", "go.sum"]),
        (true, None) => None,
        (false, _) => Some(vec!["go.mod"]),
    }
}

/// Whether the module cache, and what else tools keep for their user, is nowhere near the project.
fn keeps_apart(step: &StepFacts) -> bool {
    let home = step.variable("HOME").unwrap_or("/root");
    let path = step.variable("GOPATH").map_or_else(|| format!("{home}/go"), str::to_owned);
    let mut kept: Vec<&str> = path.split(':').collect();
    kept.extend(step.variable("GOMODCACHE"));
    let is_near = |kept: &str| is_below(kept, &step.cwd) || is_below(&step.cwd, kept) || !kept.starts_with('/');
    let system = ["/bin", "/dev", "/etc", "/lib", "/proc", "/run", "/sbin", "/sys", "/usr"];
    step.cwd != "/"
        && !is_below(home, &step.cwd)
        && !system.iter().any(|directory| is_below(&step.cwd, directory) && !step.cwd.starts_with("/usr/src/"))
        && !step.cwd.starts_with("/tmp")
        && !kept.into_iter().any(is_near)
}

fn is_below(path: &str, directory: &str) -> bool {
    let directory = directory.trim_end_matches('/');
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a `go.mod` is of a Go that leaves `go.sum` alone, and names no directory of the project.
fn stands_alone(text: &str) -> bool {
    let mut is_recent = false;
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["go", version] = &words[..] {
            let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
            is_recent = parts.next().flatten() == Some(1) && parts.next().flatten().is_some_and(|minor| minor >= 21);
        }
        // What takes the place of a module is a directory unless it has a version.
        if let Some(arrow) = words.iter().position(|word| *word == "=>")
            && words.len() != arrow + 3
        {
            return false;
        }
    }
    is_recent && !text.contains(['"', '`']) && !text.contains("/*")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(cwd: &str, env: &[(&str, &str)]) -> StepFacts {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        StepFacts { cwd: cwd.to_owned(), env, is_root: true, ..StepFacts::default() }
    }

    fn files(words: &str, step: &StepFacts, context: &[(&str, &str)]) -> Option<Vec<&'static str>> {
        let find = |name: &str| context.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        let holds = |name: &str| find(name).is_some();
        let facts = Facts { context_holds: Some(&holds), context_text: Some(&find), ..Facts::default() };
        manifests(&words.split(' ').collect::<Vec<_>>(), step, &facts)
    }

    const MODULE: &str = "module a\n\ngo 1.25\n";
    const DOWNLOAD: &str = "go mod download";

    #[test]
    fn what_is_read() {
        let src = step("/src", &[("GOPATH", "/go")]);
        assert_eq!(files(DOWNLOAD, &src, &[("go.mod", MODULE)]), Some(vec!["go.mod"]));
        assert_eq!(
            files("go mod download -x", &src, &[("go.mod", MODULE), ("go.sum", "")]),
            Some(vec!["go.mod", "go.sum"])
        );
        for words in ["go mod download all", "go mod tidy", "go mod vendor", "go get", "go -C x mod download", "npm ci"]
        {
            assert_eq!(files(words, &src, &[("go.mod", MODULE)]), None, "{words}");
        }
        for other in ["go.work", "vendor", ".tool-versions"] {
            assert_eq!(files(DOWNLOAD, &src, &[("go.mod", MODULE), (other, "")]), None, "{other}");
        }
        assert_eq!(files(DOWNLOAD, &src, &[]), None);
    }

    #[test]
    fn places() {
        let found = |cwd: &str, env: &[(&str, &str)]| files(DOWNLOAD, &step(cwd, env), &[("go.mod", MODULE)]).is_some();
        assert!(found("/app", &[]));
        assert!(found("/root/app", &[]));
        assert!(found("/usr/src/app", &[("GOPATH", "/go")]));
        for cwd in ["/", "/go", "/go/src/app", "/root", "/usr/lib", "/tmp/x", "/etc"] {
            assert!(!found(cwd, &[("GOPATH", "/go")]), "{cwd}");
        }
        for env in [
            ("GOFLAGS", "-mod=mod"),
            ("GOWORK", "/w"),
            ("GOMODCACHE", "/app/m"),
            ("HOME", "/app"),
            ("GO111MODULE", "off"),
        ] {
            assert!(!found("/app", &[env]), "{env:?}");
        }
    }

    #[test]
    fn modules() {
        for good in ["go 1.21", "go 1.25.1 // x", "go 1.25\nreplace a => b v1.2.3\nreplace (\n a v1 => b v2\n)"] {
            assert!(stands_alone(&format!("module m\n{good}\n")), "{good}");
        }
        for bad in [
            "",
            "go 1.20",
            "go 1.25\nreplace a => ../a",
            "go 1.25\nreplace (\n a v1 => ./b\n)",
            "go 1.25\nreplace a => \"./b c\"",
            "go 2",
        ] {
            assert!(!stands_alone(&format!("module m\n{bad}\n")), "{bad}");
        }
    }
}
