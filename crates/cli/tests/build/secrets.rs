//! `--secret` and `RUN --mount=type=secret`.

use crate::support::{Kiln, Ran};

const SHOW: &str = "FROM base\nRUN --mount=type=secret,id=token cat /run/secrets/token | rev\n";

#[test]
fn files_and_variables() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", SHOW);
    std::fs::write(kiln.path("token.txt"), "abcdef").unwrap();
    let source = format!("id=token,src={}", kiln.path("token.txt").display());
    kiln.build(["--secret", &source]).succeeds().logs("fedcba");
    let ran = Ran::of(kiln.build_command(["--no-cache", "--secret", "id=token,env=TOKEN"]).env("TOKEN", "123456"));
    ran.succeeds().logs("654321");
    kiln.write(
        "Dockerfile",
        "FROM base\nRUN --mount=type=secret,id=token,target=/t,mode=0440,uid=12,gid=34 stat -c '%a %u:%g' /t\n\
         RUN --mount=type=secret,id=token,env=T echo $T | rev\n",
    );
    kiln.build(["--secret", &source]).succeeds().logs("440 12:34").logs("fedcba");
}

#[test]
fn secrets_are_nowhere() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", SHOW);
    let secret = "kiln-very-secret-1234567";
    let out = kiln.path("image.tar");
    let output = format!("type=oci,compression=uncompressed,dest={}", out.display());
    let arguments = ["-t", "app", "--secret", "id=token,env=TOKEN", "-o", "type=image", "-o", &output, "--debug"];
    let ran = Ran::of(kiln.build_command(arguments).env("TOKEN", secret));
    ran.succeeds().stderr_lacks(secret);
    let found = std::process::Command::new("grep").args(["-rl", secret]).arg(kiln.root()).arg(&out).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    assert!(!kiln.files(["--secret", "id=token,env=HOME"]).contains_key("run/secrets/token"));
}

#[test]
fn values_do_not_count() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", SHOW);
    Ran::of(kiln.build_command(["--secret", "id=token,env=T"]).env("T", "one")).succeeds();
    Ran::of(kiln.build_command(["--secret", "id=token,env=T"]).env("T", "two")).succeeds().cached("RUN");
}

#[test]
fn missing_secrets() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=secret,id=token test ! -e /run/secrets/token && echo none\n");
    kiln.build::<&str>([]).succeeds().logs("none");
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=secret,id=token,required true\n");
    kiln.build::<&str>([]).exits(1).stderr_has("token").stderr_has("Dockerfile:2");
    kiln.build(["--secret", "id=token,src=/no/such/file"]).stderr_has("/no/such/file");
}
