//! The identity of a managed host in a cluster: its `CliHost`, its `ServiceAccount`, and the `Secret` that its tokens
//! are bound to. A token is valid while the `Secret` exists.

use std::{collections::BTreeMap, time::Duration};

use d8_crds::{
    records::host::{CliHost, CliHostSpec},
    values::host_name::{HostName, NAMESPACE},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
        core::v1::{Secret, ServiceAccount},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};

use super::status_code;

/// Longest life of the token of a host: 7 days. The admission policy of the chart refuses longer ones.
pub const MAX_TOKEN_LIFE: Duration = Duration::from_hours(7 * 24);
/// Shortest life of a token that the API server issues (`TokenRequest`).
pub const MIN_TOKEN_LIFE: Duration = Duration::from_mins(10);

/// A Bearer token of a host.
#[derive(Clone)]
pub struct Token {
    /// The token.
    pub secret: String,
    /// When it expires. The API server may have shortened the life that was requested.
    pub expires: Timestamp,
}

/// Why the identity of a host could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A `CliHost` of this name exists.
    #[error("host {0} is enrolled already")]
    Enrolled(HostName),
    /// There is no `CliHost` of this name.
    #[error("host {0} is not enrolled")]
    NotEnrolled(HostName),
    /// The chart that creates the namespace is not installed, or it is older.
    #[error("namespace {NAMESPACE} does not exist")]
    NoNamespace,
    /// The `CliHost` names another user than the host's `ServiceAccount`.
    #[error("the identity of host {host} is {identity:?}, which is not a ServiceAccount of namespace {NAMESPACE}")]
    OtherIdentity {
        /// The host.
        host: HostName,
        /// The user that its `CliHost` names.
        identity: String,
    },
    /// The API server refused the request, or did not answer.
    #[error("failed to {action}")]
    Request {
        /// What was requested: `create CliHost a`.
        action: String,
        /// The error of the request.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server issued no token.
    #[error("the API server answered without a token for ServiceAccount {0}")]
    NoToken(HostName),
}

/// The identity of one host.
pub struct HostIdentity<'a> {
    client: &'a Client,
    host: &'a HostName,
}

impl<'a> HostIdentity<'a> {
    /// Returns the identity of this host. Sends no request.
    pub fn new(client: &'a Client, host: &'a HostName) -> Self {
        Self { client, host }
    }

