//! Policies and records: read from the cluster, and cached for runs without it.

use std::time::Duration;

use d8_agent::cluster::{
    self, CacheError, CachedPolicies, Caller, ClusterView, PolicyCache, RecordSelection, UserCache, ViewError,
    ViewOrigin,
};
use d8_crds::{
    decisions::{person::Person, verdict::PolicySet},
    values::name::Component,
};
use d8_rpp::{ClusterAccess, NoIdentity};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Context, cluster::ClusterClient, kubeconfig};
use crate::terminal::{
    failure::{Code, Failure},
    output,
};

/// The policies that bind a command which also works without the cluster.
#[derive(Default)]
pub(crate) struct PoliciesInForce {
    /// Those of the cluster, else the cached ones: of one cluster, or of all; and who the person is in the cluster.
    pub(crate) sets: Vec<(Caller, PolicySet)>,
    /// Why the cluster could not be read.
    pub(crate) unreachable: Option<String>,
}

/// Whether a run reads cached policies again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// Not if a run failed to do so a moment ago.
    IfNoneFailed,
    /// In any case.
    Always,
}

/// How long a run waits for the policies of the cluster.
const RENEWAL_LIMIT: Duration = Duration::from_millis(300);
/// How long runs that are permitted do not try again after one failed to renew the policies.
const RETRY_AFTER: SignedDuration = SignedDuration::from_mins(1);

/// Whether policies were cached for runs without the cluster.
enum Caching {
    Done,
    /// No: the connection is not verified, for this reason.
    Unverified(String),
    /// No root can be written.
    Failed(std::io::Error),
}

impl Context {
    /// Reads policies and records from the cluster, and caches the policies.
    ///
    /// # Errors
    /// The API server is unreachable or refuses: exit 5.
    pub(crate) async fn view(&self, wanted: RecordSelection<'_>) -> Result<ClusterView, Failure> {
        self.try_view(wanted).await?.map_err(|error| self.view_failure(&error))
    }

    /// Reads the policies of the cluster and caches them, or else returns the cached ones.
    ///
    /// # Errors
    /// The cluster has policies that this identity may not read (exit 5), or a cached copy cannot be read (exit 3).
    pub(crate) async fn policies_in_force(&self) -> Result<PoliciesInForce, Failure> {
        let failure = match self.try_view(RecordSelection::None).await {
            Ok(Ok(view)) => {
                let set = view.policy_set();
                return Ok(PoliciesInForce { sets: vec![(view.caller, set)], unreachable: None });
            }
            Ok(Err(error @ ViewError::Unreadable { .. })) => return Err(self.view_failure(&error)),
            Ok(Err(error)) => self.view_failure(&error),
            Err(failure) => failure,
        };
        let cached = self.cached_policies().await?;
        for CachedPolicies { server, confirmed, .. } in &cached {
            output::warn(format!("the cached policies of {server} as of {confirmed:.0} count: {}", failure.summary()));
        }
        self.note_policies_read(&cached);
        let sets = cached.into_iter().map(|cached| (cached.caller.clone(), cached.policy_set())).collect();
        Ok(PoliciesInForce { sets, unreachable: Some(failure.summary()) })
    }

    async fn try_view(&self, wanted: RecordSelection<'_>) -> Result<Result<ClusterView, ViewError>, Failure> {
        self.check_machine()?;
        let cluster = self.cluster().await?;
        let read = self.read_and_cache(cluster, wanted).await;
        Ok(read.map(|(view, cached)| {
            if self.names_cluster {
                self.printer.note(format!("cluster: {}", cluster.access.display_name()));
            }
            self.policies_read.get_or_init(|| {
                let mut read = CachedPolicies::new(&self.server(), view.confirmed, view.policies.clone());
                read.caller = view.caller.clone();
                vec![read]
            });
            match cached {
                Caching::Done => {}
                Caching::Unverified(why) => {
                    self.printer.note(format!("the policies are not kept for later runs, because {why}"));
                }
                Caching::Failed(error) => {
                    let server = self.server();
                    output::warn(format!("the policies of {server} are not enforced without the cluster: {error}"));
                }
            }
            view
        }))
    }

