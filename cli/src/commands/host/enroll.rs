//! `d8 host enroll`: creates the identity of a managed host.

use std::collections::BTreeMap;

use d8_agent::cluster::HostIdentity;

use super::{enrolment_file::EnrolmentFile, identity_failure};
use crate::{
    args,
    context::Context,
    terminal::{failure::Failure, output},
};

/// The label that every managed host has, and no other machine.
const MANAGED: (&str, &str) = ("cli.deckhouse.io/managed", "true");

pub(crate) async fn run(context: &Context, args: &args::HostEnrollArgs) -> Result<(), Failure> {
    let file = EnrolmentFile::plan(&args.name, &args.file)?;
    let own = (MANAGED.0.to_owned(), MANAGED.1.to_owned());
    let labels: BTreeMap<String, String> = args.labels.iter().cloned().chain([own]).collect();
    let client = &context.cluster().await?.client;
    let identity = HostIdentity::new(client, &args.name);
    let token =
        identity.create(labels, args.file.valid_for).await.map_err(|error| identity_failure(context, &error))?;
    output::print(format!("Enrolled {}.", args.name));
    file.write(context, token).await
}
