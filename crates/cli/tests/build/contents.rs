//! Whether a layer has the bytes that its sources have now, however much of it could be taken from an earlier one; and what a
//! COPY may not do to what is there.

use crate::support::Kiln;

#[test]
fn an_unchanged_file_is_not_taken_for_another_of_the_same_size() {
    let Some(kiln) = Kiln::for_builds() else { return };
    // Enough files that the earlier layer is linked from.
    for number in 0..100 {
        kiln.write(&format!("below/{number}"), "x");
    }
    kiln.write("below/conf", "A=1\n").write("above/conf", "A=2\n").write("above/other", "");
    kiln.write("Dockerfile", "FROM base\nCOPY below/ above/ /app/\nRUN cat /app/conf\n");
    kiln.build::<&str>([]).succeeds().logs("A=2");
    std::fs::remove_file(kiln.context().join("above/conf")).expect("a file");
    kiln.build::<&str>([]).succeeds().logs("A=1");
}

#[test]
fn a_heredoc_over_a_copied_file_is_what_counts() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("a", "zero\n");
    for body in ["one", "two"] {
        kiln.write("Dockerfile", format!("FROM base\nCOPY a <<a /d/\n{body}\na\nRUN cat /d/a\n"));
        kiln.build::<&str>([]).succeeds().logs(body);
    }
}

#[test]
fn a_link_or_a_directory_of_the_base_is_never_replaced() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("tree/lib/new", "n").write("file/usr", "f");
    let base = "FROM base AS one\nRUN mkdir -p /usr/lib && echo old > /usr/lib/old && ln -s usr/lib /lib\n";
    kiln.write("Dockerfile", format!("{base}FROM one\nCOPY tree/ /\n"));
    kiln.build::<&str>([]).exits(1).stderr_has("lib").stderr_has("Dockerfile:4");
    kiln.write("Dockerfile", format!("{base}FROM one\nCOPY file/ /\n"));
    kiln.build::<&str>([]).exits(1).stderr_has("usr");
    // A destination that is named may be a link.
    kiln.write("Dockerfile", format!("{base}FROM one\nCOPY tree/lib/ /lib/\nRUN cat /usr/lib/old /usr/lib/new\n"));
    kiln.build::<&str>([]).succeeds();
}

#[test]
fn a_new_destination_has_the_mode_and_owner_of_any_new_directory() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("app/f", "").chmod("app", 0o700);
    kiln.write(
        "Dockerfile",
        "FROM base\nCOPY app /app\nCOPY --chown=7:8 app /owned\nRUN stat -c '%n %a %u:%g' /app /owned\n",
    );
    kiln.build::<&str>([]).succeeds().logs("/app 755 0:0").logs("/owned 755 7:8");
}

#[test]
fn hard_links_stay_hard_links() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("in/a", "same");
    std::fs::hard_link(kiln.context().join("in/a"), kiln.context().join("in/b")).expect("a link");
    kiln.write(
        "Dockerfile",
        "FROM base AS one\nCOPY in /in\nRUN mkdir /g && echo x > /g/a && ln /g/a /g/b\n\
         FROM base\nCOPY --from=one /g /g\nCOPY --from=one /in /in\n\
         RUN test /g/a -ef /g/b && test /in/a -ef /in/b && ! test /in/a -ef /g/a && echo linked\n",
    );
    kiln.build::<&str>([]).succeeds().logs("linked");
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("a/b/x.txt", "x");
    kiln.write("Dockerfile", "FROM base\nCOPY --parents ./a/./b/x.txt /p/\nCOPY --parents a/b/x.txt /q/\n");
    let files = kiln.files::<&str>([]);
    assert!(files.contains_key("p/b/x.txt") && files.contains_key("q/a/b/x.txt"), "{:?}", files.keys());
}

#[test]
fn files_for_the_host_have_no_power_over_it() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN mknod /device b 8 0; echo x > /program; chmod 4755 /program\n");
    let out = kiln.path("out");
    kiln.build(["-o", &out.display().to_string()]).succeeds();
    assert!(!out.join("device").exists());
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(out.join("program")).expect("it").permissions());
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn one_cache_mounted_twice_is_one_cache() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let mount = |target: &str, sharing: &str| format!("--mount=type=cache,id=x,target={target},sharing={sharing}");
    for (first, second) in [("locked", "locked"), ("shared", "locked"), ("private", "shared")] {
        let mounts = format!("{} {}", mount("/a", first), mount("/b", second));
        kiln.write("Dockerfile", format!("FROM base\nRUN {mounts} echo {first}-{second} > /a/f; cat /b/f\n"));
        kiln.build::<&str>([]).succeeds().logs(&format!("{first}-{second}"));
    }
}

#[test]
fn a_secret_variable_wins_over_the_environment() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("secret", "hushed");
    let run = "RUN --mount=type=secret,id=s,env=TOKEN test \"$TOKEN\" = hushed";
    kiln.write("Dockerfile", format!("FROM base\nENV TOKEN=plain\n{run}\n"));
    kiln.build(["--secret", "id=s,src=secret"]).succeeds();
}

#[test]
fn untagged_images_go_with_a_prune() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo x > /x\n");
    kiln.build::<&str>([]).succeeds();
    kiln.run(["images"]).succeeds().stdout_has("<none>");
    kiln.build(["-t", "named"]).succeeds();
    let images = kiln.run(["images"]).stdout();
    assert!(!images.contains("<none>"), "an image that has a name is listed once: {images}");
    kiln.build(["--label", "other"]).succeeds();
    kiln.run(["images"]).succeeds().stdout_has("<none>");
    kiln.run(["prune", "--force"]).succeeds();
    let images = kiln.run(["images"]).stdout();
    assert!(images.contains("named") && !images.contains("<none>"), "{images}");
    kiln.run(["run", "named", "cat", "/x"]).succeeds().stdout_is("x\n");
}

#[test]
fn a_program_is_asked_to_end_and_finds_its_directories() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nVOLUME /data\nWORKDIR /w\nCMD [\"sh\", \"-c\", \"ls -d /data && pwd\"]\n");
    kiln.build(["-t", "v"]).succeeds();
    kiln.run(["run", "v"]).succeeds().stdout_is("/data\n/w\n");
    kiln.run(["run", "-w", "/not/there", "v", "pwd"]).succeeds().stdout_is("/not/there\n");
    let script = "trap 'echo asked; exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    let mut child = kiln.spawn(["run", "v", "sh", "-c", script]);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("a pipe")));
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
    assert_eq!(lines.next().expect("a line").expect("text"), "asked");
    assert_eq!(child.wait().expect("an end").code(), Some(9));
}
