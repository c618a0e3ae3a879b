//! DNF and YUM: metadata, and packages where they are kept.

use super::shell::Command;
use super::tool::{Cache, Documented, Kind, Place, Tool, Use, has_flag, subcommand};
use kiln_graph::CacheDirectory;

/// `dnf`, `yum`, `microdnf`.
pub(crate) const DNF: Tool = Tool {
    name: "dnf",
    programs: &["dnf", "yum", "microdnf"],
    variables: &[],
    directories: &[Documented {
        commands: "`dnf install`, `upgrade`, `builddep`, …, and with `dnf5`, `yum`, `microdnf`",
        directory: "`/var/cache/dnf` and `/var/cache/libdnf5`; for `yum` and `microdnf` also `/var/cache/yum`",
        purpose: "pure",
        sharing: "locked",
        shared_by: "base image, platform",
    }],
    notes: "Packages are only kept with `keepcache=1`. A step that runs `dnf clean` gets nothing. Metadata that is younger than \
            `metadata_expire` (48 hours) is not asked for again: `dnf --refresh` asks.",
    recognise,
};

const VALUED: &[&str] = &[
    "-c",
    "--config",
    "-d",
    "-e",
    "-x",
    "--exclude",
    "--releasever",
    "--enablerepo",
    "--disablerepo",
    "--setopt",
    "--installroot",
    "--repo",
];

fn recognise(command: &Command, place: &Place<'_>) -> Option<Use> {
    let name = command.name()?;
    let directories: &[&str] = match name {
        "dnf" | "dnf-3" | "dnf5" => &["/var/cache/dnf", "/var/cache/libdnf5"],
        "yum" | "microdnf" => &["/var/cache/dnf", "/var/cache/libdnf5", "/var/cache/yum"],
        _ => return None,
    };
    let Some((what, _)) = subcommand(command.args(), VALUED) else { return Use::nothing() };
    let args = command.args();
    match what {
        "install" | "update" | "upgrade" | "distro-sync" | "reinstall" | "downgrade" | "builddep" | "build-dep"
        | "groupinstall" | "group" | "makecache" | "module" | "swap" | "localinstall" => {}
        "clean" => return Use::clearing(),
        _ => return Use::nothing(),
    }
    let asks = has_flag(args, &["--downloadonly", "--installroot", "--cacheonly", "-C"])
        || args.iter().any(|word| word.text.contains("cachedir") || word.text.contains("installroot"));
    if asks {
        return Some(Use { asks: true, offline: has_flag(args, &["--cacheonly", "-C"]), ..Use::default() });
    }
    let caches = directories.iter().map(|directory| {
        let directory = CacheDirectory::Absolute((*directory).to_owned());
        let id = place.on_base(&format!("dnf{}", directory_name(&directory)));
        Cache::pure(directory, id, Kind::Downloaded).locked()
    });
    Some(Use { label: format!("{name} {what}"), caches: caches.collect(), ..Use::default() })
}

fn directory_name(directory: &CacheDirectory) -> &str {
    let (CacheDirectory::Absolute(path) | CacheDirectory::Home(path)) = directory;
    path.strip_prefix("/var/cache").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::DNF;
    use crate::auto_cache::testing::check;

    #[test]
    fn recognised() {
        let (dnf, yum) = ("/var/cache/dnf /var/cache/libdnf5", "/var/cache/dnf /var/cache/libdnf5 /var/cache/yum");
        check(
            &DNF,
            &[
                ("dnf install -y gcc", dnf),
                ("dnf -y --setopt=install_weak_deps=False install gcc", dnf),
                ("dnf --releasever 9 upgrade", dnf),
                ("dnf5 install gcc", dnf),
                ("yum install -y gcc", yum),
                ("microdnf install gcc", yum),
                ("sudo dnf install gcc", dnf),
                ("dnf makecache", dnf),
                ("dnf install -y gcc && dnf clean all", &format!("{dnf} clears")),
                ("yum clean all", "clears"),
                ("dnf install --downloadonly x", "asks"),
                ("dnf --installroot /r install x", "asks"),
                ("dnf -C install x", "asks offline"),
                ("dnf remove x", "nothing"),
                ("dnf", "nothing"),
                ("echo dnf install", ""),
                ("rpm -i x", ""),
            ],
        );
    }
}
