//! The registry-packages-proxy. Requests stay within a budget, and answers are reduced to what a record is made from.

mod budget;
mod connection;
mod layers;
mod pin_store;

use std::{collections::BTreeSet, future::Future, sync::Arc};

use d8_crds::{
    records::release::{Artifact, LeftOutPart},
    values::{
        digest::Digest,
        limits::IMAGE_PLATFORMS,
        name::{Component, Tag},
        platform::Platform,
    },
};
use d8_rpp::{Error as ProxyError, ErrorKind, LeftOutEffect, Proxy, RawManifest};
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::budget::RequestBudget;
pub(crate) use self::{connection::Connection, pin_store::PinStore};
use super::metrics::Metrics;
use crate::decisions::release::{
    facts::VersionFacts,
    observed::{NOT_PUBLISHED, PollError},
};

/// Most layers that are read at a time.
const STREAMS: usize = 2;

/// A request to read one version.
pub(crate) struct ReadRequest<'a> {
    pub(crate) component: &'a Component,
    /// The tag of the version.
    pub(crate) tag: &'a Tag,
    /// The platforms with a tag of their own; empty: the tag itself is listed.
    pub(crate) platform_tags: &'a BTreeSet<Platform>,
    /// The platforms of the record; absent: all.
    pub(crate) platforms: Option<&'a BTreeSet<Platform>>,
    /// Whether to download layers if only a layer holds the contract.
    pub(crate) read_layers: bool,
    /// Returns whether the facts of a digest are known, so that it need not be read.
    pub(crate) is_known: &'a (dyn Fn(&Digest) -> bool + Sync),
}

/// A source of tags and manifests. Tests use a scripted one.
pub(crate) trait Registry: Send + Sync + 'static {
    /// Returns the tags of a component, as listed.
    fn tags(&self, component: &Component) -> impl Future<Output = Result<Vec<String>, RegistryError>> + Send;

    /// Returns the digest of a version, and its facts unless they are known.
    fn read(
        &self,
        request: &ReadRequest<'_>,
    ) -> impl Future<Output = Result<(Digest, Option<VersionFacts>), RegistryError>> + Send;
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegistryError {
    /// Reason of a condition and label of a metric.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// What else will fail.
    pub(crate) scope: FailureScope,
}

/// What fails besides the request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureScope {
    /// Nothing else: only this version cannot be read.
    Version,
    /// This version only, or everything: the proxy answered that it failed.
    Unclear,
    /// Everything: the poll ends.
    Poll,
}

impl From<RegistryError> for PollError {
    fn from(error: RegistryError) -> Self {
        Self { reason: error.reason.to_owned(), message: error.message }
    }
}

impl From<&ProxyError> for RegistryError {
    fn from(error: &ProxyError) -> Self {
        let kind = error.kind();
        let scope = match (error, kind) {
            (ProxyError::NotFound { reference }, _) if reference.reference.is_none() => FailureScope::Poll,
            (
                _,
                ErrorKind::NotFound
                | ErrorKind::Malformed
                | ErrorKind::Contract
                | ErrorKind::Archive
                | ErrorKind::DigestMismatch
                | ErrorKind::TooLarge
                | ErrorKind::Truncated,
            ) => FailureScope::Version,
            (_, ErrorKind::Unavailable | ErrorKind::UnexpectedStatus | ErrorKind::Redirect) => FailureScope::Unclear,
            _ => FailureScope::Poll,
        };
        let reason = if matches!(error, ProxyError::NotFound { .. }) { NOT_PUBLISHED } else { kind.as_str() };
        Self { reason, message: error.to_string(), scope }
    }
}

/// The registry-packages-proxy of the cluster.
pub(crate) struct Upstream {
    connection: Connection,
    budget: RequestBudget,
    /// Limits the layers that are read at a time.
    streams: Semaphore,
    metrics: Arc<Metrics>,
}

impl Upstream {
    /// Makes a client; sends nothing yet.
    pub(crate) fn new(connection: Connection, metrics: Arc<Metrics>) -> Self {
        let (budget, streams) = (RequestBudget::new(), Semaphore::new(STREAMS));
        Self { connection, budget, streams, metrics }
    }

