//! The published versions of a plugin or of d8 itself, from the record of the cluster or, without a record, from the
//! proxy.

use std::collections::BTreeMap;

use d8_agent::{ProxySource, cluster::cluster_facts};
use d8_crds::{
    decisions::{
        explain,
        requirements::{self, Findings, Unmet},
        selection::{self, LookupError, PublishedVersion, TagList},
    },
    records::{
        contract::Contract,
        release::{CliRelease, Fit, ReleaseVersion},
        requirements::Requirements,
    },
    values::{
        channel::Channel,
        digest::Digest,
        duration::FormattedDuration,
        name::{Component, Tag},
        platform::Platform,
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
};

/// An older record is used with a warning.
const MAX_RECORD_AGE: SignedDuration = SignedDuration::from_hours(3);

/// All that an install of one version needs, except its bytes.
#[derive(Debug, Clone)]
pub(crate) struct VersionDetails {
    pub(crate) tag: Tag,
    pub(crate) contract: Contract,
    /// Tag in the registry; may end with a platform.
    registry_tag: Tag,
    /// The bytes, if the contract of an old proxy came with them.
    spooled: Option<SpooledLayer>,
    /// Digest of the layer for this platform, if the record or the proxy has it.
    pub(crate) layer: Option<Digest>,
    pub(crate) manifest: Option<Digest>,
    /// Result of checking the requirements against the cluster.
    pub(crate) findings: Findings,
}

impl VersionDetails {
    /// Returns whether the version is not published for this platform.
    fn is_for_other_platform(&self) -> bool {
        self.findings.unmet.iter().any(|unmet| matches!(unmet, Unmet::NotForPlatform { .. }))
    }

    /// Returns where to read the bytes from.
    pub(crate) fn source(&self, proxy: &Proxy) -> ProxySource {
        match &self.spooled {
            Some(spooled) => ProxySource::Spooled(spooled.clone()),
            None => ProxySource::Remote { proxy: proxy.clone(), tag: self.registry_tag.clone() },
        }
    }
}

/// The published versions of one component.
pub(crate) struct Catalog {
    component: Component,
    /// The record, if the versions come from it.
    record: Option<CliRelease>,
    listing: TagList,
}

impl Catalog {
    /// Reads the versions from the record if it was synced, else from the tag list of the proxy. An empty record that
    /// leaves pre-releases out does not say whether there are any, so the proxy is asked, too.
    ///
    /// # Errors
    /// A request to the proxy failed.
    pub(crate) async fn open(
        context: &Context,
        record: Option<&CliRelease>,
        component: &Component,
    ) -> Result<Self, Failure> {
        let recorded = record.and_then(|record| Some((record, Self::of_record(context, record, component)?)));
        match recorded {
            Some((record, catalog)) if !catalog.listing.is_empty() || !leaves_prereleases_out(record) => {
                warn_if_old(context, record);
                Ok(catalog)
            }
            _ => Self::from_proxy(context, component).await,
        }
    }

    /// Reads the versions for this machine from the record, if it was synced.
    pub(crate) fn of_record(context: &Context, record: &CliRelease, component: &Component) -> Option<Self> {
        Self::for_platform(Some(&context.platform), record, component)
    }

    /// Reads the versions for a platform from the record, if it was synced. `None`: for any platform.
    pub(crate) fn for_platform(
        platform: Option<&Platform>,
        record: &CliRelease,
        component: &Component,
    ) -> Option<Self> {
        record.status.as_ref()?.last_sync_time.as_ref()?;
        let listing = TagList::of_record(component, record, platform);
        Some(Self { component: component.clone(), listing, record: Some(record.clone()) })
    }

    /// As [`Self::open`], but reads the versions from the proxy if the record does not have the version `named`.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) async fn open_for(
        context: &Context,
        record: Option<&CliRelease>,
        component: &Component,
        named: Option<&str>,
    ) -> Result<Self, Failure> {
        let catalog = Self::open(context, record, component).await?;
        match named.map(|named| catalog.listing.find(named)) {
            Some(Err(LookupError::NotPublished(_))) if catalog.record.is_some() => {
                Self::from_proxy(context, component).await
            }
            _ => Ok(catalog),
        }
    }

    async fn from_proxy(context: &Context, component: &Component) -> Result<Self, Failure> {
        let proxy = context.proxy().await?;
        let tags = proxy.tags(component).await?;
        let mut listing = selection::read_tags(component, &tags, Some(&context.platform));
        // Two tags of the same version are one version if they have the same digest.
        let ambiguous: Vec<_> = listing
            .ambiguous
            .iter()
            .flat_map(|version| &version.tags)
            .map(|published| &published.registry_tag)
            .collect();
        let mut digests = BTreeMap::new();
        for tag in ambiguous {
            if let Some(digest) = proxy.digest(component, tag, &context.platform).await? {
                digests.insert(tag.clone(), digest);
            }
        }
        listing.resolve_ambiguous(|tag| digests.get(tag).cloned());
        Ok(Self { component: component.clone(), record: None, listing })
    }

    /// Returns the record, if the versions come from it.
    pub(crate) fn record(&self) -> Option<&CliRelease> {
        self.record.as_ref()
    }

    /// Returns the published versions.
    pub(crate) fn listing(&self) -> &TagList {
        &self.listing
    }

    fn version(&self, published: &PublishedVersion) -> Option<&ReleaseVersion> {
        let versions = &self.record.as_ref()?.status.as_ref()?.versions;
        let tag = published.registry_tag.as_str();
        versions.iter().find(|v| v.version == tag && v.withdrawn.is_none() && !v.artifacts.is_empty())
    }

    /// Returns the digest of the layer that the record has of a version, for this machine.
    pub(crate) fn recorded_layer(&self, context: &Context, published: &PublishedVersion) -> Option<Digest> {
        self.version(published)?.artifact_for(&context.platform)?.layer.parse().ok()
    }

    /// Returns the details of one version.
    ///
    /// # Errors
    /// The manifest or the contract cannot be read, or the cluster cannot be reached to check the requirements.
    pub(crate) async fn details(
        &self,
        context: &Context,
        published: &PublishedVersion,
    ) -> Result<VersionDetails, Failure> {
        if let Some(details) = self.recorded_details(context, published) {
            return details;
        }
        let Some(version) = self.version(published) else { return self.details_from_proxy(context, published).await };
        let mut details = self.details_from_record(context, published, version)?;
        if context.is_agent() {
            return Ok(details);
        }
        // d8 checks what the operator could not check.
        if has_unread_contract(version) {
            let read = self.details_from_proxy(context, published).await?;
            (details.contract, details.findings, details.spooled) = (read.contract, read.findings, read.spooled);
        } else {
            details.findings = check(context, &version.requirements).await?;
        }
        Ok(details)
    }

    /// Returns the details of one version if the record has all of them, or the error of an invalid record.
    pub(crate) fn recorded_details(
        &self,
        context: &Context,
        published: &PublishedVersion,
    ) -> Option<Result<VersionDetails, Failure>> {
        let version = self.version(published)?;
        let details = self.details_from_record(context, published, version);
        let is_checked = |details: &VersionDetails| version.fit != Fit::Unknown || details.is_for_other_platform();
        details.as_ref().map_or(true, is_checked).then_some(details)
    }

    fn details_from_record(
        &self,
        context: &Context,
        published: &PublishedVersion,
        version: &ReleaseVersion,
    ) -> Result<VersionDetails, Failure> {
        let invalid = |what: &str, error: &dyn std::error::Error| {
            let headline = format!("the record of {} {} has an invalid {what}", self.component, published.tag);
            let command = format!("`kubectl get clirelease {} -o yaml`", self.component);
            Failure::new(Code::Failed, headline)
                .caused_by(error)
                .advise("the record was not written by the operator", command)
        };
        let artifact = version.artifact_for(&context.platform);
        let (layer, manifest, findings) = match artifact {
            Some(artifact) => (
                Some(artifact.layer.parse().map_err(|e| invalid("layer digest", &e))?),
                Some(artifact.manifest.parse().map_err(|e| invalid("manifest digest", &e))?),
                unless_waived(context, &version.requirements, Findings::recorded(version, None)),
            ),
            None => (None, None, not_for_platform(context, version.left_out_for(&context.platform))),
        };
        let (tag, registry_tag) = (published.tag.clone(), published.registry_tag.clone());
        let contract = self.recorded_contract(published, version);
        Ok(VersionDetails { tag, contract, registry_tag, spooled: None, layer, manifest, findings })
    }

    fn recorded_contract(&self, published: &PublishedVersion, version: &ReleaseVersion) -> Contract {
        Contract {
            name: self.component.to_string(),
            version: published.tag.to_string(),
            description: version.description.clone().unwrap_or_default(),
            env: version.env.clone(),
            flags: version.flags.clone(),
            requirements: version.requirements.clone(),
        }
    }

    /// Returns what the record says of one version for a host with this platform: enough for a verdict, and not for an
    /// installation. The agent of the host checks no requirements that the operator could not check.
    pub(crate) fn details_on_host(
        &self,
        published: &PublishedVersion,
        platform: Option<&Platform>,
    ) -> Option<VersionDetails> {
        let version = self.record.as_ref()?.recorded(&published.version)?;
        let (tag, registry_tag) = (published.tag.clone(), published.registry_tag.clone());
        let contract = self.recorded_contract(published, version);
        let findings = Findings::recorded(version, platform);
        Some(VersionDetails { tag, contract, registry_tag, spooled: None, layer: None, manifest: None, findings })
    }

    async fn details_from_proxy(
        &self,
        context: &Context,
        published: &PublishedVersion,
    ) -> Result<VersionDetails, Failure> {
        let proxy = context.proxy().await?;
        let (tag, registry_tag) = (published.tag.clone(), published.registry_tag.clone());
        let image = proxy.platform_image(&self.component, &registry_tag, &context.platform, &context.spool()).await?;
        for warning in &image.warnings {
            output::warn(format!("{} {tag}: {warning}", self.component));
        }
        let contract = image.contract.unwrap_or_else(|| Contract::bare(&self.component, &tag));
        let findings = match &image.layer {
            LayerLocation::NotPublished { why } => not_for_platform(context, why.as_deref()),
            _ => check(context, &contract.requirements).await?,
        };
        let (layer, manifest, spooled) = match image.layer {
            LayerLocation::Registry(artifact) => (Some(artifact.layer), Some(artifact.manifest), None),
            // A version that does not fit is not installed, so its bytes are dropped.
            LayerLocation::Spooled(spooled, artifact) => {
                let manifest = spooled.manifest.clone();
                (artifact.map(|artifact| artifact.layer), manifest, findings.unmet.is_empty().then_some(spooled))
            }
            LayerLocation::RegistryUnverified | LayerLocation::NotPublished { .. } => (None, None, None),
        };
        Ok(VersionDetails { tag, contract, registry_tag, spooled, layer, manifest, findings })
    }
}

