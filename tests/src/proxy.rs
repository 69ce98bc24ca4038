//! The registry-packages-proxy of a lab: `d8-rpp serve` over an image layout, and what is published there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::catalog::{self, HostileImage, Plugin};
use crate::pack::Pack;
use crate::process::Server;
use crate::{CommandOutput, ControlPlane, Error, Pair, Result, objects, oci, tools};

/// Namespace of the proxy.
pub const NAMESPACE: &str = "d8-cloud-instance-manager";
/// The ConfigMap that announces the proxy.
pub const CONFIG_MAP: &str = "registry-packages-proxy-config";
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// `d8-rpp serve` over an OCI image layout, announced in the cluster.
#[derive(Debug)]
pub struct Proxy {
    server: Server,
    address: String,
    layout: PathBuf,
    sources: PathBuf,
}

impl Proxy {
    /// Starts the proxy with its own `ServiceAccount` over an empty layout, and writes its ConfigMap. The
    /// cluster must be [set up](crate::cluster::set_up).
    pub fn start(plane: &ControlPlane) -> Result<Self> {
        let layout = plane.scratch().directory("registry")?;
        let sources = plane.scratch().directory("published")?;
        oci::create(&layout)?;
        let (server, address) = serve(plane, "d8-rpp", ["--layout".into(), (&layout).into()])?;
        plane.apply(&objects::proxy_config(None, &[&address], plane.ca_pem()).to_string())?;
        Ok(Self { server, address, layout, sources })
    }

    /// Returns the OCI image layout that the proxy serves.
    pub fn layout(&self) -> &Path {
        &self.layout
    }

    /// Returns the address of the proxy: `127.0.0.1:<port>`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the URL of the proxy: `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Returns the log up to now, with a line for each finished request.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Kills the proxy, and waits until it has ended.
    pub fn stop(&mut self) {
        self.server.kill();
    }

    /// Publishes a plugin with `d8-rpp pack`. An existing tag is replaced.
    pub fn publish(&self, plugin: &Plugin) -> Result<CommandOutput> {
        let directory = self.sources.join(&plugin.name).join(&plugin.version);
        std::fs::create_dir_all(&directory).map_err(Error::io(directory.display().to_string()))?;
        let write = |name: &str, content: &str| {
            let path = directory.join(name);
            std::fs::write(&path, content).map_err(Error::io(path.display().to_string())).map(|()| path)
        };
        let executable = write(&plugin.name, &plugin.script)?;
        let mut pack = Pack::new(&plugin.image(), &plugin.version);
        for platform in &plugin.platforms {
            pack = pack.platform(platform, &executable);
        }
        if let Some(contract) = &plugin.contract {
            pack = pack.contract(&write("contract.yaml", &format!("{contract:#}\n"))?);
        }
        if let Some(created) = plugin.created {
            pack = pack.flag("--created", created.to_string());
        }
        pack.to(&self.layout)?.expect_code(0)
    }

    /// Publishes an executable as d8 itself, for this platform.
    pub fn publish_d8(&self, version: &str, executable: &Path) -> Result<()> {
        let platform = d8_crds::values::platform::Platform::current();
        let pack = Pack::new(&catalog::image("d8"), version).platform(platform.as_str(), executable);
        pack.to(&self.layout)?.expect_code(0).map(drop)
    }

    /// Writes an image into the layout that `d8-rpp pack` would refuse.
    pub fn publish_hostile(&self, image: &HostileImage) -> Result<()> {
        let name = catalog::image(image.name);
        oci::push(&self.layout, &name, image.version, &image.layer, &image.annotations).map(drop)
    }
}

/// Starts `d8-rpp serve` with the proxy's `ServiceAccount`, a certificate of the cluster's CA and these
/// additional flags. Returns the server and the `host:port` it listens on.
pub fn serve(plane: &ControlPlane, name: &str, flags: impl IntoIterator<Item = OsString>) -> Result<(Server, String)> {
    serve_as(plane, name, plane.serving_certificate(name)?, flags)
}

/// As [`serve`], with another certificate.
pub fn serve_as(
    plane: &ControlPlane,
    name: &str,
    serving: Pair,
    flags: impl IntoIterator<Item = OsString>,
) -> Result<(Server, String)> {
    let who = plane.service_account(NAMESPACE, "registry-packages-proxy")?;
    let kubeconfig = plane.kubeconfig_for(&who)?;
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
    let address = address(&server.first_line(START_TIMEOUT)?)?;
    Ok((server, address))
}

/// Returns the `host:port` at the end of the line that a server prints when it listens.
pub(crate) fn address(line: &str) -> Result<String> {
    let word = line.rsplit([' ', '/']).find(|word| word.contains(':'));
    let unexpected =
        || Error::Unexpected { what: "the address that a server listens on".into(), found: line.to_owned() };
    word.filter(|word| word.parse::<std::net::SocketAddr>().is_ok()).map(str::to_owned).ok_or_else(unexpected)
}
