//! SIGINT and SIGTERM in the middle of each kind of work: a quick end with the documented status, and nothing left behind.

use crate::fake_registry::{FakeRegistry, base_layout};
use crate::leftovers;
use crate::support::Kiln;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// From the signal to the end of the process.
const QUICK: Duration = Duration::from_secs(2);

/// A build whose standard error is read while it runs.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("kiln");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, seen: String::new() }
    }

    /// Waits until a line contains this.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) {
        loop {
            match self.lines.recv_timeout(Duration::from_secs(30)) {
                Ok(line) => {
                    self.seen.push_str(&line);
                    self.seen.push('\n');
                    if line.contains(text) {
                        return;
                    }
                }
                Err(_) => panic!("no line with `{text}`:\n{}", self.seen),
            }
        }
    }

    /// Sends a signal; the process must end with this status, and soon.
    #[track_caller]
    pub(crate) fn interrupt(mut self, signal: Signal, status: i32) -> String {
        let started = Instant::now();
        kill_process(Pid::from_child(&self.child), signal).expect("kiln runs");
        let ended = loop {
            if let Some(ended) = self.child.try_wait().expect("kiln") {
                break ended;
            }
            if started.elapsed() > Duration::from_secs(20) {
                let _ended = self.child.kill();
                panic!("still running 20 s after {signal:?}:\n{}", self.seen);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let took = started.elapsed();
        self.seen.extend(self.lines.iter().flat_map(|line| [line, "\n".to_owned()]));
        assert_eq!(ended.code(), Some(status), "{signal:?}:\n{}", self.seen);
        assert!(took < QUICK, "{signal:?} took {took:?}:\n{}", self.seen);
        self.seen
    }
}

/// Interrupts a build when it has said `when`, by both signals.
#[track_caller]
fn interrupt_both(kiln: &Kiln, when: &str) {
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut running = Running::start(kiln.build_command::<&str>([]));
        running.wait_for(when);
        let seen = running.interrupt(signal, status);
        assert!(seen.contains("cancelled"), "{seen}");
        assert!(!seen.contains("panicked"), "{seen}");
        leftovers::none(kiln);
        leftovers::no_temporary_files(kiln);
    }
}

#[test]
fn in_the_middle_of_a_run() {
    let Some(kiln) = Kiln::for_builds() else { return };
    // Neither a deaf process nor one in the background keeps kiln waiting.
    let step = "trap '' INT TERM; (trap '' INT TERM; sleep 61) & echo x > /cache/$$; echo 'it' runs; sleep 62";
    kiln.write("Dockerfile", "FROM base\nRUN true\n");
    kiln.build::<&str>([]).succeeds();
    kiln.write("Dockerfile", format!("FROM base\nRUN --mount=type=cache,target=/cache {step}\n"));
    let before = leftovers::names(&kiln, "layers");
    interrupt_both(&kiln, "it runs");
    assert_eq!(leftovers::names(&kiln, "layers"), before, "layers of the interrupted step");
    kiln.write("Dockerfile", "FROM base\nRUN --mount=type=cache,target=/cache cat /cache/1\n");
    kiln.build::<&str>([]).succeeds().logs("x");
}

#[test]
fn in_the_middle_of_several_runs() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write(
        "Dockerfile",
        "FROM base AS a\nRUN sleep 63 && touch /a\nFROM base AS b\nRUN sleep 1; echo 'it' runs; sleep 64; touch /b\n\
         FROM scratch\nCOPY --from=a /a /a\nCOPY --from=b /b /b\n",
    );
    interrupt_both(&kiln, "it runs");
}

#[test]
fn while_waiting_for_another_process() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo 'it' runs; sleep 65\n");
    kiln.write(
        "Dockerfile.cache",
        "FROM base\nRUN --mount=type=cache,target=/c,sharing=locked echo 'waits' not; sleep 66\n",
    );
    kiln.write(
        "Dockerfile.other",
        "FROM base\nRUN --mount=type=cache,target=/c,sharing=locked echo 'waits' not; sleep 67\n",
    );
    let start = |file: &str| {
        let file = kiln.context().join(file);
        Running::start(kiln.build_command(["-f", file.to_str().expect("a plain name")]))
    };
    for (file, other, said) in
        [("Dockerfile", "Dockerfile", "it runs"), ("Dockerfile.cache", "Dockerfile.other", "waits not")]
    {
        let mut first = start(file);
        first.wait_for(said);
        let second = start(other);
        std::thread::sleep(Duration::from_millis(500));
        second.interrupt(Signal::INT, 130);
        first.interrupt(Signal::INT, 130);
    }
    leftovers::none(&kiln);
    leftovers::no_temporary_files(&kiln);
}

