//! Packages come through the ordinary clients as a machine has them set up
//! (mirrors and proxies included), so no file names a package registry's host.
//!
//! `Cargo.lock` is excepted: cargo writes the name of its index into it.

use super::{Finding, Tree};

/// Joined at compile time, so that this file passes its own check.
const HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("npmjs", ".org"),
    concat!("npmjs", ".com"),
    concat!("deb.debian", ".org"),
    concat!("ftp.debian", ".org"),
    concat!("security.debian", ".org"),
    concat!("snapshot.debian", ".org"),
    concat!("archive.ubuntu", ".com"),
    concat!("proxy.golang", ".org"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| !file.path.ends_with("Cargo.lock")) {
        for (index, line) in file.text.lines().enumerate() {
            let line = line.to_ascii_lowercase();
            for host in HOSTS.iter().filter(|host| line.contains(**host)) {
                let message = format!("names the package registry host `{host}`");
                findings.push(Finding::at(&file.path, index + 1, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::of_file;

    #[test]
    fn a_host_is_found_in_any_file() {
        let text = format!("first\nsee https://{}/kiln\n", HOSTS[0].to_uppercase());
        let findings = check(&of_file("docs/install.md", &text));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, Some(2));
    }

    #[test]
    fn the_lock_file_and_other_hosts_are_fine() {
        assert!(check(&of_file("Cargo.lock", HOSTS[0])).is_empty());
        assert!(check(&of_file("README.md", "docker.io ghcr.io")).is_empty());
    }
}
