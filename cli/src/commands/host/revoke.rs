//! `d8 host revoke`: ends the access of a managed host.

use d8_agent::cluster::HostIdentity;

use super::identity_failure;
use crate::{
    args,
    context::Context,
    terminal::{failure::Failure, output},
};

pub(crate) async fn run(context: &Context, args: &args::HostRevokeArgs) -> Result<(), Failure> {
    let client = &context.cluster().await?.client;
    let revoked = HostIdentity::new(client, &args.name).revoke().await;
    revoked.map_err(|error| identity_failure(context, &error))?;
    output::print(format!("Revoked {}. The API server refuses its tokens within a minute.", args.name));
    context.printer.note("plugins that are installed there stay as they are");
    Ok(())
}
