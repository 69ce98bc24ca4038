//! Known names that are near to a mistyped one.

/// Returns the known name nearest to `typed`, if the distance is small enough for a typing error.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(typed, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().min(typed.len()) / 4)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn suggestions() {
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
