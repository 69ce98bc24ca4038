//! `d8 cli check`: is there something newer, and may it be had.

use d8_crds::{
    select::{Choice, Nothing},
    verdict::{Class, Reason},
};
use serde::Serialize;

use crate::{
    args,
    context::Context,
    failure::{Code, Failure},
    output,
    own::{Own, PRODUCT, select::Known},
};

/// The document's shape (`docs/self-update.md`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    current: String,
    /// The newest that may be had, if it is newer than what is current.
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<String>,
    /// Newer ones that may not.
    passed_over: Vec<PassedOver>,
}

#[derive(Serialize)]
struct PassedOver {
    version: String,
    verdict: Class,
    reasons: Vec<Reason>,
}

/// Whether there is something newer to move to; `--exit-code` makes that 100.
pub(crate) async fn run(context: &Context, args: &args::CliCheck) -> Result<bool, Failure> {
    let own = Own::find(context)?;
    let current = own.current()?;
    let known = Known::fetch(context, None).await?;
    let chosen = known.choose(context, &own, &current).await?;
    let available = match &chosen {
        Choice::Install { version, .. } => Some(version.tag.to_string()),
        Choice::Nothing { why: Nothing::NotPublished, .. } => return Err(nothing_published()),
        _ if known.catalog.listing().published.is_empty() => return Err(nothing_published()),
        _ => None,
    };
    let passed_over = chosen.passed_over().iter().map(|(published, judgement)| PassedOver {
        version: published.tag.to_string(),
        verdict: judgement.class(),
        reasons: judgement.reasons().to_vec(),
    });
    let document = Document { current: current.shown(), passed_over: passed_over.collect(), available };
    let newer = document.available.is_some();
    if let Some(format) = args.output.output {
        let names: Vec<String> = document.available.iter().cloned().collect();
        output::document(format, &document, &names)?;
        return Ok(newer);
    }
    let Document { current, available, passed_over } = &document;
    output::result(match available {
        Some(newer) => {
            format!("A newer {PRODUCT} is available: {newer} (current: {current}). Run 'd8 cli update' to upgrade.")
        }
        None => format!("{PRODUCT} is up to date ({current})."),
    });
    for PassedOver { version, reasons, .. } in passed_over {
        for reason in reasons {
            output::result(format!("{version} is passed over: {}", reason.message));
        }
    }
    Ok(newer)
}

/// The proxy or the record knows of no version at all.
pub(crate) fn nothing_published() -> Failure {
    Failure::new(Code::Failed, format!("no version of {PRODUCT} is published"))
        .advise("the cluster's registry has none, or none that is stable", "see all tags: d8 cli versions")
}
