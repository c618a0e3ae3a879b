//! Scheduling: every vertex is solved once, as soon as its inputs are, on as many threads as there are independent vertices.
//!
//! The thread that finishes a vertex goes on with one of those that became ready, and starts threads for the others: a chain
//! of cached steps costs no thread at all. The first error wins; the worker is told, so that it can stop what runs.

use crate::{KeyParts, LastRun, Reason, explain, key::FileListing};
use kiln_digest::{CacheKey, ContentDigest};
use kiln_graph::{Graph, VertexId};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Scope;

/// Does the work that the solver decides on, and keeps the results.
pub trait Worker: Sync {
    /// The result of a vertex: cheap to clone, made real only when needed.
    type Output: Clone + Send + Sync;
    /// Why a vertex has no result.
    type Error: Send;
    /// Held while a result is made, so that nobody else makes the same.
    type Lock;

    /// Brings in a source, or says what the key of a step is made of.
    ///
    /// # Errors
    /// Whatever keeps the source from being read.
    fn prepare(&self, vertex: VertexId, inputs: &[Self::Output]) -> Result<Prepared<Self::Output>, Self::Error>;

    /// The result that an earlier run kept under a key, if it is still there.
    ///
    /// # Errors
    /// Those of the store.
    fn find(
        &self,
        vertex: VertexId,
        key: &CacheKey,
        inputs: &[Self::Output],
    ) -> Result<Option<Self::Output>, Self::Error>;

    /// Waits until nobody else makes the result of this key.
    ///
    /// # Errors
    /// When cancelled, or those of the store.
    fn lock(&self, vertex: VertexId, key: &CacheKey) -> Result<Self::Lock, Self::Error>;

    /// Makes the result and keeps it under the key.
    ///
    /// # Errors
    /// Whatever makes the step fail.
    fn execute(
        &self,
        vertex: VertexId,
        key: &CacheKey,
        reason: &Reason,
        inputs: &[Self::Output],
    ) -> Result<Self::Output, Self::Error>;

    /// What the step at this vertex's position was made from last time.
    fn last_run(&self, vertex: VertexId) -> Option<LastRun>;

    /// The files behind a [`crate::PartValue::Files`].
    fn listing(&self, digest: &ContentDigest) -> Option<FileListing>;

    /// Remembers what the step was made from this time. `found` tells whether an earlier run had made it.
    fn remember(&self, vertex: VertexId, run: LastRun, found: bool);

    /// A vertex failed: stop what can be stopped.
    fn failed(&self);
}

/// A vertex whose inputs are known.
#[derive(Debug)]
pub enum Prepared<Output> {
    /// It needs no making.
    Ready(Output),
    /// Its result is kept under the key of these parts.
    Keyed(KeyParts),
}

/// Solves the graph for its targets; the results are in the order of `targets`.
///
/// # Errors
/// The first error of the worker. Everything that runs has come to its end then.
pub fn solve<W: Worker>(graph: &Graph, targets: &[VertexId], worker: &W) -> Result<Vec<W::Output>, W::Error> {
    let solve = Solve::new(graph, targets, worker);
    let ready = solve.initially_ready();
    std::thread::scope(|scope| solve.work(scope, ready));
    let state = solve.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.failed {
        Some(error) => Err(error),
        None => {
            let output = |target: &VertexId| state.outputs[target.index()].clone().expect("every target was solved");
            Ok(targets.iter().map(output).collect())
        }
    }
}

struct Solve<'a, W: Worker> {
    graph: &'a Graph,
    worker: &'a W,
    needed: Vec<VertexId>,
    users: Vec<Vec<VertexId>>,
    state: Mutex<State<W>>,
}

struct State<W: Worker> {
    outputs: Vec<Option<W::Output>>,
    missing_inputs: Vec<usize>,
    failed: Option<W::Error>,
}

impl<'a, W: Worker> Solve<'a, W> {
    fn new(graph: &'a Graph, targets: &[VertexId], worker: &'a W) -> Self {
        let count = graph.vertices().len();
        let needed = graph.reachable(targets);
        let mut users = vec![Vec::new(); count];
        let mut missing_inputs = vec![0; count];
        for &id in &needed {
            let mut inputs = graph.vertex(id).inputs.clone();
            inputs.sort_unstable();
            inputs.dedup();
            missing_inputs[id.index()] = inputs.len();
            for input in inputs {
                users[input.index()].push(id);
            }
        }
        let outputs = vec![None; count];
        Self { graph, worker, needed, users, state: Mutex::new(State { outputs, missing_inputs, failed: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn initially_ready(&self) -> Vec<VertexId> {
        let state = self.state();
        self.needed.iter().copied().filter(|id| state.missing_inputs[id.index()] == 0).collect()
    }

    /// Solves `ready` and whatever becomes ready by it, until nothing is left for this thread.
    fn work<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, mut ready: Vec<VertexId>) {
        while let Some(mine) = ready.pop() {
            for other in ready.drain(..) {
                scope.spawn(move || self.work(scope, vec![other]));
            }
            let inputs = {
                let state = self.state();
                if state.failed.is_some() {
                    return;
                }
                let output = |input: &VertexId| state.outputs[input.index()].clone().expect("inputs are solved first");
                self.graph.vertex(mine).inputs.iter().map(output).collect::<Vec<_>>()
            };
            match self.vertex(mine, &inputs) {
                Ok(output) => ready = self.done(mine, output),
                Err(error) => {
                    self.state().failed.get_or_insert(error);
                    self.worker.failed();
                    return;
                }
            }
        }
    }

    fn done(&self, id: VertexId, output: W::Output) -> Vec<VertexId> {
        let mut state = self.state();
        state.outputs[id.index()] = Some(output);
        let mut ready = Vec::new();
        for &user in &self.users[id.index()] {
            state.missing_inputs[user.index()] -= 1;
            if state.missing_inputs[user.index()] == 0 {
                ready.push(user);
            }
        }
        ready
    }

    fn vertex(&self, id: VertexId, inputs: &[W::Output]) -> Result<W::Output, W::Error> {
        let parts = match self.worker.prepare(id, inputs)? {
            Prepared::Ready(output) => return Ok(output),
            Prepared::Keyed(parts) => parts,
        };
        let key = parts.key();
        let use_cache = self.graph.vertex(id).use_cache;
        if use_cache && let Some(output) = self.worker.find(id, &key, inputs)? {
            self.worker.remember(id, LastRun { key, parts }, true);
            return Ok(output);
        }
        let last = self.worker.last_run(id);
        let reason = explain(last.as_ref(), &parts, use_cache, &|digest| self.worker.listing(digest));
        let _lock = self.worker.lock(id, &key)?;
        // Somebody else may have made it while this process waited.
        if use_cache && let Some(output) = self.worker.find(id, &key, inputs)? {
            self.worker.remember(id, LastRun { key, parts }, true);
            return Ok(output);
        }
        let output = self.worker.execute(id, &key, &reason, inputs)?;
        self.worker.remember(id, LastRun { key, parts }, false);
        Ok(output)
    }
}

#[cfg(test)]
mod tests;
