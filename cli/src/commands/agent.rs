//! `d8 agent …`: makes this machine a managed host, and keeps it on its policies.

pub(crate) mod join;
pub(crate) mod once;
pub(crate) mod retry;
pub(crate) mod run;

mod policy_watch;
mod tick;

use std::path::Path;

use d8_agent::{cluster::ViewError, enrolled_host::EnrolledHostError};
use d8_crds::values::host_name::HostName;

use crate::{
    context::Context,
    terminal::failure::{Code, Failure},
};

/// Returns the failure when this machine was not enrolled.
fn not_managed() -> Failure {
    Failure::new(Code::Refused, "this machine is not a managed host").advise(
        "nobody ran `d8 agent join FILE` here",
        "an admin of the cluster makes a file: `d8 host enroll NAME`; then, here as root: `d8 agent join NAME.d8host`",
    )
}

/// Returns the failure when the host was revoked.
fn not_enrolled(host: &HostName) -> Failure {
    Failure::new(Code::Refused, format!("host {host} is not enrolled"))
        .advise("it was revoked", format!("ask an admin for another file: `d8 host enroll {host}`"))
}

/// Returns the failure when a host cannot read its `CliHost`.
fn host_failure(context: &Context, host: &HostName, error: &ViewError) -> Failure {
    if !matches!(error, ViewError::Unauthorized) {
        return context.view_failure(error);
    }
    Failure::new(Code::Unreachable, format!("the API server does not accept the token of {host}")).advise(
        "the token expired, or the host was rotated or revoked",
        format!("ask an admin for another file: `d8 host rotate {host}`"),
    )
}

fn state_failure(directory: &Path, error: &EnrolledHostError) -> Failure {
    Failure::new(Code::Failed, format!("cannot use {}", directory.display())).caused_by(error).advise(
        "the identity of a host belongs to root, and nobody else may change it",
        format!("run it as root, or look at it: `ls -la {}`", directory.display()),
    )
}
