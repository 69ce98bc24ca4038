//! The whole chain on this machine: a control plane with what a Deckhouse cluster has, `d8-rpp serve`
//! over an image layout, the chart, and `d8-operator` with the chart's own `ServiceAccount`.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use d8_crds::records::policy::PluginPolicy;
use d8_crds::records::release::CliRelease;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::catalog::{self, Plugin};
use crate::process::{Server, wait_for};
use crate::workstation::Workstation;
use crate::{ControlPlane, Error, Finished, Registry, Result, cluster, registry::address, tools};

/// The release and the namespace that the chart is installed as.
pub const OPERATOR: &str = "d8-operator";
/// How long a server of ours may take to start.
const START: Duration = Duration::from_mins(1);
/// How long the operator may take to write what it knows.
pub const SOON: Duration = Duration::from_mins(1);

/// A running lab. Ends when dropped or when this process ends, however it ends.
pub struct Lab {
    // Dropped in this order: who asks before who answers.
    operator: Server,
    operator_address: String,
    registry: Registry,
    plane: ControlPlane,
}

impl Lab {
    /// Brings all up, with nothing published yet. `progress` is told each step as it begins.
    pub fn start(mut progress: impl FnMut(&str)) -> Result<Self> {
        progress("building the binaries");
        tools::binary("d8")?;
        tools::Tools::get()?;
        progress("starting etcd and kube-apiserver");
        let plane = ControlPlane::start()?;
        progress("making it a Deckhouse cluster");
        cluster::furnish(&plane)?;
        progress("starting the registry-packages-proxy");
        let registry = Registry::start(&plane)?;
        progress("installing the chart");
        install_chart(&plane)?;
        progress("starting the operator");
        let (operator, operator_address) = start_operator(&plane)?;
        Ok(Self { operator, operator_address, registry, plane })
    }

