//! The proxy as the operator asks it: within a budget of requests, and with answers cut to what a
//! record is made from.

mod layers;

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use d8_crds::{
    records::release::Artifact,
    values::{
        digest::Digest,
        name::{Component, Tag},
        platform::Platform,
    },
};
use d8_rpp::{ClientOptions, Error, ErrorKind, Proxy, RawManifest};
use kube::{Client, Config};
use serde::Deserialize;
use tokio::{
    sync::{Mutex, Semaphore, SemaphorePermit},
    time::{Instant, sleep},
};

use crate::{
    metrics::Metrics,
    release::facts::{Facts, Trouble},
};

/// Most requests in flight.
const IN_FLIGHT: u32 = 4;
/// Requests a second in the long run.
const RATE: f64 = 20.0;
/// Requests that may be sent at once after a quiet time.
const BURST: f64 = 1000.0;
/// Layers read at a time.
const STREAMS: usize = 2;

/// What a poll asks of one version.
pub(crate) struct Ask<'a> {
    /// The component.
    pub(crate) component: &'a Component,
    /// The tag that the version is known by.
    pub(crate) tag: &'a Tag,
    /// The platforms it is listed for; empty: the tag itself is listed.
    pub(crate) parts: &'a BTreeSet<Platform>,
    /// The platforms the record is about; none: all.
    pub(crate) platforms: Option<&'a BTreeSet<Platform>>,
    /// Layers are worth downloading to know what it holds.
    pub(crate) deep: bool,
    /// Whether a digest needs no reading.
    pub(crate) known: &'a (dyn Fn(&Digest) -> bool + Sync),
}

/// Where tags and manifests come from; tests put a scripted one in its place.
pub(crate) trait Registry: Send + Sync + 'static {
    /// The component's tags, as listed.
    fn tags(&self, component: &Component) -> impl Future<Output = Result<Vec<String>, Failure>> + Send;

    /// What a version points at, and what that holds unless it is known already.
    fn read(&self, ask: &Ask<'_>) -> impl Future<Output = Result<(Digest, Option<Facts>), Failure>> + Send;
}

/// A question that was not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// A stable kind: a condition's reason and a metric's label.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) message: String,
    /// It is about this one version only: the rest of the poll can go on.
    pub(crate) of_version: bool,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self { reason: failure.reason.to_owned(), message: failure.message }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let kind = error.kind();
        let of_version = match error {
            Error::NotFound { subject } => subject.reference.is_some(),
            _ => matches!(
                kind,
                ErrorKind::Malformed
                    | ErrorKind::Contract
                    | ErrorKind::DigestMismatch
                    | ErrorKind::TooLarge
                    | ErrorKind::Truncated
            ),
        };
        let reason = if matches!(error, Error::NotFound { .. }) { "NotPublished" } else { kind.as_str() };
        Self { reason, message: error.to_string(), of_version }
    }
}

/// The requests that may be sent: so many at once, so many a second.
#[derive(Debug)]
pub(crate) struct Budget {
    slots: Semaphore,
    bucket: StdMutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Below zero: what is promised to those who wait.
    tokens: f64,
    filled: Instant,
}

impl Budget {
    /// A full one.
    pub(crate) fn new() -> Self {
        let bucket = Bucket { tokens: BURST, filled: Instant::now() };
        Self { slots: Semaphore::new(IN_FLIGHT as usize), bucket: StdMutex::new(bucket) }
    }

    /// Waits until `requests` may be sent, all of which the permit stands for. First come, first served.
    pub(crate) async fn take(&self, requests: u32) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        let permit = self.slots.acquire_many(requests.clamp(1, IN_FLIGHT)).await.ok();
        sleep(self.pay(requests)).await;
        permit
    }

    fn pay(&self, requests: u32) -> Duration {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).pay(requests, Instant::now())
    }
}

impl Bucket {
    /// Takes what so many requests cost; returns how long to wait before they are sent.
    fn pay(&mut self, requests: u32, now: Instant) -> Duration {
        let earned = now.duration_since(self.filled).as_secs_f64() * RATE;
        self.tokens = (self.tokens + earned).min(BURST) - f64::from(requests);
        self.filled = now;
        Duration::from_secs_f64((-self.tokens / RATE).max(0.0))
    }
}

/// The cluster's registry-packages-proxy.
pub(crate) struct Upstream {
    client: Client,
    config: Config,
    options: ClientOptions,
    budget: Budget,
    /// Layers that may be read now.
    streams: Semaphore,
    metrics: Arc<Metrics>,
    /// Made at the first question, and again after the proxy could not be reached: it may have moved.
    proxy: Mutex<Option<Proxy>>,
}

impl Upstream {
    /// Asks nothing yet.
    pub(crate) fn new(client: Client, config: Config, options: ClientOptions, metrics: Arc<Metrics>) -> Self {
        let (budget, streams) = (Budget::new(), Semaphore::new(STREAMS));
        Self { client, config, options, budget, streams, metrics, proxy: Mutex::new(None) }
    }

    async fn proxy(&self) -> Result<Proxy, Failure> {
        let mut cached = self.proxy.lock().await;
        if let Some(proxy) = &*cached {
            return Ok(proxy.clone());
        }
        let client = || Ok(self.client.clone());
        let proxy = Proxy::connect_with(client, &self.config, &self.options).await.map_err(|e| Failure::from(&e))?;
        Ok(cached.insert(proxy).clone())
    }

