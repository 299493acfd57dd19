//! Separators: as short as they can be.

/// How many bytes two keys have in common from the start.
#[must_use]
pub fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// The length of the shortest prefix of `right` that is greater than `left`, given `left < right`: that prefix separates
/// them (`left < separator <= right`). Suffix truncation after Bayer and Unterauer's prefix B-trees (TODS 1977).
#[must_use]
pub fn shortest_separator(left: &[u8], right: &[u8]) -> usize {
    (common_prefix(left, right) + 1).min(right.len())
}
