//! uv: its cache of wheels, sources and what it built.

use super::shell::Command;
use super::tool::{Cache, Documented, Kind, Place, Tool, Use, has_flag, option, subcommand};
use kiln_graph::Unseen;

/// `uv`.
pub(crate) const UV: Tool = Tool {
    name: "uv",
    programs: &["uv", "uvx"],
    variables: &["UV_CACHE_DIR", "XDG_CACHE_HOME"],
    directories: &[Documented {
        commands: "`uv sync`, `add`, `lock`, `run`, `build`, `uv pip install`, `uv tool`, `uvx`, …",
        directory: "`--cache-dir`, `$UV_CACHE_DIR`, else `uv` below `$XDG_CACHE_HOME` or `~/.cache`",
        purpose: "pure",
        sharing: "shared",
        shared_by: "base image and its packages, platform, settings and files of C",
    }],
    notes: "Files cannot be linked from one mount into another, so uv copies them, and says so once unless `UV_LINK_MODE=copy` is set. With the \
            link mode `symlink` packages are read where they are cached: nothing is given then.",
    recognise,
};

const VALUED: &[&str] = &["--cache-dir", "--directory", "--project", "--config-file", "--color", "--python", "-p"];

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    let (label, args) = match command.name()? {
        "uvx" => ("uvx".to_owned(), command.args()),
        "uv" => {
            let Some((name, rest)) = subcommand(command.args(), VALUED) else { return Use::nothing() };
            let second = rest.first().and_then(|word| word.get());
            match (name, second) {
                ("cache", Some("clean" | "prune")) => return Use::clearing(),
                ("cache", _) => return Use::asking(),
                ("pip", Some("install" | "sync" | "compile")) => {
                    (format!("uv pip {}", second.unwrap_or_default()), command.args())
                }
                ("sync" | "add" | "lock" | "run" | "build" | "export" | "remove" | "tool" | "venv", _) => {
                    (format!("uv {name}"), command.args())
                }
                _ => return Use::nothing(),
            }
        }
        _ => return None,
    };
    let keeps_none =
        has_flag(args, &["--no-cache", "--no-cache-dir", "-n"]) || place.may_be_true(command, "UV_NO_CACHE");
    let linked = !matches!(option(args, &["--link-mode"]), Ok(None | Some("copy" | "hardlink" | "clone")))
        || command.variable("UV_LINK_MODE", place.around) == super::shell::Value::Known("symlink");
    if keeps_none || linked {
        return Use::nothing();
    }
    let offline = has_flag(args, &["--offline"]) || place.may_be_true(command, "UV_OFFLINE");
    let directory = match option(args, &["--cache-dir"]) {
        Ok(Some(path)) => command.directory(path),
        Ok(None) if place.may_be_set(command, "UV_CACHE_DIR") => place.directory(command, &["UV_CACHE_DIR"], ""),
        Ok(None) => place.xdg_cache(command, "uv"),
        Err(()) => None,
    };
    let caches = directory
        .zip(place.on_settings("uv", command))
        .map(|(directory, id)| Cache { unseen: Unseen::CAndArchives, ..Cache::pure(directory, id, Kind::Downloaded) });
    Some(Use { label, caches: caches.into_iter().collect(), offline, ..Use::default() })
}

#[cfg(test)]
mod tests {
    use super::UV;
    use crate::auto_cache::testing::check;

    #[test]
    fn recognised() {
        let cache = "~/.cache/uv";
        check(
            &UV,
            &[
                ("uv sync --frozen --no-dev", cache),
                ("uv pip install -r requirements.txt", cache),
                ("uv pip install --system x", cache),
                ("uv --directory app sync", cache),
                ("uvx ruff check", cache),
                ("uv run pytest", cache),
                ("uv tool install x", cache),
                ("ENV UV_CACHE_DIR=/c\nuv sync", "/c"),
                ("ENV XDG_CACHE_HOME=/x\nuv sync", "/x/uv"),
                ("uv sync --cache-dir /c", "/c"),
                ("ENV UV_LINK_MODE=copy\nuv sync", cache),
                ("ENV UV_LINK_MODE=symlink\nuv sync", "nothing"),
                ("uv sync --no-cache", "nothing"),
                ("ENV UV_NO_CACHE=1\nuv sync", "nothing"),
                ("ENV UV_NO_CACHE=0\nuv sync", cache),
                ("uv sync --offline", &format!("{cache} offline")),
                ("uv python install 3.12", "nothing"),
                ("uv pip list", "nothing"),
                ("uv --version", "nothing"),
                ("uv cache dir", "asks"),
                ("uv sync && uv cache clean", &format!("{cache} clears")),
                ("pip install uv", ""),
                ("./uv sync", ""),
            ],
        );
    }
}