    async fn read_and_cache(
        &self,
        cluster: &ClusterClient,
        wanted: RecordSelection<'_>,
    ) -> Result<(ClusterView, Caching), ViewError> {
        let cache = PolicyCache::below(self.policy_roots());
        // A damaged copy is no error here: this command replaces it.
        let cached = cache.load(&cluster.key).ok().flatten();
        let mut view = cluster::read(&cluster.client, wanted, cached.as_ref(), self.now).await?;
        self.keep_caller(cluster, &mut view.caller);
        if let Some(unverified) = self.unverified_cluster() {
            return Ok((view, Caching::Unverified(unverified.to_string())));
        }
        if view.origin == ViewOrigin::Vanished && !confirmed_later(cached.as_ref(), &view) {
            return Ok((view, Caching::Done));
        }
        if self.agent_keeps_policies() {
            return Ok((view, Caching::Done));
        }
        let copy = CachedPolicies::new(&self.server(), view.confirmed, view.policies.clone());
        let copy = copy.with_blocked(self.host(Person::Unknown), &view.records, cached.as_ref());
        let caching = cache.save(&cluster.key, &copy).map_or_else(Caching::Failed, |()| Caching::Done);
        Ok((view, caching))
    }

    /// Returns whether only the agent of this host keeps policies: users other than root cannot write where they are.
    fn agent_keeps_policies(&self) -> bool {
        self.machine().is_managed && !rustix::process::geteuid().is_root()
    }

    /// Keeps cached policies as those that this command obeys, for [`Self::policies_read`].
    pub(crate) fn note_policies_read(&self, cached: &[CachedPolicies]) {
        self.policies_read.get_or_init(|| cached.to_vec());
    }

