//! `--ssh` and `RUN --mount=type=ssh`, judged by OpenSSH's own programs in the step.

use crate::support::{Kiln, Ran, has_program};
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

const LIST: &str = "RUN --mount=type=ssh ssh-add -L && cat /proc/mounts | grep -c ssh_agent\n";

/// A key of a test's own, and `ssh-add` with its libraries for the image; nothing where they are not installed.
fn with_ssh(kiln: &Kiln) -> Option<String> {
    if !has_program("ssh-add") || !has_program("ssh-keygen") || !has_program("ldd") {
        return None;
    }
    let output = Command::new("ldd").arg("/usr/bin/ssh-add").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    for path in libraries.chain(["/usr/bin/ssh-add"]) {
        kiln.write(&format!("root{path}"), fs::read(path).unwrap()).chmod(&format!("root{path}"), 0o755);
    }
    let key = kiln.path("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    kiln.write("Dockerfile", format!("FROM base\nENV PATH=/bin:/usr/bin\nCOPY root /\n{LIST}"));
    Some(key.to_str().unwrap().to_owned())
}

/// The public key as `ssh-add -L` shows it.
fn public(key: &str) -> String {
    let text = fs::read_to_string(format!("{key}.pub")).unwrap();
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_key_is_served_and_kept_nowhere() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let Some(key) = with_ssh(&kiln) else { return };
    kiln.build(["-t", "app", "--ssh", &format!("default={key}")]).succeeds().stderr_has(&public(&key));
    let files = kiln.files(["--ssh", &format!("default={key}")]);
    assert!(!files.keys().any(|path| path.contains("buildkit")), "no mount point is left");
    let secret = fs::read_to_string(&key).unwrap();
    let line = secret.lines().nth(2).unwrap();
    let found = Command::new("grep").args(["-rl", "--", line]).arg(kiln.root()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[test]
fn an_agent_is_forwarded() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let Some(key) = with_ssh(&kiln) else { return };
    let socket = kiln.path("agent");
    // The agent lives as long as the command that it is given.
    let script = format!("ssh-add -q {key} && exec \"$@\"");
    let mut command = Command::new("ssh-agent");
    command.arg("-a").arg(&socket).args(["sh", "-c", &script, "sh"]);
    let build = kiln.build_command(["--ssh", "default"]);
    command.arg(build.get_program()).args(build.get_args()).current_dir(kiln.context()).env_clear();
    command.envs(build.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ran::of(&mut command).succeeds().stderr_has(&public(&key));
}

#[test]
fn sockets_have_a_place_an_owner_and_a_variable() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base\nWORKDIR /srv\n\
         RUN --mount=type=ssh stat -c '%F %a %u:%g %n' $SSH_AUTH_SOCK\n\
         RUN --mount=type=ssh,id=default,target=run/agent,mode=0660,uid=12,gid=34 stat -c '%F %a %u:%g %n' /srv/run/agent && echo \"at $SSH_AUTH_SOCK\"\n\
         RUN --mount=type=ssh,id=other --mount=type=ssh,required ls /run/buildkit && echo \"first $SSH_AUTH_SOCK\"\n\
         RUN --mount=type=ssh,id=other echo \"set $SSH_AUTH_SOCK\" && test ! -e $SSH_AUTH_SOCK\n\
         RUN test ! -e /run/buildkit && test ! -e /srv/run && test -z \"$SSH_AUTH_SOCK\"\n",
    );
    let socket = kiln.path("agent");
    let _listener = UnixListener::bind(&socket).unwrap();
    let ran = Ran::of(kiln.build_command(["--ssh", "default"]).env("SSH_AUTH_SOCK", &socket));
    ran.succeeds()
        .logs("socket 600 0:0 /run/buildkit/ssh_agent.0")
        .logs("socket 660 12:34 /srv/run/agent")
        .logs("at /srv/run/agent")
        .logs("ssh_agent.1")
        .logs("first /run/buildkit/ssh_agent.0")
        .logs("set /run/buildkit/ssh_agent.0");
}

#[test]
fn which_agent_does_not_count() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=ssh echo hello\n");
    kiln.build::<&str>([]).succeeds().logs("hello");
    let socket = kiln.path("agent");
    let _listener = UnixListener::bind(&socket).unwrap();
    kiln.build(["--ssh", &format!("default={}", socket.display())]).succeeds().cached("RUN");
}

#[test]
fn missing_agents() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=ssh,required true\n");
    kiln.build::<&str>([])
        .exits(1)
        .stderr_has("the step needs the SSH agent `default`")
        .stderr_has("Dockerfile:2")
        .stderr_has("give it with `--ssh default`");
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=ssh,id=git,required=true true\n");
    kiln.build::<&str>([]).exits(1).stderr_has("`git`").stderr_has("`--ssh git=SOCKET|KEY`");
    kiln.build(["--ssh", "default"]).exits(2).stderr_has("`SSH_AUTH_SOCK` is not set");
    kiln.build(["--ssh", "default=/no/such"]).exits(2).stderr_has("cannot read `/no/such`");
    assert!(!Path::new("/no/such").exists());
}
