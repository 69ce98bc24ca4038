//! Carries a decision out: lock, look again, download, switch, say so.

use d8_agent::{Active, Change, Order, Outcome, Store};
use d8_crds::{
    name::{PluginName, Tag},
    version::Version,
};

use crate::{
    catalog::Offer,
    context::Context,
    failure::{Code, Failure},
    installed,
    progress::Progress,
};

/// The store that a change of this plugin goes to: where it is installed, else where it can be.
///
/// # Errors
/// A root that cannot be written to; insecure flags for a root that others share.
pub(crate) fn store_for(context: &Context, name: &PluginName) -> Result<Store, Failure> {
    let roots = context.roots();
    let store = match installed::find(context, name)? {
        Some(found) if !roots.is_explicit() => found.store,
        _ => roots.for_writing()?,
    };
    let insecure = context.global.rpp_insecure_skip_tls_verify || context.global.insecure_skip_tls_verify;
    let own = roots.home().is_some_and(|home| home == store.root());
    if insecure && !own {
        return Err(Failure::new(Code::Usage, format!("certificates must be verified for {}", store.root().display()))
            .advise("others run what is installed there", "leave the insecure flag out; see --rpp-ca-file"));
    }
    Ok(store)
}

/// What a change came to.
pub(crate) enum Applied {
    /// It was made.
    Done(Outcome),
    /// Another process changed the plugin meanwhile: the decision must be made again.
    Overtaken,
}

/// Makes one plugin what was decided. Looks again once it holds the lock: if what is active is not
/// what the decision was made for, nothing is changed.
///
/// # Errors
/// The store's and the proxy's; nothing is changed then.
pub(crate) async fn apply(
    context: &Context,
    name: &PluginName,
    offer: &Offer,
    decided_for: Option<&Version>,
    force: bool,
    progress: &Progress,
) -> Result<Applied, Failure> {
    let store = store_for(context, name)?;
    let mut locked = store.lock(std::slice::from_ref(name), context.global.lock_timeout, progress).await?;
    let entry = store.get(name)?;
    let active = match entry.as_ref().map(|entry| &entry.active) {
        Some(Active::Known(installed)) => Some(installed.version.clone()),
        Some(Active::Unknown { .. } | Active::Broken { .. }) => decided_for.cloned(),
        None => None,
    };
    if active.as_ref() != decided_for {
        return Ok(Applied::Overtaken);
    }
    let stored = entry.as_ref().is_some_and(|entry| entry.version(&offer.tag).is_some());
    let change = if stored && !force {
        Change::Relink { name: name.clone(), tag: offer.tag.clone() }
    } else {
        Change::Install(stage(context, &locked, name, offer, force, progress).await?)
    };
    let outcomes = locked.switch(vec![change], context.now, progress).await?;
    match outcomes.into_iter().next() {
        Some(outcome) => Ok(Applied::Done(outcome)),
        None => Err(Failure::new(Code::Failed, format!("{name}: nothing was switched"))),
    }
}

async fn stage(
    context: &Context,
    locked: &d8_agent::Locked,
    name: &PluginName,
    offer: &Offer,
    force: bool,
    progress: &Progress,
) -> Result<d8_agent::Staged, Failure> {
    let proxy = context.proxy().await?;
    let order = Order {
        name: name.clone(),
        tag: offer.tag.clone(),
        platform: context.platform.clone(),
        contract: offer.contract.clone(),
        expect_layer: offer.layer.clone(),
        manifest: offer.manifest.clone(),
        accept: None,
        force,
        source: proxy.host(),
        skipped_cluster_checks: context.skips_cluster_checks() && offer.contract.requirements.concern_cluster(),
        now: context.now,
    };
    let subject = format!("{name} {}", offer.tag);
    locked
        .stage(order, proxy, progress)
        .await
        .map_err(|error| Failure::from(error).about(&subject, || format!("{subject} was not installed")))
}

/// How a change is told, one line.
pub(crate) fn told(outcome: &Outcome) -> String {
    let Outcome { name, tag, previous, changed } = outcome;
    match (changed, previous) {
        (false, _) => format!("{name} {tag} is active already."),
        (true, None) => format!("Installed {name} {tag}."),
        (true, Some(previous)) if previous == tag => format!("Installed {name} {tag} again."),
        (true, Some(previous)) => format!("Switched {name} from {previous} to {tag}."),
    }
}

/// The tag of a version, as people know it.
pub(crate) fn tag_of(context: &Context, name: &PluginName, version: &Version) -> String {
    let tag = || -> Option<Tag> { Some(installed::find(context, name).ok()??.entry.installed()?.tag.clone()) };
    tag().map_or_else(|| version.to_string(), |tag| tag.to_string())
}
