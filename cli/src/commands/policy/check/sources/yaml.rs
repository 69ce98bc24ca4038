//! What is wrong with a text that is not YAML, in words for people.

use serde_saphyr::{Error, SnippetMode, UserMessageFormatter};

/// A part of the message of the library, and what it means.
const MEANINGS: [(&str, &str); 20] = [
    ("flow sequence", "a list that begins with `[` is not closed, or lacks a comma"),
    ("flow mapping", "an object that begins with `{` is not closed, or lacks a comma"),
    ("unclosed bracket", "a bracket `[` or `{` is not closed"),
    ("mismatched bracket", "a bracket is closed by another one"),
    ("misplaced bracket", "a bracket is closed that was not opened"),
    ("unclosed quote", "a text in quotes does not end"),
    ("after single-quoted scalar", "something follows a text in quotes"),
    ("after double-quoted scalar", "something follows a text in quotes"),
    ("unknown escape character", "a backslash in double quotes is followed by a character that it cannot escape"),
    ("mapping values are not allowed", "a second `: ` in a line; put the text in quotes, or check the indentation"),
    ("mapping keys are not allowed", "a key where none can be; check the indentation"),
    ("block sequence entries are not allowed", "a list entry where none can be; check the indentation"),
    ("did not find expected key", "a key is expected; check the indentation"),
    ("expected ':'", "a key without `: `"),
    ("simple key is no longer valid", "a key without `: `"),
    ("tab", "a tab; indent with spaces"),
    ("indent", "wrong indentation"),
    ("unknown value", "an alias `*name` without its anchor `&name`; put a text with `*` in quotes"),
    ("node content", "a value is missing"),
    ("end of file", "the text ends too early"),
];

/// Returns line, column and what is wrong there.
pub(super) fn explain(error: &Error) -> String {
    let options = serde_saphyr::render_options! { formatter: &UserMessageFormatter, snippets: SnippetMode::Off };
    let rendered = error.render_with_options(options);
    let message = rendered.lines().next().unwrap_or_default();
    let what = match inner(error) {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("key `{key}` is there twice"),
        Error::Eof { .. } => "the text ends too early".to_owned(),
        _ => MEANINGS.iter().find(|(part, _)| message.contains(part)).map_or_else(
            || message.split(" at line ").next().unwrap_or(message).to_owned(),
            |(_, meaning)| (*meaning).to_owned(),
        ),
    };
    match error.location() {
        Some(at) => format!("line {}, column {}: {what}", at.line(), at.column()),
        None => format!("it is not YAML: {what}"),
    }
}

/// Returns the error without the text around it.
fn inner(error: &Error) -> &Error {
    match error {
        Error::WithSnippet { error, .. } => inner(error),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn errors_name_the_place_and_the_cause() {
        let mut wrong = Vec::new();
        for (text, expected) in [
            ("spec: [", "a bracket `[` or `{` is not closed"),
            ("spec: {a: 1", "a bracket `[` or `{` is not closed"),
            ("spec: [a}", "a bracket is closed by another one"),
            ("- {a: 1 b: 2}", "an object that begins with `{` is not closed, or lacks a comma"),
            ("a: \"b", "a text in quotes does not end"),
            ("a: b: c", "a second `: ` in a line; put the text in quotes, or check the indentation"),
            ("a: 1\n\tb: 2", "a tab; indent with spaces"),
            ("a: 1\na: 2", "key `a` is there twice"),
            ("plugins: [a]\nversions: *latest", "an alias `*name` without its anchor `&name`"),
            ("a:\n  b: 1\n c: 2", "line 3, column 2: a key is expected; check the indentation"),
        ] {
            let error = serde_saphyr::from_multiple::<Value>(text).unwrap_err();
            let explained = explain(&error);
            if !explained.starts_with("line ") || !explained.contains(expected) || expected.is_empty() {
                wrong.push(format!("{text:?}: {explained} ({error})"));
            }
            assert!(!explained.contains("while parsing") && !explained.contains('\n'), "{text:?}: {explained}");
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
