//! The entries of `block` (rule 6): full versions and ranges. It has its own parser, its own order of versions and its
//! own evaluation, and nothing of the library's constraints.

use std::cmp::Ordering;

use d8_crds::values::version::Version;

/// An entry of `block`. It covers a version if all comparators of one alternative do.
#[derive(Debug)]
pub(crate) struct Range(Vec<Vec<Comparator>>);

#[derive(Debug)]
struct Comparator {
    operator: String,
    operand: Operand,
}

/// One to three numbers and a suffix, or `*` without any number. Only a full version has a suffix.
#[derive(Debug, Clone)]
struct Operand {
    numbers: Vec<u64>,
    suffix: Vec<String>,
}

/// A version by value.
#[derive(Debug, PartialEq, Eq)]
struct Point {
    numbers: [u64; 3],
    suffix: Vec<String>,
}

impl Range {
    /// Reads an entry. `None`: it is neither a version nor a range.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.split("||").map(alternative).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Returns whether the entry covers a version.
    pub(crate) fn covers(&self, version: &Version) -> bool {
        let Some(version) = Operand::parse(&version.to_string()).map(|operand| operand.first()) else { return false };
        self.0.iter().any(|all| all.iter().all(|comparator| comparator.covers(&version)))
    }
}

/// Reads comparators between commas and blanks. A blank may separate an operator from its version, and blanks are
/// around the `-` of a hyphen range.
fn alternative(text: &str) -> Option<Vec<Comparator>> {
    let mut words = text.split([',', ' ']).filter(|word| !word.is_empty()).peekable();
    let mut out = Vec::new();
    while let Some(word) = words.next() {
        let rest = word.trim_start_matches(['=', '!', '<', '>', '~', '^']);
        let operator = word[..word.len() - rest.len()].to_owned();
        let known = ["", "=", "!=", "<", ">", "<=", "=<", ">=", "=>", "~", "~>", "^"];
        if !known.contains(&operator.as_str()) {
            return None;
        }
        let operand = Operand::parse(if rest.is_empty() { words.next()? } else { rest })?;
        if words.peek() == Some(&"-") {
            words.next();
            let end = Operand::parse(words.next()?)?;
            if !operator.is_empty() {
                return None;
            }
            // `a - b` is `>=a <=b`.
            out.push(Comparator { operator: ">=".to_owned(), operand });
            out.push(Comparator { operator: "<=".to_owned(), operand: end });
        } else {
            out.push(Comparator { operator, operand });
        }
    }
    (!out.is_empty()).then_some(out)
}

impl Operand {
    fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        // Versions are compared without build metadata.
        let (text, _) = text.split_once('+').unwrap_or((text, ""));
        let (core, suffix) = text.split_once('-').map_or((text, None), |(core, suffix)| (core, Some(suffix)));
        let mut numbers = Vec::new();
        let mut open = false;
        for part in core.split('.') {
            if ["x", "X", "*"].contains(&part) {
                open = true;
            } else if open || part.is_empty() || !part.chars().all(|c| c.is_ascii_digit()) || has_leading_zero(part) {
                return None;
            } else {
                numbers.push(part.parse().ok()?);
            }
        }
        if core.split('.').count() > 3 || (suffix.is_some() && numbers.len() < 3) {
            return None;
        }
        let suffix: Vec<String> = suffix.into_iter().flat_map(|suffix| suffix.split('.')).map(str::to_owned).collect();
        let fits = |part: &String| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        suffix.iter().all(fits).then_some(Self { numbers, suffix })
    }

    /// The first release with higher numbers: of 1.3, 1.4.0. Without numbers there is none.
    fn next(&self) -> Point {
        let mut next = Self { numbers: self.numbers.clone(), suffix: Vec::new() };
        match next.numbers.last_mut() {
            Some(number) => *number += 1,
            None => next.numbers.push(u64::MAX),
        }
        next.first()
    }

    /// The version itself; of fewer than three numbers, the one with zeros.
    fn first(&self) -> Point {
        let number = |at: usize| self.numbers.get(at).copied().unwrap_or(0);
        Point { numbers: [number(0), number(1), number(2)], suffix: self.suffix.clone() }
    }
}

impl Comparator {
    fn covers(&self, version: &Point) -> bool {
        let numbers = &self.operand.numbers;
        let first = self.operand.first();
        // Fewer than three numbers mean all versions with these numbers.
        let full = numbers.len() == 3;
        let leading = &version.numbers[..numbers.len()];
        let same = if full { *version == first } else { leading == numbers.as_slice() };
        let from = if full { *version >= first } else { version.numbers >= first.numbers };
        match self.operator.as_str() {
            "" | "=" => same,
            "!=" => !same,
            // By the order of versions, also with fewer than three numbers: `<1.4` covers 1.4.0-rc.1.
            "<" => *version < first,
            ">=" | "=>" => *version >= first,
            // `<=1.3` ends at 1.4.0, and `>1.3` begins there, by the order of versions.
            "<=" | "=<" if full => *version <= first,
            "<=" | "=<" => *version < self.operand.next(),
            ">" if full => *version > first,
            ">" => *version >= self.operand.next(),
            // To the end of 1.3 by the leading numbers.
            "~" | "~>" => from && version.numbers.starts_with(&numbers[..numbers.len().min(2)]),
            // To the end of the first number that is not 0.
            _ => {
                let kept = numbers.iter().position(|number| *number != 0).map_or(numbers.len(), |at| at + 1);
                from && version.numbers.starts_with(&numbers[..kept])
            }
        }
    }
}

impl PartialOrd for Point {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Point {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_numbers = self.numbers.cmp(&other.numbers);
        let by_suffix = match (self.suffix.is_empty(), other.suffix.is_empty()) {
            (true, true) => Ordering::Equal,
            // A suffix makes a version older.
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => suffixes(&self.suffix, &other.suffix),
        };
        by_numbers.then(by_suffix)
    }
}

/// Whether a number begins with a zero that does not count, as no number of a version does.
fn has_leading_zero(number: &str) -> bool {
    number.len() > 1 && number.starts_with('0')
}

/// The order of two suffixes: part by part, numbers below words, the shorter one first.
fn suffixes(left: &[String], right: &[String]) -> Ordering {
    for (left, right) in left.iter().zip(right) {
        let order = match (left.parse::<u64>(), right.parse::<u64>()) {
            (Ok(left), Ok(right)) => left.cmp(&right),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => left.cmp(right),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len())
}
