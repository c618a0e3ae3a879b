//! COPY and ADD.

use crate::support::Kiln;
use std::process::Command;

#[test]
fn destinations() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("a.txt", "a").write("b.txt", "b").write("dir/sub/c.txt", "c").write("dir/d.txt", "d");
    kiln.write(
        "Dockerfile",
        r#"FROM scratch
WORKDIR /w
COPY a.txt renamed
COPY a.txt b.txt into/
COPY dir merged
COPY dir/ /abs/
COPY *.txt /glob/
COPY ["a.txt", "/with space/"]
COPY . /all
"#,
    );
    let files = kiln.files::<&str>([]);
    for path in [
        "w/renamed",
        "w/into/a.txt",
        "w/into/b.txt",
        "w/merged/d.txt",
        "w/merged/sub/c.txt",
        "abs/d.txt",
        "glob/a.txt",
        "glob/b.txt",
        "with space/a.txt",
        "all/dir/sub/c.txt",
        "all/Dockerfile",
    ] {
        assert!(files.contains_key(path), "no {path} in {:?}", files.keys());
    }
    assert!(!files.contains_key("w/merged/dir"));
    assert_eq!(files["w/renamed"].owner, "0/0");
}

#[test]
fn owners_and_modes() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("file", "x").write("dir/inner", "y").chmod("file", 0o640);
    kiln.write(
        "Dockerfile",
        r#"FROM base
COPY file /plain
COPY --chown=app:staff file /named
COPY --chown=12:34 dir /numbered
COPY --chown=app file /user
COPY --chmod=751 file /octal
COPY --chmod=u=rwX,go=rX dir /symbolic
COPY --chown=app --chmod=0600 file /newdir/both
ADD --chown=7 file /added
"#,
    );
    let files = kiln.files::<&str>([]);
    let of = |path: &str| (files[path].mode.as_str(), files[path].owner.as_str());
    assert_eq!(of("plain"), ("-rw-r-----", "0/0"));
    assert_eq!(of("named"), ("-rw-r-----", "1000/50"));
    assert_eq!(files["numbered"].owner, "12/34");
    assert_eq!(files["numbered/inner"].owner, "12/34");
    assert_eq!(of("user"), ("-rw-r-----", "1000/1000"));
    assert_eq!(of("octal"), ("-rwxr-x--x", "0/0"));
    assert_eq!(of("symbolic/inner"), ("-rw-r--r--", "0/0"));
    assert_eq!(of("newdir/both"), ("-rw-------", "1000/1000"));
    assert_eq!(files["added"].owner, "7/7");
}

#[test]
fn links() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("real/file", "content");
    std::os::unix::fs::symlink("real/file", kiln.context().join("link")).unwrap();
    std::os::unix::fs::symlink("../real", kiln.context().join("real/up")).unwrap();
    kiln.write("Dockerfile", "FROM base\nCOPY link /followed\nCOPY real /dir\nRUN cat /followed\n");
    kiln.build::<&str>([]).succeeds().logs("content");
    let files = kiln.files::<&str>([]);
    assert_eq!(files["followed"].target, None);
    assert_eq!(files["dir/up"].target.as_deref(), Some("../real"));
}

#[test]
fn nothing_is_reached_outside_the_context_or_the_root() {
    let Some(kiln) = Kiln::for_builds() else { return };
    std::fs::write(kiln.path("secret"), "outside").unwrap();
    std::os::unix::fs::symlink("/etc", kiln.context().join("evil")).unwrap();
    std::os::unix::fs::symlink("../secret", kiln.context().join("up")).unwrap();
    kiln.write("file", "inside");
    for source in ["../secret", "up", "evil/passwd", "/../../secret"] {
        kiln.write("Dockerfile", format!("FROM scratch\nCOPY {source} /x\n"));
        let ran = kiln.build::<&str>([]);
        ran.exits(1).stderr_has("Dockerfile:2");
    }
    // A link in the image leads within the image.
    let escape = kiln.path("escape");
    std::fs::create_dir(&escape).unwrap();
    let target = escape.display();
    kiln.write(
        "Dockerfile",
        format!("FROM base\nRUN ln -s {target} /out\nCOPY file /out/file\nRUN cat {target}/file\n"),
    );
    kiln.build::<&str>([]).succeeds().logs("inside");
    assert_eq!(std::fs::read_dir(&escape).unwrap().count(), 0);
}

#[test]
fn heredocs() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base\nARG NAME=world\nCOPY <<EOF /hello\nhello $NAME\nEOF\nCOPY <<'ONE' <<\"TWO\" /dir/\nraw $NAME\nONE\ntwo\nTWO\nRUN cat /hello /dir/ONE /dir/TWO\n",
    );
    kiln.build::<&str>([]).succeeds().logs("hello world").logs("raw $NAME").logs("two");
}

#[test]
fn archives_are_unpacked_by_add_alone() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("in/one", "1").write("in/deep/two", "2");
    for (name, option) in [("a.tar", "-cf"), ("a.tar.gz", "-czf"), ("a.tar.bz2", "-cjf")] {
        let status =
            Command::new("tar").arg(option).arg(name).args(["-C", "in", "."]).current_dir(kiln.context()).status();
        assert!(status.unwrap().success());
    }
    kiln.write(
        "Dockerfile",
        "FROM base\nADD a.tar /tar/\nADD a.tar.gz /gz/\nADD a.tar.bz2 /bz2/\nCOPY a.tar /copied/\nADD in /dir\nRUN cat /tar/one /gz/deep/two /bz2/one; ls /copied /dir\n",
    );
    let files = kiln.files::<&str>([]);
    for path in ["tar/one", "tar/deep/two", "gz/deep/two", "bz2/one", "copied/a.tar", "dir/deep/two"] {
        assert!(files.contains_key(path), "no {path} in {:?}", files.keys());
    }
}

#[test]
fn wildcards_and_copies_of_nothing() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("x1", "").write("x2", "").write("d/y1", "");
    kiln.write("Dockerfile", "FROM scratch\nCOPY x? d/y[0-9] /g/\n");
    let files = kiln.files::<&str>([]);
    assert!(["g/x1", "g/x2", "g/y1"].iter().all(|path| files.contains_key(*path)), "{:?}", files.keys());
    // As with BuildKit, a pattern may match nothing.
    kiln.write("Dockerfile", "FROM scratch\nCOPY x1 /x1\nCOPY z* /z/\n");
    kiln.build::<&str>([]).succeeds();
}
