//! Splitting the arguments of `ENV`, `LABEL` and `ARG` into words, quotes kept.

use crate::lines::Text;

/// Splits at blanks outside quotes. Quotes and escapes stay; an escape character at the very end is dropped. A word that is quoted
/// and empty counts, as `''` does in `ENV a=''`.
pub(crate) fn split(text: Text<'_>, escape: char) -> Vec<Text<'_>> {
    let source = text.as_str();
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut characters = source.char_indices();
    let mut end = source.len();
    while let Some((at, character)) = characters.next() {
        if quote.is_none() && character.is_whitespace() {
            if let Some(from) = start.take() {
                words.push(text.slice(from..at));
            }
            continue;
        }
        start.get_or_insert(at);
        match quote {
            None if matches!(character, '\'' | '"') => quote = Some(character),
            Some(open) if character == open => quote = None,
            _ => {}
        }
        // In single quotes an escape character is only itself.
        if character == escape && quote != Some('\'') && characters.next().is_none() {
            end = at;
        }
    }
    if let Some(from) = start
        && from < end
    {
        words.push(text.slice(from..end));
    }
    words
}
