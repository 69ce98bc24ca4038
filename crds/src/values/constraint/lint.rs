//! Finds terms of a constraint whose meaning differs from what people may expect.

use super::{
    comparator::{Comparator, Precision},
    grammar::{self, Op, Term, is_wildcard},
};
use crate::values::{limits, text::printable, version::Version};

/// Returns the hints about a constraint as one sentence.
pub(super) fn lint(text: &str) -> Option<String> {
    let rewritten = grammar::without_ranges(text);
    let mut hints = Vec::new();
    if *rewritten != *text {
        hints.push(format!("`{}` is read as `{}`", printable(text.trim()), printable(rewritten.trim())));
    }
    for term in rewritten.split("||").filter_map(|part| grammar::terms(part).ok()).flatten() {
        let Ok(comparator) = Comparator::new(&term) else { continue };
        for hint in hints_of(&term, &comparator) {
            let hint = format!("`{}{}` {hint}", term.sign, term.version);
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
    }
    let more = hints.len().saturating_sub(limits::CONSTRAINT_HINTS);
    hints.truncate(limits::CONSTRAINT_HINTS);
    if more > 0 {
        hints.push(format!("{more} more hints"));
    }
    (!hints.is_empty()).then(|| hints.join("; "))
}

fn hints_of(term: &Term<'_>, comparator: &Comparator) -> impl Iterator<Item = String> {
    let hints = [
        range(term, comparator),
        ignored_numbers(term, comparator.precision).map(str::to_owned),
        build(term).map(str::to_owned),
        prerelease(comparator).map(str::to_owned),
        range_without_spaces(comparator),
    ];
    hints.into_iter().flatten()
}

/// Describes the range of versions that the operator selects.
fn range(term: &Term<'_>, comparator: &Comparator) -> Option<String> {
    use Precision::{Full, Major, Minor, Nothing};
    let Comparator { op, precision, bound } = comparator;
    let series = series(comparator);
    // A wildcard makes the range explicit: `1.2.x` needs no hint, `1.2` does.
    let left_out = match precision {
        Major => term.numbers[1].is_empty(),
        Minor => term.numbers[2].is_empty(),
        Nothing | Full => false,
    };
    Some(match (op, precision) {
        (Op::Eq, Full) if term.sign.is_empty() => format!("means exactly {}", without_v(bound)),
        (Op::Eq, Major | Minor) if left_out => format!("means {series}"),
        (Op::Ne, Major | Minor) if left_out => format!("excludes every {series}"),
        (Op::Gt, Major | Minor) if left_out => format!("means later than every {series}"),
        (Op::Le, Major | Minor) if left_out => format!("includes every {series}"),
        (Op::Le, Nothing) => "is read as `<=0.0`".to_owned(),
        (Op::Ne | Op::Gt | Op::Lt | Op::Caret, Nothing) => format!("is read as `{}0.0.0`", term.sign),
        (Op::Tilde, Full) if (bound.major(), bound.minor(), bound.patch()) == (0, 0, 0) => {
            "means any version".to_owned()
        }
        (Op::Tilde, Minor) if term.sign == "~>" => format!("means only {series}"),
        (Op::Tilde, Full) if term.sign == "~>" => format!("means {series} from {} on", without_v(bound)),
        (Op::Caret, Minor) if bound.major() == 0 => format!("means only {series}"),
        (Op::Caret, Full) if bound.major() == 0 && bound.minor() == 0 => format!("means only {}", without_v(bound)),
        (Op::Caret, Full) if bound.major() == 0 => format!("means {series} from {} on", without_v(bound)),
        _ => return None,
    })
}

fn ignored_numbers(term: &Term<'_>, precision: Precision) -> Option<&'static str> {
    let used = match precision {
        Precision::Nothing => 1,
        Precision::Major => 2,
        Precision::Minor | Precision::Full => 3,
    };
    let ignored = term.numbers.iter().skip(used).any(|number| !number.is_empty() && !is_wildcard(number));
    ignored.then_some("has numbers after a wildcard, which are ignored")
}

fn build(term: &Term<'_>) -> Option<&'static str> {
    term.version.contains('+').then_some("has build metadata, which is ignored")
}

fn prerelease(comparator: &Comparator) -> Option<&'static str> {
    let is_range = comparator.bound.is_prerelease() && !comparator.is_exact();
    is_range.then_some("compares a pre-release as its release if the channel is Prerelease")
}

fn range_without_spaces(comparator: &Comparator) -> Option<String> {
    let range = comparator.bound.range_as_prerelease()?;
    Some(format!("is one pre-release; for a range, write `{range}`"))
}

/// Returns the series of versions with the numbers of the term, for example `1.2.x`. For a full version
/// it is the series of its minor version.
fn series(comparator: &Comparator) -> String {
    let bound = &comparator.bound;
    match comparator.precision {
        Precision::Nothing => "version".to_owned(),
        Precision::Major => format!("{}.x", bound.major()),
        Precision::Minor | Precision::Full => format!("{}.{}.x", bound.major(), bound.minor()),
    }
}

fn without_v(version: &Version) -> String {
    let text = version.without_build().to_string();
    text.trim_start_matches('v').to_owned()
}

#[cfg(test)]
mod tests;
