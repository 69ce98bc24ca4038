//! `d8 host …`: creates, lists, rotates and revokes the identities of managed hosts.

pub(crate) mod enroll;
pub(crate) mod list;
pub(crate) mod revoke;
pub(crate) mod rotate;

mod enrolment_file;

use d8_agent::cluster::IdentityError;
use d8_crds::values::host_name::NAMESPACE;

use crate::{
    context::Context,
    terminal::failure::{Code, Failure},
};

/// Turns an [`IdentityError`] into a failure.
fn identity_failure(context: &Context, error: &IdentityError) -> Failure {
    let failed = |code| Failure::new(code, error.to_string());
    match error {
        IdentityError::Enrolled(host) => failed(Code::Failed).advise(
            "a CliHost of this name exists",
            format!("make a new file for it: `d8 host rotate {host}`; or delete it: `d8 host revoke {host}`"),
        ),
        IdentityError::NotEnrolled(host) => failed(Code::Failed).advise(
            "no CliHost has this name",
            format!("list the hosts: `d8 host list`; or enrol it: `d8 host enroll {host}`"),
        ),
        IdentityError::NoNamespace => failed(Code::Failed).advise(
            format!("the chart of d8-operator creates namespace {NAMESPACE}, and it is not installed or too old"),
            "upgrade the chart, see docs/fleet.md: `helm list --all-namespaces --filter d8-operator`",
        ),
        IdentityError::OtherIdentity { host, .. } => failed(Code::Failed).advise(
            "it was not made by `d8 host enroll NAME`, which names that ServiceAccount",
            format!("look at it: `kubectl get clihost {host} -o yaml`"),
        ),
        IdentityError::NoToken(_) => failed(Code::Failed)
            .advise("this API server issues no tokens", "`kubectl create token --help` shows what it needs"),
        IdentityError::Request { source, .. } => request_failure(context, error, source),
    }
}

fn request_failure(context: &Context, error: &IdentityError, source: &kube::Error) -> Failure {
    let failed = |code| Failure::new(code, error.to_string()).caused_by(source);
    match d8_agent::cluster::status_code(source) {
        Some(403) => failed(Code::Unreachable).advise(
            "managing hosts needs ClusterRole d8:cli:policy-admin, and Role d8:cli:host-admin in namespace d8-cli-hosts",
            "a cluster admin binds both to you: `kubectl create clusterrolebinding d8-policy-admin \
             --clusterrole=d8:cli:policy-admin --user=NAME`, then `kubectl -n d8-cli-hosts create rolebinding \
             d8-host-admin --role=d8:cli:host-admin --user=NAME`",
        ),
        Some(_) => failed(Code::Failed),
        None => match d8_rpp::Error::of_cluster(&context.server(), source) {
            Some(known) => Failure::from(known),
            None => failed(Code::Unreachable)
                .advise("the API server does not answer", "check it: `kubectl cluster-info`"),
        },
    }
}
