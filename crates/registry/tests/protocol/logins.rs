//! Logging in: basic authentication, tokens, and where credentials must not go.

use super::*;
use crate::support::docker_registry::{DockerRegistry, LOGIN, Setup};
use crate::support::layout::noise;
use kiln_registry::Credential;
use std::sync::atomic::{AtomicUsize, Ordering};

/// base64 of `user:geheim`.
const BASIC: &str = "Basic dXNlcjpnZWhlaW0=";

fn password() -> Credential {
    Credential::Password { username: "user".to_owned(), password: "geheim".to_owned() }
}

fn with_password(server: &FaultyServer) -> Client {
    client_for(&[server], Credentials::fixed([(server.address(), password())]))
}

/// A registry that wants the bearer token `current`, and a token service beside it that says `expires_in`.
fn token_registry(expires_in: u64) -> FaultyServer {
    let issued = AtomicUsize::new(0);
    let address = Arc::new(std::sync::OnceLock::<String>::new());
    let known = address.clone();
    let server = FaultyServer::start(move |request, _| {
        if request.target.starts_with("/token") {
            if request.header("authorization").is_some_and(|value| value != BASIC) {
                return Answer::new(401, r#"{"details":"incorrect username or password"}"#);
            }
            let token = format!("T{}", issued.fetch_add(1, Ordering::SeqCst) + 1);
            return Answer::new(200, format!(r#"{{"token":"{token}","expires_in":{expires_in}}}"#));
        }
        let current = format!("Bearer T{}", issued.load(Ordering::SeqCst));
        if request.header("authorization") == Some(&current) {
            return if request.target.contains("/blobs/") { Answer::new(200, noise(1, 1000)) } else { image() };
        }
        let realm = format!("http://{}/token", known.get().expect("set before the first request"));
        let challenge = format!("Bearer realm=\"{realm}\",service=\"the service\",scope=\"repository:a/b:pull\"");
        Answer::new(401, "").with("www-authenticate", challenge)
    });
    address.set(server.address()).unwrap();
    server
}

#[test]
fn basic_authentication_follows_its_challenge() {
    let server = FaultyServer::start(|request, _| match request.header("authorization") {
        Some(BASIC) => image(),
        _ => Answer::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
    });
    let client = with_password(&server);
    client.manifest(&reference(&server, "x")).unwrap();
    client.manifest(&reference(&server, "y")).unwrap();
    let sent: Vec<_> = server.requests().iter().map(|request| request.header("authorization").is_some()).collect();
    assert_eq!(sent, [false, true, true], "once known, credentials are sent at once");

    let error = plain(&server).manifest(&reference(&server, "x")).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { logged_in: false, .. }));
    let hint = format!("\nhint: if it exists, it needs `kiln login {}`", server.address());
    assert!(error.to_string().ends_with(&hint), "{error}");
}

#[test]
fn wrong_credentials_are_not_repeated() {
    let server = FaultyServer::start(|_, _| Answer::new(401, "").with("www-authenticate", "Basic realm=\"x\""));
    let error = with_password(&server).manifest(&reference(&server, "x")).unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { logged_in: true, .. }));
    assert_eq!(server.requests().len(), 2);
    assert!(!format!("{error} {error:?}").contains("geheim"));
}

#[test]
fn tokens_are_fetched_once_and_used_for_all() {
    let server = token_registry(300);
    let client = with_password(&server);
    client.manifest(&reference(&server, "a/b")).unwrap();
    client.manifest(&reference(&server, "a/b:2")).unwrap();
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let (client, reference) = (client.clone(), reference(&server, "a/b"));
            std::thread::spawn(move || {
                let mut reader = client.blob(reference.repository(), &descriptor(&noise(1, 1000))).unwrap();
                std::io::copy(&mut reader, &mut std::io::sink()).unwrap()
            })
        })
        .collect();
    readers.into_iter().for_each(|reader| assert_eq!(reader.join().unwrap(), 1000));
    assert_eq!(server.count("/token"), 1);
    let token = server.requests().into_iter().find(|request| request.target.starts_with("/token")).unwrap();
    assert_eq!(token.target, "/token?service=the+service&scope=repository%3Aa%2Fb%3Apull");
    assert_eq!(token.header("authorization"), Some(BASIC));
    assert_eq!(server.count("/v2/"), 1 + 2 + 8, "one challenge, and none afterwards");
}

