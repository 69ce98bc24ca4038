//! `d8 agent once`: one tick of the agent.

use d8_agent::enrolled_host::EnrolledHostState;
use d8_crds::decisions::agent_report::HostReport;

use super::tick::Tick;
use crate::{
    args,
    context::Context,
    terminal::{failure::Failure, output, table::Table},
};

pub(crate) async fn run(context: &Context, args: &args::AgentOnceArgs) -> Result<(), Failure> {
    let state = EnrolledHostState::at(&args.state.state_dir);
    let report = Tick::begin(context, &state).await?.run(args.dry_run).await?;
    print(&report);
    Ok(())
}

fn print(report: &HostReport) {
    let names: Vec<&str> = report.policies.iter().map(|(name, _)| name.as_str()).collect();
    let names = if names.is_empty() { "none; nothing changes".to_owned() } else { names.join(", ") };
    output::print(format!("policies: {names}"));
    let mut table = Table::new(&["NAME", "ACTIVE", "TARGET", "STATE", "REASON", "MESSAGE"]);
    for (component, report) in &report.components {
        let version = |version: &Option<d8_crds::values::version::Version>| {
            version.as_ref().map(ToString::to_string).unwrap_or_default()
        };
        let (active, target, state) = (version(&report.active), version(&report.target), format!("{:?}", report.state));
        let (reason, message) = (report.reason.as_deref(), report.message.as_deref());
        table.row([
            component.name(),
            &active,
            &target,
            &state,
            reason.unwrap_or_default(),
            message.unwrap_or_default(),
        ]);
    }
    output::print_table(&table);
}
