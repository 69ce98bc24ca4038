//! `d8 agent retry`: forgets changes that failed, so that the next tick tries them again.

use d8_agent::enrolled_host::EnrolledHostState;
use d8_crds::values::name::Component;

use super::host_record::{not_managed, state_failure};
use crate::{
    args,
    terminal::{failure::Failure, output},
};

pub(crate) fn run(args: &args::AgentRetryArgs) -> Result<(), Failure> {
    let state = EnrolledHostState::at(&args.place.state_dir);
    let failure = |error| state_failure(state.directory(), &error);
    if state.read().map_err(failure)?.is_none() {
        return Err(not_managed());
    }
    let mut failures = state.failures();
    let names: Vec<Component> = match &args.name {
        Some(name) => vec![name.clone()],
        None => failures.components().into_iter().collect(),
    };
    let forgotten: Vec<&Component> = names.iter().filter(|name| failures.forget(name)).collect();
    if forgotten.is_empty() {
        output::print("No change has failed here.");
        return Ok(());
    }
    state.save_failures(&failures).map_err(failure)?;
    let names: Vec<String> = forgotten.iter().map(ToString::to_string).collect();
    output::print(format!("The agent tries {} again with its next tick.", names.join(", ")));
    Ok(())
}
