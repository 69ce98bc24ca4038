use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::values::{digest::Digest, name::Tag, platform::Platform};

fn plugin() -> Component {
    "stronghold".parse().unwrap()
}

fn linux() -> Platform {
    "linux-amd64".parse().unwrap()
}

fn read(tags: &[&str]) -> TagList {
    read_tags(&plugin(), tags, Some(&linux()))
}

fn names(published: &[PublishedVersion]) -> Vec<&str> {
    published.iter().map(|p| p.tag.as_str()).collect()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

#[test]
fn stable_versions_have_no_pre_release_on_the_way_to_a_release() {
    for (text, plugin_stable, d8_stable) in [
        ("1.0.0", true, true),
        ("1.0.1-main", true, false),
        ("1.0.0-RC.1", false, false),
        ("1.0.0-preview", false, false),
        ("1.0.0-0", true, false),
    ] {
        let version = version(text);
        assert_eq!(is_stable(&plugin(), &version), plugin_stable, "{text}");
        assert_eq!(is_stable(&Component::D8, &version), d8_stable, "{text}");
        assert!(in_channel(Channel::Prerelease, &Component::D8, &version));
        assert_eq!(in_channel(Channel::Stable, &Component::D8, &version), d8_stable, "{text}");
    }
}

#[test]
fn tags_become_versions_newest_first() {
    let list = read(&[
        "v1.2.0",
        "latest",
        "1.10.0",
        "v1.9.0-rc.1",
        "sha256-abc",
        "v2.0.0",
        "v1.2.0",
        "\u{1b}[31m",
        "",
        "v1.9.0",
    ]);
    assert_eq!(names(&list.published), ["v2.0.0", "1.10.0", "v1.9.0", "v1.9.0-rc.1", "v1.2.0"]);
    assert_eq!((list.left_out.count, list.foreign, list.ambiguous.len()), (4, 0, 0));
}

#[test]
fn tags_without_three_numbers_are_left_out_and_hide_no_version() {
    for tag in ["v1", "v1.2", "1", "20240101", "v20240101", "2024.01.01", "1.2.3.4", "latest", "v1-linux-amd64"] {
        let list = read(&["v1.0.0", tag, "v1.2.0"]);
        assert_eq!(names(&list.published), ["v1.2.0", "v1.0.0"], "{tag}");
        assert!(list.ambiguous.is_empty(), "{tag}");
        let left_out: Vec<&str> = list.left_out.tags.iter().map(|left_out| left_out.tag.as_str()).collect();
        assert_eq!((list.left_out.count, left_out), (1, vec![tag]));
        assert!(list.left_out.tags[0].reason.contains("is not a version: "), "{:?}", list.left_out);
    }
    let many: Vec<String> = (0..40).map(|n| format!("build-{n}")).collect();
    let list = read_tags(&plugin(), &many, None);
    assert_eq!((list.left_out.count, list.left_out.tags.len()), (40, crate::values::limits::LEFT_OUT_TAGS));
}

#[test]
fn only_tags_of_the_platform_count() {
    let tags = [
        "v1.0.0-linux-amd64",
        "v1.0.0-darwin-arm64",
        "v1.1.0",
        "v1.1.0-linux-amd64",
        "v1.2.0-darwin-arm64",
        "v1.3.0-rc.1-linux-amd64",
        "latest-linux-amd64",
    ];
    let list = read(&tags);
    let both: Vec<_> = list.published.iter().map(|p| (p.tag.as_str(), p.registry_tag.as_str())).collect();
    assert_eq!(
        both,
        [("v1.3.0-rc.1", "v1.3.0-rc.1-linux-amd64"), ("v1.1.0", "v1.1.0"), ("v1.0.0", "v1.0.0-linux-amd64"),]
    );
    assert_eq!((list.left_out.count, list.foreign), (1, 2));
    let any = read_tags(&Component::D8, tags, None);
    assert_eq!((names(&any.published), any.foreign), (vec!["v1.1.0"], 5));
}

#[test]
fn several_tags_of_one_version_count_if_they_have_the_same_digest() {
    let list = read(&["1.0.0", "v1.0.0", "1.0.0-linux-amd64", "v2.0.0", "v0.9.0", "1.2.0", "v1.2.0", "v1", "1.2"]);
    assert_eq!(names(&list.published), ["v2.0.0", "v0.9.0"]);
    let ambiguous: Vec<_> = list.ambiguous.iter().map(|ambiguous| names(&ambiguous.tags)).collect();
    assert_eq!(ambiguous, [vec!["v1.2.0", "1.2.0"], vec!["v1.0.0", "1.0.0"]]);

    let same = |_: &Tag| Some(Digest::of(b"same"));
    let different = |tag: &Tag| Some(Digest::of(tag.as_str().as_bytes()));
    let unknown = |tag: &Tag| (tag.as_str() != "1.0.0").then(|| Digest::of(b"same"));
    for (digest_of, published, left) in [
        (&same as &dyn Fn(&Tag) -> Option<Digest>, vec!["v2.0.0", "v1.2.0", "v1.0.0", "v0.9.0"], 0),
        (&different, vec!["v2.0.0", "v0.9.0"], 2),
        (&unknown, vec!["v2.0.0", "v1.2.0", "v0.9.0"], 1),
    ] {
        let mut list = list.clone();
        list.resolve_ambiguous(digest_of);
        assert_eq!((names(&list.published), list.ambiguous.len()), (published, left));
    }
}

#[test]
fn a_typed_version_is_found_by_its_value() {
    let list = read(&["v1.2.3", "2.0.0", "v3.0.0", "3.0.0", "v1.3.0-rc.1"]);
    for (typed, found) in [
        ("1.2.3", Ok("v1.2.3")),
        ("v1.2.3", Ok("v1.2.3")),
        ("v2", Ok("2.0.0")),
        ("1.3.0-rc.1", Ok("v1.3.0-rc.1")),
        ("1.2.3+build", Ok("v1.2.3")),
        ("1.2.4", Err("version v1.2.4 is not published")),
        ("3", Err("version v3.0.0 is ambiguous: v3.0.0 and 3.0.0 are published with different content")),
        ("newest", Err("`newest` is not a version: it must be up to three numbers joined by `.`")),
        ("", Err("`` is not a version: it is empty")),
    ] {
        let got = list.find(typed).map(|p| p.tag.to_string()).map_err(|error| error.to_string());
        assert_eq!(got, found.map(str::to_owned).map_err(str::to_owned), "{typed:?}");
    }
}

/// How a search ended, and what it passed over.
fn search(tags: &[&str], active: &str, scope: SearchScope<'_>, rejected: &[&str]) -> (String, Vec<String>) {
    let list = read(tags);
    let version = Version::parse(active);
    let active = match (&version, active) {
        (Ok(version), _) => ActiveVersion::Known(version),
        (Err(_), "") => ActiveVersion::Absent,
        (Err(_), _) => ActiveVersion::Unknown,
    };
    let evaluate =
        |p: &PublishedVersion| Ok::<_, Infallible>(if rejected.contains(&p.tag.as_str()) { Err(()) } else { Ok(()) });
    let Ok(selection) = choose(&list, &SearchScope { active, ..scope }, evaluate);
    let (end, passed_over) = match selection {
        Selection::Found { version, passed_over, .. } => (format!("found {}", version.tag), passed_over),
        Selection::AlreadyActive { version, passed_over } => (format!("active {}", version.tag), passed_over),
        Selection::Keep { passed_over } => ("keep".to_owned(), passed_over),
        Selection::Nothing { why, passed_over } => (format!("{why:?}"), passed_over),
    };
    (end, passed_over.iter().map(|(p, ())| p.tag.to_string()).collect())
}

#[test]
fn a_search_takes_the_newest_accepted_version() {
    let any = SearchScope::default();
    let major = |major| SearchScope { major: Some(major), ..any };
    let pre = SearchScope { channel: Channel::Prerelease, ..any };
    let down = SearchScope { allow_downgrade: true, ..any };
    let leave = SearchScope { active_major_first: true, ..down };
    let tags = ["v1.0.0", "v1.1.0", "v2.0.0", "v2.1.0-rc.1"];
    let pres = ["v1.0.0-rc.1"];
    for (tags, active, scope, rejected, end, passed_over) in [
        (&tags[..], "", any, &[][..], "found v2.0.0", &[][..]),
        (&tags, "", pre, &[], "found v2.1.0-rc.1", &[]),
        (&tags, "", major(1), &[], "found v1.1.0", &[]),
        (&tags, "", any, &["v2.0.0"], "found v1.1.0", &["v2.0.0"]),
        (&tags, "", any, &["v1.0.0", "v1.1.0", "v2.0.0"], "AllPassedOver", &["v2.0.0", "v1.1.0", "v1.0.0"]),
        (&tags, "", major(7), &[], "NotInMajor(7)", &[]),
        (&pres, "", any, &[], "OnlyPrereleases", &[]),
        (&pres, "", major(1), &[], "OnlyPrereleases", &[]),
        (&[], "", any, &[], "NotPublished", &[]),
        (&[], "", major(1), &[], "NotPublished", &[]),
        // Something is installed.
        (&tags, "1.0.0", any, &[], "found v2.0.0", &[]),
        (&tags, "1.0.0", major(1), &[], "found v1.1.0", &[]),
        (&tags, "1.1.0", major(1), &[], "active v1.1.0", &[]),
        (&tags, "2.0.0", any, &[], "active v2.0.0", &[]),
        (&tags, "1.1.0", any, &["v2.0.0"], "active v1.1.0", &["v2.0.0"]),
        (&tags, "1.0.5", any, &["v2.0.0", "v1.1.0"], "keep", &["v2.0.0", "v1.1.0"]),
        (&tags, "3.0.0", any, &[], "keep", &[]),
        (&tags, "2.1.0-rc.1", any, &[], "active v2.1.0-rc.1", &[]),
        (&tags, "2.1.0-alpha", any, &[], "keep", &[]),
        (&[], "1.0.0", any, &[], "keep", &[]),
        // The active version is not evaluated, and no older one is tried.
        (&tags, "1.1.0", any, &["v2.0.0", "v1.1.0"], "active v1.1.0", &["v2.0.0"]),
        // Unless the active version must be replaced, or another major was requested.
        (&tags, "1.1.0", down, &["v2.0.0", "v1.1.0"], "found v1.0.0", &["v2.0.0"]),
        (&tags, "1.0.0", down, &["v2.0.0", "v1.1.0", "v1.0.0"], "keep", &["v2.0.0", "v1.1.0"]),
        (&tags, "2.0.0", SearchScope { major: Some(1), ..down }, &[], "found v1.1.0", &[]),
        (&tags, "1.1.0", leave, &[], "found v1.0.0", &[]),
        (&tags, "1.1.0", leave, &["v1.0.0"], "found v2.0.0", &["v1.0.0"]),
        (&tags, "1.1.0", leave, &["v1.0.0", "v2.0.0"], "keep", &["v2.0.0", "v1.0.0"]),
        // A development build is older than any release.
        (&tags, "dev", any, &[], "found v2.0.0", &[]),
        (&tags, "dev", any, &["v1.0.0", "v1.1.0", "v2.0.0"], "keep", &["v2.0.0", "v1.1.0", "v1.0.0"]),
    ] {
        let (got, over) = search(tags, active, scope, rejected);
        assert_eq!(
            (got.as_str(), over),
            (end, passed_over.iter().map(ToString::to_string).collect()),
            "{active} {scope:?} {rejected:?}"
        );
    }
}

#[test]
fn an_error_ends_a_search() {
    let list = read(&["v1.0.0", "v2.0.0"]);
    let ended = choose(&list, &SearchScope::default(), |p| Err::<Result<(), ()>, _>(p.tag.to_string()));
    assert_eq!(ended, Err("v2.0.0".to_owned()));
}

proptest! {
    #[test]
    fn any_tags(tags in proptest::collection::vec("\\PC{0,12}|v?[0-2](\\.[0-2]){0,2}(-(rc|main|linux-amd64|darwin-arm64))?", 0..20)) {
        let list = read_tags(&plugin(), &tags, Some(&linux()));
        prop_assert!(list.published.windows(2).all(|pair| pair[0].version > pair[1].version));
        for published in &list.published {
            prop_assert_eq!(list.find(published.tag.as_str()), Ok(published));
            prop_assert!(tags.iter().any(|tag| tag == published.registry_tag.as_str()));
        }
        let mut resolved = list.clone();
        resolved.resolve_ambiguous(|_| Some(Digest::of(b"")));
        prop_assert!(resolved.published.windows(2).all(|pair| pair[0].version > pair[1].version));
        prop_assert_eq!(resolved.published.len(), list.published.len() + list.ambiguous.len());
    }
}
