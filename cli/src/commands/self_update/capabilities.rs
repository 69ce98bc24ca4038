//! `d8 cli capabilities`: what this d8 can do that another may not. Asked of a candidate before it is
//! switched to, so it reads nothing and reaches nobody.

use serde::Serialize;

use crate::{
    args,
    terminal::{
        failure::Failure,
        output::{self, OutputFormat},
    },
    version,
};

/// It obeys `PluginPolicy` v1alpha1.
pub(crate) const POLICY: &str = "policy/v1alpha1";

/// It hands commands that it has not to a fallback.
const FALLBACK: &str = "fallback/v1";

/// At most 200 characters as JSON: the first d8 that asked kept no more of what a candidate answers.
#[derive(Serialize)]
struct Document {
    version: String,
    capabilities: [&'static str; 2],
}

pub(crate) fn run(args: &args::SelfCapabilitiesArgs) -> Result<(), Failure> {
    let document = Document { version: version::display(), capabilities: [POLICY, FALLBACK] };
    if args.output.format == OutputFormat::Json {
        // On one line.
        output::print(serde_json::to_string(&document).unwrap_or_default());
        return Ok(());
    }
    let names = document.capabilities;
    output::print_document(args.output.format, &document, names, |_| names.iter().for_each(output::print))
}
