//! Requests to the proxy: one connection pool per endpoint, tries, time limits, and what each status
//! means. Knows nothing of what is asked for.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{
    HeaderMap, Method,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, LOCATION},
};
use reqwest::{Client, Response, redirect};
use tokio::{sync::Mutex, time::timeout};

use crate::{
    client::{
        endpoint::{Endpoint, Trust},
        generations::Memory,
        identity::Identity,
        options::{ClientOptions, Timeouts},
        retry::Retry,
    },
    error::{Error, ErrorKind, ImageReference, TimeoutPhase},
    text::{MAX_WORDS, error_chain, one_line},
    tls,
};

/// HTTP/2 flow control windows, in bytes: with the protocol's own 64 KiB a large download waits for
/// window updates half of its time.
const WINDOW: u32 = 8 << 20;

/// Requests to the proxy, wherever it answers.
#[derive(Debug)]
pub(crate) struct Transport {
    routes: Vec<Route>,
    /// The route that answered last.
    live: AtomicUsize,
    /// Whether a connection stands: until then requests go one at a time, lest twenty at once open
    /// twenty connections where one would carry them.
    warm: AtomicBool,
    first: Mutex<()>,
    identity: Identity,
    timeouts: Timeouts,
}

#[derive(Debug)]
struct Route {
    endpoint: Endpoint,
    client: Client,
    memory: Memory,
}

/// An answer read whole.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// What to ask: a path below the endpoint, the media types wanted, and what it is about.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) path: &'a str,
    pub(crate) accept: &'a str,
    pub(crate) subject: &'a ImageReference,
    /// The headers are enough.
    pub(crate) head: bool,
}

impl Question<'_> {
    fn method(&self) -> Method {
        if self.head { Method::HEAD } else { Method::GET }
    }
}

impl Transport {
    /// Reads the CA file; makes no request.
    pub(crate) fn new(
        endpoints: Vec<Endpoint>,
        identity: Identity,
        options: &ClientOptions,
        forward: Option<&str>,
    ) -> Result<Self, Error> {
        let extra = check_trust(options)?;
        let route = |endpoint: Endpoint| {
            let tls = if options.insecure {
                tls::unverified()?
            } else {
                let (system, only) = match endpoint.trust() {
                    Trust::System => (true, &[][..]),
                    Trust::Only(authorities) => (false, authorities.as_slice()),
                };
                tls::verifying(&tls::Roots { system, extra: vec![only, &extra] })?
            };
            let client = client(tls, &options.timeouts, forward)?;
            Ok(Route { endpoint, client, memory: Memory::default() })
        };
        let routes = endpoints.into_iter().map(route).collect::<Result<Vec<_>, Error>>()?;
        if routes.is_empty() {
            return Err(Error::Endpoint { given: String::new(), why: "none was given" });
        }
        Ok(Self {
            routes,
            live: AtomicUsize::new(0),
            warm: AtomicBool::new(false),
            first: Mutex::new(()),
            identity,
            timeouts: options.timeouts,
        })
    }

