//! `d8 agent once`: one tick of the agent. It does not switch d8 itself: that takes an agent that goes on in the new d8.

use d8_agent::enrolled_host::EnrolledHostState;

use super::{component_table, tick::Tick};
use crate::{args, context::Context, terminal::failure::Failure};

pub(crate) async fn run(context: &Context, place: &args::AgentPlaceArgs) -> Result<(), Failure> {
    let state = EnrolledHostState::at(&place.state_dir);
    let _lock = super::lock(&state)?;
    let report = Box::pin(Tick::begin(context, &state).await?.run()).await?.report;
    component_table::print_policies(report.policies.iter().map(|policy| policy.name.as_str()));
    component_table::print(&report.components);
    Ok(())
}
