//! A fleet: managed hosts, each with its own home, plugin root and state directory, and on each a real `d8 agent run`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::process::{Scratch, Server, wait_for};
use crate::{Error, Lab, Result, Workstation, catalog, tools};

/// Hosts that are enrolled at the same time.
const PARALLEL: usize = 4;
/// Time limit for a signal to end an agent.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// Creates a workstation whose user may do what the chart's roles for admins of policies and hosts say.
pub fn admin(lab: &Lab) -> Result<Workstation> {
    let who = lab.plane().new_user();
    let (user, name) = (format!("--user={}", who.user), who.user.clone());
    let plane = lab.plane();
    plane.kubectl(["create", "clusterrolebinding", &name, "--clusterrole=d8:cli:policy-admin", &user])?;
    let namespace = "--namespace=d8-cli-hosts";
    plane.kubectl(["create", "rolebinding", &name, "--role=d8:cli:host-admin", &user, namespace])?;
    lab.workstation(who)
}

/// A managed host, and its agent if that runs.
#[derive(Debug)]
pub struct ManagedHost {
    name: String,
    machine: Workstation,
    state: PathBuf,
    agent: Option<Server>,
    /// Files with the output of all agents that were started here.
    logs: Vec<PathBuf>,
}

impl ManagedHost {
    /// Enrols a host with `d8 host enroll` and joins it with `d8 agent join`. `server`: the URL at which the host reaches
    /// the API server, if it is another one than that of the admin.
    pub fn enroll(lab: &Lab, admin: &Workstation, name: &str, labels: &str, server: Option<&str>) -> Result<Self> {
        let file = admin.home().join(format!("{name}.d8host")).display().to_string();
        let mut line = vec!["host", "enroll", name, "--labels", labels, "-f", &file];
        line.extend(server.iter().flat_map(|server| ["--server", server]));
        admin.d8(line)?.expect_code(0)?;
        let machine = lab.new_workstation()?;
        let state = machine.home().join("d8-agent");
        let shown = state.display().to_string();
        machine.d8(["agent", "join", &file, "--state-dir", &shown])?.expect_code(0)?;
        // The machine has no kubeconfig but that of the host.
        let machine = machine.with_env("KUBECONFIG", state.join("kubeconfig"));
        Ok(Self { name: name.to_owned(), machine, state, agent: None, logs: Vec::new() })
    }

    /// Returns the name of the host.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the machine.
    pub fn machine(&self) -> &Workstation {
        &self.machine
    }

    /// Starts the agent.
    pub fn start(&mut self, scratch: &Scratch) -> Result<()> {
        let name = format!("agent-{}-{}", self.name, self.logs.len() / 2);
        let state = self.state.display().to_string();
        let args = ["agent", "run", "--state-dir", &state];
        let machine = &self.machine;
        let agent = scratch.start(&name, tools::binary("d8")?, args, |command| machine.environment(command))?;
        self.logs.extend(["log", "out"].map(|kind| scratch.path().join(format!("{name}.{kind}"))));
        self.agent = Some(agent);
        Ok(())
    }

    /// Sends a signal to the agent, and waits until it has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        let Some(mut agent) = self.agent.take() else { return Ok(()) };
        let pid = wait_for("the process id of an agent", END_TIMEOUT, || agent.pid())?;
        // It may have ended already.
        let _ = kill(Pid::from_raw(pid), signal);
        wait_for(&format!("the end of the agent of {}", self.name), END_TIMEOUT, || agent.ended()).map(drop)
    }

    /// Fails if the agent has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        self.agent.as_mut().map_or(Ok(()), Server::check)
    }

    /// Returns whether an agent was started and not ended by [`Self::signal`].
    pub fn is_started(&self) -> bool {
        self.agent.is_some()
    }

    /// Returns what all agents of this host have printed.
    pub fn log(&self) -> String {
        self.logs.iter().filter_map(|file| std::fs::read_to_string(file).ok()).collect()
    }

    /// Returns the installed plugins of the host.
    pub fn installed(&self) -> InstalledPlugins {
        InstalledPlugins { root: self.machine.root().to_owned() }
    }
}

/// The plugins in one root, read from the disk and not through d8.
#[derive(Debug, Clone)]
pub struct InstalledPlugins {
    root: PathBuf,
}

impl InstalledPlugins {
    /// Returns the path of the active executable of a plugin, whether it exists or not.
    pub fn current(&self, plugin: &str) -> PathBuf {
        self.root.join("plugins").join(plugin).join("current")
    }

    /// Returns the version that the active executable is, a script of the [`catalog`].
    pub fn version(&self, plugin: &str) -> Option<String> {
        catalog::script_version(&std::fs::read_to_string(self.current(plugin)).ok()?, plugin)
    }

    /// Returns when the plugin was switched last, if all its versions have the same major version.
    pub fn switched_at(&self, plugin: &str) -> Option<SystemTime> {
        // A switch renames the executable into this directory.
        let major = self.root.join("plugins").join(plugin).join(std::fs::read_link(self.current(plugin)).ok()?);
        std::fs::metadata(major.parent()?).ok()?.modified().ok()
    }

    /// Returns the directories in which versions of a plugin are being staged.
    pub fn staged(&self, plugin: &str) -> Vec<PathBuf> {
        let owners = entries(&self.root.join(".staging"));
        let versions = owners.iter().flat_map(|owner| entries(owner));
        let is_of = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.strip_prefix(plugin).is_some_and(|rest| rest.starts_with('-'))
        };
        versions.filter(is_of).collect()
    }
}

