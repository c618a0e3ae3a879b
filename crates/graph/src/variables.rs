//! The environment of a step.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::Deref;
use std::sync::Arc;

/// Variables in order, each name once. Clones share them: the steps of a stage have the same ones, most of the time.
#[derive(Debug, Clone, Default)]
pub struct Variables(Option<Arc<Vec<(String, String)>>>);

impl Variables {
    /// The variables, to be changed; only here, if others share them.
    pub fn to_mut(&mut self) -> &mut Vec<(String, String)> {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl Deref for Variables {
    type Target = [(String, String)];

    fn deref(&self) -> &Self::Target {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl PartialEq for Variables {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Variables {}

impl<'a> IntoIterator for &'a Variables {
    type Item = &'a (String, String);
    type IntoIter = std::slice::Iter<'a, (String, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Vec<(String, String)>> for Variables {
    fn from(variables: Vec<(String, String)>) -> Self {
        Self(Some(Arc::new(variables)))
    }
}

impl Serialize for Variables {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Variables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_that_changes_is_one_of_its_own() {
        let first = Variables::from(vec![("A".to_owned(), "1".to_owned())]);
        let mut second = first.clone();
        second.to_mut().push(("B".to_owned(), "2".to_owned()));
        assert_eq!((first.len(), second.len()), (1, 2));
        let bytes = postcard::to_stdvec(&second).unwrap();
        assert_eq!(bytes, postcard::to_stdvec(&second.to_vec()).unwrap());
        assert_eq!(postcard::from_bytes::<Variables>(&bytes).unwrap(), second);
    }
}
