//! What the planner asks of what it contains: the verdict, the facts, the others' word.

use std::{cell::LazyCell, collections::BTreeMap};

use super::{
    Actor, PlanError, PlanOptions, Request, conflicts,
    evaluator::EvaluationRequest,
    known_facts::{FactRequest, VersionFacts},
    requests::Planner,
    state::accepts,
};
use crate::{
    decisions::{
        intent::Intent,
        selection::{PublishedVersion, TagList},
        verdict::{Reason, Required, Verdict},
    },
    values::{name::Component, text::printable, version::Version},
};

impl<'k> Planner<'k> {
    /// What plugins that are there, the ones at hand excepted, have against a version.
    pub(super) fn objections(
        &self,
        name: &Component,
        version: &Version,
        at_hand: &BTreeMap<&Component, usize>,
    ) -> Vec<Reason> {
        let others = self.state.demands_on(name).filter(|(by, _)| !at_hand.contains_key(*by));
        let object = others.filter(|(_, dependencies)| !accepts(dependencies, Some(version)));
        let subject = LazyCell::new(|| conflicts::subject(name, version, self.active(name)));
        object
            .map(|(by, dependencies)| {
                let there = self.state.get(by).and_then(|present| present.version);
                conflicts::objection(&subject, by, there, dependencies)
            })
            .collect()
    }

    /// An installed plugin of which is not known what it needs.
    pub(super) fn unreadable(&self) -> Option<PlanError> {
        self.unreadable.iter().find_map(|name| {
            let why = self.state.get(name)?.unreadable?;
            Some(PlanError::Unreadable { component: (*name).clone(), why: printable(why).into_owned() })
        })
    }

    /// The verdict on a version, cluster included as far as it is known, and what it offers.
    pub(super) fn judge(
        &self,
        name: &'k Component,
        published: &PublishedVersion,
        intent: Intent,
        dependency_of: Option<(&Component, &Version)>,
    ) -> (Verdict, Option<&'k Result<VersionFacts, String>>) {
        let offer = self.known.version(name, &published.version);
        let unmet = match offer {
            Some(Ok(offer)) => offer.findings.unmet.as_slice(),
            _ => &[],
        };
        let question = EvaluationRequest {
            component: name,
            version: &published.version,
            intent,
            active: self.active(name),
            unmet,
            unchecked: &[],
            dependency_of,
        };
        (self.evaluator.evaluate(&question), offer)
    }

    pub(super) fn active(&self, name: &Component) -> Option<&'k Version> {
        self.snapshot.installed.get(name)?.version.as_ref()
    }

    /// Whether policy forbids what is installed, and it has not been left yet.
    pub(super) fn is_forbidden(&self, name: &'k Component) -> bool {
        let Some(active) = self.active(name).filter(|_| !self.moves.contains_key(name)) else { return false };
        let intent = self.intent(&Request::Newest);
        let question = EvaluationRequest {
            component: name,
            version: active,
            intent,
            active: Some(active),
            unmet: &[],
            unchecked: &[],
            dependency_of: None,
        };
        self.evaluator.must_leave(&question).is_some()
    }

    /// What is published of a plugin, if that is known.
    pub(super) fn listing(&self, name: &Component) -> Result<Option<&'k TagList>, Box<PlanError>> {
        match self.known.tags.get(name) {
            None => Ok(None),
            Some(Ok(listing)) => Ok(Some(listing)),
            Some(Err(message)) => {
                let message = printable(message).into_owned();
                Err(Box::new(PlanError::Fact { need: FactRequest::Tags(name.clone()), message }))
            }
        }
    }

    pub(super) fn required(&self, name: &Component) -> Option<Required> {
        self.evaluator.required(name)
    }

    pub(super) fn options(&self) -> &'k PlanOptions {
        &self.snapshot.options
    }

    pub(super) fn intent(&self, request: &Request) -> Intent {
        match (request, self.snapshot.options.actor) {
            (Request::Major(_) | Request::Exact(_), Actor::Person) => Intent::Explicit,
            (Request::Newest | Request::NewestOfAll, Actor::Person) => Intent::Update,
            (_, Actor::Agent) => Intent::Agent,
        }
    }
}

/// What a version offers, unless that stops the search.
pub(super) fn readable<'k>(
    name: &Component,
    published: &PublishedVersion,
    offer: &'k Result<VersionFacts, String>,
) -> Result<&'k VersionFacts, Box<PlanError>> {
    match offer {
        Err(message) => {
            let need = FactRequest::Contract { component: name.clone(), published: published.clone() };
            Err(Box::new(PlanError::Fact { need, message: printable(message).into_owned() }))
        }
        Ok(offer) if !offer.findings.unchecked.is_empty() => Err(Box::new(PlanError::Unchecked {
            component: name.clone(),
            version: published.version.clone(),
            unchecked: offer.findings.unchecked.clone(),
        })),
        Ok(offer) => Ok(offer),
    }
}
