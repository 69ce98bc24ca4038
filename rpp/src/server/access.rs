//! Authentication and authorization: TokenReview, then SubjectAccessReview, as kube-rbac-proxy does it in
//! front of a cluster's proxy. Reviews are cached for 30 s, denials as well.

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

use super::{metrics::Metrics, singleflight::Singleflight};
use crate::protocol::cluster::{DEPLOYMENT, NAMESPACE, SUBRESOURCE};

/// How long a review is cached.
const LIFETIME: Duration = Duration::from_secs(30);
/// Reviews that are cached.
const MAX_CACHED: usize = 4096;

/// SHA-256 of a token. Tokens themselves are not stored.
type TokenHash = [u8; 32];

/// Decides who may download, by the cluster's reviews.
pub(super) struct Authorizer {
    cluster: Reviewer,
    cache: Mutex<ReviewCache>,
    running: Singleflight<TokenHash, Result<Review, Arc<kube::Error>>>,
}

#[derive(Clone)]
struct Reviewer {
    tokens: Api<TokenReview>,
    access: Api<SubjectAccessReview>,
    metrics: Arc<Metrics>,
}

/// The cluster's review of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Review {
    /// This user may download.
    Allowed(String),
    /// This user may not download.
    Denied(String),
    /// The token belongs to no user.
    Unauthenticated,
}

/// Reviews, and when they were made.
#[derive(Default)]
struct ReviewCache(HashMap<TokenHash, (Instant, Review)>);

impl ReviewCache {
    fn get(&self, token: &TokenHash, now: Instant) -> Option<Review> {
        let (made, review) = self.0.get(token)?;
        (now.duration_since(*made) < LIFETIME).then(|| review.clone())
    }

    fn insert(&mut self, token: TokenHash, review: Review, now: Instant) {
        if self.0.len() >= MAX_CACHED {
            self.0.retain(|_, (made, _)| now.duration_since(*made) < LIFETIME);
        }
        // More tokens than that within 30 s are reviewed again.
        if self.0.len() >= MAX_CACHED {
            self.0.clear();
        }
        self.0.insert(token, (now, review));
    }
}

/// Why a request is refused.
#[derive(Debug)]
pub(super) enum AccessError {
    /// There is no token, or the cluster does not accept it: 401.
    Unauthenticated,
    /// The user may not download: 403.
    Denied {
        /// Name of the user.
        user: String,
    },
    /// The review by the cluster failed: 500.
    Review(Arc<kube::Error>),
}

impl Authorizer {
    pub(super) fn new(client: kube::Client, metrics: Arc<Metrics>) -> Self {
        let cluster = Reviewer { tokens: Api::all(client.clone()), access: Api::all(client), metrics };
        Self { cluster, cache: Mutex::default(), running: Singleflight::default() }
    }

    /// Returns the name of the user of a request, if the user may download.
    pub(super) async fn authorize(&self, headers: &HeaderMap) -> Result<String, AccessError> {
        let token = bearer(headers).ok_or(AccessError::Unauthenticated)?;
        let hash: TokenHash = Sha256::digest(token).into();
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cache().get(&hash, Instant::now());
        let review = if let Some(review) = cached {
            review
        } else {
            let (cluster, token) = (self.cluster.clone(), token.to_owned());
            let make = || async move { cluster.review(&token).await.map_err(Arc::new) }.boxed();
            let review = self.running.run(hash, make).await.map_err(AccessError::Review)?;
            cache().insert(hash, review.clone(), Instant::now());
            review
        };
        match review {
            Review::Allowed(user) => Ok(user),
            Review::Denied(user) => Err(AccessError::Denied { user }),
            Review::Unauthenticated => Err(AccessError::Unauthenticated),
        }
    }
}

impl Reviewer {
    async fn review(&self, token: &str) -> Result<Review, kube::Error> {
        let user = self.review_token(token).await;
        self.metrics.count_review("token", user.is_ok());
        let Some(user) = user? else { return Ok(Review::Unauthenticated) };
        let name = user.username.clone().unwrap_or_default();
        let allowed = self.review_access(user).await;
        self.metrics.count_review("access", allowed.is_ok());
        Ok(if allowed? { Review::Allowed(name) } else { Review::Denied(name) })
    }

    /// Returns the user of a token, `None` if the cluster does not accept the token.
    async fn review_token(&self, token: &str) -> Result<Option<UserInfo>, kube::Error> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: None },
            ..TokenReview::default()
        };
        let review = self.tokens.create(&PostParams::default(), &review).await?;
        let status = review.status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)))
    }

    async fn review_access(&self, user: UserInfo) -> Result<bool, kube::Error> {
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

/// Returns the token of an `Authorization: Bearer` header (RFC 6750; the scheme is case-insensitive).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_is_cached_for_30_seconds() {
        let start = Instant::now();
        let mut cache = ReviewCache::default();
        cache.insert([1; 32], Review::Unauthenticated, start);
        cache.insert([2; 32], Review::Allowed("a".to_owned()), start);
        for (seconds, cached) in [(0, true), (29, true), (30, false)] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(cache.get(&[1; 32], now).is_some(), cached, "{seconds}");
            assert_eq!(cache.get(&[2; 32], now).is_some(), cached, "{seconds}");
        }
        assert_eq!(cache.get(&[3; 32], start), None);
    }

    #[test]
    fn the_cache_is_bounded() {
        let start = Instant::now();
        let mut cache = ReviewCache::default();
        for number in 0..3 * MAX_CACHED {
            let mut token = [0; 32];
            token[..8].copy_from_slice(&number.to_be_bytes());
            cache.insert(token, Review::Unauthenticated, start + Duration::from_millis(number as u64));
            assert!(cache.0.len() <= MAX_CACHED);
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
