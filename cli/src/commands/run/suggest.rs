//! What a mistyped word may have meant.

/// The known word nearest to what was typed, if it is near enough to be meant.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(typed, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len().min(typed.len()) / 4)
        .min()
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_and_far() {
        let known = ["plugins", "completion", "stronghold", "hello"];
        for (typed, want) in [
            ("plugin", Some("plugins")),
            ("plguins", Some("plugins")),
            ("strongold", Some("stronghold")),
            ("helo", Some("hello")),
            ("frobnicate", None),
            ("x", None),
        ] {
            assert_eq!(nearest(typed, known), want, "{typed}");
        }
    }
}