/// Returns the paths in a directory; none if it cannot be read.
fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Managed hosts of one lab.
pub struct Fleet {
    hosts: Vec<ManagedHost>,
}

impl Fleet {
    /// Enrols hosts with these names and labels (`key=value,…`), several at the same time. `server` as in
    /// [`ManagedHost::enroll`].
    pub fn enroll(lab: &Lab, hosts: &[(String, String)], server: Option<&str>) -> Result<Self> {
        let admin = admin(lab)?;
        let enroll = |part: &[(String, String)]| -> Result<Vec<ManagedHost>> {
            part.iter().map(|(name, labels)| ManagedHost::enroll(lab, &admin, name, labels, server)).collect()
        };
        let parts = hosts.chunks(hosts.len().div_ceil(PARALLEL).max(1));
        let enrolled: Result<Vec<Vec<ManagedHost>>> = std::thread::scope(|scope| {
            let threads: Vec<_> = parts.map(|part| scope.spawn(|| enroll(part))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        Ok(Self { hosts: enrolled?.into_iter().flatten().collect() })
    }

    /// Starts the agent of each host.
    pub fn start(&mut self, scratch: &Scratch) -> Result<()> {
        self.hosts.iter_mut().try_for_each(|host| host.start(scratch))
    }

    /// Returns the hosts.
    pub fn hosts(&self) -> &[ManagedHost] {
        &self.hosts
    }

    /// Returns the hosts, to start and to end their agents.
    pub fn hosts_mut(&mut self) -> &mut [ManagedHost] {
        &mut self.hosts
    }

    /// Returns the names of the hosts by the active version of a plugin. No version: `""`.
    pub fn by_version(&self, plugin: &str) -> BTreeMap<String, Vec<&str>> {
        let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for host in &self.hosts {
            found.entry(host.installed().version(plugin).unwrap_or_default()).or_default().push(host.name());
        }
        found
    }

    /// Waits until the active version of a plugin is this one on all hosts that `selects` selects.
    pub fn wait_for_version(
        &self,
        plugin: &str,
        version: &str,
        limit: Duration,
        selects: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let what = format!("{plugin} {version} on all hosts");
        self.wait_for(&what, limit, |host| {
            !selects(host.name()) || host.installed().version(plugin).as_deref() == Some(version)
        })
    }

    /// Waits until each host meets a condition. After `limit`, the error has the ends of the logs of some of the others.
    pub fn wait_for(&self, what: &str, limit: Duration, condition: impl Fn(&ManagedHost) -> bool) -> Result<()> {
        let waited = wait_for(what, limit, || self.hosts.iter().all(&condition).then_some(()));
        waited.map_err(|error| explained(error, self.hosts.iter().filter(|host| !condition(host))))
    }

    /// Waits until each host reports what meets a condition. The condition gets the name and the status of the host.
    pub fn wait_for_reports(
        &self,
        lab: &Lab,
        what: &str,
        limit: Duration,
        condition: impl Fn(&str, &Value) -> bool,
    ) -> Result<()> {
        let mut last = BTreeMap::new();
        let differs = |reports: &BTreeMap<String, Value>, host: &ManagedHost| {
            !reports.get(host.name()).is_some_and(|report| condition(host.name(), report))
        };
        let waited = wait_for(what, limit, || {
            // Nothing is known while the API server does not answer.
            last = reports(lab).ok()?;
            self.hosts.iter().all(|host| !differs(&last, host)).then_some(())
        });
        waited.map_err(|error| {
            let others: Vec<_> = self.hosts.iter().filter(|host| differs(&last, host)).collect();
            let shown: Vec<_> = others.iter().take(3).map(|host| last.get(host.name())).collect();
            let more = format!("{} hosts differ, such as {shown:#?}", others.len());
            explained(with_log(error, &more), others.into_iter())
        })
    }
}

/// Adds the ends of the logs of some hosts.
fn explained<'h>(error: Error, hosts: impl Iterator<Item = &'h ManagedHost>) -> Error {
    const SHOWN: usize = 2;
    let logs = hosts.take(SHOWN).map(|host| {
        let log = host.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("{}:\n{}\n", host.name(), lines[lines.len().saturating_sub(20)..].join("\n"))
    });
    with_log(error, &logs.collect::<String>())
}

fn with_log(error: Error, more: &str) -> Error {
    match error {
        Error::Timeout { what, seconds, log } => Error::Timeout { what, seconds, log: format!("{log}{more}\n") },
        other => other,
    }
}

/// Returns the status of each CliHost, by name.
pub fn reports(lab: &Lab) -> Result<BTreeMap<String, Value>> {
    let text = lab.plane().kubectl(["get", "clihosts", "--output=json"])?;
    let list: Value = serde_json::from_str(&text)
        .map_err(|error| Error::Unexpected { what: "the list of CliHosts".into(), found: error.to_string() })?;
    let hosts = list["items"].as_array().cloned().unwrap_or_default();
    let entry = |host: Value| Some((host["metadata"]["name"].as_str()?.to_owned(), host["status"].clone()));
    Ok(hosts.into_iter().filter_map(entry).collect())
}

/// Returns what a status reports of a plugin; `null` if nothing.
pub fn component(status: &Value, plugin: &str) -> Value {
    let components = status["components"].as_array().into_iter().flatten();
    components.into_iter().find(|component| component["name"] == json!(plugin)).cloned().unwrap_or_default()
}