#[test]
fn in_the_middle_of_a_copy_of_many_files() {
    let Some(kiln) = Kiln::for_builds() else { return };
    for number in 0..3000 {
        kiln.write(&format!("many/d{}/f{number}", number % 30), format!("{number}"));
    }
    // So that it cannot be over when the signal comes. Nothing is on the disk: the file has a hole.
    let large = File::create(kiln.context().join("many/large")).expect("a file");
    large.set_len(3 << 30).expect("a size");
    kiln.write("Dockerfile", "FROM base\nRUN true\nCOPY many /many\n");
    for delay in [1, 60, 300, 1000] {
        let mut running = Running::start(kiln.build_command::<&str>([]));
        running.wait_for("RUN true");
        std::thread::sleep(Duration::from_millis(delay));
        running.interrupt(Signal::INT, 130);
        leftovers::none(&kiln);
        leftovers::no_temporary_files(&kiln);
    }
    large.set_len(5).expect("a size");
    let files = kiln.files::<&str>([]);
    assert_eq!(files.keys().filter(|path| path.starts_with("many/d1/")).count(), 100);
}

#[test]
fn in_the_middle_of_an_export() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN dd if=/dev/urandom of=/noise bs=1M count=96 2>/dev/null\n");
    kiln.build::<&str>([]).succeeds();
    leftovers::wait_for_sync(&kiln);
    for (output, delay) in [("oci", 30), ("oci", 400), ("tar", 30)] {
        let out = kiln.path("out.tar");
        let output = format!("type={output},dest={}", out.display());
        let mut running = Running::start(kiln.build_command(["-o", &output]));
        running.wait_for("exporting to");
        std::thread::sleep(Duration::from_millis(delay));
        let started = Instant::now();
        running.interrupt(Signal::TERM, 143);
        println!("{output}: {:?}", started.elapsed());
        assert!(!out.exists(), "a half-made output");
        leftovers::no_temporary_files(&kiln);
    }
    let beside = std::fs::read_dir(kiln.path("")).expect("a directory").flatten();
    let left: Vec<_> =
        beside.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().starts_with("out")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn in_the_middle_of_a_pull() {
    let Some(kiln) = Kiln::for_builds() else { return };
    let config = kiln.path("config.toml");
    for silent in ["manifests", "blobs"] {
        let registry = FakeRegistry::of_layout(&base_layout(&kiln));
        registry.stall(silent);
        kiln.write("Dockerfile", format!("FROM {}/base:latest\nRUN true\n", registry.address()));
        std::fs::write(&config, registry.config()).expect("a file");
        for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
            let asked = registry.stalled();
            let mut command = kiln.build_command::<&str>([]);
            let running = Running::start({
                command.env("KILN_CONFIG", &config);
                command
            });
            registry.wait_until_stalled(asked);
            running.interrupt(signal, status);
            leftovers::none(&kiln);
            leftovers::no_temporary_files(&kiln);
        }
        registry.resume();
        let mut command = kiln.build_command::<&str>([]);
        crate::support::Ran::of(command.env("KILN_CONFIG", &config)).succeeds();
        kiln.run(["prune", "--all", "--force"]).succeeds();
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let Some(kiln) = Kiln::for_builds() else { return };
    kiln.write("Dockerfile", "FROM base\nRUN echo 'it' runs; sleep 68\n");
    let mut running = Running::start(kiln.build_command::<&str>([]));
    running.wait_for("it runs");
    kill_process(Pid::from_child(&running.child), Signal::INT).expect("kiln runs");
    let status = loop {
        // It may be gone already.
        let _gone = kill_process(Pid::from_child(&running.child), Signal::INT);
        if let Some(status) = running.child.try_wait().expect("kiln") {
            break status;
        }
    };
    assert_eq!(status.code(), Some(130));
    leftovers::none(&kiln);
    kiln.write("Dockerfile", "FROM base\nRUN true\n");
    kiln.build::<&str>([]).succeeds();
    leftovers::no_temporary_files(&kiln);
}
