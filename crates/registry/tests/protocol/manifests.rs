//! Resolving and fetching manifests: verification, bounds, retries.

use super::*;
use kiln_registry::Manifest;
use std::time::Instant;

fn digest_of_image() -> String {
    Digest::of_bytes(IMAGE.as_bytes()).to_string()
}

#[test]
fn resolving_takes_the_headers_where_they_say_enough() {
    let server = FaultyServer::start(|_, _| image().with("docker-content-digest", digest_of_image()));
    let resolved = plain(&server).resolve(&reference(&server, "x:1")).unwrap();
    assert_eq!(resolved.digest, Digest::of_bytes(IMAGE.as_bytes()));
    assert_eq!(resolved.descriptor.size(), IMAGE.len() as u64);
    assert_eq!(resolved.descriptor.media_type(), &MediaType::ImageManifest);
    assert_eq!(resolved.host, server.address());
    let requests = server.requests();
    assert_eq!((requests.len(), requests[0].method.as_str()), (1, "HEAD"));
    assert_eq!(requests[0].target, "/v2/x/manifests/1");
    assert!(
        requests[0].header("accept").unwrap().contains("application/vnd.docker.distribution.manifest.list.v2+json")
    );
}

#[test]
fn resolving_falls_back_to_fetching() {
    // No digest in the answer; the method unknown; an error without sense.
    for status in [200, 405, 400, 501] {
        let server = FaultyServer::start(move |request, _| match request.method.as_str() {
            "HEAD" if status != 200 => Answer::new(status, ""),
            _ => image(),
        });
        let resolved = plain(&server).resolve(&reference(&server, "x:1")).unwrap();
        assert_eq!(resolved.digest, Digest::of_bytes(IMAGE.as_bytes()), "{status}");
        assert_eq!(server.requests().last().unwrap().method, "GET");
    }
}

#[test]
fn manifests_come_with_their_descriptor() {
    let server = FaultyServer::start(|_, _| image());
    let fetched = plain(&server).manifest(&reference(&server, "a/b:1")).unwrap();
    assert_eq!(fetched.bytes, IMAGE.as_bytes());
    assert_eq!(fetched.digest, Digest::of_bytes(IMAGE.as_bytes()));
    assert_eq!(fetched.descriptor.digest().to_string(), digest_of_image());
    assert!(matches!(fetched.manifest, Manifest::Image(image) if image.layers().is_empty()));
    assert_eq!(server.requests()[0].target, "/v2/a/b/manifests/1");
}

#[test]
fn wrong_digests_are_refused() {
    let other = Digest::of_bytes(b"other");
    // The reference names another one.
    let server = FaultyServer::start(|_, _| image());
    let pinned = reference(&server, &format!("x@{other}"));
    let error = plain(&server).manifest(&pinned).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { expected, .. } if expected == other), "{error}");
    assert_eq!(server.requests()[0].target, format!("/v2/x/manifests/{other}"));
    // The header names another one than the body has, or than was asked for.
    let server = FaultyServer::start(move |_, _| image().with("docker-content-digest", other.to_string()));
    let error = plain(&server).manifest(&reference(&server, "x")).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
    let error = plain(&server).resolve(&reference(&server, &format!("x@{}", digest_of_image()))).unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
}

#[test]
fn endless_and_huge_manifests_are_bounded() {
    let server = FaultyServer::start(|_, _| Answer::endless());
    let error = plain(&server).manifest(&reference(&server, "x")).unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    let server = FaultyServer::start(|_, _| Answer::new(200, vec![b' '; 5 << 20]));
    let error = plain(&server).manifest(&reference(&server, "x")).unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn dripping_manifests_are_given_up() {
    let server = FaultyServer::start(|_, _| image().dripping(Duration::from_millis(50)));
    let config = format!("[registry.\"{}\"]\nhttp = true\n", server.address());
    let policy = Policy { attempts: 2, ..policy() };
    let client = Client::with_policy(Config::parse(&config).unwrap(), Credentials::none(), policy, Arc::default());
    let started = Instant::now();
    let error = client.manifest(&reference(&server, "x")).unwrap_err();
    assert!(error.to_string().contains("too slowly"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn nonsense_is_named() {
    let table = [
        ("<html>", "text/html", "malformed manifest"),
        (r#"{"schemaVersion":1,"fsLayers":[]}"#, "application/json", "schema 1, which is not supported\nhint:"),
        (IMAGE, "application/vnd.oci.image.index.v1+json", "ambiguous manifest"),
    ];
    for (body, content_type, expected) in table {
        let server = FaultyServer::start(move |_, _| Answer::new(200, body).with("content-type", content_type));
        let error = plain(&server).manifest(&reference(&server, "x")).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.starts_with(&format!("`{}/x:latest` from `{}`", server.address(), server.address())), "{error}");
    }
}

#[test]
fn passing_errors_are_retried() {
    for status in [500, 502, 503, 504, 408, 429] {
        let server = FaultyServer::start(move |_, before| if before < 2 { Answer::new(status, "") } else { image() });
        plain(&server).manifest(&reference(&server, "x")).unwrap();
        assert_eq!(server.requests().len(), 3, "{status}");
    }
    let server = FaultyServer::start(|_, before| if before < 2 { image().cut_after(10) } else { image() });
    plain(&server).manifest(&reference(&server, "x")).unwrap();
}

#[test]
fn lasting_errors_are_reported() {
    let server = FaultyServer::start(|_, _| {
        Answer::new(503, r#"{"errors":[{"code":"X","message":"down for \u001b[1mmaintenance"}]}"#)
    });
    let error = plain(&server).manifest(&reference(&server, "x")).unwrap_err();
    let expected = format!("`{0}` answered 503 for `{0}/x:latest`: down for [1mmaintenance", server.address());
    assert_eq!(error.to_string(), expected);
    assert_eq!(server.requests().len(), policy().attempts as usize);
}

#[test]
fn retry_after_is_obeyed() {
    let server = FaultyServer::start(
        |_, before| {
            if before == 0 { Answer::new(429, "").with("retry-after", "1") } else { image() }
        },
    );
    let started = Instant::now();
    plain(&server).manifest(&reference(&server, "x")).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    // Longer than the policy's patience: not asked again.
    let server = FaultyServer::start(|_, _| Answer::new(429, "").with("retry-after", "3600"));
    let error = plain(&server).manifest(&reference(&server, "x")).unwrap_err();
    assert!(matches!(error, RegistryError::RateLimited { retry_after: Some(wait), .. } if wait.as_secs() == 3600));
    assert!(error.to_string().contains("for the next 3600 s\nhint: "), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_missing_tag_names_similar_ones() {
    let server = FaultyServer::start(|request, _| match request.target.as_str() {
        "/v2/x/tags/list?n=1000" => {
            Answer::new(200, r#"{"name":"x","tags":["1.24","1.25","2","latest","\u001b[31m"]}"#)
        }
        _ => Answer::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#),
    });
    let error = plain(&server).resolve(&reference(&server, "x:1.26")).unwrap_err();
    let expected = format!(
        "`{0}/x:1.26` not found at `{0}`\nhint: tags there are `1.24`, `1.25`, `latest`, `2`",
        server.address()
    );
    assert_eq!(error.to_string(), expected);
}
