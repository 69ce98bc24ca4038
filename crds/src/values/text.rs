//! Text from outside (contracts, tags, servers) made fit for a terminal.
//!
//! Owns the one rule for it; everything that quotes foreign words in a message goes through here.

use std::borrow::Cow;

/// Longest result of [`printable`], in characters.
pub const MAX_PRINTABLE: usize = 256;

/// What a terminal may be shown of this text, on one line and at most [`MAX_PRINTABLE`] characters.
/// See [`printable_to`].
pub fn printable(text: &str) -> Cow<'_, str> {
    printable_to(text, MAX_PRINTABLE)
}

/// What a terminal may be shown of this text, on one line and at most `max` characters, the last of
/// which is `…` where something was cut.
///
/// Whatever moves a cursor, ends a line, switches colours, is invisible or turns the direction of
/// writing (Unicode categories Cc, Cf, Zl, Zp, private and unassigned characters) becomes an escape
/// such as `\u{1b}`; blanks of other widths become plain ones. Applied twice it changes nothing more.
pub fn printable_to(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Cow::Borrowed(text);
    }
    // Escaping never shortens, so what lies behind the bound can't show.
    let head = text.char_indices().nth(max.saturating_add(1)).map_or(text, |(end, _)| &text[..end]);
    let mut shown = String::with_capacity(head.len());
    // `escape_debug` knows the categories, but would escape these too.
    for piece in head.split_inclusive(|c| kept(c) || blank(c)) {
        let last = piece.chars().next_back().filter(|&c| kept(c) || blank(c));
        let body = &piece[..piece.len() - last.map_or(0, char::len_utf8)];
        shown.extend(body.escape_debug());
        shown.extend(last.map(|c| if blank(c) { ' ' } else { c }));
    }
    if let Some((end, _)) = shown.char_indices().nth(max) {
        let keep = shown[..end].char_indices().next_back().map_or(0, |(last, _)| last);
        shown.truncate(keep);
        if max > 0 {
            shown.push('…');
        }
    }
    Cow::Owned(shown)
}

/// Printable, though escaped in Rust source.
fn kept(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\')
}

/// A blank within a line, whatever its width (category Zs).
fn blank(c: char) -> bool {
    c.is_whitespace() && !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_shown() {
        for (text, shown) in [
            ("", ""),
            ("plain words, ~!@#", "plain words, ~!@#"),
            (r#"it's "quoted" \ here"#, r#"it's "quoted" \ here"#),
            ("Хранилище секретов", "Хранилище секретов"),
            ("10\u{a0}MB\u{3000}", "10 MB "),
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{1b}[31mred\u{7}", r"\u{1b}[31mred\u{7}"),
            ("c1 \u{9b}31m \u{7f}", r"c1 \u{9b}31m \u{7f}"),
            ("right \u{202e}tfel\u{2066}", r"right \u{202e}tfel\u{2066}"),
            ("hid\u{200b}den\u{feff}\u{e0041}", r"hid\u{200b}den\u{feff}\u{e0041}"),
            ("two\u{2028}lines\u{85}", r"two\u{2028}lines\u{85}"),
            ("\0", r"\0"),
        ] {
            assert_eq!(printable(text), shown, "{text:?}");
        }
    }

    #[test]
    fn it_is_bounded() {
        for (text, max, shown) in [
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abcde…"),
            ("ääää", 3, "ää…"),
            ("ab\u{1b}cd", 4, "ab\\…"),
            ("abc", 1, "…"),
            ("abc", 0, ""),
        ] {
            assert_eq!(printable_to(text, max), shown, "{text:?}");
        }
        assert_eq!(printable(&"\u{1b}".repeat(1 << 20)).chars().count(), MAX_PRINTABLE);
    }

    proptest! {
        #[test]
        fn one_line_bounded_and_stable(text in "\\PC*|(?s:.*)", max in 0_usize..40) {
            let shown = printable_to(&text, max);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert!(shown.chars().count() <= max);
            prop_assert_eq!(printable_to(&shown, max), shown.as_ref());
        }
    }
}
