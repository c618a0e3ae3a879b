//! pnpm: its content-addressed store.

use super::shell::{Command, Value, Word};
use super::tool::{Cache, Documented, Kind, Place, Tool, Use, has_flag, option, subcommand};
use kiln_graph::CacheDirectory;

/// `pnpm`.
pub(crate) const PNPM: Tool = Tool {
    name: "pnpm",
    programs: &["pnpm", "pnpx", "corepack"],
    variables: &["npm_config_store_dir", "NPM_CONFIG_STORE_DIR", "PNPM_HOME", "XDG_DATA_HOME"],
    directories: &[Documented {
        commands: "`pnpm install`, `add`, `update`, `fetch`, `deploy`, `dlx`, `prune`",
        directory: "`--store-dir`, `$npm_config_store_dir`, else `store` below `$PNPM_HOME`, `$XDG_DATA_HOME/pnpm` or `~/.local/share/pnpm`",
        purpose: "pure",
        sharing: "shared",
        shared_by: "all",
    }],
    notes: "Files cannot be linked from one mount into another, so pnpm copies them. `pnpm fetch` followed by `pnpm install --offline` \
            keeps the store in the layers.",
    recognise,
};

const VALUED: &[&str] = &["-C", "--dir", "--filter", "-F", "--store-dir", "--reporter", "--loglevel"];

/// A command line without `corepack` before the tool's name.
pub(crate) fn without_corepack<'c>(command: &'c Command, tool: &str) -> Option<&'c [Word]> {
    match (command.name()?, command.args()) {
        (name, args) if name == tool => Some(args),
        ("corepack", [first, args @ ..]) if first.get()?.split('@').next() == Some(tool) => Some(args),
        _ => None,
    }
}

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    let (label, args) = match command.name()? {
        "pnpx" => ("pnpx".to_owned(), command.args()),
        _ => {
            let Some((name, args)) = subcommand(without_corepack(command, "pnpm")?, VALUED) else {
                return Use::nothing();
            };
            match name {
                "install" | "i" | "add" | "update" | "up" | "fetch" | "deploy" | "dlx" | "prune" | "import"
                | "rebuild" => {}
                "store" => {
                    let what = args.first().and_then(|word| word.get());
                    return if what == Some("prune") { Use::clearing() } else { Use::asking() };
                }
                _ => return Use::nothing(),
            }
            (format!("pnpm {name}"), args)
        }
    };
    let offline = has_flag(args, &["--offline"]);
    let caches =
        directory(command, place).map(|directory| Cache::pure(directory, place.everywhere("pnpm"), Kind::Downloaded));
    Some(Use { label, caches: caches.into_iter().collect(), offline, ..Use::default() })
}

fn directory(command: &Command, place: &Place<'_>) -> Option<CacheDirectory> {
    if let Some(path) = option(command.args(), &["--store-dir"]).ok()? {
        return command.directory(path);
    }
    for (variable, below) in [
        ("npm_config_store_dir", ""),
        ("NPM_CONFIG_STORE_DIR", ""),
        ("PNPM_HOME", "/store"),
        ("XDG_DATA_HOME", "/pnpm/store"),
    ] {
        match command.variable(variable, place.around) {
            Value::Known("") | Value::Unset => {}
            Value::Known(path) => return command.directory(&format!("{path}{below}")),
            Value::Unknown => return None,
        }
    }
    place.home(command, ".local/share/pnpm/store")
}

#[cfg(test)]
mod tests {
    use super::PNPM;
    use crate::auto_cache::testing::check;

    #[test]
    fn recognised() {
        let store = "~/.local/share/pnpm/store";
        check(
            &PNPM,
            &[
                ("pnpm install --frozen-lockfile", store),
                ("pnpm i", store),
                ("corepack enable && pnpm i", store),
                ("corepack pnpm@9 install", store),
                ("pnpm --filter app add x", store),
                ("pnpm fetch --prod", store),
                ("pnpm install -r --offline --prod", &format!("{store} offline")),
                ("ENV PNPM_HOME=/pnpm\npnpm i", "/pnpm/store"),
                ("ENV npm_config_store_dir=/s\npnpm i", "/s"),
                ("pnpm i --store-dir /s", "/s"),
                ("pnpm deploy out", store),
                ("pnpm build", "nothing"),
                ("pnpm run install-all", "nothing"),
                ("pnpm", "nothing"),
                ("pnpm store path", "asks"),
                ("pnpm store prune", "clears"),
                ("npm install -g pnpm", ""),
                ("corepack yarn install", ""),
                ("./pnpm install", ""),
            ],
        );
    }
}
