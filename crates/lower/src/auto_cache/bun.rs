//! Bun: its cache of packages.

use super::shell::{Command, Value};
use super::tool::{Cache, Documented, Kind, Place, Tool, Use, has_flag, option, subcommand};
use kiln_graph::CacheDirectory;

/// `bun`.
pub(crate) const BUN: Tool = Tool {
    name: "bun",
    programs: &["bun"],
    variables: &["BUN_INSTALL_CACHE_DIR", "BUN_INSTALL", "XDG_CACHE_HOME"],
    directories: &[Documented {
        commands: "`bun install`, `ci`, `add`, `update`",
        directory: "`--cache-dir`, `$BUN_INSTALL_CACHE_DIR`, else `install/cache` below `$BUN_INSTALL`, `$XDG_CACHE_HOME/.bun` or `~/.bun`",
        purpose: "pure",
        sharing: "shared",
        shared_by: "all",
    }],
    notes: "Files cannot be linked from one mount into another, so Bun copies them. With `--backend=symlink` packages are read where they are \
            cached: nothing is given then.",
    recognise,
};

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    if command.name() != Some("bun") {
        return None;
    }
    let Some((name, args)) = subcommand(command.args(), &["--cwd", "--config", "-c"]) else { return Use::nothing() };
    match (name, args.first().and_then(|word| word.get()), args.get(1).and_then(|word| word.get())) {
        ("install" | "i" | "ci" | "add" | "a" | "update", ..) => {}
        ("pm", Some("cache"), Some("rm")) => return Use::clearing(),
        ("pm", Some("cache"), _) => return Use::asking(),
        _ => return Use::nothing(),
    }
    let linked = option(args, &["--backend"]) != Ok(None) && option(args, &["--backend"]) != Ok(Some("copyfile"));
    if has_flag(args, &["--no-cache"]) || linked {
        return Use::nothing();
    }
    let caches =
        directory(command, place).map(|directory| Cache::pure(directory, place.everywhere("bun"), Kind::Downloaded));
    Some(Use { label: format!("bun {name}"), caches: caches.into_iter().collect(), ..Use::default() })
}

fn directory(command: &Command, place: &Place<'_>) -> Option<CacheDirectory> {
    if let Some(path) = option(command.args(), &["--cache-dir"]).ok()? {
        return command.directory(path);
    }
    for (variable, below) in
        [("BUN_INSTALL_CACHE_DIR", ""), ("BUN_INSTALL", "/install/cache"), ("XDG_CACHE_HOME", "/.bun/install/cache")]
    {
        match command.variable(variable, place.around) {
            Value::Known("") | Value::Unset => {}
            Value::Known(path) => return command.directory(&format!("{path}{below}")),
            Value::Unknown => return None,
        }
    }
    place.home(command, ".bun/install/cache")
}

#[cfg(test)]
mod tests {
    use super::BUN;
    use crate::auto_cache::testing::check;

    #[test]
    fn recognised() {
        let cache = "~/.bun/install/cache";
        check(
            &BUN,
            &[
                ("bun install", cache),
                ("bun i --frozen-lockfile", cache),
                ("bun ci", cache),
                ("cd app && bun add x", cache),
                ("bun install --production", cache),
                ("ENV BUN_INSTALL=/b\nbun install", "/b/install/cache"),
                ("ENV BUN_INSTALL_CACHE_DIR=/c\nbun install", "/c"),
                ("bun install --cache-dir /c", "/c"),
                ("bun install --no-cache", "nothing"),
                ("bun install --backend=symlink", "nothing"),
                ("bun run build", "nothing"),
                ("bun build ./x.ts", "nothing"),
                ("bun pm cache", "asks"),
                ("bun install && bun pm cache rm", &format!("{cache} clears")),
                ("./bun install", ""),
                ("echo bun install", ""),
            ],
        );
    }
}
