//! Text from outside (contracts, tags, servers) made printable for a terminal.
//!
//! Every message that quotes such a text passes it through this module.

use std::borrow::Cow;

use crate::values::limits;

/// Returns the text in a form that is safe to print on a terminal: one line of at most
/// [`limits::QUOTED_TEXT`] characters. See [`printable_to`].
pub fn printable(text: &str) -> Cow<'_, str> {
    printable_to(text, limits::QUOTED_TEXT)
}

/// Returns a line of a message in a form that is safe to print on a terminal. The bound leaves room for whole commands:
/// a text from outside that is part of the line is bounded by [`printable`] where the line is composed.
pub fn printable_line(line: &str) -> Cow<'_, str> {
    printable_to(line, limits::MESSAGE_LINE)
}

/// Returns the text in a form that is safe to print on a terminal: one line of at most `max` characters.
/// The last one is `…` if the text was cut.
///
/// Characters that move the cursor, end the line, switch colours, are invisible or change the writing
/// direction (Unicode categories Cc, Cf, Zl, Zp, private and unassigned) become escapes such as `\u{1b}`.
/// Spaces of other widths become plain spaces. A second application changes nothing.
pub fn printable_to(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Cow::Borrowed(text);
    }
    // Escaping never shortens a text, so characters after the bound cannot appear in the result.
    let head = text.char_indices().nth(max.saturating_add(1)).map_or(text, |(end, _)| &text[..end]);
    let mut shown = String::with_capacity(head.len());
    // `escape_debug` knows the categories, but it also escapes quotes and spaces.
    for piece in head.split_inclusive(|c| is_literal(c) || is_space(c)) {
        let last = piece.chars().next_back().filter(|&c| is_literal(c) || is_space(c));
        let body = &piece[..piece.len() - last.map_or(0, char::len_utf8)];
        shown.extend(body.escape_debug());
        shown.extend(last.map(|c| if is_space(c) { ' ' } else { c }));
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

/// Returns the text as [`printable_to`] does. Where it must be cut inside of a command or value in backquotes, all of that
/// is left out: a part of a command must not be run.
pub fn shortened(text: &str, max: usize) -> Cow<'_, str> {
    let shown = printable_to(text, max);
    if text.chars().nth(max).is_none() && !shown.ends_with('…') {
        return shown;
    }
    let cut = shown.trim_end_matches('…');
    match whole_code(cut) {
        end if end == cut.len() => shown,
        end => Cow::Owned(format!("{}…", cut[..end].trim_end())),
    }
}

/// Returns where the last backquote begins that is not closed; the length of the text if all are closed.
pub fn whole_code(text: &str) -> usize {
    let is_open = text.matches('`').count() % 2 == 1;
    text.rfind('`').filter(|_| is_open).unwrap_or(text.len())
}

/// Joins as many whole items as fit into `max` characters, and says how many are left out: `a; b; and 3 more`. Of an item
/// that is too long alone, the beginning is kept (see [`shortened`]).
pub fn join_whole<T: AsRef<str>>(items: &[T], separator: &str, max: usize) -> String {
    let length = |text: &str| text.chars().count();
    let items: Vec<_> = items.iter().map(|item| printable_to(item.as_ref(), usize::MAX)).collect();
    let all = items.join(separator);
    if length(&all) <= max {
        return all;
    }
    let mut joined = String::new();
    for (index, item) in items.iter().enumerate() {
        let room = max.saturating_sub(length(&joined));
        let (before, left) = (if index == 0 { "" } else { separator }, items.len() - index);
        // What is said instead of the items after this one.
        let rest = if left == 1 { String::new() } else { format!("{separator}and {} more", left - 1) };
        if length(before) + length(item) + length(&rest) <= room {
            joined.extend([before, item]);
        } else if index == 0 {
            return shortened(item, room.saturating_sub(length(&rest))).into_owned() + &rest;
        } else {
            return joined + &format!("{separator}and {left} more");
        }
    }
    joined
}

/// What serde calls a type that it expects, before the name of a Rust type, and the same in words for people.
const EXPECTED_TYPES: [(&str, &str); 11] = [
    ("struct variant ", "an object"),
    ("tuple variant ", "a list"),
    ("newtype variant ", "another type"),
    ("unit variant ", "another type"),
    ("tuple struct ", "a list"),
    ("newtype struct ", "another type"),
    ("unit struct ", "another type"),
    ("struct ", "an object"),
    ("internally tagged enum ", "an object"),
    ("adjacently tagged enum ", "an object"),
    ("enum ", "a name"),
];

/// Returns the message of an error that serde reported, in words for people: `expected struct Policy` becomes
/// `expected an object`, without the name of a Rust type.
pub fn without_type_names(message: &str) -> Cow<'_, str> {
    let Some((head, expected)) = message.rsplit_once("expected ") else { return Cow::Borrowed(message) };
    let of_type =
        EXPECTED_TYPES.iter().find_map(|(kind, words)| Some((*words, after_name(expected.strip_prefix(kind)?))));
    let (words, rest) = match (of_type, expected.strip_prefix("a map"), expected.strip_prefix("a sequence")) {
        (Some(found), ..) => found,
        (_, Some(rest), _) if !rest.starts_with(char::is_alphanumeric) => ("an object", rest),
        (.., Some(rest)) => ("a list", rest),
        _ => return Cow::Borrowed(message),
    };
    Cow::Owned(format!("{head}expected {words}{rest}"))
}

