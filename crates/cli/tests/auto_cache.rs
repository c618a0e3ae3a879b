//! Caches that steps get without an edit of the Dockerfile: with a program that is called `go` and only counts what it finds, and with
//! the real one in [`crate::go`].

use crate::support::{Kiln, Ran};
use std::fs::File;
use std::time::{Duration, SystemTime};

/// Counts its runs in the build cache and in the module cache, and leaves a program.
const GO: &str = r#"#!/bin/sh
count() {
    mkdir -p "$2" && echo x >> "$2/runs" && echo "$1 $(wc -l < "$2/runs")$(id -u | sed "s/^0$//; s/^[0-9]/ as &/")"
}
case $1 in
build)
    [ "$(id -u)" = 0 ] || { mkdir -p "$HOME/.cache/beside" && stat -c '%U %n' "$HOME/.cache"; } || exit 1
    count built "${GOCACHE:-$HOME/.cache/go-build}" || exit 1
    [ "$FAIL" != killed ] || kill -9 $$
    [ -z "$FAIL" ] || exit 7
    cat "${GOCACHE:-$HOME/.cache/go-build}/seed" 2>/dev/null
    [ -z "$3" ] || cat main.go > "$3" ;;
mod)
    count downloaded "$HOME/go/pkg/mod" && cat "$HOME/go/pkg/mod/runs" > /list ;;
esac
"#;

/// What is in the home directory of root, told by a program that nobody can see through.
const LOOK: &str = "#!/bin/sh\ncd /root && find . | sort\ncat go/pkg/mod/runs 2>/dev/null\ntrue\n";

/// A stage `go` with the program, then what follows.
fn write(kiln: &Kiln, dockerfile: &str) {
    kiln.write("go", GO).chmod("go", 0o755).write("look", LOOK).chmod("look", 0o755).write("main.go", "hello\n");
    kiln.write("Dockerfile", format!("FROM base AS go\nCOPY go look /bin/\n{dockerfile}"));
}

fn build(kiln: &Kiln, arguments: &[&str]) -> Ran {
    kiln.build(arguments)
}

const TWO_STAGES: &str = "FROM go AS builder\nARG N\nARG FAIL\nWORKDIR /app\nCOPY main.go .\nRUN go build -o /app/out\n\
                          FROM base\nCOPY --from=builder /app/out /out\n";

#[test]
fn the_next_run_finds_what_the_last_one_left() {
    let Some(kiln) = Kiln::for_builds() else { return };
    write(&kiln, TWO_STAGES);
    build(&kiln, &[]).succeeds().logs("built 1").stderr_has("auto-cache: go build (2 caches)\n");
    build(&kiln, &["--build-arg", "N=1"]).succeeds().logs("built 2");
    build(&kiln, &["--build-arg", "N=1"]).succeeds().cached("RUN go build").stderr_lacks("auto-cache");
    kiln.run(["cache", "ls"])
        .succeeds()
        .stdout_has("auto/go/build")
        .stdout_has("1/2")
        .stdout_has("Dockerfile:8 [builder");
    build(&kiln, &["--no-cache"]).succeeds().logs("built 3");
    build(&kiln, &["--no-cache", "--no-cache-mounts"]).succeeds().logs("built 1");
    let off = &["--build-arg", "N=2", "--auto-cache=off"];
    build(&kiln, off).succeeds().logs("built 1").stderr_lacks("auto-cache");
    let mut command = kiln.build_command(["--build-arg", "N=3"]);
    Ran::of(command.env("KILN_AUTO_CACHE", "off")).succeeds().logs("built 1");
    let mut command = kiln.build_command(["--build-arg", "N=3"]);
    Ran::of(command.env("KILN_AUTO_CACHE", "perhaps")).exits(2).stderr_has("KILN_AUTO_CACHE");
}

#[test]
fn no_file_of_the_image_differs() {
    let Some(kiln) = Kiln::for_builds() else { return };
    write(&kiln, TWO_STAGES);
    let image = |mode: &str| {
        let image = kiln.image(["--no-cache", "--auto-cache", mode]);
        (image.config["rootfs"].clone(), kiln.files(["--no-cache", "--auto-cache", mode]))
    };
    let off = image("off");
    assert_eq!(image("safe"), off);
    assert_eq!(image("all"), off);
    // A stage that is exported itself has all that its tools left.
    let builder = |mode: &str| kiln.files(["--no-cache", "--target=builder", "--auto-cache", mode]);
    let off = builder("off");
    assert!(off.contains_key("root/.cache/go-build/runs"));
    assert_eq!(builder("safe"), off);
    assert_eq!(builder("all"), off);
}

