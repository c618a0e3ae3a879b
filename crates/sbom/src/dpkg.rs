//! dpkg: `var/lib/dpkg/status`, and a file for each package in `var/lib/dpkg/status.d` where there is no dpkg itself (distroless
//! images).

use crate::control::paragraphs;
use crate::package::{Ecosystem, Package};

/// The packages that a status file says are installed.
pub(crate) fn packages(text: &str, found_in: &str) -> Vec<Package> {
    let installed = paragraphs(text).filter(|fields| {
        // A file of `status.d` has no status: it is there because the package is.
        fields.get("Status").is_none_or(|status| status.ends_with(" installed"))
    });
    let package = installed.filter_map(|fields| {
        Some(Package {
            ecosystem: Ecosystem::Dpkg,
            name: fields.owned("Package")?,
            version: fields.owned("Version")?,
            architecture: fields.owned("Architecture"),
            source: fields.owned("Source"),
            supplier: fields.owned("Maintainer"),
            license: None,
            found_in: found_in.to_owned(),
        })
    });
    package.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let text = "Package: bash\nStatus: install ok installed\nMaintainer: M <m@x>\nArchitecture: amd64\nVersion: 5.2-1\n\n\
                    Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                    Package: base-files\nVersion: 13\n\nPackage: broken\n";
        let names: Vec<_> = packages(text, "status").into_iter().map(|package| package.name).collect();
        assert_eq!(names, ["bash", "base-files"]);
    }
}
