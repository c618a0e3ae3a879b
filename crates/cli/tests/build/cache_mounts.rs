//! `RUN --mount`: cache mounts with all of their options, and bind and tmpfs mounts.

use crate::support::Kiln;

/// A Dockerfile of one RUN with this mount, with an ARG to make it run again.
fn run(mount: &str, command: &str) -> String {
    format!("FROM base\nARG N\nRUN --mount={mount} {command}\n")
}

fn build(kiln: &Kiln, n: &str, dockerfile: &str) -> crate::support::Ran {
    kiln.write("Dockerfile", dockerfile);
    kiln.build(["--build-arg", &format!("N={n}")])
}

const COUNT: &str = "echo x >> /cache/log && echo lines $(wc -l < /cache/log)";

#[test]
fn contents_outlive_builds_and_are_not_in_the_image() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let dockerfile = run("type=cache,target=/cache", COUNT);
    build(&kiln, "1", &dockerfile).succeeds().logs("lines 1");
    build(&kiln, "2", &dockerfile).succeeds().logs("lines 2");
    build(&kiln, "2", &dockerfile).succeeds().cached("RUN");
    let files = kiln.files(["--build-arg", "N=2"]);
    assert!(!files.contains_key("cache/log"), "{files:?}");
}

#[test]
fn targets_may_be_quoted_relative_and_called_dst() {
    let Some(kiln) = Kiln::for_builds() else { return };
    build(&kiln, "1", &run("type=cache,target=\"/cache\"", COUNT)).succeeds().logs("lines 1");
    build(&kiln, "2", &run("type=cache,dst=/cache", COUNT)).succeeds().logs("lines 2");
    build(&kiln, "3", &run("type=cache,destination=/cache/", COUNT)).succeeds().logs("lines 3");
    // A relative target is below the working directory, and its default id is the target as written.
    let relative = "FROM base\nARG N\nWORKDIR /w\nRUN --mount=type=cache,target=cache echo x >> /w/cache/log && cat /w/cache/log\n";
    build(&kiln, "4", relative).succeeds().logs("x");
    let variable =
        "FROM base\nARG N\nENV C=/cache\nRUN --mount=type=cache,target=$C echo lines $(wc -l < /cache/log)\n";
    build(&kiln, "5", variable).succeeds().logs("lines 3");
}

#[test]
fn ids_are_shared_across_targets() {
    let Some(kiln) = Kiln::for_builds() else { return };
    build(&kiln, "1", &run("type=cache,id=mine,target=/cache", COUNT)).succeeds().logs("lines 1");
    let elsewhere = run("type=cache,id=mine,target=/other", "echo lines $(wc -l < /other/log)");
    build(&kiln, "2", &elsewhere).succeeds().logs("lines 1");
    build(&kiln, "3", &run("type=cache,target=/cache", COUNT)).succeeds().logs("lines 1");
}

#[test]
fn read_only_mounts_cannot_be_written() {
    let Some(kiln) = Kiln::for_builds() else { return };
    build(&kiln, "1", &run("type=cache,target=/cache", COUNT)).succeeds();
    for option in ["ro", "readonly", "ro=true"] {
        let command = "cat /cache/log && (echo y > /cache/y || echo refused)";
        build(&kiln, option, &run(&format!("type=cache,target=/cache,{option}"), command)).succeeds().logs("refused");
    }
    build(&kiln, "3", &run("type=cache,target=/cache,rw", COUNT)).succeeds().logs("lines 2");
}

#[test]
fn mode_and_owner() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let show = "stat -c '%a %u:%g' /cache";
    build(&kiln, "1", &run("type=cache,target=/cache", show)).succeeds().logs("755 0:0");
    build(&kiln, "2", &run("type=cache,target=/cache,mode=0700,uid=12,gid=34", show)).succeeds().logs("700 12:34");
    // As in BuildKit, no more than permissions.
    build(&kiln, "3", &run("type=cache,target=/cache,mode=1777", show)).succeeds().logs("777 0:0");
}

