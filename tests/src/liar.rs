//! A proxy that answers wrongly, to see what the command line makes of it. It asks nobody who may
//! download and serves one plugin, `faulty` v1.0.0, faultlessly but for one route.

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
use crate::oci::{Entry, layer};
use crate::{ControlPlane, Result, base64};

const IMAGE: &str = "/v1/images/deckhouse-cli/plugins/faulty";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What a route answers.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// How many bytes are announced; `body` may be shorter.
    announced: usize,
}

impl Answer {
    /// A body of a type.
    pub fn body(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let headers = vec![("Content-Type", content_type.to_owned())];
        Self { status: 200, headers, announced: body.len(), body }
    }

    /// A status with one line of text.
    pub fn status(status: u16, words: &str) -> Self {
        Self { status, ..Self::body("text/plain", words) }
    }

    /// A redirect.
    pub fn redirect(to: &str) -> Self {
        let mut answer = Self::status(302, "over there");
        answer.headers.push(("Location", to.to_owned()));
        answer
    }

    /// The same with its body cut to half of what is announced.
    #[must_use]
    pub fn cut(mut self) -> Self {
        self.body.truncate(self.body.len() / 2);
        self
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// Which route lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// The list of tags.
    Tags,
    /// The manifest of v1.0.0.
    Manifest,
    /// Its layer.
    Layer,
}

/// The proxy.
pub struct Liar {
    address: String,
    answers: Arc<Mutex<BTreeMap<Route, Answer>>>,
    requests: Arc<AtomicUsize>,
}

impl Liar {
    /// Starts it on a free port of 127.0.0.1, with a certificate of the cluster's authority. It ends
    /// with this process.
    pub fn start(plane: &ControlPlane) -> Result<Self> {
        let (answers, requests) = (Arc::new(Mutex::new(truth())), Arc::new(AtomicUsize::new(0)));
        let (shared, counter) = (answers.clone(), requests.clone());
        let address = listener::listen(plane, "liar", move |stream| serve(stream, &shared, &counter))?;
        Ok(Self { address, answers, requests })
    }

    /// `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Answers faultlessly but for this route.
    pub fn lie(&self, route: Route, answer: Answer) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        *answers = truth();
        answers.insert(route, answer);
    }

    /// How many requests came.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// What the routes answer where nothing is wrong.
pub fn truth() -> BTreeMap<Route, Answer> {
    let layer = layer(&[Entry::file("plugin", script("faulty", "v1.0.0"))]);
    let manifest = manifest(&layer, Digest::of(&layer).as_str());
    let digest = Digest::of(manifest.as_bytes()).to_string();
    let tags = json!({"name": "deckhouse-cli/plugins/faulty", "tags": ["v1.0.0"]}).to_string();
    BTreeMap::from([
        (Route::Tags, Answer::body("application/json", tags)),
        (Route::Layer, Answer::body("application/x-gzip", layer).with("Docker-Content-Digest", &digest)),
        (Route::Manifest, Answer::body(MANIFEST, manifest).with("Docker-Content-Digest", &digest)),
    ])
}

/// The manifest of an image with this layer under that digest.
pub fn manifest(layer: &[u8], digest: &str) -> String {
    let contract = json!({"name": "faulty", "version": "v1.0.0"}).to_string();
    let (os, arch) = (Platform::current().os().to_owned(), Platform::current().arch().to_owned());
    let config = json!({"architecture": arch, "os": os}).to_string();
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(config.as_bytes()).to_string(),
            "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": layer.len(),
        }],
        "annotations": {"contract": base64(contract.as_bytes())},
    })
    .to_string()
}

/// Answers one request and hangs up.
fn serve(mut stream: Stream, answers: &Mutex<BTreeMap<Route, Answer>>, requests: &AtomicUsize) -> Option<()> {
    let request = head(&mut stream)?;
    requests.fetch_add(1, Ordering::SeqCst);
    let path = request.split(' ').nth(1).unwrap_or_default();
    let route = match path.strip_prefix(IMAGE).unwrap_or_default() {
        "/tags" => Some(Route::Tags),
        rest if rest.starts_with("/manifests/") => Some(Route::Manifest),
        rest if rest.starts_with("/images/") => Some(Route::Layer),
        _ => None,
    };
    let known = answers.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = route.and_then(|route| known.get(&route).cloned());
    drop(known);
    let answer = answer.unwrap_or_else(|| Answer::status(404, "not found"));
    let mut head = format!("HTTP/1.1 {} Word\r\nContent-Length: {}\r\n", answer.status, answer.announced);
    for (name, value) in &answer.headers {
        head.extend([*name, ": ", value, "\r\n"]);
    }
    head.push_str("Connection: close\r\n\r\n");
    let stream = stream.get_mut();
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&answer.body).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()?;
    stream.sock.shutdown(Shutdown::Write).ok()
}