/// Returns what follows the name of a Rust type, without the number of its elements.
fn after_name(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))).unwrap_or(text.len());
    let rest = &text[text[..end].trim_end_matches(':').len()..];
    let elements = rest.strip_prefix(" with ").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    elements.and_then(|rest| rest.strip_prefix(" elements").or_else(|| rest.strip_prefix(" element"))).unwrap_or(rest)
}

/// Returns whether `escape_debug` escapes a character that is printable.
fn is_literal(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\')
}

/// Returns whether a character is a space of any width (category Zs).
fn is_space(c: char) -> bool {
    c.is_whitespace() && !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn characters_are_escaped() {
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
    fn messages_name_no_type() {
        #[derive(Debug, serde::Deserialize)]
        #[allow(dead_code, reason = "only decoded")]
        struct Inner {
            text: String,
        }
        #[derive(Debug, serde::Deserialize)]
        enum Kind {
            Plain,
        }
        #[derive(Debug, serde::Deserialize)]
        #[allow(dead_code, reason = "only decoded")]
        struct Outer {
            inner: Option<Inner>,
            list: Option<Vec<u8>>,
            map: Option<std::collections::BTreeMap<String, String>>,
            kind: Option<Kind>,
        }
        for (json, words) in [
            ("1", "invalid type: integer `1`, expected an object at line 1 column 1"),
            (
                r#"{"inner": "expected struct Outer"}"#,
                "invalid type: string \"expected struct Outer\", expected an object",
            ),
            (r#"{"inner": []}"#, "invalid length 0, expected an object at line 1 column"),
            (r#"{"list": "x"}"#, "invalid type: string \"x\", expected a list at line 1 column"),
            (r#"{"map": 7}"#, "invalid type: integer `7`, expected an object at line 1 column"),
            (r#"{"kind": 7}"#, "expected"),
            (r#"{"kind": "Other"}"#, "unknown variant `Other`, expected `Plain` at line 1 column"),
            (r#"{"inner": {}}"#, "missing field `text` at line 1 column"),
            ("{", "EOF while parsing an object at line 1 column 1"),
        ] {
            let error = serde_json::from_str::<Outer>(json).unwrap_err().to_string();
            let message = without_type_names(&error);
            assert!(message.contains(words), "{json}: {message}");
            let unquoted = message.replace("\"expected struct Outer\"", "");
            assert!(!["struct", "enum", "Kind", "Outer"].iter().any(|word| unquoted.contains(word)), "{message}");
        }
    }

    #[test]
    fn what_follows_the_name_of_a_type_stays() {
        for (message, plain) in [
            ("got 7, expected struct Policy; run it again", "got 7, expected an object; run it again"),
            ("(expected struct Policy with 2 elements)", "(expected an object)"),
            ("expected tuple struct Pair with 1 element at line 2", "expected a list at line 2"),
            ("expected struct variant Kind::Plain: x", "expected an object: x"),
            ("expected a map, or nothing", "expected an object, or nothing"),
            ("expected a sequence", "expected a list"),
            ("expected a mapping", "expected a mapping"),
            ("expected a string", "expected a string"),
            ("as expected", "as expected"),
            ("", ""),
        ] {
            assert_eq!(without_type_names(message), plain);
        }
    }

    #[test]
    fn length_is_bounded() {
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
        assert_eq!(printable(&"\u{1b}".repeat(1 << 20)).chars().count(), limits::QUOTED_TEXT);
    }

    #[test]
    fn commands_are_not_cut() {
        for (text, max, shown) in [
            ("run `d8 x` now", 14, "run `d8 x` now"),
            ("run `d8 x` now", 12, "run `d8 x` …"),
            ("run `d8 x` now", 10, "run…"),
            ("run `d8 x` now", 7, "run…"),
            ("`d8 x y`", 5, "…"),
            ("plain words", 7, "plain …"),
            ("ends with…", 10, "ends with…"),
        ] {
            assert_eq!(shortened(text, max), shown, "{text:?} {max}");
        }
    }

    #[test]
    fn whole_items_are_joined() {
        for (items, max, joined) in [
            (&[][..], 9, ""),
            (&["one"], 3, "one"),
            (&["one", "two"], 8, "one; two"),
            (&["one", "two", "three"], 24, "one; two; three"),
            (&["one", "two", "three"], 15, "one; two; three"),
            (&["first", "second", "third"], 19, "first; and 2 more"),
            (&["first", "second", "a rather long one"], 26, "first; second; and 1 more"),
            (&["run `d8 long command`", "b"], 20, "run…; and 1 more"),
            (&["a\nb", "c"], 40, "a\\nb; c"),
        ] {
            assert_eq!(join_whole(items, "; ", max), joined, "{items:?} {max}");
        }
    }

    proptest! {
        #[test]
        fn joined_items_are_bounded(items in proptest::collection::vec("[a-z` ]{0,12}", 0..8), max in 20_usize..60) {
            let joined = join_whole(&items, "; ", max);
            prop_assert!(joined.chars().count() <= max);
        }

        #[test]
        fn the_result_is_one_bounded_line_and_stable(text in "\\PC*|(?s:.*)", max in 0_usize..40) {
            let shown = printable_to(&text, max);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert!(shown.chars().count() <= max);
            prop_assert_eq!(printable_to(&shown, max), shown.as_ref());
        }
    }
}
