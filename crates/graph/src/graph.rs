//! Vertices and the graph that holds them in topological order.

use crate::{AutoCache, Op};
use kiln_digest::{DefinitionDigest, Hasher};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The place of a vertex in its graph; inputs always have smaller ids than their users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VertexId(pub u32);

impl VertexId {
    /// The id as an index into [`Graph::vertices`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What people are told of a vertex. Not part of its identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The progress line: `[builder 3/6] COPY go.mod .`, `[internal] load build context`.
    pub name: String,
    /// The same place in the next edit of the Dockerfile: stage and ordinal of the instruction (`builder/3`). Reasons for a
    /// miss are found by comparing with what stood here last time.
    pub position: String,
    /// Byte range of the instruction in the Dockerfile, for excerpts.
    pub span: Option<(u32, u32)>,
    /// The instruction as people wrote it, without the stage's name: `COPY go.mod .`.
    pub instruction: String,
    /// Whether it is no instruction's own step but something that one needs: a context, a prepared file, a fetch. Such steps are
    /// not counted.
    pub internal: bool,
}

/// One node of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vertex {
    /// What it does.
    pub op: Op,
    /// What it needs; [`crate::Port`] counts here.
    pub inputs: Vec<VertexId>,
    /// What people are told.
    pub label: Label,
    /// Its identity in this run.
    pub definition: DefinitionDigest,
    /// Whether a record of an earlier build may stand in for it (`--no-cache`, `--no-cache-filter`).
    pub use_cache: bool,
}

/// A build graph in topological order.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    vertices: Vec<Vertex>,
    by_definition: HashMap<DefinitionDigest, VertexId>,
    /// Where ops are serialized to be hashed.
    serialized: Vec<u8>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vertex, or finds the one with the same op and inputs; the label of the first one stays.
    ///
    /// # Panics
    /// If an input is not in this graph, or an op cannot be serialized: both are mistakes in the calling code.
    pub fn add(&mut self, op: Op, inputs: Vec<VertexId>, label: Label, use_cache: bool) -> VertexId {
        let definition = self.define(&op, &inputs);
        if let Some(&id) = self.by_definition.get(&definition) {
            self.vertices[id.index()].use_cache &= use_cache;
            return id;
        }
        let id = VertexId(u32::try_from(self.vertices.len()).expect("fewer than 2³² vertices"));
        self.vertices.push(Vertex { op, inputs, label, definition, use_cache });
        self.by_definition.insert(definition, id);
        id
    }

    /// Adds all vertices of another graph, so that what both need is there once, and says what became of each, by its id there.
    pub fn absorb(&mut self, other: Self) -> Vec<VertexId> {
        let mut places: Vec<VertexId> = Vec::with_capacity(other.vertices.len());
        for vertex in other.vertices {
            let inputs = vertex.inputs.iter().map(|input| places[input.index()]).collect();
            places.push(self.add(vertex.op, inputs, vertex.label, vertex.use_cache));
        }
        places
    }

    fn define(&mut self, op: &Op, inputs: &[VertexId]) -> DefinitionDigest {
        self.serialized.clear();
        self.serialized = postcard::to_extend(op, std::mem::take(&mut self.serialized)).expect("an op is plain data");
        let mut hasher = Hasher::new("kiln vertex v1");
        hasher.field(&self.serialized).number(inputs.len() as u64);
        for input in inputs {
            hasher.field(self.vertices[input.index()].definition.as_bytes());
        }
        hasher.definition()
    }

    /// Gives the caches to a step, in the place of those that it has. Its definition stays.
    ///
    /// # Panics
    /// If the vertex is no exec op: a mistake in the calling code.
    pub fn give_caches(&mut self, id: VertexId, caches: Vec<AutoCache>) {
        match &mut self.vertices[id.index()].op {
            Op::Exec(exec) => exec.auto_caches = caches,
            Op::Source(_) | Op::File(_) => panic!("only steps get caches"),
        }
    }

    /// All vertices; the index is the id.
    pub fn vertices(&self) -> &[Vertex] {
        &self.vertices
    }

    /// One vertex.
    pub fn vertex(&self, id: VertexId) -> &Vertex {
        &self.vertices[id.index()]
    }

    /// The vertices that need a vertex, itself included.
    pub fn dependents(&self, id: VertexId) -> Vec<VertexId> {
        let mut found = vec![false; self.vertices.len()];
        found[id.index()] = true;
        for (index, vertex) in self.vertices.iter().enumerate().skip(id.index() + 1) {
            found[index] = vertex.inputs.iter().any(|input| found[input.index()]);
        }
        (0u32..).zip(found).filter_map(|(id, found)| found.then_some(VertexId(id))).collect()
    }

    /// The vertices that `targets` need, themselves included, inputs first.
    pub fn reachable(&self, targets: &[VertexId]) -> Vec<VertexId> {
        let mut needed = vec![false; self.vertices.len()];
        for target in targets {
            needed[target.index()] = true;
        }
        for index in (0..self.vertices.len()).rev() {
            if needed[index] {
                for input in &self.vertices[index].inputs {
                    needed[input.index()] = true;
                }
            }
        }
        (0u32..).zip(needed).filter_map(|(id, needed)| needed.then_some(VertexId(id))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{File, Local, Source};

    fn local(name: &str) -> Op {
        Op::Source(Source::Local(Local { name: name.to_owned() }))
    }

    #[test]
    fn same_op_and_inputs_are_one_vertex() {
        let mut graph = Graph::new();
        let a = graph.add(local("context"), vec![], Label::default(), true);
        let b = graph.add(local("context"), vec![], Label::default(), true);
        let c = graph.add(local("other"), vec![], Label::default(), true);
        assert_eq!(a, b);
        assert_ne!(a, c);
        let file = || Op::File(File { base: None, actions: vec![] });
        let over_a = graph.add(file(), vec![a], Label::default(), true);
        let over_c = graph.add(file(), vec![c], Label::default(), true);
        assert_ne!(over_a, over_c);
    }

    #[test]
    fn graphs_share_what_both_have() {
        let file = || Op::File(File { base: None, actions: vec![] });
        let graph = |name: &str| {
            let mut graph = Graph::new();
            let own = graph.add(local(name), vec![], Label::default(), true);
            let shared = graph.add(local("shared"), vec![], Label::default(), name != "b");
            graph.add(file(), vec![shared], Label::default(), true);
            graph.add(file(), vec![own, shared], Label::default(), true);
            graph
        };
        let mut both = graph("a");
        let places = both.absorb(graph("b"));
        assert_eq!(places, [4, 1, 2, 5].map(VertexId));
        assert_eq!(both.vertices().len(), 6);
        assert_eq!(both.vertex(places[3]).inputs, [VertexId(4), VertexId(1)]);
        assert!(!both.vertex(VertexId(1)).use_cache);
    }

    #[test]
    fn unused_vertices_are_not_reachable() {
        let mut graph = Graph::new();
        let a = graph.add(local("a"), vec![], Label::default(), true);
        let _unused = graph.add(local("b"), vec![], Label::default(), true);
        let top = graph.add(Op::File(File { base: None, actions: vec![] }), vec![a], Label::default(), true);
        assert_eq!(graph.reachable(&[top]), [a, top]);
    }
}
