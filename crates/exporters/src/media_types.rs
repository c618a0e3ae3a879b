//! The media types of an image's documents and layers: OCI's, or those that Docker used before (image manifest version 2, schema 2).

/// Whose media types an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MediaTypes {
    /// OCI's.
    #[default]
    Oci,
    /// Docker's.
    Docker,
}

/// The types of layers, OCI's and Docker's.
const LAYERS: [[&str; 2]; 3] = [
    ["application/vnd.oci.image.layer.v1.tar", "application/vnd.docker.image.rootfs.diff.tar"],
    ["application/vnd.oci.image.layer.v1.tar+gzip", "application/vnd.docker.image.rootfs.diff.tar.gzip"],
    ["application/vnd.oci.image.layer.v1.tar+zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd"],
];

impl MediaTypes {
    fn of(self, types: [&str; 2]) -> &str {
        types[usize::from(self == Self::Docker)]
    }

    /// That of an index.
    pub fn index(self) -> &'static str {
        self.of([
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
        ])
    }

    /// That of a manifest.
    pub fn manifest(self) -> &'static str {
        self.of(["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"])
    }

    /// That of a config.
    pub fn config(self) -> &'static str {
        self.of(["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"])
    }

    /// That of a layer which has `media_type` now.
    pub fn layer(self, media_type: &str) -> &str {
        LAYERS.into_iter().find(|types| types.contains(&media_type)).map_or(media_type, |types| self.of(types))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_translated_both_ways() {
        for [oci, docker] in LAYERS {
            for media_type in [oci, docker] {
                assert_eq!(MediaTypes::Oci.layer(media_type), oci);
                assert_eq!(MediaTypes::Docker.layer(media_type), docker);
            }
        }
        assert_eq!(MediaTypes::Docker.layer("application/x"), "application/x");
    }
}
