//! npm: its content-addressed cache of what it downloads.

use super::shell::{Command, Value};
use super::tool::{Cache, Documented, Kind, Place, Tool, Use, has_flag, option, subcommand};
use kiln_graph::CacheDirectory;

/// `npm`, `npx`.
pub(crate) const NPM: Tool = Tool {
    name: "npm",
    programs: &["npm", "npx"],
    variables: &["npm_config_cache", "NPM_CONFIG_CACHE"],
    directories: &[Documented {
        commands: "`npm ci`, `install`, `update`, `exec`, `audit`, …, and `npx`",
        directory: "`_cacache` below `--cache`, `$npm_config_cache`, else `~/.npm`",
        purpose: "pure",
        sharing: "shared",
        shared_by: "all",
    }],
    notes: "Everything in it is found by its digest or asked for again. `_npx`, in which `npx` keeps packages that it would not look \
            for a second time, stays in the layer, and so does `node_modules`, which `npm ci` makes anew. `--prefer-offline` is only \
            given the cache with `npm ci`, since without a lock file it would take old versions. `npm run` gets nothing: nobody knows \
            what a script runs.",
    recognise,
};

/// Options that take a value.
const VALUED: &[&str] = &[
    "--prefix",
    "-C",
    "--registry",
    "--cache",
    "--loglevel",
    "--userconfig",
    "-w",
    "--workspace",
    "--omit",
    "--include",
];

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    let (label, args, locked) = match command.name()? {
        "npx" => ("npx".to_owned(), command.args(), false),
        "npm" => {
            let Some((name, args)) = subcommand(command.args(), VALUED) else { return Use::nothing() };
            let locked = match name {
                "ci" | "clean-install" | "ic" | "install-clean" | "isntall-clean" | "cit" | "install-ci-test" => true,
                "install" | "i" | "in" | "ins" | "add" | "isntall" | "update" | "up" | "upgrade" | "install-test"
                | "it" | "dedupe" | "ddp" | "audit" | "exec" | "x" | "create" | "init" | "view" | "info" | "show"
                | "outdated" | "link" | "ln" | "prune" => false,
                "cache" => {
                    let what = args.first().and_then(|word| word.get());
                    return if matches!(what, Some("ls" | "add" | "npx")) { Use::asking() } else { Use::clearing() };
                }
                "config" | "c" | "get" if args.iter().any(|word| word.text == "cache") => return Use::asking(),
                _ => return Use::nothing(),
            };
            (format!("npm {name}"), args, locked)
        }
        _ => return None,
    };
    let offline = has_flag(args, &["--offline"]) || either(command, place, "offline");
    let prefers = has_flag(args, &["--prefer-offline"]) || either(command, place, "prefer_offline");
    if prefers && !locked {
        return Some(Use { label, offline, ..Use::default() });
    }
    let caches =
        directory(command, place).map(|directory| Cache::pure(directory, place.everywhere("npm"), Kind::Downloaded));
    Some(Use { label, caches: caches.into_iter().collect(), offline, ..Use::default() })
}

/// Whether npm's setting may be made by the environment; npm reads it in both cases.
fn either(command: &Command, place: &Place<'_>, setting: &str) -> bool {
    let lower = format!("npm_config_{setting}");
    place.may_be_true(command, &lower.to_ascii_uppercase()) || place.may_be_true(command, &lower)
}

fn directory(command: &Command, place: &Place<'_>) -> Option<CacheDirectory> {
    if let Some(path) = option(command.args(), &["--cache"]).ok()? {
        return command.directory(&format!("{path}/_cacache"));
    }
    for variable in ["npm_config_cache", "NPM_CONFIG_CACHE"] {
        match command.variable(variable, place.around) {
            Value::Known("") | Value::Unset => {}
            Value::Known(path) => return command.directory(&format!("{path}/_cacache")),
            Value::Unknown => return None,
        }
    }
    place.home(command, ".npm/_cacache")
}

#[cfg(test)]
mod tests {
    use super::NPM;
    use crate::auto_cache::testing::check;

    const CACHE: &str = "~/.npm/_cacache";

    #[test]
    fn commands_that_download() {
        check(
            &NPM,
            &[
                ("npm ci", CACHE),
                ("npm ci --omit=dev", CACHE),
                ("npm ci --only=production --ignore-scripts --no-audit", CACHE),
                ("npm clean-install", CACHE),
                ("npm install", CACHE),
                ("npm i", CACHE),
                ("npm install -g pnpm@9", CACHE),
                ("npm --prefix client ci", CACHE),
                ("npm --loglevel verbose i", CACHE),
                ("npm install --legacy-peer-deps && npm run build", CACHE),
                ("NODE_ENV=production npm ci", CACHE),
                ("cd client && npm ci", CACHE),
                ("npm update", CACHE),
                ("npm audit --audit-level=high", CACHE),
                ("npm exec -- tsc", CACHE),
                ("npx playwright install", CACHE),
                ("npx --yes tsc", CACHE),
                ("/usr/local/bin/npm ci", CACHE),
                ("if [ -f package-lock.json ]; then npm ci; else npm install; fi", "~/.npm/_cacache"),
                ("npm ci --prefer-offline", CACHE),
                ("set -eux; npm ci", CACHE),
                ("bash -c 'npm ci'", CACHE),
            ],
        );
    }

    #[test]
    fn directories() {
        check(
            &NPM,
            &[
                ("npm ci --cache /c", "/c/_cacache"),
                ("npm ci --cache=.cache", "/src/.cache/_cacache"),
                ("npm ci --cache $SECRET", "offline"),
                ("ENV npm_config_cache=/c\nnpm ci", "/c/_cacache"),
                ("ENV NPM_CONFIG_CACHE=/c\nnpm ci", "/c/_cacache"),
                ("npm_config_cache=$HOME/n npm ci", "~/n/_cacache"),
                ("ENV HOME=/home/node\nnpm ci", "/home/node/.npm/_cacache"),
                ("sudo npm ci", "offline"),
                ("source ./env && npm ci", "offline"),
            ],
        );
    }

    #[test]
    fn other_commands() {
        check(
            &NPM,
            &[
                ("npm ci --offline", "~/.npm/_cacache offline"),
                ("ENV npm_config_offline=true\nnpm ci", "~/.npm/_cacache offline"),
                ("npm install --prefer-offline", "nothing"),
                ("ENV NPM_CONFIG_PREFER_OFFLINE=true\nnpm install", "nothing"),
                ("npm run build", "nothing"),
                ("npm test", "nothing"),
                ("npm start", "nothing"),
                ("npm pack", "nothing"),
                ("npm -v", "nothing"),
                ("npm", "nothing"),
                ("npm $SECRET", "nothing"),
                ("npm config set registry https://example.org", "nothing"),
                ("npm config get cache", "asks"),
                ("npm cache ls", "asks"),
                ("npm ci && npm cache clean --force", "~/.npm/_cacache clears"),
                ("npm cache verify", "clears"),
            ],
        );
    }

    #[test]
    fn what_is_not_npm() {
        check(
            &NPM,
            &[
                ("echo npm ci", ""),
                ("apk add npm", ""),
                ("./npm ci", ""),
                ("yarn npm audit", ""),
                ("node npm.js", ""),
                ("rm -rf ~/.npm", ""),
                ("\"npm ci\"", ""),
                ("$NPM ci", ""),
            ],
        );
    }
}
