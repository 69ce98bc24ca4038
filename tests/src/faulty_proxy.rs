//! A proxy with one faulty route. It checks no permission and serves one plugin, `faulty` v1.0.0.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use d8_crds::values::digest::Digest;
use d8_crds::values::platform::Platform;
use serde_json::json;

use crate::catalog::script;
use crate::listener::{self, Stream, head};
use crate::oci::{self, Entry, layer};
use crate::{ControlPlane, Result, base64};

const IMAGE: &str = "/v1/images/deckhouse-cli/plugins/faulty";

/// An answer of a route.
#[derive(Debug, Clone)]
pub struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// The announced length; `body` may be shorter.
    content_length: usize,
}

impl Response {
    /// Status 200 with a body of this type.
    pub fn body(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let headers = vec![("Content-Type", content_type.to_owned())];
        Self { status: 200, headers, content_length: body.len(), body }
    }

    /// Another status with one line of text.
    pub fn status(status: u16, text: &str) -> Self {
        Self { status, ..Self::body("text/plain", text) }
    }

    /// Returns a redirect to this URL, with status 302.
    pub fn redirect(to: &str) -> Self {
        let mut response = Self::status(302, "over there");
        response.headers.push(("Location", to.to_owned()));
        response
    }

    /// Returns the same, but the connection closes after half of the announced body.
    #[must_use]
    pub fn truncated(mut self) -> Self {
        self.body.truncate(self.body.len() / 2);
        self
    }

    fn with_header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// A route that may be faulty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// The list of tags.
    Tags,
    /// The manifest of v1.0.0.
    Manifest,
    /// The layer of v1.0.0.
    Layer,
}

/// The proxy. It ends with this process.
pub struct FaultyProxy {
    address: String,
    responses: Arc<Mutex<BTreeMap<Route, Response>>>,
    requests: Arc<AtomicUsize>,
}

impl FaultyProxy {
    /// Starts it on a free port of 127.0.0.1, with a certificate of the cluster's CA.
    pub fn start(plane: &ControlPlane) -> Result<Self> {
        let (responses, requests) = (Arc::new(Mutex::new(correct_responses())), Arc::new(AtomicUsize::new(0)));
        let (shared, counter) = (responses.clone(), requests.clone());
        let address = listener::listen(plane, "faulty-proxy", move |stream| serve(stream, &shared, &counter))?;
        Ok(Self { address, responses, requests })
    }

    /// Returns the URL of the proxy: `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Sets the response of one route. All other routes answer correctly.
    pub fn set_response(&self, route: Route, response: Response) {
        let mut responses = self.responses.lock().unwrap_or_else(PoisonError::into_inner);
        *responses = correct_responses();
        responses.insert(route, response);
    }

    /// Makes every route answer correctly.
    pub fn repair(&self) {
        *self.responses.lock().unwrap_or_else(PoisonError::into_inner) = correct_responses();
    }

    /// Returns the number of requests so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn correct_responses() -> BTreeMap<Route, Response> {
    let layer = layer(&[Entry::file("plugin", script("faulty", "v1.0.0"))]);
    let manifest = manifest(&layer, Digest::of(&layer).as_str());
    let digest = Digest::of(manifest.as_bytes()).to_string();
    let tags = json!({"name": "deckhouse-cli/plugins/faulty", "tags": ["v1.0.0"]}).to_string();
    BTreeMap::from([
        (Route::Tags, Response::body("application/json", tags)),
        (Route::Layer, Response::body("application/x-gzip", layer).with_header("Docker-Content-Digest", &digest)),
        (Route::Manifest, Response::body(oci::MANIFEST, manifest).with_header("Docker-Content-Digest", &digest)),
    ])
}

/// Returns the manifest of `faulty` v1.0.0 with this layer and digest.
pub fn manifest(layer: &[u8], digest: &str) -> String {
    let contract = json!({"name": "faulty", "version": "v1.0.0"}).to_string();
    let config = oci::config(&Platform::current());
    let config = oci::descriptor(oci::CONFIG, Digest::of(config.as_bytes()).as_str(), config.len());
    let layer = oci::descriptor(oci::LAYER, digest, layer.len());
    oci::manifest(&config, &layer, &json!({"contract": base64(contract.as_bytes())})).to_string()
}

/// Answers one request and closes the connection.
fn serve(mut stream: Stream, responses: &Mutex<BTreeMap<Route, Response>>, requests: &AtomicUsize) -> Option<()> {
    let request = head(&mut stream)?;
    requests.fetch_add(1, Ordering::SeqCst);
    let path = request.split(' ').nth(1).unwrap_or_default();
    let route = match path.strip_prefix(IMAGE).unwrap_or_default() {
        "/tags" => Some(Route::Tags),
        rest if rest.starts_with("/manifests/") => Some(Route::Manifest),
        rest if rest.starts_with("/images/") => Some(Route::Layer),
        _ => None,
    };
    let known = responses.lock().unwrap_or_else(PoisonError::into_inner);
    let response = route.and_then(|route| known.get(&route).cloned());
    drop(known);
    let response = response.unwrap_or_else(|| Response::status(404, "not found"));
    let mut head = format!("HTTP/1.1 {} Reason\r\nContent-Length: {}\r\n", response.status, response.content_length);
    for (name, value) in &response.headers {
        head.extend([*name, ": ", value, "\r\n"]);
    }
    head.push_str("Connection: close\r\n\r\n");
    let stream = stream.get_mut();
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&response.body).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()?;
    stream.sock.shutdown(Shutdown::Write).ok()
}
