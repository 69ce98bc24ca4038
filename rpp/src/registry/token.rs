//! Tokens that the authorization server of a registry issues (token authentication of the distribution project). Its
//! answers are limited in size and time, and a token is checked before it is sent.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header::AUTHORIZATION, header::WWW_AUTHENTICATE};
use http_auth::parser::ChallengeParser;
use oci_client::secrets::RegistryAuth;
use reqwest::Response;
use serde::Deserialize;
use tokio::time::timeout;
use url::Url;

use super::{
    RegistryError, Session,
    request::{authorization, error_message, failed, read},
};
use crate::text::{MAX_MESSAGE, one_line};

/// Limit for a whole request for a token.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of the answer with a token.
const ANSWER_BYTES: usize = 1 << 20;
/// How long a token is valid at least, also without a time in the answer.
const LIFETIME: Duration = Duration::from_mins(1);
/// How long a token is used at most.
const MAX_LIFETIME: Duration = Duration::from_hours(1);

/// What a token permits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Pull,
    Push,
}

/// A token that may be sent in a header.
pub(super) struct Token {
    pub(super) value: String,
    pub(super) lifetime: Duration,
}

/// Returns whether a text may be sent as a token: it is not empty, and has only visible characters of ASCII.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Requests a token for a repository. `None`: the registry issues no tokens, or the credentials are a token.
pub(super) async fn request(
    session: &Session,
    origin: &str,
    repository: &str,
    access: Access,
) -> Result<Option<Token>, RegistryError> {
    if matches!(session.auth, RegistryAuth::Bearer(_)) {
        return Ok(None);
    }
    let requested = timeout(DEADLINE, request_without_deadline(session, origin, repository, access)).await;
    requested.map_err(|_| RegistryError::Failed(format!("no token within {} seconds", DEADLINE.as_secs())))?
}

async fn request_without_deadline(
    session: &Session,
    origin: &str,
    repository: &str,
    access: Access,
) -> Result<Option<Token>, RegistryError> {
    let text = format!("{origin}/v2/");
    let url = Url::parse(&text).map_err(|error| RegistryError::Failed(format!("{text}: {error}")))?;
    let response = session.http.get(url.clone()).send().await.map_err(|error| failed(&url, &error.without_url()))?;
    let Some(challenge) = Challenge::of(response.headers()) else { return Ok(None) };
    let url = challenge.url(repository, access)?;
    let mut request = session.http.get(url.clone());
    if let Some(authorization) = authorization(&session.auth) {
        request = request.header(AUTHORIZATION, authorization);
    }
    let response = request.send().await.map_err(|error| failed(&url, &error.without_url()))?;
    token_of(&url, response).await.map(Some)
}

/// Reads a token. Errors never quote it.
async fn token_of(url: &Url, response: Response) -> Result<Token, RegistryError> {
    #[derive(Deserialize)]
    struct Answer {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<serde_json::Value>,
    }
    let refused = |why: String| {
        RegistryError::Failed(format!("no token from {}: {why}", one_line(url.as_str().as_bytes(), MAX_MESSAGE)))
    };
    let status = response.status();
    if status != StatusCode::OK {
        return Err(refused(format!("{status}: {}", error_message(response).await)));
    }
    let body = read(response, ANSWER_BYTES).await.map_err(|error| failed(url, &error))?;
    let body = body.ok_or_else(|| refused(format!("the answer is larger than {ANSWER_BYTES} bytes")))?;
    let answer: Answer = serde_json::from_slice(&body).map_err(|error| {
        refused(format!("line {}, column {}: the answer is not a token in JSON", error.line(), error.column()))
    })?;
    let value = answer.token.filter(|token| !token.is_empty()).or(answer.access_token);
    let value = value.ok_or_else(|| refused("the answer has neither `token` nor `access_token`".to_owned()))?;
    if !is_token(&value) {
        return Err(refused("the token is empty, or has characters that no header may have".to_owned()));
    }
    let seconds = answer.expires_in.and_then(|seconds| seconds.as_u64()).unwrap_or_default();
    Ok(Token { value, lifetime: Duration::from_secs(seconds).clamp(LIFETIME, MAX_LIFETIME) })
}

/// Where a registry's tokens are issued.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
}

impl Challenge {
    /// Returns the challenge for a token in the headers of an answer.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges = values.flat_map(|value| ChallengeParser::new(value).filter_map(Result::ok));
        let mut bearer = challenges.filter(|challenge| challenge.scheme.eq_ignore_ascii_case("bearer"));
        bearer.find_map(|challenge| {
            let parameter = |name: &str| {
                let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.to_unescaped())
            };
            Some(Self { realm: parameter("realm")?, service: parameter("service") })
        })
    }

    /// Returns the URL for a token.
    fn url(&self, repository: &str, access: Access) -> Result<Url, RegistryError> {
        let url = Url::parse(&self.realm).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let mut url = url.ok_or_else(|| {
            let realm = one_line(self.realm.as_bytes(), MAX_MESSAGE);
            RegistryError::Failed(format!("it issues tokens at `{realm}`, which is not a URL with http or https"))
        })?;
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        let scope = format!("repository:{repository}:{actions}");
        let service = self.service.iter().map(|service| ("service", service));
        url.query_pairs_mut().extend_pairs(service).append_pair("scope", &scope);
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_registries() {
        let cases: [(&[&str], Option<&str>); 8] = [
            (&[], None),
            (&["Basic realm=\"x\""], None),
            (&["Bearer service=\"x\""], None),
            (
                &["Bearer realm=\"https://auth.example.com/token\",service=\"r.example.com\",scope=\"a:b:pull\""],
                Some("https://auth.example.com/token?service=r.example.com&scope=repository%3Ax%3Apull"),
            ),
            (
                &["bearer Realm=\"https://auth.example.com/token?account=a\""],
                Some("https://auth.example.com/token?account=a&scope=repository%3Ax%3Apull"),
            ),
            (&["Basic realm=\"x\", Bearer realm=\"http://a/\""], Some("http://a/?scope=repository%3Ax%3Apull")),
            (&["Basic realm=\"x\"", "Bearer realm=\"http://a/\""], Some("http://a/?scope=repository%3Ax%3Apull")),
            (&["\u{fffd}", "Bearer realm=\"http://a/\""], Some("http://a/?scope=repository%3Ax%3Apull")),
        ];
        for (values, expected) in cases {
            let headers = values.iter().map(|value| (WWW_AUTHENTICATE, value.as_bytes().try_into().unwrap()));
            let challenge = Challenge::of(&headers.collect());
            let url = challenge.map(|challenge| challenge.url("x", Access::Pull).unwrap().to_string());
            assert_eq!(url.as_deref(), expected, "{values:?}");
        }
        for realm in ["", "/token", "file:///etc/passwd", "javascript:x"] {
            let challenge = Challenge { realm: realm.to_owned(), service: None };
            assert!(challenge.url("x", Access::Push).is_err(), "{realm}");
        }
    }

    #[test]
    fn tokens_have_visible_characters_only() {
        assert!(is_token("eyJhbGciOi.J9-_~+/="));
        for text in ["", "a\r\nb", "a\nX: y", "a\0b", "a b", "a\u{7f}", "\u{2603}"] {
            assert!(!is_token(text), "{text:?}");
        }
    }
}
