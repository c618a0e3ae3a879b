//! References held against tables, and against `oci-spec`'s parser.

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parts(text: &str) -> (String, String, Option<String>, bool) {
    let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let repository = reference.repository();
    (
        repository.registry().to_owned(),
        repository.name().to_owned(),
        reference.tag().map(str::to_owned),
        reference.digest().is_some(),
    )
}

#[test]
fn docker_conventions_are_applied() {
    let digest = format!("sha256:{HEX}");
    let table = [
        ("ubuntu", "docker.io", "library/ubuntu", Some("latest"), false),
        ("ubuntu:24.04", "docker.io", "library/ubuntu", Some("24.04"), false),
        ("moby/buildkit", "docker.io", "moby/buildkit", Some("latest"), false),
        ("index.docker.io/x", "docker.io", "library/x", Some("latest"), false),
        ("docker.io/library/x:Y", "docker.io", "library/x", Some("Y"), false),
        ("localhost/x", "localhost", "x", Some("latest"), false),
        ("localhost:5000", "docker.io", "library/localhost", Some("5000"), false),
        ("localhost:5000/x", "localhost:5000", "x", Some("latest"), false),
        ("127.0.0.1:5000/a/b__c:1", "127.0.0.1:5000", "a/b__c", Some("1"), false),
        ("[::1]:5000/x", "[::1]:5000", "x", Some("latest"), false),
        ("Host/x", "Host", "x", Some("latest"), false),
        ("ghcr.io/a/b/c/d--e.f_g", "ghcr.io", "a/b/c/d--e.f_g", Some("latest"), false),
        (&format!("x@{digest}"), "docker.io", "library/x", None, true),
        (&format!("h:1/x:t@{digest}"), "h:1", "x", Some("t"), true),
    ];
    for (text, registry, name, tag, digest) in table {
        let expected = (registry.to_owned(), name.to_owned(), tag.map(str::to_owned), digest);
        assert_eq!(parts(text), expected, "{text}");
    }
}

#[test]
fn displays_in_full_and_familiar_and_round_trips() {
    let table = [
        ("ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
        ("a/b:c", "docker.io/a/b:c", "a/b:c"),
        ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        // Without the registry, these would be names of other ones.
        ("docker.io/a.b/c:1", "docker.io/a.b/c:1", "docker.io/a.b/c:1"),
        ("docker.io/localhost/c", "docker.io/localhost/c:latest", "docker.io/localhost/c:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest"),
    ];
    let id = "b0".repeat(32);
    let full = format!("docker.io/library/{id}:latest");
    assert_eq!(Reference::parse(&format!("index.docker.io/{id}")).unwrap().familiar(), full);
    assert_eq!(Reference::parse(&full).unwrap().to_string(), full);
    for (text, full, familiar) in table {
        let reference = Reference::parse(text).unwrap();
        assert_eq!(reference.to_string(), full);
        assert_eq!(reference.familiar(), familiar);
        assert_eq!(Reference::parse(full).unwrap(), reference);
        assert_eq!(Reference::parse(familiar).unwrap(), reference);
        let json = serde_json::to_string(&reference).unwrap();
        assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), reference);
    }
}

#[test]
fn refuses_with_reason_and_hint() {
    let long = "a".repeat(256);
    let table: [(&str, &str); 19] = [
        ("", "bad reference ``: there is no name"),
        (":tag", "bad reference `:tag`: there is no name"),
        (" ubuntu", "bad reference ` ubuntu`: there is white space in it\nhint: did you mean `ubuntu`?"),
        ("Ubuntu:24.04", "the repository's name must be lower case\nhint: did you mean `ubuntu:24.04`?"),
        ("ghcr.io/Me/X:Tag", "must be lower case\nhint: did you mean `ghcr.io/me/x:Tag`?"),
        ("https://ghcr.io/a/b/", "it starts like a URL\nhint: did you mean `ghcr.io/a/b`?"),
        ("ubuntu:", "the tag is empty\nhint: did you mean `ubuntu`?"),
        ("ubuntu:-x", "`-x` is not a tag\nhint: a tag is"),
        ("ubuntu:ä", "`ä` is not a tag"),
        ("a//b", "a component of the name is empty"),
        ("a/b/", "a component of the name is empty"),
        ("localhost:5000/", "there is no name"),
        ("a..b", "`a..b` cannot be part of a repository's name"),
        ("-a", "`-a` cannot be part"),
        ("$BASE", "`$BASE` cannot be part"),
        ("my_host:5000/x", "`my_host:5000` is not a registry's host name"),
        ("host:99999/x", "`host:99999` is not a registry's host name"),
        ("x@sha512:00", "digest `sha512:00` uses an algorithm that kiln cannot verify\nhint: a digest is"),
        (&long, "longer than 255 characters"),
    ];
    for (text, message) in table {
        let error = Reference::parse(text).unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
    assert_eq!(Reference::parse(HEX).unwrap_err().problem, ReferenceProblem::LooksLikeId);
    assert!(Reference::parse(&format!("x@sha256:{HEX}@sha256:{HEX}")).is_err());
    assert!(Reference::parse(&format!("x@sha256:{}", HEX.to_uppercase())).is_err());
}

#[test]
fn agrees_with_the_oci_grammar() {
    let words = [
        "a",
        "A",
        "library/x",
        "x.y/z",
        "localhost/q",
        "h:80/r",
        "a_b",
        "a__b",
        "a___b",
        "a--b",
        "a.-b",
        "1",
        "x-",
        "-x",
    ];
    let tags = ["", ":t", ":T.1-", ":.t", ":", ":1_2"];
    let digests = ["".to_owned(), format!("@sha256:{HEX}"), "@sha256:12".to_owned()];
    let mut accepted = 0;
    for word in words {
        for tag in tags {
            for digest in &digests {
                let text = format!("{word}{tag}{digest}");
                let theirs = text.parse::<oci_spec::distribution::Reference>();
                let ours = Reference::parse(&text);
                assert_eq!(theirs.is_ok(), ours.is_ok(), "{text}: {theirs:?} {ours:?}");
                if let (Ok(theirs), Ok(ours)) = (theirs, ours) {
                    accepted += 1;
                    assert_eq!(theirs.whole(), ours.to_string());
                }
            }
        }
    }
    assert!(accepted > 50, "{accepted}");
}

proptest::proptest! {
    #[test]
    fn any_text_is_refused_or_round_trips(text in "[a-zA-Z0-9:/@._\\-\\[\\]é \\x00]{0,40}") {
        match Reference::parse(&text) {
            Ok(reference) => {
                assert_eq!(Reference::parse(&reference.to_string()).as_ref(), Ok(&reference));
                assert_eq!(Reference::parse(&reference.familiar()), Ok(reference));
            }
            Err(error) => assert!(error.to_string().starts_with("bad reference `"), "{error}"),
        }
    }
}
