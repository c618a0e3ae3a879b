//! Composer: its cache of packages.

use super::shell::{Command, Value, Word};
use super::tool::{Cache, Documented, Kind, Place, Tool, Use, has_flag, subcommand};
use kiln_graph::CacheDirectory;

/// `composer`.
pub(crate) const COMPOSER: Tool = Tool {
    name: "composer",
    programs: &["composer", "composer.phar", "php"],
    variables: &["COMPOSER_CACHE_DIR", "COMPOSER_HOME", "XDG_CACHE_HOME"],
    directories: &[Documented {
        commands: "`composer install`, `update`, `require`, `create-project`",
        directory: "`$COMPOSER_CACHE_DIR`, else `cache` below `$COMPOSER_HOME`, `composer` below `$XDG_CACHE_HOME`, else `~/.composer/cache`",
        purpose: "pure",
        sharing: "shared",
        shared_by: "all",
    }],
    notes: "`composer global` gets nothing: where it installs depends on which directories there are.",
    recognise,
};

const VALUED: &[&str] = &["-d", "--working-dir"];

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    let args = match (command.name()?, command.args()) {
        ("composer" | "composer.phar" | "./composer.phar", args) => args,
        ("php", args) => {
            let (script, rest) = subcommand(args, &["-d", "-c"])?;
            matches!(script.rsplit('/').next()?, "composer" | "composer.phar").then_some(rest)?
        }
        _ => return None,
    };
    let Some((name, rest)) = subcommand(args, VALUED) else { return Use::nothing() };
    match name {
        "install" | "i" | "update" | "upgrade" | "u" | "require" | "r" | "req" | "create-project" | "reinstall" => {}
        "clear-cache" | "clearcache" | "cc" => return Use::clearing(),
        "config" if rest.iter().any(|word| word.text.starts_with("cache")) => return Use::asking(),
        _ => return Use::nothing(),
    }
    if has_flag(args, &["--no-cache"]) {
        return Use::nothing();
    }
    let offline = place.may_be_true(command, "COMPOSER_DISABLE_NETWORK");
    let caches = directory(command, place)
        .map(|directory| Cache::pure(directory, place.everywhere("composer"), Kind::Downloaded));
    Some(Use {
        label: format!("composer {}", Word::known(name).text),
        caches: caches.into_iter().collect(),
        offline,
        ..Use::default()
    })
}

fn directory(command: &Command, place: &Place<'_>) -> Option<CacheDirectory> {
    for (variable, below) in [("COMPOSER_CACHE_DIR", ""), ("COMPOSER_HOME", "/cache"), ("XDG_CACHE_HOME", "/composer")]
    {
        match command.variable(variable, place.around) {
            Value::Known("") | Value::Unset => {}
            Value::Known(path) => return command.directory(&format!("{path}{below}")),
            Value::Unknown => return None,
        }
    }
    place.home(command, ".composer/cache")
}

#[cfg(test)]
mod tests {
    use super::COMPOSER;
    use crate::auto_cache::testing::check;

    #[test]
    fn recognised() {
        let cache = "~/.composer/cache";
        check(
            &COMPOSER,
            &[
                ("composer install --no-dev --optimize-autoloader", cache),
                ("composer update", cache),
                ("composer -d app require x/y", cache),
                ("php composer.phar install", cache),
                ("php -d memory_limit=-1 /usr/bin/composer install", cache),
                ("ENV COMPOSER_HOME=/tmp\ncomposer install", "/tmp/cache"),
                ("ENV COMPOSER_CACHE_DIR=/c\ncomposer install", "/c"),
                ("ENV XDG_CACHE_HOME=/x\ncomposer install", "/x/composer"),
                ("ENV COMPOSER_DISABLE_NETWORK=1\ncomposer install", &format!("{cache} offline")),
                ("composer install --no-cache", "nothing"),
                ("composer global require x/y", "nothing"),
                ("composer dump-autoload", "nothing"),
                ("composer install && composer clear-cache", &format!("{cache} clears")),
                ("composer config cache-dir", "asks"),
                ("php artisan migrate", ""),
                ("./composer install", ""),
                ("COPY composer.json .", ""),
            ],
        );
    }
}