#[test]
fn the_mode_is_no_part_of_a_key() {
    let Some(kiln) = Kiln::for_builds() else { return };
    write(&kiln, TWO_STAGES);
    build(&kiln, &["--auto-cache=off"]).succeeds();
    for mode in ["safe", "all", "off"] {
        build(&kiln, &["--auto-cache", mode]).succeeds().cached("RUN go build");
    }
    // What was made with a cache lacks its directory, and does not stand for what must have it.
    build(&kiln, &["--build-arg", "N=1"]).succeeds().logs("built 1");
    let without = build(&kiln, &["--build-arg", "N=1", "--target=builder"]);
    without.succeeds().stderr_has("why: its result was made with an automatic cache that it does not get now");
    let whole = kiln.files(["--build-arg", "N=1", "--target=builder"]);
    assert!(whole.contains_key("root/.cache/go-build/runs"), "{whole:?}");
    build(&kiln, &["--build-arg", "N=1"]).succeeds().cached("RUN go build");
}

/// Go does not ask which headers its compiler of C read.
#[test]
fn headers_keep_build_caches_apart() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let stages = |line: &str| {
        let last = "FROM base\nCOPY --from=builder /bin/go /out\n";
        write(&kiln, &format!("FROM go AS builder\nARG N\nWORKDIR /app\n{line}\n{last}"));
    };
    let steps = [
        ("COPY . .\nRUN go build", true),
        ("RUN --mount=type=bind,target=. go build", true),
        ("COPY . .\nRUN CGO_ENABLED=0 go build", false),
    ];
    for (line, apart) in steps {
        kiln.write("csrc/v.h", "1\n");
        stages(line);
        build(&kiln, &["--no-cache", "--no-cache-mounts"]).succeeds().logs("built 1");
        kiln.write("main.go", "other\n");
        build(&kiln, &[]).succeeds().logs("built 2").stderr_has("auto-cache: go build (2 caches)\n");
        kiln.write("csrc/v.h", "2\n");
        build(&kiln, &[]).succeeds().logs(&format!("built {}", if apart { 1 } else { 3 }));
        kiln.write("csrc/v.h", "1\n");
        build(&kiln, &["--no-cache"]).succeeds().logs(&format!("built {}", if apart { 3 } else { 4 }));
    }
}

#[test]
fn an_intermediate_layer_lacks_the_cache_alone() {
    let Some(kiln) = Kiln::for_builds() else { return };
    write(
        &kiln,
        "FROM go AS builder\nRUN go build && touch /root/beside\nRUN look > /found\n\
         FROM base\nCOPY --from=builder /found /\n",
    );
    let out = kiln.path("out");
    let found = |mode: &str| {
        let destination = out.display().to_string();
        build(&kiln, &["--no-cache", "--auto-cache", mode, "-o", &destination]).succeeds();
        std::fs::read_to_string(out.join("found")).expect("found")
    };
    assert_eq!(found("safe"), ".\n./beside\n");
    assert_eq!(found("off"), ".\n./.cache\n./.cache/go-build\n./.cache/go-build/runs\n./beside\n");
}

#[test]
fn what_has_another_name_is_left_in_the_layer() {
    let Some(kiln) = Kiln::for_builds() else { return };
    for lines in ["RUN go build\nRUN ln -s /root/.cache /c", "RUN ln -s /root/.cache /c\nRUN go build"] {
        write(&kiln, &format!("FROM go AS builder\n{lines}\nFROM base\nCOPY --from=builder /c/go-build/runs /runs\n"));
        for _ in 0..2 {
            let files = kiln.files(["--no-cache"]);
            assert!(files.contains_key("runs"), "{files:?}");
            build(&kiln, &["--no-cache"]).succeeds().logs("built 1");
        }
    }
}

#[test]
fn a_mount_of_the_dockerfile_wins() {
    let Some(kiln) = Kiln::for_builds() else { return };
    for (target, variable) in [
        ("/root/.cache/go-build", ""),
        ("/root/.cache", ""),
        ("/root/.cache/go-build/00", ""),
        ("/c/d", "ENV GOCACHE=/c\n"),
        ("/r/go-build", "RUN ln -s /r /root/.cache && mkdir /r\n"),
    ] {
        let step = format!("{variable}RUN --mount=type=tmpfs,target={target} go build");
        write(&kiln, &format!("FROM go AS builder\n{step}\nFROM base\nCOPY --from=builder /bin/go /\n"));
        for _ in 0..2 {
            build(&kiln, &["--no-cache"]).succeeds().logs("built 1").stderr_lacks("2 caches");
        }
    }
}

#[test]
fn what_the_image_has_there_is_seen() {
    let Some(kiln) = Kiln::for_builds() else { return };
    // `/root/.cache` is a link, and the cache's own parents are not where they seem to be.
    let stage = |seed: &str| {
        format!(
            "FROM go AS builder\nARG N\nRUN mkdir -p /data/go-build && ln -s ../data /root/.cache && echo {seed} > /data/go-build/seed\n\
             RUN go build\nFROM base\nCOPY --from=builder /bin/go /\n"
        )
    };
    write(&kiln, &stage("one"));
    build(&kiln, &["--build-arg", "N=1"]).succeeds().logs("built 1").logs("one");
    build(&kiln, &["--build-arg", "N=2"]).succeeds().logs("built 2").logs("one");
    // Another image has another cache, which shows its own file.
    write(&kiln, &stage("two"));
    build(&kiln, &["--build-arg", "N=3"]).succeeds().logs("built 1").logs("two");
}

