//! Cache mounts between several kiln processes, and what they must not do to images and keys.

use crate::support::{Kiln, Ran};
use std::thread;
use std::time::{Duration, Instant};

/// Builds several Dockerfiles of one step each at once.
fn at_once(kiln: &Kiln, steps: &[&str]) -> Vec<Ran> {
    let _made_before = kiln.base();
    thread::scope(|scope| {
        let start = |(number, step): (usize, &&str)| {
            let name = format!("Dockerfile.{number}");
            kiln.write(&name, format!("FROM base\n{step}\n"));
            let file = kiln.context().join(name);
            scope.spawn(move || kiln.build(["-f", file.to_str().expect("a plain name")]))
        };
        let running: Vec<_> = steps.iter().enumerate().map(start).collect();
        running.into_iter().map(|build| build.join().expect("a build")).collect()
    })
}

#[test]
fn locked_mounts_are_used_by_one_process_at_a_time() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let step = |n: u32| {
        let alone = "mkdir /c/busy && sleep 0.4 && rmdir /c/busy";
        format!("RUN --mount=type=cache,target=/c,sharing=locked {alone} && echo {n} >> /c/log")
    };
    let steps: Vec<String> = (0..4).map(step).collect();
    let started = Instant::now();
    for ran in at_once(&kiln, &steps.iter().map(String::as_str).collect::<Vec<_>>()) {
        ran.succeeds();
    }
    assert!(started.elapsed() >= Duration::from_millis(1600));
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=cache,target=/c sort /c/log | tr '\\n' '-'\n");
    kiln.build::<&str>([]).succeeds().logs("0-1-2-3-");
}

#[test]
fn shared_mounts_are_used_by_all() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let step = |own: u32, other: u32| {
        let wait = format!("for i in $(seq 200); do test -e /c/{other} && break; sleep 0.1; done");
        format!("RUN --mount=type=cache,target=/c touch /c/{own}; {wait}; test -e /c/{other} && echo met {other}")
    };
    let steps = [step(1, 2), step(2, 3), step(3, 1)];
    let ran = at_once(&kiln, &steps.each_ref().map(String::as_str));
    for (ran, other) in ran.iter().zip([2, 3, 1]) {
        ran.succeeds().logs(&format!("met {other}"));
    }
}

#[test]
fn private_mounts_are_new_while_another_process_has_the_first() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let private = "RUN --mount=type=cache,target=/c,sharing=private";
    let step = |n: u32| format!("{private} mkdir /c/mine && sleep 1.5 && rmdir /c/mine && echo {n} >> /c/log");
    for ran in at_once(&kiln, &[&step(1), &step(2)]) {
        ran.succeeds();
    }
    // Both are there still; one after the other meets the same.
    for n in 3..5 {
        kiln.write("Dockerfile", format!("FROM base\n{private} echo {n} >> /c/log; echo $(wc -l < /c/log) lines\n"));
        kiln.build::<&str>([]).succeeds().logs(&format!("{} lines", n - 1));
    }
}

#[test]
fn a_locked_user_keeps_shared_ones_out() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let hold = "mkdir /c/busy && sleep 1 && rmdir /c/busy";
    let locked = format!("RUN --mount=type=cache,target=/c,sharing=locked {hold}");
    let check = "test ! -e /c/busy";
    let shared = format!("RUN --mount=type=cache,target=/c,sharing=shared sleep 0.3; {check} && sleep 0.3 && {check}");
    for ran in at_once(&kiln, &[&locked, &shared]) {
        ran.succeeds();
    }
}

#[test]
fn every_option() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let seed = "FROM base AS seed\nRUN mkdir -p /s/sub && echo seed > /s/sub/f && chown 9:9 /s/sub/f\n";
    let build = |step: &str| {
        kiln.write("Dockerfile", format!("{seed}FROM base\n{step}\n"));
        kiln.build::<&str>([])
    };
    let run = |options: &str, command: &str| build(&format!("RUN --mount=type=cache,{options} {command}"));
    run("id=a,dst=/one", "echo 1 > /one/f").succeeds();
    run("id=a,target=/two,ro", "cat /two/f && ! touch /two/g && echo refused").succeeds().logs("1").logs("refused");
    run("id=a,target=/two,readonly=true", "! touch /two/g && echo read only").succeeds().logs("read only");
    let seeded = "target=/a,from=seed,source=/s/sub";
    run(seeded, "stat -c '%u %n' /a/f && echo changed > /a/f").succeeds().logs("9 /a/f");
    run(seeded, "cat /a/f").succeeds().logs("changed");
    let owned = "target=/o,mode=0711,uid=5,gid=6";
    run(owned, "stat -c '%a %u %g' /o").succeeds().logs("711 5 6");
    build(&format!("USER 5:6\nRUN --mount=type=cache,{owned} echo mine > /o/f")).succeeds();
    run(owned, "cat /o/f").succeeds().logs("mine");
    build("WORKDIR /w\nRUN --mount=type=cache,target=rel echo relative > rel/f").succeeds();
    // A relative target is itself the id, whatever directory it is relative to.
    build("WORKDIR /v\nRUN --mount=type=cache,target=rel cat /v/rel/f").succeeds().logs("relative");
    run("target=/new,source=not/there", "echo $(ls -A /new | wc -l) files").succeeds().logs("0 files");
    for (options, text) in [
        ("target=/a,sharing=some", "some"),
        ("target=/a,from=seed,source=/none", "/none"),
        ("target=/a,mode=rwx", "rwx"),
        ("id=x", "target"),
    ] {
        run(options, "true").exits(1).stderr_has("Dockerfile:4").stderr_has(text);
    }
}

#[test]
fn contents_are_no_part_of_key_or_image() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let reader = "FROM base\nRUN --mount=type=cache,id=k,target=/deep/in/cache cat /deep/in/cache/f 2>/dev/null; echo done > /done\n";
    kiln.write("Dockerfile", reader);
    kiln.build::<&str>([]).succeeds();
    kiln.write("Dockerfile.other", "FROM base\nRUN --mount=type=cache,id=k,target=/x echo new > /x/f\n");
    kiln.build(["-f", kiln.context().join("Dockerfile.other").to_str().unwrap()]).succeeds();
    kiln.build::<&str>([]).succeeds().cached("RUN");
    kiln.write("Dockerfile", reader.replace("echo done", "echo did"));
    kiln.build::<&str>([]).succeeds().executed("RUN").logs("new");
    let files = kiln.files::<&str>([]);
    assert!(files.contains_key("done"));
    assert!(!files.keys().any(|path| path.starts_with("deep")), "{files:?}");
}

#[test]
fn a_mount_hides_what_the_image_has_for_its_step_only() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base\nRUN mkdir /d && echo image > /d/f\n\
         RUN --mount=type=cache,target=/d echo $(ls -A /d | wc -l) files; echo cache > /d/f\nRUN cat /d/f\n",
    );
    kiln.build::<&str>([]).succeeds().logs("0 files").logs("image");
}

#[test]
fn pruning_spares_mounts_unless_told() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let build = |n: u32| {
        let step = format!("RUN --mount=type=cache,target=/c echo {n} >> /c/log; echo $(wc -l < /c/log) lines");
        kiln.write("Dockerfile", format!("FROM base\n{step}\n"));
        kiln.build::<&str>([])
    };
    build(1).succeeds().logs("1 lines");
    kiln.run(["prune", "--force"]).succeeds();
    build(2).succeeds().logs("2 lines");
    kiln.run(["prune", "--all", "--force"]).succeeds();
    build(3).succeeds().logs("1 lines");
}
