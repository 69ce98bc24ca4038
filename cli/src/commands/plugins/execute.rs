//! Executes requests of `d8 plugins install` and `d8 plugins update`: plans the changes and applies them.

use std::{collections::BTreeMap, sync::Arc};

use d8_agent::{Activation, cluster::ClusterView};
use d8_crds::{
    decisions::{
        plan::{ChangeReason, Request},
        verdict::PolicySet,
    },
    values::name::PluginName,
};
use futures::{StreamExt as _, stream};

use super::{
    newer_major,
    options::ExecuteOptions,
    repair,
    report::{self, ChangeResults},
    transaction::{self, Applied, Operation, OperationKind, Transaction},
};
use crate::{
    context::Context,
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

/// The execution of requests. `policies` are those of the view.
pub(in crate::commands) struct Execution<'a> {
    pub(in crate::commands) context: &'a Context,
    pub(in crate::commands) view: ClusterView,
    pub(in crate::commands) policies: Arc<PolicySet>,
    pub(in crate::commands) options: ExecuteOptions,
}

impl Execution<'_> {
    /// Executes requests.
    ///
    /// # Errors
    /// A failure that concerns all requests, or of `install` the first failure.
    pub(in crate::commands) async fn run(
        &self,
        mut requests: BTreeMap<PluginName, Request>,
    ) -> Result<ChangeResults, Failure> {
        let mut results = ChangeResults::default();
        for _ in 0..MAX_PLANS {
            let transactions = self.plan(&requests, &mut results).await?;
            if self.options.dry_run {
                for operation in transactions.iter().flat_map(|transaction| &transaction.operations) {
                    results.insert(operation.name.clone(), Ok(report::dry_run(operation)));
                }
                return Ok(results);
            }
            requests = self.apply(transactions, &requests, &mut results).await?;
            if requests.is_empty() {
                return Ok(results);
            }
            self.context.printer.note("another process changed some of the plugins; planning again");
        }
        let names: Vec<&str> = requests.keys().map(PluginName::as_str).collect();
        Err(Failure::new(Code::Failed, format!("other processes keep changing {}", names.join(", ")))
            .advise("several updates run at the same time", "wait until they end, then run the command again"))
    }

    /// Plans the requests, prints the plan, and adds the results of plugins that do not change. Returns the changes.
    async fn plan(
        &self,
        requests: &BTreeMap<PluginName, Request>,
        results: &mut ChangeResults,
    ) -> Result<Vec<Transaction>, Failure> {
        let (context, options) = (self.context, self.options);
        let mut planning = Planning::of_plugins(context, self.view.clone(), self.policies.clone())?;
        let by_component = requests.iter().map(|(name, request)| (name.clone().into(), request.clone())).collect();
        let (snapshot, plan) = planning.plan(by_component, options.no_dependencies).await;
        report::add_unchanged(context, &planning, &plan, options.is_update, results);
        report::print_warnings(&plan);
        let repairs = repair::plan(context, &mut planning, (&snapshot, &plan), requests, options, results).await?;
        if !options.is_update
            && let Some(failure) = results.take_failure()
        {
            return Err(failure);
        }
        report::print_plan(context, &plan);
        newer_major::note(context, &mut planning, &plan, requests, options.is_all);
        // Dependencies come first.
        let mut transactions = repairs;
        transactions.extend(transaction::transactions(&planning, &snapshot, &plan)?);
        Ok(transactions)
    }

    /// Applies transactions and adds their results. Returns the requests that must be planned again.
    async fn apply(
        &self,
        transactions: Vec<Transaction>,
        requests: &BTreeMap<PluginName, Request>,
        results: &mut ChangeResults,
    ) -> Result<BTreeMap<PluginName, Request>, Failure> {
        let (context, keep_going) = (self.context, self.options.is_update);
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
                Ok(Applied::Committed(outcomes)) => transaction.add_results(outcomes, results),
                Ok(Applied::Conflict) => conflicts.extend(transaction.requests_among(requests)),
                Err(failure) if !keep_going => return Err(failure),
                Err(failure) => transaction.add_failure(&failure, requests, results),
            }
        }
        Ok(conflicts)
    }
}

impl Transaction {
    /// Adds the lines that report what was changed.
    fn add_results(&self, outcomes: Vec<Activation>, results: &mut ChangeResults) {
        for outcome in outcomes {
            let operation = self.operations.iter().find(|operation| operation.name == outcome.name);
            let (kind, why) = operation.map_or((OperationKind::Switch, &ChangeReason::Requested), |operation| {
                (operation.kind, &operation.change.why)
            });
            let line = report::changed(&outcome, kind, why);
            results.insert(outcome.name, Ok(line));
        }
    }

    /// Adds the failure to the results of the requests that this transaction should have fulfilled, or of the plugins
    /// that it should have repaired for them.
    fn add_failure(&self, failure: &Failure, requests: &BTreeMap<PluginName, Request>, results: &mut ChangeResults) {
        let requested = self.operations.iter().filter(|operation| requests.contains_key(&operation.name));
        let mut failed: Vec<&Operation> = requested.collect();
        if failed.is_empty() {
            failed = self.operations.iter().collect();
        }
        for operation in failed {
            results.insert(operation.name.clone(), Err(failure.clone()));
        }
    }

    /// Returns the requests that this transaction fulfils.
    fn requests_among(&self, requests: &BTreeMap<PluginName, Request>) -> Vec<(PluginName, Request)> {
        let names = self.operations.iter().map(|operation| &operation.name);
        names.filter_map(|name| Some((name.clone(), requests.get(name)?.clone()))).collect()
    }
}