#[test]
fn a_user_has_a_cache_of_its_own() {
    let Some(kiln) = Kiln::for_builds() else { return };
    write(
        &kiln,
        "FROM go AS builder\nARG N\nRUN go build\nUSER app\nRUN go build\nFROM base\nCOPY --from=builder /bin/go /\n",
    );
    build(&kiln, &[]).succeeds().logs("built 1").logs("built 1 as 1000").logs("app /home/app/.cache");
    build(&kiln, &["--build-arg", "N=2"]).succeeds().logs("built 2").logs("built 2 as 1000");
}

#[test]
fn a_step_that_fails_leaves_its_cache_for_the_next() {
    let Some(kiln) = Kiln::for_builds() else { return };
    write(&kiln, TWO_STAGES);
    build(&kiln, &["--build-arg", "FAIL=1"]).exits(1).logs("built 1").stderr_has("exit code 7");
    build(&kiln, &["--build-arg", "FAIL=killed"]).exits(1).logs("built 2");
    build(&kiln, &[]).succeeds().logs("built 3");
}

#[test]
fn outputs_go_on_from_the_last_run() {
    let Some(kiln) = Kiln::for_builds() else { return };
    write(
        &kiln,
        "FROM go AS builder\nARG N\nCOPY main.go /src/\nRUN go mod download\nRUN look > /look\nFROM base\nCOPY --from=builder /list /look /\n",
    );
    let all = |n: &str| build(&kiln, &["--auto-cache=all", "--build-arg", &format!("N={n}")]);
    all("1").succeeds().logs("downloaded 1").stderr_has("auto-cache: go mod download");
    all("2").succeeds().logs("downloaded 2");
    // Only a file that is newer than the last run is sure to be noticed by tools that go by times.
    kiln.write("main.go", "newer\n");
    all("2").succeeds().logs("downloaded 3");
    kiln.write("main.go", "older\n");
    let long_ago = SystemTime::now() - Duration::from_secs(86_400);
    let file = File::options().write(true).open(kiln.context().join("main.go")).expect("main.go");
    file.set_modified(long_ago).expect("a time");
    all("2").succeeds().logs("downloaded 1");
    // What was made by going on does not stand for what is made from nothing.
    kiln.write("main.go", "new again\n");
    all("2").succeeds().logs("downloaded 2");
    build(&kiln, &["--build-arg", "N=2"]).succeeds().logs("downloaded 1");
    // What the last run left is in the layer, whole, and is not changed by the next.
    let out = kiln.path("out");
    all("3").succeeds().logs("downloaded 2");
    build(&kiln, &["--auto-cache=all", "--build-arg", "N=3", "-o", &out.display().to_string()]).succeeds();
    let read = |name: &str| std::fs::read_to_string(out.join(name)).expect(name);
    assert_eq!(read("list"), "x\nx\n");
    assert!(read("look").ends_with("./go/pkg/mod/runs\nx\nx\n"), "{}", read("look"));
}

/// Counts its runs in the directory of packages, which it does not make anew.
const NPM: &str = "#!/bin/sh\nmkdir -p node_modules && echo x >> node_modules/runs && echo \"installed $(wc -l < node_modules/runs)\"\n\
                   cp node_modules/runs /list\n";

#[test]
fn packages_are_kept_while_their_lists_alone_change() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("npm", NPM).chmod("npm", 0o755).write("package.json", "1").write("node", "22");
    kiln.write(
        "Dockerfile",
        "FROM base AS builder\nCOPY npm node /bin/\nARG N\nWORKDIR /app\nCOPY package*.json ./\nRUN npm install\n\
         FROM base\nCOPY --from=builder /list /\n",
    );
    let all = |n: &str| build(&kiln, &["--auto-cache=all", "--build-arg", &format!("N={n}")]);
    all("1").succeeds().logs("installed 1");
    // Which versions are there may be what the last run chose.
    kiln.write("package.json", "2");
    all("1").succeeds().logs("installed 1");
    kiln.write("package-lock.json", "2");
    all("1").succeeds().logs("installed 2");
    kiln.write("package.json", "3").write("package-lock.json", "3");
    all("1").succeeds().logs("installed 3");
    // What a package is made for is more than what it is named by.
    kiln.write("node", "24");
    all("1").succeeds().logs("installed 1");
    all("2").succeeds().logs("installed 1");
    kiln.write("package.json", "4");
    all("2").succeeds().logs("installed 2");
    build(&kiln, &["--build-arg", "N=2", "--no-cache"]).succeeds().logs("installed 1");
}
