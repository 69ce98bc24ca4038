//! Whether any version at all can meet constraints.
//!
//! What a comparator permits is a set of ranges in the order of versions, for releases and for pre-releases. If any
//! version meets some constraints, then so does one at which such a range begins. There are few of them, so that they can
//! all be tried.

use std::collections::BTreeSet;

use super::{
    Constraint,
    comparator::{Comparator, Precision},
    grammar::Op,
};
use crate::values::{channel::Channel, version::Version};

/// Returns whether at least one version meets all constraints, each of them read under its channel as
/// [`Constraint::permits`] does. The version does not have to be published.
pub fn satisfiable(constraints: &[(&Constraint, Channel)]) -> bool {
    let permit =
        |version: &Version| constraints.iter().all(|(constraint, channel)| constraint.permits(version, *channel));
    representatives(constraints.iter().map(|(constraint, _)| *constraint)).iter().any(permit)
}

/// Returns versions that stand for all others: whichever of these constraints some version meets, one of the returned
/// versions meets them, too. This holds for [`Constraint::permits`] and [`Constraint::covers`].
pub(crate) fn representatives<'a>(constraints: impl Iterator<Item = &'a Constraint>) -> Vec<Version> {
    let comparators: Vec<_> = constraints.flat_map(|c| c.alternatives.iter().flatten().flatten()).collect();
    let mut releases = BTreeSet::from([Version::default()]);
    let mut versions = BTreeSet::new();
    for comparator in &comparators {
        let bound = &comparator.bound;
        releases.extend(boundaries(bound));
        if bound.is_prerelease() {
            versions.extend([bound.without_build(), successor(bound)]);
        }
    }
    versions.extend(releases.iter().map(|release| release.with_pre("0")));
    versions.extend(releases);
    let mut versions: Vec<_> = versions.into_iter().collect();
    // `!=1.2-rc.1` excludes the pre-release `rc.1` of each patch version of 1.2: ranges begin after all of these.
    let excluded: BTreeSet<_> = comparators.iter().filter_map(|comparator| excluded_everywhere(comparator)).collect();
    let mut index = 0;
    while let Some(version) = versions.get(index) {
        if excluded.contains(version.pre()) {
            versions.push(successor(version));
        }
        index += 1;
    }
    versions
}

/// Returns the releases at which a range can begin or end that a comparator with this bound permits.
fn boundaries(bound: &Version) -> impl Iterator<Item = Version> {
    let (major, minor, patch) = (bound.major(), bound.minor(), bound.patch());
    let numbers = [
        Some((major, 0, 0)),
        Some((major, minor, 0)),
        Some((major, minor, patch)),
        patch.checked_add(1).map(|next| (major, minor, next)),
        minor.checked_add(1).map(|next| (major, next, 0)),
        major.checked_add(1).map(|next| (next, 0, 0)),
    ];
    numbers.into_iter().flatten().map(|(major, minor, patch)| Version::from_numbers(major, minor, patch))
}

/// Returns the lowest version above a pre-release.
fn successor(version: &Version) -> Version {
    version.with_pre(&format!("{}.0", version.pre()))
}