#[test]
fn another_repository_needs_another_token() {
    let server = token_registry(300);
    let client = plain(&server);
    client.manifest(&reference(&server, "a/b")).unwrap();
    client.manifest(&reference(&server, "c")).unwrap();
    let scopes: Vec<_> = server.requests().into_iter().filter(|request| request.target.starts_with("/token")).collect();
    assert_eq!(scopes.len(), 2);
    assert!(scopes[1].target.contains("repository%3Ac%3Apull"), "{}", scopes[1].target);
    assert!(scopes.iter().all(|request| request.header("authorization").is_none()), "nobody logged in");
}

#[test]
fn expired_tokens_are_replaced() {
    // By the clock.
    let server = token_registry(0);
    let client = plain(&server);
    for _ in 0..3 {
        client.manifest(&reference(&server, "a/b")).unwrap();
    }
    assert_eq!(server.count("/token"), 3);
    // Earlier than promised: when the registry refuses it.
    let server = token_registry(300);
    let client = plain(&server);
    client.manifest(&reference(&server, "a/b")).unwrap();
    client.manifest(&reference(&server, "other")).unwrap();
    client.manifest(&reference(&server, "a/b")).unwrap();
    assert_eq!(server.count("/token"), 3);
}

#[test]
fn refused_tokens_and_refusing_services_are_errors() {
    let server = FaultyServer::start(|request, _| match &request.target[..4] {
        "/tok" => Answer::new(200, r#"{"token":"useless"}"#),
        _ => {
            let realm = format!("Bearer realm=\"http://{}/tok\"", request.header("host").unwrap());
            let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#;
            Answer::new(401, body).with("www-authenticate", realm)
        }
    });
    let error = plain(&server).manifest(&reference(&server, "x")).unwrap_err();
    assert!(matches!(&error, RegistryError::Unauthorized { message, .. } if message == "authentication required"));
    assert_eq!(server.requests().len(), 3);

    let answers = [(401, "{}", "unauthorized"), (200, "{}", "no token"), (503, "", "503"), (200, "<p>", "protocol")];
    for (status, body, expected) in answers {
        let server = FaultyServer::start(move |request, _| match &request.target[..4] {
            "/tok" => Answer::new(status, body),
            _ => {
                let realm = format!("Bearer realm=\"http://{}/tok?secret=1\"", request.header("host").unwrap());
                Answer::new(401, "").with("www-authenticate", realm)
            }
        });
        let error = with_password(&server).manifest(&reference(&server, "x")).unwrap_err();
        assert!(matches!(error, RegistryError::Token { .. }), "{error}");
        assert!(error.to_string().contains(expected) && !error.to_string().contains("secret"), "{error}");
        assert_eq!(server.count("/v2/"), 1, "no request goes on without the token");
    }
}

#[test]
fn identity_tokens_are_exchanged_by_post() {
    let server = FaultyServer::start(|request, _| match (request.method.as_str(), request.header("authorization")) {
        ("POST", None) => Answer::new(200, r#"{"access_token":"A"}"#),
        (_, Some("Bearer A")) => image(),
        _ => {
            let realm = format!("Bearer realm=\"http://{}/oauth\",service=\"s\"", request.header("host").unwrap());
            Answer::new(401, "").with("www-authenticate", realm)
        }
    });
    let credential = Credential::IdentityToken("re/fresh".to_owned());
    let client = client_for(&[&server], Credentials::fixed([(server.address(), credential)]));
    client.manifest(&reference(&server, "x")).unwrap();
    let post = server.requests().into_iter().find(|request| request.method == "POST").unwrap();
    assert_eq!(post.target, "/oauth", "what is secret belongs into the body");
    assert_eq!(
        String::from_utf8_lossy(&post.body),
        "grant_type=refresh_token&refresh_token=re%2Ffresh&client_id=kiln&scope=repository%3Ax%3Apull&service=s"
    );
}

#[test]
fn redirects_carry_no_credentials_to_other_hosts() {
    let bytes = noise(2, 300_000);
    let served = bytes.clone();
    let storage = FaultyServer::start(move |request, before| {
        let answer = ranged(request, &served);
        if before == 0 { answer.cut_after(100_000) } else { answer }
    });
    let target = format!("http://u:p@{}/stored?signature=abc", storage.address());
    let server = FaultyServer::start(move |request, _| match request.header("authorization") {
        Some(BASIC) => Answer::new(307, "").with("location", target.clone()),
        _ => Answer::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
    });
    assert_eq!(pull(&with_password(&server), &server, &bytes).unwrap(), bytes);
    let requests = storage.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.header("authorization").is_none()));
    assert!(requests[1].range_start().is_some(), "ranges are kept");
    assert_eq!(server.requests().len(), 3, "each resumption asks the registry for a new address");
}

