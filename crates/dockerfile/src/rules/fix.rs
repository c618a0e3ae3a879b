//! Fixes: edits of a Dockerfile's text, and how they are applied.
//!
//! A rule offers a [`Fix`] only where the image that is built afterwards holds what it held before. One round applies what does not
//! touch each other; [`settle`] goes on until nothing is left to mend, since a fix may make way for another one.
//!
//! Invariants: what no edit covers stays as it is, byte for byte; a fix is applied as a whole or not at all.

use crate::span::Span;

/// Edits that belong together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fix {
    /// What they do, as a lowercase fragment: `give the step a cache mount`.
    pub title: String,
    /// The edits, in the order of the file, apart from each other.
    pub edits: Vec<Edit>,
}

/// A piece of the text and what takes its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edit {
    /// What goes; empty where something is only put in.
    pub span: Span,
    /// What comes.
    pub text: String,
}

impl Edit {
    /// Puts text in.
    pub fn insert(at: u32, text: impl Into<String>) -> Self {
        Self { span: Span::at(at), text: text.into() }
    }

    /// Takes text out.
    pub fn remove(span: Span) -> Self {
        Self { span, text: String::new() }
    }
}

/// A text that was mended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    /// The text as it is now.
    pub text: String,
    /// The findings that were mended: the rule's name and the fix's title.
    pub mended: Vec<(&'static str, String)>,
}

/// More rounds than any Dockerfile needs, so that rules which undo each other come to an end.
const MAX_ROUNDS: usize = 20;

/// Applies fixes until there are none. `lint` gives the fixes that a text is offered, each with its rule's name.
///
/// # Errors
/// What `lint` fails with.
pub fn settle<E>(
    source: &str,
    mut lint: impl FnMut(&str) -> Result<Vec<(&'static str, Fix)>, E>,
) -> Result<Settled, E> {
    let mut settled = Settled { text: source.to_owned(), mended: Vec::new() };
    for _ in 0..MAX_ROUNDS {
        let offered = lint(&settled.text)?;
        let (text, mended) = apply(&settled.text, &offered);
        if mended.is_empty() {
            break;
        }
        settled.text = text;
        settled.mended.extend(mended);
    }
    Ok(settled)
}

/// Applies each fix that does not touch one before it, and says which.
fn apply(source: &str, fixes: &[(&'static str, Fix)]) -> (String, Vec<(&'static str, String)>) {
    let mut edits: Vec<&Edit> = Vec::new();
    let mut applied = Vec::new();
    for (rule, fix) in fixes {
        let fits = |edit: &Edit| source.get(edit.span.range()).is_some();
        let touches = |edit: &Edit| {
            edits.iter().any(|other| edit.span.start <= other.span.end && other.span.start <= edit.span.end)
        };
        if !fix.edits.is_empty() && fix.edits.iter().all(|edit| fits(edit) && !touches(edit)) {
            edits.extend(&fix.edits);
            applied.push((*rule, fix.title.clone()));
        }
    }
    edits.sort_by_key(|edit| edit.span.start);
    let (mut text, mut at) = (String::with_capacity(source.len()), 0);
    for edit in edits {
        text.push_str(&source[at..edit.span.start as usize]);
        text.push_str(&edit.text);
        at = edit.span.end as usize;
    }
    text.push_str(&source[at..]);
    (text, applied)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fix(edits: &[(u32, u32, &str)]) -> Fix {
        let edit = |&(start, end, text): &(u32, u32, &str)| Edit { span: Span::new(start, end), text: text.to_owned() };
        Fix { title: "t".to_owned(), edits: edits.iter().map(edit).collect() }
    }

    #[test]
    fn fixes_are_applied_as_a_whole_or_not_at_all() {
        let applied = |fixes: &[Fix]| {
            let (text, applied) = apply("abcdef", &fixes.iter().map(|fix| ("R", fix.clone())).collect::<Vec<_>>());
            format!("{text} {}", applied.len())
        };
        assert_eq!(applied(&[fix(&[(1, 2, "X"), (4, 4, "Y")])]), "aXcdYef 1");
        assert_eq!(applied(&[fix(&[(4, 5, "")]), fix(&[(0, 1, "Z")])]), "Zbcdf 2");
        // Touching is enough: the second was found in a text that is no longer there.
        assert_eq!(applied(&[fix(&[(1, 2, "X")]), fix(&[(0, 0, "Y"), (2, 3, "Z")])]), "aXcdef 1");
        assert_eq!(applied(&[fix(&[(5, 9, "X")]), fix(&[])]), "abcdef 0");
    }
}
