//! What is published of a plugin or of d8 itself: from the cluster's record where there is one, else from the proxy.

use std::collections::BTreeMap;

use d8_agent::{ProxySource, cluster::cluster_facts};
use d8_crds::{
    decisions::{
        requirements::{self, Findings},
        selection::{self, LookupError, PublishedVersion, TagList},
    },
    records::{
        contract::Contract,
        release::{CliRelease, Fit, ReleaseVersion},
        requirements::Requirements,
    },
    values::{
        digest::Digest,
        name::{Component, Tag},
    },
};
use d8_rpp::{LayerLocation, Proxy, SpooledLayer};
use jiff::SignedDuration;

use crate::{
    context::Context,
    terminal::{
        failure::{Code, Failure},
        output,
    },
    version::PRODUCT,
};

/// Older records are used, and said to be old (design: "clients warn after 3 h").
const RECORD_WARN_AGE: SignedDuration = SignedDuration::from_hours(3);

/// What one version offers: all an install needs to know before its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) tag: Tag,
    pub(crate) contract: Contract,
    /// What the registry calls it.
    registry_tag: Tag,
    /// Its bytes, where an old proxy gave the contract with them only.
    fetched: Option<SpooledLayer>,
    /// The layer of this platform, if somebody vouches for it.
    pub(crate) layer: Option<Digest>,
    pub(crate) manifest: Option<Digest>,
    /// What the cluster says to its requirements.
    pub(crate) findings: Findings,
}

impl Offer {
    /// Where its bytes come from.
    pub(crate) fn source(&self, proxy: &Proxy) -> ProxySource {
        match &self.fetched {
            Some(fetched) => ProxySource::Spooled(fetched.clone()),
            None => ProxySource::Remote { proxy: proxy.clone(), tag: self.registry_tag.clone() },
        }
    }
}

/// What is published of one component.
pub(crate) struct Catalog {
    component: Component,
    /// The record that it is from.
    record: Option<CliRelease>,
    listing: TagList,
}

impl Catalog {
    /// Opens it: the record if there is one that was synced, else the proxy's tag list.
    ///
    /// # Errors
    /// The proxy's, where it must be asked.
    pub(crate) async fn open(
        context: &Context,
        record: Option<&CliRelease>,
        component: &Component,
    ) -> Result<Self, Failure> {
        let synced =
            record.filter(|record| record.status.as_ref().is_some_and(|status| status.last_sync_time.is_some()));
        let Some(record) = synced else { return Self::of_proxy(context, component).await };
        warn_if_old(context, record);
        let listing = TagList::of_record(component, record, Some(&context.platform));
        Ok(Self { component: component.clone(), listing, record: Some(record.clone()) })
    }

    /// Opens it so that it has a version which a person named: with the proxy's word if the record
    /// has not.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) async fn open_for(
        context: &Context,
        record: Option<&CliRelease>,
        component: &Component,
        typed: Option<&str>,
    ) -> Result<Self, Failure> {
        let catalog = Self::open(context, record, component).await?;
        match typed.map(|typed| catalog.listing.find(typed)) {
            Some(Err(LookupError::NotPublished(_))) if catalog.record.is_some() => {
                Self::of_proxy(context, component).await
            }
            _ => Ok(catalog),
        }
    }

    /// Opens it with the proxy's word, whatever the record says: for a version the record has not.
    ///
    /// # Errors
    /// The proxy's.
    async fn of_proxy(context: &Context, component: &Component) -> Result<Self, Failure> {
        let proxy = context.proxy().await?;
        let tags = proxy.tags(component).await?;
        let mut listing = selection::read_tags(component, &tags, Some(&context.platform));
        // Two tags of one value are one version if they point at the same thing.
        let twins: Vec<_> =
            listing.ambiguous.iter().flat_map(|twins| &twins.tags).map(|twin| &twin.registry_tag).collect();
        let mut digests = BTreeMap::new();
        for tag in twins {
            if let Some(digest) = proxy.digest(component, tag, &context.platform).await? {
                digests.insert(tag.clone(), digest);
            }
        }
        listing.resolve_ambiguous(|tag| digests.get(tag).cloned());
        Ok(Self { component: component.clone(), record: None, listing })
    }

    /// The component's record, for the gates that look at it.
    pub(crate) fn record(&self) -> Option<&CliRelease> {
        self.record.as_ref()
    }

    /// What is published.
    pub(crate) fn listing(&self) -> &TagList {
        &self.listing
    }

    fn version(&self, published: &PublishedVersion) -> Option<&ReleaseVersion> {
        let versions = &self.record.as_ref()?.status.as_ref()?.versions;
        let tag = published.registry_tag.as_str();
        versions.iter().find(|v| v.version == tag && v.withdrawn.is_none() && !v.artifacts.is_empty())
    }

    /// The version a person typed, with or without `v`.
    ///
    /// # Errors
    /// No version (2), or none that is published (1).
    pub(crate) fn expect(&self, typed: &str) -> Result<&PublishedVersion, Failure> {
        self.listing.find(typed).map_err(|error| lookup_failure(&self.component, &error))
    }

    /// What one version offers.
    ///
    /// # Errors
    /// An unreadable manifest or contract stops the command, naming the version; so does a cluster
    /// requirement that cannot be checked for want of an answer.
    pub(crate) async fn offer(&self, context: &Context, published: &PublishedVersion) -> Result<Offer, Failure> {
        match self.version(published) {
            Some(version) => self.offer_of_record(context, published, version),
            None => self.offer_of_proxy(context, published).await,
        }
    }

    fn offer_of_record(
        &self,
        context: &Context,
        published: &PublishedVersion,
        version: &ReleaseVersion,
    ) -> Result<Offer, Failure> {
        let damaged = |what: &str, error: &dyn std::error::Error| {
            Failure::new(Code::Failed, format!("the record of {} {} has a bad {what}", self.component, published.tag))
                .caused_by(error)
                .advise(
                    "something other than the operator wrote it",
                    format!("kubectl get crel {} -o yaml", self.component),
                )
        };
        let artifact = version
            .artifacts
            .iter()
            .find(|artifact| artifact.platform.as_deref() == Some(context.platform.as_str()))
            .or_else(|| version.artifacts.iter().find(|artifact| artifact.platform.is_none()));
        let (layer, manifest, findings) = match artifact {
            Some(artifact) => (
                Some(artifact.layer.parse().map_err(|e| damaged("layer digest", &e))?),
                Some(artifact.manifest.parse().map_err(|e| damaged("manifest digest", &e))?),
                waived(context, &version.requirements, findings_of_record(version)),
            ),
            None => (None, None, not_for(context)),
        };
        let contract = Contract {
            name: self.component.to_string(),
            version: published.tag.to_string(),
            description: version.description.clone().unwrap_or_default(),
            env: version.env.clone(),
            flags: version.flags.clone(),
            requirements: version.requirements.clone(),
        };
        let (tag, registry_tag) = (published.tag.clone(), published.registry_tag.clone());
        Ok(Offer { tag, contract, registry_tag, fetched: None, layer, manifest, findings })
    }

    async fn offer_of_proxy(&self, context: &Context, published: &PublishedVersion) -> Result<Offer, Failure> {
        let proxy = context.proxy().await?;
        let (tag, registry_tag) = (published.tag.clone(), published.registry_tag.clone());
        let image = proxy.platform_image(&self.component, &registry_tag, &context.platform, &context.spool()).await?;
        for warning in &image.warnings {
            output::warn(format!("{} {tag}: {warning}", self.component));
        }
        let contract = image.contract.unwrap_or_else(|| Contract::bare(&self.component, &tag));
        let findings = match image.layer {
            LayerLocation::NotPublished => not_for(context),
            _ => check(context, &contract.requirements).await?,
        };
        let (layer, manifest, fetched) = match image.layer {
            LayerLocation::Registry(artifact) => (Some(artifact.layer), Some(artifact.manifest), None),
            // What does not fit here is not installed: its bytes make room.
            LayerLocation::Spooled(fetched, artifact) => {
                let manifest = fetched.manifest.clone();
                (artifact.map(|artifact| artifact.layer), manifest, findings.unmet.is_empty().then_some(fetched))
            }
            LayerLocation::RegistryUnverified | LayerLocation::NotPublished => (None, None, None),
        };
        Ok(Offer { tag, contract, registry_tag, fetched, layer, manifest, findings })
    }
}

