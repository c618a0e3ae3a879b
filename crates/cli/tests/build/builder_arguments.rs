//! Build arguments that mean something without being declared: what speaks to the builder, proxies, and the platforms' names.

use crate::support::Kiln;

#[test]
fn platforms_have_names_in_every_scope() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "ARG NAME=base\nARG FOR=$TARGETARCH-$TARGETVARIANT-$BUILDOS\nFROM --platform=$BUILDPLATFORM $NAME AS one\n\
         RUN echo \"undeclared <$TARGETPLATFORM$TARGETOS$TARGETARCH$BUILDPLATFORM$BUILDARCH>\"\nARG FOR\n\
         ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT TARGETOSVERSION TARGETSTAGE\nARG BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT BUILDOSVERSION\n\
         RUN echo \"$FOR | $TARGETPLATFORM $TARGETOS $TARGETARCH $TARGETVARIANT <$TARGETOSVERSION> $TARGETSTAGE\"\n\
         RUN echo \"$BUILDOS/$BUILDARCH <$BUILDVARIANT><$BUILDOSVERSION> $BUILDPLATFORM\"\n\
         FROM one AS last\nRUN echo \"inherited $TARGETARCH\"\nARG TARGETARCH=mine\nRUN echo \"default $TARGETARCH\"\n",
    );
    let host = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    kiln.build(["--platform=linux/arm/v6"])
        .succeeds()
        .logs("undeclared <>")
        .logs("arm-v6-linux | linux/arm/v6 linux arm v6 <> last")
        .logs(&format!("linux/{host} <><> linux/{host}"))
        .logs("inherited arm")
        .logs("default mine");
    // They can be given like all others.
    kiln.build(["--build-arg=TARGETARCH=given", "--target=one"]).succeeds().stderr_has(" given ").stderr_has(" one\n");
}

#[test]
fn cache_mounts_have_a_namespace() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=cache,target=/c echo \"was $(ls /c)\"; touch /c/here\n");
    let build = |namespace: &str| {
        let argument = format!("BUILDKIT_CACHE_MOUNT_NS={namespace}");
        kiln.build(["--no-cache", "--build-arg", &argument])
    };
    build("one").succeeds().logs("was ");
    build("one").succeeds().logs("was here");
    build("two").succeeds().logs("was ");
    build("").succeeds().logs("was ");
    kiln.build(["--no-cache"]).succeeds().logs("was here");
}

#[test]
fn what_speaks_to_the_builder() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo \"I am $(hostname)\"\n");
    kiln.build::<&str>([]).succeeds().logs("I am buildkitsandbox");
    let ran = kiln.build(["--build-arg=BUILDKIT_SANDBOX_HOSTNAME=elsewhere", "--build-arg=BUILDKIT_INLINE_CACHE=0"]);
    ran.succeeds().logs("I am elsewhere").stderr_lacks("were not consumed");
    kiln.build(["--build-arg=BUILDKIT_SYNTAX=docker/dockerfile:1.7-labs"]).succeeds();
    kiln.build(["--build-arg=BUILDKIT_SYNTAX=example.test/frontend"]).exits(4).stderr_has("example.test/frontend");
    kiln.build(["--build-arg=BUILDKIT_DOCKERFILE_CHECK=error=perhaps"])
        .exits(1)
        .stderr_has("BUILDKIT_DOCKERFILE_CHECK");
    kiln.build(["--build-arg=BUILDKIT_UNKNOWN=1"]).succeeds().stderr_has("[BUILDKIT_UNKNOWN] were not consumed");
}

#[test]
fn proxies_are_seen_and_forgotten() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let proxies = ["HTTP_PROXY", "https_proxy", "FTP_PROXY", "no_proxy", "ALL_PROXY"];
    kiln.write(
        "Dockerfile",
        "FROM base\nRUN echo \"$HTTP_PROXY $http_proxy $HTTPS_PROXY $ftp_proxy $NO_PROXY $all_proxy\"\n",
    );
    let arguments = |value: &str| proxies.map(|name| format!("--build-arg={name}={name}.{value}.test"));
    let ran = kiln.build(arguments("one"));
    ran.succeeds().logs(
        "HTTP_PROXY.one.test HTTP_PROXY.one.test https_proxy.one.test FTP_PROXY.one.test no_proxy.one.test ALL_PROXY.one.test",
    );
    let image = kiln.image(arguments("two"));
    assert!(!image.config.to_string().contains("_PROXY."), "{:#}", image.config);
    kiln.build(arguments("three")).succeeds().cached("RUN echo");
    // One that is declared is an argument like all others.
    kiln.write("Dockerfile", "FROM base\nARG HTTP_PROXY\nRUN echo \"declared $HTTP_PROXY\"\n");
    kiln.build(["--build-arg=HTTP_PROXY=a"]).succeeds().logs("declared a");
    kiln.build(["--build-arg=HTTP_PROXY=b"]).succeeds().logs("declared b");
}

#[test]
fn times_that_are_no_times() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\n");
    for bad in ["now", "1.5", "99999999999999999", "0x10"] {
        let argument = format!("--build-arg=SOURCE_DATE_EPOCH={bad}");
        kiln.build([argument]).exits(1).stderr_has(&format!("`SOURCE_DATE_EPOCH={bad}` is not a number of seconds"));
    }
}
