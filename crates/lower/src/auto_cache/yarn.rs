//! Yarn 1: its cache of packages.

use super::pnpm::without_corepack;
use super::shell::{Command, Value};
use super::tool::{Cache, Documented, Kind, Place, Tool, Use, has_flag, option, subcommand};
use kiln_graph::CacheDirectory;

/// `yarn`.
pub(crate) const YARN: Tool = Tool {
    name: "yarn",
    programs: &["yarn", "yarnpkg", "corepack"],
    variables: &["YARN_CACHE_FOLDER", "XDG_CACHE_HOME"],
    directories: &[Documented {
        commands: "`yarn`, `yarn install`, `add`, `upgrade`, `global add`",
        directory: "`--cache-folder`, else `yarn` below `$XDG_CACHE_HOME`, `/usr/local/share/.cache` (root) or `~/.cache`",
        purpose: "pure",
        sharing: "locked",
        shared_by: "all",
    }],
    notes: "These are the places of Yarn 1. Later versions keep packages elsewhere and may read them when the program runs (Plug'n'Play), so \
            that nothing of theirs is kept out of a layer; nor is anything where `$YARN_CACHE_FOLDER` says where it is, which all versions read.",
    recognise,
};

const VALUED: &[&str] = &[
    "--cwd",
    "--cache-folder",
    "--modules-folder",
    "--registry",
    "--network-timeout",
    "--network-concurrency",
    "--mutex",
];

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    let args = without_corepack(command, "yarn").or_else(|| without_corepack(command, "yarnpkg"))?;
    let (name, rest) = match subcommand(args, VALUED) {
        Some(found) => found,
        // `yarn` alone installs, unless it is asked for something else.
        None if args.iter().all(|word| word.known) && !has_flag(args, &["--version", "-v", "--help", "-h"]) => {
            ("install", args)
        }
        None => return Use::nothing(),
    };
    match (name, rest.first().and_then(|word| word.get())) {
        ("install" | "add" | "upgrade", _) | ("global", Some("add" | "upgrade")) => {}
        ("cache", Some("clean")) => return Use::clearing(),
        ("cache", _) => return Use::asking(),
        ("config", _) if rest.iter().any(|word| word.text.contains("ache")) => return Use::asking(),
        _ => return Use::nothing(),
    }
    let offline = has_flag(args, &["--offline"]);
    let old_versions =
        has_flag(args, &["--prefer-offline"]) && !has_flag(args, &["--frozen-lockfile", "--pure-lockfile"]);
    let caches = directory(command, place)
        .filter(|_| !old_versions)
        .map(|directory| Cache::pure(directory, place.everywhere("yarn"), Kind::Downloaded).locked());
    Some(Use { label: format!("yarn {name}"), caches: caches.into_iter().collect(), offline, ..Use::default() })
}

fn directory(command: &Command, place: &Place<'_>) -> Option<CacheDirectory> {
    if let Some(path) = option(command.args(), &["--cache-folder"]).ok()? {
        return command.directory(path);
    }
    if place.may_be_set(command, "YARN_CACHE_FOLDER") {
        return None;
    }
    match command.variable("XDG_CACHE_HOME", place.around) {
        Value::Known("") | Value::Unset if place.is_root => command.directory("/usr/local/share/.cache/yarn"),
        _ => place.xdg_cache(command, "yarn"),
    }
}

#[cfg(test)]
mod tests {
    use super::YARN;
    use crate::auto_cache::testing::check;

    #[test]
    fn recognised() {
        let cache = "~/.cache/yarn";
        check(
            &YARN,
            &[
                ("yarn", cache),
                ("yarn --frozen-lockfile", cache),
                ("yarn install --frozen-lockfile --network-timeout 600000", cache),
                ("yarn --cwd app install", cache),
                ("yarnpkg add x", cache),
                ("yarn global add serve", cache),
                ("corepack yarn@1 install", cache),
                ("yarn install --cache-folder /c", "/c"),
                ("ENV XDG_CACHE_HOME=/x\nyarn", "/x/yarn"),
                ("ENV YARN_CACHE_FOLDER=/c\nyarn", "nothing"),
                ("yarn --offline", &format!("{cache} offline")),
                ("yarn --prefer-offline", "nothing"),
                ("yarn --prefer-offline --frozen-lockfile", cache),
                ("yarn build", "nothing"),
                ("yarn --version", "nothing"),
                ("yarn cache dir", "asks"),
                ("yarn && yarn cache clean", &format!("{cache} clears")),
                ("npm i -g yarn", ""),
                ("./yarn install", ""),
                ("rm -rf .yarn", ""),
            ],
        );
    }
}
