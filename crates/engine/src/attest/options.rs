//! Which attestations are asked for. Plain data.

/// The attestations of a build's images.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttestationOptions {
    /// How the image was made, if that is to be told.
    pub provenance: Option<ProvenanceOptions>,
    /// Whether what is in the image is to be told.
    pub sbom: bool,
}

impl AttestationOptions {
    /// Whether there are any.
    pub fn any(&self) -> bool {
        self.sbom || self.provenance.is_some()
    }

    /// Whether there are any that an output which is no index has to do without, against the user's word.
    pub fn needs_index(&self) -> bool {
        self.sbom || self.provenance.as_ref().is_some_and(|provenance| !provenance.inline_only)
    }
}

/// What a provenance tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProvenanceOptions {
    /// How much.
    pub mode: ProvenanceMode,
    /// Who built it: a URI; empty if nobody is named.
    pub builder_id: String,
    /// Whether the user says that the build can be repeated with the same result.
    pub reproducible: bool,
    /// Whether only images have it, and no directory or archive of files.
    pub inline_only: bool,
}

/// How much a provenance tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProvenanceMode {
    /// Nothing of arguments, secrets and the Dockerfile's text.
    #[default]
    Min,
    /// All of it but the secrets' values.
    Max,
}
