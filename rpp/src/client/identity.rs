//! The caller's identity towards the proxy: the Bearer token of the kubeconfig, and nothing else of it.

use std::{fmt, sync::Arc};

use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use kube::client::{Body, ConfigExt as _, middleware::AuthLayer};
use tower::{BoxError, Layer as _, ServiceExt as _, service_fn, util::BoxService};

use crate::{error::Error, text::error_chain};

/// The identity that requests carry. Cheap to clone. A token that expires is renewed as the kubeconfig says.
#[derive(Clone)]
pub struct Identity(Arc<TokenSource>);

/// Origin of the token.
enum TokenSource {
    Anonymous,
    Fixed(HeaderValue),
    Kubeconfig(AuthLayer),
}

impl fmt::Debug for Identity {
    /// Never shows a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self.0 {
            TokenSource::Anonymous => "Identity(none)",
            TokenSource::Fixed(_) => "Identity(token)",
            TokenSource::Kubeconfig(_) => "Identity(kubeconfig)",
        })
    }
}

impl Identity {
    /// An identity without a token.
    pub fn anonymous() -> Self {
        Self(Arc::new(TokenSource::Anonymous))
    }

    /// An identity with this token. Whitespace around the token is removed.
    pub fn token(token: &str) -> Result<Self, Error> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| Error::Identity { why: "the token contains characters that are not allowed".to_owned() })?;
        value.set_sensitive(true);
        Ok(Self(Arc::new(TokenSource::Fixed(value))))
    }

    /// The identity of a kubeconfig or a Pod: a static token, a token file, an exec plugin or OIDC. Runs
    /// the exec plugin once. A kubeconfig with none of these gives an anonymous identity: only the proxy
    /// knows whether it needs a token.
    pub async fn of(config: &kube::Config) -> Result<Self, Error> {
        let config = config.clone();
        // Blocks until the exec plugin has ended.
        let layer = tokio::task::spawn_blocking(move || config.auth_layer())
            .await
            .map_err(|error| Error::Identity { why: error.to_string() })?
            .map_err(|error| Error::Identity { why: error_chain(&error) })?;
        Ok(Self(Arc::new(layer.map_or(TokenSource::Anonymous, TokenSource::Kubeconfig))))
    }

    /// Returns the `Authorization` header to send now. `None` without a Bearer token: a user name and a
    /// password are never sent to the proxy.
    pub(crate) async fn header(&self) -> Result<Option<HeaderValue>, Error> {
        let layer = match &*self.0 {
            TokenSource::Anonymous => return Ok(None),
            TokenSource::Fixed(value) => return Ok(Some(value.clone())),
            TokenSource::Kubeconfig(layer) => layer,
        };
        let header = header_service(layer)
            .oneshot(Request::new(Body::empty()))
            .await
            .map_err(|error| Error::Identity { why: error_chain(&*error) })?
            .into_body();
        Ok(header.filter(|value| value.as_bytes().starts_with(b"Bearer ")).map(|mut value| {
            value.set_sensitive(true);
            value
        }))
    }
}

/// Returns a service that answers a request with the `Authorization` header that the layer added to it: the
/// layer can only decorate requests. Boxed because the compiler cannot prove `Send` for the layer's types.
fn header_service(layer: &AuthLayer) -> BoxService<Request<Body>, Response<Option<HeaderValue>>, BoxError> {
    let service = service_fn(|request: Request<Body>| async move {
        Ok::<_, BoxError>(Response::new(request.headers().get(AUTHORIZATION).cloned()))
    });
    BoxService::new(layer.layer(service))
}

#[cfg(test)]
mod tests {
    use kube::config::AuthInfo;

    use super::*;

    fn config(auth: AuthInfo) -> kube::Config {
        let mut config = kube::Config::new("https://127.0.0.1:1".parse().unwrap());
        config.auth_info = auth;
        config
    }

    async fn header(auth: AuthInfo) -> Option<String> {
        let value = Identity::of(&config(auth)).await.unwrap().header().await.unwrap()?;
        assert!(value.is_sensitive());
        Some(value.to_str().unwrap().to_owned())
    }

    #[tokio::test]
    async fn tokens_of_a_kubeconfig() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-file").unwrap();
        let token_file = Some(file.path().display().to_string());
        let plugin = r#"{"command": "sh", "apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never", "args": ["-c",
            "echo '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"from-plugin\"}}'"]}"#;
        let cases = [
            (AuthInfo::default(), None),
            (AuthInfo { token: Some("static".to_owned().into()), ..AuthInfo::default() }, Some("Bearer static")),
            (AuthInfo { token_file, ..AuthInfo::default() }, Some("Bearer from-file")),
            (
                AuthInfo { exec: Some(serde_json::from_str(plugin).unwrap()), ..AuthInfo::default() },
                Some("Bearer from-plugin"),
            ),
            (
                AuthInfo {
                    username: Some("me".to_owned()),
                    password: Some("secret".to_owned().into()),
                    ..AuthInfo::default()
                },
                None,
            ),
        ];
        for (auth, expected) in cases {
            assert_eq!(header(auth).await.as_deref(), expected);
        }
    }

    /// Returns a kubeconfig with OIDC and its ID token, which expires at this time (seconds since 1970).
    fn oidc(expires: i64) -> (AuthInfo, String) {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        provider();
        let part = |json: String| URL_SAFE_NO_PAD.encode(json);
        let token = format!("{}.{}.sig", part(r#"{"alg":"RS256"}"#.into()), part(format!(r#"{{"exp":{expires}}}"#)));
        let provider = serde_json::json!({"name": "oidc", "config": {"id-token": token, "client-id": "kubectl"}});
        let auth = AuthInfo { auth_provider: serde_json::from_value(provider).unwrap(), ..AuthInfo::default() };
        (auth, token)
    }

    fn provider() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }

    #[tokio::test]
    async fn an_oidc_token_is_sent_until_it_expires() {
        let (auth, token) = oidc(4_102_444_800);
        assert_eq!(header(auth).await, Some(format!("Bearer {token}")));
        let (auth, _) = oidc(0);
        let identity = Identity::of(&config(auth)).await;
        let error = match identity {
            Err(error) => error,
            Ok(identity) => identity.header().await.unwrap_err(),
        };
        assert_eq!(error.kind(), crate::ErrorKind::Identity, "{error}");
        assert!(error.to_string().contains("expired"), "{error}");
    }

    #[tokio::test]
    async fn a_failing_exec_plugin_is_an_identity_error() {
        let exec = serde_json::from_str(r#"{"command": "/nonexistent/plugin", "interactiveMode": "Never"}"#).unwrap();
        let error = Identity::of(&config(AuthInfo { exec: Some(exec), ..AuthInfo::default() })).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Identity, "{error}");
    }

    #[test]
    fn a_token_is_never_shown() {
        let identity = Identity::token("very-secret").unwrap();
        assert!(!format!("{identity:?}").contains("secret"));
        assert!(Identity::token("a\nb").is_err());
    }
}
