//! `d8 cli update`: switches d8 to the newest permitted version, or to a given one.

use d8_crds::{
    decisions::{explain, intent::Intent, selection::PublishedVersion},
    values::{name::Component, version::Version},
};

use super::{
    choice::{Choice, D8Planning},
    switch::{BinarySource, PolicySource, Switch},
};
use crate::{
    args,
    context::Context,
    planning::messages::{note_skipped, parse_version},
    running_d8::{CurrentVersion, RunningD8},
    terminal::{failure::Failure, output},
    version::PRODUCT,
};

pub(crate) async fn run(context: &Context, args: &args::SelfUpdateArgs) -> Result<(), Failure> {
    let named = args.version.as_deref().map(|typed| parse_version(&Component::D8, typed)).transpose()?;
    let d8 = RunningD8::locate(context)?;
    let path_entry = d8.replaceable_path_entry(context)?;
    let current = d8.current()?;
    let mut planning = D8Planning::fetch(context, &d8, &current, named.as_ref()).await?;
    let Some((published, intent)) = choose(context, &mut planning, &current, named.as_ref()).await? else {
        output::print(format!("{PRODUCT} is already at {current}."));
        return Ok(());
    };
    if args.dry_run {
        output::print(format!("Would switch {PRODUCT} from {current} to {}.", published.tag));
        return Ok(());
    }
    let switch = Switch {
        d8: &d8,
        path_entry,
        current,
        tag: published.tag.clone(),
        version: published.version.clone(),
        intent,
        source: BinarySource::Proxy(&planning, published),
        policies: PolicySource::Cluster(&planning),
        allow_ungoverned: args.allow_ungoverned,
    };
    switch.run(context).await?.print(context, &d8);
    Ok(())
}

/// Chooses the version to switch to; `None` to keep the current one. Prints the versions that were skipped.
async fn choose(
    context: &Context,
    planning: &mut D8Planning<'_>,
    current: &CurrentVersion,
    named: Option<&Version>,
) -> Result<Option<(PublishedVersion, Intent)>, Failure> {
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
            note_skipped(context, &Component::D8, &skipped);
            Ok(Some((version, Intent::Update)))
        }
        Choice::Keep { skipped } => {
            note_skipped(context, &Component::D8, &skipped);
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
