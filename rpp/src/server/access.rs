//! Who may download: TokenReview, then SubjectAccessReview, as kube-rbac-proxy does it in front of
//! the proxy of a cluster. What the cluster said, a denial as well, is believed for 30 s.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use http::{HeaderMap, header::AUTHORIZATION};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, api::PostParams};
use sha2::{Digest as _, Sha256};

use crate::{
    protocol::cluster::{DEPLOYMENT, NAMESPACE, SUBRESOURCE},
    server::{metrics::Metrics, singleflight::Flights},
};

/// How long the cluster's word is believed.
const BELIEVED: Duration = Duration::from_secs(30);
/// Words kept at most.
const KEPT: usize = 4096;

/// What a token is known by: it is not kept itself.
type Key = [u8; 32];

/// Asks the cluster, or remembers what it said.
pub(super) struct Gate {
    cluster: Cluster,
    words: Mutex<Words>,
    asking: Flights<Key, Result<Word, Arc<kube::Error>>>,
}

#[derive(Clone)]
struct Cluster {
    tokens: Api<TokenReview>,
    access: Api<SubjectAccessReview>,
    metrics: Arc<Metrics>,
}

/// What the cluster says of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Allowed(String),
    Denied(String),
    Nobody,
}

/// What the cluster said, and when.
#[derive(Default)]
struct Words(HashMap<Key, (Instant, Word)>);

impl Words {
    fn get(&self, key: &Key, now: Instant) -> Option<Word> {
        let (said, word) = self.0.get(key)?;
        (now.duration_since(*said) < BELIEVED).then(|| word.clone())
    }

    fn keep(&mut self, key: Key, word: Word, now: Instant) {
        if self.0.len() >= KEPT {
            self.0.retain(|_, (said, _)| now.duration_since(*said) < BELIEVED);
        }
        // Thousands of tokens in half a minute: they are asked for anew.
        if self.0.len() >= KEPT {
            self.0.clear();
        }
        self.0.insert(key, (now, word));
    }
}

/// Why somebody may not pass.
#[derive(Debug)]
pub(super) enum Refusal {
    /// No token, or one that the cluster does not accept: 401.
    Unauthenticated,
    /// Known, and not allowed: 403.
    Denied {
        /// Who it is.
        user: String,
    },
    /// The cluster could not be asked: 500.
    Unknown(Arc<kube::Error>),
}

impl Gate {
    pub(super) fn new(client: kube::Client, metrics: Arc<Metrics>) -> Self {
        let cluster = Cluster { tokens: Api::all(client.clone()), access: Api::all(client), metrics };
        Self { cluster, words: Mutex::default(), asking: Flights::default() }
    }

    /// The name of whoever the token is of, if they may download.
    pub(super) async fn pass(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        let token = bearer(headers).ok_or(Refusal::Unauthenticated)?;
        let key: Key = Sha256::digest(token).into();
        let words = || self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = words().get(&key, Instant::now());
        let word = if let Some(word) = kept {
            word
        } else {
            let (cluster, token) = (self.cluster.clone(), token.to_owned());
            let ask = || async move { cluster.ask(&token).await.map_err(Arc::new) }.boxed();
            let word = self.asking.join(key, ask).await.map_err(Refusal::Unknown)?;
            words().keep(key, word.clone(), Instant::now());
            word
        };
        match word {
            Word::Allowed(user) => Ok(user),
            Word::Denied(user) => Err(Refusal::Denied { user }),
            Word::Nobody => Err(Refusal::Unauthenticated),
        }
    }
}

impl Cluster {
    async fn ask(&self, token: &str) -> Result<Word, kube::Error> {
        let user = self.user(token).await;
        self.metrics.review("token", user.is_ok());
        let Some(user) = user? else { return Ok(Word::Nobody) };
        let name = user.username.clone().unwrap_or_default();
        let allowed = self.allowed(user).await;
        self.metrics.review("access", allowed.is_ok());
        Ok(if allowed? { Word::Allowed(name) } else { Word::Denied(name) })
    }

    /// Who has this token; nobody if the cluster does not accept it.
    async fn user(&self, token: &str) -> Result<Option<UserInfo>, kube::Error> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: None },
            ..TokenReview::default()
        };
        let review = self.tokens.create(&PostParams::default(), &review).await?;
        let status = review.status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)))
    }

    async fn allowed(&self, user: UserInfo) -> Result<bool, kube::Error> {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: user.username,
                groups: user.groups,
                uid: user.uid,
                extra: user.extra,
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(NAMESPACE.to_owned()),
                    verb: Some("get".to_owned()),
                    group: Some("apps".to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("deployments".to_owned()),
                    subresource: Some(SUBRESOURCE.to_owned()),
                    name: Some(DEPLOYMENT.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let review = self.access.create(&PostParams::default(), &review).await?;
        Ok(review.status.is_some_and(|status| status.allowed && status.denied != Some(true)))
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750; the scheme's case does not matter).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_believed_for_half_a_minute() {
        let start = Instant::now();
        let mut words = Words::default();
        words.keep([1; 32], Word::Nobody, start);
        words.keep([2; 32], Word::Allowed("a".to_owned()), start);
        for (seconds, known) in [(0, true), (29, true), (30, false)] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(words.get(&[1; 32], now).is_some(), known, "{seconds}");
            assert_eq!(words.get(&[2; 32], now).is_some(), known, "{seconds}");
        }
        assert_eq!(words.get(&[3; 32], start), None);
    }

    #[test]
    fn never_more_words_than_are_kept() {
        let start = Instant::now();
        let mut words = Words::default();
        for number in 0..3 * KEPT {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            words.keep(key, Word::Nobody, start + Duration::from_millis(number as u64));
            assert!(words.0.len() <= KEPT);
        }
    }

    #[test]
    fn bearer_tokens() {
        for (header, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer ", None),
            ("Bearer", None),
            ("Basic abc", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())]);
            assert_eq!(bearer(&headers), token, "{header:?}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
