//! What each instruction leaves in the image's configuration and history.

use crate::support::Kiln;
use serde_json::json;

#[test]
fn configuration() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        r#"FROM base
MAINTAINER somebody <s@example.com>
ENV A=1 B="two words" C=${A}3
ENV legacy some value
LABEL one=1 "two"="2 2"
EXPOSE 80 53/udp 8000-8002
VOLUME /data /more
VOLUME ["/var/a", "/var/b"]
USER app:staff
WORKDIR /srv
WORKDIR rel/$A
STOPSIGNAL SIGINT
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --interval=5s --timeout=1m --start-period=2s --retries=4 CMD echo ok
ONBUILD RUN echo later
ENTRYPOINT ["/bin/echo", "x"]
CMD echo $A
"#,
    );
    let image = kiln.image::<&str>([]);
    let env = image.field("Env");
    assert_eq!(*env, json!(["PATH=/bin", "A=1", "B=two words", "C=3", "legacy=some value"]));
    assert_eq!(*image.field("Labels"), json!({"one": "1", "two": "2 2"}));
    let ports = json!({"80/tcp": {}, "53/udp": {}, "8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {}});
    assert_eq!(*image.field("ExposedPorts"), ports);
    assert_eq!(*image.field("User"), "app:staff");
    assert_eq!(*image.field("WorkingDir"), "/srv/rel/1");
    assert_eq!(*image.field("StopSignal"), "SIGINT");
    assert_eq!(*image.field("Shell"), json!(["/bin/sh", "-ec"]));
    assert_eq!(*image.field("OnBuild"), json!(["RUN echo later"]));
    assert_eq!(*image.field("Entrypoint"), json!(["/bin/echo", "x"]));
    assert_eq!(*image.field("Cmd"), json!(["/bin/sh", "-ec", "echo $A"]));
    let health = json!({
        "Test": ["CMD-SHELL", "echo ok"], "Interval": 5_000_000_000_u64, "Timeout": 60_000_000_000_u64,
        "StartPeriod": 2_000_000_000_u64, "Retries": 4
    });
    assert_eq!(*image.field("Healthcheck"), health);
    let volumes = image.field("Volumes").as_object().expect("volumes");
    assert!(["/data", "/more", "/var/a", "/var/b"].iter().all(|path| volumes.contains_key(*path)), "{volumes:?}");
    assert_eq!(image.config["author"], "somebody <s@example.com>");
    assert_eq!(image.config["architecture"], if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" });
    assert_eq!(image.config["os"], "linux");
}

#[test]
fn history_and_layers_agree() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("a", "a");
    kiln.write("Dockerfile", "FROM base\nARG V=1\nCOPY a /a\nENV X=1\nRUN echo $V > /v\nWORKDIR /w\nCMD [\"sh\"]\n");
    let image = kiln.image::<&str>([]);
    let history = image.history();
    let own: Vec<&(String, bool)> = history.iter().skip(history.len() - 6).collect();
    let texts: Vec<(&str, bool)> = own.iter().map(|(text, empty)| (text.as_str(), *empty)).collect();
    assert_eq!(
        texts,
        [
            ("ARG V=1", true),
            ("COPY a /a # buildkit", false),
            ("ENV X=1", true),
            ("RUN |1 V=1 /bin/sh -c echo $V > /v # buildkit", false),
            ("WORKDIR /w", false),
            ("CMD [\"sh\"]", true),
        ]
    );
    let layers = history.iter().filter(|(_, empty)| !empty).count();
    assert_eq!(image.manifest["layers"].as_array().map(Vec::len), Some(layers));
    assert_eq!(image.config["rootfs"]["diff_ids"].as_array().map(Vec::len), Some(layers));
}

#[test]
fn a_new_entrypoint_drops_the_base_images_command() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nENTRYPOINT [\"/bin/echo\"]\n");
    let image = kiln.image::<&str>([]);
    assert!(image.field("Cmd").is_null(), "{:#}", image.config);
}

#[test]
fn onbuild_runs_in_the_child() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("parent.Dockerfile", "FROM base\nONBUILD RUN echo from-the-parent > /onbuild\nONBUILD COPY x /x\n");
    kiln.build(["-f", "parent.Dockerfile", "-t", "parent"]).succeeds();
    kiln.write("x", "x").write("Dockerfile", "FROM parent\nRUN cat /onbuild /x\n");
    let ran = kiln.build(["-t", "child"]);
    ran.succeeds().logs("from-the-parent");
    assert!(kiln.image::<&str>([]).field("OnBuild").is_null());
}

#[test]
fn healthcheck_none_and_exec() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nHEALTHCHECK CMD [\"/bin/true\"]\n");
    assert_eq!(kiln.image::<&str>([]).field("Healthcheck")["Test"], json!(["CMD", "/bin/true"]));
    kiln.write("Dockerfile", "FROM base\nHEALTHCHECK NONE\n");
    assert_eq!(kiln.image::<&str>([]).field("Healthcheck")["Test"], json!(["NONE"]));
}

#[test]
fn labels_of_the_command_line_win() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nLABEL a=dockerfile b=dockerfile\n");
    let image = kiln.image(["--label", "a=command line", "--label", "c"]);
    assert_eq!(*image.field("Labels"), json!({"a": "command line", "b": "dockerfile", "c": ""}));
}
