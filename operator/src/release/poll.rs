//! One poll of the proxy: the tag list, the manifests not read yet, and some of the known ones.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use d8_crds::values::name::{Component, Tag};
use jiff::Timestamp;

use super::{
    facts::{Observed, Trouble, Unreadable},
    parts::names,
    rules::Rules,
    survey::{Reading, Wanted, reading, shrank, survey},
};
use crate::proxy::{Ask, Failure, Registry};

/// After so many versions what was read is shown for the first time: the newest are what matters.
const FIRST_SHOWN: usize = 3;
/// And after so many more each further time.
const SHOWN_EVERY: usize = 8;

/// What a poll is about.
pub(crate) struct Poll<'a> {
    /// The component.
    pub(crate) component: &'a Component,
    /// What to publish of it.
    pub(crate) rules: &'a Rules,
    /// Versions to keep besides.
    pub(crate) wanted: &'a Wanted,
    /// The versions that are the record's answers at the moment.
    pub(crate) answers: &'a [&'a str],
    /// Where the share of known manifests begins that is read again.
    pub(crate) cursor: Option<&'a Tag>,
    /// A shrunken list of so many tags is believed: an admin said so.
    pub(crate) accepted_shrink: Option<usize>,
    /// Where the findings go.
    pub(crate) observed: &'a Mutex<Observed>,
    /// Called whenever there is something new to judge.
    pub(crate) found: &'a (dyn Fn() + Sync),
}

