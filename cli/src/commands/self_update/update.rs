//! `d8 cli update`: switches d8 to the newest permitted version, or to a given one.

use d8_crds::{
    decisions::{explain, intent::Intent},
    values::name::Component,
};

use super::{
    choice::{Choice, D8Planning},
    switch::{BinarySource, PolicySource, Switch},
};
use crate::{
    args,
    context::Context,
    planning::messages::{note_skipped, parse_version},
    running_d8::RunningD8,
    terminal::{failure::Failure, output},
    version::PRODUCT,
};

pub(crate) async fn run(context: &Context, args: &args::SelfUpdateArgs) -> Result<(), Failure> {
    let named = args.version.as_deref().map(|typed| parse_version(&Component::D8, typed)).transpose()?;
    let d8 = RunningD8::locate(context)?;
    let path_entry = d8.replaceable_path_entry(context)?;
    let current = d8.current()?;
    let mut planning = D8Planning::fetch(context, &d8, &current, named.as_ref()).await?;
    let (choice, intent) = match &named {
        Some(version) if current.is(version) => {
            output::print(format!("{PRODUCT} is already at {current}."));
            return Ok(());
        }
        Some(version) => {
            let version = planning.choose_named(version).await?;
            (Choice::Switch { version, skipped: Vec::new() }, Intent::Explicit)
        }
        None => (planning.choose_newest(&current).await?, Intent::Update),
    };
    let (Choice::Switch { skipped, .. } | Choice::Keep { skipped }) = &choice;
    note_skipped(context, &Component::D8, skipped);
    let Choice::Switch { version: published, .. } = choice else {
        if let Some(reason) = planning.forbidden() {
            output::warn(format!("{PRODUCT} {current} is no longer permitted: {}", explain::to_person(&reason)));
            output::warn("no other version is available; see: d8 cli check");
        }
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
