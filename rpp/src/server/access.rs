//! Who may download: TokenReview, then SubjectAccessReview, as kube-rbac-proxy does it in front of
//! the proxy of a cluster.

use http::{HeaderMap, header::AUTHORIZATION};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, api::PostParams};

use crate::discovery::{DEPLOYMENT, NAMESPACE, SUBRESOURCE};

/// Asks the cluster.
#[derive(Clone)]
pub(super) struct Gate {
    tokens: Api<TokenReview>,
    access: Api<SubjectAccessReview>,
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
    Unknown(kube::Error),
}

impl Gate {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { tokens: Api::all(client.clone()), access: Api::all(client) }
    }

    /// The name of whoever the token is of, if they may download.
    pub(super) async fn pass(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        let token = bearer(headers).ok_or(Refusal::Unauthenticated)?;
        let user = self.user(token).await?;
        let name = user.username.clone().unwrap_or_default();
        if self.allowed(user).await? { Ok(name) } else { Err(Refusal::Denied { user: name }) }
    }

    async fn user(&self, token: &str) -> Result<UserInfo, Refusal> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: None },
            ..TokenReview::default()
        };
        let review = self.tokens.create(&PostParams::default(), &review).await.map_err(Refusal::Unknown)?;
        let status = review.status.unwrap_or_default();
        match (status.authenticated, status.user) {
            (Some(true), Some(user)) => Ok(user),
            _ => Err(Refusal::Unauthenticated),
        }
    }

    async fn allowed(&self, user: UserInfo) -> Result<bool, Refusal> {
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
        let review = self.access.create(&PostParams::default(), &review).await.map_err(Refusal::Unknown)?;
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
