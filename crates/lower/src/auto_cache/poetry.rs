//! Poetry: what it downloaded, without the virtual environments that it keeps beside that.

use super::pip::module;
use super::shell::{Command, Value};
use super::tool::{Cache, Documented, Kind, Place, Tool, Use, has_flag, subcommand, without_version};
use kiln_graph::Unseen;

/// `poetry`.
pub(crate) const POETRY: Tool = Tool {
    name: "poetry",
    programs: &["poetry", "python"],
    variables: &["POETRY_CACHE_DIR", "XDG_CACHE_HOME"],
    directories: &[Documented {
        commands: "`poetry install`, `sync`, `add`, `update`, `lock`, `self add`",
        directory: "`cache` and `artifacts` below `$POETRY_CACHE_DIR`, else below `pypoetry` in `$XDG_CACHE_HOME` or `~/.cache`",
        purpose: "pure",
        sharing: "shared",
        shared_by: "base image and its packages, platform, settings and files of C",
    }],
    notes: "The virtual environments in `virtualenvs`, beside the two, stay in the layer.",
    recognise,
};

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    let args = match without_version(command.name()?) {
        "poetry" => command.args(),
        "python" => module(command.args(), "poetry")?,
        _ => return None,
    };
    let Some((name, rest)) = subcommand(args, &["-C", "--directory", "-P", "--project"]) else { return Use::nothing() };
    match (name, rest.first().and_then(|word| word.get())) {
        ("install" | "sync" | "add" | "update" | "lock", _) | ("self", Some("add" | "update" | "install" | "sync")) => {
        }
        ("cache", Some("clear")) => return Use::clearing(),
        ("cache", _) => return Use::asking(),
        ("config", _) if rest.iter().any(|word| word.text.starts_with("cache")) => return Use::asking(),
        _ => return Use::nothing(),
    }
    if has_flag(args, &["--no-cache"]) {
        return Use::nothing();
    }
    let mut caches = Vec::new();
    for below in ["cache", "artifacts"] {
        let directory = match command.variable("POETRY_CACHE_DIR", place.around) {
            Value::Known(path) if !path.is_empty() => command.directory(&format!("{path}/{below}")),
            Value::Known(_) | Value::Unset => place.xdg_cache(command, &format!("pypoetry/{below}")),
            Value::Unknown => None,
        };
        let id = place.on_settings(&format!("poetry/{below}"), command);
        caches.extend(directory.zip(id).map(|(directory, id)| Cache {
            unseen: Unseen::CAndArchives,
            ..Cache::pure(directory, id, Kind::Downloaded)
        }));
    }
    Some(Use { label: format!("poetry {name}"), caches, ..Use::default() })
}

#[cfg(test)]
mod tests {
    use super::POETRY;
    use crate::auto_cache::testing::check;

    #[test]
    fn recognised() {
        let cache = "~/.cache/pypoetry/cache ~/.cache/pypoetry/artifacts";
        check(
            &POETRY,
            &[
                ("poetry install --no-root --only main", cache),
                ("poetry sync", cache),
                ("poetry add x", cache),
                ("poetry -C app install", cache),
                ("python -m poetry install", cache),
                ("python3.12 -m poetry install", cache),
                ("poetry self add poetry-plugin-export", cache),
                ("ENV POETRY_CACHE_DIR=/c\npoetry install", "/c/cache /c/artifacts"),
                ("ENV XDG_CACHE_HOME=/x\npoetry install", "/x/pypoetry/cache /x/pypoetry/artifacts"),
                ("poetry install --no-cache", "nothing"),
                ("poetry run pytest", "nothing"),
                ("poetry --version", "nothing"),
                ("poetry config cache-dir", "asks"),
                ("poetry install && poetry cache clear --all .", &format!("{cache} clears")),
                ("pip install poetry", ""),
                ("./poetry install", ""),
            ],
        );
    }
}
