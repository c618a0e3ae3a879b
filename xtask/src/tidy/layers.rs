//! The layers of the crates: what may depend on what.
//!
//! The table below is the one of `ARCHITECTURE.md`. A dependency points from a
//! crate to one of a strictly lower row, for normal, build and development
//! dependencies alike. A crate that the table does not name is a finding too,
//! so that nobody adds one without saying where it belongs.

use super::Finding;
use super::tree::{Package, Tree};

struct Layer {
    name: &'static str,
    crates: &'static [&'static str],
}

/// From the lowest to the highest. `digest` lies beneath layer 0: it holds the
/// digest newtypes that all the others speak.
const LAYERS: &[Layer] = &[
    Layer { name: "base", crates: &["digest"] },
    Layer { name: "layer 0", crates: &["dockerfile", "graph"] },
    Layer { name: "layer 1", crates: &["lower", "solver", "layer", "sandbox", "ssh", "registry"] },
    Layer { name: "layer 2", crates: &["store", "sbom"] },
    Layer { name: "layer 3", crates: &["sources", "exporters", "remote"] },
    Layer { name: "layer 4", crates: &["engine"] },
    Layer { name: "layer 5", crates: &["buildkit", "cli"] },
];

const PREFIX: &str = "kiln-";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    tree.packages.iter().filter(|package| package.name.starts_with(PREFIX)).flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Finding> {
    let Some(from) = rank(&package.name) else {
        return vec![Finding::of(
            &package.manifest_path,
            format!("`{}` is in no layer: add it to the table of `tidy/layers.rs`", package.name),
        )];
    };
    let mut findings = Vec::new();
    for dependency in &package.dependencies {
        let message = match rank(&dependency.name) {
            Some(to) if to < from => continue,
            Some(to) => format!(
                "`{}` ({}) must not depend on `{}` ({})",
                package.name, LAYERS[from].name, dependency.name, LAYERS[to].name
            ),
            None if dependency.name == "xtask" => {
                format!("`{}` must not depend on `xtask`", package.name)
            }
            None => continue,
        };
        let kind = dependency.kind.as_deref().map(|kind| format!(", as a {kind} dependency"));
        findings.push(Finding::of(&package.manifest_path, message + &kind.unwrap_or_default()));
    }
    findings
}

/// The row of [`LAYERS`] that holds a package.
fn rank(package: &str) -> Option<usize> {
    let short = package.strip_prefix(PREFIX)?;
    LAYERS.iter().position(|layer| layer.crates.contains(&short))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tree::Dependency;

    fn findings(name: &str, dependencies: &[(&str, Option<&str>)]) -> Vec<String> {
        let package = Package {
            name: name.into(),
            manifest_path: "Cargo.toml".into(),
            dependencies: dependencies
                .iter()
                .map(|(name, kind)| Dependency { name: (*name).into(), kind: kind.map(str::to_owned) })
                .collect(),
        };
        let tree = Tree { files: Vec::new(), packages: vec![package] };
        check(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn lower_layers_and_foreign_crates_are_fine() {
        let dependencies = [("kiln-layer", None), ("kiln-digest", None), ("serde", None)];
        assert!(findings("kiln-store", &dependencies).is_empty());
        assert!(findings("kiln-graph", &[("kiln-digest", None)]).is_empty());
        assert!(findings("xtask", &[("kiln-cli", None)]).is_empty());
    }

    #[test]
    fn an_edge_upwards_or_sideways_is_named() {
        assert_eq!(
            findings("kiln-graph", &[("kiln-engine", None)]),
            ["`kiln-graph` (layer 0) must not depend on `kiln-engine` (layer 4)"]
        );
        assert_eq!(
            findings("kiln-solver", &[("kiln-layer", Some("dev"))]),
            ["`kiln-solver` (layer 1) must not depend on `kiln-layer` (layer 1), \
              as a dev dependency"]
        );
        assert_eq!(findings("kiln-cli", &[("xtask", None)]), ["`kiln-cli` must not depend on `xtask`"]);
    }

    #[test]
    fn a_crate_outside_the_table_is_a_finding() {
        let findings = findings("kiln-utils", &[]);
        assert!(findings[0].contains("`kiln-utils` is in no layer"), "{findings:?}");
    }
}
