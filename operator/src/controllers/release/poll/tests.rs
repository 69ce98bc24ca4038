use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use d8_crds::{records::release::CliReleaseSpec, values::digest::Digest};

use super::*;
use crate::decisions::release::facts::VersionFacts;

/// A scripted registry that records its requests.
#[derive(Default)]
struct Script {
    tags: Vec<&'static str>,
    list_fails: Option<RegistryError>,
    fails: BTreeMap<&'static str, RegistryError>,
    moved: Vec<&'static str>,
    /// It serves no manifests.
    old: bool,
    /// It does not deliver a part of each image now.
    lacks_parts: bool,
    requests: Mutex<Vec<String>>,
}

impl Registry for Script {
    async fn tags(&self, _: &Component) -> Result<Vec<String>, RegistryError> {
        self.requests.lock().unwrap().push("tags".into());
        self.list_fails.clone().map_or(Ok(self.tags.iter().map(|&t| t.to_owned()).collect()), Err)
    }

    async fn read(&self, request: &ReadRequest<'_>) -> Result<(Digest, Option<VersionFacts>), RegistryError> {
        let tag = request.tag;
        if let Some(error) = self.fails.get(tag.as_str()) {
            return Err(error.clone());
        }
        let moved = self.moved.contains(&tag.as_str());
        let digest = Digest::of(format!("{tag}{moved}").as_bytes());
        let facts =
            if self.old && !request.read_layers { VersionFacts::digest_only() } else { VersionFacts::default() };
        let facts = VersionFacts { incomplete: self.lacks_parts, ..facts };
        let facts = (!(request.is_known)(&digest)).then_some(facts);
        self.requests.lock().unwrap().push(format!("{tag}{}", if facts.is_some() { "+" } else { "" }));
        Ok((digest, facts))
    }
}

struct Fixture {
    spec: CheckedSpec,
    retained: RetainedVersions,
    observed: Mutex<Observed>,
    progress: AtomicUsize,
    accepted_shrink: Option<usize>,
}

impl Fixture {
    fn new() -> Self {
        Self {
            spec: CheckedSpec::read(&CliReleaseSpec::default()).unwrap(),
            retained: RetainedVersions::default(),
            observed: Mutex::default(),
            progress: AtomicUsize::new(0),
            accepted_shrink: None,
        }
    }

    async fn poll(&self, script: &Script) -> Result<Option<Tag>, PollError> {
        script.requests.lock().unwrap().clear();
        let on_progress = || {
            self.progress.fetch_add(1, Ordering::Relaxed);
        };
        let poll = Poll {
            component: &"p".parse().unwrap(),
            generation: 1,
            spec: &self.spec,
            retained: &self.retained,
            always: &[],
            cursor: None,
            accepted_shrink: self.accepted_shrink,
            observed: &self.observed,
            on_progress: &on_progress,
        };
        poll.run(script, || Timestamp::from_second(7).unwrap()).await
    }

    fn observed(&self) -> Observed {
        self.observed.lock().unwrap().clone()
    }
}

/// Returns what was known before, with another error of the last poll.
fn with_error(before: &Observed, poll_error: Option<PollError>) -> Observed {
    let mut observed = before.clone();
    observed.poll_error = poll_error;
    observed
}

fn unavailable(scope: FailureScope) -> RegistryError {
    RegistryError { reason: "Unavailable", message: "502".into(), scope }
}

#[tokio::test]
async fn the_first_poll_reads_all_and_later_ones_verify_some() {
    let fixture = Fixture::new();
    let script = Script { tags: vec!["v1.0.0", "v1.2.0", "v1.1.0", "x y", "latest"], ..Script::default() };
    fixture.poll(&script).await.unwrap();
    assert_eq!(*script.requests.lock().unwrap(), ["tags", "v1.2.0+", "v1.1.0+", "v1.0.0+"]);
    let observed = fixture.observed();
    assert_eq!((observed.malformed_tags.count, observed.last_sync), (1, Timestamp::from_second(7).ok()));
    assert_eq!((observed.poll_error, observed.reading), (None, false));
    fixture.poll(&script).await.unwrap();
    assert_eq!(*script.requests.lock().unwrap(), ["tags", "v1.0.0"], "one manifest is verified");
}

