//! apk: `lib/apk/db/installed`, with one letter for each field.

use crate::control::paragraphs;
use crate::package::{Ecosystem, Package};

/// The packages of the database.
pub(crate) fn packages(text: &str, found_in: &str) -> Vec<Package> {
    let package = paragraphs(text).filter_map(|fields| {
        let name = fields.owned("P")?;
        Some(Package {
            ecosystem: Ecosystem::Apk,
            version: fields.owned("V")?,
            architecture: fields.owned("A"),
            source: fields.owned("o").filter(|origin| *origin != name),
            supplier: fields.owned("m"),
            license: fields.owned("L"),
            found_in: found_in.to_owned(),
            name,
        })
    });
    package.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_package_are_not_packages() {
        let text = "C:Q1x=\nP:musl\nV:1.2.5-r0\nA:x86_64\no:musl\nL:MIT\nm:A <a@x>\nF:lib\nR:ld-musl-x86_64.so.1\n\n\
                    P:libcrypto3\nV:3.3.0-r2\nA:x86_64\no:openssl\nL:Apache-2.0\n";
        let all = packages(text, "installed");
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].source.as_deref(), all[0].license.as_deref()), (None, Some("MIT")));
        assert_eq!(all[1].source.as_deref(), Some("openssl"));
    }
}
