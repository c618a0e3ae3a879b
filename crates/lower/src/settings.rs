//! What the options and the `BUILDKIT_…` build arguments say together.

use crate::{LowerError, Options};

/// Build arguments that speak to the builder: no Dockerfile has to declare them.
const BUILDER_ARGS: &[&str] = &[
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_INLINE_BUILDINFO_ATTRS",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SBOM_SCAN_CONTEXT",
    "BUILDKIT_SBOM_SCAN_STAGE",
    "BUILDKIT_SYNTAX",
    "SOURCE_DATE_EPOCH",
];

/// Proxy arguments: steps see them undeclared, in both spellings.
const PROXY_ARGS: &[&str] = &["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// What holds for the whole build.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Put before the ids of cache mounts.
    pub(crate) cache_namespace: Option<String>,
    /// The host name that steps see.
    pub(crate) hostname: Option<String>,
    /// Whether progress names platforms.
    pub(crate) multi_platform: bool,
    /// Proxy variables in both spellings, empty ones left out.
    pub(crate) proxies: Vec<(String, String)>,
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// A build argument of the builder's with a value that it cannot have.
    pub(crate) fn new(options: &Options) -> Result<Self, LowerError> {
        let text = |name: &str| options.build_args.get(name).filter(|value| !value.is_empty()).cloned();
        let multi_platform = match text("BUILDKIT_MULTI_PLATFORM") {
            Some(value) => parse_bool(&value).ok_or_else(|| {
                LowerError::new(format!("build argument `BUILDKIT_MULTI_PLATFORM={value}` is not a boolean"), None)
                    .hint("use `true` or `false`")
            })?,
            None => false,
        };
        Ok(Self {
            cache_namespace: text("BUILDKIT_CACHE_MOUNT_NS"),
            hostname: options.hostname.clone().or_else(|| text("BUILDKIT_SANDBOX_HOSTNAME")),
            multi_platform: multi_platform || options.multi_platform,
            proxies: proxies(options),
        })
    }
}

fn proxies(options: &Options) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for name in PROXY_ARGS {
        // Of several spellings the last in alphabetical order counts.
        let given = options.build_args.iter().rev().find(|(arg, _)| arg.eq_ignore_ascii_case(name));
        if let Some((_, value)) = given
            && !value.is_empty()
        {
            found.push((name.to_ascii_uppercase(), value.clone()));
            found.push(((*name).to_owned(), value.clone()));
        }
    }
    found
}

/// Whether a build argument has a meaning without being declared.
pub(crate) fn is_known_undeclared(name: &str) -> bool {
    BUILDER_ARGS.contains(&name) || PROXY_ARGS.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

/// A boolean as Go's `strconv.ParseBool` reads it.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