impl Poll<'_> {
    /// Polls. Whatever happens, nothing that was known before is lost. Returns the next cursor.
    pub(crate) async fn run<R: Registry>(&self, registry: &R, now: fn() -> Timestamp) -> Result<Option<Tag>, Trouble> {
        let result = self.read(registry).await;
        let mut observed = self.observed();
        observed.reading = false;
        match &result {
            Ok(_) => {
                observed.synced = Some(now());
                observed.trouble = None;
            }
            Err(trouble) => observed.trouble = Some(trouble.clone()),
        }
        drop(observed);
        (self.found)();
        result
    }

    async fn read<R: Registry>(&self, registry: &R) -> Result<Option<Tag>, Trouble> {
        let listed = registry.tags(self.component).await?;
        let plan = self.plan(&listed)?;
        for (n, tag) in plan.unread.iter().enumerate() {
            self.read_one(registry, tag, plan.deep.contains(tag)).await?;
            if n + 1 >= FIRST_SHOWN && (n + 1 - FIRST_SHOWN).is_multiple_of(SHOWN_EVERY) {
                (self.found)();
            }
        }
        for tag in &plan.verify {
            self.read_one(registry, tag, plan.deep.contains(tag)).await?;
        }
        Ok(plan.cursor)
    }

    /// Takes the tag list over, unless it is not to be believed, and says what to read.
    fn plan(&self, listed: &[String]) -> Result<Reading, Trouble> {
        let parts = names(&listed.iter().filter_map(|text| text.parse().ok()).collect());
        let tags: BTreeSet<Tag> = parts.keys().cloned().collect();
        let mut observed = self.observed();
        let before = observed.tags.clone().unwrap_or_else(|| observed.heads.keys().cloned().collect());
        if shrank(&before, &tags) && self.accepted_shrink != Some(tags.len()) {
            return Err(suspicious(self.component, &before, &tags));
        }
        observed.malformed_tags = listed.iter().filter(|text| text.parse::<Tag>().is_err()).count();
        let survey = survey(self.component, &tags, self.rules, self.wanted);
        observed.tags = Some(tags);
        observed.parts = parts.into_iter().filter(|(_, platforms)| !platforms.is_empty()).collect();
        observed.reading = true;
        Ok(reading(&survey, &observed, self.wanted, self.answers, self.rules.interval, self.cursor))
    }

    async fn read_one<R: Registry>(&self, registry: &R, tag: &Tag, deep: bool) -> Result<(), Trouble> {
        let parts = self.observed().parts.get(tag).cloned().unwrap_or_default();
        let known = |digest: &_| {
            let observed = self.observed();
            observed.facts.get(digest).is_some_and(|facts| !(facts.partial || deep && facts.is_not_read()))
        };
        let (component, platforms) = (self.component, self.rules.platforms.as_ref());
        let answer = registry.read(&Ask { component, tag, parts: &parts, platforms, deep, known: &known }).await;
        let mut observed = self.observed();
        match answer {
            Ok((digest, facts)) => {
                observed.unreadable.remove(tag);
                observed.heads.insert(tag.clone(), digest.clone());
                if let Some(facts) = facts {
                    observed.facts.insert(digest, facts);
                }
                Ok(())
            }
            Err(Failure { reason, message, of_version: true }) => {
                observed.unreadable.insert(tag.clone(), Unreadable { reason: reason.to_owned(), message });
                Ok(())
            }
            Err(failure) => Err(failure.into()),
        }
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn suspicious(component: &Component, before: &BTreeSet<Tag>, now: &BTreeSet<Tag>) -> Trouble {
    let (gone, of, left) = (before.difference(now).count(), before.len(), now.len());
    Trouble {
        reason: "SuspiciousShrink".to_owned(),
        message: format!(
            "{gone} of {of} tags are gone at once, so the new list is not believed; if it is meant: \
             kubectl annotate --overwrite clirelease {component} {}={left}",
            super::ACCEPT_SHRINK
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use d8_crds::{records::release::CliReleaseSpec, values::digest::Digest};

    use super::{super::facts::Facts, *};

    /// A registry that answers by script and counts the questions.
    #[derive(Default)]
    struct Script {
        tags: Vec<&'static str>,
        list_fails: Option<Failure>,
        fails: BTreeMap<&'static str, Failure>,
        moved: Vec<&'static str>,
        /// It shows no manifests.
        old: bool,
        questions: Mutex<Vec<String>>,
    }

    impl Registry for Script {
        async fn tags(&self, _: &Component) -> Result<Vec<String>, Failure> {
            self.questions.lock().unwrap().push("tags".into());
            self.list_fails.clone().map_or(Ok(self.tags.iter().map(|&t| t.to_owned()).collect()), Err)
        }

        async fn read(&self, ask: &Ask<'_>) -> Result<(Digest, Option<Facts>), Failure> {
            let tag = ask.tag;
            if let Some(failure) = self.fails.get(tag.as_str()) {
                return Err(failure.clone());
            }
            let moved = self.moved.contains(&tag.as_str());
            let digest = Digest::of(format!("{tag}{moved}").as_bytes());
            let facts = if self.old && !ask.deep { Facts::not_read() } else { Facts::default() };
            let facts = (!(ask.known)(&digest)).then_some(facts);
            self.questions.lock().unwrap().push(format!("{tag}{}", if facts.is_some() { "+" } else { "" }));
            Ok((digest, facts))
        }
    }

    struct Bench {
        rules: Rules,
        wanted: Wanted,
        observed: Mutex<Observed>,
        shown: AtomicUsize,
        accepted_shrink: Option<usize>,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                rules: Rules::read(&CliReleaseSpec::default()).unwrap(),
                wanted: Wanted::default(),
                observed: Mutex::default(),
                shown: AtomicUsize::new(0),
                accepted_shrink: None,
            }
        }

        async fn poll(&self, script: &Script) -> Result<Option<Tag>, Trouble> {
            script.questions.lock().unwrap().clear();
            let found = || {
                self.shown.fetch_add(1, Ordering::Relaxed);
            };
            let poll = Poll {
                component: &"p".parse().unwrap(),
                rules: &self.rules,
                wanted: &self.wanted,
                answers: &[],
                cursor: None,
                accepted_shrink: self.accepted_shrink,
                observed: &self.observed,
                found: &found,
            };
            poll.run(script, || Timestamp::from_second(7).unwrap()).await
        }

        fn observed(&self) -> Observed {
            self.observed.lock().unwrap().clone()
        }
    }

    fn failure(of_version: bool) -> Failure {
        Failure { reason: "Unavailable", message: "502".into(), of_version }
    }

    #[tokio::test]
    async fn the_first_poll_reads_all_and_a_quiet_one_little() {
        let bench = Bench::new();
        let script = Script { tags: vec!["v1.0.0", "v1.2.0", "v1.1.0", "x y", "latest"], ..Script::default() };
        bench.poll(&script).await.unwrap();
        assert_eq!(*script.questions.lock().unwrap(), ["tags", "v1.2.0+", "v1.1.0+", "v1.0.0+"]);
        let observed = bench.observed();
        assert_eq!((observed.malformed_tags, observed.synced), (1, Timestamp::from_second(7).ok()));
        assert_eq!((observed.trouble, observed.reading), (None, false));
        bench.poll(&script).await.unwrap();
        assert_eq!(*script.questions.lock().unwrap(), ["tags", "v1.0.0"], "one manifest is read again");
    }

    #[tokio::test]
    async fn of_an_old_proxy_the_newest_three_and_the_pinned_are_read_once() {
        let mut bench = Bench::new();
        let tags = vec!["v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "v1.4.0-linux-amd64", "v1.4.0-darwin-arm64"];
        let mut script = Script { tags, old: true, ..Script::default() };
        let deep = |bench: &Bench| {
            let observed = bench.observed();
            let read = observed.heads.keys().filter(|tag| !observed.is_not_read(tag));
            read.map(Tag::as_str).collect::<Vec<_>>().join(" ")
        };
        bench.poll(&script).await.unwrap();
        assert_eq!(bench.observed().tags.unwrap().len(), 5, "tags of platforms are one version");
        assert_eq!(bench.observed().parts.values().map(std::collections::BTreeSet::len).collect::<Vec<_>>(), [2]);
        assert_eq!(deep(&bench), "v1.2.0 v1.3.0 v1.4.0");
        bench.poll(&script).await.unwrap();
        assert!(
            !script.questions.lock().unwrap().iter().any(|asked| asked.ends_with('+')),
            "a quiet poll reads nothing"
        );
        bench.wanted.pinned.insert(d8_crds::values::version::Version::parse("v1.0.0").unwrap());
        bench.poll(&script).await.unwrap();
        assert_eq!(script.questions.lock().unwrap()[..2], ["tags", "v1.0.0+"]);
        assert_eq!(deep(&bench), "v1.0.0 v1.2.0 v1.3.0 v1.4.0");
        script.tags.push("v1.5.0");
        bench.poll(&script).await.unwrap();
        assert_eq!(deep(&bench), "v1.0.0 v1.2.0 v1.3.0 v1.4.0 v1.5.0", "what was read stays known");
        script.moved = vec!["v1.0.0"];
        bench.poll(&script).await.unwrap();
        assert!(script.questions.lock().unwrap().contains(&"v1.0.0+".to_owned()), "a moved one is read again");
    }

    #[tokio::test]
    async fn the_newest_three_are_shown_first() {
        let bench = Bench::new();
        let tags = (0..20).map(|n| &*format!("v1.{n}.0").leak()).collect();
        bench.poll(&Script { tags, ..Script::default() }).await.unwrap();
        assert_eq!(bench.shown.load(Ordering::Relaxed), 4, "after 3, 11, 19 and at the end");
    }

    #[tokio::test]
    async fn a_moved_tag_is_found_and_its_old_facts_are_still_known() {
        let bench = Bench::new();
        bench.poll(&Script { tags: vec!["v1.0.0"], ..Script::default() }).await.unwrap();
        let script = Script { tags: vec!["v1.0.0"], moved: vec!["v1.0.0"], ..Script::default() };
        bench.poll(&script).await.unwrap();
        assert_eq!(*script.questions.lock().unwrap(), ["tags", "v1.0.0+"]);
        assert_eq!(bench.observed().facts.len(), 2);
    }

    #[tokio::test]
    async fn a_version_that_cannot_be_read_does_not_end_the_poll() {
        let bench = Bench::new();
        let mut script = Script { tags: vec!["v1.0.0", "v1.1.0"], ..Script::default() };
        script.fails.insert("v1.1.0", failure(true));
        bench.poll(&script).await.unwrap();
        let observed = bench.observed();
        assert_eq!((observed.heads.len(), observed.unreadable.len(), observed.trouble), (1, 1, None));
        script.fails.clear();
        bench.poll(&script).await.unwrap();
        let observed = bench.observed();
        assert_eq!((observed.heads.len(), observed.unreadable.len()), (2, 0));
    }

    #[tokio::test]
    async fn a_poll_that_fails_loses_nothing() {
        let bench = Bench::new();
        bench.poll(&Script { tags: vec!["v1.0.0"], ..Script::default() }).await.unwrap();
        let before = bench.observed();
        let trouble = Some(Trouble { reason: "Unavailable".into(), message: "502".into() });
        bench.poll(&Script { list_fails: Some(failure(false)), ..Script::default() }).await.unwrap_err();
        assert_eq!(bench.observed(), Observed { trouble: trouble.clone(), ..before.clone() }, "at the tag list");
        let mut script = Script { tags: vec!["v1.0.0", "v1.1.0", "v1.2.0"], ..Script::default() };
        script.fails.insert("v1.1.0", failure(false));
        bench.poll(&script).await.unwrap_err();
        let after = bench.observed();
        assert_eq!((after.heads.len(), after.trouble, after.reading), (2, trouble, false), "half way");
    }

    #[tokio::test]
    async fn a_list_that_shrank_is_not_believed_until_an_admin_says_so() {
        let mut bench = Bench::new();
        bench.poll(&Script { tags: vec!["v1.0.0", "v1.1.0", "v1.2.0"], ..Script::default() }).await.unwrap();
        let before = bench.observed();
        let script = Script { tags: vec!["v1.2.0"], ..Script::default() };
        for _ in 0..2 {
            let trouble = bench.poll(&script).await.unwrap_err();
            assert_eq!(trouble.reason, "SuspiciousShrink");
            assert!(trouble.message.ends_with("clirelease p cli.deckhouse.io/accept-shrink=1"), "{}", trouble.message);
            assert_eq!(bench.observed(), Observed { trouble: Some(trouble), ..before.clone() });
        }
        bench.accepted_shrink = Some(2);
        bench.poll(&script).await.unwrap_err();
        bench.accepted_shrink = Some(1);
        bench.poll(&script).await.unwrap();
        assert_eq!(bench.observed().tags.unwrap().len(), 1);
    }
}
