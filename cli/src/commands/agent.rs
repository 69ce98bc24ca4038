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

use std::time::Duration;

use d8_agent::enrolled_host::{AgentLock, EnrolledHostState};

use self::host_record::{not_managed, state_failure};
use crate::terminal::failure::{Code, Failure};

/// Kind of the failure when another process is the agent of the host.
const SECOND_AGENT: &str = "SecondAgent";

const LOCK_ATTEMPTS: u32 = 5;
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// Makes this process the agent of the host.
///
/// # Errors
/// The machine is not a managed host (3), or another process is its agent (1).
fn lock(state: &EnrolledHostState) -> Result<AgentLock, Failure> {
    let failure = |error| state_failure(state.directory(), &error);
    if state.read().map_err(failure)?.is_none() {
        return Err(not_managed());
    }
    // `d8 agent status` holds the lock for a moment.
    for _ in 0..LOCK_ATTEMPTS {
        if let Some(lock) = state.lock().map_err(failure)? {
            return Ok(lock);
        }
        std::thread::sleep(LOCK_INTERVAL);
    }
    Err(Failure::new(Code::Failed, "another process is the agent of this host").of_kind(SECOND_AGENT).advise(
        "systemd runs it, or somebody else does",
        "see what it does: `d8 agent status`; or stop it: `systemctl stop d8-agent`",
    ))
}
