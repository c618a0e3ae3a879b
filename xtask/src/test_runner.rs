//! Runs nextest or libtest, passes their output on, and counts.
//!
//! A test that cannot do its work on this machine passes and prints `skipped:
//! REASON`. The runners count it as passed and hide what it printed; here their
//! output of passing tests is asked for, searched, and hidden again, so that
//! such tests are counted as skipped and listed with their reasons.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::process;

/// Whose output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// `cargo nextest run`, asked for the output of passing tests.
    Nextest,
    /// `cargo test`.
    Libtest,
}

/// What the test runners counted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Those that the runner left out, and those that skipped themselves.
    pub(crate) skipped: u64,
    /// `TEST: REASON`, of those that skipped themselves.
    pub(crate) reasons: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.reasons.extend(other.reasons);
    }
}

/// Runs a test runner to its end and adds what it counted to `tally`.
pub(crate) fn run(runner: Runner, command: &mut Command, tally: &mut Tally) -> Result<()> {
    eprintln!("$ {}", process::describe(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let stdout = child.stdout.take().context("no standard output")?;
    let stderr = child.stderr.take().context("no standard error")?;
    let (out, err) = thread::scope(|scope| {
        let err = scope.spawn(|| pass_on(runner, stderr, std::io::stderr()));
        (pass_on(runner, stdout, std::io::stdout()), err.join().unwrap_or_default())
    });
    let status = child.wait().context("cannot wait for cargo")?;
    tally.add(out);
    tally.add(err);
    if !status.success() {
        bail!("`{}` failed: {status}", process::describe(command));
    }
    Ok(())
}

fn pass_on(runner: Runner, from: impl Read, mut to: impl Write) -> Tally {
    let mut reader = OutputReader::new(runner);
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        if reader.feed(&String::from_utf8_lossy(&line)) {
            // Whoever reads this output may have gone; the tests go on.
            let _ = to.write_all(&line);
        }
        line.clear();
    }
    reader.finish()
}

/// Follows a runner's output line by line.
#[derive(Debug)]
struct OutputReader {
    runner: Runner,
    tally: Tally,
    /// The test that printed the lines that follow, until it gave its reason.
    test: Option<String>,
    /// Whether that test passed.
    passed: bool,
    /// Whether the lines are a passing test's, which nobody wants to see.
    hidden: bool,
}

impl OutputReader {
    fn new(runner: Runner) -> Self {
        Self { runner, tally: Tally::default(), test: None, passed: false, hidden: false }
    }

    /// Takes one line; whether it is to be shown.
    fn feed(&mut self, line: &str) -> bool {
        let text = line.trim();
        if let Some(reason) = text.strip_prefix("skipped: ") {
            if let Some(test) = self.test.take() {
                self.tally.reasons.push(format!("{test}: {reason}"));
            }
            return !self.hidden;
        }
        match self.runner {
            Runner::Nextest => self.feed_nextest(text),
            Runner::Libtest => self.feed_libtest(text),
        }
        !self.hidden
    }

    fn feed_nextest(&mut self, text: &str) {
        if let Some((status, test)) = nextest_status(text) {
            self.test = Some(test.to_owned());
            self.passed = status == "PASS";
            self.hidden = false;
        } else if matches!(text, "stdout ───" | "stderr ───") {
            self.hidden = self.passed;
        } else if text.starts_with("────") {
            self.test = None;
            self.hidden = false;
        } else if let Some((_, counts)) = text.split_once("run: ").filter(|_| text.starts_with("Summary [")) {
            self.tally.add(parse_counts(counts));
        }
    }

    fn feed_libtest(&mut self, text: &str) {
        if let Some(test) = text.strip_prefix("---- ") {
            self.test = test.strip_suffix(" stdout ----").map(str::to_owned);
        } else if let Some((_, counts)) = text.strip_prefix("test result: ").and_then(|result| result.split_once(". "))
        {
            self.test = None;
            self.tally.add(parse_counts(counts));
        }
    }

    fn finish(mut self) -> Tally {
        let themselves = self.tally.reasons.len() as u64;
        self.tally.passed = self.tally.passed.saturating_sub(themselves);
        self.tally.skipped += themselves;
        self.tally
    }
}

/// The status and the name of `PASS [   0.1s] (3/9) CRATE TEST`.
fn nextest_status(text: &str) -> Option<(&str, &str)> {
    let (status, rest) = text.split_once(" [")?;
    let capitals = |word: &str| word.chars().all(|c| c.is_ascii_uppercase() || "-/ ".contains(c));
    let (time, rest) = rest.split_once("] ")?;
    if status.is_empty() || !capitals(status) || !time.ends_with('s') {
        return None;
    }
    let (_, test) = rest.split_once(") ").unwrap_or(("", rest));
    Some((status, test.trim()))
}

/// Reads `2 passed, 1 failed, 4 skipped`, or libtest's `2 passed; 1 failed; …`.
fn parse_counts(counts: &str) -> Tally {
    let mut tally = Tally::default();
    for part in counts.split([',', ';']) {
        let mut words = part.trim().split(' ');
        let (Some(number), Some(what)) = (words.next(), words.next()) else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match what {
            "passed" => tally.passed += number,
            "failed" | "timed" | "exec" => tally.failed += number,
            "skipped" | "ignored" => tally.skipped += number,
            _ => {}
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(runner: Runner, output: &str) -> (Tally, Vec<String>) {
        let mut reader = OutputReader::new(runner);
        let shown = output.lines().filter(|line| reader.feed(line)).map(str::to_owned).collect();
        (reader.finish(), shown)
    }

    fn tally(passed: u64, failed: u64, skipped: u64, reasons: &[&str]) -> Tally {
        let reasons = reasons.iter().map(|reason| (*reason).to_owned()).collect();
        Tally { passed, failed, skipped, reasons }
    }

    #[test]
    fn nextest_is_counted_and_passing_output_hidden() {
        let output = "\
        PASS [   0.009s] (1/3) kiln-a one::two
  stdout ───

    running 1 test
    skipped: not root
    skipped: still not
    test result: ok. 1 passed; 0 failed; 0 ignored

        FAIL [   0.007s] (2/3) kiln-a three
  stdout ───
    test result: FAILED. 0 passed; 1 failed; 0 ignored
        PASS [   0.007s] (3/3) kiln-a four
  stderr ───
    noise
────────────
     Summary [   0.021s] 3 tests run: 2 passed (1 slow), 1 failed, 32 skipped
";
        let (counted, shown) = read(Runner::Nextest, output);
        assert_eq!(counted, tally(1, 1, 33, &["kiln-a one::two: not root"]));
        let shown = shown.join("\n");
        assert!(shown.contains("FAILED. 0 passed") && shown.contains("Summary ["), "{shown}");
        assert!(!shown.contains("noise") && !shown.contains("skipped: not root"), "{shown}");
    }

    #[test]
    fn timeouts_and_tests_that_cannot_start_have_failed() {
        let line = "     Summary [   0.4s] 5 tests run: 2 passed, 1 failed, 1 timed out, 1 exec failed";
        assert_eq!(read(Runner::Nextest, line).0, tally(2, 3, 0, &[]));
    }

    #[test]
    fn libtest_is_counted() {
        let output = "\
running 3 tests
test a ... ok

successes:

---- a stdout ----
skipped: no overlay

test result: ok. 7 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out
test result: FAILED. 1 passed; 4 failed; 0 ignored
";
        let (counted, _) = read(Runner::Libtest, output);
        assert_eq!(counted, tally(7, 4, 3, &["a: no overlay"]));
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in ["test a ... ok", "running 3 tests", "3 passed", "", "skipped: by nobody"] {
            assert_eq!(read(Runner::Nextest, line).0, Tally::default(), "{line}");
            assert_eq!(read(Runner::Libtest, line).0, Tally::default(), "{line}");
        }
    }
}