    pub(crate) fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }

    /// The host that answered last, or is tried first.
    pub(crate) fn host(&self) -> String {
        self.routes[self.live.load(Ordering::Relaxed)].endpoint.host()
    }

    /// What is known of the endpoint that answered last, or is tried first.
    pub(crate) fn memory(&self) -> &Memory {
        &self.routes[self.live.load(Ordering::Relaxed)].memory
    }

    /// Asks, and reads the whole answer of at most `limit` bytes. A broken body is tried again like a
    /// broken connection.
    pub(crate) async fn read(&self, question: Question<'_>, what: &'static str, limit: usize) -> Result<Answer, Error> {
        let mut tries = Retry::new(&self.timeouts);
        loop {
            let result = match self.ask(question).await {
                Ok((response, host)) => self.read_body(response, &host, question.subject, what, limit).await,
                Err(error) => Err(error),
            };
            match result {
                Ok(answer) => return Ok(answer),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// Asks, and hands over the answer once its headers are there.
    pub(crate) async fn open(&self, question: Question<'_>) -> Result<(Response, String), Error> {
        let mut tries = Retry::new(&self.timeouts);
        loop {
            match self.ask(question).await {
                Ok(answer) => return Ok(answer),
                Err(error) => tries.again(error).await?,
            }
        }
    }

    /// One question, to the route that answered last and then to the others. Only a route that can't
    /// be reached is passed over: whatever answers, however badly, is the proxy.
    async fn ask(&self, question: Question<'_>) -> Result<(Response, String), Error> {
        let _turn = if self.warm.load(Ordering::Acquire) { None } else { Some(self.first.lock().await) };
        let start = self.live.load(Ordering::Relaxed);
        let mut first_error = None;
        for offset in 0..self.routes.len() {
            let index = (start + offset) % self.routes.len();
            match self.ask_at(&self.routes[index], question).await {
                Ok(answer) => {
                    self.live.store(index, Ordering::Relaxed);
                    self.warm.store(true, Ordering::Release);
                    return Ok(answer);
                }
                Err(error @ (Error::Unreachable { .. } | Error::Timeout { waiting: TimeoutPhase::Connection, .. })) => {
                    tracing::debug!(%error, "endpoint passed over");
                    first_error.get_or_insert(error);
                }
                Err(error) => {
                    self.live.store(index, Ordering::Relaxed);
                    // An answer that refuses is an answer over a connection.
                    let answered =
                        !matches!(error.kind(), ErrorKind::Certificate | ErrorKind::Timeout | ErrorKind::Identity);
                    self.warm.fetch_or(answered, Ordering::AcqRel);
                    return Err(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| Error::Client { why: "no endpoint".to_owned() }))
    }

    async fn ask_at(&self, route: &Route, question: Question<'_>) -> Result<(Response, String), Error> {
        let host = route.endpoint.host();
        let url = route
            .endpoint
            .url()
            .join(question.path)
            .map_err(|error| Error::Client { why: format!("{}: {error}", question.path) })?;
        let mut request = route.client.request(question.method(), url).header(ACCEPT, question.accept);
        let header = self.identity.header().await?;
        let token_sent = header.is_some();
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        let started = std::time::Instant::now();
        let response = match timeout(self.timeouts.headers, request.send()).await {
            Err(_) => {
                return Err(Error::Timeout { host, waiting: TimeoutPhase::Answer, after: self.timeouts.headers });
            }
            Ok(Err(error)) => return Err(self.no_answer(host, error)),
            Ok(Ok(response)) => response,
        };
        tracing::debug!(
            %host, method = %question.method(), path = question.path, status = response.status().as_u16(),
            millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX), "asked"
        );
        if response.status() == http::StatusCode::OK {
            return Ok((response, host));
        }
        Err(self.refusal(response, host, token_sent, question).await)
    }

    /// Why there was no answer at all.
    fn no_answer(&self, host: String, error: reqwest::Error) -> Error {
        let error = error.without_url();
        if let Some(problem) = tls::certificate_problem(&error) {
            return Error::Certificate { host, problem };
        }
        match (error.is_timeout(), error.is_connect()) {
            (true, true) => Error::Timeout { host, waiting: TimeoutPhase::Connection, after: self.timeouts.connect },
            (true, false) => Error::Timeout { host, waiting: TimeoutPhase::Answer, after: self.timeouts.headers },
            _ => Error::Unreachable { host, why: error_chain(&error) },
        }
    }

    /// What a status other than 200 means.
    async fn refusal(&self, response: Response, host: String, token_sent: bool, question: Question<'_>) -> Error {
        let status = response.status().as_u16();
        let path = format!("/{}", question.path);
        if (300..400).contains(&status) {
            let to = response.headers().get(LOCATION).map_or_else(String::new, |to| one_line(to.as_bytes(), MAX_WORDS));
            return Error::Redirect { host, path, status, to };
        }
        let words = self.words(response).await;
        match status {
            401 => Error::Unauthorized { host, token_sent, words },
            403 => Error::Forbidden { host, words },
            404 => Error::NotFound { subject: question.subject.clone() },
            500..600 => Error::Unavailable { host, path, status, words },
            _ => {
                let method = if question.head { "HEAD" } else { "GET" };
                Error::Status { host, method, path, status, words }
            }
        }
    }

    /// The beginning of an error's body on one line; whatever fails meanwhile, fewer words.
    async fn words(&self, response: Response) -> String {
        let mut words = Vec::new();
        let mut body = response.bytes_stream();
        // What is shown is a courtesy: a stalled body of an error is not waited for.
        let timeouts = self.timeouts.idle.min(Duration::from_secs(5));
        while words.len() < 4 * MAX_WORDS {
            match timeout(timeouts, body.next()).await {
                Ok(Some(Ok(chunk))) => words.extend_from_slice(&chunk[..chunk.len().min(4 * MAX_WORDS)]),
                _ => break,
            }
        }
        one_line(&words, MAX_WORDS)
    }

    async fn read_body(
        &self,
        response: Response,
        host: &str,
        subject: &ImageReference,
        what: &'static str,
        limit: usize,
    ) -> Result<Answer, Error> {
        let too_large = || Error::TooLarge { subject: subject.clone(), what, limit: limit as u64 };
        let headers = response.headers().clone();
        if content_length(&headers).is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        let mut chunks = response.bytes_stream();
        loop {
            match timeout(self.timeouts.idle, chunks.next()).await {
                Err(_) => {
                    let host = host.to_owned();
                    return Err(Error::Timeout { host, waiting: TimeoutPhase::Data, after: self.timeouts.idle });
                }
                Ok(None) => break,
                Ok(Some(Err(error))) => {
                    return Err(Error::Unreachable { host: host.to_owned(), why: error_chain(&error.without_url()) });
                }
                Ok(Some(Ok(chunk))) if body.len() + chunk.len() > limit => return Err(too_large()),
                Ok(Some(Ok(chunk))) => body.extend_from_slice(&chunk),
            }
        }
        Ok(Answer { headers, body: body.freeze() })
    }
}

/// The announced length of a body, in bytes.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What can be wrong with the trust options is found before any request.
pub(crate) fn check_trust(options: &ClientOptions) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, Error> {
    match &options.ca_file {
        Some(_) if options.insecure => Err(Error::CaWithInsecure),
        Some(path) => tls::read_ca_file(path),
        None => Ok(Vec::new()),
    }
}

/// `forward`: the proxy on the way that the kubeconfig names; without it the environment's holds.
fn client(tls: rustls::ClientConfig, timeouts: &Timeouts, forward: Option<&str>) -> Result<Client, Error> {
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
        .tcp_nodelay(true);
    if let Some(forward) = forward {
        builder = builder.proxy(reqwest::Proxy::all(forward).map_err(failed)?);
    }
    builder.build().map_err(failed)
}
