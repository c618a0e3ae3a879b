//! Package URLs (the package-url specification, types `deb`, `apk`, `rpm` and `golang`).

use crate::package::{Ecosystem, Package};
use crate::release::Release;

/// The package URL of a package on a distribution.
pub(crate) fn purl(package: &Package, release: Option<&Release>) -> String {
    let distribution = |fallback: &'static str| encode(release.map_or(fallback, |release| release.id.as_str()));
    let (kind, namespace, name, version) = match package.ecosystem {
        Ecosystem::Dpkg => ("deb", distribution("debian"), encode(&package.name), package.version.clone()),
        Ecosystem::Apk => ("apk", distribution("alpine"), encode(&package.name), package.version.clone()),
        Ecosystem::Rpm => {
            // The epoch is a qualifier.
            let version = package.version.split_once(':').map_or(package.version.as_str(), |(_, version)| version);
            ("rpm", distribution("rpm"), encode(&package.name), version.to_owned())
        }
        Ecosystem::Go => {
            // A module's path is a namespace and a name.
            let parts: Vec<String> = package.name.split('/').map(encode).collect();
            let (name, namespace) = parts.split_last().expect("a split has a part");
            ("golang", namespace.join("/"), name.clone(), package.version.clone())
        }
    };
    let mut url = format!("pkg:{kind}/");
    if !namespace.is_empty() {
        url.push_str(&namespace);
        url.push('/');
    }
    url.push_str(&name);
    if !version.is_empty() {
        url.push('@');
        url.push_str(&encode(&version));
    }
    let mut qualifiers = Vec::new();
    if package.ecosystem != Ecosystem::Go {
        qualifiers.extend(package.architecture.as_ref().map(|value| ("arch", encode(value))));
        if let Some(Release { id, version: Some(version), .. }) = release {
            qualifiers.push(("distro", encode(&format!("{id}-{version}"))));
        }
        if package.ecosystem == Ecosystem::Rpm {
            qualifiers.extend(package.version.split_once(':').map(|(epoch, _)| ("epoch", encode(epoch))));
        }
    }
    for (at, (key, value)) in qualifiers.into_iter().enumerate() {
        url.push(if at == 0 { '?' } else { '&' });
        url.push_str(key);
        url.push('=');
        url.push_str(&value);
    }
    url
}

/// Escapes everything but letters, digits, `.`, `-`, `_`, `~` and `:`.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_shape() {
        let debian = Release { id: "debian".to_owned(), version: Some("13".to_owned()), name: None };
        let cases = [
            (Ecosystem::Dpkg, "g++", "4:14.2.0-1", "pkg:deb/debian/g%2B%2B@4:14.2.0-1?arch=amd64&distro=debian-13"),
            (
                Ecosystem::Rpm,
                "bash",
                "1:5.2-1.fc40",
                "pkg:rpm/debian/bash@5.2-1.fc40?arch=amd64&distro=debian-13&epoch=1",
            ),
            (Ecosystem::Go, "golang.org/x/net", "v0.1.0", "pkg:golang/golang.org/x/net@v0.1.0"),
            (Ecosystem::Go, "app", "", "pkg:golang/app"),
        ];
        for (ecosystem, name, version, expected) in cases {
            let package = Package {
                ecosystem,
                name: name.to_owned(),
                version: version.to_owned(),
                architecture: Some("amd64".to_owned()),
                source: None,
                supplier: None,
                license: None,
                found_in: String::new(),
            };
            assert_eq!(purl(&package, Some(&debian)), expected);
        }
    }
}
