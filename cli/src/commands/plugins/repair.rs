//! Repairs: installs the active versions of plugins again, because their files are damaged or because of `--force`.
//!
//! A repair installs the same version, so of the policies only `Deny`, `block` and one that cannot be decoded stop it.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    decisions::{
        explain,
        plan::{
            ChangeReason, Dependencies, InstalledContract, Outcome, PassedOver, Plan, PlannedChange, PreviousVersion,
            Request, Snapshot,
        },
        selection::PublishedVersion,
        verdict::Reason,
    },
    values::{
        name::{Component, PluginName, Tag},
        version::Version,
    },
};

use super::{
    options::ExecuteOptions,
    report::ChangeResults,
    transaction::{Operation, OperationKind, Transaction},
};
use crate::{
    catalog::VersionDetails,
    context::Context,
    installed::{self, InstalledPlugin},
    planning::{Planning, messages::lookup_failure},
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

/// Plans the repair of the requested plugins that the plan leaves as they are, and of the plugins that they need. Adds
/// the failures to `results`.
///
/// # Errors
/// A root cannot be read.
pub(in crate::commands) async fn plan(
    context: &Context,
    planning: &mut Planning<'_>,
    (snapshot, plan): (&Snapshot, &Plan),
    requests: &BTreeMap<PluginName, Request>,
    options: ExecuteOptions,
    results: &mut ChangeResults,
) -> Result<Vec<Transaction>, Failure> {
    let needed = needed(planning, snapshot, plan, requests);
    let mut repairs = Repairs { context, planning, operations: Vec::new() };
    for (name, request) in requests {
        let component = Component::Plugin(name.clone());
        match plan.outcomes.get(&component) {
            Some(Outcome::Take { .. }) | None => {}
            Some(outcome) => repairs.add_requested(name, (request, outcome), options, results).await?,
        }
    }
    for (name, chain) in needed {
        repairs.add_dependency(&name, chain, options, results).await?;
    }
    Ok(repairs.operations.into_iter().map(|operation| Transaction { operations: vec![operation] }).collect())
}

struct Repairs<'p, 'a> {
    context: &'p Context,
    planning: &'p mut Planning<'a>,
    operations: Vec<Operation>,
}

impl Repairs<'_, '_> {
    async fn add_requested(
        &mut self,
        name: &PluginName,
        (request, outcome): (&Request, &Outcome),
        options: ExecuteOptions,
        results: &mut ChangeResults,
    ) -> Result<(), Failure> {
        let find = if options.verify { installed::verify } else { installed::find };
        let Some(plugin) = find(self.context, name)? else { return Ok(()) };
        let kind = match plugin.damage() {
            Some(_) => OperationKind::Repair,
            // Another major version was requested, so the active one is kept.
            None if options.force && !is_other_major(&plugin, request) => OperationKind::Reinstall,
            None => {
                self.check_named(&plugin, request, results);
                return Ok(());
            }
        };
        let Some(version) = plugin.version() else {
            results.insert_if_success(name, unknown_version(&plugin, outcome.passed_over()));
            return Ok(());
        };
        // A repair is no answer to a request for another version, nor for what the version needs.
        let is_answer = accepts(request, &version) && !matches!(outcome, Outcome::Incomplete { .. });
        if results.is_failure(name) && !is_answer {
            return Ok(());
        }
        let planned = self.operation(&plugin, &version, kind, ChangeReason::Requested, options.force).await;
        // What stopped the search for a newer version does not stop the repair.
        if planned.is_ok()
            && let Some(failure) = results.remove_failure(name)
        {
            output::warn(failure.summary());
        }
        self.add(name, planned, results);
        Ok(())
    }

    fn add(&mut self, name: &PluginName, planned: Result<Operation, Failure>, results: &mut ChangeResults) {
        match planned {
            Ok(operation) => self.operations.push(operation),
            Err(failure) => results.insert(name.clone(), Err(failure)),
        }
    }

    /// Adds a failure if a person names the active version and policies refuse it. Nothing would be installed, but the
    /// version must be permitted.
    fn check_named(&self, plugin: &InstalledPlugin, request: &Request, results: &mut ChangeResults) {
        let name = &plugin.entry.name;
        if let Some(active) = plugin.version().filter(|active| *request == Request::Exact(active.clone()))
            && let Err(reason) = self.planning.run_allowed(&name.clone().into(), &active)
        {
            results.insert(name.clone(), Err(refused(name, &active, &[*reason])));
        }
    }

    async fn add_dependency(
        &mut self,
        name: &PluginName,
        chain: Vec<Component>,
        options: ExecuteOptions,
        results: &mut ChangeResults,
    ) -> Result<(), Failure> {
        let Some(plugin) = installed::find(self.context, name)? else { return Ok(()) };
        let Some(damage) = plugin.damage() else { return Ok(()) };
        if options.no_dependencies {
            output::warn(format!("{name} is damaged: {damage}; repair it: `d8 plugins install {name}`"));
            return Ok(());
        }
        let planned = match plugin.version() {
            Some(version) => {
                let why = ChangeReason::Dependency { chain };
                self.operation(&plugin, &version, OperationKind::Repair, why, false).await
            }
            None => Err(unknown_version(&plugin, &[])),
        };
        self.add(name, planned, results);
        Ok(())
    }

    /// Returns the operation that installs the active version of a plugin again: from the store if it is intact there,
    /// unless `force` requires a download.
    async fn operation(
        &mut self,
        plugin: &InstalledPlugin,
        version: &Version,
        kind: OperationKind,
        why: ChangeReason,
        force: bool,
    ) -> Result<Operation, Failure> {
        let name = &plugin.entry.name;
        let component = Component::Plugin(name.clone());
        let verdict = self.planning.repair_verdict(&component, version);
        if !verdict.is_eligible() {
            return Err(refused(name, version, verdict.reasons()));
        }
        let (to, details) = match intact_tag(plugin, version) {
            Some(tag) if !force => {
                (PublishedVersion { registry_tag: tag.clone(), tag, version: version.clone() }, None)
            }
            _ => {
                let (to, details) = self.published(plugin, version).await?;
                (to, Some(details))
            }
        };
        let from = PreviousVersion::Version(version.clone());
        let change = PlannedChange { component, from, to, why, warnings: Vec::new() };
        Ok(Operation { name: name.clone(), kind, change, details })
    }

    /// Returns where to download the active version from.
    async fn published(
        &mut self,
        plugin: &InstalledPlugin,
        version: &Version,
    ) -> Result<(PublishedVersion, VersionDetails), Failure> {
        let name = &plugin.entry.name;
        let component = Component::Plugin(name.clone());
        let damaged = |failure: Failure| match plugin.damage() {
            Some(damage) => failure.because(format!("{name} {version} is damaged: {damage}")),
            None => failure,
        };
        let catalog = self.planning.published(&component, Some(version)).await.map_err(damaged)?;
        let found = catalog.listing().find_version(version).map_err(|error| lookup_failure(&component, &error));
        let found = found.map_err(damaged)?.clone();
        let details = catalog.details(self.context, &found).await.map_err(damaged)?;
        Ok((found, details))
    }
}

/// Returns whether the active version is one that was requested.
fn accepts(request: &Request, active: &Version) -> bool {
    match request {
        Request::Newest | Request::NewestOfAll => true,
        Request::Exact(version) => version == active,
        Request::Major(major) => *major == active.major(),
    }
}

/// Returns whether a person requested another major version than the active one.
fn is_other_major(plugin: &InstalledPlugin, request: &Request) -> bool {
    matches!(request, Request::Major(_)) && plugin.version().is_some_and(|active| !accepts(request, &active))
}

/// Returns the tag of a version that is in the store with the content of its receipt.
fn intact_tag(plugin: &InstalledPlugin, version: &Version) -> Option<Tag> {
    let stored = plugin.entry.versions.iter().find(|stored| stored.version == *version)?;
    plugin.store.is_intact(&plugin.entry.name, &stored.tag).then(|| stored.tag.clone())
}

/// Returns the installed plugins that the requested ones need after the plan, also through others, with the chain that
/// leads to each. Plugins that are requested or changed themselves are left out.
fn needed(
    planning: &Planning<'_>,
    snapshot: &Snapshot,
    plan: &Plan,
    requests: &BTreeMap<PluginName, Request>,
) -> BTreeMap<PluginName, Vec<Component>> {
    let mut needed = BTreeMap::new();
    let mut seen: BTreeSet<Component> = requests.keys().cloned().map(Component::Plugin).collect();
    let mut open: Vec<Vec<Component>> = seen.iter().map(|component| vec![component.clone()]).collect();
    while let Some(chain) = open.pop() {
        let last = chain.last();
        let Some(dependencies) = last.and_then(|last| dependencies(planning, snapshot, plan, last)) else { continue };
        for dependency in dependencies.all().iter().filter(|dependency| dependency.mandatory) {
            let Component::Plugin(name) = &dependency.component else { continue };
            if !seen.insert(dependency.component.clone()) {
                continue;
            }
            let chain: Vec<Component> = chain.iter().chain([&dependency.component]).cloned().collect();
            if plan.changes.iter().all(|change| change.component != dependency.component) {
                needed.insert(name.clone(), chain.clone());
            }
            open.push(chain);
        }
    }
    needed
}

/// Returns what a component depends on after the plan, if that is known.
fn dependencies(
    planning: &Planning<'_>,
    snapshot: &Snapshot,
    plan: &Plan,
    component: &Component,
) -> Option<Dependencies> {
    if let Some(change) = plan.changes.iter().find(|change| change.component == *component) {
        let details = planning.details(component, &change.to.version)?;
        return Dependencies::read(&details.contract.requirements.plugins).ok();
    }
    match &snapshot.installed.get(component)?.contract {
        InstalledContract::Known(dependencies) => Some(dependencies.clone()),
        InstalledContract::Unreadable(_) => None,
    }
}

/// Returns the failure when the active version may not be installed again.
fn refused(name: &PluginName, version: &Version, reasons: &[Reason]) -> Failure {
    let failure = Failure::new(Code::Refused, format!("{name} {version} may not be installed on this machine"));
    reasons.iter().map(explain::to_person).fold(failure, Failure::because)
}

/// Returns the failure when no file names the version that was active, so that installing any version is a change.
/// `skipped` are the versions that may not be installed.
fn unknown_version(plugin: &InstalledPlugin, skipped: &[PassedOver]) -> Failure {
    let name = &plugin.entry.name;
    let code = skipped.first().map_or(Code::Failed, |(_, verdict)| verdict.class().into());
    let failure = Failure::new(code, format!("{name} cannot be installed again: no file names its version"));
    let (failure, cause) = match plugin.damage() {
        Some(damage) => (
            failure.because(format!("{name} is damaged: {damage}")),
            "the receipt and the contract are missing or damaged, too",
        ),
        None => (failure, "another tool installed it, without a contract that names the version"),
    };
    let reasons = skipped.first().into_iter().flat_map(|(_, verdict)| verdict.reasons());
    reasons.map(explain::to_person).fold(failure, Failure::because).advise(
        cause,
        format!("choose a version in `d8 plugins why {name}`, then: `d8 plugins install {name} --version VERSION`"),
    )
}
