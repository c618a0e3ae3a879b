//! What the instructions leave in the image config and its history.

use crate::support::{Images, config, config_of, history, lower_text, lower_with, options};
use kiln_lower::{ImageConfig, Options};

/// An image that has all that a config can have.
const RICH: &str = r#"{
    "created": "2024-01-01T00:00:00Z", "author": "base", "architecture": "amd64", "os": "linux",
    "container_config": {"Cmd": ["old"]}, "docker_version": "18",
    "config": {
        "User": "1000", "ExposedPorts": {"80/tcp": {}}, "Env": ["PATH=/bin", "A=base"], "Entrypoint": ["/entry"],
        "Cmd": ["arg"], "Volumes": {"/data": {}}, "WorkingDir": "/srv", "Labels": {"b": "1", "a": "2"},
        "StopSignal": "SIGQUIT", "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000},
        "OnBuild": null, "Shell": ["/bin/bash", "-c"], "Image": "sha256:1"
    },
    "rootfs": {"type": "layers", "diff_ids": ["sha256:1"]},
    "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "/bin/sh -c #(nop) ADD file:1 in / "}]
}"#;

fn rich() -> Images {
    Images::with(&[("docker.io/library/rich:latest", RICH)])
}

#[test]
fn every_config_instruction() {
    let text = r#"FROM alpine
MAINTAINER Some One <one@example.org>
LABEL b=2 a="x y" c='$HOME'
ENV NAME="a b" OTHER=c\ d
ENV legacy some  text
EXPOSE 80 8000-8002/udp 443/TCP
VOLUME /data /b
VOLUME ["/c", "/d"]
USER app:staff
WORKDIR /srv
WORKDIR app
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
CMD echo "hi" $HOME
STOPSIGNAL SIGINT
HEALTHCHECK --interval=1m30s --timeout=3s --start-period=500ms --retries=3 CMD curl -f http://localhost/ || exit 1
ONBUILD RUN make
ONBUILD COPY . /src
"#;
    insta::assert_snapshot!(config(text), @r#"
    {
      "User": "app:staff",
      "ExposedPorts": {
        "443/tcp": {},
        "80/tcp": {},
        "8000/udp": {},
        "8001/udp": {},
        "8002/udp": {}
      },
      "Env": [
        "NAME=a b",
        "OTHER=c d",
        "legacy=some  text"
      ],
      "Cmd": [
        "/bin/bash",
        "-o",
        "pipefail",
        "-c",
        "echo \"hi\" $HOME"
      ],
      "Volumes": {
        "/b": {},
        "/c": {},
        "/d": {},
        "/data": {}
      },
      "WorkingDir": "/srv/app",
      "Labels": {
        "a": "x y",
        "b": "2",
        "c": "$HOME"
      },
      "StopSignal": "SIGINT",
      "ArgsEscaped": true,
      "Healthcheck": {
        "Test": [
          "CMD-SHELL",
          "curl -f http://localhost/ || exit 1"
        ],
        "Interval": 90000000000,
        "Timeout": 3000000000,
        "StartPeriod": 500000000,
        "Retries": 3
      },
      "OnBuild": [
        "RUN make",
        "COPY . /src"
      ],
      "Shell": [
        "/bin/bash",
        "-o",
        "pipefail",
        "-c"
      ]
    }
    "#);
    insta::assert_snapshot!(history(&lower_text(text)), @r#"
    (MAINTAINER Some One <one@example.org>)
    (LABEL b=2 a=x y c=$HOME)
    (ENV NAME=a b OTHER=c d)
    (ENV legacy=some  text)
    (EXPOSE map[443/tcp:{} 80/tcp:{} 8000/udp:{} 8001/udp:{} 8002/udp:{}])
    (VOLUME [/data /b])
    (VOLUME [/c /d])
    (USER app:staff)
    WORKDIR /srv
    WORKDIR /srv/app
    (SHELL [/bin/bash -o pipefail -c])
    (CMD ["/bin/bash" "-o" "pipefail" "-c" "echo \"hi\" $HOME"])
    (STOPSIGNAL SIGINT)
    (HEALTHCHECK &{["CMD-SHELL" "curl -f http://localhost/ || exit 1"] "1m30s" "3s" "500ms" "0s" '\x03'})
    "#);
    assert_eq!(lower_text(text).config.author, "Some One <one@example.org>");
}

#[test]
fn a_base_is_taken_over_without_its_own_story() {
    let lowered = lower_with("FROM rich\n", &options(), &rich());
    insta::assert_snapshot!(String::from_utf8(lowered.config.to_json()).unwrap(), @r#"{"architecture":"amd64","author":"base","config":{"User":"1000","ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin","A=base"],"Entrypoint":["/entry"],"Cmd":["arg"],"Volumes":{"/data":{}},"WorkingDir":"/srv","Labels":{"a":"2","b":"1"},"StopSignal":"SIGQUIT","Healthcheck":{"Test":["CMD","true"],"Interval":1000000000},"Shell":["/bin/bash","-c"]},"history":[{"created":"2024-01-01T00:00:00Z","created_by":"/bin/sh -c #(nop) ADD file:1 in / "}],"os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:1"]}}"#);
}

#[test]
fn reading_and_writing_keeps_what_is_unknown() {
    let config = ImageConfig::from_json(RICH.as_bytes()).unwrap();
    let again: serde_json::Value = serde_json::from_slice(&config.to_json()).unwrap();
    let mut before: serde_json::Value = serde_json::from_str(RICH).unwrap();
    before["config"].as_object_mut().unwrap().remove("OnBuild");
    assert_eq!(again, before);
}

#[test]
fn entrypoint_and_cmd() {
    for (text, entrypoint, cmd) in [
        ("", &["/entry"][..], &["arg"][..]),
        ("ENTRYPOINT [\"/new\"]", &["/new"], &[]),
        ("CMD [\"x\"]\nENTRYPOINT [\"/new\"]", &["/new"], &["x"]),
        ("ENTRYPOINT [\"/new\"]\nCMD [\"x\"]", &["/new"], &["x"]),
        ("ENTRYPOINT run it", &["/bin/bash", "-c", "run it"], &[]),
        ("CMD []", &["/entry"], &[]),
        ("CMD", &["/entry"], &["/bin/bash", "-c", ""]),
    ] {
        let config = lower_with(&format!("FROM rich\n{text}\n"), &options(), &rich()).config.config;
        assert_eq!(
            (&config.entrypoint[..], &config.cmd[..]),
            (
                &entrypoint.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()[..],
                &cmd.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()[..],
            ),
            "{text}"
        );
    }
}

#[test]
fn healthchecks() {
    for (text, entry) in [
        ("NONE", r#"HEALTHCHECK &{["NONE"] "0s" "0s" "0s" "0s" '\x00'}"#),
        ("--start-interval=2s CMD [\"a\", \"b\"]", r#"HEALTHCHECK &{["CMD" "a" "b"] "0s" "0s" "0s" "2s" '\x00'}"#),
    ] {
        let lowered = lower_text(&format!("FROM alpine\nHEALTHCHECK {text}\n"));
        assert_eq!(lowered.config.history[0].created_by, entry);
    }
}

#[test]
fn working_directories() {
    for (lines, dir) in [
        ("WORKDIR a", "/srv/a"),
        ("WORKDIR a\nWORKDIR ../b", "/srv/b"),
        ("WORKDIR /x/\nWORKDIR y", "/x/y"),
        ("WORKDIR /x/", "/x/"),
        ("WORKDIR $UNSET", "/srv"),
        ("ENV D=/d\nWORKDIR $D/e", "/d/e"),
        ("WORKDIR /", "/"),
    ] {
        let lowered = lower_with(&format!("FROM rich\n{lines}\n"), &options(), &rich());
        assert_eq!(lowered.config.config.working_dir, dir, "{lines}");
    }
    let root = lower_text("FROM scratch\nWORKDIR /\n");
    assert_eq!((root.target, history(&root).as_str()), (None, "(WORKDIR /)\n"));
}

#[test]
fn labels_of_the_command_line_come_last() {
    let labels = [("a".to_owned(), "option".to_owned()), ("z".to_owned(), "1".to_owned())];
    let options = Options { labels: labels.into(), ..options() };
    let lowered = lower_with("FROM alpine\nLABEL a=file b=1\n", &options, &Images::default());
    insta::assert_snapshot!(config_of(&lowered), @r#"
    {
      "Labels": {
        "a": "option",
        "b": "1",
        "z": "1"
      }
    }
    "#);
    assert_eq!(history(&lowered), "(LABEL a=file b=1)\n");
}

#[test]
fn a_base_without_path_gets_one() {
    let bare = Images::with(&[("docker.io/library/bare:latest", r#"{"config": {}}"#)]);
    let lowered = lower_with("FROM bare\nENV A=1\n", &options(), &bare);
    assert_eq!(lowered.config.config.env, ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=1"]);
}

#[test]
fn a_fixed_time_is_that_of_image_and_new_entries() {
    let text = "FROM rich\nENV A=1\n";
    let given = [("SOURCE_DATE_EPOCH".to_owned(), "1700000000".to_owned())];
    for (text, options) in [
        (text.to_owned(), Options { source_date_epoch: Some(1_700_000_000), ..options() }),
        (text.to_owned(), Options { build_args: given.into(), ..options() }),
        (format!("ARG SOURCE_DATE_EPOCH=1700000000\n{text}"), options()),
    ] {
        let lowered = lower_with(&text, &options, &rich());
        let times: Vec<_> = lowered.config.history.iter().map(|entry| entry.created.as_deref().unwrap()).collect();
        assert_eq!(lowered.source_date_epoch, Some(1_700_000_000));
        assert_eq!(lowered.config.created.as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(times, ["2024-01-01T00:00:00Z", "2023-11-14T22:13:20Z"]);
        assert_eq!(lowered.warnings, []);
    }
    assert_eq!(lower_with(text, &options(), &rich()).config.created, None);
}
