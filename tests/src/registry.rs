//! The registry-packages-proxy of a lab, and what is published behind it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::catalog::{self, Hostile, Plugin};
use crate::process::Server;
use crate::{ControlPlane, Error, Finished, Result, oci, run, tools};

/// Where the proxy lives.
pub const NAMESPACE: &str = "d8-cloud-instance-manager";
/// Where it says where it is.
pub const CONFIG_MAP: &str = "registry-packages-proxy-config";
/// How long it may take to listen.
const START: Duration = Duration::from_mins(1);

/// `d8-rpp serve` over an OCI image layout, announced in the cluster.
#[derive(Debug)]
pub struct Registry {
    server: Server,
    address: String,
    layout: PathBuf,
    sources: PathBuf,
}

impl Registry {
    /// Starts the proxy over an empty layout, with its own `ServiceAccount`, and writes its ConfigMap.
    /// The cluster must be [furnished](crate::cluster::furnish).
    pub fn start(plane: &ControlPlane) -> Result<Self> {
        let layout = plane.scratch().folder("registry")?;
        let sources = plane.scratch().folder("published")?;
        // An empty layout, so that there is something to serve before the first image.
        for (name, content) in [
            ("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
            (
                "index.json",
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#,
            ),
        ] {
            let path = layout.join(name);
            std::fs::write(&path, content).map_err(Error::io(path.display().to_string()))?;
        }
        let (server, address) = serve(plane, "d8-rpp", ["--layout".into(), (&layout).into()])?;
        let config = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE},
            "data": {"endpoints": json!([address]).to_string(), "ca.crt": plane.ca_pem()},
        });
        plane.apply(&config.to_string())?;
        Ok(Self { server, address, layout, sources })
    }

    /// The OCI image layout that the proxy serves.
    pub fn layout(&self) -> &Path {
        &self.layout
    }

    /// `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Kills the proxy.
    pub fn stop(&mut self) {
        self.server.kill();
    }

    /// Publishes a plugin with `d8-rpp pack`. A tag that is there is replaced.
    pub fn publish(&self, plugin: &Plugin) -> Result<Finished> {
        let folder = self.sources.join(&plugin.name).join(&plugin.version);
        std::fs::create_dir_all(&folder).map_err(Error::io(folder.display().to_string()))?;
        let file = |name: &str, content: &str| {
            let path = folder.join(name);
            std::fs::write(&path, content).map_err(Error::io(path.display().to_string())).map(|()| path)
        };
        let executable = file(&plugin.name, &plugin.script)?;
        let mut args =
            vec!["pack".to_owned(), "--image".into(), plugin.image(), "--version".into(), plugin.version.clone()];
        for platform in &plugin.platforms {
            args.extend(["--platform".into(), format!("{platform}={}", executable.display())]);
        }
        if let Some(contract) = &plugin.contract {
            let contract = file("contract.yaml", &format!("{contract:#}\n"))?;
            args.extend(["--contract".into(), contract.display().to_string()]);
        }
        if let Some(created) = plugin.created {
            args.extend(["--created".into(), created.to_string()]);
        }
        args.extend(["--to".into(), self.layout.display().to_string()]);
        run(tools::binary("d8-rpp")?, args, |_| {})?.expect_code(0)
    }

    /// Puts an image into the registry that `d8-rpp pack` would refuse.
    pub fn push(&self, image: &Hostile) -> Result<()> {
        let name = catalog::image(image.name);
        oci::push(&self.layout, &name, image.version, &image.layer, &image.annotations).map(drop)
    }
}

/// Starts `d8-rpp serve` with its own `ServiceAccount`, a certificate of the cluster's authority and these
/// flags beside; it and the `host:port` it listens on.
pub fn serve(plane: &ControlPlane, name: &str, flags: impl IntoIterator<Item = OsString>) -> Result<(Server, String)> {
    let who = plane.service_account(NAMESPACE, "registry-packages-proxy")?;
    let kubeconfig = plane.kubeconfig_for(&who)?;
    let serving = plane.serving_certificate(name)?;
    let common: [OsString; 9] = [
        "serve".into(),
        "--listen".into(),
        "127.0.0.1:0".into(),
        "--tls-cert".into(),
        serving.certificate.into(),
        "--tls-key".into(),
        serving.key.into(),
        "--kubeconfig".into(),
        kubeconfig.into(),
    ];
    let flags = common.into_iter().chain(flags);
    let mut server = plane.scratch().start(name, tools::binary("d8-rpp")?, flags, |_| {})?;
    let address = address(&server.first_line(START)?)?;
    Ok((server, address))
}

/// The `host:port` at the end of the line that a server prints when it listens.
pub(crate) fn address(line: &str) -> Result<String> {
    let word = line.rsplit([' ', '/']).find(|word| word.contains(':'));
    let unexpected = || Error::Unexpected { what: "the address a server listens on".into(), found: line.to_owned() };
    word.filter(|word| word.parse::<std::net::SocketAddr>().is_ok()).map(str::to_owned).ok_or_else(unexpected)
}
