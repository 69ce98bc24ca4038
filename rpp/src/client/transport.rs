//! Requests to the proxy: one connection pool for each endpoint, retries and timeouts. Does not know what
//! the requests are about.

mod response;

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use d8_crds::values::digest::Digest;
use http::{
    HeaderMap, Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH},
};
use reqwest::{Client, Response, redirect};
use rustls::pki_types::CertificateDer;
use tokio::{sync::Mutex, time::timeout};
use url::Url;

use super::{
    endpoint::{Endpoint, Trust},
    generations::ObservedGenerations,
    identity::Identity,
    options::{ClientOptions, Timeouts},
    retry::{AttemptError, retry},
};
use crate::{
    error::{Error, ErrorKind, ImageReference, TimeoutPhase},
    forward_proxy::ForwardProxy,
    text::error_chain,
    tls,
};

/// HTTP/2 flow control windows, in bytes. With the default of 64 KiB a large download waits for window
/// updates half of its time.
const WINDOW: u32 = 8 << 20;

/// Connections to the endpoints of one proxy.
#[derive(Debug)]
pub(crate) struct Transport {
    endpoints: Vec<EndpointClient>,
    /// Index of the endpoint that answered last.
    current: AtomicUsize,
    /// Whether a connection is established. Until then requests are sent one at a time, so that many
    /// requests at once do not open many connections where one can carry them all.
    connected: AtomicBool,
    first_request: Mutex<()>,
    identity: Identity,
    timeouts: Timeouts,
    /// Keys that the cluster announces for its endpoints and that are not trusted.
    untrusted_keys: BTreeSet<Digest>,
}

#[derive(Debug)]
struct EndpointClient {
    endpoint: Endpoint,
    client: Client,
    /// The HTTP or SOCKS proxy of its connections.
    forward_proxy: Option<ForwardProxy>,
    generations: ObservedGenerations,
}

/// A response whose body was read completely.
pub(crate) struct FullResponse {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// One request to the proxy.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    /// Path below the endpoint's URL.
    pub(crate) path: &'a str,
    /// Media types that are accepted.
    pub(crate) accept: &'a str,
    /// The image that the request is about, for errors.
    pub(crate) reference: &'a ImageReference,
    /// Whether only the headers are wanted.
    pub(crate) head: bool,
}

impl Request<'_> {
    fn method(&self) -> Method {
        if self.head { Method::HEAD } else { Method::GET }
    }
}

impl Transport {
    /// Builds the HTTP clients and reads the CA file. Makes no request. `forward_proxy` returns the HTTP proxy for
    /// an endpoint, `None` for a direct connection.
    pub(crate) fn new(
        endpoints: Vec<Endpoint>,
        identity: Identity,
        options: &ClientOptions,
        forward_proxy: impl Fn(&Url) -> Option<ForwardProxy>,
    ) -> Result<Self, Error> {
        let extra = extra_authorities(options)?;
        let client = |endpoint: Endpoint| {
            let tls = if options.insecure {
                tls::unverified()?
            } else {
                let (system, only) = match endpoint.trust() {
                    Trust::System => (true, &[][..]),
                    Trust::Only(authorities) => (false, authorities.as_slice()),
                };
                tls::verifying(&tls::Roots { system, extra: vec![only, &extra] })?
            };
            let forward_proxy = forward_proxy(endpoint.url());
            let client = http_client(tls, &options.timeouts, forward_proxy.as_ref())?;
            Ok(EndpointClient { endpoint, client, forward_proxy, generations: ObservedGenerations::default() })
        };
        let endpoints = endpoints.into_iter().map(client).collect::<Result<Vec<_>, Error>>()?;
        if endpoints.is_empty() {
            return Err(Error::Endpoint { given: String::new(), why: "none was given" });
        }
        Ok(Self {
            endpoints,
            current: AtomicUsize::new(0),
            connected: AtomicBool::new(false),
            first_request: Mutex::new(()),
            identity,
            timeouts: options.timeouts,
            untrusted_keys: BTreeSet::new(),
        })
    }

