//! The whole system on this machine: a control plane with the objects of a Deckhouse cluster, `d8-rpp serve` over
//! an image layout, the chart, and `d8-operator` with the chart's `ServiceAccount`.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use d8_crds::records::policy::PluginPolicy;
use d8_crds::records::release::CliRelease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::catalog::{self, Plugin};
use crate::process::{Server, wait_for};
use crate::workstation::Workstation;
use crate::{CommandOutput, ControlPlane, Error, Proxy, Result, cluster, objects, proxy::address, tools};

/// Name of the Helm release, its namespace and its `ServiceAccount`.
pub const OPERATOR: &str = "d8-operator";
/// Time limit for the start of a server.
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Time limit for the operator to write what a test waits for.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// A running lab. It ends when it is dropped, and when this process ends for any reason.
pub struct Lab {
    // Dropped in this order: clients before their servers.
    operator: Server,
    operator_address: String,
    proxy: Proxy,
    plane: ControlPlane,
}

impl Lab {
    /// Starts a lab with nothing published. Calls `progress` at the beginning of each step.
    pub fn start(mut progress: impl FnMut(&str)) -> Result<Self> {
        progress("building the binaries");
        tools::binary("d8")?;
        tools::Tools::get()?;
        progress("starting etcd and kube-apiserver");
        let plane = ControlPlane::start()?;
        progress("creating the objects of a Deckhouse cluster");
        cluster::set_up(&plane)?;
        progress("starting the registry-packages-proxy");
        let proxy = Proxy::start(&plane)?;
        progress("installing the chart");
        install_chart(&plane)?;
        progress("starting the operator");
        let (operator, operator_address) = start_operator(&plane, &[])?;
        Ok(Self { operator, operator_address, proxy, plane })
    }