/// Checks requirements against the cluster. Sends no request if there are no cluster requirements.
///
/// # Errors
/// The kubeconfig is missing or invalid.
pub(crate) async fn check(context: &Context, requirements: &Requirements) -> Result<Findings, Failure> {
    if context.skips_cluster_checks() || !requirements.need_cluster_facts() {
        return Ok(Findings::default());
    }
    let cluster = context.cluster().await?;
    let facts = context.facts.get_or_init(|| cluster_facts(&cluster.client)).await;
    Ok(requirements::check(requirements, facts))
}

/// Returns whether the operator could not read the version's contract. d8 then reads it before it installs the version.
pub(crate) fn has_unread_contract(version: &ReleaseVersion) -> bool {
    version.fit == Fit::Unknown && !version.requirements.need_cluster_facts()
}

/// Returns the records after checking the requirements that the operator could not check.
///
/// # Errors
/// As [`check`].
pub(crate) async fn check_unknown(
    context: &Context,
    records: &BTreeMap<String, CliRelease>,
) -> Result<BTreeMap<String, CliRelease>, Failure> {
    let mut records = records.clone();
    let statuses = records.values_mut().filter_map(|record| record.status.as_mut());
    for version in statuses.flat_map(|status| &mut status.versions) {
        if version.fit != Fit::Unknown || has_unread_contract(version) {
            continue;
        }
        let findings = check(context, &version.requirements).await?;
        let (unmet, unchecked) = (findings.unmet.iter(), findings.unchecked.iter());
        version.fit = findings.fit();
        version.reasons = unmet.map(explain::unmet).chain(unchecked.map(explain::unchecked)).collect();
    }
    Ok(records)
}

