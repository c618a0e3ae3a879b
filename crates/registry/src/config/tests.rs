//! The `registry` table: what it accepts, and what it says of the rest.

use super::*;

#[test]
fn reads_the_documented_shape() {
    let config = Config::parse(
        r#"
        [registry."docker.io"]
        mirrors = ["127.0.0.1:5000", "harbor.example/proxy.docker.io"]
        [registry."harbor.example"]
        ca = ["/a.pem", "/b.pem"]
        [registry."10.0.0.5:5000"]
        http = true
        [registry."test.example"]
        insecure = true
        "#,
    )
    .unwrap();
    let hub = config.host("docker.io");
    assert_eq!(hub.mirrors[0].host(), "127.0.0.1:5000");
    assert_eq!((hub.mirrors[1].host(), hub.mirrors[1].prefix()), ("harbor.example", Some("proxy.docker.io")));
    assert_eq!(config.host("harbor.example").ca, [PathBuf::from("/a.pem"), PathBuf::from("/b.pem")]);
    assert_eq!(config.host("10.0.0.5:5000").http, Some(true));
    assert!(config.host("test.example").insecure);
    assert_eq!(config.host("elsewhere"), HostConfig::default());
    assert_eq!(Config::parse("").unwrap(), Config::default());
}

#[test]
fn mistakes_are_placed_and_hinted() {
    let table = [
        (
            "[registry.\"docker.io\"]\nmirror = []\n",
            "line 2, column 1: unknown field `mirror`, expected one of `mirrors`, `http`, `insecure`, `ca`\nhint: did you mean `mirrors`?",
        ),
        ("[registry.x] # é\n\nhttp = \"yes\"\n", "line 3, column 8: invalid type: string \"yes\", expected a boolean"),
        (
            "[registry.x]\nmirrors = [\n  \"a\",\n  \"http://m:5000/\",\n]\n",
            "line 2, column 11: `http://m:5000/` is not a mirror: expected `HOST[:PORT][/PATH]`\nhint: write `m:5000`, and `http = true`",
        ),
        ("[registry.x]\nmirrors = [\"a/B\"]\n", "line 2, column 11: `a/B` is not a mirror"),
        ("[[registry.\"h\".keypair]]\nkey = \"\"\n", "client certificates are not supported yet"),
        (
            "[registry.\"https://ghcr.io/\"]\nhttp = true\n",
            "line 1, column 11: `https://ghcr.io/` is not a registry: expected `HOST[:PORT]`\nhint: write `ghcr.io`",
        ),
        ("[registry\n", "line 1, column 10"),
        ("debug = true", "line 1, column 1: unknown field `debug`"),
    ];
    for (text, expected) in table {
        let error = Config::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\n{error}");
    }
}