    /// Returns the policies that this command obeyed, of each cluster.
    pub(crate) fn policies_read(&self) -> &[CachedPolicies] {
        self.policies_read.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Reads the policies of the cluster in the kubeconfig again for a run, and caches them: within [`RENEWAL_LIMIT`],
    /// and without a question to a person. Returns whether that succeeded.
    pub(crate) async fn renew_policies(&self, component: &Component, renewal: Renewal) -> bool {
        if self.agent_keeps_policies() {
            return false;
        }
        let Some(access) = self.access().await.ok().filter(|access| !access.needs_terminal()) else { return false };
        let (key, cache) = (kubeconfig::cluster_key(&access.config), PolicyCache::below(self.policy_roots()));
        let is_recent =
            |failed: Timestamp| (SignedDuration::ZERO..RETRY_AFTER).contains(&self.now.duration_since(failed));
        if renewal == Renewal::IfNoneFailed && cache.failed_renewal(&key).is_some_and(is_recent) {
            return false;
        }
        let wanted = RecordSelection::Named(std::slice::from_ref(component));
        let renew = async {
            let cluster = match access.without_terminal() {
                Some(quiet) => ClusterClient::new(quiet).await.ok()?,
                None => self.cluster().await.ok()?.clone(),
            };
            self.read_and_cache(&cluster, wanted).await.ok()
        };
        let renewed = tokio::time::timeout(RENEWAL_LIMIT, renew).await;
        let is_renewed = matches!(renewed, Ok(Some((_, Caching::Done))));
        if !is_renewed {
            cache.note_failed_renewal(&key, self.now);
        }
        is_renewed
    }

    /// Returns who the person is, where policies that the cluster does not have may depend on it.
    ///
    /// # Errors
    /// As [`Context::cluster`].
    pub(crate) async fn caller_for(&self, policies: &[Value], view: &ClusterView) -> Result<Caller, Failure> {
        if view.caller != Caller::NotAsked {
            return Ok(view.caller.clone());
        }
        let cluster = self.cluster().await?;
        let mut caller = cluster::caller(&cluster.client, policies).await;
        self.keep_caller(cluster, &mut caller);
        Ok(caller)
    }

    /// Keeps who the person is for commands without the cluster. Without an answer of the API server, sets what is kept.
    fn keep_caller(&self, cluster: &ClusterClient, caller: &mut Caller) {
        let (cache, user_key) = (UserCache::below(self.home_root()), cluster.access.user_key());
        let kept = match &*caller {
            Caller::NotAsked => Ok(()),
            Caller::Unanswered => {
                if let Some(user) = cache.load(&cluster.key, user_key) {
                    *caller = Caller::Known(user);
                }
                Ok(())
            }
            _ if self.unverified_cluster().is_some() => Ok(()),
            Caller::Unknown => cache.forget(&cluster.key, user_key),
            Caller::Known(user) => cache.save(&cluster.key, user_key, user),
        };
        if let Err(error) = kept {
            output::warn(format!("who you are is not kept for runs without the cluster: {error}"));
        }
    }

    /// Turns a [`ViewError`] into a failure of the command.
    pub(crate) fn view_failure(&self, error: &ViewError) -> Failure {
        let server = self.server();
        let no_identity = || self.access.get().and_then(ClusterAccess::no_identity);
        let anonymous = match error {
            ViewError::Anonymous => Some(no_identity().unwrap_or(NoIdentity::NoCredential)),
            ViewError::Unauthorized => no_identity(),
            _ => None,
        };
        if let Some(why) = anonymous {
            return d8_rpp::Error::Anonymous { server, why }.into();
        }
        view_failure(&server, error)
    }

    /// Returns the cached policies that apply to a run without the cluster: those of the cluster in the kubeconfig, with
    /// the person who is kept for its user, or those of all clusters if there is no kubeconfig or no copy for its
    /// cluster.
    ///
    /// # Errors
    /// A copy cannot be read: exit 3, because it may forbid anything.
    pub(crate) async fn cached_policies(&self) -> Result<Vec<CachedPolicies>, Failure> {
        self.check_machine()?;
        let cache = PolicyCache::below(self.policy_roots());
        if !cache.any() {
            return Ok(Vec::new());
        }
        if let Ok(access) = self.access().await {
            let key = kubeconfig::cluster_key(&access.config);
            if let Some(mut cached) = cache.load(&key).map_err(|error| cache_failure(&error))? {
                let user = UserCache::below(self.home_root()).load(&key, access.user_key());
                cached.caller = user.map_or(Caller::Unanswered, Caller::Known);
                return Ok(vec![cached]);
            }
        }
        cache.load_all().map_err(|error| cache_failure(&error))
    }

    /// Returns the cached policies of all clusters, for commands that read no kubeconfig: the person is not known.
    ///
    /// # Errors
    /// As [`Self::cached_policies`].
    pub(crate) fn all_cached_policies(&self) -> Result<Vec<CachedPolicies>, Failure> {
        self.check_machine()?;
        PolicyCache::below(self.policy_roots()).load_all().map_err(|error| cache_failure(&error))
    }
}

/// Returns whether a copy claims to be newer than it is: a clock that was ahead wrote it.
fn confirmed_later(cached: Option<&CachedPolicies>, view: &ClusterView) -> bool {
    cached.is_some_and(|cached| cached.confirmed > view.confirmed)
}

fn cache_failure(error: &CacheError) -> Failure {
    Failure::new(Code::Refused, "failed to read the cached policies").caused_by(error).advise(
        "the file is damaged, or a newer d8 wrote it",
        format!("remove {}, then run `d8 plugins update all` to write it again", error.path.display()),
    )
}

fn view_failure(server: &str, error: &ViewError) -> Failure {
    // The kubeconfig or a certificate is the cause, and not the network.
    if let ViewError::Unreachable { error, .. } = error
        && let Some(known) = d8_rpp::Error::of_cluster(server, &**error)
    {
        return known.into();
    }
    let failure =
        Failure::new(Code::Unreachable, "failed to read policies and records from the cluster").caused_by(error);
    match error {
        ViewError::Unreadable { kind: "clihosts" } => failure.advise(
            "reading hosts needs more rights than reading policies and records",
            "a cluster admin binds ClusterRole `d8:cli:fleet-viewer` to you: `kubectl create clusterrolebinding \
             d8-fleet-viewer --clusterrole=d8:cli:fleet-viewer --user=NAME`",
        ),
        ViewError::Unreadable { .. } => failure.advise(
            "every authenticated user may read them through the ClusterRole `d8:cli:viewer`, but its binding is missing",
            "`kubectl create clusterrolebinding d8:cli:viewer --clusterrole=d8:cli:viewer --group=system:authenticated`",
        ),
        ViewError::Unauthorized => failure.by_access().advise(
            "the token in the kubeconfig is missing, invalid or expired",
            format!("log in to {server} again, then: `kubectl auth whoami`"),
        ),
        ViewError::Unreachable { .. } | ViewError::Anonymous => failure
            .advise(format!("{server} does not answer, or it is not a Kubernetes API server"), "check it: `kubectl cluster-info`"),
    }
}
