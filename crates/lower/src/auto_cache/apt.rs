//! APT: the packages that it downloads, and its lists of packages.
//!
//! Both are directories that a Dockerfile empties, or that the image's own configuration empties (`docker-clean`), in the very step
//! that fills them. A mount at their places would be emptied with them, so APT is told other places by a configuration of its own
//! ([`$APT_CONFIG`], apt.conf(5)): the first file that it reads, which the image's files may still overrule.

use super::shell::Command;
use super::tool::{Cache, Clears, Documented, Index, Kind, Place, Setup, Tool, Use, subcommand};
use kiln_graph::CacheDirectory;

/// `apt-get`, `apt`.
pub(crate) const APT: Tool = Tool {
    name: "apt",
    programs: &["apt-get", "apt"],
    variables: &["APT_CONFIG"],
    directories: &[
        Documented {
            commands: "`apt-get install`, `upgrade`, `build-dep`, `satisfy`, and with `apt`",
            directory: "instead of `/var/cache/apt/archives`",
            purpose: "pure",
            sharing: "locked",
            shared_by: "base image, platform",
        },
        Documented {
            commands: "a step that runs `apt-get update` before all else, if no later step could want the lists or the step removes them",
            directory: "instead of `/var/lib/apt/lists`",
            purpose: "pure",
            sharing: "locked",
            shared_by: "base image, platform",
        },
    ],
    notes: "While the step runs, APT keeps both in a cache of kiln's (`$APT_CONFIG`), so that neither `rm -rf /var/lib/apt/lists/*` nor the image's \
            `docker-clean` empties it, and the image ends up the same. `apt-get update` still asks for what is new. A step that runs `apt-get clean` \
            keeps only the lists, and so does one of an exported image that has no `docker-clean`. With `sudo`, which takes the variable \
            away, nothing changes.",
    recognise,
};

/// Where the cache is mounted: under names that say what the layer lacks.
const BOTH_MOUNT: &str = "/var/cache/kiln/apt";
const ARCHIVES_MOUNT: &str = "/var/cache/kiln/apt-archives";
const LISTS_MOUNT: &str = "/var/cache/kiln/apt-lists";
const ARCHIVES: &str = "/var/cache/apt/archives";
const LISTS: &str = "/var/lib/apt/lists";
/// The configuration of Debian's and Ubuntu's images that empties the archives after each use.
const DOCKER_CLEAN: &str = "/etc/apt/apt.conf.d/docker-clean";

/// What APT would have left in its own directory: an empty lock and a directory for downloads.
const TRACES: &str = "DPkg::Pre-Invoke { \"cd /var/cache/apt/archives && { [ -e lock ] || install -m 640 /dev/null lock; \
    [ -d partial ] || install -d -m 700 -o _apt partial; } || true\"; };\n";

const VALUED: &[&str] = &[
    "-o",
    "--option",
    "-c",
    "--config-file",
    "-t",
    "--target-release",
    "--default-release",
    "-a",
    "--host-architecture",
];

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    let name = command.name().filter(|name| matches!(*name, "apt-get" | "apt"))?;
    if command.elevated {
        return None;
    }
    let Some((what, _)) = subcommand(command.args(), VALUED) else { return Use::nothing() };
    let label = format!("{name} {what}");
    let index = match what {
        "update" => Index::Fetches,
        "install" | "upgrade" | "dist-upgrade" | "full-upgrade" | "build-dep" | "satisfy" | "reinstall" => Index::Reads,
        "download" | "source" | "changelog" | "search" | "show" | "list" | "policy" | "indextargets" => {
            return Some(Use { index: Index::Reads, ..Use::default() });
        }
        "clean" | "autoclean" | "auto-clean" => {
            return Some(Use { clears: Clears::This(ARCHIVES), ..Use::default() });
        }
        "distclean" | "dist-clean" => return Use::clearing(),
        _ => return Use::nothing(),
    };
    // What it is told elsewhere may lead to other directories.
    let configured = command.args().iter().any(|word| word.text.contains("Dir") || word.text.contains("Cache"))
        || command.args().iter().any(|word| word.text == "-c" || word.text.starts_with("--config-file"))
        || place.may_be_set(command, "APT_CONFIG");
    if configured {
        return Some(Use { asks: true, index, ..Use::default() });
    }
    let given = |flags: &[&str]| command.args().iter().any(|word| flags.contains(&word.text.as_str()));
    if given(&["-d", "--download-only", "--print-uris"]) {
        return Some(Use { asks: true, index, ..Use::default() });
    }
    let offline = given(&["--no-download"]);
    Some(Use { label, caches: caches(place), offline, index, ..Use::default() })
}

/// Both, or one of them where the other cannot be had: the first that the step may get.
fn caches(place: &Place<'_>) -> Vec<Cache> {
    let id = place.on_base("apt");
    let cache = |mount: &str, instead_of, emptied_by| Cache {
        setup: Some(setup),
        instead_of,
        emptied_by,
        ..Cache::pure(CacheDirectory::Absolute(mount.to_owned()), id.clone(), Kind::Downloaded).locked()
    };
    let by_image = Some((ARCHIVES, DOCKER_CLEAN));
    vec![
        cache(BOTH_MOUNT, &[(ARCHIVES, Kind::Downloaded), (LISTS, Kind::Index)], by_image),
        cache(ARCHIVES_MOUNT, &[(ARCHIVES, Kind::Downloaded)], by_image),
        cache(LISTS_MOUNT, &[(LISTS, Kind::Index)], None),
    ]
}

