//! `d8 cli update`: switches d8 to the newest permitted version, or to a given one.

use std::collections::BTreeSet;

use d8_crds::{
    decisions::{explain, intent::Intent, plan::PassedOver, selection::PublishedVersion},
    values::{name::Component, version::Version},
};

use super::{
    choice::{Choice, D8Planning},
    switch::{BinarySource, PolicySource, Switch, SwitchOutcome},
};
use crate::{
    args,
    context::Context,
    planning::messages::{note_skipped, parse_version, refused_failure},
    running_d8::{CurrentVersion, RunningD8},
    terminal::{failure::Failure, output},
    version::PRODUCT,
};

pub(crate) async fn run(context: &Context, args: &args::SelfUpdateArgs) -> Result<(), Failure> {
    let named = args.version.as_deref().map(|typed| parse_version(&Component::D8, typed)).transpose()?;
    let d8 = RunningD8::locate(context)?;
    let path_entry = d8.replaceable_path_entry(context)?;
    let current = d8.current()?;
    let planning = D8Planning::fetch(context, &d8, &current, named.as_ref()).await?;
    let mut planning = planning.allow_ungoverned(args.allow_ungoverned);
    let mut noted = BTreeSet::new();
    loop {
        let chosen = choose(context, &mut planning, &current, named.as_ref(), &mut noted).await?;
        let Some((published, intent)) = chosen else {
            output::print(format!("{PRODUCT} is already at {current}."));
            return Ok(());
        };
        let PublishedVersion { tag, version, .. } = published.clone();
        if args.dry_run {
            if !args.allow_ungoverned {
                planning.note_untested(&version);
            }
            output::print(format!("Would switch {PRODUCT} from {current} to {tag}."));
            return Ok(());
        }
        let switch = Switch {
            d8: &d8,
            path_entry: path_entry.clone(),
            current: current.clone(),
            tag: tag.clone(),
            version: version.clone(),
            intent,
            source: BinarySource::Proxy(&planning, published),
            policies: PolicySource::Cluster(&planning),
            allow_ungoverned: args.allow_ungoverned,
        };
        match switch.run(context).await? {
            SwitchOutcome::Switched(report) => {
                report.print(context, &d8);
                return Ok(());
            }
            // Without a name, the next newest version is tried.
            SwitchOutcome::PolicyUnaware(_) if named.is_none() && planning.add_policy_unaware(&version) => {}
            SwitchOutcome::PolicyUnaware(verdict) => return Err(refused_failure(&Component::D8, &tag, &verdict)),
        }
    }
}

/// Chooses the version to switch to; `None` to keep the current one. Prints the versions that were skipped, except those
/// in `noted`, and adds them there.
async fn choose(
    context: &Context,
    planning: &mut D8Planning<'_>,
    current: &CurrentVersion,
    named: Option<&Version>,
    noted: &mut BTreeSet<Version>,
) -> Result<Option<(PublishedVersion, Intent)>, Failure> {
    let mut note = |mut skipped: Vec<PassedOver>| {
        skipped.retain(|(published, _)| noted.insert(published.version.clone()));
        note_skipped(context, &Component::D8, &skipped);
    };
    match named {
        Some(version) if current.is(version) => {
            warn_if_forbidden(planning, current);
            return Ok(None);
        }
        Some(version) => return Ok(Some((planning.choose_named(version).await?, Intent::Explicit))),
        None => {}
    }
    match planning.choose_newest(current).await? {
        Choice::Switch { version, skipped } => {
            note(skipped);
            Ok(Some((version, Intent::Update)))
        }
        Choice::Keep { skipped } => {
            note(skipped);
            if warn_if_forbidden(planning, current) {
                output::warn("no other version is available; see: `d8 cli check`");
            }
            Ok(None)
        }
    }
}

/// Warns if policies forbid the current version. Returns whether they do.
fn warn_if_forbidden(planning: &D8Planning<'_>, current: &CurrentVersion) -> bool {
    let forbidden = planning.forbidden();
    if let Some(reason) = &forbidden {
        output::warn(format!("{PRODUCT} {current} is no longer permitted: {}", explain::to_person(reason)));
    }
    forbidden.is_some()
}
