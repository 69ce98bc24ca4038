//! The caller's identity towards the proxy: the Bearer token of the kubeconfig, and nothing else of it.

use std::fmt;

use http::HeaderValue;

use crate::{
    error::{CredentialError, Error},
    kubeconfig::{ClusterAccess, Credential},
};

/// The identity that requests carry. Cheap to clone. A token that expires is renewed as the kubeconfig says.
#[derive(Clone)]
pub struct Identity(TokenSource);

/// Origin of the token.
#[derive(Clone)]
enum TokenSource {
    Anonymous,
    Fixed(HeaderValue),
    Kubeconfig(Credential),
}

impl fmt::Debug for Identity {
    /// Never shows a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            TokenSource::Anonymous => "Identity(none)",
            TokenSource::Fixed(_) => "Identity(token)",
            TokenSource::Kubeconfig(_) => "Identity(kubeconfig)",
        })
    }
}

impl Identity {
    /// An identity without a token.
    pub fn anonymous() -> Self {
        Self(TokenSource::Anonymous)
    }

    /// An identity with this token. Whitespace around the token is removed.
    pub fn token(token: &str) -> Result<Self, Error> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| Error::Identity(CredentialError::new("the token contains a control character")))?;
        value.set_sensitive(true);
        Ok(Self(TokenSource::Fixed(value)))
    }

    /// The identity of a kubeconfig or a Pod, which the client of the Kubernetes API shares. A kubeconfig without a
    /// token gives an anonymous identity: only the proxy knows whether it needs a token.
    pub fn of(access: &ClusterAccess) -> Self {
        Self(TokenSource::Kubeconfig(access.credential().clone()))
    }

    /// Returns the `Authorization` header to send now. `None` without a Bearer token: a user name and a
    /// password are never sent to the proxy.
    pub(crate) async fn header(&self) -> Result<Option<HeaderValue>, Error> {
        match &self.0 {
            TokenSource::Anonymous => Ok(None),
            TokenSource::Fixed(value) => Ok(Some(value.clone())),
            TokenSource::Kubeconfig(credential) => {
                let header = credential.header().await.map_err(Error::Identity)?;
                Ok(header.filter(|value| value.as_bytes().starts_with(b"Bearer ")).map(|mut value| {
                    value.set_sensitive(true);
                    value
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(user: &str) -> Result<ClusterAccess, Error> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        ClusterAccess::of_text(format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}]\nusers: [{{name: u, user: {user}}}]\n"
        ))
    }

    async fn header(user: &str) -> Result<Option<String>, Error> {
        let value = Identity::of(&access(user)?).header().await?;
        Ok(value.map(|value| {
            assert!(value.is_sensitive());
            value.to_str().unwrap().to_owned()
        }))
    }

    #[tokio::test]
    async fn tokens_of_a_kubeconfig() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-file\r\n").unwrap();
        let path = file.path().display();
        let plugin = r#"exec: {command: sh, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, args: ["-c",
            "echo '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"from-plugin\"}}'"]}"#;
        for (user, expected) in [
            ("{}".to_owned(), None),
            ("{token: static}".to_owned(), Some("Bearer static")),
            (format!("{{tokenFile: {path}}}"), Some("Bearer from-file")),
            (format!("{{token: stale, tokenFile: {path}}}"), Some("Bearer from-file")),
            ("{token: inline, tokenFile: /nonexistent}".to_owned(), Some("Bearer inline")),
            (format!("{{{plugin}}}"), Some("Bearer from-plugin")),
            (format!("{{token: static, {plugin}}}"), Some("Bearer static")),
            ("{username: me, password: secret}".to_owned(), None),
        ] {
            assert_eq!(header(&user).await.unwrap().as_deref(), expected, "{user}");
        }
    }

    #[tokio::test]
    async fn users_that_are_refused() {
        for (user, words) in [
            ("{token: \"a\\n\"}", "user \"u\" in the kubeconfig: its token cannot be sent: it ends with a line break"),
            ("{token: a, username: b}", "both a token and a password"),
            ("{username: b, password: \"\", exec: {}, auth-provider: {}}", "both `exec` and `auth-provider`"),
            ("{exec: {command: x, apiVersion: client.authentication.k8s.io/v1}}", "exec.interactiveMode is not set"),
            ("{exec: {command: x, interactiveMode: Never}}", "exec.apiVersion"),
            ("{exec: {apiVersion: client.authentication.k8s.io/v1beta1}}", "exec.command is not set"),
            ("{auth-provider: {name: gcp}}", "auth-provider \"gcp\" is not supported"),
            ("{client-certificate-data: YQ==}", "without `client-key`"),
            ("{client-certificate-data: '*'}", "is not base64"),
            ("{as-uid: x}", "need `as`"),
            ("{as: \"a\\nb\"}", "cannot be sent as headers"),
        ] {
            let error = access(user).err().unwrap();
            assert_eq!(error.kind(), crate::ErrorKind::Kubeconfig, "{user}: {error}");
            assert!(error.to_string().contains(words), "{user}: {error}");
        }
    }

    /// Returns a user with OIDC and the ID token, which expires at this time (seconds since 1970).
    fn oidc(expires: i64) -> (String, String) {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let part = |json: String| URL_SAFE_NO_PAD.encode(json);
        let token = format!("{}.{}.sig", part(r#"{"alg":"RS256"}"#.into()), part(format!(r#"{{"exp":{expires}}}"#)));
        let user = format!("{{auth-provider: {{name: oidc, config: {{id-token: {token}, client-id: kubectl}}}}}}");
        (user, token)
    }

    #[tokio::test]
    async fn an_oidc_token_is_sent_until_it_expires() {
        let (user, token) = oidc(4_102_444_800);
        assert_eq!(header(&user).await.unwrap(), Some(format!("Bearer {token}")));
        let error = header(&oidc(0).0).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Identity, "{error}");
        assert!(error.to_string().contains("expired"), "{error}");
    }

    #[tokio::test]
    async fn a_failing_exec_plugin_is_an_identity_error() {
        let user = "{exec: {command: /nonexistent/plugin, apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never}}";
        let error = header(user).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Identity, "{error}");
    }

    #[test]
    fn a_token_is_never_shown() {
        let identity = Identity::token("very-secret").unwrap();
        assert!(!format!("{identity:?}").contains("secret"));
        assert!(Identity::token("a\nb").is_err());
    }
}
