//! Tables of commands and what is recognised in them.

use super::shell::{self, Surroundings};
use super::tool::{Clears, Place, Tool};
use kiln_graph::{CacheDirectory, CachePurpose};

/// Checks what a rule makes of command lines. A line may stand below `ENV NAME=VALUE` and `WORKDIR` lines.
///
/// What is expected names the directories in order, each once, an output one in parentheses, and `clears`, `asks` or `offline`; `nothing` for a
/// command of the tool's that keeps nothing, the empty text where the tool is not recognised at all.
pub(crate) fn check(tool: &Tool, cases: &[(&str, &str)]) {
    let mut wrong = String::new();
    for (text, expected) in cases {
        let found = recognised(tool, text);
        if found != *expected {
            wrong.push_str(&format!("{text}\n    expected {expected:?}\n    found    {found:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn recognised(tool: &Tool, text: &str) -> String {
    let (mut env, mut cwd, mut line) = (Vec::new(), "/src", text);
    while let Some((first, rest)) = line.split_once('\n') {
        if let Some((name, value)) = first.strip_prefix("ENV ").and_then(|pair| pair.split_once('=')) {
            env.push((name.to_owned(), value.to_owned()));
        } else if let Some(directory) = first.strip_prefix("WORKDIR ") {
            cwd = directory;
        } else {
            break;
        }
        line = rest;
    }
    let around = Surroundings { env: &env, hidden: vec!["SECRET"], cwd };
    let place = Place {
        around: &around,
        base: "docker.io/library/base:1",
        platform: "linux/amd64",
        system: "",
        is_root: false,
    };
    let Ok(commands) = shell::read(line, &around) else { return "unreadable".to_owned() };
    let mut found: Vec<String> = Vec::new();
    for found_use in commands.iter().filter_map(|command| (tool.recognise)(command, &place)) {
        for cache in &found_use.caches {
            let path = match &cache.directory {
                CacheDirectory::Absolute(path) => path.clone(),
                CacheDirectory::Home(path) => format!("~/{path}"),
            };
            found.push(if cache.purpose == CachePurpose::Output { format!("({path})") } else { path });
        }
        for (holds, word) in [
            (!matches!(found_use.clears, Clears::Nothing), "clears"),
            (found_use.asks, "asks"),
            (found_use.offline, "offline"),
        ] {
            if holds {
                found.push(word.to_owned());
            }
        }
        if found.is_empty() {
            found.push("nothing".to_owned());
        }
    }
    if found.len() > 1 {
        found.retain(|word| word != "nothing");
    }
    let mut seen = Vec::new();
    found.retain(|word| {
        !seen.contains(word) && {
            seen.push(word.clone());
            true
        }
    });
    found.join(" ")
}
