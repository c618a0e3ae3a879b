//! Several kiln processes on one store.

use crate::support::Kiln;
use std::process::{Child, Stdio};

fn start(kiln: &Kiln, arguments: &[&str]) -> Child {
    kiln.build_command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[track_caller]
fn end(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn the_same_step_runs_once() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base\nRUN --mount=type=cache,target=/c echo ran >> /c/log && sleep 1\nRUN --mount=type=cache,target=/c wc -l < /c/log > /count\n",
    );
    let children: Vec<Child> = (0..4).map(|n| start(&kiln, &["-t", &format!("app{n}")])).collect();
    let texts: Vec<String> = children.into_iter().map(end).collect();
    let ran = kiln.run(["run", "app0", "cat", "/count"]);
    ran.succeeds();
    assert_eq!(ran.stdout().trim(), "1", "{texts:#?}");
}

#[test]
fn different_builds_do_not_disturb_each_other() {
    let Some(kiln) = Kiln::for_builds() else { return };
    for n in 0..8 {
        let shared = "FROM base\nRUN echo shared > /shared\n";
        kiln.write(&format!("{n}.Dockerfile"), format!("{shared}RUN echo {} > /own && cat /shared >> /own\n", n % 4));
    }
    let file = |n: i32| kiln.context().join(format!("{n}.Dockerfile")).display().to_string();
    let children: Vec<Child> = (0..8).map(|n| start(&kiln, &["-f", &file(n), "-t", &format!("app{n}")])).collect();
    for child in children {
        end(child);
    }
    for n in 0..8 {
        kiln.run(["run", &format!("app{n}"), "cat", "/own"]).succeeds().stdout_is(&format!("{}\nshared\n", n % 4));
    }
}

#[test]
fn pruning_meanwhile() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nARG N\nRUN echo $N > /n && sleep 0.2\nRUN cat /n > /m\nRUN cat /m\n");
    let children: Vec<Child> =
        (0..4).map(|n| start(&kiln, &["--build-arg", &format!("N={n}"), "-t", &format!("app{n}")])).collect();
    for _ in 0..10 {
        kiln.run(["prune", "--all", "--force"]).succeeds();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    for child in children {
        end(child);
    }
    for n in 0..4 {
        kiln.run(["run", &format!("app{n}"), "cat", "/m"]).succeeds().stdout_is(&format!("{n}\n"));
    }
}
