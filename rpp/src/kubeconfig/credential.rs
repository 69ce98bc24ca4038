//! The credential of a user: one for the Kubernetes API and the proxy, so that a plugin runs once.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use d8_crds::values::text::printable;
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use jiff::Timestamp;
use kube::client::{Body, middleware::AuthLayer};
use tower::{BoxError, Layer as _, ServiceExt as _, service_fn, util::BoxService};

use super::exec::{ExecPlugin, InteractiveMode, PluginCredential};
use crate::{error::CredentialError, file::read_regular, text::error_chain};

/// How long a token file is not read again, as in client-go.
const FILE_LIFETIME: Duration = Duration::from_mins(1);
/// Largest token file, in bytes. A header cannot be longer.
const MAX_TOKEN: u64 = 1 << 20;

/// The credential of a user in a kubeconfig. Cheap to clone; clones share what a plugin returned.
#[derive(Clone)]
pub(crate) struct Credential {
    source: Arc<Source>,
    /// Whether a plugin may use the terminal.
    terminal: bool,
}

/// Origin of the credential.
pub(super) enum Source {
    /// No credential: requests carry no identity.
    Anonymous,
    /// A client certificate, which is part of the TLS configuration.
    Certificate,
    /// A token, or a user name and a password.
    Fixed(HeaderValue),
    /// A file with a token. The inline token is used while the file cannot be read.
    File { path: PathBuf, inline: Option<HeaderValue>, cached: Mutex<Option<(HeaderValue, Instant)>> },
    /// A plugin, and what it returned.
    Exec { plugin: Box<ExecPlugin>, cached: tokio::sync::Mutex<Option<PluginCredential>> },
    /// OIDC, as the library implements it.
    Oidc(AuthLayer),
}

impl Source {
    pub(super) fn file(path: &str, inline: Option<HeaderValue>) -> Self {
        Self::File { path: path.into(), inline, cached: Mutex::default() }
    }

    pub(super) fn exec(plugin: ExecPlugin) -> Self {
        Self::Exec { plugin: Box::new(plugin), cached: tokio::sync::Mutex::default() }
    }
}

impl Credential {
    pub(super) fn new(source: Source) -> Self {
        Self { source: Arc::new(source), terminal: true }
    }

    pub(super) fn anonymous() -> Self {
        Self::new(Source::Anonymous)
    }

    /// Whether requests carry no identity at all.
    pub(crate) fn is_anonymous(&self) -> bool {
        matches!(*self.source, Source::Anonymous)
    }

    /// Whether it cannot be read without a terminal: a plugin with `interactiveMode: Always`.
    pub(crate) fn needs_terminal(&self) -> bool {
        matches!(&*self.source, Source::Exec { plugin, .. } if plugin.mode == InteractiveMode::Always)
    }

    /// Returns the same credential, read without the terminal. `None`: reading it never uses the terminal.
    pub(super) fn without_terminal(&self) -> Option<Self> {
        let is_plugin = matches!(*self.source, Source::Exec { .. });
        is_plugin.then(|| Self { terminal: false, ..self.clone() })
    }

    /// Returns the `Authorization` header to send now. Runs a plugin if its credential is missing or has expired.
    ///
    /// # Errors
    /// The plugin, the file or the OIDC provider gave no usable token.
    pub(crate) async fn header(&self) -> Result<Option<HeaderValue>, CredentialError> {
        match &*self.source {
            Source::Anonymous | Source::Certificate => Ok(None),
            Source::Fixed(header) => Ok(Some(header.clone())),
            Source::File { path, inline, cached } => {
                let mut cached = cached.lock().unwrap_or_else(PoisonError::into_inner);
                file_header(path, inline.as_ref(), &mut cached).map(Some)
            }
            Source::Exec { .. } => {
                let Some(token) = self.plugin_credential().await?.and_then(|credential| credential.token) else {
                    return Ok(None);
                };
                bearer(&token, "the token of the credential plugin").map(Some)
            }
            Source::Oidc(layer) => oidc_header(layer).await,
        }
    }

    /// Returns the client certificate of a plugin, PEM, and its key. Runs the plugin if necessary.
    pub(super) async fn certificate(&self) -> Result<Option<(String, String)>, CredentialError> {
        Ok(self.plugin_credential().await?.and_then(|credential| credential.certificate))
    }

    /// Forgets the credential of a plugin after the server refused it with 401: the next request runs the plugin again.
    pub(super) async fn refused(&self, sent: Option<&HeaderValue>) {
        if let Source::Exec { cached, .. } = &*self.source {
            let mut cached = cached.lock().await;
            let token = cached.as_ref().and_then(|credential| credential.token.as_deref());
            // Another request may have renewed it in the meantime.
            if token.and_then(|token| bearer(token, "").ok()).as_ref() == sent {
                *cached = None;
            }
        }
    }

    async fn plugin_credential(&self) -> Result<Option<PluginCredential>, CredentialError> {
        let Source::Exec { plugin, cached } = &*self.source else { return Ok(None) };
        // Requests that need a new credential at the same time wait for one run.
        let mut cached = cached.lock().await;
        let current = cached.take().filter(|held| held.expires.is_none_or(|expires| Timestamp::now() <= expires));
        let current = match current {
            Some(current) => current,
            None => plugin.run(self.terminal).await?,
        };
        Ok(Some(cached.insert(current).clone()))
    }
}

/// Returns the header for a token, as it is. `origin` says where the token stands, for the error.
pub(super) fn bearer(token: &str, origin: &str) -> Result<HeaderValue, CredentialError> {
    header("Bearer", token, origin)
}

