//! Which hosts serve a repository, and how each is to be spoken to.

use crate::config::{Config, HostConfig};
use crate::reference::{DOCKER_HUB, Repository};
use std::net::IpAddr;
use std::path::PathBuf;

/// Where Docker Hub's protocol is served; `docker.io` itself is a web site.
const DOCKER_HUB_ADDRESS: &str = "registry-1.docker.io";

/// One host that may serve a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The registry or mirror as the user writes it: for messages, credentials and settings.
    pub(crate) name: String,
    /// The host and port to connect to.
    pub(crate) address: String,
    /// The repository's path on this host.
    pub(crate) repository: String,
    /// Whether there is another host to ask if this one fails.
    pub(crate) is_mirror: bool,
    /// TLS or not.
    pub(crate) scheme: Scheme,
    /// Whose certificates are trusted.
    pub(crate) trust: Trust,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
    /// Whichever the server turns out to speak, TLS being asked for first.
    Either,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trust {
    /// What the system trusts, and the certificates in these files.
    System(Vec<PathBuf>),
    /// Any certificate whatsoever.
    Anybody,
}

/// The hosts to ask for a repository, in order: mirrors (for pulls only), then the registry itself, which is always there.
pub(crate) fn endpoints(config: &Config, repository: &Repository) -> Vec<Endpoint> {
    let registry = repository.registry();
    let mirrors = config.registry.get(registry).map(|host| host.mirrors.as_slice()).unwrap_or_default();
    let mut endpoints: Vec<_> = mirrors
        .iter()
        .map(|mirror| {
            let repository = match mirror.prefix() {
                Some(prefix) => format!("{prefix}/{}", repository.name()),
                None => repository.name().to_owned(),
            };
            endpoint(config, mirror.host(), repository, true)
        })
        .collect();
    endpoints.push(self::registry(config, registry, repository.name().to_owned()));
    endpoints
}

/// A registry itself, not a mirror of it.
pub(crate) fn registry(config: &Config, name: &str, repository: String) -> Endpoint {
    endpoint(config, name, repository, false)
}

fn endpoint(config: &Config, name: &str, repository: String, is_mirror: bool) -> Endpoint {
    let settings = config.host(name);
    let address = if name == DOCKER_HUB { DOCKER_HUB_ADDRESS } else { name };
    Endpoint {
        name: name.to_owned(),
        address: address.to_owned(),
        repository,
        is_mirror,
        scheme: scheme(name, &settings),
        trust: trust(name, &settings),
    }
}

fn scheme(host: &str, settings: &HostConfig) -> Scheme {
    match settings.http {
        Some(true) => Scheme::Http,
        Some(false) => Scheme::Https,
        None if settings.insecure || is_lax(host, settings) => Scheme::Either,
        None => Scheme::Https,
    }
}

/// Whose certificates are trusted for a host with these settings.
pub(crate) fn trust(host: &str, settings: &HostConfig) -> Trust {
    if settings.insecure || is_lax(host, settings) { Trust::Anybody } else { Trust::System(settings.ca.clone()) }
}

/// What is on this machine needn't prove who it is, unless the user says how it should.
fn is_lax(host: &str, settings: &HostConfig) -> bool {
    is_loopback(host) && settings.http.is_none() && settings.ca.is_empty()
}

/// Whether `HOST[:PORT]` is this machine, by its name alone: `localhost`, 127.0.0.0/8, `::1`.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::Reference;

    #[test]
    fn mirrors_come_first_with_their_own_settings() {
        let config = Config::parse(
            "[registry.\"docker.io\"]\nmirrors = [\"127.0.0.1:5000\", \"harbor.example/proxy\"]\n[registry.\"harbor.example\"]\nca = \
             [\"/x.pem\"]\n",
        )
        .unwrap();
        let reference = Reference::parse("ubuntu").unwrap();
        let found = endpoints(&config, reference.repository());
        let shown: Vec<_> =
            found.iter().map(|e| (e.address.as_str(), e.repository.as_str(), e.is_mirror, e.scheme)).collect();
        assert_eq!(
            shown,
            [
                ("127.0.0.1:5000", "library/ubuntu", true, Scheme::Either),
                ("harbor.example", "proxy/library/ubuntu", true, Scheme::Https),
                ("registry-1.docker.io", "library/ubuntu", false, Scheme::Https),
            ]
        );
        assert_eq!(found[0].trust, Trust::Anybody);
        assert_eq!(found[1].trust, Trust::System(vec!["/x.pem".into()]));
        assert_eq!(found[2].name, "docker.io");
    }

    #[test]
    fn loopback_is_told_by_name() {
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "128.0.0.1", "[::2]:1", "registry", "127.0.0.1.example:80"] {
            assert!(!is_loopback(host), "{host}");
        }
        let settings = HostConfig { ca: vec!["/x".into()], ..HostConfig::default() };
        assert_eq!(scheme("localhost", &settings), Scheme::Https);
        let insecure = HostConfig { insecure: true, ..HostConfig::default() };
        assert_eq!(
            (scheme("test.example", &insecure), trust("test.example", &insecure)),
            (Scheme::Either, Trust::Anybody)
        );
        let settled = HostConfig { http: Some(false), ..insecure };
        assert_eq!(scheme("test.example", &settled), Scheme::Https);
        assert_eq!(trust("localhost", &settings), Trust::System(vec!["/x".into()]));
    }
}
