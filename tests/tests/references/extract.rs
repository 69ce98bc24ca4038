//! Finds command lines in messages and pages.

use std::sync::LazyLock;

use regex_lite::Regex;

use crate::repository::TextFile;
use crate::rust_source::{self, Piece};

/// A command line as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandLine {
    pub(crate) place: String,
    pub(crate) text: String,
    /// Prose that names a command may leave out its arguments.
    pub(crate) may_be_incomplete: bool,
}

/// Words that make a mention of `d8` a command line, also those of groups that do not exist. Prose such as "d8 runs"
/// is no command.
const D8: &str = "plugins|cli|dist|policy|completion|agent|host|fleet|doctor";

/// Where a command line begins in a message.
static MENTION: LazyLock<Regex> = LazyLock::new(|| {
    let commands = format!(r"(?:d8 (?:{D8}|--?[a-z])|d8-rpp (?:pack|serve|unpublish)|kubectl [a-z-])");
    Regex::new(&format!(r"(?:^|[^A-Za-z0-9_./{{}}-])((?:sudo )?{commands})")).expect("a pattern")
});

/// Returns the command lines in a piece of a message. One in quotes or backquotes ends with them, any other with its
/// line.
pub(crate) fn of_message(text: &str) -> Vec<String> {
    // A line of shell may continue after a backslash.
    static CONTINUED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\\\n\s*").expect("a pattern"));
    let mut lines = Vec::new();
    let text = CONTINUED.replace_all(text, "");
    for line in text.split('\n') {
        let mut from = 0;
        while let Some(found) = MENTION.captures_at(line, from) {
            let mention = found.get(1).expect("the command");
            let before = line[..mention.start()].chars().last();
            // The command may be the end of a pipeline that began in backquotes: `echo x | kubectl apply -f -`.
            let open = line[..mention.start()].matches('`').count() % 2 == 1;
            let rest = &line[mention.start()..];
            let end = match before {
                _ if open => rest.find('`'),
                Some('\'') => rest.find('\''),
                Some('"') => rest.find('"'),
                _ => rest.find("  "),
            };
            let end = end.unwrap_or(rest.len());
            lines.push(rest[..end].trim().to_owned());
            from = mention.start() + end.max(mention.len());
            if from >= line.len() {
                break;
            }
        }
    }
    lines
}

/// Returns the messages of a Rust file: the literals of what is not test code.
fn of_rust(file: &TextFile) -> Vec<CommandLine> {
    let literals = rust_source::words(rust_source::without_tests(&file.text)).literals;
    let lines = |piece: Piece| {
        let place = file.place(piece.line);
        of_message(&placeholders(&piece.text)).into_iter().map(move |text| (place.clone(), text))
    };
    let found = literals.into_iter().flat_map(lines);
    found.map(|(place, text)| CommandLine { place, text, may_be_incomplete: false }).collect()
}

/// Arguments of `format!` become a sample.
fn placeholders(text: &str) -> String {
    static ARGUMENT: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\{[A-Za-z0-9_.]*(?::[^{}]*)?\}").expect("a pattern"));
    let text = text.replace("{platform}", "linux-amd64");
    let text = text.replace("{{", "\u{1}").replace("}}", "\u{2}");
    ARGUMENT.replace_all(&text, "7").replace('\u{1}', "{").replace('\u{2}', "}")
}

/// Returns the command lines of a page: code spans, lines of code blocks, and quotes in the output of commands.
pub(crate) fn of_page(file: &TextFile) -> Vec<CommandLine> {
    static PROMPT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^[a-z]*\$ (.*)$").expect("a pattern"));
    static SPAN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"`([^`]+)`").expect("a pattern"));
    let mut found = Vec::new();
    let mut add = |line: usize, text: &str, may_be_incomplete| {
        found.push(CommandLine { place: file.place(line), text: text.to_owned(), may_be_incomplete });
    };
    let mut block: Option<&str> = None;
    let mut lines = file.text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        match (block, line.trim_start().strip_prefix("```")) {
            (None, Some(kind)) => block = Some(kind),
            (Some(_), Some(_)) => block = None,
            (None, None) => {
                for span in SPAN.captures_iter(line) {
                    add(number, &span[1], true);
                }
            }
            // Code, and drawings.
            (Some("rust" | "go" | "text"), None) => {}
            (Some(kind), None) => {
                let mut text = line.to_owned();
                while text.ends_with('\\') {
                    text.pop();
                    text.push_str(lines.next().map_or("", |(_, next)| next.trim_start()));
                }
                match PROMPT.captures(&text) {
                    Some(prompt) => add(number, &prompt[1], false),
                    None if kind.is_empty() && starts_with_program(&text) => add(number, &text, false),
                    None => of_message(&text).iter().for_each(|text| add(number, text, false)),
                }
            }
        }
    }
    found
}

fn starts_with_program(line: &str) -> bool {
    ["d8 ", "d8-rpp ", "kubectl "].iter().any(|program| line.starts_with(program))
}

/// Returns every command line of a file that is a message, a page or a snapshot.
pub(crate) fn command_lines(file: &TextFile) -> Vec<CommandLine> {
    let in_tests = file.path.contains("/tests/") || file.path.ends_with("/tests.rs");
    match file.extension() {
        "md" => of_page(file),
        "snap" => {
            let lines = file.text.lines().enumerate();
            let of_line = |(index, line): (usize, &str)| {
                let place = file.place(index + 1);
                of_message(line).into_iter().map(move |text| (place.clone(), text)).collect::<Vec<_>>()
            };
            let found = lines.flat_map(of_line);
            found.map(|(place, text)| CommandLine { place, text, may_be_incomplete: false }).collect()
        }
        "rs" if !in_tests => of_rust(file),
        // The notes of the chart, a template.
        "txt" => {
            static ACTION: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{\{.*?\}\}").expect("a pattern"));
            let text = ACTION.replace_all(&file.text, "7");
            let found = of_message(&text).into_iter();
            found.map(|text| CommandLine { place: file.path.clone(), text, may_be_incomplete: false }).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn command_lines_of_messages() {
    for (text, expected) in [
        ("run `d8 plugins update a` yourself", &["d8 plugins update a"][..]),
        ("Run 'd8 cli update' to upgrade.", &["d8 cli update"]),
        ("log in again, then: kubectl auth whoami", &["kubectl auth whoami"]),
        ("d8 runs on Linux; d8 can be refused", &[]),
        ("  d8 plugins why a          every version", &["d8 plugins why a"]),
        ("make one: `echo '{}' | kubectl apply -f -`", &["kubectl apply -f -"]),
        ("`sudo d8 cli update`, or `d8 cli use v1`", &["sudo d8 cli update", "d8 cli use v1"]),
    ] {
        assert_eq!(of_message(text), expected, "{text}");
    }
}
