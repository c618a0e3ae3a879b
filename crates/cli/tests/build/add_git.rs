//! ADD of git repositories: what is checked out, what is fetched again, who may fetch, and what goes wrong.

use crate::support::{GitServer, Kiln, Page, Ran, Web, has_program};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

fn add(kiln: &Kiln, address: &str, rest: &str) {
    kiln.write("Dockerfile", format!("FROM base\nADD {address} /src/\n{rest}\n"));
}

fn ready() -> Option<(Kiln, GitServer)> {
    let (kiln, server) = (Kiln::for_builds()?, GitServer::start()?);
    server.commit("a", &[("file", "one\n"), ("sub/dir/deep", "deep\n"), ("run.sh", "#!/bin/sh\n")]);
    Some((kiln, server))
}

#[test]
fn what_is_checked_out() {
    let Some((kiln, server)) = ready() else { return };
    server.git("a", &["update-index", "--chmod=+x", "run.sh"]);
    server.git("a", &["commit", "--quiet", "--message", "mode"]);
    server.git("a", &["checkout", "--quiet", "."]);
    symlink("sub/dir", server.work("a").join("link")).unwrap();
    server.commit("a", &[]);
    server.git("a", &["tag", "--annotate", "v1", "--message", "one"]);
    server.git("a", &["checkout", "--quiet", "-b", "other"]);
    let commit = server.commit("a", &[("file", "two\n")]);
    server.git("a", &["checkout", "--quiet", "main"]);
    let url = server.url("a");
    kiln.write(
        "Dockerfile",
        format!(
            "FROM base\nADD {url} /default/\nADD {url}#other /other/\nADD {url}#v1 /tag/\nADD {url}#{commit} /commit/\n\
             ADD {url}#:sub/dir /sub/\nADD {url}?branch=other&subdir=link /linked/\nADD --chown=app:app --chmod=0600 {url}#v1:sub /owned/\n\
             ADD --exclude=sub {url} /without/\n\
             RUN cat /default/file /other/file /tag/file /commit/file; ls -a /sub /linked /without\n\
             RUN stat -c '%n %a %u:%g' /default /default/file /default/run.sh /default/sub /owned/dir/deep; readlink /default/link\n\
             RUN ! test -e /default/.git && ! test -e /without/sub\n"
        ),
    );
    let ran = kiln.build::<&str>([]);
    ran.succeeds().logs("deep").logs("sub/dir");
    let files: Vec<_> = ran.stderr.lines().filter(|line| line.ends_with(" one") || line.ends_with(" two")).collect();
    let ends: Vec<_> = files.iter().map(|line| &line[line.len() - 3..]).collect();
    assert_eq!(ends, ["one", "two", "one", "two"], "{ran}");
    ran.logs("/default 755 0:0")
        .logs("/default/file 644 0:0")
        .logs("/default/run.sh 755 0:0")
        .logs("/default/sub 755 0:0");
    ran.logs("/owned/dir/deep 600 1000:1000");
}

#[test]
fn an_unchanged_repository_is_only_asked_for() {
    let Some((kiln, server)) = ready() else { return };
    add(&kiln, &format!("{}#main", server.url("a")), "RUN cat /src/file");
    kiln.build::<&str>([]).succeeds().logs("one");
    server.requests();
    kiln.build::<&str>([]).succeeds().cached("ADD").cached("RUN cat").stderr_has("all cached");
    assert!(
        server
            .requests()
            .iter()
            .all(|request| !request.starts_with("POST /a.git/git-upload-pack") || request.is_empty())
            || server.served("a").exists()
    );
    // What another commit changes elsewhere, or not at all, changes nothing here.
    server.commit("a", &[]);
    kiln.build::<&str>([]).succeeds().cached("RUN cat");
    server.commit("a", &[("file", "three\n")]);
    let ran = kiln.build::<&str>([]);
    ran.succeeds().executed("RUN cat").logs("three").stderr_has("why: file changed");
    // A commit that is named is not even asked for once it is here.
    let commit = server.commit("a", &[("file", "four\n")]);
    add(&kiln, &format!("{}#{commit}", server.url("a")), "RUN cat /src/file");
    kiln.build::<&str>([]).succeeds().logs("four");
    server.requests();
    kiln.build::<&str>([]).succeeds().cached("RUN cat");
    assert!(server.requests().is_empty());
}

