//! `d8 fleet status`: what managed hosts run, and what holds newer versions back.

use d8_crds::decisions::fleet::Fleet;
use serde::Serialize;

use super::{Observation, csv, text};
use crate::{
    args::{self, FleetFormat},
    context::Context,
    terminal::{
        failure::Failure,
        output::{self, OutputFormat},
    },
};

/// The JSON document (`docs/fleet.md`).
#[derive(Debug, Serialize)]
struct FleetDocument {
    /// Name of the cluster.
    cluster: String,
    #[serde(flatten)]
    fleet: Fleet,
}

pub(crate) async fn run(context: &Context, args: &args::FleetStatusArgs) -> Result<(), Failure> {
    let observation = Observation::read(context, &args.selection).await?;
    let fleet = observation.fleet(context);
    match args.format {
        FleetFormat::Table if fleet.hosts.is_empty() => {
            context.printer.note("No hosts were found. Enrol one: `d8 host enroll NAME`");
        }
        FleetFormat::Table if args.wide => text::print_matrix(&fleet),
        FleetFormat::Table => text::print_summary(&fleet),
        FleetFormat::Csv => output::print_raw(csv::table(&fleet).as_bytes()),
        FleetFormat::Json => {
            let document = FleetDocument { cluster: context.cluster_name(), fleet };
            output::print_document(OutputFormat::Json, &document, [""; 0], |_| {})?;
        }
    }
    Ok(())
}
