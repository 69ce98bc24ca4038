//! One poll of the proxy: reads the list of tags, the new manifests, and some of the known ones.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use d8_crds::{
    records::release::LeftOutTags,
    values::name::{Component, Tag},
};
use jiff::Timestamp;

use super::desired::ACCEPT_SHRINK;
use crate::{
    adapters::proxy::{FailureScope, ReadRequest, Registry, RegistryError},
    decisions::{
        release::{
            observed::{Observed, PollError, VersionError},
            platform_tags::group,
            reads::{ReadPlan, has_shrunk, plan_reads},
            spec::CheckedSpec,
        },
        retention::RetainedVersions,
    },
};

/// After this many versions, the first progress is reported: the newest versions matter most.
const FIRST_PROGRESS: usize = 3;
/// After this many more versions, progress is reported again.
const PROGRESS_INTERVAL: usize = 8;

/// Number of unclear failures in a row after which the poll counts them as a failure of the proxy.
const UNCLEAR_FAILURES: usize = 3;

/// A poll of one component.
pub(super) struct Poll<'a> {
    pub(super) component: &'a Component,
    /// Generation of the spec.
    pub(super) generation: i64,
    pub(super) spec: &'a CheckedSpec,
    /// Versions that the record keeps whatever its spec says.
    pub(super) retained: &'a RetainedVersions,
    /// Versions that every poll verifies: the latest ones of the record.
    pub(super) always: &'a [&'a str],
    /// The tag that the poll before verified last.
    pub(super) cursor: Option<&'a Tag>,
    /// Number of tags that an accepted list may shrink to.
    pub(super) accepted_shrink: Option<usize>,
    /// What is known; receives the results.
    pub(super) observed: &'a Mutex<Observed>,
    /// Called when there is something new to evaluate.
    pub(super) on_progress: &'a (dyn Fn() + Sync),
}

