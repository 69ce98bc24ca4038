//! The whole chain on this machine: a control plane with what a Deckhouse cluster has, `d8-rpp serve`
//! over an image layout, the chart, and `d8-operator` with the chart's own `ServiceAccount`.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use d8_crds::policy::PluginPolicy;
use d8_crds::release::CliRelease;
use serde_json::{Value, json};

use crate::catalog::{self, Hostile, MODULES, Plugin};
use crate::process::{Server, wait_for};
use crate::workstation::Workstation;
use crate::{ControlPlane, Error, Finished, Result, oci, run, tools};

/// The release and the namespace that the chart is installed as.
pub const OPERATOR: &str = "d8-operator";
/// Where the proxy lives.
pub const PROXY_NAMESPACE: &str = "d8-cloud-instance-manager";
/// The role that may download.
pub const DOWNLOAD_ROLE: &str = "d8:registry-packages-proxy:cli-download";
/// How long a server of ours may take to start.
const START: Duration = Duration::from_mins(1);
/// How long the operator may take to write what it knows.
pub const SOON: Duration = Duration::from_mins(1);

/// A running lab. Ends when dropped or when this process ends, however it ends.
pub struct Lab {
    // Dropped in this order: who asks before who answers.
    operator: Server,
    operator_address: String,
    proxy: Server,
    proxy_address: String,
    layout: PathBuf,
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
        furnish(&plane)?;
        progress("starting the registry-packages-proxy");
        let layout = plane.scratch().folder("registry")?;
        let (proxy, proxy_address) = start_proxy(&plane, &layout)?;
        progress("installing the chart");
        install_chart(&plane)?;
        progress("starting the operator");
        let (operator, operator_address) = start_operator(&plane)?;
        Ok(Self { operator, operator_address, proxy, proxy_address, layout, plane })
    }

    /// The control plane below.
    pub fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    /// The same, to take its API server away.
    pub fn plane_mut(&mut self) -> &mut ControlPlane {
        &mut self.plane
    }

    /// The OCI image layout that the proxy serves.
    pub fn layout(&self) -> &Path {
        &self.layout
    }

    /// `https://127.0.0.1:<port>` of the proxy.
    pub fn proxy_url(&self) -> String {
        format!("https://{}", self.proxy_address)
    }

    /// The authority of the proxy's certificate, as a file.
    pub fn proxy_ca_file(&self) -> PathBuf {
        self.plane.scratch().path().join("cluster-ca.crt")
    }

    /// Kills the proxy.
    pub fn stop_proxy(&mut self) {
        self.proxy.kill();
    }

    /// The operator's process, to look at its log or end it.
    pub fn operator(&mut self) -> &mut Server {
        &mut self.operator
    }

    /// Status code and body of the operator's `/healthz`, `/readyz` or `/metrics`.
    pub fn operator_get(&self, path: &str) -> Option<(u16, String)> {
        get(&self.operator_address, path)
    }

    /// Publishes a plugin with `d8-rpp pack`. A tag that is there is replaced.
    pub fn publish(&self, plugin: &Plugin) -> Result<Finished> {
        let folder = self.plane.scratch().folder(&format!("published/{}/{}", plugin.name, plugin.version))?;
        let file = |name: &str, content: &str| {
            let path = folder.join(name);
            std::fs::write(&path, content).map_err(Error::io(path.display().to_string())).map(|()| path)
        };
        let contract = file("contract.yaml", &format!("{:#}\n", plugin.contract))?;
        let executable = file(&plugin.name, &plugin.script)?;
        let mut args =
            vec!["pack".to_owned(), "--image".into(), plugin.image(), "--version".into(), plugin.version.clone()];
        for platform in &plugin.platforms {
            args.extend(["--platform".into(), format!("{platform}={}", executable.display())]);
        }
        args.extend(["--contract".into(), contract.display().to_string()]);
        args.extend(["--to".into(), self.layout.display().to_string()]);
        run(tools::binary("d8-rpp")?, args, |_| {})?.expect_code(0)
    }

    /// Puts an image into the registry that `d8-rpp pack` would refuse.
    pub fn publish_hostile(&self, image: &Hostile) -> Result<()> {
        let name = catalog::image(image.name);
        oci::push(&self.layout, &name, image.version, &image.layer, &image.annotations).map(drop)
    }

    /// Publishes everything of the [`catalog`].
    pub fn publish_catalog(&self) -> Result<()> {
        catalog::plugins().iter().try_for_each(|plugin| self.publish(plugin).map(drop))?;
        catalog::hostile().iter().try_for_each(|image| self.publish_hostile(image))
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
        let name = format!("{user}-downloads");
        let role = format!("--clusterrole={DOWNLOAD_ROLE}");
        self.plane.kubectl(["create", "clusterrolebinding", &name, &role, &format!("--user={user}")]).map(drop)
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

fn furnish(plane: &ControlPlane) -> Result<()> {
    plane.apply(include_str!("../fixtures/cluster.yaml"))?;
    plane.kubectl(["wait", "--for=condition=Established", "crd/modules.deckhouse.io", "--timeout=30s"])?;
    let modules = |with_status: bool| -> String {
        let object = |(name, version, enabled): (&str, &str, bool)| {
            let mut object =
                json!({"apiVersion": "deckhouse.io/v1alpha1", "kind": "Module", "metadata": {"name": name}});
            if with_status {
                let on = if enabled { "True" } else { "False" };
                let phase = if enabled { "Ready" } else { "Available" };
                let condition = json!({"type": "EnabledByModuleManager", "status": on});
                object["status"] = json!({"phase": phase, "conditions": [condition]});
            } else {
                object["properties"] = json!({"version": version, "source": "deckhouse"});
            }
            format!("---\n{object}\n")
        };
        MODULES.into_iter().map(object).collect()
    };
    plane.apply(&modules(false))?;
    plane.apply_status(&modules(true)).map(drop)
}

fn start_proxy(plane: &ControlPlane, layout: &Path) -> Result<(Server, String)> {
    // An empty layout, so that there is something to serve before the first image.
    for (name, content) in [
        ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#),
    ] {
        let path = layout.join(name);
        std::fs::write(&path, content).map_err(Error::io(path.display().to_string()))?;
    }
    let who = plane.service_account(PROXY_NAMESPACE, "registry-packages-proxy")?;
    let kubeconfig = plane.kubeconfig_for(&who)?;
    let serving = plane.serving_certificate("registry-packages-proxy")?;
    let flags: [OsString; 11] = [
        "serve".into(),
        "--layout".into(),
        layout.into(),
        "--listen".into(),
        "127.0.0.1:0".into(),
        "--tls-cert".into(),
        serving.certificate.into(),
        "--tls-key".into(),
        serving.key.into(),
        "--kubeconfig".into(),
        kubeconfig.into(),
    ];
    let mut proxy = plane.scratch().start("d8-rpp", tools::binary("d8-rpp")?, flags, |_| {})?;
    let address = address(&proxy.first_line(START)?)?;
    let config = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "registry-packages-proxy-config", "namespace": PROXY_NAMESPACE},
        "data": {"endpoints": json!([address]).to_string(), "ca.crt": plane.ca_pem()},
    });
    plane.apply(&config.to_string())?;
    Ok((proxy, address))
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

/// The `host:port` at the end of the line that a server prints when it listens.
fn address(line: &str) -> Result<String> {
    let word = line.rsplit([' ', '/']).find(|word| word.contains(':'));
    let unexpected = || Error::Unexpected { what: "the address a server listens on".into(), found: line.to_owned() };
    word.filter(|word| word.parse::<std::net::SocketAddr>().is_ok()).map(str::to_owned).ok_or_else(unexpected)
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
