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
    kiln.build(["--secret", "id=token,src=/no/such/file"]).exits(2).stderr_has("/no/such/file");
}

#[test]
fn forms_of_the_mount() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("token.txt", "abc");
    kiln.write(
        "Dockerfile",
        "FROM base\nWORKDIR /srv\n\
         RUN --mount=type=secret,id=token stat -c '%a %u:%g %F %n' /run/secrets/token\n\
         RUN --mount=type=secret,id=token,target=conf/t stat -c '%a %n' /srv/conf/t\n\
         RUN --mount=type=secret,target=/etc/keys/token stat -c '%a %n' /etc/keys/token\n\
         RUN --mount=type=secret,source=token,dst=/s stat -c '%a %n' /s\n\
         RUN --mount=type=secret,id=token,env=T test ! -e /run/secrets && echo \"env $T\" | rev\n\
         RUN --mount=type=secret,id=token,env=T,target=/both,mode=0444 echo \"$T $(cat /both) $(stat -c %a /both)\" | rev\n\
         RUN --mount=type=secret,id=token if echo x > /run/secrets/token; then echo written; else echo refused; fi 2>/dev/null\n\
         RUN test ! -e /run/secrets && test ! -e /srv/conf && test ! -e /etc/keys && test ! -e /s && echo nothing left\n",
    );
    let source = format!("id=token,src={}", kiln.context().join("token.txt").display());
    kiln.build(["--secret", &source])
        .succeeds()
        .logs("400 0:0 regular file /run/secrets/token")
        .logs("400 /srv/conf/t")
        .logs("400 /etc/keys/token")
        .logs("400 /s")
        .logs("cba vne")
        .logs("444 cba cba")
        .logs("refused")
        .logs("nothing left");
    // A relative path is looked up from the current directory, and an id alone is a variable or a file.
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=secret,id=token.txt rev /run/secrets/token.txt\n");
    kiln.build(["--secret", "id=token.txt"]).succeeds().logs("cba");
}

#[test]
fn what_is_wrong_with_a_source_is_told_before_the_build() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo built\n");
    std::fs::File::create(kiln.path("large")).unwrap().set_len(512_001).unwrap();
    let large = format!("id=a,src={}", kiln.path("large").display());
    for (secret, message) in [
        ("id=a,src=/no/such", "there is no file `/no/such`"),
        ("id=a,src=/", "`/` is a directory"),
        (&large, "is larger than 512000 bytes"),
        ("id=a,env=KILN_UNSET", "there is no variable `KILN_UNSET`"),
    ] {
        kiln.build(["--secret", secret]).exits(2).stderr_has(message).stderr_lacks("built");
    }
}

#[test]
fn what_steps_print_of_secrets_is_not_remembered() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let run =
        "RUN --mount=type=secret,id=s,env=S --mount=type=secret,id=f echo kept; echo \"<$S>\"; cat /run/secrets/f";
    std::fs::write(kiln.path("f"), "filed-secret\nsecond-line\n").unwrap();
    let file = format!("id=f,src={}", kiln.path("f").display());
    for (end, status) in [("", 0), ("; exit 3", 1)] {
        kiln.write("Dockerfile", format!("FROM base\n{run}{end}\n"));
        let build = ["--secret", "id=s,env=VALUE", "--secret", &file];
        Ran::of(kiln.build_command(build).env("VALUE", "value-secret")).exits(status).logs("second-line");
        let kept = |text: &str| {
            let mut grep = std::process::Command::new("grep");
            let found = grep.args(["-rE", text]).arg(kiln.root().join("history")).output().unwrap();
            String::from_utf8_lossy(&found.stdout).into_owned()
        };
        assert_ne!(kept(r"<\*\*\*\*>"), "");
        assert_eq!(kept("value-secret|filed-secret|second-line"), "");
    }
}
