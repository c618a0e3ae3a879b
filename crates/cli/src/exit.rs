//! Exit statuses. All of them are here, and `docs/exit-status.md` tells users the same; a test holds the two together.

use kiln_engine::ErrorKind;
use std::process::ExitCode;

/// How a kiln process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ExitStatus(pub(crate) u8);

impl ExitStatus {
    /// All went well.
    pub(crate) const SUCCESS: Self = Self(0);
    /// The build failed: a step failed, or the Dockerfile or something that it names is wrong.
    pub(crate) const FAILED: Self = Self(1);
    /// The command line or the configuration file is wrong; nothing was done.
    pub(crate) const USAGE: Self = Self(2);
    /// A registry or another server could not be reached, or refused.
    pub(crate) const NETWORK: Self = Self(3);
    /// Something that kiln, or this machine, cannot do.
    pub(crate) const UNSUPPORTED: Self = Self(4);
    /// A full disk, a damaged store, or a mistake in kiln.
    pub(crate) const INTERNAL: Self = Self(5);
    /// `kiln run` itself failed; any lower number is the program's own.
    pub(crate) const RUN_FAILED: Self = Self(125);
    /// Cancelled by SIGINT (Ctrl-C).
    pub(crate) const INTERRUPTED: Self = Self(130);
    /// Whoever read standard output closed it (as SIGPIPE would end other programs).
    pub(crate) const OUTPUT_CLOSED: Self = Self(141);
    /// Cancelled by SIGTERM.
    pub(crate) const TERMINATED: Self = Self(143);
}

impl From<ErrorKind> for ExitStatus {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::User | ErrorKind::BuildFailed => Self::FAILED,
            ErrorKind::Network => Self::NETWORK,
            ErrorKind::Unsupported => Self::UNSUPPORTED,
            ErrorKind::Internal => Self::INTERNAL,
            ErrorKind::Cancelled => Self::INTERRUPTED,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.0)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_documents_every_status() {
        let page = include_str!("../../../docs/exit-status.md");
        let source = include_str!("exit.rs");
        let mut statuses = 0;
        for line in source.lines().filter(|line| line.trim_start().starts_with("pub(crate) const ")) {
            let number = line.rsplit('(').next().unwrap().trim_end_matches(");");
            assert!(page.contains(&format!("| {number} |")), "docs/exit-status.md lacks {number}");
            statuses += 1;
        }
        assert_eq!(statuses, 10);
        assert_eq!(
            page.lines().filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit()).count(),
            10
        );
    }
}
