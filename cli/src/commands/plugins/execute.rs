//! Executes requests of `d8 plugins install` and `d8 plugins update`: plans the changes and applies them.

use std::{collections::BTreeMap, sync::Arc};

use d8_agent::cluster::ClusterView;
use d8_crds::{
    decisions::{
        plan::{ChangeReason, Outcome, Plan, PlannedChange, PreviousVersion, Request},
        verdict::PolicySet,
    },
    values::name::{Component, PluginName},
};
use futures::{StreamExt as _, stream};

use super::{
    report::{self, ChangeResults},
    transaction::{self, Applied, Operation, Transaction},
};
use crate::{
    context::Context,
    installed,
    planning::Planning,
    terminal::{
        failure::{Code, Failure},
        progress::Progress,
    },
};

/// Maximum number of plans. A new plan is needed when another process changed a plugin first; each time one of these
/// processes finishes, so many processes can run at once.
const MAX_PLANS: usize = 16;

/// Maximum number of parallel transactions.
const MAX_TRANSACTIONS: usize = 8;

/// Options of an execution.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command")]
pub(super) struct ExecuteOptions {
    /// Reinstall versions that are already active.
    pub(super) force: bool,
    /// Report the changes without making them.
    pub(super) dry_run: bool,
    /// Refuse changes of plugins that were not requested.
    pub(super) no_dependencies: bool,
    /// Continue after a failure. Otherwise a request that is refused prevents all changes.
    pub(super) keep_going: bool,
}

/// Executes requests. `policies` are those of the view.
///
/// # Errors
/// A failure that concerns all requests, or without `keep_going` the first failure.
pub(super) async fn execute(
    context: &Context,
    view: &ClusterView,
    policies: &Arc<PolicySet>,
    mut requests: BTreeMap<PluginName, Request>,
    options: ExecuteOptions,
) -> Result<ChangeResults, Failure> {
    let mut results = ChangeResults::default();
    for _ in 0..MAX_PLANS {
        let transactions = plan(context, view, policies, &requests, options, &mut results).await?;
        if options.dry_run {
            for operation in transactions.iter().flat_map(|transaction| &transaction.operations) {
                results.insert(operation.name.clone(), Ok(report::dry_run(&operation.change)));
            }
            return Ok(results);
        }
        requests = apply_all(context, transactions, &requests, options.keep_going, &mut results).await?;
        if requests.is_empty() {
            return Ok(results);
        }
        context.printer.note("another process changed some of the plugins; planning again");
    }
    let names: Vec<&str> = requests.keys().map(PluginName::as_str).collect();
    Err(Failure::new(Code::Failed, format!("other processes keep changing {}", names.join(", ")))
        .advise("several updates run at the same time", "wait until they end, then run the command again"))
}

/// Plans the requests, prints the plan, and adds the results of plugins that do not change. Returns the changes.
async fn plan(
    context: &Context,
    view: &ClusterView,
    policies: &Arc<PolicySet>,
    requests: &BTreeMap<PluginName, Request>,
    options: ExecuteOptions,
    results: &mut ChangeResults,
) -> Result<Vec<Transaction>, Failure> {
    let mut planning = Planning::of_plugins(context, view.clone(), policies.clone())?;
    let by_component = requests.iter().map(|(name, request)| (name.clone().into(), request.clone())).collect();
    let (snapshot, plan) = planning.plan(by_component, options.no_dependencies).await;
    report::add_unchanged(context, &planning, &plan, results);
    if !options.keep_going
        && let Some(failure) = results.take_failure()
    {
        return Err(failure);
    }
    report::print_plan(context, &plan);
    let mut transactions = transaction::transactions(&planning, &snapshot, &plan)?;
    transactions.extend(reinstallations(context, &planning, &plan, options.force).await?);
    Ok(transactions)
}

/// Applies transactions and adds their results. Returns the requests that must be planned again.
async fn apply_all(
    context: &Context,
    transactions: Vec<Transaction>,
    requests: &BTreeMap<PluginName, Request>,
    keep_going: bool,
    results: &mut ChangeResults,
) -> Result<BTreeMap<PluginName, Request>, Failure> {
    let progress = &Progress::new(context.printer);
    let parallel = if keep_going { MAX_TRANSACTIONS } else { 1 };
    let applied = stream::iter(transactions).map(async |transaction| {
        let result = transaction.apply(context, progress).await;
        (transaction, result)
    });
    let applied: Vec<(Transaction, Result<Applied, Failure>)> = applied.buffered(parallel).collect().await;
    let mut conflicts = BTreeMap::new();
    for (transaction, result) in applied {
        match result {
            Ok(Applied::Committed(outcomes)) => {
                for outcome in outcomes {
                    let line = report::changed(&outcome, transaction.reason_for(&outcome.name));
                    results.insert(outcome.name, Ok(line));
                }
            }
            Ok(Applied::Conflict) => conflicts.extend(transaction.requests_among(requests)),
            Err(failure) if !keep_going => return Err(failure),
            Err(failure) => {
                for (name, _) in transaction.requests_among(requests) {
                    results.insert(name, Err(failure.clone()));
                }
            }
        }
    }
    Ok(conflicts)
}

impl Transaction {
    /// Returns why this transaction changes a plugin.
    fn reason_for(&self, name: &PluginName) -> &ChangeReason {
        let operation = self.operations.iter().find(|operation| operation.name == *name);
        operation.map_or(&ChangeReason::Requested, |operation| &operation.change.why)
    }

    /// Returns the requests that this transaction fulfils.
    fn requests_among(&self, requests: &BTreeMap<PluginName, Request>) -> Vec<(PluginName, Request)> {
        let names = self.operations.iter().map(|operation| &operation.name);
        names.filter_map(|name| Some((name.clone(), requests.get(name)?.clone()))).collect()
    }
}

/// Returns transactions that reinstall the requested versions that are already active: the damaged ones, or all.
async fn reinstallations(
    context: &Context,
    planning: &Planning<'_>,
    plan: &Plan,
    all: bool,
) -> Result<Vec<Transaction>, Failure> {
    let mut transactions = Vec::new();
    for (component, outcome) in &plan.outcomes {
        let (Component::Plugin(name), Outcome::AlreadyActive { version, .. }) = (component, outcome) else { continue };
        if !all && !installed::find(context, name)?.is_some_and(|plugin| plugin.is_broken()) {
            continue;
        }
        let Some(catalog) = planning.catalog(component) else { continue };
        let details = catalog.details(context, version).await?;
        let change = PlannedChange {
            component: component.clone(),
            from: PreviousVersion::Version(version.version.clone()),
            to: version.clone(),
            why: ChangeReason::Requested,
            warnings: Vec::new(),
        };
        transactions
            .push(Transaction { operations: vec![Operation { name: name.clone(), change, details, force: true }] });
    }
    Ok(transactions)
}