/// A version that a person typed and that cannot be had.
pub(crate) fn lookup_failure(component: &Component, error: &LookupError) -> Failure {
    let code = if matches!(error, LookupError::NotAVersion(_)) { Code::Usage } else { Code::Failed };
    let (what, list) = match component {
        Component::D8 => (PRODUCT, "d8 cli versions".to_owned()),
        Component::Plugin(name) => (name.as_str(), format!("d8 plugins why {name}")),
    };
    let failure = Failure::new(code, format!("{what}: {error}"));
    let fix = format!("see what is published: {list}");
    match error {
        LookupError::NotAVersion(_) => failure.advise("a version looks like v1.2.3", fix),
        LookupError::NotPublished(_) => failure.advise("nobody published it, or it was withdrawn", fix),
        LookupError::Ambiguous { .. } => failure.advise("its publisher must remove one of the tags", fix),
    }
}

/// What the cluster says to requirements, asked now; nothing is asked if nothing is demanded of it.
///
/// # Errors
/// No kubeconfig that could be used.
pub(crate) async fn check(context: &Context, requirements: &Requirements) -> Result<Findings, Failure> {
    if context.skips_cluster_checks() || !requirements.need_cluster_facts() {
        return Ok(Findings::default());
    }
    let cluster = context.cluster().await?;
    let facts = context.facts.get_or_init(|| cluster_facts(&cluster.client)).await;
    Ok(requirements::check(requirements, facts))
}

/// What the record says of a version's fit.
pub(crate) fn findings_of_record(version: &ReleaseVersion) -> Findings {
    let reasons = || {
        if version.reasons.is_empty() { vec!["the record gives no reason".to_owned()] } else { version.reasons.clone() }
    };
    match version.fit {
        Fit::Fits => Findings::default(),
        Fit::Unfit => Findings { unmet: reasons(), ..Findings::default() },
        Fit::Unknown => Findings { unchecked: reasons(), ..Findings::default() },
    }
}

fn not_for(context: &Context) -> Findings {
    Findings { unmet: vec![format!("it is not published for {}", context.platform)], ..Findings::default() }
}

/// `--skip-cluster-checks` waives what the record says of the cluster, too.
fn waived(context: &Context, requirements: &Requirements, findings: Findings) -> Findings {
    let waives = context.skips_cluster_checks() && requirements.need_cluster_facts();
    if waives { Findings::default() } else { findings }
}

fn warn_if_old(context: &Context, record: &CliRelease) {
    let synced = record.status.as_ref().and_then(|status| status.last_sync_time.as_ref());
    if let (Some(synced), Some(name)) = (synced, &record.metadata.name)
        && context.now.duration_since(synced.0) > RECORD_WARN_AGE
    {
        output::warn(format!("the record of {name} was last synced {}; see: kubectl get crel {name}", synced.0));
    }
}
