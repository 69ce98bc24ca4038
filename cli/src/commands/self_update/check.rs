//! `d8 cli check`: is there something newer, and may it be had.

use d8_crds::decisions::{
    plan::{Outcome, Request},
    verdict::{Class, Reason},
};
use serde::Serialize;

use crate::{
    args,
    commands::self_update::select::{D8Planning, nothing_published},
    context::Context,
    running_d8::Own,
    terminal::{failure::Failure, output},
    version::PRODUCT,
};

/// The document's shape (`docs/self-update.md`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    current: String,
    /// Why the current one must be left, for an older one too.
    #[serde(skip_serializing_if = "Option::is_none")]
    leave: Option<Reason>,
    /// The newest that may be had, if it is newer than what is current or that must be left.
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
pub(crate) async fn run(context: &Context, args: &args::SelfCheckArgs) -> Result<bool, Failure> {
    let own = Own::find(context)?;
    let current = own.current()?;
    let mut planning = D8Planning::fetch(context, &own, &current, None).await?;
    let outcome = planning.choose(Request::NewestOfAll).await?;
    let available = match &outcome {
        Outcome::Take { version, .. } => Some(version.tag.to_string()),
        _ if planning.list().published.is_empty() => return Err(nothing_published()),
        _ => None,
    };
    let passed_over = outcome.passed_over().iter().map(|(published, verdict)| PassedOver {
        version: published.tag.to_string(),
        verdict: verdict.class(),
        reasons: verdict.reasons().to_vec(),
    });
    let leave = planning.must_leave();
    let document = Document { current: current.to_string(), leave, passed_over: passed_over.collect(), available };
    let newer = document.available.is_some();
    output::print_document(args.output.format, &document, &document.available, |document| {
        document.lines().iter().for_each(output::print);
    })?;
    Ok(newer)
}

impl Document {
    fn lines(&self) -> Vec<String> {
        let Self { current, leave, available, passed_over } = self;
        let first = match (leave, available) {
            (None, Some(newer)) => {
                format!("A newer {PRODUCT} is available: {newer} (current: {current}). Run 'd8 cli update' to upgrade.")
            }
            (None, None) => format!("{PRODUCT} is up to date ({current})."),
            (Some(_), Some(other)) => {
                format!("{PRODUCT} {current} may not stay. Run 'd8 cli update' to move to {other}.")
            }
            (Some(_), None) => format!("{PRODUCT} {current} may not stay, and there is no version to leave it for."),
        };
        let why = leave.iter().map(|reason| reason.message.clone());
        let others = passed_over.iter().flat_map(|PassedOver { version, reasons, .. }| {
            reasons.iter().map(move |reason| format!("{version} is passed over: {}", reason.message))
        });
        std::iter::once(first).chain(why).chain(others).collect()
    }
}
