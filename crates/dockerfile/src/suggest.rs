//! The nearest known name to a mistyped one.

/// The candidate that `word` most probably meant: at most two edits away (one for short words), case ignored. `None` when nothing
/// is near or `word` is itself a candidate.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words are not typing errors, and comparing costs the product of both lengths.
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    let limit = if lower.chars().count() <= 3 { 1 } else { 2 };
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = distance(&lower, &candidate.to_lowercase());
        if distance == 0 {
            if candidate == word {
                return None;
            }
            return Some(candidate);
        }
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Edits between two words: insertions, deletions, replacements, and swaps of neighbours count one each.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let mut cost = (above[j] + usize::from(a[i] != b[j])).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names() {
        let names = ["RUN", "COPY", "ENTRYPOINT", "ENV"];
        assert_eq!(nearest("RNU", names), Some("RUN"));
        assert_eq!(nearest("entripoint", names), Some("ENTRYPOINT"));
        assert_eq!(nearest("COPPY", names), Some("COPY"));
        assert_eq!(nearest("INCLUDE", names), None);
        assert_eq!(nearest("RUN", names), None);
        assert_eq!(nearest("", names), None);
    }
}
