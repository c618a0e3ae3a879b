//! Hostile images and contexts: nothing outside of where they belong is read or changed, and a RUN gets nothing of kiln's.

use crate::leftovers;
use crate::support::{Kiln, Ran};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::Command;

/// A directory of the host that builds must neither read nor change.
pub(crate) struct Outside {
    path: PathBuf,
}

pub(crate) const SECRET: &str = "the host's secret\n";

impl Outside {
    pub(crate) fn new(kiln: &Kiln) -> Self {
        let path = kiln.path("outside");
        fs::create_dir(&path).expect("a directory");
        fs::write(path.join("secret"), SECRET).expect("a file");
        fs::write(path.join("passwd"), "evil:x:77:77::/:/bin/sh\n").expect("a file");
        Self { path }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.path.to_str().expect("a plain name")
    }

    #[track_caller]
    pub(crate) fn is_untouched(&self) {
        let entries = fs::read_dir(&self.path).expect("a directory").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        assert_eq!(names, ["passwd", "secret"], "a directory of the host was changed");
        assert_eq!(fs::read_to_string(self.path.join("secret")).unwrap(), SECRET);
        let metadata = fs::metadata(self.path.join("secret")).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.nlink()), (0o644, 0, 1));
    }
}

#[test]
fn destinations_through_links_of_the_image_stay_inside() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let outside = Outside::new(&kiln);
    kiln.write("file", "from the context\n").write("tree/inner", "x\n");
    let mut tar = Command::new("tar");
    Ran::of(tar.current_dir(kiln.context()).args(["-cf", "archive.tar", "--transform=s,file,added,", "file"]))
        .succeeds();
    let upwards = format!("{}{}", "../".repeat(20), &outside.as_str()[1..]);
    let inside = outside.as_str().trim_start_matches('/');
    fs::create_dir(kiln.context().join("links")).unwrap();
    for target in [outside.as_str(), &upwards] {
        // Links where kiln itself puts files for each step.
        for name in ["resolv.conf", "hosts", "hostname", "mtab"] {
            let link = kiln.context().join("links").join(name);
            let _none = fs::remove_file(&link);
            symlink(format!("{target}/{name}"), link).unwrap();
        }
        let dockerfile = [
            "FROM base".to_owned(),
            format!("RUN ln -s {target} /out && ln -s / /top && ln -s out /chain && mkdir -p /{inside}"),
            "COPY links /etc/".to_owned(),
            "COPY file /out/copied".to_owned(),
            "COPY file /chain/sub/below".to_owned(),
            "COPY tree /out/tree".to_owned(),
            "COPY --chown=5:5 --chmod=777 file /out/secret".to_owned(),
            "ADD archive.tar /out/".to_owned(),
            "COPY <<END /out/heredoc\ntext\nEND".to_owned(),
            "WORKDIR /out/workdir".to_owned(),
            "RUN --mount=type=cache,target=/out/cache --mount=type=bind,source=tree,target=/out/bound \
             --mount=type=tmpfs,target=/chain/tmp echo x > /out/cache/x"
                .to_owned(),
            format!("RUN echo ran > /out/ran; cat /{inside}/copied"),
            format!("COPY file /top/{inside}/again"),
        ];
        kiln.write("Dockerfile", dockerfile.join("\n"));
        kiln.build::<&str>([]).succeeds().logs("from the context");
        outside.is_untouched();
        let files = kiln.files::<&str>([]);
        for name in ["copied", "sub/below", "tree/inner", "secret", "added", "heredoc", "workdir", "ran", "again"] {
            assert!(files.contains_key(&format!("{inside}/{name}")), "{name} is not in the image: {files:?}");
        }
        for name in ["cache", "bound", "tmp", "resolv.conf", "hosts"] {
            assert!(!files.contains_key(&format!("{inside}/{name}")), "{name} is in the image");
        }
    }
}

#[test]
fn links_of_the_context_lead_nowhere_outside() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let outside = Outside::new(&kiln);
    kiln.write("real/file", "inside\n");
    let context = kiln.context();
    symlink(format!("{}/secret", outside.as_str()), context.join("absolute")).unwrap();
    symlink("../outside/secret", context.join("relative")).unwrap();
    symlink(outside.as_str(), context.join("directory")).unwrap();
    symlink("../../outside", context.join("real/directory")).unwrap();
    symlink("/real/file", context.join("inner")).unwrap();
    symlink("/proc/self/root", context.join("magic")).unwrap();
    let magic = format!("magic{}/secret", outside.as_str());
    let sources = [
        "absolute",
        "relative",
        "directory/secret",
        "directory/*",
        "real/directory/secret",
        "../outside/secret",
        &magic,
    ];
    for source in sources {
        for instruction in [
            format!("COPY {source} /got/"),
            format!("ADD {source} /got/"),
            format!("RUN --mount=type=bind,source={source},target=/got/it cat /got/it"),
        ] {
            let wildcards = source.contains('*');
            kiln.write("Dockerfile", format!("FROM base\n{instruction}\nRUN cat /got/* 2>/dev/null; true\n"));
            let ran = kiln.build::<&str>([]);
            ran.stderr_lacks(SECRET.trim());
            assert!(ran.status == Some(1) || wildcards, "{instruction}: {ran}");
        }
    }
    // A link to something in the context is followed there; within a directory all links are copied as links.
    kiln.write(
        "Dockerfile",
        "FROM base\nCOPY inner /inner\nCOPY . /all\nRUN cat /inner; cat /all/absolute /all/relative 2>/dev/null || echo nothing\n",
    );
    kiln.build::<&str>([]).succeeds().logs("inside").logs("nothing").stderr_lacks(SECRET.trim());
    let files = kiln.files::<&str>([]);
    assert_eq!(files["all/absolute"].target, Some(format!("{}/secret", outside.as_str())));
    outside.is_untouched();
}