fn not_for_platform(context: &Context, why: Option<&str>) -> Findings {
    Findings { unmet: vec![Unmet::not_for_platform(&context.platform, why)], ..Findings::default() }
}

/// Drops the findings if `--skip-cluster-checks` waives them.
fn unless_waived(context: &Context, requirements: &Requirements, findings: Findings) -> Findings {
    let waives = context.skips_cluster_checks() && requirements.need_cluster_facts();
    if waives { Findings::default() } else { findings }
}

/// Returns whether a record lists all releases and no pre-release. One with a constraint leaves out what an admin does
/// not want to be installed.
fn leaves_prereleases_out(record: &CliRelease) -> bool {
    record.spec.channel == Channel::Stable && record.spec.versions.as_deref().is_none_or(str::is_empty)
}

fn warn_if_old(context: &Context, record: &CliRelease) {
    let synced = record.status.as_ref().and_then(|status| status.last_sync_time.as_ref());
    if let (Some(synced), Some(name)) = (synced, &record.metadata.name)
        && context.now.duration_since(synced.0) > MAX_RECORD_AGE
    {
        let age = FormattedDuration(context.now.duration_since(synced.0).unsigned_abs());
        output::warn(format!(
            "the record of {name} is old, it was last synced {age} ago, at {:.0}; see: `kubectl describe clirelease {name}`",
            synced.0
        ));
    }
}
