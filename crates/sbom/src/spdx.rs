//! The packages as an SPDX document (SPDX 2.3, JSON). The same packages give the same document: its time is the image's.

use crate::package::{Ecosystem, Package};
use crate::purl::purl;
use crate::release::Release;
use crate::scan::Inventory;
use serde_json::{Value, json};

/// What a document is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The image's name, or whatever it is called.
    pub name: &'a str,
    /// Hexadecimal digits of the SHA-256 of the manifest; they also make the document's namespace its own.
    pub digest: &'a str,
    /// When it was made, in RFC 3339's form with whole seconds and `Z`, as SPDX wants it.
    pub created: &'a str,
    /// Name and version of the program that looked: `kiln-0.1.0`.
    pub tool: &'a str,
}

/// The identifier of the image in its document.
const IMAGE: &str = "SPDXRef-DocumentRoot-Image";
const UNKNOWN: &str = "NOASSERTION";

/// The document of an image.
pub fn document(subject: &Subject<'_>, inventory: &Inventory) -> Value {
    let root = json!({
        "name": subject.name,
        "SPDXID": IMAGE,
        "versionInfo": format!("sha256:{}", subject.digest),
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{ "algorithm": "SHA256", "checksumValue": subject.digest }],
    });
    let mut packages = vec![root];
    let mut relationships = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": IMAGE,
    })];
    for (number, package) in inventory.packages.iter().enumerate() {
        let id = format!("SPDXRef-Package-{}-{}-{number}", kind(package.ecosystem), identifier(&package.name));
        relationships.push(json!({ "spdxElementId": IMAGE, "relationshipType": "CONTAINS", "relatedSpdxElement": id }));
        packages.push(described(package, id, inventory.release.as_ref()));
    }
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/kiln-{}-{}", identifier(subject.name), subject.digest),
        "creationInfo": { "created": subject.created, "creators": [format!("Tool: {}", subject.tool)] },
        "packages": packages,
        "relationships": relationships,
    });
    if !inventory.unread.is_empty() {
        let unread: Vec<String> =
            inventory.unread.iter().map(|unread| format!("/{} was not read: {}", unread.path, unread.reason)).collect();
        document["comment"] = json!(unread.join("\n"));
    }
    document
}

fn described(package: &Package, id: String, release: Option<&Release>) -> Value {
    let supplier = package.supplier.as_ref().map_or(UNKNOWN.to_owned(), |name| match package.ecosystem {
        Ecosystem::Rpm => format!("Organization: {name}"),
        _ => format!("Person: {}", person(name)),
    });
    let mut described = json!({
        "name": package.name,
        "SPDXID": id,
        "supplier": supplier,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "sourceInfo": format!("found in /{}", package.found_in),
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl(package, release),
        }],
    });
    if !package.version.is_empty() {
        described["versionInfo"] = json!(package.version);
    }
    if let Some(source) = &package.source {
        described["sourceInfo"] = json!(format!("found in /{}, built from {source}", package.found_in));
    }
    if let Some(license) = &package.license {
        // The database's words need not be an SPDX expression.
        described["licenseComments"] = json!(format!("declared as: {license}"));
    }
    described
}

/// SPDX writes `Name (address)` where others write `Name <address>`.
fn person(name: &str) -> String {
    name.replace('<', "(").replace('>', ")")
}

fn kind(ecosystem: Ecosystem) -> &'static str {
    match ecosystem {
        Ecosystem::Dpkg => "deb",
        Ecosystem::Apk => "apk",
        Ecosystem::Rpm => "rpm",
        Ecosystem::Go => "go-module",
    }
}

/// Identifiers have letters, digits, `.` and `-` only.
fn identifier(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' }).collect()
}