#[test]
fn links_of_stages_lead_nowhere_outside() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let outside = Outside::new(&kiln);
    let host = outside.as_str();
    let up = "../".repeat(12);
    let stage = format!(
        "FROM base AS stage\nRUN mkdir -p /real/dir && echo inside > /real/dir/file && ln -s /real /link && ln -s {host} /out \
         && ln -s {host}/secret /secret && ln -s {up}{} /up && ln -s loop /loop && ln -s /proc/self/root /magic\nFROM base\n",
        &host[1..]
    );
    kiln.write(
        "Dockerfile",
        format!("{stage}COPY --from=stage /link/dir/file /a\nCOPY --from=stage /link/dir /b\nRUN cat /a /b/file\n"),
    );
    kiln.build::<&str>([]).succeeds().logs("inside");
    let magic = format!("/magic{host}/secret");
    for source in ["/out/secret", "/secret", "/up/secret", "/../../../out/secret", "/loop", &magic] {
        for instruction in [
            format!("COPY --from=stage {source} /x"),
            format!("RUN --mount=type=bind,from=stage,source={source},target=/x cat /x"),
        ] {
            kiln.write("Dockerfile", format!("{stage}{instruction}\n"));
            kiln.build::<&str>([]).exits(1).stderr_has("Dockerfile:4").stderr_lacks(SECRET.trim());
        }
    }
    // Users are looked up in the image's own files, wherever those lead.
    let link = format!("RUN rm -f /etc/passwd && ln -s {host}/passwd /etc/passwd");
    kiln.write("Dockerfile", format!("FROM base\n{link}\nUSER evil\nRUN id\n"));
    kiln.build::<&str>([]).exits(1).stderr_has("evil").stderr_lacks("uid=77");
    // Who is not found there owns no copied file; root does.
    let look = "RUN stat -c owner=%u:%g /x";
    kiln.write("Dockerfile", format!("FROM base\n{link}\nCOPY --chown=evil Dockerfile /x\n{look}\n"));
    kiln.build::<&str>([]).succeeds().logs("owner=0:0");
    outside.is_untouched();
}

#[test]
fn a_run_gets_nothing_of_kilns() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let outside = Outside::new(&kiln);
    let root = kiln.root();
    let root = root.display();
    let dockerfile = [
        "FROM base".to_owned(),
        "RUN --mount=type=cache,target=/cache ls -l /proc/self/fd".to_owned(),
        "RUN env; echo pid $$".to_owned(),
        format!("RUN test ! -e {root} && test ! -e /proc/1/root{root} && test ! -e /proc/1/cwd{root} && echo no store"),
        format!("RUN awk '{{print $2}}' /proc/self/mounts | grep -q ^{root} || echo no mount of the store"),
        "RUN for f in sysrq-trigger sys/kernel/core_pattern; do (echo x > /proc/$f) 2>/dev/null || echo refused $f; done".to_owned(),
        "RUN mkdir /m; mount -t tmpfs none /m 2>/dev/null || echo no mounts".to_owned(),
        "RUN unshare -m true 2>/dev/null || echo no namespaces".to_owned(),
        "RUN mknod /disk b 254 0; dd if=/disk of=/dev/null bs=1 count=1 2>/dev/null || echo no disk; rm -f /disk".to_owned(),
        "RUN mknod /kmsg c 1 11; head -c 1 /kmsg 2>/dev/null || echo no kernel log; rm -f /kmsg".to_owned(),
        format!("RUN kill -0 {} 2>/dev/null || echo no processes of the host", std::process::id()),
    ];
    kiln.write("Dockerfile", dockerfile.join("\n"));
    // Descriptors and variables of whoever starts kiln stay with kiln.
    let build = kiln.build_command::<&str>([]);
    let shell = format!("exec 7<{0}/secret 9<{0}; exec \"$@\"", outside.as_str());
    let mut command = Command::new("sh");
    command.args(["-c", &shell, "sh"]).arg(build.get_program()).args(build.get_args());
    command.env_clear().envs(build.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("KILN_SECRET_SETTING", "hidden").env("MY_TOKEN", "hidden").current_dir(kiln.context());
    let ran = Ran::of(&mut command);
    ran.succeeds().stderr_lacks("KILN_").stderr_lacks("hidden").stderr_lacks("MY_TOKEN").stderr_lacks("meta.db");
    for text in [
        "no store",
        "no mount of the store",
        "no mounts",
        "no namespaces",
        "no disk",
        "no kernel log",
        "no processes of the host",
        "refused sysrq-trigger",
        "refused sys/kernel/core_pattern",
        "pid 1",
    ] {
        ran.logs(text);
    }
    let descriptors: Vec<&str> = ran.stderr.lines().filter(|line| line.contains(" -> ")).collect();
    assert!(descriptors.len() >= 3, "{ran}");
    let harmless = |line: &&str| ["/dev/null", "pipe:", "/proc/"].iter().any(|known| line.contains(known));
    assert!(descriptors.iter().all(harmless), "{descriptors:?}");
    outside.is_untouched();
}

