//! Gradle: the caches and the wrapper's distributions in its user home.

use super::shell::{Command, Value};
use super::tool::{Cache, Documented, Kind, Place, Tool, Use, has_flag, option};
use kiln_graph::CacheDirectory;

/// `gradle`, `gradlew`.
pub(crate) const GRADLE: Tool = Tool {
    name: "gradle",
    programs: &["gradle", "gradlew"],
    variables: &["GRADLE_USER_HOME"],
    directories: &[Documented {
        commands: "`gradle` and `gradlew` with any task",
        directory: "`caches` and `wrapper` below `--gradle-user-home`, `$GRADLE_USER_HOME`, else `~/.gradle`",
        purpose: "pure",
        sharing: "locked",
        shared_by: "base image and its packages, platform",
    }],
    notes: "Gradle's locks do not reach from one sandbox into another, so that only one step at a time may use them. `gradle.properties` and \
            `init.d`, beside the two, stay where they are. What Gradle resolved of changing and dynamic versions it trusts for 24 \
            hours: `--refresh-dependencies` asks again.",
    recognise,
};

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    if !matches!(command.name()?.rsplit('/').next(), Some("gradle" | "gradlew")) {
        return None;
    }
    let args = command.args();
    if has_flag(args, &["-v", "--version", "-h", "--help", "-?"]) {
        return Use::nothing();
    }
    let moved = args.iter().any(|word| word.text.contains("gradle.user.home") || word.text.starts_with("-g"));
    let mut caches = Vec::new();
    for below in ["caches", "wrapper"] {
        let directory = directory(command, place, below).filter(|_| !moved);
        caches.extend(directory.map(|directory| {
            Cache::pure(directory, place.on_system(&format!("gradle/{below}")), Kind::Downloaded).locked()
        }));
    }
    let task = args.iter().filter_map(|word| word.get()).find(|text| !text.starts_with('-')).unwrap_or_default();
    let label = format!("gradle {task}").trim_end().to_owned();
    Some(Use { label, caches, offline: has_flag(args, &["--offline"]), ..Use::default() })
}

fn directory(command: &Command, place: &Place<'_>, below: &str) -> Option<CacheDirectory> {
    if let Some(home) = option(command.args(), &["--gradle-user-home"]).ok()? {
        return command.directory(&format!("{home}/{below}"));
    }
    match command.variable("GRADLE_USER_HOME", place.around) {
        Value::Known(home) if !home.is_empty() => command.directory(&format!("{home}/{below}")),
        Value::Known(_) | Value::Unset => place.home(command, &format!(".gradle/{below}")),
        Value::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::GRADLE;
    use crate::auto_cache::testing::check;

    #[test]
    fn recognised() {
        let home = "~/.gradle/caches ~/.gradle/wrapper";
        check(
            &GRADLE,
            &[
                ("gradle build", home),
                ("./gradlew build --no-daemon", home),
                ("/app/gradlew assemble", home),
                ("../gradlew :app:jar -x test", home),
                ("cd app && ./gradlew bootJar", home),
                ("gradle", home),
                ("ENV GRADLE_USER_HOME=/g\ngradle build", "/g/caches /g/wrapper"),
                ("gradle --gradle-user-home /g build", "/g/caches /g/wrapper"),
                ("gradle -g /g build", "nothing"),
                ("gradle -Dgradle.user.home=/g build", "nothing"),
                ("gradle build --offline", &format!("{home} offline")),
                ("gradle --version", "nothing"),
                ("echo gradle build", ""),
                ("cp gradlew /app/", ""),
                ("chmod +x gradlew", ""),
            ],
        );
    }
}
