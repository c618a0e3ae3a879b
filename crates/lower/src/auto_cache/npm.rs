//! npm: its content-addressed cache of what it downloads, and the packages that `npm install` unpacked.

use super::shell::{Command, Value, Word};
use super::tool::{Cache, Documented, Kind, Place, Tool, Use, has_flag, option, subcommand};
use kiln_graph::CacheDirectory;
use std::borrow::Cow;

/// `npm`, `npx`.
pub(crate) const NPM: Tool = Tool {
    name: "npm",
    programs: &["npm", "npx"],
    variables: &["npm_config_cache", "NPM_CONFIG_CACHE"],
    directories: &[
        Documented {
            commands: "`npm ci`, `install`, `update`, `exec`, `audit`, …, and `npx`",
            directory: "`_cacache` below `--cache`, `$npm_config_cache`, else `~/.npm`",
            purpose: "pure",
            sharing: "shared",
            shared_by: "all",
        },
        Documented {
            commands: "`npm install` of a project that has a `package-lock.json`",
            directory: "`node_modules`",
            purpose: "output",
            sharing: "–",
            shared_by: "runs of the same step",
        },
    ],
    notes: "Everything in `_cacache` is found by its digest or asked for again. `_npx`, in which `npx` keeps packages that it would not look \
            for a second time, stays in the layer. `npm install` goes on from the `node_modules` of its last run if nothing but `package.json` and \
            `package-lock.json` changed since, the step and its image included: it does not notice that a package was made for another Node.js. `npm ci` \
            removes what is there, so that it saves the downloads alone. `--prefer-offline` is only given the cache with `npm ci`, since without \
            a lock file it would take old versions. `npm run` gets nothing: nobody knows what a script runs.",
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

/// Options of `npm install` that change nothing about where packages go.
const PLAIN: &[&str] = &[
    "--omit",
    "--include",
    "--only",
    "--production",
    "--legacy-peer-deps",
    "--ignore-scripts",
    "--no-audit",
    "--audit",
    "--no-fund",
    "--fund",
    "--no-progress",
    "--progress",
    "--loglevel",
    "--silent",
    "--quiet",
    "--verbose",
    "-s",
    "-q",
    "-d",
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
    let downloads =
        directory(command, place).map(|directory| Cache::pure(directory, place.everywhere("npm"), Kind::Downloaded));
    let packages = unpacked(&label, args, command);
    Some(Use { label, caches: downloads.into_iter().chain(packages).collect(), offline, ..Use::default() })
}

/// Where `npm install` unpacks the packages of a project, unless it is told to do more or anything else than that.
fn unpacked(label: &str, args: &[Word], command: &Command) -> Option<Cache> {
    let plain = args
        .iter()
        .all(|word| word.get().is_some_and(|text| PLAIN.contains(&text.split('=').next().unwrap_or_default())));
    // Options before the subcommand may lead elsewhere.
    let first = command.args().len() == args.len() + 1;
    if !matches!(label, "npm install" | "npm i" | "npm in" | "npm ins" | "npm isntall") || !plain || !first {
        return None;
    }
    let made_from = ["package-lock.json", "package.json"]
        .map(|name| command.path(name).filter(|path| path.starts_with('/')).map(Cow::into_owned));
    let made_from: Vec<String> = made_from.into_iter().collect::<Option<_>>()?;
    Some(Cache { made_from, ..Cache::output(command.directory("node_modules")?, "npm/node_modules") })
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
    const UNPACKS: &str = "~/.npm/_cacache (/src/node_modules)";

    #[test]
    fn commands_that_download() {
        check(
            &NPM,
            &[
                ("npm ci", CACHE),
                ("npm ci --omit=dev", CACHE),
                ("npm ci --only=production --ignore-scripts --no-audit", CACHE),
                ("npm clean-install", CACHE),
                ("npm install", UNPACKS),
                ("npm i", UNPACKS),
                ("npm install --omit=dev --no-audit", UNPACKS),
                ("npm install --production --silent", UNPACKS),
                ("npm install react", CACHE),
                ("npm install --no-package-lock", CACHE),
                ("npm install --prefix client", CACHE),
                ("npm --prefix client install", CACHE),
                ("cd client && npm install", "~/.npm/_cacache (/src/client/node_modules)"),
                ("cd $SECRET && npm install", CACHE),
                ("cd ~ && npm install", CACHE),
                ("cd ~/app && npm install", CACHE),
                ("npm install -g pnpm@9", CACHE),
                ("npm --prefix client ci", CACHE),
                ("npm --loglevel verbose i", CACHE),
                ("npm install --legacy-peer-deps && npm run build", UNPACKS),
                ("NODE_ENV=production npm ci", CACHE),
                ("cd client && npm ci", CACHE),
                ("npm update", CACHE),
                ("npm audit --audit-level=high", CACHE),
                ("npm exec -- tsc", CACHE),
                ("npx playwright install", CACHE),
                ("npx --yes tsc", CACHE),
                ("/usr/local/bin/npm ci", CACHE),
                ("if [ -f package-lock.json ]; then npm ci; else npm install; fi", UNPACKS),
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