#[test]
fn the_git_directory_is_kept_on_demand() {
    let Some((kiln, server)) = ready() else { return };
    server.git("a", &["tag", "v1"]);
    let commit = server.push("a");
    let url = server.url("a").replace("http://", "http://user:hunter2@");
    kiln.write(
        "Dockerfile",
        format!("FROM scratch\nADD --keep-git-dir=true {url}#v1 /flag/\nADD {url}?keep-git-dir=1#:sub /sub/\nADD {url}?keep-git-dir /query/\n"),
    );
    let out = kiln.path("out");
    kiln.build(["-o", out.to_str().unwrap()]).succeeds();
    let git = |directory: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new("git");
        let ran = Ran::of(command.args(["-c", "safe.directory=*", "-C"]).arg(out.join(directory)).args(arguments));
        ran.succeeds();
        ran.stdout().trim().to_owned()
    };
    for directory in ["flag", "query"] {
        assert_eq!(git(directory, &["rev-parse", "HEAD"]), commit);
        assert_eq!(git(directory, &["status", "--porcelain"]), "");
        assert_eq!(git(directory, &["remote", "get-url", "origin"]), server.url("a"));
    }
    assert_eq!(git("flag", &["describe", "--tags"]), "v1");
    assert!(!out.join("sub/.git").exists());
    assert!(fs::read_to_string(out.join("flag/.git/config")).is_ok_and(|text| !text.contains("hunter2")));
}

#[test]
fn the_git_directory_is_the_same_each_time() {
    let (Some((kiln, server)), Some(other)) = (ready(), Kiln::for_builds()) else { return };
    server.commit("inner", &[("inside", "inside\n")]);
    server.git("a", &["submodule", "--quiet", "add", &server.url("inner"), "mod"]);
    server.commit("a", &[]);
    let files = |kiln: &Kiln| {
        kiln.write("Dockerfile", format!("FROM scratch\nADD --keep-git-dir=true {} /\n", server.url("a")));
        let out = kiln.path("out");
        kiln.build(["-o", out.to_str().unwrap()]).succeeds();
        let paths = grep(&out, b"").into_iter().map(|path| path.strip_prefix(&out).unwrap().to_owned());
        let mut files: Vec<_> = paths.map(|path| (fs::read(out.join(&path)).unwrap(), path)).collect();
        files.sort();
        files
    };
    let (one, two) = (files(&kiln), files(&other));
    let names = |files: &[(Vec<u8>, PathBuf)]| files.iter().map(|(_, path)| path.clone()).collect::<Vec<_>>();
    for index in [".git/index", ".git/modules/mod/index"] {
        assert!(names(&one).contains(&PathBuf::from(index)), "{:?}", names(&one));
    }
    assert_eq!(names(&one), names(&two));
    assert!(one == two, "some file of `.git` differs");
}

#[test]
fn submodules_come_along() {
    let Some((kiln, server)) = ready() else { return };
    server.commit("inner", &[("inside", "inside\n")]);
    server.commit("outer", &[("file", "outer\n")]);
    server.git("outer", &["submodule", "--quiet", "add", &server.url("inner"), "mod"]);
    let gitmodules = server.work("outer").join(".gitmodules");
    // As most repositories have it, beside the outer one.
    let text = fs::read_to_string(&gitmodules).unwrap().replace(&server.url("inner"), "../inner.git");
    fs::write(&gitmodules, text).unwrap();
    server.commit("outer", &[]);
    let url = server.url("outer");
    kiln.write(
        "Dockerfile",
        format!(
            "FROM base\nADD {url} /with/\nADD {url}?submodules=false /without/\n\
             RUN cat /with/mod/inside; ls /without/mod | wc -l; find /with /without -name .git | wc -l\n"
        ),
    );
    kiln.build::<&str>([]).succeeds().logs("inside").logs("0");
    // A submodule does not reach this machine's files.
    let secret = kiln.path("secret.git");
    let text = fs::read_to_string(&gitmodules).unwrap().replace("../inner.git", secret.to_str().unwrap());
    fs::write(&gitmodules, text).unwrap();
    server.commit("outer", &[]);
    fs::rename(server.served("inner"), &secret).unwrap();
    kiln.build::<&str>([]).exits(3).stderr_has("not allowed");
}

