//! `d8 host rotate`: revokes the tokens of a managed host and issues a new one.

use d8_agent::cluster::HostIdentity;

use super::{enrolment_file::EnrolmentFile, identity_failure};
use crate::{
    args,
    context::Context,
    terminal::{failure::Failure, output},
};

pub(crate) async fn run(context: &Context, args: &args::HostRotateArgs) -> Result<(), Failure> {
    let file = EnrolmentFile::plan(&args.name, &args.file)?;
    let client = &context.cluster().await?.client;
    let token = HostIdentity::new(client, &args.name).rotate(args.file.valid_for).await;
    let token = token.map_err(|error| identity_failure(context, &error))?;
    output::print(format!("Revoked the tokens of {}.", args.name));
    file.write(context, token).await
}
