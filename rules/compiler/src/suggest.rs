//! The word that was probably meant.

/// The nearest of `words`, when it is near enough to be meant.
pub(crate) fn nearest<'w>(wrong: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    if wrong.len() > 40 {
        return None;
    }
    let wrong = wrong.to_ascii_lowercase();
    let allowed = (wrong.len() / 3).max(1);
    let near = words.into_iter().filter_map(|word| {
        let abbreviation = wrong.len() >= 2 && word.starts_with(&wrong);
        let far = if abbreviation { 1 } else { distance(&wrong, word) };
        (far <= allowed).then_some((far, word))
    });
    near.min_by_key(|(far, _)| *far).map(|(_, word)| word)
}

/// Insertions, deletions, replacements and swaps of neighbours from one word to the other (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for j in 0..b.len() {
            let mut best = (above[j + 1] + 1).min(row[j] + 1).min(above[j] + usize::from(a[i] != b[j]));
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let words = ["accept", "drop", "reject", "forward"];
        assert_eq!(nearest("acept", words), Some("accept"));
        assert_eq!(nearest("dorp", words), Some("drop"));
        assert_eq!(nearest("REJECT", words), Some("reject"));
        assert_eq!(nearest("fwd", words), None);
        assert_eq!(nearest("allow", words), None);
        assert_eq!(nearest("sec", ["second", "minute"]), Some("second"));
        assert_eq!(distance("", "abc"), 3);
    }
}