    /// The one lab of a test binary, started by whoever asks first. It ends with the process.
    ///
    /// # Panics
    /// When it does not start: no test could say more.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Lab> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(|_| {}).unwrap_or_else(|error| panic!("{error}")))
    }

    /// The control plane below.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// The same, to take its API server away.
    pub fn plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    /// The proxy and what it serves.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Kills the proxy.
    pub fn stop_proxy(&mut self) {
        self.registry.stop();
    }

    /// Publishes a plugin with `d8-rpp pack`. A tag that is there is replaced.
    pub fn publish(&self, plugin: &Plugin) -> Result<Finished> {
        self.registry.publish(plugin)
    }

    /// Publishes everything of the [`catalog`].
    pub fn publish_catalog(&self) -> Result<()> {
        catalog::plugins().iter().try_for_each(|plugin| self.publish(plugin).map(drop))?;
        catalog::hostile().iter().try_for_each(|image| self.registry.push(image))
    }

    /// The operator's process, to look at its log or end it.
    pub fn operator(&mut self) -> &mut Server {
        &mut self.operator
    }

    /// Ends the operator as a kubelet does, so that another may lead at once.
    pub fn stop_operator(&mut self) -> Result<()> {
        let pid = wait_for("the operator's process id", SOON, || self.operator.pid())?;
        // One that ended by itself is what was asked for.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        wait_for("the operator's end", SOON, || self.operator.ended()).map(drop)
    }

    /// Starts the operator again.
    pub fn start_operator(&mut self) -> Result<()> {
        (self.operator, self.operator_address) = start_operator(&self.plane)?;
        Ok(())
    }

    /// Status code and body of the operator's `/healthz`, `/readyz` or `/metrics`.
    pub fn operator_get(&self, path: &str) -> Option<(u16, String)> {
        get(&self.operator_address, path)
    }

    /// A workstation of `who`, with a home and a plugin root of its own. The user gets no right.
    pub fn workstation(&self, who: crate::Identity) -> Result<Workstation> {
        Workstation::new(&self.plane, who)
    }

    /// A workstation of a user whom no one else was given and who may download.
    pub fn new_workstation(&self) -> Result<Workstation> {
        let who = self.plane.new_user();
        self.allow_download(&who.user)?;
        self.workstation(who)
    }

    /// Binds the role that may download to a user.
    pub fn allow_download(&self, user: &str) -> Result<()> {
        cluster::allow_download(&self.plane, user)
    }

    /// Applies a `CliRelease` for each name, with an empty spec.
    pub fn track(&self, names: &[&str]) -> Result<()> {
        let manifest: String = names.iter().fold(String::new(), |mut all, name| {
            let object = json!({
                "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliRelease", "metadata": {"name": name}, "spec": {},
            });
            let _ = writeln!(all, "---\n{object}");
            all
        });
        self.plane.apply(&manifest).map(drop)
    }

    /// Asks the operator to ask the proxy about a component now.
    pub fn poll(&self, name: &str) -> Result<()> {
        static REQUESTS: AtomicUsize = AtomicUsize::new(0);
        let request = REQUESTS.fetch_add(1, Ordering::Relaxed);
        let annotation = format!("cli.deckhouse.io/poll-requested=test-{request}");
        self.plane.kubectl(["annotate", "--overwrite", "clirelease", name, &annotation]).map(drop)
    }

    /// Applies a `PluginPolicy`.
    pub fn policy(&self, name: &str, spec: &Value) -> Result<()> {
        let object = json!({
            "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy", "metadata": {"name": name}, "spec": spec,
        });
        self.plane.apply(&object.to_string()).map(drop)
    }

    /// Switches a Module on or off, as Deckhouse would show it.
    pub fn module(&self, name: &str, enabled: bool) -> Result<()> {
        let status = if enabled { "True" } else { "False" };
        let patch = json!({"status": {"conditions": [{"type": "EnabledByModuleManager", "status": status}]}});
        let patch = format!("--patch={patch}");
        self.plane.kubectl(["patch", "module", name, "--subresource=status", "--type=merge", &patch]).map(drop)
    }

    /// A record as it stands, if it is there.
    pub fn release(&self, name: &str) -> Option<CliRelease> {
        self.object("clirelease", name)
    }

    /// A policy as it stands, if it is there.
    pub fn plugin_policy(&self, name: &str) -> Option<PluginPolicy> {
        self.object("pluginpolicy", name)
    }

    fn object<T: serde::de::DeserializeOwned>(&self, kind: &str, name: &str) -> Option<T> {
        let text = self.plane.kubectl(["get", kind, name, "--output=json"]).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Waits until a record is as it should be.
    pub fn release_when(&self, name: &str, what: &str, right: impl Fn(&CliRelease) -> bool) -> Result<CliRelease> {
        let seen = wait_for(&format!("CliRelease {name}: {what}"), SOON, || self.release(name).filter(&right));
        seen.map_err(|error| self.with_operator_log(error))
    }

    /// Waits until the record of a plugin knows a version.
    pub fn release_with(&self, name: &str, version: &str) -> Result<CliRelease> {
        self.release_when(name, version, |release| {
            release.status.iter().flat_map(|status| &status.versions).any(|known| known.version == version)
        })
    }

    /// Waits until a policy is as it should be.
    pub fn policy_when(&self, name: &str, what: &str, right: impl Fn(&PluginPolicy) -> bool) -> Result<PluginPolicy> {
        let found = || self.plugin_policy(name).filter(&right);
        let seen = wait_for(&format!("PluginPolicy {name}: {what}"), SOON, found);
        seen.map_err(|error| self.with_operator_log(error))
    }

    /// Makes a `CliHost` with a label `role`, and writes its status as its agent would.
    pub fn host(&self, name: &str, role: &str, status: &Value) -> Result<()> {
        let host = json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "CliHost",
            "metadata": {"name": name, "labels": {"role": role}},
            "spec": {"identity": format!("system:serviceaccount:d8-cli-hosts:{name}")}});
        self.plane.apply(&host.to_string())?;
        let patch = format!("--patch={}", json!({"status": status}));
        self.plane.kubectl(["patch", "clihost", name, "--subresource=status", "--type=merge", &patch]).map(drop)
    }

    /// Waits until a policy's condition `Accepted` is `True` or `False` for its present spec.
    pub fn policy_accepted(&self, name: &str) -> Result<bool> {
        let seen = wait_for(&format!("PluginPolicy {name}: Accepted"), SOON, || {
            let policy = self.plugin_policy(name)?;
            let generation = policy.metadata.generation;
            let conditions = policy.status?.conditions;
            let accepted = conditions.into_iter().find(|condition| condition.type_ == "Accepted")?;
            (accepted.observed_generation == generation).then_some(accepted.status == "True")
        });
        seen.map_err(|error| self.with_operator_log(error))
    }

    fn with_operator_log(&self, error: Error) -> Error {
        match error {
            Error::Timeout { what, seconds, .. } => Error::Timeout { what, seconds, log: self.operator.log_end() },
            other => other,
        }
    }
}

fn install_chart(plane: &ControlPlane) -> Result<()> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/d8-operator");
    let chart = chart.display().to_string();
    plane.helm(["install", OPERATOR, &chart, "--namespace", OPERATOR, "--create-namespace"]).map(drop)
}

fn start_operator(plane: &ControlPlane) -> Result<(Server, String)> {
    let who = plane.service_account(OPERATOR, OPERATOR)?;
    let kubeconfig = plane.kubeconfig_for(&who)?;
    let flags = ["--listen", "127.0.0.1:0", "--namespace", OPERATOR];
    let mut operator = plane.scratch().start("d8-operator", tools::binary("d8-operator")?, flags, |command| {
        command.env("KUBECONFIG", kubeconfig);
        for variable in ["D8_RPP_ENDPOINT", "D8_RPP_CA_FILE", "LOG_LEVEL"] {
            command.env_remove(variable);
        }
    })?;
    let address = address(&operator.first_line(START)?)?;
    operator.wait_for("/readyz", START, || get(&address, "/readyz").filter(|(code, _)| *code == 200))?;
    Ok((operator, address))
}

/// A plain GET over HTTP/1.0.
fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
