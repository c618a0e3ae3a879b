//! An environment: names and values in the order in which they were last set, each name once.

use kiln_graph::Variables;
use std::collections::HashMap;

/// Variables in the order in which they were last set, which is the one that BuildKit's steps see.
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

    /// Sets a variable, which thereby is the last one.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        if let Some(&place) = self.places.get(name) {
            if place + 1 == self.entries.len() {
                if self.entries[place].1 != value {
                    value.clone_into(&mut self.entries.to_mut()[place].1);
                }
                return;
            }
            self.entries.to_mut().remove(place);
            self.places.values_mut().filter(|other| **other > place).for_each(|other| *other -= 1);
        }
        self.places.insert(name.to_owned(), self.entries.len());
        self.entries.to_mut().push((name.to_owned(), value.to_owned()));
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
    fn what_is_set_is_last() {
        let mut env = Env::default();
        for (name, value) in [("A", "1"), ("B", ""), ("C", "4"), ("A", "2=3"), ("B", "5"), ("B", "6")] {
            env.set(name, value);
        }
        let entries: Vec<_> = env.entries().iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(entries, ["C=4", "A=2=3", "B=6"]);
        for (name, value) in [("A", Some("2=3")), ("B", Some("6")), ("C", Some("4")), ("D", None)] {
            assert_eq!(env.get(name), value, "{name}");
        }
    }
}
