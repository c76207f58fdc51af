//! How far apart two words are, for "did you mean".

/// Levenshtein's distance in bytes: how many must be added, taken or changed. `known` is never empty.
pub(crate) fn distance(given: &str, known: &str) -> usize {
    // One row of the table at a time.
    let mut row: Vec<usize> = (0..=known.len()).collect();
    for (i, a) in given.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(known.bytes()) {
            let new = (diagonal + usize::from(a != b)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = new;
            left = new;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn every_added_taken_or_changed_byte_counts_once() {
        for (given, known, apart) in [
            ("media", "media", 0),
            ("medias", "media", 1),
            ("mdia", "media", 1),
            ("nadia", "media", 2),
        ] {
            assert_eq!(distance(given, known), apart, "{given} {known}");
        }
    }
}
