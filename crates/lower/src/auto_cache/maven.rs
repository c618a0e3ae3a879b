//! Maven: its local repository.

use super::shell::{Command, Value, Word};
use super::tool::{Cache, Documented, Place, Tool, Use, has_flag};
use kiln_graph::CacheDirectory;

/// `mvn`, `mvnw`.
pub(crate) const MAVEN: Tool = Tool {
    name: "maven",
    programs: &["mvn", "mvnw"],
    variables: &["MAVEN_OPTS", "MAVEN_ARGS", "MAVEN_CONFIG", "MAVEN_USER_HOME"],
    directories: &[Documented {
        commands: "`mvn` and `mvnw` with any goal but `install`",
        directory: "`-Dmaven.repo.local`, else `~/.m2/repository`",
        purpose: "output",
        sharing: "–",
        shared_by: "runs of the same step",
    }],
    notes: "The local repository is no pure cache: `install` puts a project's own artifacts there, and an artifact that could not be found is not \
            looked for again for a day, so that a step that failed would fail again. What a step that succeeded left there is safe to go on from.",
    recognise,
};

const PROPERTY: &str = "-Dmaven.repo.local=";

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    if !matches!(command.name()?.rsplit('/').next(), Some("mvn" | "mvnw")) {
        return None;
    }
    let args = command.args();
    if args.is_empty() || has_flag(args, &["-v", "--version", "-h", "--help"]) {
        return Use::nothing();
    }
    if args
        .iter()
        .any(|word| word.text.contains("settings.localRepository") || word.text == "dependency:purge-local-repository")
    {
        return Use::asking();
    }
    let offline = has_flag(args, &["-o", "--offline"]);
    let installs = args.iter().any(|word| !word.known || word.text == "install" || word.text.starts_with("install:"));
    let goal = args.iter().filter_map(Word::get).find(|text| !text.starts_with('-')).unwrap_or_default();
    let directory = directory(command, place).filter(|_| !installs);
    let caches = directory.map(|directory| Cache::output(directory, "maven")).into_iter().collect();
    Some(Use { label: format!("mvn {goal}"), caches, offline, ..Use::default() })
}

fn directory(command: &Command, place: &Place<'_>) -> Option<CacheDirectory> {
    if let Some(path) = command.args().iter().filter_map(Word::get).find_map(|text| text.strip_prefix(PROPERTY)) {
        return command.directory(path);
    }
    for variable in ["MAVEN_OPTS", "MAVEN_ARGS", "MAVEN_CONFIG"] {
        match command.variable(variable, place.around) {
            Value::Unset => {}
            Value::Known(text) if !text.contains("maven.repo.local") => {}
            Value::Known(_) | Value::Unknown => return None,
        }
    }
    // Settings may name another place, and may be named themselves.
    if has_flag(command.args(), &["-s", "--settings", "-gs", "--global-settings"]) {
        return None;
    }
    place.home(command, ".m2/repository")
}

#[cfg(test)]
mod tests {
    use super::MAVEN;
    use crate::auto_cache::testing::check;

    #[test]
    fn recognised() {
        let repository = "(~/.m2/repository)";
        check(
            &MAVEN,
            &[
                ("mvn package", repository),
                ("mvn -B -DskipTests clean package", repository),
                ("./mvnw -q verify", repository),
                ("mvnw compile", repository),
                ("mvn dependency:go-offline", repository),
                ("MAVEN_OPTS=-Xmx1g mvn package", repository),
                ("mvn -Dmaven.repo.local=/r package", "(/r)"),
                ("mvn -o package", &format!("{repository} offline")),
                ("mvn clean install", "nothing"),
                ("mvn install:install-file -Dfile=x.jar", "nothing"),
                ("mvn -s settings.xml package", "nothing"),
                ("ENV MAVEN_OPTS=-Dmaven.repo.local=/r\nmvn package", "nothing"),
                ("mvn --version", "nothing"),
                ("mvn dependency:purge-local-repository", "asks"),
                ("echo mvn package", ""),
                ("java -jar mvn.jar", ""),
            ],
        );
    }
}
