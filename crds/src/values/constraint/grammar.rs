//! How a constraint is spelt. Linear in the length of the text, however hostile.

use std::borrow::Cow;

/// A comparator's operator; several spellings mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// `=` or none.
    Eq,
    /// `!=`
    Ne,
    /// `>`
    Gt,
    /// `<`
    Lt,
    /// `>=`, `=>`
    Ge,
    /// `<=`, `=<`
    Le,
    /// `~`, `~>`
    Tilde,
    /// `^`
    Caret,
}

/// Every spelling; a longer one stands before its own beginning.
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

/// An operator and what it is applied to.
#[derive(Debug)]
pub(super) struct Term<'a> {
    pub(super) op: Op,
    /// The operator as written; empty where left out.
    pub(super) sign: &'a str,
    /// All of the version as written.
    pub(super) version: &'a str,
    /// Its numbers or wildcards; empty where left out. Not checked yet.
    pub(super) numbers: [&'a str; 3],
    /// Its pre-release with the `-`, or empty.
    pub(super) pre: &'a str,
}

/// The terms of one alternative, separated by a comma or by blanks, at least one.
pub(super) fn terms(text: &str) -> Result<Vec<Term<'_>>, &'static str> {
    let mut terms = Vec::new();
    let mut rest = trim(text);
    loop {
        let (sign, op) = OPS.into_iter().find(|(sign, _)| rest.starts_with(sign)).unwrap_or(("", Op::Eq));
        let behind = &rest[sign.len()..];
        let operand = trim(behind);
        let end = operand.find(|c| c == ',' || is_blank(c)).unwrap_or(operand.len());
        let version = &operand[..end];
        if version.is_empty() {
            return Err("a version is missing");
        }
        if longest_version(version) != end {
            return Err("write operators and versions, such as `>=1.2 <2` or `^1.2 || ~2.0`");
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

/// Rewrites every hyphen range `a - b` to `>= a, <= b`.
///
/// This looks at the whole text, before alternatives are told apart, and a version's numbers may
/// hold `|` (see [`State::step`]): of `1||2 - 3` the lower end is `1||2`, so that it comes out as
/// `>= 1||2, <= 3`. Odd, but what decides in the field.
pub(super) fn without_ranges(text: &str) -> Cow<'_, str> {
    let mut rewritten = String::new();
    let mut done = 0;
    for (hyphen, _) in text.match_indices('-') {
        if hyphen < done {
            continue;
        }
        let before = trim_end(&text[done..hyphen]);
        let behind = trim(&text[hyphen + 1..]);
        let blank_before = done + before.len() < hyphen;
        let blank_behind = behind.len() < text.len() - hyphen - 1;
        if !(blank_before && blank_behind) {
            continue;
        }
        let word = before.rfind(is_blank).map_or(0, |blank| blank + 1);
        let (Some(start), end @ 1..) = (first_whole_version(&before[word..]), longest_version(behind)) else {
            continue;
        };
        let (kept, low) = before.split_at(word + start);
        let (high, rest) = behind.split_at(end);
        for piece in [trim_end(kept), ">= ", low, ", <= ", high, " "] {
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

/// A blank: space, tab, newline, form feed, carriage return; no vertical tab, nothing beyond ASCII.
fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0c' | '\r')
}

fn trim(text: &str) -> &str {
    text.trim_start_matches(is_blank)
}

fn trim_end(text: &str) -> &str {
    text.trim_end_matches(is_blank)
}

/// Where a reader of a constraint's version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum State {
    Start,
    /// After `v`.
    Prefixed,
    First,
    FirstDot,
    Second,
    SecondDot,
    Third,
    /// An identifier of the pre-release is due.
    PreDue,
    Pre,
    /// An identifier of the build metadata is due.
    BuildDue,
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
        Self::PreDue,
        Self::Pre,
        Self::BuildDue,
        Self::Build,
    ];

    /// A version may end here.
    const fn is_end(self) -> bool {
        matches!(self, Self::First | Self::Second | Self::Third | Self::Pre | Self::Build)
    }

    /// The state after one more byte; None: no version goes on like that.
    fn step(self, byte: u8) -> Option<Self> {
        use State::{Build, BuildDue, First, FirstDot, Pre, PreDue, Prefixed, Second, SecondDot, Start, Third};
        // The library's own class of digits and wildcards has the `|` in it, by a slip.
        let number = matches!(byte, b'0'..=b'9' | b'x' | b'X' | b'*' | b'|');
        let identifier = byte.is_ascii_alphanumeric() || byte == b'-';
        Some(match (self, byte) {
            (Start, b'v') => Prefixed,
            (Start | Prefixed | First, _) if number => First,
            (FirstDot | Second, _) if number => Second,
            (SecondDot | Third, _) if number => Third,
            (PreDue | Pre, _) if identifier => Pre,
            (BuildDue | Build, _) if identifier => Build,
            (First, b'.') => FirstDot,
            (Second, b'.') => SecondDot,
            (First | Second | Third, b'-') | (Pre, b'.') => PreDue,
            (First | Second | Third | Pre, b'+') | (Build, b'.') => BuildDue,
            _ => return None,
        })
    }
}

/// Length of the longest version that the text begins with; 0 if it begins with none.
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

/// Where the longest version that the text ends with begins.
fn first_whole_version(text: &str) -> Option<usize> {
    let bit = |state: State| 1_u16 << state as u8;
    let set = |from: &dyn Fn(State) -> bool| {
        State::ALL.into_iter().filter(|&state| from(state)).fold(0, |set, state| set | bit(state))
    };
    // From the end: the states from which what follows is read to an end.
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
    fn ranges_are_rewritten() {
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
    fn the_longest_version_in_front_and_behind() {
        for (text, front, behind) in [
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
            assert_eq!((longest_version(text), first_whole_version(text)), (front, behind), "{text}");
        }
    }
}