/// Returns the header for a scheme and its credential.
pub(super) fn header(scheme: &str, credential: &str, origin: &str) -> Result<HeaderValue, CredentialError> {
    let mut value = HeaderValue::try_from(format!("{scheme} {credential}")).map_err(|_| {
        // Other bytes than these can stand in a header.
        let (place, character) =
            credential.chars().enumerate().find(|(_, c)| c.is_control() && *c != '\t').unwrap_or_default();
        let kind = if matches!(character, '\n' | '\r') { "line break" } else { "control character" };
        let what = if credential.ends_with(['\n', '\r']) && kind == "line break" {
            "it ends with a line break".to_owned()
        } else {
            format!("character {} of it is a {kind}", place + 1)
        };
        CredentialError::new(format!("{origin} cannot be sent: {what}")).with_fix(
            format!("a header of HTTP cannot contain a {kind}"),
            format!("remove the {kind} from the {}", origin.trim_start_matches("its ").trim_start_matches("the ")),
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads the token of a file, at most once a minute. Whitespace around it is removed.
fn file_header(
    path: &Path,
    inline: Option<&HeaderValue>,
    cached: &mut Option<(HeaderValue, Instant)>,
) -> Result<HeaderValue, CredentialError> {
    if let Some((header, _)) = cached.as_ref().filter(|(_, read)| read.elapsed() < FILE_LIFETIME) {
        return Ok(header.clone());
    }
    match read_token(path) {
        Ok(header) => {
            *cached = Some((header.clone(), Instant::now()));
            Ok(header)
        }
        // The file may be replaced at this moment: the last token is the better one then.
        Err(error) => cached.as_ref().map(|(header, _)| header).or(inline).cloned().ok_or(error),
    }
}

fn read_token(path: &Path) -> Result<HeaderValue, CredentialError> {
    let shown = path.display().to_string();
    let shown = printable(&shown);
    let failed = |why: &str| CredentialError::new(format!("token file {shown}: {why}"));
    let bytes = read_regular(path, MAX_TOKEN).map_err(|error| failed(&error.to_string()))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| failed("it is not UTF-8"))?;
    match text.trim() {
        "" => Err(failed("it is empty")),
        token => bearer(token, &format!("the token in {shown}")),
    }
}

/// Returns the header that the library's layer adds to a request: the layer can only decorate requests.
async fn oidc_header(layer: &AuthLayer) -> Result<Option<HeaderValue>, CredentialError> {
    header_service(layer)
        .oneshot(Request::new(Body::empty()))
        .await
        .map(Response::into_body)
        .map_err(|error| CredentialError::new(error_chain(&*error)))
}

/// Returns a service that answers a request with the `Authorization` header that the layer added to it. Boxed because
/// the compiler cannot prove `Send` for the layer's types.
fn header_service(layer: &AuthLayer) -> BoxService<Request<Body>, Response<Option<HeaderValue>>, BoxError> {
    let service = service_fn(|request: Request<Body>| async move {
        Ok::<_, BoxError>(Response::new(request.headers().get(AUTHORIZATION).cloned()))
    });
    BoxService::new(layer.layer(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_cannot_be_sent_are_named_by_their_place() {
        for (token, expected) in [
            ("plain", Ok("Bearer plain")),
            ("with space ", Ok("Bearer with space ")),
            ("line\n", Err("the token of user \"u\" cannot be sent: it ends with a line break")),
            ("line\r\n", Err("the token of user \"u\" cannot be sent: it ends with a line break")),
            ("two\nlines", Err("the token of user \"u\" cannot be sent: character 4 of it is a line break")),
            ("\u{0}", Err("the token of user \"u\" cannot be sent: character 1 of it is a control character")),
        ] {
            let header = bearer(token, "the token of user \"u\"");
            let shown = header.as_ref().map(|header| header.to_str().unwrap()).map_err(ToString::to_string);
            assert_eq!(shown, expected.map_err(str::to_owned), "{token:?}");
            assert!(header.is_err() || header.is_ok_and(|header| header.is_sensitive()));
        }
    }

    #[tokio::test]
    async fn token_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let inline = HeaderValue::from_static("Bearer inline");
        for (content, has_inline, expected) in [
            ("t", false, Ok("Bearer t")),
            ("t\n", false, Ok("Bearer t")),
            (" t\r\n\n", true, Ok("Bearer t")),
            ("", false, Err("it is empty")),
            (" \n", false, Err("it is empty")),
            (" \n", true, Ok("Bearer inline")),
            ("a\nb", false, Err("character 2 of it is a line break")),
            ("a\u{1}b\n", false, Err("character 2 of it is a control character")),
        ] {
            std::fs::write(&path, content).unwrap();
            let source = Source::file(path.to_str().unwrap(), has_inline.then(|| inline.clone()));
            match (Credential::new(source).header().await, expected) {
                (Ok(header), Ok(expected)) => assert_eq!(header.unwrap().to_str().unwrap(), expected, "{content:?}"),
                (Err(error), Err(words)) => {
                    let error = error.to_string();
                    assert!(error.contains(words) && error.contains(path.to_str().unwrap()), "{content:?}: {error}");
                }
                (result, _) => panic!("{content:?}: {result:?}"),
            }
        }
        let missing = Source::file("/nonexistent/token", None);
        assert!(Credential::new(missing).header().await.unwrap_err().to_string().contains("/nonexistent/token"));
        let replaced = Credential::new(Source::file(path.to_str().unwrap(), Some(inline)));
        std::fs::write(&path, "first").unwrap();
        assert_eq!(replaced.header().await.unwrap().unwrap(), "Bearer first");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(replaced.header().await.unwrap().unwrap(), "Bearer first", "the last token that was read");
    }
}
