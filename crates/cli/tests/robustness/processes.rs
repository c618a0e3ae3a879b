//! Several kiln processes on one store at once.

use crate::leftovers;
use crate::scheduling::runs;
use crate::support::{Kiln, Ran};
use std::ffi::OsStr;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const ROUNDS: u32 = 3;

/// A step that all Dockerfiles share, one that only this one has, and what comes out of them.
fn dockerfile(name: &str, round: u32) -> String {
    let log = "--mount=type=cache,id=log,target=/log";
    format!(
        "FROM base AS common\nRUN {log} echo x >> /log/common-{round} && sleep 0.2 && echo common {round} > /common\n\
         FROM common\nCOPY input /input\n\
         RUN {log} echo x >> /log/{name}-{round} && sleep 0.1 && cat /common /input > /result && echo {name} >> /result\n\
         CMD [\"cat\", \"/result\"]\n"
    )
}

/// Builds one of several Dockerfiles.
fn build(kiln: &Kiln, file: &str, tag: &str) -> Ran {
    kiln.build(["-f", kiln.context().join(file).to_str().expect("a plain name"), "-t", tag])
}

/// Builds these (Dockerfile, tag) at once.
fn at_once(kiln: &Kiln, builds: &[(&str, &str)]) -> Vec<Ran> {
    // Made before, or all would make it.
    let _base = kiln.base();
    thread::scope(|scope| {
        let running: Vec<_> = builds.iter().map(|(file, tag)| scope.spawn(|| build(kiln, file, tag))).collect();
        running.into_iter().map(|build| build.join().expect("a build")).collect()
    })
}

#[test]
fn eight_processes_build_the_same_and_different_things() {
    let Some(kiln) = Kiln::for_builds() else { return };
    for round in 1..=ROUNDS {
        kiln.write("input", format!("input {round}\n"));
        // Four the same, four different.
        let names: Vec<String> =
            (0..8).map(|number| if number % 2 == 0 { "same".to_owned() } else { format!("other{number}") }).collect();
        let files: Vec<String> = names.iter().map(|name| format!("Dockerfile.{name}")).collect();
        let tags: Vec<String> = names.iter().enumerate().map(|(number, name)| format!("{name}:{number}")).collect();
        for (file, name) in files.iter().zip(&names) {
            kiln.write(file, dockerfile(name, round));
        }
        let builds: Vec<(&str, &str)> = files.iter().map(String::as_str).zip(tags.iter().map(String::as_str)).collect();
        for ran in at_once(&kiln, &builds) {
            ran.succeeds();
        }
        for (name, tag) in names.iter().zip(&tags) {
            let expected = format!("common {round}\ninput {round}\n{name}\n");
            kiln.run(["run", tag]).succeeds().stdout_is(&expected);
        }
        assert_eq!(runs(&kiln, &format!("common-{round}")), 1, "the common step of round {round}");
        assert_eq!(runs(&kiln, &format!("same-{round}")), 1, "the step of the same Dockerfile in round {round}");
        assert_eq!(runs(&kiln, &format!("other1-{round}")), 1);
    }
    leftovers::none(&kiln);
    leftovers::no_temporary_files(&kiln);
}

#[test]
fn the_second_of_two_takes_what_the_first_makes() {
    let Some(kiln) = Kiln::for_builds() else { return };
    // A new store, too: both make it.
    kiln.write("input", "1\n")
        .write("Dockerfile.a", dockerfile("same", 1))
        .write("Dockerfile.b", dockerfile("same", 1));
    let both = at_once(&kiln, &[("Dockerfile.a", "a"), ("Dockerfile.b", "b")]);
    for ran in &both {
        ran.succeeds();
    }
    assert_eq!(runs(&kiln, "same-1"), 1);
    let cached: usize = both.iter().map(|ran| ran.stderr.matches("CACHED").count()).sum();
    assert!(cached >= 3, "{cached} steps cached\n{}\n{}", both[0], both[1]);
}

#[test]
fn the_second_runs_the_step_when_the_first_fails() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let step = "RUN --mount=type=cache,target=/once sleep 0.5; test -e /once/failed || { touch /once/failed; exit 3; }";
    kiln.write("Dockerfile", format!("FROM base\n{step}\n"));
    let mut statuses: Vec<_> =
        at_once(&kiln, &[("Dockerfile", "a"), ("Dockerfile", "b")]).iter().map(|ran| ran.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [Some(0), Some(1)]);
}

#[test]
fn pruning_never_breaks_a_build_that_runs() {
    let Some(kiln) = Kiln::for_builds() else { return };
    // Without an image that needs it, everything may go that no build is using.
    let dockerfile = "FROM base AS common\nRUN echo 1 > /1\nRUN echo 2 > /2\nFROM base\nCOPY --from=common /1 /2 /\n\
                      RUN cat /1 /2 > /3\nCOPY input /\nRUN cat /3 /input > /result\n";
    kiln.write("Dockerfile", dockerfile);
    let _made_before = kiln.base();
    let over = AtomicBool::new(false);
    let build = |name: &str| {
        let context = kiln.path(name);
        fs::create_dir(&context).expect("a directory");
        fs::write(context.join("Dockerfile"), dockerfile).expect("a file");
        let tar = kiln.path(&format!("{name}.tar"));
        for round in 0..25 {
            fs::write(context.join("input"), format!("{name} {round}\n")).expect("a file");
            let output = format!("type=tar,dest={}", tar.display());
            kiln.run([
                OsStr::new("build"),
                OsStr::new("--progress=plain"),
                OsStr::new("--build-context"),
                OsStr::new(&kiln.base()),
                OsStr::new("-o"),
                OsStr::new(&output),
                context.as_os_str(),
            ])
            .succeeds();
            let result = Ran::of(Command::new("tar").arg("-xOf").arg(&tar).arg("result"));
            result.succeeds().stdout_is(&format!("1\n2\n{name} {round}\n"));
        }
    };
    thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                kiln.run(["prune", "--all", "--force"]).succeeds();
                thread::sleep(Duration::from_millis(100));
            }
        });
        let other = scope.spawn(|| build("other"));
        build("one");
        other.join().expect("a builder");
        over.store(true, Ordering::SeqCst);
        pruning.join().expect("the pruner");
    });
    leftovers::none(&kiln);
    leftovers::no_temporary_files(&kiln);
}