#[test]
fn credentials_of_an_address_are_not_written_down() {
    let Some((kiln, server)) = ready() else { return };
    server.commit("inner", &[("inside", "inside\n")]);
    server.commit("outer", &[("file", "outer\n")]);
    server.git("outer", &["submodule", "--quiet", "add", &server.url("inner"), "mod"]);
    let gitmodules = server.work("outer").join(".gitmodules");
    let text = fs::read_to_string(&gitmodules).unwrap().replace(&server.url("inner"), "../inner.git");
    fs::write(&gitmodules, text).unwrap();
    server.commit("outer", &[]);
    // user:hunter2
    server.wants("basic dXNlcjpodW50ZXIy");
    let url = server.url("outer").replace("http://", "http://user:hunter2@");
    kiln.write("Dockerfile", format!("FROM scratch\nADD --keep-git-dir=true {url} /src/\n"));
    let out = kiln.path("out");
    kiln.build(["-o", out.to_str().unwrap()]).succeeds();
    assert_eq!(fs::read_to_string(out.join("src/mod/inside")).unwrap(), "inside\n");
    assert!(fs::read_to_string(out.join("src/.git/config")).unwrap().contains(&server.url("inner")));
    let files = grep(&out, b"hunter2").into_iter().chain(grep(&out, b"dXNlcjpodW50ZXIy"));
    assert_eq!(files.collect::<Vec<_>>(), Vec::<PathBuf>::new());
    // A user alone may be a token.
    add(&kiln, &server.url("outer").replace("http://", "http://ghp_hunter2@"), "");
    let ran = kiln.build::<&str>([]);
    ran.exits(3);
    let from = ran.stderr.find("\nerror").unwrap_or_default();
    let message = ran.stderr[from..].lines().filter(|line| !line.contains("ADD")).collect::<String>();
    assert!(message.contains("git failed for") && !message.contains("hunter2"), "{ran}");
}

/// The files below a directory that have the text in them.
fn grep(directory: &Path, text: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(grep(&path, text));
        } else if fs::read(&path)
            .is_ok_and(|bytes| text.is_empty() || bytes.windows(text.len()).any(|part| part == text))
        {
            found.push(path);
        }
    }
    found
}

#[test]
fn checksums_and_what_is_not_there() {
    let Some((kiln, server)) = ready() else { return };
    let commit = server.push("a");
    let url = server.url("a");
    let short = &commit[..12];
    add(&kiln, &format!("--checksum={commit} {url}#main"), "RUN cat /src/file");
    kiln.build::<&str>([]).succeeds().logs("one");
    add(&kiln, &format!("{url}?commit={short}&branch=main"), "RUN cat /src/file");
    kiln.build::<&str>([]).succeeds();
    let wrong = "0".repeat(40);
    for (address, status, text) in [
        (format!("--checksum={wrong} {url}#main"), 1, &*commit),
        (format!("{url}#none"), 1, "has no branch or tag `none`"),
        (format!("{url}#main:none"), 1, "has no directory `none`"),
        (format!("{url}#main:file"), 1, "has no directory `file`"),
        (format!("{url}#{wrong}"), 3, "git failed for"),
        (server.url("missing"), 3, "git failed for"),
        (server.url("missing").replace("http://", "http://u:hunter2@"), 3, "git failed for"),
    ] {
        add(&kiln, &address, "");
        let ran = kiln.build::<&str>([]);
        ran.exits(status).stderr_has(text).stderr_has("Dockerfile:2").stderr_lacks("panicked");
        let message = ran.stderr.lines().find(|line| line.starts_with("error")).unwrap_or_default();
        assert!(!message.contains("hunter2"), "{ran}");
    }
}

#[test]
fn tokens_are_secrets() {
    let Some((kiln, server)) = ready() else { return };
    server.wants("basic eC1hY2Nlc3MtdG9rZW46b3BlbiBzZXNhbWU=");
    add(&kiln, &server.url("a"), "RUN cat /src/file");
    kiln.build::<&str>([]).exits(3).stderr_has("GIT_AUTH_TOKEN");
    let build = |id: &str| {
        let secret = format!("id={id},env=TOKEN");
        Ran::of(kiln.build_command(["--no-cache", "--secret", &secret]).env("TOKEN", "open sesame"))
    };
    for id in ["GIT_AUTH_TOKEN".to_owned(), format!("GIT_AUTH_TOKEN.{}", server.address())] {
        build(&id).succeeds().logs("one").stderr_lacks("sesame");
    }
    build("GIT_AUTH_TOKEN.example.org").exits(3);
}

#[test]
fn tokens_are_not_sent_on() {
    let Some((kiln, server)) = ready() else { return };
    let (web, place) = (Web::start(), "/info/refs?service=git-upload-pack");
    web.put(&format!("/a.git{place}"), Page::moved_to(&format!("{}{place}", server.url("a"))));
    add(&kiln, &web.url("/a.git"), "RUN cat /src/file");
    let secret = ["--secret", "id=GIT_AUTH_TOKEN,env=TOKEN"];
    let ran = Ran::of(kiln.build_command(secret).env("TOKEN", "open sesame"));
    ran.exits(3).stderr_has("302").stderr_has("the one that the server redirects to").stderr_lacks("sesame");
    assert_eq!(server.requests(), Vec::<String>::new());
    kiln.build::<&str>([]).succeeds().logs("one");
}