    /// Returns the shared lab of a test binary. The first call starts it; it ends with the process.
    ///
    /// # Panics
    /// If it does not start.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Lab> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(|_| {}).unwrap_or_else(|error| panic!("{error}")))
    }

    /// Returns the control plane.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// Returns the control plane, to stop its API server.
    pub fn plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    /// Returns the proxy that the lab started.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Kills the proxy. The cluster still announces it.
    pub fn stop_proxy(&mut self) {
        self.proxy.stop();
    }

    /// Publishes a plugin with `d8-rpp pack`. An existing tag is replaced.
    pub fn publish(&self, plugin: &Plugin) -> Result<CommandOutput> {
        self.proxy.publish(plugin)
    }

    /// Publishes all images of the [`catalog`].
    pub fn publish_catalog(&self) -> Result<()> {
        catalog::plugins().iter().try_for_each(|plugin| self.publish(plugin).map(drop))?;
        catalog::hostile().iter().try_for_each(|image| self.proxy.publish_hostile(image))
    }

    /// Returns the operator's process.
    pub fn operator(&mut self) -> &mut Server {
        &mut self.operator
    }

    /// Returns the last lines of the operator's log.
    pub fn operator_log_end(&self) -> String {
        self.operator.log_end()
    }

    /// Ends the operator with SIGTERM as a kubelet does, so that another one can lead at once.
    pub fn stop_operator(&mut self) -> Result<()> {
        let pid = wait_for("the operator's process id", TIMEOUT, || self.operator.pid())?;
        // It may have ended already.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        wait_for("the operator's end", TIMEOUT, || self.operator.ended()).map(drop)
    }

    /// Starts the operator again.
    pub fn start_operator(&mut self) -> Result<()> {
        self.start_operator_with(&[])
    }

    /// Starts the operator again, with these flags.
    pub fn start_operator_with(&mut self, flags: &[&str]) -> Result<()> {
        (self.operator, self.operator_address) = start_operator(&self.plane, flags)?;
        Ok(())
    }

    /// Starts another replica of the operator, beside the first one. Returns it when it is ready.
    pub fn start_replica(&self, identity: &str) -> Result<Server> {
        start_operator_as(&self.plane, identity, &["--identity", identity]).map(|(server, _)| server)
    }

    /// Returns the identity of the leading replica, empty if none leads.
    pub fn leader(&self) -> String {
        let holder = "--output=jsonpath={.spec.holderIdentity}";
        self.plane.kubectl(["get", "lease", OPERATOR, "--namespace", OPERATOR, holder]).unwrap_or_default()
    }

    /// Returns the address of the operator for probes and metrics.
    pub fn operator_address(&self) -> &str {
        &self.operator_address
    }

    /// Requests `/healthz`, `/readyz` or `/metrics` of the operator. Returns status code and body.
    pub fn operator_get(&self, path: &str) -> Option<(u16, String)> {
        get(&self.operator_address, path)
    }

    /// Creates a workstation for a user. The user gets no permissions.
    pub fn workstation(&self, who: crate::Identity) -> Result<Workstation> {
        Workstation::new(&self.plane, who)
    }

    /// Creates a workstation for a new user who may download.
    pub fn new_workstation(&self) -> Result<Workstation> {
        let who = self.plane.new_user();
        self.allow_download(&who.user)?;
        self.workstation(who)
    }

    /// Binds the download role to a user.
    pub fn allow_download(&self, user: &str) -> Result<()> {
        cluster::allow_download(&self.plane, user)
    }

    /// Creates a `CliRelease` with an empty spec for each name.
    pub fn create_releases(&self, names: &[&str]) -> Result<()> {
        let manifest: String = names.iter().fold(String::new(), |mut all, name| {
            let _ = writeln!(all, "---\n{}", objects::release(name, &json!({})));
            all
        });
        self.plane.apply(&manifest).map(drop)
    }

    /// Makes the operator poll the proxy for a component now.
    pub fn request_poll(&self, name: &str) -> Result<String> {
        static REQUESTS: AtomicUsize = AtomicUsize::new(0);
        let request = REQUESTS.fetch_add(1, Ordering::Relaxed);
        let annotation = format!("cli.deckhouse.io/poll-requested=test-{request}");
        let output = "--output=jsonpath={.metadata.resourceVersion}";
        self.plane.kubectl(["annotate", "--overwrite", "clirelease", name, &annotation, output])
    }

    /// Applies a `PluginPolicy` with this name and spec as the admin.
    pub fn apply_policy(&self, name: &str, spec: &Value) -> Result<()> {
        self.plane.apply(&objects::policy(name, spec).to_string()).map(drop)
    }

    /// Enables or disables a Module in its status, as Deckhouse does.
    pub fn set_module(&self, name: &str, enabled: bool) -> Result<()> {
        let status = if enabled { "True" } else { "False" };
        let patch = json!({"status": {"conditions": [{"type": "EnabledByModuleManager", "status": status}]}});
        let patch = format!("--patch={patch}");
        self.plane.kubectl(["patch", "module", name, "--subresource=status", "--type=merge", &patch]).map(drop)
    }

    /// Reads a record. `None`: it does not exist.
    pub fn get_release(&self, name: &str) -> Option<CliRelease> {
        self.object("clirelease", name)
    }

    /// Reads a policy. `None`: it does not exist.
    pub fn get_policy(&self, name: &str) -> Option<PluginPolicy> {
        self.object("pluginpolicy", name)
    }

    fn object<T: serde::de::DeserializeOwned>(&self, kind: &str, name: &str) -> Option<T> {
        let text = self.plane.kubectl(["get", kind, name, "--output=json"]).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Waits until a record meets a condition. `what` describes it.
    pub fn wait_for_release(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&CliRelease) -> bool,
    ) -> Result<CliRelease> {
        let found = || self.get_release(name).filter(&condition);
        let seen = wait_for(&format!("CliRelease {name}: {what}"), TIMEOUT, found);
        seen.map_err(|error| self.with_operator_log(error))
    }

    /// Waits until the record of a component has a version, and no version is still being read. The operator reads the
    /// newest first, and shows what it has read.
    pub fn wait_for_version(&self, name: &str, version: &str) -> Result<CliRelease> {
        self.wait_for_release(name, version, |release| {
            let Some(status) = &release.status else { return false };
            let is_reading = |c: &Condition| c.type_ == "Reconciling" && c.status == "True";
            status.versions.iter().any(|known| known.version == version) && !status.conditions.iter().any(is_reading)
        })
    }

    /// Waits until a policy meets a condition. `what` describes it.
    pub fn wait_for_policy(
        &self,
        name: &str,
        what: &str,
        condition: impl Fn(&PluginPolicy) -> bool,
    ) -> Result<PluginPolicy> {
        let found = || self.get_policy(name).filter(&condition);
        let seen = wait_for(&format!("PluginPolicy {name}: {what}"), TIMEOUT, found);
        seen.map_err(|error| self.with_operator_log(error))
    }

    /// Creates a `CliHost` with label `role`, and writes its status as an agent does.
    pub fn apply_host(&self, name: &str, role: &str, status: &Value) -> Result<()> {
        self.plane.apply(&objects::host(name, role).to_string())?;
        let patch = format!("--patch={}", json!({"status": status}));
        self.plane.kubectl(["patch", "clihost", name, "--subresource=status", "--type=merge", &patch]).map(drop)
    }

    /// Waits until condition `Accepted` of a policy is up to date with its spec. Returns whether it is `True`.
    pub fn wait_for_accepted(&self, name: &str) -> Result<bool> {
        let seen = wait_for(&format!("PluginPolicy {name}: Accepted"), TIMEOUT, || {
            let policy = self.get_policy(name)?;
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

fn start_operator(plane: &ControlPlane, more: &[&str]) -> Result<(Server, String)> {
    start_operator_as(plane, "d8-operator", more)
}

fn start_operator_as(plane: &ControlPlane, name: &str, more: &[&str]) -> Result<(Server, String)> {
    let who = plane.service_account(OPERATOR, OPERATOR)?;
    let kubeconfig = plane.kubeconfig_for(&who)?;
    let flags = ["--listen", "127.0.0.1:0", "--namespace", OPERATOR].iter().chain(more);
    let mut operator = plane.scratch().start(name, tools::binary("d8-operator")?, flags, |command| {
        command.env("KUBECONFIG", kubeconfig);
        for variable in
            ["D8_RPP_ENDPOINT", "D8_RPP_CA_FILE", "D8_OPERATOR_RPP_KEYS", "D8_OPERATOR_RPP_HOST", "LOG_LEVEL"]
        {
            command.env_remove(variable);
        }
    })?;
    let address = address(&operator.first_line(START_TIMEOUT)?)?;
    operator.wait_for("/readyz", START_TIMEOUT, || get(&address, "/readyz").filter(|(code, _)| *code == 200))?;
    Ok((operator, address))
}

/// Sends a GET request over HTTP/1.0. Returns status code and body.
pub fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
