//! `d8 cli capabilities`: the capabilities of this d8. Another d8 asks for them before it switches to this one, so
//! the command reads no file and sends no request.

use serde::Serialize;

use crate::{
    args,
    terminal::{
        failure::Failure,
        output::{self, OutputFormat},
    },
    version,
};

/// Capability: enforces `PluginPolicy` v1alpha1.
pub(super) const POLICY: &str = "policy/v1alpha1";

/// Capability: forwards unknown commands to a fallback.
const FALLBACK: &str = "fallback/v1";

/// As JSON at most 200 characters: the first release that asked a candidate reads no more.
#[derive(Serialize)]
struct CapabilitiesReport {
    version: String,
    capabilities: [&'static str; 2],
}

pub(crate) fn run(args: &args::SelfCapabilitiesArgs) -> Result<(), Failure> {
    let report = CapabilitiesReport { version: version::display(), capabilities: [POLICY, FALLBACK] };
    if args.output.format == OutputFormat::Json {
        // On one line, for the reader that is limited to 200 characters.
        output::print(serde_json::to_string(&report).unwrap_or_default());
        return Ok(());
    }
    let names = report.capabilities;
    output::print_document(args.output.format, &report, names, |_| names.iter().for_each(output::print))
}
