//! State of one command: flags, environment, and connections to the cluster and to the proxy.
//!
//! Everything is loaded on first use, so that a command without cluster access reads no kubeconfig.

mod cluster;
mod kubeconfig;
mod machine;
mod policies;
mod verification;

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use d8_agent::{
    Roots,
    agent_config::{self, AgentConfig},
    cluster::CachedPolicies,
    enrolled_host::{self, EnrolledHostState},
    roots::HOME_ROOT,
};
use d8_crds::{
    decisions::{person::Person, verdict},
    records::cluster::ClusterFacts,
    values::platform::Platform,
};
use d8_rpp::{ClusterAccess, Proxy, endpoint_pin::AcceptedIdentity};
use jiff::Timestamp;
use tokio::sync::OnceCell;

pub(crate) use self::policies::{PoliciesInForce, Renewal};
use self::{cluster::ClusterClient, machine::Machine};
use crate::{
    args::{AgentPlaceArgs, GlobalArgs},
    terminal::{failure::Failure, output::Printer},
};

/// Environment variable that waives cluster requirements.
const SKIP_CHECKS_VARIABLE: &str = "D8_PLUGINS_SKIP_CLUSTER_CHECKS";

/// State of one command.
pub(crate) struct Context {
    pub(crate) global: GlobalArgs,
    pub(crate) printer: Printer,
    pub(crate) platform: Platform,
    /// Start of the command. All its decisions use this time.
    pub(crate) now: Timestamp,
    /// Whether the command's first line names the cluster that it reads.
    names_cluster: bool,
    /// Facts about the cluster: one snapshot for the whole command.
    pub(crate) facts: OnceCell<ClusterFacts>,
    /// Directory with the identity of a managed host.
    state_dir: PathBuf,
    /// File with the configuration of the host.
    config_file: PathBuf,
    /// The agent of this host acts, and no person.
    is_agent: bool,
    /// What policies select this machine by.
    machine: OnceLock<Machine>,
    home: Option<PathBuf>,
    /// The policies that the command read, by cluster.
    policies_read: OnceLock<Vec<CachedPolicies>>,
    /// What an admin accepts of a proxy that changed.
    accepted_proxy: OnceLock<AcceptedIdentity>,
    access: OnceCell<ClusterAccess>,
    cluster: OnceCell<ClusterClient>,
    proxy: OnceCell<Proxy>,
}

impl Context {
    /// Loads nothing. `names_cluster`: the first line that is printed names the cluster that the command reads.
    pub(crate) fn new(global: GlobalArgs, names_cluster: bool) -> Self {
        let platform = Platform::current();
        Self {
            printer: Printer { quiet: global.quiet },
            state_dir: PathBuf::from(enrolled_host::DIRECTORY),
            config_file: PathBuf::from(agent_config::FILE),
            is_agent: false,
            machine: OnceLock::new(),
            platform,
            now: Timestamp::now(),
            names_cluster,
            policies_read: OnceLock::new(),
            home: d8_agent::roots::home(),
            accepted_proxy: OnceLock::new(),
            access: OnceCell::new(),
            cluster: OnceCell::new(),
            proxy: OnceCell::new(),
            facts: OnceCell::new(),
            global,
        }
    }

    /// Returns the state of a command of the agent: it connects as the host whose identity is in a directory.
    pub(crate) fn of_agent(global: GlobalArgs, place: &AgentPlaceArgs) -> Self {
        let state = EnrolledHostState::at(&place.state_dir);
        let global = GlobalArgs { kubeconfig: Some(state.kubeconfig()), context: None, ..global };
        let (state_dir, config_file) = (place.state_dir.clone(), place.config.clone());
        Self { state_dir, config_file, is_agent: true, ..Self::new(global, false) }
    }

    /// Returns this machine, where this person acts, as a host that policies select.
    pub(crate) fn host<'h>(&'h self, person: Person<'h>) -> verdict::Host<'h> {
        let Machine { id, labels, config, .. } = self.machine();
        verdict::Host {
            id: id.as_deref().unwrap_or_default(),
            labels,
            platform: Some(&self.platform),
            new_root: id.is_none(),
            person,
            local_rules: config.rules.as_ref(),
        }
    }

    /// Returns the home directory of the user.
    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// Returns the root in the home directory of the user.
    pub(crate) fn home_root(&self) -> Option<PathBuf> {
        Some(self.home.as_ref()?.join(HOME_ROOT))
    }

    /// Returns the roots that hold the endpoint pins, and on a workstation the policy cache: the one in the home directory
    /// of the user, and the configured one for where that one cannot be used.
    fn state_roots(&self) -> Vec<PathBuf> {
        self.home_root().into_iter().chain([self.roots().configured().to_owned()]).collect()
    }

    /// Returns the roots that hold the policy cache. On a managed host that is only the one of root: a user must not
    /// replace the policies of the host by a copy of their own.
    fn policy_roots(&self) -> Vec<PathBuf> {
        if self.machine().is_managed { vec![self.roots().configured().to_owned()] } else { self.state_roots() }
    }

    /// Returns the configuration of this host.
    ///
    /// # Errors
    /// It cannot be used: exit 3.
    pub(crate) fn config(&self) -> Result<&AgentConfig, Failure> {
        self.check_machine()?;
        Ok(&self.machine().config)
    }

    /// Returns the roots of plugins: the configured one, then the one in the home directory.
    pub(crate) fn roots(&self) -> Roots {
        Roots::new(self.global.plugins_dir.clone(), self.home.as_deref())
    }

    /// Returns the directories for a download that is inspected before its installation. The roots have room for it. A
    /// root that does not exist is not created.
    pub(crate) fn spool(&self) -> Vec<PathBuf> {
        self.roots().for_reading().0.iter().map(|store| store.root().to_owned()).collect()
    }

    /// Returns whether cluster requirements are waived by flag or environment.
    pub(crate) fn skips_cluster_checks(&self) -> bool {
        let by_variable = || {
            std::env::var(SKIP_CHECKS_VARIABLE).is_ok_and(|value| value == "1" || value.eq_ignore_ascii_case("true"))
        };
        // No person waives anything for the agent.
        !self.is_agent && (self.global.skip_cluster_checks || by_variable())
    }

    /// Returns whether the agent of this host acts. It takes the word of the record on requirements, and checks nothing
    /// that the operator could not check (`docs/policies.md`, rule 15).
    pub(crate) fn is_agent(&self) -> bool {
        self.is_agent
    }
}
