//! An environment: names and values in the order in which the names first appeared, each name once.

use kiln_graph::Variables;
use std::collections::HashMap;

/// Variables in the order of their first appearance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Env {
    entries: Variables,
    places: HashMap<String, usize>,
}

impl Env {
    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|&place| self.entries[place].1.as_str())
    }

    /// Sets a variable; one that is there keeps its place.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        match self.places.get(name) {
            Some(&place) if self.entries[place].1 == value => {}
            Some(&place) => value.clone_into(&mut self.entries.to_mut()[place].1),
            None => {
                self.places.insert(name.to_owned(), self.entries.len());
                self.entries.to_mut().push((name.to_owned(), value.to_owned()));
            }
        }
    }

    /// The variables in order.
    pub(crate) fn entries(&self) -> &Variables {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_place() {
        let mut env = Env::default();
        for (name, value) in [("A", "1"), ("B", ""), ("A", "2=3"), ("C", "4"), ("B", "5")] {
            env.set(name, value);
        }
        let entries: Vec<_> = env.entries().iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(entries, ["A=2=3", "B=5", "C=4"]);
        assert_eq!((env.get("B"), env.get("D")), (Some("5"), None));
    }
}
