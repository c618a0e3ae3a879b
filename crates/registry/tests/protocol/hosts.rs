//! Which host is asked: mirrors, schemes, proxies.

use super::*;

fn dead() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn mirrors_are_asked_first_and_replaced_when_they_fail() {
    let (without, broken, unwilling) = (
        FaultyServer::start(|_, _| Answer::new(404, "")),
        FaultyServer::start(|_, _| Answer::new(500, "")),
        FaultyServer::start(|_, _| Answer::new(401, "").with("www-authenticate", "Basic realm=\"x\"")),
    );
    let server = FaultyServer::start(|_, _| image());
    let mirrors = [dead(), without.address(), broken.address(), unwilling.address()];
    let list = mirrors.map(|mirror| format!("\"{mirror}\"")).join(",");
    let config = format!("[registry.\"{}\"]\nmirrors = [{list}]\n", server.address());
    let fetched = client(&config, Credentials::none()).manifest(&reference(&server, "x")).unwrap();
    assert_eq!(fetched.host, server.address());
    assert_eq!((without.count("/v2/x"), broken.count("/v2/x"), unwilling.count("/v2/x")), (1, 2, 1));
}

#[test]
fn a_mirror_that_answers_is_enough() {
    let mirror = FaultyServer::start(|_, _| image());
    let config = format!("[registry.\"docker.io\"]\nmirrors = [\"{}/hub\"]\n", mirror.address());
    let fetched = client(&config, Credentials::none()).manifest(&Reference::parse("ubuntu").unwrap()).unwrap();
    assert_eq!(fetched.host, mirror.address());
    assert_eq!(mirror.count("/v2/hub/library/ubuntu/manifests/latest"), 1);
}

#[test]
fn what_cannot_be_reached_is_named_with_its_mirrors() {
    let (mirror, registry) = (dead(), dead());
    let config = format!("[registry.\"{registry}\"]\nmirrors = [\"{mirror}\"]\n");
    let reference = Reference::parse(&format!("{registry}/x")).unwrap();
    let error = client(&config, Credentials::none()).resolve(&reference).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot reach registry `{registry}`: Connection refused (os error 111); mirror `{mirror}`: Connection refused (os error 111)"
        )
    );
}

#[test]
fn loopback_without_settings_speaks_whatever_it_speaks() {
    let server = FaultyServer::start(|_, _| image());
    let client = client("", Credentials::none());
    client.manifest(&reference(&server, "x")).unwrap();
    client.manifest(&reference(&server, "x")).unwrap();
    assert_eq!(server.requests().len(), 2, "TLS was tried, but not as a request that it could understand");
}

#[test]
fn elsewhere_tls_is_a_must() {
    let server = FaultyServer::start(|_, _| image());
    let client = client(&format!("[registry.\"{}\"]\nhttp = false\n", server.address()), Credentials::none());
    client.manifest(&reference(&server, "x")).unwrap_err();
    assert!(server.requests().is_empty());
}

#[test]
fn certificates_that_cannot_be_read_are_named() {
    let server = FaultyServer::start(|_, _| image());
    let config = format!("[registry.\"{}\"]\nca = [\"/does/not/exist.pem\"]\n", server.address());
    let error = client(&config, Credentials::none()).manifest(&reference(&server, "x")).unwrap_err();
    assert!(error.to_string().starts_with("cannot use certificates `/does/not/exist.pem`: No such file"), "{error}");
}

#[test]
fn proxies_are_used_but_not_for_loopback() {
    if !is_inner() {
        in_process("hosts::proxies_are_used_but_not_for_loopback", &[("http_proxy", ""), ("HTTP_PROXY", "")]);
        let proxy = FaultyServer::start(|_, _| image());
        let url = format!("http://{}", proxy.address());
        let variables = [("http_proxy", url.as_str()), ("KILN_TEST_PROXIED", "1"), ("no_proxy", "direct.invalid")];
        in_process("hosts::proxies_are_used_but_not_for_loopback", &variables);
        let targets: Vec<_> = proxy.requests().into_iter().map(|request| request.target).collect();
        assert_eq!(targets, ["http://registry.invalid/v2/x/manifests/latest"]);
        return;
    }
    let server = FaultyServer::start(|_, _| image());
    client("", Credentials::none()).manifest(&reference(&server, "x")).unwrap();
    assert_eq!(server.requests()[0].target, "/v2/x/manifests/latest");
    let config = "[registry.\"registry.invalid\"]\nhttp = true\n[registry.\"direct.invalid\"]\nhttp = true\n";
    let client = client(config, Credentials::none());
    let proxied = client.manifest(&Reference::parse("registry.invalid/x").unwrap());
    assert_eq!(proxied.is_ok(), std::env::var_os("KILN_TEST_PROXIED").is_some());
    client.manifest(&Reference::parse("direct.invalid/x").unwrap()).unwrap_err();
}
