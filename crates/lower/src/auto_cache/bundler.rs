//! Bundler and RubyGems: downloaded gems and indexes.

use super::shell::{Command, Value};
use super::tool::{Cache, Documented, Kind, Place, Tool, Use, has_flag, subcommand};

/// `bundle`, `gem`.
pub(crate) const BUNDLER: Tool = Tool {
    name: "bundler",
    programs: &["bundle", "bundler", "gem"],
    variables: &["BUNDLE_USER_CACHE", "BUNDLE_USER_HOME", "GEM_HOME"],
    directories: &[
        Documented {
            commands: "`bundle install`, `update`, `add`, `lock`",
            directory: "`$BUNDLE_USER_CACHE`, else `cache` below `$BUNDLE_USER_HOME` or `~/.bundle`",
            purpose: "pure",
            sharing: "shared",
            shared_by: "all",
        },
        Documented {
            commands: "those and `gem install`, `gem update`",
            directory: "`cache` below `$GEM_HOME`, if that is set",
            purpose: "pure",
            sharing: "shared",
            shared_by: "all",
        },
    ],
    notes: "Installed gems stay in the layer. A COPY of `$GEM_HOME` into another stage keeps the second directory in the layer too.",
    recognise,
};

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    let program = command.name().filter(|name| matches!(*name, "bundle" | "bundler" | "gem"))?;
    let args = command.args();
    let is_gem = program == "gem";
    let (name, rest) = match subcommand(args, &["--gemfile", "--retry", "-r"]) {
        Some(found) => found,
        None if !is_gem && args.iter().all(|word| word.known) && !has_flag(args, &["--version", "-v", "--help"]) => {
            ("install", args)
        }
        None => return Use::nothing(),
    };
    match (is_gem, name) {
        (false, "install" | "update" | "add" | "lock" | "outdated") | (true, "install" | "i" | "update") => {}
        (false, "clean") | (true, "cleanup") => return Use::clearing(),
        (false, "cache" | "package" | "pack") | (true, "environment" | "env" | "fetch" | "pristine") => {
            return Use::asking();
        }
        _ => return Use::nothing(),
    }
    let offline = has_flag(rest, &["--local", "-l", "--prefer-local"]);
    let mut caches = Vec::new();
    if !is_gem {
        let directory = match command.variable("BUNDLE_USER_HOME", place.around) {
            _ if place.may_be_set(command, "BUNDLE_USER_CACHE") => place.directory(command, &["BUNDLE_USER_CACHE"], ""),
            Value::Known(home) if !home.is_empty() => command.directory(&format!("{home}/cache")),
            Value::Known(_) | Value::Unset => place.home(command, ".bundle/cache"),
            Value::Unknown => None,
        };
        caches.extend(directory.map(|directory| Cache::pure(directory, place.everywhere("bundler"), Kind::Downloaded)));
    }
    // Gems go there unless a setting of Bundler's leads elsewhere.
    let moved = !is_gem && (place.may_be_set(command, "BUNDLE_PATH") || has_flag(rest, &["--path", "--deployment"]));
    if let Value::Known(home) = command.variable("GEM_HOME", place.around)
        && !home.is_empty()
        && !moved
        && !has_flag(rest, &["--install-dir", "-i"])
    {
        let directory = command.directory(&format!("{home}/cache"));
        caches.extend(directory.map(|directory| Cache::pure(directory, place.everywhere("gem"), Kind::Downloaded)));
    }
    Some(Use { label: format!("{program} {name}"), caches, offline, ..Use::default() })
}

#[cfg(test)]
mod tests {
    use super::BUNDLER;
    use crate::auto_cache::testing::check;

    #[test]
    fn recognised() {
        check(
            &BUNDLER,
            &[
                ("bundle install", "~/.bundle/cache"),
                ("bundle", "~/.bundle/cache"),
                ("bundle install --jobs 4 --retry 3", "~/.bundle/cache"),
                ("bundle config set --local deployment true && bundle install", "~/.bundle/cache"),
                ("ENV GEM_HOME=/usr/local/bundle\nbundle install", "~/.bundle/cache /usr/local/bundle/cache"),
                ("ENV GEM_HOME=/g\nENV BUNDLE_PATH=/b\nbundle install", "~/.bundle/cache"),
                ("ENV GEM_HOME=/g\ngem install rails", "/g/cache"),
                ("gem install bundler:2.5", "nothing"),
                ("ENV BUNDLE_USER_HOME=/b\nbundle update", "/b/cache"),
                ("ENV BUNDLE_USER_CACHE=/c\nbundle install", "/c"),
                ("bundle install --local", "~/.bundle/cache offline"),
                ("bundle exec rake assets:precompile", "nothing"),
                ("bundle --version", "nothing"),
                ("bundle install && bundle clean --force", "~/.bundle/cache clears"),
                ("bundle cache", "asks"),
                ("gem env", "asks"),
                ("./bundle install", ""),
                ("apt-get install bundler", ""),
            ],
        );
    }
}