#[test]
fn agents_are_lent() {
    let Some((kiln, server)) = ready() else { return };
    if !has_program("ssh-agent") || !has_program("ssh-add") {
        return;
    }
    // A stand-in for ssh that says which keys it is lent, and serves the repository itself.
    let bin = kiln.path("bin");
    fs::create_dir(&bin).unwrap();
    let seen = kiln.path("seen");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {seen}\nssh-add -L >> {seen} || exit 255\nexec git-upload-pack {}\n",
        server.served("a").display(),
        seen = seen.display(),
    );
    fs::write(bin.join("ssh"), script).unwrap();
    fs::set_permissions(bin.join("ssh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let key = kiln.path("key");
    let keygen = ["-q", "-t", "ed25519", "-N", "", "-C", "a test", "-f"];
    Ran::of(std::process::Command::new("ssh-keygen").args(keygen).arg(&key)).succeeds();
    let path = format!("{}:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
    let build = |arguments: &[&str]| Ran::of(kiln.build_command(arguments).env("PATH", &path));
    add(&kiln, "git@example.org:a.git", "RUN cat /src/file");
    build(&[]).exits(3);
    let agent = format!("default={}", key.display());
    build(&["--ssh", &agent]).succeeds().logs("one");
    let seen = fs::read_to_string(seen).unwrap();
    assert!(seen.contains("ssh-ed25519") && seen.contains("git@example.org git-upload-pack 'a.git'"), "{seen}");
}

#[test]
fn servers_that_only_serve_files() {
    let Some((kiln, server)) = ready() else { return };
    let web = Web::start();
    put_all(&web, &server.served("a"), "/a.git");
    add(&kiln, &web.url("/a.git"), "RUN cat /src/file");
    kiln.build::<&str>([]).succeeds().logs("one");
    // What was kept has all of the commit.
    add(&kiln, &format!("--keep-git-dir=true {}", web.url("/a.git")), "RUN cat /src/file && test -d /src/.git");
    kiln.build::<&str>([]).succeeds().logs("one").stderr_lacks("fetching ");
    // A copy that has not is left aside.
    for kept in fs::read_dir(kiln.root().join("contexts")).unwrap().flatten() {
        let packs = kept.path().join("objects/pack");
        if packs.exists() {
            fs::remove_dir_all(packs).unwrap();
        }
    }
    add(&kiln, &format!("{}#:sub", web.url("/a.git")), "RUN cat /src/dir/deep");
    kiln.build::<&str>([]).succeeds().logs("deep");
}

fn put_all(web: &Web, directory: &Path, at: &str) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let (path, at) = (entry.path(), format!("{at}/{}", entry.file_name().to_string_lossy()));
        if path.is_dir() {
            put_all(web, &path, &at);
        } else {
            web.put(&at, Page::new(fs::read(&path).unwrap()));
            if at.ends_with("/info/refs") {
                web.put(&format!("{at}?service=git-upload-pack"), Page::new(fs::read(&path).unwrap()));
            }
        }
    }
}

#[test]
fn a_damaged_copy_is_fetched_again() {
    let Some((kiln, server)) = ready() else { return };
    add(&kiln, &server.url("a"), "RUN cat /src/file");
    kiln.build::<&str>([]).succeeds();
    let contexts = kiln.root().join("contexts");
    let kept = || fs::read_dir(&contexts).unwrap().flatten().map(|entry| entry.path());
    let kept = kept().find(|path| path.is_dir()).expect("a kept repository");
    for file in fs::read_dir(kept.join("objects/pack")).unwrap().flatten() {
        let length = fs::metadata(file.path()).unwrap().len();
        fs::remove_file(file.path()).unwrap();
        fs::write(file.path(), vec![0; usize::try_from(length / 2).unwrap()]).unwrap();
    }
    server.commit("a", &[("file", "mended\n")]);
    kiln.build::<&str>([]).succeeds().logs("mended");
    kiln.run(["prune", "--all", "--force"]).succeeds();
    assert_eq!(fs::read_dir(&contexts).unwrap().count(), 0);
}

#[test]
fn repositories_of_longer_ids() {
    let Some((kiln, server)) = ready() else { return };
    let (work, served) = (kiln.path("work"), server.served("sha256"));
    let ran = |directory: &Path, arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.args(["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "safe.directory=*"]);
        Ran::of(git.args(arguments).current_dir(directory)).succeeds();
    };
    for directory in [&work, &served] {
        fs::create_dir(directory).unwrap();
    }
    ran(&work, &["init", "-q", "-b", "main", "--object-format=sha256"]);
    ran(&served, &["init", "-q", "--bare", "-b", "main", "--object-format=sha256"]);
    fs::write(work.join("file"), "long\n").unwrap();
    ran(&work, &["add", "file"]);
    ran(&work, &["commit", "-q", "-m", "x"]);
    ran(&work, &["push", "-q", served.to_str().unwrap(), "main"]);
    add(&kiln, &server.url("sha256"), "RUN cat /src/file");
    kiln.build::<&str>([]).succeeds().logs("long");
}
