//! The solver with a worker that only computes texts: early cutoff, parallelism, errors.

use super::*;
use kiln_graph::{File, Label, Local, Op, Port, Source};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Sources yield what `sources` says; a step yields its inputs joined, or what `results` says for its position.
#[derive(Default)]
struct Fake {
    graph: Graph,
    sources: BTreeMap<String, String>,
    results: BTreeMap<String, String>,
    failing: Option<String>,
    delay: Duration,
    kept: Mutex<HashMap<CacheKey, String>>,
    last: Mutex<HashMap<String, LastRun>>,
    ran: Mutex<Vec<(String, String)>>,
    at_once: AtomicU32,
    most_at_once: AtomicU32,
    stopped: AtomicU32,
}

impl Fake {
    fn source(&mut self, name: &str, value: &str) -> VertexId {
        self.sources.insert(name.to_owned(), value.to_owned());
        self.graph.add(Op::Source(Source::Local(Local { name: name.to_owned() })), vec![], Label::default(), true)
    }

    fn step(&mut self, position: &str, inputs: &[VertexId]) -> VertexId {
        let base = (!inputs.is_empty()).then_some(Port(0));
        // The number of actions only makes the ops of two steps with the same inputs differ.
        let mkdir = kiln_graph::Mkdir { path: position.to_owned(), mode: 0, owner: None };
        let op = Op::File(File { base, actions: vec![kiln_graph::Action::Mkdir(mkdir)] });
        let label = Label { position: position.to_owned(), ..Label::default() };
        self.graph.add(op, inputs.to_vec(), label, true)
    }

    fn position(&self, vertex: VertexId) -> &str {
        &self.graph.vertex(vertex).label.position
    }

    fn solve(&self, target: VertexId) -> Result<String, String> {
        self.ran.lock().unwrap().clear();
        solve(&self.graph, &[target], self).map(|outputs| outputs[0].clone())
    }

    fn ran(&self) -> Vec<String> {
        let mut names: Vec<String> = self.ran.lock().unwrap().iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }
}

impl Worker for Fake {
    type Output = String;
    type Error = String;
    type Lock = ();

    fn prepare(&self, vertex: VertexId, inputs: &[String]) -> Result<Prepared<String>, String> {
        match &self.graph.vertex(vertex).op {
            Op::Source(Source::Local(local)) => Ok(Prepared::Ready(self.sources[&local.name].clone())),
            _ => {
                let mut parts = KeyParts::new();
                parts.text("command", self.position(vertex));
                for (number, input) in inputs.iter().enumerate() {
                    parts.content(format!("input {number}"), ContentDigest::of_bytes(input.as_bytes()), "above");
                }
                Ok(Prepared::Keyed(parts))
            }
        }
    }

    fn find(&self, _: VertexId, key: &CacheKey, _: &[String]) -> Result<Option<String>, String> {
        Ok(self.kept.lock().unwrap().get(key).cloned())
    }

    fn lock(&self, _: VertexId, _: &CacheKey) -> Result<(), String> {
        Ok(())
    }

    fn execute(&self, vertex: VertexId, key: &CacheKey, reason: &Reason, inputs: &[String]) -> Result<String, String> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(self.delay);
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let position = self.position(vertex);
        if self.failing.as_deref() == Some(position) {
            return Err(format!("{position} failed"));
        }
        self.ran.lock().unwrap().push((position.to_owned(), reason.to_string()));
        let result = self.results.get(position).cloned().unwrap_or_else(|| format!("{position}({})", inputs.join(",")));
        self.kept.lock().unwrap().insert(*key, result.clone());
        Ok(result)
    }

    fn last_run(&self, vertex: VertexId) -> Option<LastRun> {
        self.last.lock().unwrap().get(self.position(vertex)).cloned()
    }

    fn listing(&self, _: &ContentDigest) -> Option<FileListing> {
        None
    }

    fn remember(&self, vertex: VertexId, run: LastRun, _: bool) {
        self.last.lock().unwrap().insert(self.position(vertex).to_owned(), run);
    }

    fn failed(&self) {
        self.stopped.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn second_solve_runs_nothing() {
    let mut fake = Fake::default();
    let source = fake.source("context", "v1");
    let a = fake.step("a", &[source]);
    let b = fake.step("b", &[a]);
    assert_eq!(fake.solve(b).unwrap(), "b(a(v1))");
    assert_eq!(fake.ran(), ["a", "b"]);
    fake.solve(b).unwrap();
    assert!(fake.ran().is_empty());
}

#[test]
fn same_bytes_do_not_invalidate_what_follows() {
    let mut fake = Fake::default();
    let source = fake.source("context", "v1");
    let generate = fake.step("generate", &[source]);
    let compile = fake.step("compile", &[generate]);
    fake.results.insert("generate".into(), "same".into());
    fake.solve(compile).unwrap();
    fake.sources.insert("context".into(), "v2".into());
    fake.solve(compile).unwrap();
    assert_eq!(fake.ran(), ["generate"]);
    assert_eq!(fake.ran.lock().unwrap()[0].1, "above");
}

#[test]
fn independent_steps_run_at_once() {
    let mut fake = Fake { delay: Duration::from_millis(50), ..Fake::default() };
    let stages: Vec<VertexId> = (0..6).map(|n| fake.step(&format!("s{n}"), &[])).collect();
    let last = fake.step("last", &stages);
    fake.solve(last).unwrap();
    assert_eq!(fake.most_at_once.load(Ordering::SeqCst), 6);
    assert_eq!(fake.ran().len(), 7);
}

#[test]
fn the_first_error_wins_and_nothing_follows_it() {
    let mut fake = Fake { failing: Some("bad".into()), ..Fake::default() };
    let bad = fake.step("bad", &[]);
    let good = fake.step("good", &[]);
    let last = fake.step("last", &[bad, good]);
    assert_eq!(fake.solve(last).unwrap_err(), "bad failed");
    assert!(!fake.ran().contains(&"last".to_owned()));
    assert_eq!(fake.stopped.load(Ordering::SeqCst), 1);
}

#[test]
fn unneeded_vertices_are_left_alone() {
    let mut fake = Fake { failing: Some("unused".into()), ..Fake::default() };
    let used = fake.step("used", &[]);
    let _unused = fake.step("unused", &[used]);
    fake.solve(used).unwrap();
    assert_eq!(fake.ran(), ["used"]);
}
