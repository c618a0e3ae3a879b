//! `SOURCE_DATE_EPOCH`: images that depend on no clock, so that two machines make the same.

use crate::support::{Image, Kiln, Ran};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

const EPOCH: &str = "--build-arg=SOURCE_DATE_EPOCH=1700000000";
const TIME: &str = "2023-11-14T22:13:20Z";

/// A project in a store of its own. Its files are made in this order, `hours` ago, but for one that is older than the epoch.
fn project(names: &[&str], hours: u64) -> Option<Kiln> {
    let kiln = Kiln::for_builds()?;
    let at = |path: &Path, time: SystemTime| fs::File::open(path).unwrap().set_modified(time).unwrap();
    for name in names {
        kiln.write(&format!("src/{name}"), name.repeat(1000));
        at(&kiln.context().join("src").join(name), SystemTime::now() - Duration::from_secs(3600 * hours));
    }
    kiln.write("old", "old").write(
        "Dockerfile",
        "FROM base\nWORKDIR /work/deep\nCOPY src /src\nCOPY --chown=app old /old\n\
         RUN for n in 3 1 2; do echo $n > /work/$n; done; ln /work/1 /work/hard; ln -s 1 /work/soft; mkfifo /work/fifo; rm /src/b\n\
         RUN --mount=type=cache,target=/c touch /c/x; mkdir -p /var/log; chmod 2770 /var/log; cp /bin/busybox /big\nCMD [\"sh\"]\n",
    );
    at(&kiln.context().join("old"), SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000));
    Some(kiln)
}

fn both() -> Option<[Kiln; 2]> {
    Some([project(&["a", "b", "c"], 1)?, project(&["c", "b", "a"], 2)?])
}

/// The times of a tar archive's members, by path.
fn times(archive: &Path) -> Vec<(String, String)> {
    let ran = Ran::of(Command::new("tar").env("TZ", "UTC").args(["--full-time", "-tvf"]).arg(archive));
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words[5].to_owned(), format!("{}T{}Z", words[3], words[4]))
    };
    ran.succeeds().stdout().lines().map(line).collect()
}

#[test]
fn two_stores_give_the_same_bytes() {
    let Some(kilns) = both() else { return };
    for attributes in ["", ",compression=zstd", ",compression=uncompressed"] {
        let archives = kilns.each_ref().map(|kiln| {
            let archive = kiln.path("image.tar");
            let output = format!("type=oci,rewrite-timestamp=true{attributes},dest={}", archive.display());
            kiln.build([EPOCH, "-t", "app", "-o", &output]).succeeds();
            fs::read(archive).unwrap()
        });
        assert!(archives[0] == archives[1], "the archives differ: {attributes}");
    }
    let indexes = kilns.each_ref().map(|kiln| {
        let archive = kiln.path("index.tar");
        let output = format!("type=oci,rewrite-timestamp=true,dest={}", archive.display());
        kiln.build([EPOCH, "--platform=linux/amd64,linux/s390x", "-o", &output]).succeeds();
        fs::read(archive).unwrap()
    });
    assert!(indexes[0] == indexes[1], "the indexes differ");
    // In the environment it means the same, and it is remembered what a layer becomes.
    let kiln = &kilns[0];
    let archive = kiln.path("again.tar");
    let output = format!("type=oci,rewrite-timestamp=true,compression=uncompressed,dest={}", archive.display());
    let mut command = kiln.build_command(["-t", "app", "-o", &output]);
    let ran = Ran::of(command.env("SOURCE_DATE_EPOCH", "1700000000"));
    ran.succeeds().stderr_lacks(" layer ");
    assert!(fs::read(archive).unwrap() == fs::read(kiln.path("image.tar")).unwrap());
}

#[test]
fn times_of_an_image() {
    let Some(kiln) = project(&["a", "b"], 1) else { return };
    let base = Image::of_layout(Path::new(kiln.base().strip_prefix("base=oci-layout://").unwrap()));
    let layout = kiln.path("layout");
    let output = format!("type=oci,tar=false,rewrite-timestamp=true,dest={}", layout.display());
    kiln.build([EPOCH, "-o", &output]).succeeds();
    let image = Image::of_layout(&layout);
    assert_eq!(image.config["created"], TIME);
    let (old, new) = (base.config["history"].as_array().unwrap(), image.config["history"].as_array().unwrap());
    assert_eq!(old[..], new[..old.len()]);
    assert!(new[old.len()..].iter().all(|entry| entry["created"] == TIME), "{new:#?}");
    let layers = image.manifest["layers"].as_array().unwrap();
    let shared = base.manifest["layers"].as_array().unwrap();
    assert_eq!(shared[..], layers[..shared.len()], "the layers of the base stay as they are");
    let mut seen = Vec::new();
    for layer in &layers[shared.len()..] {
        let hex = layer["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        seen.extend(times(&layout.join("blobs/sha256").join(hex)));
    }
    let whiteout = |path: &str| path.contains(".wh.");
    let late: Vec<_> = seen.iter().filter(|(path, time)| time.as_str() > TIME && !whiteout(path)).collect();
    assert!(late.is_empty(), "{late:?}");
    assert!(seen.contains(&("src/a".to_owned(), TIME.to_owned())), "{seen:?}");
    assert!(seen.contains(&("old".to_owned(), "2020-09-13T12:26:40Z".to_owned())), "{seen:?}");
}

#[test]
fn rewriting_needs_a_time() {
    let Some(kiln) = project(&["a", "b"], 1) else { return };
    let output = format!("type=oci,rewrite-timestamp=true,dest={}", kiln.path("x.tar").display());
    kiln.build(["-o", &output]).succeeds().stderr_has("`rewrite-timestamp` does nothing without SOURCE_DATE_EPOCH");
    kiln.build(["-o", "type=tar,rewrite-timestamp=true"]).exits(2).stderr_has("`rewrite-timestamp` says nothing about");
}

#[test]
fn rewritten_images_of_the_store() {
    let Some(kilns) = both() else { return };
    let ids = kilns.each_ref().map(|kiln| {
        let id = kiln.path("id");
        let output = ["-o", "type=image,rewrite-timestamp=true", "-t", "app", "--iidfile", id.to_str().unwrap()];
        kiln.build([EPOCH].iter().chain(&output)).succeeds();
        fs::read_to_string(id).unwrap()
    });
    assert_eq!(ids[0], ids[1]);
    let kiln = &kilns[0];
    kiln.run(["prune", "--all", "--force"]).succeeds();
    kiln.run(["run", "app", "cat", "/work/hard"]).succeeds().stdout_is("1\n");
    kiln.write("Dockerfile", "FROM app\nRUN cat /work/3\n");
    let output = format!("type=docker,dest={}", kiln.path("second.tar").display());
    kiln.build(["-o", &output, "-t", "second"]).succeeds().logs("3");
}

#[test]
fn files_have_the_time_of_the_source() {
    let Some(kiln) = project(&["a", "b"], 1) else { return };
    let (archive, directory) = (kiln.path("files.tar"), kiln.path("files"));
    let tar = format!("type=tar,dest={}", archive.display());
    kiln.build([EPOCH, "-o", &tar, "-o", directory.to_str().unwrap()]).succeeds();
    let times = times(&archive);
    assert!(times.len() > 10 && times.iter().all(|(_, time)| time == TIME), "{times:?}");
    let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for path in ["old", "src/a", "src", "work/deep"] {
        assert_eq!(fs::metadata(directory.join(path)).unwrap().modified().unwrap(), epoch, "{path}");
    }
}