#[test]
fn a_mount_may_start_as_something_else() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let dockerfile = "FROM base AS seed\nRUN mkdir -p /s/sub && echo seeded > /s/sub/f\nFROM base\nARG N\n\
                      RUN --mount=type=cache,target=/cache,from=seed,source=/s cat /cache/sub/f && echo more >> /cache/sub/f\n";
    build(&kiln, "1", dockerfile).succeeds().logs("seeded");
    build(&kiln, "2", dockerfile).succeeds().logs("seeded").logs("more");
    // Another source is another cache.
    let sub = dockerfile.replace("source=/s ", "source=/s/sub ").replace("/cache/sub/f", "/cache/f");
    let ran = build(&kiln, "3", &sub);
    ran.succeeds().logs("seeded");
    assert!(!ran.logged("more"), "{ran}");
}

/// Two stages whose steps take a second with this kind of mount; when each began and ended, in seconds since the machine's start.
fn two_at_once(kiln: &Kiln, sharing: &str) -> [(f64, f64); 2] {
    let step = |name: &str| {
        format!(
            "FROM base AS {name}\nRUN --mount=type=cache,target=/cache,sharing={sharing} cut -d' ' -f1 /proc/uptime > /{name} \\\n\
             && mkdir /cache/mine && sleep 1 && rmdir /cache/mine && cut -d' ' -f1 /proc/uptime >> /{name}\n"
        )
    };
    let (a, b) = (step("a"), step("b"));
    kiln.write("Dockerfile", format!("{a}{b}FROM scratch\nCOPY --from=a /a /a\nCOPY --from=b /b /b\n"));
    let out = kiln.path("out");
    kiln.build(["-o", out.to_str().unwrap()]).succeeds();
    ["a", "b"].map(|name| {
        let text = std::fs::read_to_string(out.join(name)).unwrap();
        let times: Vec<f64> = text.lines().map(|line| line.parse().unwrap()).collect();
        (times[0], times[1])
    })
}

#[test]
fn locked_mounts_wait() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let [a, b] = two_at_once(&kiln, "locked");
    assert!(a.1 <= b.0 || b.1 <= a.0, "they overlap: {a:?} {b:?}");
}

#[test]
fn private_mounts_are_new_while_the_other_is_in_use() {
    let Some(kiln) = Kiln::for_builds() else { return };
    // In a shared mount, the second mkdir would fail.
    let [a, b] = two_at_once(&kiln, "private");
    assert!(a.0 < b.1 && b.0 < a.1, "they do not overlap: {a:?} {b:?}");
}

#[test]
fn shared_mounts_are_written_by_several_at_once() {
    let Some(kiln) = Kiln::for_builds() else { return };
    // Each waits for the other.
    let step = |own: &str, other: &str| {
        format!(
            "RUN --mount=type=cache,target=/cache,sharing=shared touch /cache/{own}; for i in $(seq 100); do test -e /cache/{other} && break; sleep 0.1; done; test -e /cache/{other} && echo {own} > /{own}\n"
        )
    };
    kiln.write(
        "Dockerfile",
        format!(
            "FROM base AS a\n{}FROM base AS b\n{}FROM scratch\nCOPY --from=a /a /a\nCOPY --from=b /b /b\n",
            step("a", "b"),
            step("b", "a")
        ),
    );
    kiln.build::<&str>([]).succeeds();
}

#[test]
fn no_cache_keeps_mounts() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let dockerfile = run("type=cache,target=/cache", COUNT);
    build(&kiln, "1", &dockerfile).succeeds().logs("lines 1");
    kiln.build(["--build-arg", "N=1", "--no-cache"]).succeeds().logs("lines 2");
}

#[test]
fn a_failed_step_leaves_a_usable_mount() {
    let Some(kiln) = Kiln::for_builds() else { return };
    build(&kiln, "1", &run("type=cache,target=/cache", COUNT)).succeeds().logs("lines 1");
    build(&kiln, "2", &run("type=cache,target=/cache", "false")).exits(1);
    build(&kiln, "3", &run("type=cache,target=/cache", "echo lines $(wc -l < /cache/log)")).succeeds().logs("lines 1");
}