    /// Turns an error into what it means here, and looks the proxy up again if it may have moved.
    async fn failed(&self, error: Error) -> Failure {
        if error.kind().is_reach() {
            *self.proxy.lock().await = None;
        }
        Failure::from(&error)
    }

    async fn take(&self, requests: u32) -> Option<SemaphorePermit<'_>> {
        let permit = self.budget.take(requests).await;
        self.metrics.proxy_requests.inc_by(requests.into());
        permit
    }
}

impl Registry for Upstream {
    async fn tags(&self, component: &Component) -> Result<Vec<String>, Failure> {
        let proxy = self.proxy().await?;
        let _permit = self.take(1).await;
        match proxy.tags(component).await {
            Ok(tags) => Ok(tags),
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn read(&self, ask: &Ask<'_>) -> Result<(Digest, Option<Facts>), Failure> {
        let proxy = self.proxy().await?;
        match self.read_version(&proxy, ask).await {
            Ok(read) => Ok(read),
            Err(error) => Err(self.failed(error).await),
        }
    }
}

impl Upstream {
    async fn read_version(&self, proxy: &Proxy, ask: &Ask<'_>) -> Result<(Digest, Option<Facts>), Error> {
        let (component, tag) = (ask.component, ask.tag);
        if !ask.parts.is_empty() {
            return self.read_layers(proxy, ask).await;
        }
        let permit = self.take(1).await;
        let top = proxy.manifest_if_any(component, tag).await?;
        drop(permit);
        let Some(top) = top else { return self.read_layers(proxy, ask).await };
        if (ask.known)(&top.digest) {
            return Ok((top.digest, None));
        }
        let children = children(&top);
        let _permit = if children > 0 { self.take(children).await } else { None };
        match proxy.resolve_manifest(component, tag, &top).await {
            Ok(resolved) => {
                for warning in &resolved.warnings {
                    tracing::debug!(%component, %tag, warning, "odd image");
                }
                let artifacts = resolved.artifacts.into_iter().map(artifact).collect();
                Ok((top.digest, Some(Facts::read(artifacts, resolved.contract, resolved.created))))
            }
            // The version exists, and its contract is never taken for none.
            Err(error @ Error::Contract { .. }) => {
                Ok((top.digest, Some(Facts::malformed(Vec::new(), &error.to_string(), None))))
            }
            Err(error) => Err(error),
        }
    }
}

/// How many manifests an index names.
fn children(raw: &RawManifest) -> u32 {
    #[derive(Deserialize)]
    struct Index {
        #[serde(default)]
        manifests: Vec<serde::de::IgnoredAny>,
    }
    serde_json::from_slice(&raw.bytes)
        .map_or(0, |index: Index| u32::try_from(index.manifests.len()).unwrap_or(u32::MAX))
}

fn artifact(artifact: d8_rpp::Artifact) -> Artifact {
    Artifact {
        platform: artifact.platform.map(String::from),
        manifest: artifact.manifest.into(),
        layer: artifact.layer.into(),
        size_bytes: artifact.size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_twenty_a_second() {
        let start = Instant::now();
        let mut bucket = Bucket { tokens: BURST, filled: start };
        let seconds = Duration::from_secs;
        for (what, requests, after, wait) in [
            ("a burst", 1000, seconds(0), seconds(0)),
            ("beyond it", 20, seconds(0), seconds(1)),
            ("those who come later wait longer", 20, seconds(0), seconds(2)),
            ("what was promised is paid off", 20, seconds(2), seconds(1)),
            ("a long quiet time fills it, not more", 1020, seconds(9999), seconds(1)),
        ] {
            assert_eq!(bucket.pay(requests, start + after), wait, "{what}");
        }
    }

    #[tokio::test]
    async fn four_in_flight() {
        let budget = Budget::new();
        let held = budget.take(3).await;
        let one = budget.take(1).await;
        let mut fifth = Box::pin(budget.take(1));
        assert!(futures::poll!(&mut fifth).is_pending());
        drop(one);
        drop(fifth.await);
        drop(held);
        let whole = budget.take(64).await;
        assert!(futures::poll!(Box::pin(budget.take(1))).is_pending(), "a large index takes all slots, not more");
        drop(whole);
    }

    #[test]
    fn which_failures_end_a_poll() {
        use d8_rpp::ImageReference;
        let subject = |reference: Option<&str>| ImageReference {
            component: Component::D8,
            reference: reference.map(str::to_owned),
        };
        for (error, of_version, reason) in [
            (Error::NotFound { subject: subject(None) }, false, "NotPublished"),
            (Error::NotFound { subject: subject(Some("v1.0.0")) }, true, "NotPublished"),
            (Error::Malformed { subject: subject(Some("v1.0.0")), why: String::new() }, true, "Malformed"),
            (Error::Forbidden { host: String::new(), words: String::new() }, false, "Forbidden"),
            (Error::Unreachable { host: String::new(), why: String::new() }, false, "Unreachable"),
        ] {
            let failure = Failure::from(&error);
            assert_eq!((failure.of_version, failure.reason), (of_version, reason), "{error}");
        }
    }
}
