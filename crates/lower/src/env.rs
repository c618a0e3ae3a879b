//! An environment: names and values in the order in which they were last set, each name once.

use kiln_graph::Variables;
use std::collections::HashMap;
use std::sync::Arc;

/// Variables in the order in which they were last set, which is the one that BuildKit's steps see.
#[derive(Debug, Clone, Default)]
pub(crate) struct Env {
    /// A variable that is set anew leaves a hole and is the last one. Stages share the texts with their bases.
    entries: Vec<Option<(Arc<str>, Arc<str>)>>,
    places: HashMap<Arc<str>, usize>,
    /// The entries without holes, if somebody asked since the last change.
    shown: Option<Variables>,
}

impl Env {
    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let entry = self.entries[*self.places.get(name)?].as_ref();
        entry.map(|(_, value)| &**value)
    }

    /// Sets a variable, which thereby is the last one.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let last = self.entries.len();
        let entry = match self.places.get_mut(name) {
            Some(place) => {
                let known = &mut self.entries[*place];
                let is_same = known.as_ref().is_some_and(|(_, known)| **known == *value);
                if is_same && *place + 1 == last {
                    return;
                }
                *place = last;
                known.take().map(|(name, known)| (name, if is_same { known } else { value.into() }))
            }
            None => {
                let name: Arc<str> = name.into();
                self.places.insert(name.clone(), last);
                Some((name, value.into()))
            }
        };
        self.shown = None;
        self.entries.push(entry);
        if self.entries.len() > 2 * self.places.len() {
            self.fill_holes();
        }
    }

    /// Sets variables one after the other.
    pub(crate) fn set_all<'p>(&mut self, pairs: impl Iterator<Item = (&'p str, &'p str)> + Clone) {
        // A stage begins with what its base stage has set; mostly that is all there already, and in this order.
        let mut entries = self.entries.iter().flatten();
        let same = |(name, value)| entries.next().is_some_and(|entry| (&*entry.0, &*entry.1) == (name, value));
        if pairs.clone().all(same) && entries.next().is_none() {
            return;
        }
        pairs.for_each(|(name, value)| self.set(name, value));
    }

    fn fill_holes(&mut self) {
        self.entries.retain(Option::is_some);
        for (place, (name, _)) in self.entries.iter().flatten().enumerate() {
            if let Some(known) = self.places.get_mut(name) {
                *known = place;
            }
        }
    }

    /// The names, in any order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.places.keys().map(|name| &**name)
    }

    /// The variables in order.
    pub(crate) fn entries(&mut self) -> &Variables {
        let pairs = self.entries.iter().flatten().map(|(name, value)| (name.to_string(), value.to_string()));
        self.shown.get_or_insert_with(|| pairs.collect::<Vec<_>>().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_what_is_there_changes_nothing_but_the_order() {
        let mut env = Env::default();
        let shown =
            |env: &mut Env| env.entries().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        for (pairs, expected) in [
            (&[("A", "1"), ("B", "2")][..], &["A=1", "B=2"][..]),
            (&[("A", "1"), ("B", "2")], &["A=1", "B=2"]),
            (&[("A", "1")], &["B=2", "A=1"]),
            (&[("B", "2"), ("A", "3")], &["B=2", "A=3"]),
            (&[("B", "2"), ("A", "3"), ("B", "4")], &["A=3", "B=4"]),
        ] {
            env.set_all(pairs.iter().copied());
            assert_eq!(shown(&mut env), expected, "{pairs:?}");
        }
    }

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

    #[test]
    fn very_many_are_set_again() {
        let mut env = Env::default();
        let names: Vec<String> = (0..100_000).map(|n| format!("A{n}")).collect();
        for value in ["1", "2", "3"] {
            names.iter().for_each(|name| env.set(name, value));
        }
        assert_eq!(env.entries().len(), names.len());
        assert!(
            env.entries().iter().zip(&names).all(|((name, value), expected)| (name, value.as_str()) == (expected, "3"))
        );
        assert!(names.iter().all(|name| env.get(name) == Some("3")));
    }
}
