//! `d8 agent …`: makes this machine a managed host, and keeps it on its policies.

pub(crate) mod join;
pub(crate) mod once;
pub(crate) mod plan;
pub(crate) mod recover;
pub(crate) mod retry;
pub(crate) mod run;
pub(crate) mod status;

mod changes;
mod component_table;
mod host_record;
mod own_d8;
mod policy_watch;
mod tick;

use d8_agent::enrolled_host::{AgentLock, EnrolledHostState};

use self::host_record::{not_managed, state_failure};
use crate::terminal::failure::{Code, Failure};

/// Makes this process the agent of the host.
///
/// # Errors
/// The machine is not a managed host (3), or another process is its agent (1).
fn lock(state: &EnrolledHostState) -> Result<AgentLock, Failure> {
    let failure = |error| state_failure(state.directory(), &error);
    if state.read().map_err(failure)?.is_none() {
        return Err(not_managed());
    }
    state.lock().map_err(failure)?.ok_or_else(|| {
        Failure::new(Code::Failed, "another process is the agent of this host").advise(
            "systemd runs it, or somebody else does",
            "see what it does: `d8 agent status`; or stop it: `systemctl stop d8-agent`",
        )
    })
}
