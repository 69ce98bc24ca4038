//! `d8 fleet report`: a fleet as one page that a browser shows without a network.

use std::path::Path;

use super::{Observation, html};
use crate::{
    args,
    context::Context,
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

pub(crate) async fn run(context: &Context, args: &args::FleetReportArgs) -> Result<(), Failure> {
    let observation = Observation::read(context, &args.selection).await?;
    let page = html::page(&observation.fleet(context), &context.cluster_name());
    if args.html == Path::new("-") {
        output::print_raw(page.as_bytes());
        return Ok(());
    }
    let path = args.html.display();
    d8_agent::replace_file(&args.html, page.as_bytes()).map_err(|error| {
        Failure::new(Code::Failed, format!("failed to write {path}")).caused_by(&error).advise(
            "the report is written beside the file and renamed",
            "name a file in another directory with `--html FILE`",
        )
    })?;
    output::print(format!("Wrote {path}: {} hosts.", observation.hosts.len()));
    Ok(())
}
