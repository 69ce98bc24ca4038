//! What a constraint means where an admin wrote it: in policies and in `CliRelease.versions`
//! (`docs/policies.md`, rule 11), which is not quite what it means in a contract; and where it reads
//! otherwise than people may expect.

use super::{Comparator, Constraint, Op, Precision, grammar};
use crate::values::{channel::Channel, text::printable, version::Version};

/// Most readings that one sentence lists.
const READINGS: usize = 4;

impl Constraint {
    /// Whether this version is permitted where the channel is the one given.
    ///
    /// Under [`Channel::Stable`] as [`Constraint::matches`] says. Under [`Channel::Prerelease`] a
    /// pre-release counts as the release it leads to, so that `<2` rules out `2.0.0-rc.1` and `>=1.2`
    /// takes in `1.2.0-rc.1`; only `=` and `!=` with a full version see it whole, so that `=1.2.3` rules
    /// out `1.2.3-rc.1`. That holds for bounds that are pre-releases themselves: `>=1.2.3-rc.2` takes in
    /// `1.2.3-rc.1`, of which [`Constraint::reading`] warns.
    pub fn permits(&self, version: &Version, channel: Channel) -> bool {
        if channel == Channel::Stable || !version.is_prerelease() {
            return self.matches(version);
        }
        let release = version.release();
        self.alternatives.as_ref().is_none_or(|any_of| {
            any_of.iter().any(|all| all.iter().all(|c| c.holds(if c.is_exact() { version } else { &release })))
        })
    }

    /// A sentence on what of it reads otherwise than people may expect, for warnings; None: nothing
    /// does. Printable, at most four readings.
    pub fn reading(&self) -> Option<String> {
        self.alternatives.as_ref()?;
        let rewritten = grammar::without_ranges(&self.text);
        let mut readings = Vec::new();
        if *rewritten != self.text {
            readings.push(format!("`{}` is read as `{}`", printable(self.text.trim()), printable(rewritten.trim())));
        }
        for term in rewritten.split("||").filter_map(|part| grammar::terms(part).ok()).flatten() {
            let Ok(comparator) = Comparator::new(&term) else { continue };
            let comparator = &comparator;
            for reading in (Reading { term: &term, comparator }).all() {
                let reading = format!("`{}{}` {reading}", term.sign, term.version);
                if !readings.contains(&reading) {
                    readings.push(reading);
                }
            }
        }
        let more = readings.len().saturating_sub(READINGS);
        readings.truncate(READINGS);
        if more > 0 {
            readings.push(format!("{more} more of this kind"));
        }
        (!readings.is_empty()).then(|| readings.join("; "))
    }
}

impl Comparator {
    /// It names one version, and not a range around it.
    fn is_exact(&self) -> bool {
        matches!(self.op, Op::Eq | Op::Ne) && self.precision == Precision::Full
    }
}

/// One comparator, as it is written and as it is meant.
struct Reading<'a> {
    term: &'a grammar::Term<'a>,
    comparator: &'a Comparator,
}

impl Reading<'_> {
    fn all(&self) -> impl Iterator<Item = String> {
        [self.range(), self.ignored(), self.build(), self.pre_release()].into_iter().flatten()
    }

    /// What the operator makes of the numbers that are given.
    fn range(&self) -> Option<String> {
        use Precision::{Full, Major, Minor, Nothing};
        let Comparator { op, precision, bound } = self.comparator;
        let series = self.series();
        // `1.2.x` says what `1.2` leaves to be known.
        let left_out = match precision {
            Major => self.term.numbers[1].is_empty(),
            Minor => self.term.numbers[2].is_empty(),
            Nothing | Full => false,
        };
        Some(match (op, precision) {
            (Op::Eq, Full) if self.term.sign.is_empty() => format!("means exactly {}", plain(bound)),
            (Op::Eq, Major | Minor) if left_out => format!("means {series}"),
            (Op::Ne, Major | Minor) if left_out => format!("rules out every {series}"),
            (Op::Gt, Major | Minor) if left_out => format!("begins above every {series}"),
            (Op::Le, Major | Minor) if left_out => format!("takes in every {series}"),
            (Op::Le, Nothing) => "is read as `<=0.0`".to_owned(),
            (Op::Ne | Op::Gt | Op::Lt | Op::Caret, Nothing) => format!("is read as `{}0.0.0`", self.term.sign),
            (Op::Tilde, Full) if (bound.major(), bound.minor(), bound.patch()) == (0, 0, 0) => {
                "means any version".to_owned()
            }
            (Op::Tilde, Minor) if self.term.sign == "~>" => format!("means {series} alone"),
            (Op::Tilde, Full) if self.term.sign == "~>" => format!("means {} and later {series}", plain(bound)),
            (Op::Caret, Minor) if bound.major() == 0 => format!("means {series} alone"),
            (Op::Caret, Full) if bound.major() == 0 && bound.minor() == 0 => format!("means {} alone", plain(bound)),
            (Op::Caret, Full) if bound.major() == 0 => format!("means {} and later {series}", plain(bound)),
            _ => return None,
        })
    }

    /// Numbers behind a wildcard.
    fn ignored(&self) -> Option<String> {
        let given = |number: &str| !matches!(number, "" | "x" | "X" | "*");
        let behind = match self.comparator.precision {
            Precision::Nothing => 1,
            Precision::Major => 2,
            Precision::Minor | Precision::Full => 3,
        };
        let ignored = self.term.numbers.iter().skip(behind).any(|number| given(number));
        ignored.then(|| "has numbers behind a wildcard, which count for nothing".to_owned())
    }

    fn build(&self) -> Option<String> {
        self.term.version.contains('+').then(|| "has build metadata, which counts for nothing".to_owned())
    }

    fn pre_release(&self) -> Option<String> {
        let odd = self.comparator.bound.is_prerelease() && !self.comparator.is_exact();
        odd.then(|| "takes each pre-release for the release it leads to where the channel is Prerelease".to_owned())
    }

    /// The versions that share the numbers given, or for a full version its minor.
    fn series(&self) -> String {
        let bound = &self.comparator.bound;
        match self.comparator.precision {
            Precision::Nothing => "version".to_owned(),
            Precision::Major => format!("{}.x", bound.major()),
            Precision::Minor | Precision::Full => format!("{}.{}.x", bound.major(), bound.minor()),
        }
    }
}

/// Without the `v`.
fn plain(version: &Version) -> String {
    let text = version.without_build().to_string();
    text.trim_start_matches('v').to_owned()
}

#[cfg(test)]
mod tests;
