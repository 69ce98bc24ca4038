//! `d8 agent join`: makes this machine a managed host.

use std::path::Path;

use d8_agent::{
    cluster::{self, HostIdentity, MAX_TOKEN_LIFE},
    enrolled_host::{EnrolledHost, EnrolledHostState},
    enrolment::{Enrolment, EnrolmentFileError},
};
use d8_crds::records::host::CliHost;
use d8_rpp::ClusterAccess;

use super::{
    host_record::{host_failure, not_enrolled, state_failure},
    own_d8,
};
use crate::{
    args,
    context::Context,
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

pub(crate) async fn run(context: &Context, args: &args::AgentJoinArgs) -> Result<(), Failure> {
    let enrolment = Enrolment::read(&args.file).map_err(|error| file_failure(&args.file, &error))?;
    let state = EnrolledHostState::at(&args.place.state_dir);
    check_other_identity(&state, &enrolment, args.replace)?;
    let access = ClusterAccess::of_text(enrolment.to_json().to_string())?;
    let client = access.client().await?;
    let host = enrolled(context, &client, &enrolment).await?;
    // The new token lives longer than the one in the file.
    let token = HostIdentity::new(&client, &enrolment.host).issue(MAX_TOKEN_LIFE).await;
    let token = token.map_err(|error| {
        Failure::new(Code::Unreachable, "failed to renew the token of the host").caused_by(&error).advise(
            "the chart of d8-operator is older than this d8, or its roles were removed",
            "ask an admin of the cluster: `kubectl -n d8-cli-hosts get rolebinding d8:cli:host`",
        )
    })?;
    let labels = host.metadata.labels.unwrap_or_default();
    let joined = EnrolledHost { name: enrolment.host.clone(), labels };
    state
        .save(&enrolment, &token, &joined, context.now)
        .map_err(|error| state_failure(&args.place.state_dir, &error))?;
    output::print(format!("This machine is host {} of {}.", enrolment.host, enrolment.cluster));
    if let Err(failure) = own_d8::seed(context).await {
        output::warn(format!("the agent will not keep d8 itself on policy: {}", failure.summary()));
    }
    context.printer.note(format!("remove {}: its token is valid until {:.0}", args.file.display(), enrolment.expires));
    context.printer.note("if the agent runs already, restart it with the new identity: `systemctl restart d8-agent`");
    Ok(())
}

/// Reads the `CliHost` of the host, as the host.
async fn enrolled(context: &Context, client: &kube::Client, enrolment: &Enrolment) -> Result<CliHost, Failure> {
    let host = &enrolment.host;
    match cluster::host(client, host.as_str()).await {
        Ok(Some(found)) if found.spec.identity == host.identity() => Ok(found),
        Ok(Some(found)) => {
            let headline = format!("host {host} belongs to {:?}, not to {}", found.spec.identity, host.identity());
            Err(Failure::new(Code::Refused, headline)
                .advise("the host was revoked and its name was used for something else", "ask an admin of the cluster"))
        }
        Ok(None) => Err(not_enrolled(host)),
        Err(error) => Err(host_failure(context, host, &error)),
    }
}

/// Fails if this machine is another host.
fn check_other_identity(state: &EnrolledHostState, enrolment: &Enrolment, replace: bool) -> Result<(), Failure> {
    let current = match state.read() {
        Ok(current) => current,
        Err(_) if replace => None,
        Err(error) => return Err(state_failure(state.directory(), &error)),
    };
    match current {
        Some(EnrolledHost { name, .. }) if name != enrolment.host && !replace => {
            Err(Failure::new(Code::Refused, format!("this machine is host {name} already")).advise(
                format!("it cannot be {} at the same time", enrolment.host),
                "if it shall be that one from now on, add `--replace`",
            ))
        }
        _ => Ok(()),
    }
}

fn file_failure(path: &Path, error: &EnrolmentFileError) -> Failure {
    let failure = Failure::new(Code::Failed, format!("cannot join with {}", path.display())).caused_by(error);
    match error {
        EnrolmentFileError::Readable { host, .. } => failure.advise(
            "somebody else may have copied its token",
            format!("ask an admin for another file, made after `d8 host rotate {host}`, and keep it with mode 0600"),
        ),
        EnrolmentFileError::Io(_) => failure,
        EnrolmentFileError::Other(_) => failure
            .advise("the file is another one, or it is damaged", "ask an admin for a file of `d8 host enroll NAME`"),
    }
}
