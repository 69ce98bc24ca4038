//! Who the person is: asked the API server, and kept on disk for times when the cluster is unreachable.
//!
//! Kept only in the home directory, for one OS user and one user of a kubeconfig. Others do not act as this person.

use std::{
    cmp::Reverse,
    io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use d8_crds::{
    decisions::person::{Person, UserInfo},
    values::{digest::Digest, limits::RECEIPT_BYTES},
};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::{Api, Client, api::PostParams};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{cluster_key::ClusterKey, status_code};
use crate::{
    disk,
    install_root::state_dir::{self, StateDir},
};

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
/// How long a file is kept after the API server last said the same. A kubeconfig with other credentials has another
/// file, so that files of former credentials stay behind.
const KEPT: Duration = Duration::from_hours(30 * 24);
/// How long a file is not written again if the API server says the same.
const CURRENT: Duration = Duration::from_hours(24);
/// Most files that are kept: short-lived credentials may leave many within [`KEPT`].
const MAX_FILES: usize = 64;

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

    /// Keeps who a user of a kubeconfig is in a cluster, until something else is saved or nobody has asked for 30 days.
    /// Removes files of users of whom that is true.
    ///
    /// # Errors
    /// The root cannot be written. The command does not have to fail.
    pub fn save(&self, cluster: &ClusterKey, user_key: &Digest, user: &UserInfo) -> io::Result<()> {
        if self.load(cluster, user_key).as_ref() == Some(user) && self.is_current(&file_name(cluster, user_key)) {
            return Ok(());
        }
        let file = UserFile { format: FORMAT, uid: own_uid(), user: user.clone() };
        self.replace(cluster, user_key, &serde_json::to_vec_pretty(&file)?)?;
        self.sweep(SystemTime::now())
    }

    fn is_current(&self, name: &str) -> bool {
        let directory = self.root.as_ref().and_then(|root| StateDir::open(root, DIRECTORY).ok()?);
        let modified = directory.and_then(|directory| directory.modified(name).ok());
        // A time ahead of the clock is no reason to write.
        modified.is_some_and(|modified| modified.elapsed().unwrap_or_default() < CURRENT)
    }

    /// Removes the files that are too old, and the oldest ones beyond [`MAX_FILES`].
    fn sweep(&self, now: SystemTime) -> io::Result<()> {
        let Some(root) = &self.root else { return Ok(()) };
        let Some(directory) = StateDir::open(root, DIRECTORY)? else { return Ok(()) };
        let names = directory.names()?.into_iter().filter(|name| name.strip_suffix(".json").is_some());
        let mut files: Vec<_> = names.filter_map(|name| Some((directory.modified(&name).ok()?, name))).collect();
        files.sort_by_key(|(modified, _)| Reverse(*modified));
        for (index, (modified, name)) in files.iter().enumerate() {
            let age = now.duration_since(*modified).unwrap_or_default();
            if index >= MAX_FILES || age >= KEPT {
                disk::if_exists(directory.remove(name))?;
            }
        }
        Ok(())
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
    fn files_that_nobody_confirms_are_removed() {
        const DAY: Duration = Duration::from_hours(24);
        let root = tempfile::tempdir().unwrap();
        let cache = UserCache::below(Some(root.path().to_owned()));
        let cluster = ClusterKey::new("https://a", None);
        let user = UserInfo { username: "cleo".to_owned(), groups: std::collections::BTreeSet::default() };
        let token = |n: u64| Digest::of(format!("token {n}").as_bytes());
        let directory = root.path().join("policy/users");
        let path = |n| directory.join(file_name(&cluster, &token(n)));
        let set_age = |n, age: Duration| {
            let file = std::fs::File::options().write(true).open(path(n)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        };
        for n in 0..4 {
            cache.save(&cluster, &token(n), &user).unwrap();
        }
        for (n, days) in [(0, 31), (1, 29), (2, 2)] {
            set_age(n, days * DAY);
        }
        std::fs::write(directory.join("note.txt"), "of somebody else").unwrap();
        std::os::unix::fs::symlink("/nowhere", directory.join("link.json")).unwrap();
        let kept = |numbers: &[u64]| numbers.iter().filter(|n| path(**n).exists()).copied().collect::<Vec<_>>();
        // Nothing changes, so that nothing is written.
        cache.save(&cluster, &token(3), &user).unwrap();
        assert_eq!(kept(&[0, 1, 2, 3]), [0, 1, 2, 3]);
        // The one that was confirmed two days ago is confirmed again.
        cache.save(&cluster, &token(2), &user).unwrap();
        assert!(cache.is_current(&file_name(&cluster, &token(2))));
        assert_eq!(kept(&[0, 1, 2, 3]), [1, 2, 3]);
        assert!(directory.join("note.txt").exists() && directory.join("link.json").is_symlink());

        let many = u64::try_from(MAX_FILES).unwrap() + 9;
        for n in 10..10 + many {
            cache.save(&cluster, &token(n), &user).unwrap();
            set_age(n, Duration::from_secs(100_000 - n));
        }
        cache.save(&cluster, &token(999), &user).unwrap();
        let files = std::fs::read_dir(&directory).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_file());
        assert_eq!(files.count(), MAX_FILES + 1, "and the note");
        assert_eq!(kept(&[1, 2, 10, 999]), [2, 999]);
        assert_eq!(cache.load(&cluster, &token(999)), Some(user));
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
