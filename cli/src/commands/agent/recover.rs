//! `d8 agent recover`: goes back to the d8 before the last switch of the agent. The service manager runs it if the agent
//! did not start, with the d8 before the switch: `<root>/cli/recovery agent recover`.

use d8_agent::enrolled_host::EnrolledHostState;

use super::own_d8::{OnTrial, TrialFailure, no_trial};
use crate::{args, context::Context, terminal::failure::Failure};

pub(crate) async fn run(context: &Context, place: &args::AgentPlaceArgs) -> Result<(), Failure> {
    let state = EnrolledHostState::at(&place.state_dir);
    let Some(trial) = OnTrial::find(context)? else { return Err(no_trial()) };
    trial.revert(context, &state, TrialFailure::NoStart).await
}