    /// Creates everything, and issues a token. After a failure nothing is left of what it created.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub async fn create(&self, labels: BTreeMap<String, String>, life: Duration) -> Result<Token, IdentityError> {
        let host = CliHost {
            metadata: ObjectMeta {
                name: Some(self.host.to_string()),
                labels: Some(labels).filter(|labels| !labels.is_empty()),
                ..ObjectMeta::default()
            },
            spec: CliHostSpec { identity: self.host.identity() },
            status: None,
        };
        if !create(&self.hosts(), &host, &format!("create CliHost {}", self.host)).await? {
            return Err(IdentityError::Enrolled(self.host.clone()));
        }
        let token = self.issue_anew(life).await;
        if token.is_err() {
            // The first error is the one to report.
            let _ = self.delete_all().await;
        }
        token
    }

    /// Revokes all tokens of the host, and issues a new one.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub async fn rotate(&self, life: Duration) -> Result<Token, IdentityError> {
        let action = || format!("read CliHost {}", self.host);
        let found = self.hosts().get_opt(self.host.as_str()).await.map_err(|error| request(action(), error))?;
        let Some(found) = found else { return Err(IdentityError::NotEnrolled(self.host.clone())) };
        if found.spec.identity != self.host.identity() {
            return Err(IdentityError::OtherIdentity { host: self.host.clone(), identity: found.spec.identity });
        }
        self.issue_anew(life).await
    }

    /// Revokes all tokens of the host, and deletes its objects.
    ///
    /// # Errors
    /// [`IdentityError::NotEnrolled`] if no object of the host exists, and those of the requests.
    pub async fn revoke(&self) -> Result<(), IdentityError> {
        if self.delete_all().await? { Ok(()) } else { Err(IdentityError::NotEnrolled(self.host.clone())) }
    }

    /// Issues a token that is bound to the existing `Secret`, as the host itself may do.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub async fn issue(&self, life: Duration) -> Result<Token, IdentityError> {
        let bound = BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            name: Some(self.host.to_string()),
            // The API server takes that of the Secret.
            uid: None,
        };
        let spec = TokenRequestSpec {
            audiences: Vec::new(),
            bound_object_ref: Some(bound),
            expiration_seconds: i64::try_from(life.clamp(MIN_TOKEN_LIFE, MAX_TOKEN_LIFE).as_secs()).ok(),
        };
        let review = TokenRequest { spec, ..TokenRequest::default() };
        let issued = self
            .accounts()
            .create_token_request(self.host.as_str(), &PostParams::default(), &review)
            .await
            .map_err(|error| request(format!("issue a token of ServiceAccount {}", self.host), error))?;
        let status = issued.status.filter(|status| !status.token.is_empty());
        let status = status.ok_or_else(|| IdentityError::NoToken(self.host.clone()))?;
        Ok(Token { secret: status.token, expires: status.expiration_timestamp.0 })
    }

    /// Replaces the `Secret`, which ends the validity of all former tokens, and issues a token.
    async fn issue_anew(&self, life: Duration) -> Result<Token, IdentityError> {
        let named = ObjectMeta { name: Some(self.host.to_string()), ..ObjectMeta::default() };
        let secret = Secret { metadata: named.clone(), ..Secret::default() };
        let account = ServiceAccount {
            metadata: named,
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        };
        create(&self.accounts(), &account, &format!("create ServiceAccount {}", self.host)).await?;
        let action = format!("create Secret {}", self.host);
        if !create(&self.secrets(), &secret, &action).await? {
            delete(&self.secrets(), self.host, "Secret").await?;
            create(&self.secrets(), &secret, &action).await?;
        }
        self.issue(life).await
    }

    /// Deletes all objects of the host, first the one that its tokens depend on. Returns whether there was one.
    async fn delete_all(&self) -> Result<bool, IdentityError> {
        let secret = delete(&self.secrets(), self.host, "Secret").await?;
        let account = delete(&self.accounts(), self.host, "ServiceAccount").await?;
        let host = delete(&self.hosts(), self.host, "CliHost").await?;
        Ok(secret || account || host)
    }

    fn hosts(&self) -> Api<CliHost> {
        Api::all(self.client.clone())
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    fn accounts(&self) -> Api<ServiceAccount> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }
}

/// Creates an object. Returns whether it did not exist before.
async fn create<K>(api: &Api<K>, object: &K, action: &str) -> Result<bool, IdentityError>
where
    K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(true),
        Err(error) if status_code(&error) == Some(409) => Ok(false),
        Err(error) if is_missing_namespace(&error) => Err(IdentityError::NoNamespace),
        Err(error) => Err(request(action.to_owned(), error)),
    }
}

/// Deletes an object. Returns whether it existed.
async fn delete<K>(api: &Api<K>, host: &HostName, kind: &str) -> Result<bool, IdentityError>
where
    K: Clone + std::fmt::Debug + DeserializeOwned + Resource,
{
    match api.delete(host.as_str(), &DeleteParams::default()).await {
        Ok(_) => Ok(true),
        Err(error) if status_code(&error) == Some(404) => Ok(false),
        Err(error) => Err(request(format!("delete {kind} {host}"), error)),
    }
}

fn is_missing_namespace(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status)
        if status.code == 404 && status.message.contains("namespaces") && status.message.contains("not found"))
}

fn request(action: String, error: kube::Error) -> IdentityError {
    IdentityError::Request { action, source: Box::new(error) }
}
