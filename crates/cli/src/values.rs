//! Values of options: `NAME=VALUE`, networks, platforms, limits, sizes, addresses. Each means what it means to Docker.

use crate::error::UsageError;
use kiln_engine::AutoCacheMode;
use kiln_graph::{HostEntry, Network, Platform, Ulimit};
use kiln_registry::Reference;
use std::collections::BTreeMap;
use std::env;
use std::net::IpAddr;
use std::time::Duration;

/// The limits that `--ulimit` can set (setrlimit(2), in lower case and without the prefix).
const LIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `--network`.
pub(crate) fn network(text: &str) -> Result<Network, UsageError> {
    match text {
        "default" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => {
            Err(UsageError::new(format!("unknown network `{other}`")).hint("expected `default`, `none` or `host`"))
        }
    }
}

/// `--auto-cache`.
pub(crate) fn auto_cache(text: &str) -> Result<AutoCacheMode, UsageError> {
    match text {
        "off" => Ok(AutoCacheMode::Off),
        "safe" => Ok(AutoCacheMode::Safe),
        "all" => Ok(AutoCacheMode::All),
        other => Err(UsageError::new(format!("unknown mode `{other}`")).hint("expected `off`, `safe` or `all`")),
    }
}

/// `--platform`.
pub(crate) fn platform(text: &str) -> Result<Platform, UsageError> {
    text.parse::<Platform>().map_err(|error| split_hint(&error.to_string()))
}

/// `--tag`: a name that can be given to an image. Stays as the user wrote it.
pub(crate) fn tag(text: &str) -> Result<String, UsageError> {
    let reference = Reference::parse(text).map_err(|error| split_hint(&error.to_string()))?;
    match reference.digest() {
        Some(_) => Err(UsageError::new(format!("`{text}` has a digest, which cannot be chosen"))),
        None => Ok(text.to_owned()),
    }
}

/// A name of an image, as a registry has it. Stays as the user wrote it.
pub(crate) fn reference(text: &str) -> Result<String, UsageError> {
    Reference::parse(text).map_err(|error| split_hint(&error.to_string()))?;
    Ok(text.to_owned())
}

/// `--build-arg` and `--env`, of which `option` is the one given: pairs in order of the command line. A name alone takes the value of
/// kiln's own environment, and is left out where that has none.
pub(crate) fn environment(option: &str, texts: &[String]) -> Result<Vec<(String, String)>, UsageError> {
    let mut pairs = Vec::new();
    for text in texts {
        match pair(option, text)? {
            (name, Some(value)) => pairs.push((name, value)),
            (name, None) => match env::var(&name) {
                Ok(value) => pairs.push((name, value)),
                Err(env::VarError::NotPresent) => {}
                Err(env::VarError::NotUnicode(_)) => {
                    return Err(UsageError::new(format!("the environment variable `{name}` is not UTF-8")));
                }
            },
        }
    }
    Ok(pairs)
}

/// `--label`: a name alone has an empty value.
pub(crate) fn labels(texts: &[String]) -> Result<BTreeMap<String, String>, UsageError> {
    texts.iter().map(|text| pair("--label", text).map(|(name, value)| (name, value.unwrap_or_default()))).collect()
}

fn pair(option: &str, text: &str) -> Result<(String, Option<String>), UsageError> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() {
        return Err(UsageError::new(format!("`{option}`: `{text}` has no name")).hint("expected `NAME=VALUE`"));
    }
    Ok((name.to_owned(), value))
}

/// `--add-host`: `HOST:IP` or `HOST=IP`, an IPv6 address perhaps in brackets.
pub(crate) fn host(text: &str) -> Result<HostEntry, UsageError> {
    let error = |what: &str| UsageError::new(format!("{what} in `{text}`")).hint("expected `HOST:IP` or `HOST=IP`");
    let (host, ip) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(|| error("no address"))?;
    if ip == "host-gateway" {
        return Err(UsageError::unsupported("`host-gateway` is not supported").hint("give the address itself"));
    }
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
        return Err(error("bad host name"));
    }
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    let ip: IpAddr = bare.parse().map_err(|_| error("bad address"))?;
    Ok(HostEntry { host: host.to_owned(), ip: ip.to_string() })
}