/// Returns the pre-release that the comparator excludes from more than one release.
fn excluded_everywhere(comparator: &Comparator) -> Option<&str> {
    let excludes = comparator.op == Op::Ne && comparator.precision == Precision::Minor;
    Some(comparator.bound.pre()).filter(|pre| excludes && !pre.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn constraints(texts: &[&str]) -> Vec<Constraint> {
        texts.iter().map(|text| Constraint::parse(text).unwrap()).collect()
    }

    fn on(constraints: &[Constraint], channel: Channel) -> Vec<(&Constraint, Channel)> {
        constraints.iter().map(|constraint| (constraint, channel)).collect()
    }

    /// Constraints, and whether a version meets them on channel Stable and on channel Prerelease.
    #[test]
    fn constraints_can_be_met_or_not() {
        for (texts, stable, prerelease) in [
            (&[][..], true, true),
            (&[""], true, true),
            (&[">=2 <1"], false, false),
            (&[">=2", "<2"], false, false),
            (&[">=2", "<=2"], true, true),
            (&[">1.2.3", "<1.2.4"], false, false),
            (&[">1.2.3 <1.2.5", "!=1.2.4"], false, true),
            (&[">=1.2.3 <1.2.6 !=1.2.3 !=1.2.4"], true, true),
            (&["<0.0.0"], false, false),
            (&["<0.0.1", "!=0.0.0"], false, true),
            (&["^1.2", "~1.4"], true, true),
            (&["^1.2", "^2"], false, false),
            (&["^1.2 || ^2", "^2 || ^3"], true, true),
            (&["^1.2 || ^2", "^3 || 4.x"], false, false),
            (&["1.2 - 1.4", ">1.4"], false, false),
            (&["1.2 - 1.4", ">1.3"], true, true),
            (&["1.2.x", "!=1.2"], false, false),
            (&["=1.2.3", "=1.2.4"], false, false),
            (&["=1.2.3-rc.1"], true, true),
            (&["=1.2.3-rc.1", ">=1.2.3"], false, true),
            (&["=1.2.3-rc.1", "<1.2.3"], false, false),
            // Read whole on one channel, and as its release on the other one.
            (&[">=1.2.3-rc.1 <1.2.3-rc.2"], true, false),
            (&[">1.2.3-rc.1 <1.2.3-rc.1.0"], false, false),
            (&[">1.2.3-rc.1 <1.2.3-rc.1.1"], true, false),
            (&["!=1.2-rc.1", ">=1.2.7-rc.1 <1.2.7-rc.1.0"], false, false),
            (&["!=1.2-rc.1", ">=1.2.7-rc.1 <1.2.7-rc.1.1"], true, false),
            (&[">18446744073709551615"], false, false),
            (&[">18446744073709551614"], true, true),
            (&[">=1.18446744073709551615.18446744073709551615 <2"], true, true),
            (&[">1.18446744073709551615.18446744073709551615 <2"], false, false),
        ] {
            let all = constraints(texts);
            let found = [Channel::Stable, Channel::Prerelease].map(|channel| satisfiable(&on(&all, channel)));
            assert_eq!(found, [stable, prerelease], "{texts:?}");
        }
    }

    #[test]
    fn each_constraint_has_its_channel() {
        let all = constraints(&["=1.2.3-rc.1", ">=1.2.3"]);
        for (channels, expected) in [
            ([Channel::Stable, Channel::Stable], false),
            ([Channel::Prerelease, Channel::Stable], false),
            ([Channel::Stable, Channel::Prerelease], true),
        ] {
            let read: Vec<_> = all.iter().zip(channels).collect();
            assert_eq!(satisfiable(&read), expected, "{channels:?}");
        }
    }

    #[test]
    fn blocks_that_take_nothing_are_found() {
        for (text, takes_nothing) in
            [("1.3.x", false), ("<0", false), ("<x", true), (">=2 <1", true), ("<1.0.0 >=1", true), ("!=x", true)]
        {
            assert_eq!(Constraint::parse(text).unwrap().covers_nothing(), takes_nothing, "{text}");
        }
    }

    /// Versions with all numbers and pre-releases below, and between and above those that constraints of the test name.
    fn grid() -> impl Iterator<Item = Version> {
        let pres =
            ["", "0", "0.0", "0.0.0", "0.1", "a", "a.0", "a.0.0", "a.0.1", "a.1", "rc", "rc.0", "rc.0.0", "rc.1", "zz"];
        (0..4 * 4 * 4)
            .flat_map(move |n: u64| pres.map(|pre| Version::from_numbers(n / 16, n / 4 % 4, n % 4).with_pre(pre)))
    }

    const TERM: &str = "(=|!=|>|>=|<|<=|~|\\^)?([0-2]|[0-2]\\.[0-2x]|[0-2]\\.[0-2]\\.[0-2]|x)(-(0|a|a\\.0|rc))?";

    fn texts() -> impl Strategy<Value = Vec<String>> {
        let alternative = format!("{TERM}( {TERM}){{0,2}}");
        let constraint = format!("{alternative}( \\|\\| {alternative})?|[0-2]\\.[0-2] - [0-2](\\.[0-2])?");
        proptest::collection::vec(proptest::string::string_regex(&constraint).unwrap(), 1..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_search_among_many_versions_agrees(texts in texts(), channels in proptest::collection::vec(any::<bool>(), 3)) {
            let all: Vec<_> = texts.iter().filter_map(|text| Constraint::parse(text).ok()).collect();
            let channels = channels.into_iter().map(|stable| if stable { Channel::Stable } else { Channel::Prerelease });
            let read: Vec<_> = all.iter().zip(channels).collect();
            let met = |version: &Version| read.iter().all(|(constraint, channel)| constraint.permits(version, *channel));
            prop_assert_eq!(satisfiable(&read), grid().any(|version| met(&version)), "{:?}", read);
            for constraint in &all {
                prop_assert_eq!(constraint.covers_nothing(), !grid().any(|version| constraint.covers(&version)), "{}", constraint);
            }
        }
    }
}