impl Poll<'_> {
    /// Runs the poll. A failure keeps everything that was known before. Returns the next cursor.
    pub(super) async fn run<R: Registry>(
        &self,
        registry: &R,
        now: fn() -> Timestamp,
    ) -> Result<Option<Tag>, PollError> {
        let result = self.read(registry).await;
        let mut observed = self.observed();
        observed.reading = false;
        match &result {
            Ok(_) => {
                observed.last_sync = Some(now());
                observed.poll_error = None;
            }
            Err(error) => observed.set_poll_error(error.clone()),
        }
        drop(observed);
        (self.on_progress)();
        result
    }

    async fn read<R: Registry>(&self, registry: &R) -> Result<Option<Tag>, PollError> {
        let list = registry.tags(self.component).await?;
        let plan = self.plan(&list)?;
        let mut unclear = UnclearFailures::default();
        for (n, tag) in plan.unread.iter().enumerate() {
            unclear.add(tag, self.read_tag(registry, tag, plan.read_layers.contains(tag)).await?)?;
            if n + 1 >= FIRST_PROGRESS && (n + 1 - FIRST_PROGRESS).is_multiple_of(PROGRESS_INTERVAL) {
                (self.on_progress)();
            }
        }
        for tag in &plan.verify {
            unclear.add(tag, self.read_tag(registry, tag, plan.read_layers.contains(tag)).await?)?;
        }
        self.observed().unreadable.extend(unclear.finish()?);
        Ok(plan.cursor)
    }

    /// Takes over the list of tags, and plans what to read. Rejects a list that has shrunk.
    fn plan(&self, list: &[String]) -> Result<ReadPlan, PollError> {
        let mut malformed_tags = LeftOutTags::default();
        let mut valid = BTreeSet::new();
        for text in list {
            match text.parse::<Tag>() {
                Ok(tag) => drop(valid.insert(tag)),
                Err(why) => malformed_tags.add(text, &why.to_string()),
            }
        }
        let groups = group(&valid);
        let tags: BTreeSet<Tag> = groups.keys().cloned().collect();
        let mut observed = self.observed();
        let before = observed.published();
        if has_shrunk(&before, &tags) && self.accepted_shrink != Some(tags.len()) {
            return Err(suspicious_shrink(self.component, &before, &tags));
        }
        observed.malformed_tags = malformed_tags;
        observed.set_tags(tags);
        observed.platform_tags = groups.into_iter().filter(|(_, platforms)| !platforms.is_empty()).collect();
        observed.reading = true;
        let selected = observed.selected(self.component, self.generation, self.spec, self.retained);
        Ok(plan_reads(&selected, &observed, self.retained, self.always, self.spec.interval, self.cursor))
    }

    /// Reads a version. Returns its failure if that may be a failure of the proxy.
    async fn read_tag<R: Registry>(
        &self,
        registry: &R,
        tag: &Tag,
        read_layers: bool,
    ) -> Result<Option<VersionError>, PollError> {
        let platform_tags = self.observed().platform_tags.get(tag).cloned().unwrap_or_default();
        let is_known = |digest: &_| {
            let observed = self.observed();
            let facts = observed.facts.get(digest);
            facts.is_some_and(|facts| !(facts.incomplete || read_layers && facts.is_digest_only()))
        };
        let request = ReadRequest {
            component: self.component,
            tag,
            platform_tags: &platform_tags,
            platforms: self.spec.platforms.as_ref(),
            read_layers,
            is_known: &is_known,
        };
        let answer = registry.read(&request).await;
        let mut observed = self.observed();
        match answer {
            Ok((digest, facts)) => {
                observed.unreadable.remove(tag);
                observed.digests.insert(tag.clone(), digest.clone());
                if let Some(facts) = facts {
                    observed.facts.insert(digest, facts);
                }
                Ok(None)
            }
            Err(error @ RegistryError { scope: FailureScope::Poll, .. }) => Err(error.into()),
            Err(error) => {
                let why = VersionError { reason: error.reason.to_owned(), message: error.message };
                if error.scope == FailureScope::Unclear {
                    return Ok(Some(why));
                }
                observed.unreadable.insert(tag.clone(), why);
                Ok(None)
            }
        }
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Decides whether failures come from single versions or from the proxy.
#[derive(Default)]
struct UnclearFailures {
    failed: Vec<(Tag, VersionError)>,
    in_a_row: usize,
    any_read: bool,
}

impl UnclearFailures {
    /// Adds the result of one version.
    ///
    /// # Errors
    /// So many versions failed in a row that the proxy fails.
    fn add(&mut self, tag: &Tag, failure: Option<VersionError>) -> Result<(), PollError> {
        let Some(failure) = failure else {
            (self.in_a_row, self.any_read) = (0, true);
            return Ok(());
        };
        self.in_a_row += 1;
        if self.in_a_row >= UNCLEAR_FAILURES {
            return Err(failure.into());
        }
        self.failed.push((tag.clone(), failure));
        Ok(())
    }

    /// Returns the versions that cannot be read.
    ///
    /// # Errors
    /// Versions failed, and none was read: the proxy fails.
    fn finish(mut self) -> Result<Vec<(Tag, VersionError)>, PollError> {
        if self.any_read {
            return Ok(self.failed);
        }
        self.failed.pop().map_or(Ok(Vec::new()), |(_, failure)| Err(failure.into()))
    }
}

fn suspicious_shrink(component: &Component, before: &BTreeSet<Tag>, now: &BTreeSet<Tag>) -> PollError {
    let (gone, all, left) = (before.difference(now).count(), before.len(), now.len());
    PollError {
        reason: "SuspiciousShrink".to_owned(),
        message: format!(
            "{gone} of {all} tags disappeared at once, so the new list is rejected; if this is intended, run `kubectl \
             annotate --overwrite clirelease {component} {ACCEPT_SHRINK}={left}`"
        ),
    }
}

#[cfg(test)]
mod tests;
