//! The grammar of constraints. Parsing is linear in the length of the text, for any text.

use std::borrow::Cow;

/// Operator of a comparator. Some operators have several spellings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// `=`, or no operator at all.
    Eq,
    Ne,
    Gt,
    Lt,
    Ge,
    Le,
    Tilde,
    Caret,
}

/// All spellings of the operators. A longer spelling precedes its prefixes.
const OPS: [(&str, Op); 11] = [
    ("!=", Op::Ne),
    (">=", Op::Ge),
    ("=>", Op::Ge),
    ("<=", Op::Le),
    ("=<", Op::Le),
    ("~>", Op::Tilde),
    ("=", Op::Eq),
    (">", Op::Gt),
    ("<", Op::Lt),
    ("~", Op::Tilde),
    ("^", Op::Caret),
];

/// An operator and its version, both as written.
#[derive(Debug)]
pub(super) struct Term<'a> {
    pub(super) op: Op,
    /// The operator as written. Empty if it is left out.
    pub(super) sign: &'a str,
    /// The whole version as written.
    pub(super) version: &'a str,
    /// The numbers or wildcards of the version, unchecked. Empty if left out.
    pub(super) numbers: [&'a str; 3],
    /// The pre-release with the `-`, or empty.
    pub(super) pre: &'a str,
}

/// Parses the terms of one alternative, which commas or spaces separate. There is at least one.
pub(super) fn terms(text: &str) -> Result<Vec<Term<'_>>, &'static str> {
    let mut terms = Vec::new();
    let mut rest = trim(text);
    loop {
        let (sign, op) = OPS.into_iter().find(|(sign, _)| rest.starts_with(sign)).unwrap_or(("", Op::Eq));
        let operand = trim(&rest[sign.len()..]);
        let end = operand.find(|c| c == ',' || is_space(c)).unwrap_or(operand.len());
        let version = &operand[..end];
        if version.is_empty() {
            return Err("a version is missing");
        }
        if longest_version(version) != end {
            return Err(
                "write operators and versions, such as `>=1.2 <2` or `^1.2 || ~2.0`; without a constraint every version is permitted",
            );
        }
        terms.push(Term::new(sign, op, version));
        rest = trim(&operand[end..]);
        if rest.is_empty() {
            return Ok(terms);
        }
        rest = trim(rest.strip_prefix(',').unwrap_or(rest));
    }
}

impl<'a> Term<'a> {
    fn new(sign: &'a str, op: Op, version: &'a str) -> Self {
        let bare = version.strip_prefix('v').unwrap_or(version);
        let (bare, _) = bare.split_once('+').unwrap_or((bare, ""));
        let (core, pre) = bare.split_at(bare.find('-').unwrap_or(bare.len()));
        let mut numbers = core.split('.');
        let mut next = || numbers.next().unwrap_or_default();
        Self { op, sign, version, numbers: [next(), next(), next()], pre }
    }
}

/// Returns whether a number of a term is a wildcard.
pub(super) fn is_wildcard(number: &str) -> bool {
    matches!(number, "x" | "X" | "*")
}

/// Rewrites every hyphen range `a - b` to `>= a, <= b`.
///
/// As in Masterminds/semver, this happens before the text is split into alternatives, and a number of a
/// version may contain `|` (see [`State::step`]). The lower end of `1||2 - 3` is therefore `1||2`, and the
/// result is `>= 1||2, <= 3`.
pub(super) fn without_ranges(text: &str) -> Cow<'_, str> {
    let mut rewritten = String::new();
    let mut done = 0;
    for (hyphen, _) in text.match_indices('-') {
        if hyphen < done {
            continue;
        }
        let before = trim_end(&text[done..hyphen]);
        let after = trim(&text[hyphen + 1..]);
        let space_before = done + before.len() < hyphen;
        let space_after = after.len() < text.len() - hyphen - 1;
        if !(space_before && space_after) {
            continue;
        }
        let word = before.rfind(is_space).map_or(0, |space| space + 1);
        let (Some(start), end @ 1..) = (first_whole_version(&before[word..]), longest_version(after)) else {
            continue;
        };
        let (unchanged, low) = before.split_at(word + start);
        let (high, rest) = after.split_at(end);
        for piece in [trim_end(unchanged), ">= ", low, ", <= ", high, " "] {
            rewritten.push_str(piece);
        }
        done = text.len() - trim(rest).len();
    }
    if rewritten.is_empty() {
        return Cow::Borrowed(text);
    }
    rewritten.push_str(&text[done..]);
    Cow::Owned(rewritten)
}

/// Returns whether a character separates terms: space, tab, newline, form feed or carriage return, as in
/// the class `\s` of Go's regular expressions.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0c' | '\r')
}

