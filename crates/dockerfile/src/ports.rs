//! The ports of `EXPOSE`, after expansion: `80`, `80/udp`, `8000-8010/tcp`.
//!
//! `[ip:][host:]port` is read too, as BuildKit does: address and host port are checked and dropped (a lint warns of them).

use std::net::IpAddr;

/// A text that is no port.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// Nothing where a port should be.
    #[error("no port in `{0}`")]
    Missing(String),
    /// Not a number from 0 to 65535, or a range of them.
    #[error("`{0}` is not a port or a range of ports")]
    Number(String),
    /// The end of a range before its start.
    #[error("the range `{0}` ends before it begins")]
    Backwards(String),
    /// A protocol other than tcp, udp and sctp.
    #[error("there is no protocol `{0}`; ports are tcp, udp or sctp")]
    Protocol(String),
    /// An address before the port that is none.
    #[error("`{0}` is not an IP address")]
    Address(String),
    /// Two ranges that differ in length.
    #[error("the ranges `{host}` and `{container}` differ in length")]
    Ranges {
        /// The range before the colon.
        host: String,
        /// The range after it.
        container: String,
    },
}

/// What a port's text says beyond the ports themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ports {
    /// `PORT/PROTOCOL`, one for each port of a range, as the image's config holds them.
    pub ports: Vec<String>,
    /// Whether the protocol was written with capitals.
    pub protocol_in_capitals: bool,
    /// Whether an address or a host port was given, which `EXPOSE` has no use for.
    pub has_host: bool,
}

/// Parses one word of `EXPOSE`.
///
/// # Errors
/// When any part of it is not what it should be.
pub fn parse(text: &str) -> Result<Ports, PortError> {
    let (head, container) = text.rsplit_once(':').unwrap_or(("", text));
    let (address, host) = head.rsplit_once(':').unwrap_or(("", head));
    let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
    if port.is_empty() {
        return Err(PortError::Missing(text.to_owned()));
    }
    let lower = protocol.to_lowercase();
    let known = match lower.as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => return Err(PortError::Protocol(protocol.to_owned())),
    };
    check_address(address)?;
    let (start, end) = range(port)?;
    if !host.is_empty() {
        let (host_start, host_end) = range(host)?;
        if host_end - host_start != end - start && start != end {
            return Err(PortError::Ranges { host: host.to_owned(), container: port.to_owned() });
        }
    }
    Ok(Ports {
        ports: (start..=end).map(|port| format!("{port}/{known}")).collect(),
        protocol_in_capitals: protocol != lower,
        has_host: !address.is_empty() || !host.is_empty(),
    })
}

fn check_address(address: &str) -> Result<(), PortError> {
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if bare.is_empty() || bare.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(PortError::Address(address.to_owned()))
}

fn range(text: &str) -> Result<(u16, u16), PortError> {
    let number = |part: &str| {
        if part.bytes().all(|byte| byte.is_ascii_digit()) { part.parse::<u16>().ok() } else { None }
            .ok_or_else(|| PortError::Number(text.to_owned()))
    };
    let Some((start, end)) = text.split_once('-') else {
        return number(text).map(|port| (port, port));
    };
    let (start, end) = (number(start)?, number(end)?);
    if end < start {
        return Err(PortError::Backwards(text.to_owned()));
    }
    Ok((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed() {
        for (text, expected) in [
            ("80", &["80/tcp"][..]),
            ("80/", &["80/tcp"]),
            ("53/udp", &["53/udp"]),
            ("53/UDP", &["53/udp"]),
            ("8000-8002/sctp", &["8000/sctp", "8001/sctp", "8002/sctp"]),
            ("8080:80", &["80/tcp"]),
            ("8000-8009:80", &["80/tcp"]),
            ("127.0.0.1:8080:80/tcp", &["80/tcp"]),
            ("127.0.0.1::80", &["80/tcp"]),
            ("[::1]:8080:80", &["80/tcp"]),
        ] {
            assert_eq!(parse(text).unwrap().ports, expected, "{text}");
        }
        assert!(parse("53/UDP").unwrap().protocol_in_capitals);
        assert!(parse("8080:80").unwrap().has_host);
        assert!(!parse("80").unwrap().has_host);
    }

    #[test]
    fn faults_are_told() {
        let fault = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(fault("/udp"), "no port in `/udp`");
        assert_eq!(fault("http"), "`http` is not a port or a range of ports");
        assert_eq!(fault("65536"), "`65536` is not a port or a range of ports");
        assert_eq!(fault("+80"), "`+80` is not a port or a range of ports");
        assert_eq!(fault("90-80"), "the range `90-80` ends before it begins");
        assert_eq!(fault("80/http"), "there is no protocol `http`; ports are tcp, udp or sctp");
        assert_eq!(fault("localhost:80:80"), "`localhost` is not an IP address");
        assert_eq!(fault("80-81:90-93"), "the ranges `80-81` and `90-93` differ in length");
    }
}
