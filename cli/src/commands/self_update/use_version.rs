//! `d8 cli use`: switches d8 to a version. Works offline if the version is in the store or is the running one.

use d8_agent::d8_store::PathEntry;
use d8_crds::{
    decisions::intent::Intent,
    values::{digest::Digest, name::Component, name::Tag, version::Version},
};

use super::{
    choice::{CachedPolicySets, D8Candidate, D8Planning},
    switch::{BinarySource, PolicySource, Switch, SwitchOutcome},
};
use crate::{
    args,
    context::Context,
    planning::messages::{parse_version, refused_failure},
    running_d8::{CurrentVersion, RunningD8},
    terminal::{failure::Failure, output},
    version::PRODUCT,
};

pub(crate) async fn run(context: &Context, args: &args::SelfUseArgs) -> Result<(), Failure> {
    let version = parse_version(&Component::D8, &args.version)?;
    let d8 = RunningD8::locate(context)?;
    let current = d8.current()?;
    let path_entry = d8.replaceable_path_entry(context)?;
    // If the store has no valid `current`, the switch creates it again.
    let is_linked = matches!(path_entry, PathEntry::Linked { .. });
    if is_linked && d8.active()?.is_some_and(|active| active.version == version) {
        output::print(format!("{PRODUCT} is already at {current}."));
        return Ok(());
    }
    let (intent, allow_ungoverned) = (Intent::Explicit, args.allow_ungoverned);
    let (cached, planning);
    let (tag, source, policies) = if let Some((tag, source, digests)) = local_source(&d8, &version)? {
        cached = CachedPolicySets::load(context)?;
        check_cached_policies(&d8, &cached, &current, &version, &tag, &digests)?;
        (tag, source, PolicySource::Cached(&cached))
    } else {
        let mut fetched = D8Planning::fetch(context, &d8, &current, Some(&version)).await?;
        fetched = fetched.allow_ungoverned(allow_ungoverned);
        let published = fetched.choose_named(&version).await?;
        planning = fetched;
        let source = BinarySource::Proxy(&planning, published.clone());
        (published.tag, source, PolicySource::Cluster(&planning))
    };
    let switch =
        Switch { d8: &d8, path_entry, current, tag: tag.clone(), version, intent, source, policies, allow_ungoverned };
    match switch.run(context).await? {
        SwitchOutcome::Switched(report) => {
            report.print(context, &d8);
            Ok(())
        }
        SwitchOutcome::PolicyUnaware(verdict) => Err(refused_failure(&Component::D8, &tag, &verdict)),
    }
}

/// Returns the tag, the source and the digests of a version that is in the store or running.
fn local_source<'a>(
    d8: &RunningD8,
    version: &Version,
) -> Result<Option<(Tag, BinarySource<'a>, Vec<Digest>)>, Failure> {
    if let Some(stored) = d8.store()?.find(version)? {
        let (tag, digests) = (stored.tag.clone(), stored.digests());
        return Ok(Some((tag, BinarySource::Store(Box::new(stored)), digests)));
    }
    let running = d8.release.as_ref().filter(|(_, running)| running == version);
    Ok(running.map(|(tag, _)| (tag.clone(), BinarySource::Running, Vec::new())))
}

/// Fails if the cached policies of a cluster forbid the version. The current one is only linked again, which is a repair.
fn check_cached_policies(
    d8: &RunningD8,
    cached: &CachedPolicySets<'_>,
    current: &CurrentVersion,
    version: &Version,
    tag: &Tag,
    digests: &[Digest],
) -> Result<(), Failure> {
    let active_digests = d8.active_digests()?;
    let candidate = D8Candidate {
        version,
        intent: if current.is(version) { Intent::Repair } else { Intent::Explicit },
        current,
        active_digests: &active_digests,
        stored: Some(digests),
        policy_unaware: None,
    };
    if let Some(verdict) = cached.without_policies(&candidate).filter(|verdict| !verdict.is_eligible()) {
        return Err(refused_failure(&Component::D8, tag, &verdict));
    }
    for (policies, verdict) in cached.evaluate(&candidate) {
        if !verdict.is_eligible() {
            return Err(refused_failure(&Component::D8, tag, &verdict).advise(
                format!("these are the policies of {} as of {:.0}", policies.server, policies.confirmed),
                format!("if they have changed, use the policies of the cluster: `d8 cli update --version {tag}`"),
            ));
        }
    }
    Ok(())
}
