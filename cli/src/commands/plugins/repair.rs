//! Repairs: installs the active versions of plugins again, because their files are damaged or because of `--force`.
//!
//! A repair installs the same version, so of the policies only `Deny`, `block` and one that cannot be decoded stop it.

use std::collections::{BTreeMap, BTreeSet};

use d8_crds::{
    decisions::{
        explain,
        plan::{
            ChangeReason, InstalledContract, Outcome, PassedOver, Plan, PlannedChange, PreviousVersion, Request,
            Snapshot,
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
    execute::ExecuteOptions,
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
pub(super) async fn plan(
    context: &Context,
    planning: &mut Planning<'_>,
    (snapshot, plan): (&Snapshot, &Plan),
    requests: &BTreeMap<PluginName, Request>,
    options: ExecuteOptions,
    results: &mut ChangeResults,
) -> Result<Vec<Transaction>, Failure> {
    let mut repairs = Repairs { context, planning, operations: Vec::new() };
    for (name, request) in requests {
        let component = Component::Plugin(name.clone());
        match plan.outcomes.get(&component) {
            Some(Outcome::Take { .. }) | None => {}
            Some(outcome) => repairs.add_requested(name, (request, outcome), options, results).await?,
        }
    }
    for (name, chain) in needed(snapshot, plan, requests) {
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
            None if options.force => OperationKind::Reinstall,
            None => {
                self.check_named(&plugin, request, results);
                return Ok(());
            }
        };
        let Some(version) = plugin.version() else {
            results.insert_if_success(name, unknown_version(&plugin, outcome.passed_over()));
            return Ok(());
        };
        let planned = self.operation(&plugin, &version, kind, ChangeReason::Requested).await;
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
                self.operation(&plugin, &version, OperationKind::Repair, why).await
            }
            None => Err(unknown_version(&plugin, &[])),
        };
        self.add(name, planned, results);
        Ok(())
    }

    /// Returns the operation that installs the active version of a plugin again.
    async fn operation(
        &mut self,
        plugin: &InstalledPlugin,
        version: &Version,
        kind: OperationKind,
        why: ChangeReason,
    ) -> Result<Operation, Failure> {
        let name = &plugin.entry.name;
        let component = Component::Plugin(name.clone());
        let verdict = self.planning.repair_verdict(&component, version);
        if !verdict.is_eligible() {
            return Err(refused(name, version, verdict.reasons()));
        }
        let (to, details) = match intact_tag(plugin, version) {
            Some(tag) if kind == OperationKind::Repair => {
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

/// Returns the tag of a version that is in the store with the content of its receipt.
fn intact_tag(plugin: &InstalledPlugin, version: &Version) -> Option<Tag> {
    let stored = plugin.entry.versions.iter().find(|stored| stored.version == *version)?;
    plugin.store.is_intact(&plugin.entry.name, &stored.tag).then(|| stored.tag.clone())
}

/// Returns the installed plugins that the requested ones need, also through others, with the chain that leads to each.
/// Plugins that are requested or changed themselves are left out.
fn needed(
    snapshot: &Snapshot,
    plan: &Plan,
    requests: &BTreeMap<PluginName, Request>,
) -> BTreeMap<PluginName, Vec<Component>> {
    let mut needed = BTreeMap::new();
    let mut seen: BTreeSet<Component> = requests.keys().cloned().map(Component::Plugin).collect();
    let mut open: Vec<Vec<Component>> = seen.iter().map(|component| vec![component.clone()]).collect();
    while let Some(chain) = open.pop() {
        let installed = chain.last().and_then(|component| snapshot.installed.get(component));
        let Some(InstalledContract::Known(dependencies)) = installed.map(|it| &it.contract) else { continue };
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
    let failure = plugin
        .damage()
        .into_iter()
        .fold(failure, |failure, damage| failure.because(format!("{name} is damaged: {damage}")));
    let reasons = skipped.first().into_iter().flat_map(|(_, verdict)| verdict.reasons());
    reasons.map(explain::to_person).fold(failure, Failure::because).advise(
        "the receipt and the contract are missing or damaged, too",
        format!("choose a version in `d8 plugins why {name}`, then: `d8 plugins install {name} --version VERSION`"),
    )
}
