//! What the planner asks of what it knows: the verdict, the facts, the others' word.

use std::collections::BTreeMap;

use super::{
    Actor, Need, Options, PlanError, Request, evaluator::EvaluationRequest, knowledge::VersionFacts, requests::Planner,
    say, state::accepts,
};
use crate::{
    decisions::{
        intent::Intent,
        selection::{PublishedVersion, TagList},
        verdict::{Class, Reason, Required, Verdict},
    },
    values::{name::PluginName, text::printable, version::Version},
};

impl<'k> Planner<'k> {
    /// What plugins that are there, the ones at hand excepted, have against a version.
    pub(super) fn objections(
        &self,
        name: &PluginName,
        version: &Version,
        at_hand: &BTreeMap<&PluginName, usize>,
    ) -> Vec<Reason> {
        let others = self.state.demands_on(name).filter(|(by, _)| !at_hand.contains_key(*by));
        let object = others.filter(|(_, dependencies)| !accepts(dependencies, Some(version)));
        object
            .map(|(by, dependencies)| {
                let there = self.state.get(by).and_then(|present| present.version);
                say::objection((name, version), by, there, dependencies)
            })
            .collect()
    }

    /// An installed plugin of which is not known what it needs.
    pub(super) fn unreadable(&self) -> Option<PlanError> {
        self.unreadable.iter().find_map(|name| {
            let why = self.state.get(name)?.unreadable?;
            Some(PlanError::Unreadable { name: (*name).clone(), why: printable(why).into_owned() })
        })
    }

    /// The verdict on a version, cluster included as far as it is known, and what it offers.
    pub(super) fn judge(
        &self,
        name: &'k PluginName,
        published: &PublishedVersion,
        intent: Intent,
        dependency_of: Option<(&PluginName, &Version)>,
    ) -> (Verdict, Option<&'k Result<VersionFacts, String>>) {
        let offer = self.knowledge.offer(name, &published.version);
        let unmet = match offer {
            Some(Ok(offer)) => offer.findings.unmet.as_slice(),
            _ => &[],
        };
        let question = EvaluationRequest {
            plugin: name,
            version: &published.version,
            intent,
            active: self.active(name),
            unmet,
            dependency_of,
        };
        (self.judge.judge(&question), offer)
    }

    pub(super) fn active(&self, name: &PluginName) -> Option<&'k Version> {
        self.snapshot.installed.get(name)?.version.as_ref()
    }

    /// Whether policy forbids what is installed, and it has not been left yet.
    pub(super) fn is_forbidden(&self, name: &'k PluginName) -> bool {
        let Some(active) = self.active(name).filter(|_| !self.moves.contains_key(name)) else { return false };
        let intent = self.intent(&Request::Newest);
        let question = EvaluationRequest {
            plugin: name,
            version: active,
            intent,
            active: Some(active),
            unmet: &[],
            dependency_of: None,
        };
        self.judge.judge(&question).class() == Class::Forbidden
    }

    /// What is published of a plugin, if that is known.
    pub(super) fn listing(&self, name: &PluginName) -> Result<Option<&'k TagList>, Box<PlanError>> {
        match self.knowledge.tags.get(name) {
            None => Ok(None),
            Some(Ok(listing)) => Ok(Some(listing)),
            Some(Err(message)) => {
                let message = printable(message).into_owned();
                Err(Box::new(PlanError::Fact { need: Need::Tags(name.clone()), message }))
            }
        }
    }

    pub(super) fn required(&self, name: &PluginName) -> Option<Required> {
        self.judge.required(name)
    }

    pub(super) fn options(&self) -> &'k Options {
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
    name: &PluginName,
    published: &PublishedVersion,
    offer: &'k Result<VersionFacts, String>,
) -> Result<&'k VersionFacts, Box<PlanError>> {
    match offer {
        Err(message) => {
            let need = Need::Contract { name: name.clone(), published: published.clone() };
            Err(Box::new(PlanError::Fact { need, message: printable(message).into_owned() }))
        }
        Ok(offer) if !offer.findings.unchecked.is_empty() => Err(Box::new(PlanError::Unchecked {
            name: name.clone(),
            version: published.version.clone(),
            unchecked: offer.findings.unchecked.clone(),
        })),
        Ok(offer) => Ok(offer),
    }
}