#[tokio::test]
async fn layers_of_the_newest_three_and_of_pinned_versions_are_read_once() {
    let mut fixture = Fixture::new();
    let tags = vec!["v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "v1.4.0-linux-amd64", "v1.4.0-darwin-arm64"];
    let mut script = Script { tags, old: true, ..Script::default() };
    let with_layers = |fixture: &Fixture| {
        let observed = fixture.observed();
        let read = observed.digests.keys().filter(|tag| !observed.lacks_layers(tag));
        read.map(Tag::as_str).collect::<Vec<_>>().join(" ")
    };
    fixture.poll(&script).await.unwrap();
    assert_eq!(fixture.observed().published().len(), 5, "tags of single platforms form one version");
    assert_eq!(fixture.observed().platform_tags.values().map(std::collections::BTreeSet::len).collect::<Vec<_>>(), [2]);
    assert_eq!(with_layers(&fixture), "v1.2.0 v1.3.0 v1.4.0");
    fixture.poll(&script).await.unwrap();
    assert!(!script.requests.lock().unwrap().iter().any(|request| request.ends_with('+')), "nothing is read again");
    fixture.retained.pinned.insert(d8_crds::values::version::Version::parse("v1.0.0").unwrap());
    fixture.poll(&script).await.unwrap();
    assert_eq!(script.requests.lock().unwrap()[..2], ["tags", "v1.0.0+"]);
    assert_eq!(with_layers(&fixture), "v1.0.0 v1.2.0 v1.3.0 v1.4.0");
    script.tags.push("v1.5.0");
    fixture.poll(&script).await.unwrap();
    assert_eq!(with_layers(&fixture), "v1.0.0 v1.2.0 v1.3.0 v1.4.0 v1.5.0", "known versions stay known");
    script.moved = vec!["v1.0.0"];
    fixture.poll(&script).await.unwrap();
    assert!(script.requests.lock().unwrap().contains(&"v1.0.0+".to_owned()), "a moved tag is read again");
}

#[tokio::test]
async fn progress_is_reported_after_the_newest_three() {
    let fixture = Fixture::new();
    let tags = (0..20).map(|n| &*format!("v1.{n}.0").leak()).collect();
    fixture.poll(&Script { tags, ..Script::default() }).await.unwrap();
    assert_eq!(fixture.progress.load(Ordering::Relaxed), 4, "after 3, 11, 19 and at the end");
}

#[tokio::test]
async fn a_moved_tag_is_found_and_its_old_facts_stay() {
    let fixture = Fixture::new();
    fixture.poll(&Script { tags: vec!["v1.0.0"], ..Script::default() }).await.unwrap();
    let script = Script { tags: vec!["v1.0.0"], moved: vec!["v1.0.0"], ..Script::default() };
    fixture.poll(&script).await.unwrap();
    assert_eq!(*script.requests.lock().unwrap(), ["tags", "v1.0.0+"]);
    assert_eq!(fixture.observed().facts.len(), 2);
}

#[tokio::test]
async fn an_unreadable_version_does_not_end_the_poll() {
    let fixture = Fixture::new();
    let mut script = Script { tags: vec!["v1.0.0", "v1.1.0"], ..Script::default() };
    script.fails.insert("v1.1.0", unavailable(FailureScope::Version));
    fixture.poll(&script).await.unwrap();
    let observed = fixture.observed();
    assert_eq!((observed.digests.len(), observed.unreadable.len(), observed.poll_error), (1, 1, None));
    script.fails.clear();
    fixture.poll(&script).await.unwrap();
    let observed = fixture.observed();
    assert_eq!((observed.digests.len(), observed.unreadable.len()), (2, 0));
}

/// A network failure while one platform is read must not leave the platform out for good.
#[tokio::test]
async fn a_part_that_was_missing_is_read_at_the_next_polls() {
    let fixture = Fixture::new();
    let mut script = Script { tags: vec!["v1.0.0"], lacks_parts: true, ..Script::default() };
    for poll in ["the first poll", "as long as it is missing"] {
        fixture.poll(&script).await.unwrap();
        assert_eq!(*script.requests.lock().unwrap(), ["tags", "v1.0.0+"], "{poll}");
    }
    script.lacks_parts = false;
    fixture.poll(&script).await.unwrap();
    assert_eq!(*script.requests.lock().unwrap(), ["tags", "v1.0.0+"], "it is there again");
    fixture.poll(&script).await.unwrap();
    assert_eq!(*script.requests.lock().unwrap(), ["tags", "v1.0.0"], "known");
}

#[tokio::test]
async fn a_failure_of_one_version_and_of_the_proxy_are_told_apart() {
    let all = ["v1.5.0", "v1.4.0", "v1.3.0", "v1.2.0", "v1.1.0", "v1.0.0"];
    for (what, failing, unreadable) in [
        ("one version", &["v1.5.0"][..], Some(1)),
        ("two in a row", &["v1.3.0", "v1.2.0"], Some(2)),
        ("every other one", &["v1.5.0", "v1.3.0", "v1.1.0"], Some(3)),
        ("three in a row", &["v1.2.0", "v1.1.0", "v1.0.0"], None),
        ("all", &all, None),
    ] {
        let fixture = Fixture::new();
        let mut script = Script { tags: all.to_vec(), ..Script::default() };
        script.fails.extend(failing.iter().map(|tag| (*tag, unavailable(FailureScope::Unclear))));
        let result = fixture.poll(&script).await;
        assert_eq!(result.is_ok(), unreadable.is_some(), "{what}");
        let observed = fixture.observed();
        assert_eq!(observed.unreadable.len(), unreadable.unwrap_or_default(), "{what}");
        assert_eq!(observed.poll_error.is_some(), unreadable.is_none(), "{what}");
    }
    // The only version.
    let fixture = Fixture::new();
    let mut script = Script { tags: vec!["v1.0.0"], ..Script::default() };
    script.fails.insert("v1.0.0", unavailable(FailureScope::Unclear));
    fixture.poll(&script).await.unwrap_err();
}

#[tokio::test]
async fn a_failed_poll_loses_nothing() {
    let fixture = Fixture::new();
    fixture.poll(&Script { tags: vec!["v1.0.0"], ..Script::default() }).await.unwrap();
    let before = fixture.observed();
    let poll_error = Some(PollError { reason: "Unavailable".into(), message: "502".into() });
    fixture.poll(&Script { list_fails: Some(unavailable(FailureScope::Poll)), ..Script::default() }).await.unwrap_err();
    assert_eq!(fixture.observed(), with_error(&before, poll_error.clone()), "at the list of tags");
    let mut script = Script { tags: vec!["v1.0.0", "v1.1.0", "v1.2.0"], ..Script::default() };
    script.fails.insert("v1.1.0", unavailable(FailureScope::Poll));
    fixture.poll(&script).await.unwrap_err();
    let after = fixture.observed();
    assert_eq!((after.digests.len(), after.poll_error, after.reading), (2, poll_error, false), "in the middle");
}

#[tokio::test]
async fn a_list_that_has_shrunk_is_rejected_until_an_admin_accepts_it() {
    let mut fixture = Fixture::new();
    fixture.poll(&Script { tags: vec!["v1.0.0", "v1.1.0", "v1.2.0"], ..Script::default() }).await.unwrap();
    let before = fixture.observed();
    let script = Script { tags: vec!["v1.2.0"], ..Script::default() };
    for _ in 0..2 {
        let error = fixture.poll(&script).await.unwrap_err();
        assert_eq!(error.reason, "SuspiciousShrink");
        assert!(error.message.ends_with("clirelease p cli.deckhouse.io/accept-shrink=1`"), "{}", error.message);
        assert_eq!(fixture.observed(), with_error(&before, Some(error)));
    }
    fixture.accepted_shrink = Some(2);
    fixture.poll(&script).await.unwrap_err();
    fixture.accepted_shrink = Some(1);
    fixture.poll(&script).await.unwrap();
    assert_eq!(fixture.observed().published().len(), 1);
}
