//! `d8 cli capabilities`: what this d8 can do that another may not. Asked of a candidate before it is
//! switched to, so it reads nothing and reaches nobody.

use serde::Serialize;

use crate::{args, failure::Failure, output, version};

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

pub(crate) fn run(args: &args::Capabilities) -> Result<(), Failure> {
    let document = Document { version: version::shown(), capabilities: [POLICY, FALLBACK] };
    let names = document.capabilities.map(str::to_owned);
    match args.output.output {
        // On one line.
        Some(args::Format::Json) => {
            output::result(serde_json::to_string(&document).unwrap_or_default());
            Ok(())
        }
        Some(format) => output::document(format, &document, &names),
        None => {
            names.iter().for_each(output::result);
            Ok(())
        }
    }
}