/// The directories of APT's own in whose place a cache is mounted there.
pub(super) fn own_directories(mount: &str) -> Option<&'static [&'static str]> {
    match mount {
        BOTH_MOUNT => Some(&["/var/cache/apt", "/var/lib/apt/lists"]),
        ARCHIVES_MOUNT => Some(&["/var/cache/apt"]),
        LISTS_MOUNT => Some(&["/var/lib/apt/lists"]),
        _ => None,
    }
}

/// The configuration that leads APT to the cache, and the directories that it does not make itself.
///
/// An image that removes packages (`cleans`) has APT keep its parsed lists nowhere, and so parse them several times a step, also to
/// find the questions of packages (`apt-extracttemplates`): those are kept as well. Each program's own subtree is read after all
/// files.
fn setup(directory: &CacheDirectory, cleans: bool) -> Setup {
    let (CacheDirectory::Absolute(mount) | CacheDirectory::Home(mount)) = directory;
    let (mut text, mut files) = (String::with_capacity(1024), Vec::with_capacity(3));
    if mount != LISTS_MOUNT {
        let keep = "/archives\";\nAPT::Keep-Downloaded-Packages \"true\";\nBinary::apt::APT::Keep-Downloaded-Packages \"true\";\n";
        text.extend(["Dir::Cache::archives \"", mount, keep, TRACES]);
        files.push(("archives/.kept".to_owned(), String::new()));
    }
    if mount != ARCHIVES_MOUNT {
        text.extend(["Dir::State::lists \"", mount, "/lists\";\n"]);
        files.push(("lists/.kept".to_owned(), String::new()));
    }
    if cleans && mount == BOTH_MOUNT {
        let programs = ["apt", "apt-get", "apt-extracttemplates"];
        for (program, what) in programs.iter().flat_map(|name| [(name, "pkgcache"), (name, "srcpkgcache")]) {
            text.push_str(&format!("Binary::{program}::Dir::Cache::{what} \"{mount}/{what}.bin\";\n"));
        }
    }
    files.push(("apt.conf".to_owned(), text));
    Setup { env: vec![("APT_CONFIG".to_owned(), format!("{mount}/apt.conf"))], files }
}

#[cfg(test)]
mod tests {
    use super::APT;
    use crate::auto_cache::testing::check;

    const KEPT: &str = "/var/cache/kiln/apt /var/cache/kiln/apt-archives /var/cache/kiln/apt-lists";

    #[test]
    fn commands_that_install() {
        check(
            &APT,
            &[
                ("apt-get install -y curl", KEPT),
                ("apt-get update && apt-get install -y --no-install-recommends curl git", KEPT),
                ("apt-get -qq update && apt-get -qqy install curl", KEPT),
                ("apt-get update -y; apt-get upgrade -y", KEPT),
                ("apt update && apt install -y curl", KEPT),
                ("DEBIAN_FRONTEND=noninteractive apt-get install -y tzdata", KEPT),
                ("export DEBIAN_FRONTEND=noninteractive; apt-get update", KEPT),
                ("apt-get -o Acquire::Retries=3 update", KEPT),
                ("apt-get install -y -t bookworm-backports git", KEPT),
                ("apt-get -t testing install git", KEPT),
                ("apt-get build-dep -y nginx", KEPT),
                ("apt-get dist-upgrade -y", KEPT),
                ("apt full-upgrade", KEPT),
                ("apt-get satisfy 'a (>= 1)'", KEPT),
                ("apt-get install -y ./local.deb", KEPT),
                ("/usr/bin/apt-get update", KEPT),
                ("set -eux; apt-get update; apt-get install -y $PACKAGES; rm -rf /var/lib/apt/lists/*", KEPT),
                ("if ! command -v git; then apt-get update && apt-get install -y git; fi", KEPT),
                ("(apt-get update || apt-get update) && apt-get install -y git", KEPT),
                ("apt-get update && apt-get install -y $(cat packages)", KEPT),
                ("for p in a b; do apt-get install -y \"$p\"; done", KEPT),
                ("sh -c 'apt-get update'", KEPT),
                ("time apt-get install -y curl", KEPT),
                ("yes | apt-get install curl", KEPT),
            ],
        );
    }

    #[test]
    fn commands_that_empty() {
        let clears = format!("{KEPT} clears");
        check(
            &APT,
            &[
                ("apt-get install -y x && apt-get clean", &clears),
                ("apt-get install -y x && apt clean", &clears),
                ("apt-get autoclean", "clears"),
                ("apt-get distclean", "clears"),
                ("apt-get autoremove -y", "nothing"),
                ("apt-get purge -y x", "nothing"),
                ("apt-get remove x", "nothing"),
                ("apt-get check", "nothing"),
                ("apt-get", "nothing"),
                ("apt-get $SECRET", "nothing"),
                ("apt show x", "nothing"),
                ("apt-get download x", "nothing"),
                ("apt-get install -d x", "asks"),
                ("apt-get -d install x", "asks"),
                ("apt-get install --download-only x", "asks"),
                ("apt-get install --no-download x", &format!("{KEPT} offline")),
                ("apt-get -o Dir::Cache=/c install x", "asks"),
                ("apt-get -o=Dir::State::lists=/l update", "asks"),
                ("apt-get -c /apt.conf update", "asks"),
                ("ENV APT_CONFIG=/apt.conf\napt-get update", "asks"),
            ],
        );
    }

    #[test]
    fn what_is_not_apt() {
        check(
            &APT,
            &[
                ("sudo apt-get update", ""),
                ("echo apt-get install", ""),
                ("dpkg -i x.deb", ""),
                ("apt-cache search x", ""),
                ("apt-mark hold x", ""),
                ("aptitude install x", ""),
                ("./apt-get update", ""),
                ("add-apt-repository ppa:x/y", ""),
                ("rm -rf /var/lib/apt/lists/*", ""),
                ("which apt-get", ""),
            ],
        );
    }
}
