//! Platforms, written `os/architecture[/variant]`, in the normal form of the OCI image specification's `platform` object.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An operating system, an architecture and perhaps a variant of it, in normal form (`linux/arm64`, `linux/arm/v7`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`, `windows`, …
    pub os: String,
    /// Go's name of the architecture: `amd64`, `arm64`, `arm`, …
    pub architecture: String,
    /// `v7` and the like; absent where it says nothing.
    pub variant: Option<String>,
}

/// A text that is not a platform.
#[derive(Debug, thiserror::Error)]
#[error("bad platform `{0}`: expected `os/architecture[/variant]`\nhint: for example `linux/amd64` or `linux/arm/v7`")]
pub struct ParsePlatformError(String);

/// Architectures by the names that people give them.
const ARCHITECTURES: [&str; 25] = [
    "386",
    "amd64",
    "arm",
    "arm64",
    "armbe",
    "armel",
    "armhf",
    "aarch64",
    "i386",
    "i486",
    "i586",
    "i686",
    "loong64",
    "mips",
    "mips64",
    "mips64le",
    "mipsle",
    "ppc64",
    "ppc64le",
    "powerpc64le",
    "riscv64",
    "s390x",
    "x86",
    "x86-64",
    "x86_64",
];

impl Platform {
    /// The platform of this machine, always Linux.
    pub fn host() -> Self {
        Self::normal("linux", std::env::consts::ARCH, None)
    }

    fn normal(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let os = match os {
            "macos" => "darwin",
            other => other,
        };
        let (architecture, variant) = match (architecture, variant) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
            ("i386" | "i486" | "i586" | "i686" | "x86" | "386", _) => ("386", None),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", None),
            ("aarch64" | "arm64", variant) => ("arm64", variant),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            ("powerpc64le", variant) => ("ppc64le", variant),
            other => other,
        };
        Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }

    /// The platforms whose programs run where this one's do, the best first: itself, older variants, and the 32-bit architecture
    /// that the processor has too. An image for any of them serves who asks for this one, as with containerd.
    pub fn compatible(&self) -> Vec<Self> {
        let mut found = vec![self.clone()];
        let mut add = |architecture: &str, variant: Option<String>| {
            found.push(Self { os: self.os.clone(), architecture: architecture.to_owned(), variant });
        };
        let number = |variant: &Option<String>| variant.as_ref()?.strip_prefix('v')?.parse::<u8>().ok();
        match self.architecture.as_str() {
            "amd64" => {
                for older in (1..number(&self.variant).unwrap_or(1)).rev() {
                    add("amd64", (older > 1).then(|| format!("v{older}")));
                }
                add("386", None);
            }
            "arm" => {
                (5..number(&self.variant).unwrap_or(7)).rev().for_each(|older| add("arm", Some(format!("v{older}"))))
            }
            "arm64" => {
                if self.variant.is_some() {
                    add("arm64", None);
                }
                (5..=8).rev().for_each(|older| add("arm", Some(format!("v{older}"))));
            }
            _ => {}
        }
        found
    }

    /// Normal form of the parts as an image's config or an index spells them.
    pub fn from_parts(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        Self::normal(&os.to_ascii_lowercase(), &architecture.to_ascii_lowercase(), variant.filter(|v| !v.is_empty()))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParsePlatformError(text.to_owned());
        let lower = text.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('/').collect();
        let valid =
            |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !parts.iter().all(valid) {
            return Err(error());
        }
        match parts[..] {
            ["local"] => Ok(Self::host()),
            ["linux" | "windows" | "darwin" | "freebsd"] => {
                let host = Self::host();
                Ok(Self::from_parts(parts[0], &host.architecture, host.variant.as_deref()))
            }
            // One word is an architecture, if it is one: anything else is a mistake more often than a new machine.
            [architecture] if ARCHITECTURES.contains(&architecture) => {
                Ok(Self::from_parts("linux", architecture, None))
            }
            [os, architecture] => Ok(Self::from_parts(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::from_parts(os, architecture, Some(variant))),
            _ => Err(error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_normalized() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armhf", "linux/arm/v7"),
            ("Linux/AMD64", "linux/amd64"),
            ("aarch64", "linux/arm64"),
            ("linux/amd64/v2", "linux/amd64/v2"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal, "{text}");
        }
        for (text, others) in [
            ("linux/amd64", "linux/386"),
            ("linux/amd64/v3", "linux/amd64/v2 linux/amd64 linux/386"),
            ("linux/arm/v7", "linux/arm/v6 linux/arm/v5"),
            ("linux/arm/v5", ""),
            ("linux/arm64", "linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"),
            ("linux/s390x", ""),
        ] {
            let platform: Platform = text.parse().unwrap();
            let compatible: Vec<String> = platform.compatible().iter().map(ToString::to_string).collect();
            assert_eq!(compatible.join(" "), format!("{text} {others}").trim_end());
        }
        for bad in ["", "foo", "linux/", "linux//v7", "a/b/c/d", "linux/am d64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