/// `--ulimit`: `NAME=SOFT[:HARD]`; -1 is no limit.
pub(crate) fn ulimit(text: &str) -> Result<Ulimit, UsageError> {
    let error = |what: String| UsageError::new(what).hint("for example `nofile=1024:2048`");
    let (name, limits) = text.split_once('=').ok_or_else(|| error(format!("no value in `{text}`")))?;
    if !LIMITS.contains(&name) {
        return Err(
            UsageError::new(format!("unknown limit `{name}`")).hint(format!("expected one of {}", LIMITS.join(", ")))
        );
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text.parse::<i64>() {
        Ok(value) if value >= -1 => Ok(value),
        _ => Err(error(format!("bad limit `{text}`"))),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(error(format!("the soft limit {soft} is above the hard limit {hard}")));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// A size in bytes, perhaps with a binary unit: `b`, `k`, `m`, `g`, `t`, `p`, each also as `kb` or `kib`.
pub(crate) fn size(text: &str) -> Result<u64, UsageError> {
    let error = || UsageError::new(format!("bad size `{text}`")).hint("for example `64m` or `1g`");
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit.trim_start().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(error()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(error);
    }
    let fraction: f64 = number.parse().map_err(|_| error())?;
    let bytes = fraction * (1_u64 << shift) as f64;
    if !bytes.is_finite() || bytes >= 9e18 {
        return Err(error());
    }
    let bytes = bytes as u64;
    Ok(bytes)
}

/// A duration as Go writes it: numbers with `h`, `m` and `s`, the larger units first (`24h`, `1h30m`).
pub(crate) fn duration(text: &str) -> Result<Duration, UsageError> {
    let error = || UsageError::new(format!("bad duration `{text}`")).hint("for example `24h` or `1h30m`");
    let (mut seconds, mut rest) = (0_u64, text);
    for (unit, length) in [('h', 3600), ('m', 60), ('s', 1)] {
        if let Some((number, after)) = rest.split_once(unit) {
            let number: u64 = number.parse().map_err(|_| error())?;
            seconds = number.checked_mul(length).and_then(|more| seconds.checked_add(more)).ok_or_else(error)?;
            rest = after;
        }
    }
    if text.is_empty() || !rest.is_empty() { Err(error()) } else { Ok(Duration::from_secs(seconds)) }
}

/// A message of another crate, whose hint stands on a line of its own.
pub(crate) fn split_hint(message: &str) -> UsageError {
    match message.split_once("\nhint: ") {
        Some((message, hint)) => UsageError::new(message).hint(hint),
        None => UsageError::new(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (text, host_name, ip) in [
            ("db:10.0.0.1", "db", "10.0.0.1"),
            ("db=10.0.0.1", "db", "10.0.0.1"),
            ("db:::1", "db", "::1"),
            ("db:[2001:db8::1]", "db", "2001:db8::1"),
            ("db=[::1]", "db", "::1"),
        ] {
            let entry = host(text).unwrap();
            assert_eq!((entry.host.as_str(), entry.ip.as_str()), (host_name, ip), "{text}");
        }
        for bad in ["", "db", "db:", ":1.2.3.4", "db:1.2.3", "d b:1.2.3.4", "db:host"] {
            assert!(!host(bad).unwrap_err().unsupported, "{bad}");
        }
        assert!(host("db:host-gateway").unwrap_err().unsupported);
    }

    #[test]
    fn ulimits() {
        for (text, soft, hard) in
            [("nofile=1024", 1024, 1024), ("nofile=1024:2048", 1024, 2048), ("core=-1", -1, -1), ("core=0:-1", 0, -1)]
        {
            assert_eq!(
                ulimit(text).unwrap(),
                Ulimit { name: text.split('=').next().unwrap().into(), soft, hard },
                "{text}"
            );
        }
        for bad in
            ["nofile", "nofile=", "nofile=a", "nofile=2:1", "nofile=-1:5", "nofile=-2", "files=1", "nofile=1:2:3"]
        {
            assert!(ulimit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("12", 12),
            ("12b", 12),
            ("64k", 65_536),
            ("64KB", 65_536),
            ("64KiB", 65_536),
            ("1.5m", 1_572_864),
            ("2g", 2_147_483_648),
            ("64 m", 67_108_864),
        ] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for bad in ["", "m", "-1", "1x", "1.2.3m", "99999999999999999999", "99999999999p", "1mm"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        for (text, seconds) in [("24h", 86_400), ("1h30m", 5_400), ("90s", 90), ("1h1m1s", 3_661), ("0s", 0)] {
            assert_eq!(duration(text).unwrap().as_secs(), seconds, "{text}");
        }
        for bad in ["", "24", "h", "1d", "30m1h", "1.5h", "-1h", "99999999999999999999h", "9999999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pairs_and_names() {
        let label = |text: &str| labels(&[text.to_owned()]);
        assert_eq!(label("a=b=c").unwrap()["a"], "b=c");
        assert_eq!(label("a").unwrap()["a"], "");
        assert!(label("=b").is_err());
        assert!(environment("--build-arg", &["KILN_SURELY_NOT_SET".into()]).unwrap().is_empty());
        assert_eq!(
            environment("--build-arg", &["HOME".into()]).unwrap().len(),
            usize::from(env::var_os("HOME").is_some())
        );
        assert_eq!(environment("--build-arg", &["a=".into()]).unwrap(), [("a".into(), String::new())]);
        assert!(tag("app:1").is_ok());
        for bad in ["App", "", "a b", &format!("app@sha256:{}", "0".repeat(64))] {
            assert!(tag(bad).is_err(), "{bad}");
        }
        assert!(platform("linux/amd64").is_ok());
        assert!(platform("linux/").unwrap_err().hint.is_some());
        assert!(network("bridge").is_err());
    }
}
