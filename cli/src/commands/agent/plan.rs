//! `d8 agent plan`: what a tick of the agent would do now. Changes no plugin and no d8, and reports nothing.

use d8_agent::enrolled_host::EnrolledHostState;
use d8_crds::records::host::CliHostStatus;
use jiff::Timestamp;

use super::{component_table, tick::Tick};
use crate::{
    args,
    context::Context,
    terminal::{failure::Failure, output},
};

pub(crate) async fn run(context: &Context, place: &args::AgentPlaceArgs) -> Result<(), Failure> {
    let state = EnrolledHostState::at(&place.state_dir);
    let mut tick = Tick::begin(context, &state).await?;
    let plan = tick.plan().await?;
    let report = tick.record.report.status_now(&CliHostStatus::default(), 0, Timestamp::now());
    component_table::print_policies(report.policies.iter().map(|policy| policy.name.as_str()));
    component_table::print(&report.components);
    for operation in &plan.ahead {
        let (name, tag) = (&operation.name, &operation.change.to.tag);
        output::print(format!("{name} {tag} would be downloaded now, so that the switch needs no network"));
    }
    Ok(())
}