fn trim(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

fn trim_end(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// State of the automaton that recognizes the version of a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Start,
    /// After `v`, before the first number.
    Prefixed,
    First,
    FirstDot,
    Second,
    SecondDot,
    Third,
    /// Before an identifier of the pre-release.
    BeforePre,
    Pre,
    /// Before an identifier of the build metadata.
    BeforeBuild,
    Build,
}

impl State {
    const ALL: [Self; 11] = [
        Self::Start,
        Self::Prefixed,
        Self::First,
        Self::FirstDot,
        Self::Second,
        Self::SecondDot,
        Self::Third,
        Self::BeforePre,
        Self::Pre,
        Self::BeforeBuild,
        Self::Build,
    ];

    /// Returns whether a version may end in this state.
    const fn is_end(self) -> bool {
        matches!(self, Self::First | Self::Second | Self::Third | Self::Pre | Self::Build)
    }

    /// Returns the state after one more byte, or `None` if no version continues with this byte.
    fn step(self, byte: u8) -> Option<Self> {
        use State::{BeforeBuild, BeforePre, Build, First, FirstDot, Pre, Prefixed, Second, SecondDot, Start, Third};
        // The class of digits and wildcards in Masterminds/semver contains `|` by mistake.
        let number = matches!(byte, b'0'..=b'9' | b'x' | b'X' | b'*' | b'|');
        let identifier = byte.is_ascii_alphanumeric() || byte == b'-';
        Some(match (self, byte) {
            (Start, b'v') => Prefixed,
            (Start | Prefixed | First, _) if number => First,
            (FirstDot | Second, _) if number => Second,
            (SecondDot | Third, _) if number => Third,
            (BeforePre | Pre, _) if identifier => Pre,
            (BeforeBuild | Build, _) if identifier => Build,
            (First, b'.') => FirstDot,
            (Second, b'.') => SecondDot,
            (First | Second | Third, b'-') | (Pre, b'.') => BeforePre,
            (First | Second | Third | Pre, b'+') | (Build, b'.') => BeforeBuild,
            _ => return None,
        })
    }
}

/// Returns the length of the longest version at the start of the text, or 0 if there is none.
fn longest_version(text: &str) -> usize {
    let mut state = State::Start;
    let mut length = 0;
    for (index, byte) in text.bytes().enumerate() {
        let Some(next) = state.step(byte) else { break };
        state = next;
        if state.is_end() {
            length = index + 1;
        }
    }
    length
}

/// Returns the start of the longest version at the end of the text.
fn first_whole_version(text: &str) -> Option<usize> {
    let bit = |state: State| 1_u16 << state as u8;
    let set = |from: &dyn Fn(State) -> bool| {
        State::ALL.into_iter().filter(|&state| from(state)).fold(0, |set, state| set | bit(state))
    };
    // Reads backwards and keeps the states from which the bytes after the current one complete a version.
    let mut live = set(&State::is_end);
    let mut first = None;
    for (index, byte) in text.bytes().enumerate().rev() {
        live = set(&|state| state.step(byte).is_some_and(|next| live & bit(next) != 0));
        if live == 0 {
            break;
        }
        if live & bit(State::Start) != 0 {
            first = Some(index);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyphen_ranges_are_rewritten() {
        for (text, rewritten) in [
            ("1 - 2", ">= 1, <= 2 "),
            (" 1.2 \t-\n v2.x ", ">= 1.2, <= v2.x "),
            ("1-2", "1-2"),
            ("1 -2", "1 -2"),
            ("1- 2", "1- 2"),
            ("- 2", "- 2"),
            (" - 2", " - 2"),
            ("1 - ", "1 - "),
            ("1 - 2 - 3", ">= 1, <= 2 - 3"),
            ("1 - 2, 3 - 4", ">= 1, <= 2 ,>= 3, <= 4 "),
            ("1||2 - 3||4", ">= 1||2, <= 3||4 "),
            ("1.2.3.4 - 5", "1.>= 2.3.4, <= 5 "),
            (">1 - 2", ">>= 1, <= 2 "),
            ("1-a - 2-b+c", ">= 1-a, <= 2-b+c "),
            ("ä1 - 2ä", "ä>= 1, <= 2 ä"),
            ("1\u{a0}- 2", "1\u{a0}- 2"),
        ] {
            assert_eq!(without_ranges(text), rewritten, "{text:?}");
        }
    }

    #[test]
    fn the_longest_version_at_both_ends_is_found() {
        for (text, length, start) in [
            ("", 0, None),
            ("v", 0, None),
            ("1", 1, Some(0)),
            ("v1.x.*", 6, Some(0)),
            ("1.2.3.4", 5, Some(2)),
            ("1.", 1, None),
            ("1-a.b+c.d", 9, Some(0)),
            ("1-a..2", 3, Some(5)),
            ("1_2", 1, Some(2)),
            ("|1|.|", 5, Some(0)),
        ] {
            assert_eq!((longest_version(text), first_whole_version(text)), (length, start), "{text}");
        }
    }
}