#[test]
fn writable_binds_change_nothing() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("tree/file", "as it was\n");
    let binds = "--mount=type=bind,source=tree,target=/t,rw --mount=type=bind,from=other,source=/o,target=/o,rw";
    kiln.write(
        "Dockerfile",
        format!(
            "FROM base AS other\nRUN mkdir /o && echo other > /o/f\nFROM base\n\
             RUN {binds} echo changed > /t/file && rm /o/f && cat /t/file\nRUN {binds} cat /t/file /o/f\n"
        ),
    );
    kiln.build::<&str>([]).succeeds().logs("changed").logs("as it was").logs("other");
    assert_eq!(fs::read_to_string(kiln.context().join("tree/file")).unwrap(), "as it was\n");
}

#[test]
fn links_in_cache_mounts_lead_nowhere() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let outside = Outside::new(&kiln);
    let host = outside.as_str();
    let cache = "--mount=type=cache,id=c";
    let up = "../".repeat(12);
    let links = format!("ln -s {host} /c/out; ln -s {up}{} /c/up; ln -s {host}/secret /c/file", &host[1..]);
    kiln.write("Dockerfile", format!("FROM base\nRUN {cache},target=/c {links}\n"));
    kiln.build::<&str>([]).succeeds();
    for source in ["out", "out/new/deeper", "up/new", "file", "out/secret"] {
        kiln.write(
            "Dockerfile",
            format!("FROM base\nRUN {cache},source={source},target=/d cat /d/secret /d; echo x > /d/x; true\n"),
        );
        let ran = kiln.build::<&str>([]);
        assert!(matches!(ran.status, Some(0 | 1)), "{source}: {ran}");
        ran.stderr_lacks(SECRET.trim()).stderr_lacks("panicked");
        outside.is_untouched();
    }
}

#[test]
fn an_export_does_not_follow_links_that_an_earlier_one_made() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let outside = Outside::new(&kiln);
    let host = outside.as_str();
    let output = format!("type=local,dest={}", kiln.path("exported").display());
    let copy = "FROM scratch\nCOPY --from=make /m /\n";
    kiln.write(
        "Dockerfile",
        format!("FROM base AS make\nRUN mkdir /m && ln -s {host} /m/link && ln -s {host}/secret /m/file\n{copy}"),
    );
    kiln.build(["-o", &output]).succeeds();
    assert!(fs::symlink_metadata(kiln.path("exported/link")).unwrap().is_symlink());
    let escape = "mkdir -p /m/link && echo escaped > /m/link/new && echo escaped > /m/file";
    kiln.write("Dockerfile", format!("FROM base AS make\nRUN {escape}\n{copy}"));
    let ran = kiln.build(["-o", &output]);
    outside.is_untouched();
    ran.succeeds();
    assert_eq!(fs::read_to_string(kiln.path("exported/file")).unwrap(), "escaped\n");
    assert_eq!(fs::read_to_string(kiln.path("exported/link/new")).unwrap(), "escaped\n");
}

#[test]
fn unusual_names_are_names() {
    let Some(kiln) = Kiln::for_builds() else { return };
    for name in [" leading", "new\nline", "quote\"'$(x)", "-rf", "ü", "\u{1}control"] {
        kiln.write(&format!("odd/{name}"), name);
    }
    fs::write(kiln.context().join("odd").join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "7").unwrap();
    kiln.write(
        "Dockerfile",
        "FROM base\nCOPY odd /odd\nCOPY [\"odd/ leading\", \"/some/\"]\n\
         RUN find /odd -type f -exec echo found ';' | sort | uniq -c; cat '/some/ leading'\n",
    );
    kiln.build::<&str>([]).succeeds().logs("      7 found").logs(" leading");
    kiln.build::<&str>([]).succeeds().cached("COPY odd /odd");
    fs::write(kiln.context().join("odd").join(std::ffi::OsStr::from_bytes(b"\xff\xfe")), "8").unwrap();
    kiln.build::<&str>([]).succeeds().executed("COPY odd /odd");
    leftovers::no_temporary_files(&kiln);
}
