//! apk: the packages and indexes of Alpine Linux.

use super::shell::Command;
use super::tool::{Cache, Documented, Index, Kind, Place, Tool, Use, has_flag, subcommand};
use kiln_graph::CacheDirectory;

/// `apk`.
pub(crate) const APK: Tool = Tool {
    name: "apk",
    programs: &["apk"],
    variables: &[],
    directories: &[Documented {
        commands: "`apk add`, `upgrade`, if the step fetches the index itself (`apk update`, `-U`) and no later step could want it",
        directory: "`/etc/apk/cache`, instead of `/var/cache/apk`",
        purpose: "pure",
        sharing: "locked",
        shared_by: "base image, platform",
    }],
    notes: "apk keeps packages only if there is a directory `/etc/apk/cache`, and never with `--no-cache`.",
    recognise,
};

const VALUED: &[&str] = &[
    "-t",
    "--virtual",
    "-X",
    "--repository",
    "--cache-max-age",
    "--wait",
    "--timeout",
    "--keys-dir",
    "--repositories-file",
];

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    if command.name() != Some("apk") {
        return None;
    }
    let Some((name, _)) = subcommand(command.args(), VALUED) else { return Use::nothing() };
    let args = command.args();
    let elsewhere = has_flag(args, &["--cache-dir", "--root", "-p", "--arch"]);
    let index = match name {
        _ if has_flag(args, &["--no-cache"]) => return Use::nothing(),
        "update" => Index::Fetches,
        "add" | "upgrade" | "fix" if has_flag(args, &["-U", "--update-cache", "--update"]) => Index::Fetches,
        "add" | "upgrade" | "fix" | "search" | "info" | "list" | "policy" | "fetch" => Index::Reads,
        "cache" => return Use::clearing(),
        _ => return Use::nothing(),
    };
    if elsewhere || command.elevated || matches!(name, "search" | "info" | "list" | "policy" | "fetch") {
        return Some(Use { index, ..Use::default() });
    }
    let offline = has_flag(args, &["--no-network"]);
    let cache = Cache {
        instead_of: &[("/var/cache/apk", Kind::Index)],
        ..Cache::pure(CacheDirectory::Absolute("/etc/apk/cache".to_owned()), place.on_base("apk"), Kind::Index).locked()
    };
    Some(Use { label: format!("apk {name}"), caches: vec![cache], offline, index, ..Use::default() })
}

#[cfg(test)]
mod tests {
    use super::APK;
    use crate::auto_cache::testing::check;

    #[test]
    fn recognised() {
        let kept = "/etc/apk/cache";
        check(
            &APK,
            &[
                ("apk add curl", kept),
                ("apk update && apk add curl", kept),
                ("apk add -U curl git", kept),
                ("apk add --virtual .build gcc", kept),
                ("apk -X https://example.org/edge add x", kept),
                ("apk upgrade --update-cache", kept),
                ("apk add --no-network x", &format!("{kept} offline")),
                ("apk add --no-cache curl", "nothing"),
                ("apk --no-cache add curl", "nothing"),
                ("apk add --cache-dir /c x", "nothing"),
                ("apk --root /r add x", "nothing"),
                ("apk del .build", "nothing"),
                ("apk info", "nothing"),
                ("apk", "nothing"),
                ("apk cache clean", "clears"),
                ("echo apk add", ""),
                ("./apk add", ""),
                ("unzip app.apk", ""),
            ],
        );
    }
}
