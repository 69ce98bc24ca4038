//! Versions, constraints, names and other short texts, and tags.

use std::cmp::Ordering;

use d8_crds::{
    decisions::{clock, selection::read_tags, verdict::LocalRules},
    records::cluster::{ClusterVersion, Fact},
    values::{
        channel::Channel,
        constraint::Constraint,
        digest::Digest,
        duration,
        name::{Component, PluginName, Tag},
        platform::Platform,
        text::{printable, printable_to},
        version::Version,
    },
};

use crate::input::{assert_printable, split_at_zeros};

/// Up to three versions. They are parsed from their display form, and their order is total.
pub(crate) fn version(data: &[u8]) {
    let mut versions = Vec::new();
    for text in split_at_zeros(data).iter().take(3) {
        match Version::parse(text) {
            Ok(version) => {
                assert_printable(&version.to_string());
                assert_eq!(Version::parse(&version.to_string()).as_ref(), Ok(&version), "{text:?}");
                assert!(!version.release().is_prerelease() && version.without_build().build().is_empty());
                assert!(!version.is_candidate() || version.is_prerelease());
                versions.push(version);
            }
            Err(error) => assert_printable(&error.to_string()),
        }
        if let Some(known) = ClusterVersion::parse(text) {
            assert!(known.version().build().is_empty());
        }
    }
    for a in &versions {
        assert_eq!(a.cmp(a), Ordering::Equal);
        for b in &versions {
            assert_eq!(a.cmp(b), b.cmp(a).reverse(), "{a} and {b}");
            assert_eq!(a == b, a.cmp(b) == Ordering::Equal, "{a} and {b}");
            for c in &versions {
                assert!(!(a <= b && b <= c) || a <= c, "{a}, {b}, {c}");
            }
        }
    }
}

/// A constraint and versions to match.
pub(crate) fn constraint(data: &[u8]) {
    let parts = split_at_zeros(data);
    let Some((text, versions)) = parts.split_first() else { return };
    let constraint = match Constraint::parse(text) {
        Ok(constraint) => constraint,
        Err(error) => return assert_printable(&error.to_string()),
    };
    assert_eq!(constraint.as_str(), text);
    if let Some(hints) = constraint.lint() {
        assert_printable(&hints);
    }
    for version in versions.iter().filter_map(|text| Version::parse(text).ok()) {
        let matches = constraint.matches(&version);
        assert_eq!(constraint.permits(&version, Channel::Stable), matches, "{text:?} of {version}");
        let _ = constraint.permits(&version, Channel::Prerelease);
        assert!(matches || !constraint.is_any(), "{text:?} of {version}");
    }
}

/// All short texts from outside. A valid text is displayed unchanged, an invalid one gives a printable error.
pub(crate) fn short_texts(data: &[u8]) {
    let all = split_at_zeros(data);
    for text in &all {
        for error in [
            text.parse::<PluginName>().map(|name| assert_eq!(name.as_str(), text)).map_err(|error| error.to_string()),
            text.parse::<Component>().map(|name| assert_eq!(name.name(), text)).map_err(|error| error.to_string()),
            text.parse::<Tag>().map(|tag| assert_eq!(tag.as_str(), text)).map_err(|error| error.to_string()),
            text.parse::<Digest>().map(|digest| assert_eq!(digest.as_str(), text)).map_err(|error| error.to_string()),
            text.parse::<Platform>().map(|of| assert_eq!(of.as_str(), text)).map_err(|error| error.to_string()),
        ]
        .into_iter()
        .filter_map(Result::err)
        {
            assert_printable(&error);
        }
        match duration::parse(text) {
            Ok(parsed) => assert_eq!(duration::parse(&duration::format(parsed)), Ok(parsed), "{text:?}"),
            Err(error) => assert_printable(&error.to_string()),
        }
        if let Some((rest, platform)) = Platform::split_suffix(text) {
            assert_eq!(format!("{rest}-{platform}"), *text);
        }
        if let Some(version) = Fact::kubernetes(text).printable() {
            assert_printable(&version);
        }
        let _ = clock::http_date(text);
        let once = printable(text);
        assert_eq!(printable(&once), once);
        assert!(printable_to(text, 7).chars().count() <= 7);
    }
    let pairs = all.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str()));
    if let Err(error) = LocalRules::read(pairs, all.iter().map(String::as_str)) {
        assert_printable(&error.to_string());
    }
}

/// A platform or an empty text, then tags.
pub(crate) fn tags(data: &[u8]) {
    let parts = split_at_zeros(data);
    let Some((platform, tags)) = parts.split_first() else { return };
    let platform: Option<Platform> = platform.parse().ok();
    for component in ["d8", "stronghold"] {
        let component: Component = component.parse().expect("a name");
        let mut listing = read_tags(&component, tags, platform.as_ref());
        let sorted = |listing: &d8_crds::decisions::selection::TagList| {
            assert!(listing.published.windows(2).all(|pair| pair[0].version > pair[1].version), "{tags:?}");
        };
        sorted(&listing);
        for published in &listing.published {
            assert_eq!(listing.find(published.tag.as_str()), Ok(published));
        }
        for tag in tags {
            if let Err(error) = listing.find(tag) {
                assert_printable(&error.to_string());
            }
        }
        listing.resolve_ambiguous(|tag| (!tag.as_str().contains('7')).then(|| Digest::of(b"the same")));
        sorted(&listing);
    }
}
