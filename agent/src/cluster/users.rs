//! Who the person is: asked the API server, and kept on disk for times when the cluster is unreachable.
//!
//! Kept only in the home directory, for one OS user and one user of a kubeconfig. Others do not act as this person.

use std::{io, path::PathBuf};

use d8_crds::{
    decisions::person::{Person, UserInfo},
    values::{digest::Digest, limits::RECEIPT_BYTES},
};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{Api, Client, api::PostParams};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{policy_cache::ClusterKey, status_code};
use crate::install_root::state_dir::{self, StateDir};

/// What the API server said about the person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Caller {
    /// It was not asked, because no policy depends on it.
    #[default]
    NotAsked,
    /// It did not answer.
    Unanswered,
    /// It does not say: the API lacks `SelfSubjectReview`, or refuses it.
    Unknown,
    /// Who it is.
    Known(UserInfo),
}

impl Caller {
    /// Returns who it is, if that is known.
    pub fn user(&self) -> Option<&UserInfo> {
        match self {
            Self::Known(user) => Some(user),
            Self::NotAsked | Self::Unanswered | Self::Unknown => None,
        }
    }

    /// Returns the person for whom policies are evaluated.
    pub fn person(&self) -> Person<'_> {
        Person::from(self.user())
    }
}

/// Returns whether some policy depends on who the person is.
fn matters(policies: &[Value]) -> bool {
    policies.iter().any(|policy| policy.pointer("/spec/subjects").is_some_and(|subjects| !subjects.is_null()))
}

/// Asks the API server who the person is, if some of these policies depends on it.
pub async fn caller(client: &Client, policies: &[Value]) -> Caller {
    if matters(policies) { ask(client).await } else { Caller::NotAsked }
}

/// Asks the API server who the person is.
async fn ask(client: &Client) -> Caller {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    match reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await {
        Ok(review) => match review.status.and_then(|status| status.user_info) {
            Some(user) => Caller::Known(UserInfo {
                username: user.username.unwrap_or_default(),
                groups: user.groups.unwrap_or_default().into_iter().collect(),
            }),
            None => Caller::Unknown,
        },
        Err(error) if matches!(status_code(&error), Some(403 | 404)) => Caller::Unknown,
        Err(error) => {
            tracing::debug!(%error, "the API server did not say who the person is");
            Caller::Unanswered
        }
    }
}

/// Content of a file. Unknown formats are ignored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserFile {
    format: u32,
    /// OS user who acts as this person.
    uid: u32,
    user: UserInfo,
}

const FORMAT: u32 = 1;

/// The directory below a root.
const DIRECTORY: &[&str] = &["policy", "users"];

/// The persons as whom this OS user acts, in directory `<root>/policy/users` of the root in the home directory.
#[derive(Debug, Clone)]
pub struct UserCache {
    root: Option<PathBuf>,
}

impl UserCache {
    /// Returns the cache in the root of the home directory. Ignores a root that this user must not trust. Opens no
    /// file yet.
    pub fn below(home_root: Option<PathBuf>) -> Self {
        Self { root: home_root.filter(|root| state_dir::untrusted_reason(root, DIRECTORY).is_none()) }
    }

    /// Returns who a user of a kubeconfig is in a cluster; `None` if that is not kept. A damaged file counts as none:
    /// the person is then not known.
    pub fn load(&self, cluster: &ClusterKey, user_key: &Digest) -> Option<UserInfo> {
        let directory = StateDir::open(self.root.as_ref()?, DIRECTORY).ok()??;
        let bytes = directory.read(&file_name(cluster, user_key), RECEIPT_BYTES).ok()??;
        let file: UserFile = serde_json::from_slice(&bytes).ok()?;
        (file.format == FORMAT && file.uid == own_uid()).then_some(file.user)
    }

    /// Keeps who a user of a kubeconfig is in a cluster, for as long as nothing else is saved.
    ///
    /// # Errors
    /// The root cannot be written. The command does not have to fail.
    pub fn save(&self, cluster: &ClusterKey, user_key: &Digest, user: &UserInfo) -> io::Result<()> {
        if self.load(cluster, user_key).as_ref() == Some(user) {
            return Ok(());
        }
        let file = UserFile { format: FORMAT, uid: own_uid(), user: user.clone() };
        self.replace(cluster, user_key, &serde_json::to_vec_pretty(&file)?)
    }

    /// Forgets who a user of a kubeconfig is in a cluster.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn forget(&self, cluster: &ClusterKey, user_key: &Digest) -> io::Result<()> {
        if self.load(cluster, user_key).is_none() {
            return Ok(());
        }
        // A file without a person.
        self.replace(cluster, user_key, b"{}")
    }

    fn replace(&self, cluster: &ClusterKey, user_key: &Digest, content: &[u8]) -> io::Result<()> {
        state_dir::replace_in_first(self.root.as_slice(), DIRECTORY, &file_name(cluster, user_key), content)
    }
}

fn file_name(cluster: &ClusterKey, user_key: &Digest) -> String {
    format!("{cluster}-{}.json", user_key.short())
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_kept_by_cluster_and_user_of_the_kubeconfig() {
        let root = tempfile::tempdir().unwrap();
        let cache = UserCache::below(Some(root.path().to_owned()));
        let (here, there) = (ClusterKey::new("https://a", None), ClusterKey::new("https://b", None));
        let (cleo, dora) = (Digest::of(b"cleo"), Digest::of(b"dora"));
        let user = UserInfo { username: "cleo".to_owned(), groups: ["contractors".to_owned()].into() };
        assert_eq!(cache.load(&here, &cleo), None);
        cache.save(&here, &cleo, &user).unwrap();
        assert_eq!(cache.load(&here, &cleo), Some(user.clone()));
        assert_eq!((cache.load(&here, &dora), cache.load(&there, &cleo)), (None, None));
        cache.forget(&here, &dora).unwrap();
        cache.forget(&here, &cleo).unwrap();
        assert_eq!(cache.load(&here, &cleo), None);
        cache.save(&here, &cleo, &user).unwrap();
        assert_eq!(cache.load(&here, &cleo), Some(user.clone()), "it is known again");

        let path = root.path().join("policy/users").join(file_name(&here, &cleo));
        let kept = std::fs::read_to_string(&path).unwrap();
        for damaged in
            [String::new(), kept.replace("\"format\": 1", "\"format\": 2"), kept.replace("\"uid\": ", "\"uid\": 1")]
        {
            assert_ne!(damaged, kept);
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(cache.load(&here, &cleo), None);
        }
        assert!(UserCache::below(None).save(&here, &cleo, &user).is_err());
    }

    #[test]
    fn only_policies_with_subjects_depend_on_the_person() {
        for (spec, expected) in [
            (serde_json::json!({}), false),
            (serde_json::json!({"subjects": null}), false),
            (serde_json::json!({"subjects": {"groups": ["contractors"]}}), true),
            (serde_json::json!({"subjects": "what"}), true),
        ] {
            assert_eq!(matters(&[serde_json::json!({"spec": {}}), serde_json::json!({"spec": spec})]), expected);
        }
    }
}