    /// Names the announced keys that are not trusted, for the error if a certificate is signed by another key.
    pub(crate) fn with_untrusted_keys(self, untrusted_keys: BTreeSet<Digest>) -> Self {
        Self { untrusted_keys, ..self }
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// Host of the endpoint that answered last, or that is tried first.
    pub(crate) fn host(&self) -> String {
        self.current().endpoint.host()
    }

    /// The generations of the endpoint that answered last, or that is tried first.
    pub(crate) fn generations(&self) -> &ObservedGenerations {
        &self.current().generations
    }

    fn current(&self) -> &EndpointClient {
        &self.endpoints[self.current.load(Ordering::Relaxed)]
    }

    /// Sends a request and reads the whole body, at most `limit` bytes. `what` names the body in errors. A
    /// broken body is retried like a broken connection.
    pub(crate) async fn read(
        &self,
        request: Request<'_>,
        what: &'static str,
        limit: usize,
    ) -> Result<FullResponse, Error> {
        let attempt = || async move {
            let (response, host) = self.send(request).await?;
            self.read_body(response, &host, request.reference, what, limit).await.map_err(AttemptError::from)
        };
        retry(&self.timeouts, attempt).await
    }

    /// Sends a request. Returns the response once its headers have arrived, and the host that answered.
    pub(crate) async fn open(&self, request: Request<'_>) -> Result<(Response, String), Error> {
        retry(&self.timeouts, || async move { self.send(request).await.map_err(AttemptError::from) }).await
    }

    /// Sends a request once, to the endpoint that answered last and then to the others. Another endpoint is
    /// tried only if there was no connection, or none to a trusted key: any response, even a failure, comes from the
    /// proxy.
    async fn send(&self, request: Request<'_>) -> Result<(Response, String), Error> {
        let _one_at_a_time =
            if self.connected.load(Ordering::Acquire) { None } else { Some(self.first_request.lock().await) };
        let start = self.current.load(Ordering::Relaxed);
        let mut first_error = None;
        for offset in 0..self.endpoints.len() {
            let index = (start + offset) % self.endpoints.len();
            match self.send_to(&self.endpoints[index], request).await {
                Ok(response) => {
                    self.current.store(index, Ordering::Relaxed);
                    self.connected.store(true, Ordering::Release);
                    return Ok(response);
                }
                Err(
                    error @ (Error::Unreachable { .. }
                    | Error::ForwardProxy { .. }
                    | Error::Timeout { phase: TimeoutPhase::Connect, .. }
                    | Error::UntrustedKey { .. }),
                ) => {
                    tracing::debug!(%error, "trying the next endpoint");
                    first_error.get_or_insert(error);
                }
                Err(error) => {
                    self.current.store(index, Ordering::Relaxed);
                    // An error status is a response over a connection, too.
                    let connected =
                        !matches!(error.kind(), ErrorKind::Certificate | ErrorKind::Timeout | ErrorKind::Identity);
                    self.connected.fetch_or(connected, Ordering::AcqRel);
                    return Err(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| Error::Client { why: "no endpoint".to_owned() }))
    }

    async fn send_to(&self, to: &EndpointClient, request: Request<'_>) -> Result<(Response, String), Error> {
        let host = to.endpoint.host();
        let url = to
            .endpoint
            .url()
            .join(request.path)
            .map_err(|error| Error::Client { why: format!("{}: {error}", request.path) })?;
        let mut builder = to.client.request(request.method(), url).header(ACCEPT, request.accept);
        let header = self.identity.header().await?;
        let token_sent = header.is_some();
        if let Some(header) = header {
            builder = builder.header(AUTHORIZATION, header);
        }
        let started = std::time::Instant::now();
        let response = match timeout(self.timeouts.headers, builder.send()).await {
            Err(_) => {
                let after = self.timeouts.headers;
                return Err(Error::Timeout { host, phase: TimeoutPhase::Response, after });
            }
            Ok(Err(error)) => return Err(self.connection_error(to, error)),
            Ok(Ok(response)) => response,
        };
        tracing::debug!(
            %host, method = %request.method(), path = request.path, status = response.status().as_u16(),
            millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX), "request"
        );
        if response.status() == http::StatusCode::OK {
            return Ok((response, host));
        }
        Err(self.status_error(response, host, token_sent, request).await)
    }
}

/// Length of a body by its header, in bytes.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Returns the authorities of the CA file. Checks the options for trust, before any request.
pub(crate) fn extra_authorities(options: &ClientOptions) -> Result<Vec<CertificateDer<'static>>, Error> {
    match &options.ca_file {
        Some(_) if options.insecure => Err(Error::CaWithInsecure),
        Some(path) => tls::read_ca_file(path),
        None => Ok(Vec::new()),
    }
}

/// Builds the HTTP client of an endpoint. The library's own reading of the environment is switched off: it differs
/// from the one for the Kubernetes API.
fn http_client(
    tls: rustls::ClientConfig,
    timeouts: &Timeouts,
    forward_proxy: Option<&ForwardProxy>,
) -> Result<Client, Error> {
    let failed = |error: reqwest::Error| Error::Client { why: error_chain(&error) };
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("d8-delivery/", env!("CARGO_PKG_VERSION")))
        .https_only(true)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(timeouts.connect)
        .http2_initial_stream_window_size(WINDOW)
        .http2_initial_connection_window_size(WINDOW)
        .tcp_nodelay(true)
        .no_proxy();
    if let Some(proxy) = forward_proxy {
        builder = builder.proxy(reqwest::Proxy::all(proxy.url.to_string()).map_err(failed)?);
    }
    builder.build().map_err(failed)
}