#[test]
fn redirects_within_a_host_keep_credentials_and_are_counted() {
    let server = FaultyServer::start(|request, _| match (request.header("authorization"), request.target.as_str()) {
        (Some(BASIC), "/moved") => image(),
        (Some(BASIC), "/v2/x/manifests/latest") => Answer::new(302, "").with("location", "/moved"),
        (Some(BASIC), _) => Answer::new(302, "").with("location", "loop"),
        _ => Answer::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
    });
    let client = with_password(&server);
    client.manifest(&reference(&server, "x")).unwrap();
    let error = client.manifest(&reference(&server, "y")).unwrap_err();
    assert!(error.to_string().contains("more than 10 redirects"), "{error}");
    for location in ["file:///etc/passwd", "", "http://"] {
        let server = FaultyServer::start(move |_, _| Answer::new(302, "").with("location", location));
        plain(&server).manifest(&reference(&server, "x")).unwrap_err();
    }
}

#[test]
fn errors_behind_a_redirect_show_no_signature() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = FaultyServer::start(move |_, _| {
        Answer::new(307, "").with("location", format!("http://{gone}/stored?signature=abc"))
    });
    let error = pull(&plain(&server), &server, b"x").unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains(&format!("redirected to `http://{gone}/stored?…`")), "{text}");
    assert!(!text.contains("signature"), "{text}");
}

#[test]
fn unreachable_token_services_are_named() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = FaultyServer::start(move |_, _| {
        Answer::new(401, "").with("www-authenticate", format!("Bearer realm=\"http://{gone}/token\""))
    });
    let error = plain(&server).manifest(&reference(&server, "x")).unwrap_err().to_string();
    let expected = format!(
        "no access token for `{}/x:latest` from `http://{gone}/token`: Connection refused (os error 111)",
        server.address()
    );
    assert_eq!(error, expected);
}

#[test]
fn credential_helpers_are_asked_once() {
    if is_inner() {
        let server = FaultyServer::start(|request, _| match request.header("authorization") {
            Some(BASIC) => image(),
            _ => Answer::new(401, "").with("www-authenticate", "Basic realm=\"x\""),
        });
        let client = client_for(&[&server], Credentials::docker());
        client.manifest(&reference(&server, "x")).unwrap();
        client.manifest(&reference(&server, "y")).unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("config.json", r#"{"credsStore":"kilntest"}"#);
    write(
        "docker-credential-kilntest",
        "#!/bin/sh\n[ \"$1\" = get ] || exit 1\ncat >> \"$DOCKER_CONFIG/asked\"\necho >> \"$DOCKER_CONFIG/asked\"\n\
         echo '{\"ServerURL\":\"x\",\"Username\":\"user\",\"Secret\":\"geheim\"}'\n",
    );
    let helper = directory.path().join("docker-credential-kilntest");
    std::fs::set_permissions(helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let variables = [("PATH", path.as_str()), ("DOCKER_CONFIG", directory.path().to_str().unwrap())];
    in_process("logins::credential_helpers_are_asked_once", &variables);
    let asked = std::fs::read_to_string(directory.path().join("asked")).unwrap();
    assert_eq!(asked.lines().count(), 1, "{asked}");
    assert!(asked.starts_with("127.0.0.1:"), "{asked}");
}

#[test]
fn logging_in_is_tried_before_it_is_stored() {
    let Some(registry) = DockerRegistry::start(Setup { login: true, ..Setup::default() }) else { return };
    let (username, password) = LOGIN.split_once(':').unwrap();
    let log_in = |password: &str| {
        let credential = Credential::Password { username: username.to_owned(), password: password.to_owned() };
        let credentials = Credentials::fixed([(registry.address().to_owned(), credential)]);
        client("", credentials).log_in(registry.address())
    };
    log_in(password).unwrap();
    let error = log_in("wrong").unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { logged_in: true, .. }), "{error}");
}