    /// Waits until `requests` may be sent, and counts them.
    async fn acquire(&self, requests: u32) -> Option<SemaphorePermit<'_>> {
        let permit = self.budget.acquire(requests).await;
        self.metrics.proxy_requests.inc_by(requests.into());
        permit
    }

    /// Reads a version by its manifests, or by its layers if the proxy serves no manifests.
    async fn read_version(
        &self,
        proxy: &Proxy,
        request: &ReadRequest<'_>,
    ) -> Result<(Digest, Option<VersionFacts>), ProxyError> {
        let (component, tag) = (request.component, request.tag);
        if !request.platform_tags.is_empty() {
            return self.read_without_index(proxy, request).await;
        }
        let permit = self.acquire(1).await;
        let top = proxy.manifest_if_any(component, tag).await?;
        drop(permit);
        let Some(top) = top else { return self.read_without_index(proxy, request).await };
        if (request.is_known)(&top.digest) {
            return Ok((top.digest, None));
        }
        let children = count_children(&top);
        let _permit = if children > 0 { self.acquire(children).await } else { None };
        match proxy.resolve_manifest(component, tag, &top).await {
            Ok(resolved) => {
                for warning in &resolved.warnings {
                    tracing::debug!(%component, %tag, warning, "unusual image");
                }
                let artifacts = resolved.artifacts.into_iter().map(artifact).collect();
                let facts = VersionFacts::read(artifacts, resolved.contract, resolved.created);
                // What the registry lacks may be pushed later.
                let incomplete = resolved.left_out.iter().any(|part| part.effect == LeftOutEffect::Missing);
                let facts = facts.with_left_out(resolved.left_out.into_iter().map(left_out).collect());
                Ok((top.digest, Some(VersionFacts { incomplete, ..facts })))
            }
            // The version exists, and a malformed contract must not count as no contract.
            Err(error @ ProxyError::Contract { .. }) => {
                Ok((top.digest, Some(VersionFacts::malformed(&error.to_string()))))
            }
            // The digest names this content, so the next attempt would fail the same way.
            Err(error) if matches!(error.kind(), ErrorKind::Malformed | ErrorKind::TooLarge) => {
                Ok((top.digest, Some(VersionFacts::no_artifact([format!("cannot be used: {error}")]))))
            }
            Err(error) => Err(error),
        }
    }
}

impl Registry for Upstream {
    async fn tags(&self, component: &Component) -> Result<Vec<String>, RegistryError> {
        let proxy = self.connection.checked_proxy().await?;
        let _permit = self.acquire(1).await;
        match proxy.tags(component).await {
            Ok(tags) => Ok(tags),
            Err(error) => Err(self.connection.failed(error).await),
        }
    }

    async fn read(&self, request: &ReadRequest<'_>) -> Result<(Digest, Option<VersionFacts>), RegistryError> {
        let proxy = self.connection.proxy().await?;
        match self.read_version(&proxy, request).await {
            Ok(read) => Ok(read),
            Err(error) => Err(self.connection.failed(error).await),
        }
    }
}

/// Returns the number of manifests that are requested of an index: at most [`IMAGE_PLATFORMS`], because an index with
/// more platforms is refused without a request. 0 if the manifest is not an index.
fn count_children(raw: &RawManifest) -> u32 {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        manifests: Vec<serde::de::IgnoredAny>,
    }
    let listed = serde_json::from_slice(&raw.bytes).map_or(0, |index: Index| index.manifests.len());
    u32::try_from(listed.min(IMAGE_PLATFORMS)).unwrap_or(u32::MAX)
}

fn artifact(artifact: d8_rpp::Artifact) -> Artifact {
    Artifact {
        platform: artifact.platform.map(String::from),
        manifest: artifact.manifest.into(),
        layer: artifact.layer.into(),
        size_bytes: artifact.size,
    }
}

fn left_out(part: d8_rpp::LeftOut) -> LeftOutPart {
    LeftOutPart { platform: part.platform.map(String::from), reason: part.why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_costs_at_most_the_requests_that_it_may_lead_to() {
        let index = |entries: usize| {
            let entry = serde_json::json!({"digest": "", "size": 0});
            let manifest = serde_json::json!({"schemaVersion": 2, "manifests": vec![entry; entries]}).to_string();
            RawManifest { digest: Digest::of(manifest.as_bytes()), media_type: String::new(), bytes: manifest.into() }
        };
        for (entries, expected) in [(0, 0), (3, 3), (64, 64), (45_000, 64)] {
            assert_eq!(count_children(&index(entries)), expected, "{entries}");
        }
    }

    #[test]
    fn an_error_ends_the_poll_unless_it_concerns_one_version() {
        use d8_rpp::ImageReference;
        let reference =
            |tag: Option<&str>| ImageReference { component: Component::D8, reference: tag.map(str::to_owned) };
        let empty = String::new;
        let unavailable = ProxyError::Unavailable { host: empty(), path: empty(), status: 502, message: empty() };
        for (error, scope, reason) in [
            (ProxyError::NotFound { reference: reference(None) }, FailureScope::Poll, "NotPublished"),
            (ProxyError::NotFound { reference: reference(Some("v1.0.0")) }, FailureScope::Version, "NotPublished"),
            (
                ProxyError::Malformed { reference: reference(Some("v1.0.0")), why: empty() },
                FailureScope::Version,
                "Malformed",
            ),
            (unavailable, FailureScope::Unclear, "Unavailable"),
            (ProxyError::Forbidden { host: empty(), message: empty() }, FailureScope::Poll, "Forbidden"),
            (ProxyError::Unreachable { host: empty(), why: empty() }, FailureScope::Poll, "Unreachable"),
        ] {
            let found = RegistryError::from(&error);
            assert_eq!((found.scope, found.reason), (scope, reason), "{error}");
        }
    }
}
