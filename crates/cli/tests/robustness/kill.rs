//! kill -9 at any instant: nothing lives on, nothing stays mounted, and the next build works.

use crate::chance::Random;
use crate::leftovers;
use crate::support::Kiln;
use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const KILLS: u32 = 50;
const FILES: u32 = 300;
/// The whole test, with margin for a busy machine; a kill costs about half a second.
const TIME: Duration = Duration::from_secs(85);

const DOCKERFILE: &str = r#"FROM base AS tree
COPY tree /tree
RUN --mount=type=cache,target=/cache cat /tree/changing >> /cache/log && cp /tree/changing /cache/last && find /tree -type f | wc -l > /count
FROM base AS side
COPY tree/changing /changing
RUN (sleep 60 &) ; dd if=/dev/zero of=/zero bs=64k count=16 2>/dev/null && cat /changing > /side
FROM base
COPY --from=tree /count /result/count
COPY --from=tree /tree /result/tree
COPY --from=side /side /zero /result/
RUN --mount=type=cache,target=/cache cat /cache/last > /result/last
CMD ["cat", "/result/side", "/result/last", "/result/count"]
"#;

fn build(kiln: &Kiln) -> Command {
    let oci = format!("type=oci,dest={}", kiln.path("out.tar").display());
    let tar = format!("type=tar,dest={}", kiln.path("files.tar").display());
    kiln.build_command(["-t", "killed", "-o", &oci, "-o", &tar])
}

fn edit(kiln: &Kiln, number: u32) {
    kiln.write("tree/changing", format!("{number}\n"));
}

/// What is in the last export's archive, and in nothing older.
#[track_caller]
fn check(kiln: &Kiln, number: u32) {
    let output = Command::new("tar")
        .args([
            "-xOf",
            kiln.path("files.tar").to_str().unwrap(),
            "result/side",
            "result/last",
            "result/count",
            "result/tree/changing",
        ])
        .output()
        .expect("tar");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<&str> = text.split_whitespace().collect();
    lines.sort_unstable();
    let number = number.to_string();
    let count = (FILES + 1).to_string();
    let mut expected = [number.as_str(), number.as_str(), number.as_str(), count.as_str()];
    expected.sort_unstable();
    assert_eq!(lines, expected, "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_build_may_be_killed_at_any_instant() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let begun = Instant::now();
    for number in 0..FILES {
        kiln.write(&format!("tree/d{}/f{number}", number % 7), format!("{number}").repeat(100));
    }
    kiln.write("Dockerfile", DOCKERFILE);
    edit(&kiln, 0);
    let base = kiln.base();
    assert!(!base.is_empty());
    let started = Instant::now();
    let whole = |kiln: &Kiln| crate::support::Ran::of(&mut build(kiln));
    whole(&kiln).succeeds();
    check(&kiln, 0);
    let mut length = started.elapsed();

    let mut random = Random::new();
    let mut killed = 0;
    for number in 1..=KILLS {
        edit(&kiln, number);
        let instant = Duration::from_micros(random.below(u64::try_from(length.as_micros()).unwrap()));
        let mut child = build(&kiln).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kiln");
        std::thread::sleep(instant);
        killed += u32::from(child.try_wait().expect("kiln").is_none());
        // One that has ended meanwhile cannot be killed.
        let _ended = child.kill();
        child.wait().expect("kiln");
        leftovers::none(&kiln);
        let started = Instant::now();
        let ran = whole(&kiln);
        assert_eq!(ran.status, Some(0), "kill {number} after {instant:?}: {ran}");
        check(&kiln, number);
        // The machine may be busier or idler than it was.
        length = (length + started.elapsed().max(Duration::from_millis(50))) / 2;
        assert!(begun.elapsed() < TIME || number >= 20, "too slow: {number} kills in {:?}", begun.elapsed());
        if begun.elapsed() > TIME {
            println!("only {number} kills: the machine is busy");
            break;
        }
    }
    assert!(killed >= 10, "only {killed} builds were still running when they were killed");
    println!("{killed} killed in {:?}", begun.elapsed());

    leftovers::none(&kiln);
    kiln.run(["du"]).succeeds();
    kiln.run(["prune", "--all", "--force"]).succeeds();
    leftovers::no_temporary_files(&kiln);
    for directory in ["layers", "mounts", "blobs/sha256", "locks"] {
        let left = leftovers::names(&kiln, directory);
        let left: Vec<_> = left.iter().filter(|name| directory != "locks" || name.starts_with("step-")).collect();
        assert!(left.is_empty(), "{directory}: {left:?}");
    }
    let partial =
        fs::read_dir(kiln.path("")).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().contains("partial"));
    println!("{} partial outputs", partial.count());
    whole(&kiln).succeeds();
}

#[test]
fn a_running_image_may_be_killed() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nCMD [\"sh\", \"-c\", \"(sleep 71 &) ; echo it runs; sleep 72\"]\n");
    kiln.build(["-t", "app"]).succeeds();
    let mut child = kiln.command(["run", "app"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kiln");
    let mut said = [0; 7];
    child.stdout.take().expect("a pipe").read_exact(&mut said).expect("it says something");
    child.kill().expect("kiln runs");
    child.wait().expect("kiln");
    leftovers::none(&kiln);
    kiln.run(["run", "app", "true"]).succeeds();
    leftovers::no_temporary_files(&kiln);
}
