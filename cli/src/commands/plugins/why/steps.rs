//! The commands that `d8 plugins why` ends with.

use d8_crds::{
    decisions::{
        explain,
        reason::{Class, ReasonCode},
    },
    values::name::{Component, PluginName},
};
use serde::Serialize;

use super::{WhyReport, rows::VersionVerdict};
use crate::{commands::plugins::newer_major, planning::Planning};

/// A command, and what it does.
#[derive(Debug, Serialize)]
pub(super) struct NextStep {
    #[serde(rename = "for")]
    pub(super) purpose: String,
    pub(super) command: String,
}

impl NextStep {
    fn new(purpose: &str, command: String) -> Self {
        Self { purpose: purpose.to_owned(), command }
    }
}

/// Returns the commands that change something: the repair, the newest version that can be installed, and the newest one
/// of a newer major version.
pub(super) fn next_steps(
    report: &WhyReport,
    planning: &Planning<'_>,
    component: &Component,
    named: bool,
) -> Vec<NextStep> {
    let active = planning.active(component);
    let mut next = Vec::new();
    if report.damage.is_some() && report.run_allowed {
        next.push(NextStep::new("repair it", format!("d8 plugins install {component}")));
    }
    let eligible = report.versions.iter().filter(|version| version.verdict == Class::Eligible && !version.active);
    let take = |version: &VersionVerdict, command| NextStep::new(&format!("take {}", version.version), command);
    if named {
        let by_name = report.versions.iter().filter(|version| version.is_eligible_by_exact_name() && !version.active);
        next.extend(by_name.map(|version| take(version, explain::install(component, &version.parsed))));
        return next;
    }
    let stays = |version: &&VersionVerdict| active.is_none_or(|active| active.major() == version.parsed.major());
    let is_newer = |version: &&VersionVerdict| active.is_none_or(|active| *active < version.parsed);
    // A forbidden version is left for an older one or another major version, too.
    let leaves = planning.forbidden(component).is_some();
    let within = eligible.clone().find(|version| stays(version) && (leaves || is_newer(version)));
    if let Some(version) = within.or_else(|| eligible.clone().find(|_| leaves)) {
        let command = match active {
            Some(_) => format!("d8 plugins update {component}"),
            None => format!("d8 plugins install {component}"),
        };
        next.push(take(version, command));
    }
    // Nobody gets a pre-release who does not name it.
    let by_name = |version: &&VersionVerdict| version.is_held_only_as(ReasonCode::PreRelease) && is_newer(version);
    if report.only_prereleases
        && let Some(version) = report.versions.iter().find(by_name)
    {
        next.push(take(version, explain::install(component, &version.parsed)));
        return next;
    }
    // Nobody waits for a wave who names the version.
    let mut waiting = report.versions.iter().filter(|version| version.waits_for_its_wave());
    if next.is_empty()
        && let Some(version) = waiting.find(|version| stays(version) && (leaves || is_newer(version)))
    {
        let purpose = format!("take {} before its wave reaches this machine", version.version);
        next.push(NextStep::new(&purpose, explain::install(component, &version.parsed)));
    }
    let mut crossing = report.versions.iter().filter(|version| version.is_eligible_by_name());
    if let Some(version) = crossing.find(|version| !leaves && is_newer(version) && !stays(version)) {
        next.push(take(version, newer_major::command(component, &version.parsed)));
    }
    let is_removable = |name: &PluginName| planning.policies().remove_allowed(name).is_ok();
    if next.is_empty()
        && !report.run_allowed
        && let Component::Plugin(name) = component
        && is_removable(name)
    {
        next.push(NextStep::new("remove it", format!("d8 plugins remove {component}")));
    }
    next
}
