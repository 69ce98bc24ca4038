//! `d8 cli check`: shows whether a newer version is available and permitted.

use d8_crds::decisions::{
    explain::{self, Listed},
    plan::{Outcome, Request},
    verdict::Class,
};
use serde::Serialize;

use super::choice::D8Planning;
use crate::{
    args,
    context::Context,
    running_d8::RunningD8,
    terminal::{failure::Failure, output},
    version::PRODUCT,
};

/// The JSON document (`docs/self-update.md`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UpdateReport {
    current: String,
    /// Why policies forbid the current version.
    #[serde(skip_serializing_if = "Option::is_none")]
    forbidden: Option<Listed>,
    /// The version that `d8 cli update` would switch to.
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<String>,
    /// Newer versions that are not permitted or do not fit.
    passed_over: Vec<SkippedVersion>,
}

#[derive(Serialize)]
struct SkippedVersion {
    version: String,
    verdict: Class,
    reasons: Vec<Listed>,
}

/// Runs the command. Returns whether `d8 cli update` would change the version.
pub(crate) async fn run(context: &Context, args: &args::SelfCheckArgs) -> Result<bool, Failure> {
    let d8 = RunningD8::locate(context)?;
    let current = d8.current()?;
    let mut planning = D8Planning::fetch(context, &d8, &current, None).await?;
    let outcome = planning.plan(Request::NewestOfAll).await?;
    let available = match &outcome {
        Outcome::Take { version, .. } => {
            planning.note_untested(&version.version);
            Some(version.tag.to_string())
        }
        _ => None,
    };
    let passed_over = outcome.passed_over().iter().map(|(published, verdict)| SkippedVersion {
        version: published.tag.to_string(),
        verdict: verdict.class(),
        reasons: verdict.reasons().iter().cloned().map(Listed).collect(),
    });
    let forbidden = planning.forbidden().map(Listed);
    let report =
        UpdateReport { current: current.to_string(), forbidden, passed_over: passed_over.collect(), available };
    let newer = report.available.is_some();
    output::print_document(args.output.format, &report, &report.available, |report| {
        report.lines().iter().for_each(output::print);
    })?;
    Ok(newer)
}

impl UpdateReport {
    fn lines(&self) -> Vec<String> {
        let Self { current, forbidden, available, passed_over } = self;
        let first = match (forbidden, available) {
            (None, Some(newer)) => {
                format!("A newer {PRODUCT} is available: {newer} (current: {current}). Run 'd8 cli update' to upgrade.")
            }
            (None, None) if passed_over.is_empty() => format!("{PRODUCT} is up to date ({current})."),
            (None, None) => format!("No newer {PRODUCT} can be installed on this machine now (current: {current})."),
            (Some(_), Some(other)) => {
                let left = "it must be replaced, and still runs";
                format!("{PRODUCT} {current} is no longer permitted: {left}. Run 'd8 cli update' to switch to {other}.")
            }
            (Some(_), None) => {
                format!(
                    "{PRODUCT} {current} is no longer permitted. It still runs, because no other version is available."
                )
            }
        };
        let why = forbidden.iter().map(|Listed(reason)| explain::in_list(reason));
        let skipped = passed_over.iter().flat_map(|SkippedVersion { version, reasons, .. }| {
            reasons.iter().map(move |Listed(reason)| format!("Skipped {version}: {}", explain::in_list(reason)))
        });
        std::iter::once(first).chain(why).chain(skipped).collect()
    }
}