#[test]
fn bind_mounts() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("src/file", "from the context\n").write("other", "x");
    kiln.write(
        "Dockerfile",
        r#"FROM base AS other
RUN mkdir /o && echo "from a stage" > /o/f
FROM base
RUN --mount=type=bind,source=src,target=/m cat /m/file; echo n > /m/n || echo refused
RUN --mount=target=/all ls /all | tr '\n' ' '
RUN --mount=type=bind,from=other,source=/o,target=/m,rw cat /m/f && echo n > /m/n && echo written
RUN --mount=type=bind,from=other,source=/o/f,target=/one cat /one
RUN ls /m 2>/dev/null | wc -l
"#,
    );
    let ran = kiln.build::<&str>([]);
    ran.succeeds()
        .logs("from the context")
        .logs("refused")
        .logs("Dockerfile other src ")
        .logs("from a stage")
        .logs("written");
    kiln.write("src/file", "changed\n");
    let ran = kiln.build::<&str>([]);
    ran.succeeds().executed("source=src,target=/m").cached("from=other,source=/o/f");
}

#[test]
fn a_bind_mount_depends_on_what_it_shows_alone() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("src/file", "1")
        .write("other", "1")
        .write("Dockerfile", "FROM base\nRUN --mount=source=src,target=/m cat /m/file\n");
    kiln.build::<&str>([]).succeeds();
    kiln.write("other", "2");
    kiln.build::<&str>([]).succeeds().cached("RUN");
    kiln.write("src/file", "2");
    let ran = kiln.build::<&str>([]);
    ran.succeeds().executed("RUN");
    assert!(ran.step("RUN").iter().any(|line| line.starts_with("why: ") && line.contains("file")), "{ran}");
}

#[test]
fn tmpfs_mounts() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=tmpfs,target=/t,size=4m df -k /t | tail -n 1 | awk '{print \"size\", $2}'; echo x > /t/x\n");
    kiln.build::<&str>([]).succeeds().logs("size 4096");
    assert!(!kiln.files::<&str>([]).contains_key("t/x"));
}

#[test]
fn a_tmpfs_mount_without_a_size_is_open_to_all() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base\nRUN --mount=type=tmpfs,target=/t stat -c '%a %u:%g' /t && grep ' /t ' /proc/mounts\n\
         RUN --mount=type=tmpfs,target=/t,size=1m dd if=/dev/zero of=/t/x bs=2M count=1 2>/dev/null || echo full\n",
    );
    kiln.build::<&str>([]).succeeds().logs("1777 0:0").logs("full");
}

#[test]
fn what_is_written_to_a_bind_mount_is_gone() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("src/file", "old\n").write(
        "Dockerfile",
        "FROM base\nRUN --mount=source=src,target=/m,rw echo new > /m/file && touch /m/more && cat /m/file\n\
         RUN --mount=source=src,target=/m cat /m/file && test ! -e /m/more && echo as before\n",
    );
    kiln.build::<&str>([]).succeeds().logs("new").logs("old").logs("as before");
    assert_eq!(std::fs::read_to_string(kiln.context().join("src/file")).unwrap(), "old\n");
    assert!(!kiln.context().join("src/more").exists());
}

#[test]
fn mistakes_in_mounts() {
    let Some(kiln) = Kiln::for_builds() else { return };
    for (mount, message) in [
        ("type=cache", "target"),
        ("type=cach,target=/c", "cach"),
        ("type=cache,target=/c,sharing=open", "open"),
        ("type=cache,target=/c,mode=rwx", "rwx"),
        ("type=cache,target=/c,uid=me", "me"),
        ("type=cache,target=/c,colour=red", "colour"),
        ("type=bind,from=nobody:nowhere/x,target=/c", "nobody"),
        ("type=bind,source=missing,target=/c", "missing"),
    ] {
        let ran = build(&kiln, "1", &run(mount, "true"));
        assert!(matches!(ran.status, Some(1 | 3)), "{ran}");
        ran.stderr_has("Dockerfile:3").stderr_has(message);
    }
}
