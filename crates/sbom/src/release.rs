//! `etc/os-release`: which distribution a root filesystem is of (os-release(5)).

use serde::{Deserialize, Serialize};

/// A distribution.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Release {
    /// `ID`: `debian`.
    pub id: String,
    /// `VERSION_ID`, or else `VERSION_CODENAME`: `13`, `sid`.
    pub version: Option<String>,
    /// `PRETTY_NAME`.
    pub name: Option<String>,
}

impl Release {
    /// Reads the file's text. Without an `ID` it says nothing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            let value = text.lines().rev().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?;
            let value = value.trim().trim_matches(['"', '\'']).replace('\\', "");
            (!value.is_empty()).then_some(value)
        };
        let version = value("VERSION_ID").or_else(|| value("VERSION_CODENAME"));
        Some(Self { id: value("ID")?, version, name: value("PRETTY_NAME") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_be_quoted() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nID=debian\nVERSION_ID='13'\n";
        let release = Release::parse(text).unwrap();
        assert_eq!((release.id.as_str(), release.version.as_deref()), ("debian", Some("13")));
        assert_eq!(release.name.as_deref(), Some("Debian GNU/Linux 13 (trixie)"));
        assert_eq!(Release::parse("VERSION_ID=1"), None);
        assert_eq!(Release::parse("ID=debian\nVERSION_CODENAME=sid").unwrap().version.as_deref(), Some("sid"));
    }
}
