//! A real control plane: etcd and kube-apiserver on free ports of 127.0.0.1, with TLS, RBAC and real tokens.
//! There is no controller-manager and no kubelet. So no Pod runs, a deleted namespace stays Terminating, and an
//! aggregated `ClusterRole` stays empty.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::pki::{Authority, Pair, SigningKey};
use crate::process::{Scratch, Server};
use crate::{CommandOutput, Error, Result, objects, run, tools::Tools};

/// The cluster's admin, group `system:masters`.
pub const ADMIN: &str = "admin";
/// The group of [`ControlPlane::contractor`].
pub const CONTRACTORS: &str = "contractors";
const CONTRACTOR: &str = "carl";
/// Users with a token, without groups and permissions.
const NAMED_USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
/// The number of additional users for [`ControlPlane::new_user`].
const NUMBERED_USERS: usize = 1024;
/// Time limit of a start. A start takes 3 s on an idle machine with two cores.
const READY_TIMEOUT: Duration = Duration::from_secs(90);
/// Attempts to start: another process may take the chosen port first.
const ATTEMPTS: usize = 3;

/// A user of the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user's name, as in RBAC subjects.
    pub user: String,
    /// The Bearer token that the API server accepts for this user.
    pub token: String,
}

/// A running control plane. It ends when it is dropped, and when this process ends for any reason.
pub struct ControlPlane {
    // Fields are dropped in this order: the API server before etcd, the directory last.
    api_server: Server,
    etcd: Server,
    scratch: Scratch,
    etcd_port: u16,
    port: u16,
    authority: Authority,
    files: Files,
    tokens: Tokens,
    users_given: AtomicUsize,
}

/// The requests that are logged: those of managed hosts.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived", "ResponseStarted"],
  "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts:d8-cli-hosts"]}, {"level": "None"}]}"#;
const AUDIT_LOG: &str = "audit.log";

/// Files that the flags of the API server name.
struct Files {
    audit_policy: PathBuf,
    serving: Pair,
    etcd_client: Pair,
    service_accounts: SigningKey,
    tokens: PathBuf,
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready. Blocks the thread.
    pub fn start() -> Result<Self> {
        let mut attempt = 1;
        loop {
            match Self::try_start() {
                Err(Error::Ended { log, .. }) if attempt < ATTEMPTS && log.contains("address already in use") => {
                    attempt += 1;
                }
                done => return done,
            }
        }
    }

    fn try_start() -> Result<Self> {
        let tools = Tools::get()?;
        let scratch = Scratch::new()?;
        let authority = Authority::new(&scratch, "cluster-ca")?;
        // A separate CA: only this API server may connect to this etcd.
        let store = Authority::new(&scratch, "etcd-ca")?;
        let etcd_server = store.server(&scratch, "etcd")?;
        let tokens = Tokens::new();
        let files = Files {
            audit_policy: scratch.write("audit-policy.json", AUDIT_POLICY)?,
            serving: authority.server(&scratch, "kube-apiserver")?,
            etcd_client: store.client(&scratch, "etcd-client")?,
            service_accounts: SigningKey::new(&scratch)?,
            tokens: scratch.write("tokens.csv", tokens.file())?,
        };

        let etcd_port = free_port()?;
        let mut etcd =
            scratch.start("etcd", tools.path("etcd"), etcd_args(&scratch, etcd_port, &etcd_server, &store), |c| {
                // Environment variables of etcd would override the flags.
                c.env_clear();
            })?;
        etcd.wait_for("listening", READY_TIMEOUT, || connect(etcd_port))?;

        let port = free_port()?;
        let api_server = start_api_server(&scratch, port, etcd_port, &authority, &files)?;
        let mut plane = Self {
            api_server,
            etcd,
            scratch,
            etcd_port,
            port,
            authority,
            files,
            tokens,
            users_given: AtomicUsize::new(0),
        };
        plane.wait_ready()?;
        Ok(plane)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let config = self.kubeconfig_for(&self.tokens.identity(ADMIN))?;
        let port = self.port;
        self.api_server.wait_for("listening", READY_TIMEOUT, || connect(port))?;
        let kubectl = Tools::get()?.path("kubectl");
        let home = self.scratch.path().to_owned();
        self.api_server.wait_for("/readyz", READY_TIMEOUT, || {
            let ready =
                run(&kubectl, ["get", "--raw=/readyz", "--request-timeout=5s"], |c| client_env(c, &home, &config));
            ready.ok()?.ok().ok()
        })?;
        Ok(())
    }

    /// Returns the URL of the API server: `https://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Returns the CA certificate of the API server, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.authority.pem
    }

    /// Returns the file that has this certificate.
    pub fn ca_file(&self) -> &Path {
        &self.authority.file
    }

    /// Returns the directory of this control plane. Files of tests in it are removed with it.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Returns the identity of [`ADMIN`] or of one of `alice`, `bob`, `carol`, `dave`.
    pub fn user(&self, name: &str) -> Identity {
        self.tokens.identity(name)
    }

    /// Returns the identity of the only user who is in group [`CONTRACTORS`].
    pub fn contractor(&self) -> Identity {
        self.tokens.identity(CONTRACTOR)
    }

    /// Returns the identity of a user that no other test has, without permissions.
    ///
    /// # Panics
    /// When a test asks for more users than there are tokens.
    pub fn new_user(&self) -> Identity {
        let given = self.users_given.fetch_add(1, Ordering::Relaxed);
        assert!(given < NUMBERED_USERS, "more than {NUMBERED_USERS} users");
        self.tokens.identity(&format!("user-{given}"))
    }

    /// Writes a certificate of the cluster's CA for a server on 127.0.0.1.
    pub fn serving_certificate(&self, name: &str) -> Result<Pair> {
        self.authority.server(&self.scratch, name)
    }

    /// As [`Self::serving_certificate`]: it is valid from the year 2090.
    pub fn future_certificate(&self, name: &str) -> Result<Pair> {
        self.authority.future_server(&self.scratch, name)
    }

    /// Writes a certificate that authenticates `user`.
    pub fn client_certificate(&self, user: &str) -> Result<Pair> {
        self.authority.client(&self.scratch, user)
    }

    /// Requests a token of a `ServiceAccount` from the `TokenRequest` API. It is valid for a day.
    pub fn service_account(&self, namespace: &str, name: &str) -> Result<Identity> {
        let token = self.kubectl(["create", "token", name, "--namespace", namespace, "--duration=24h"])?;
        Ok(Identity { user: format!("system:serviceaccount:{namespace}:{name}"), token: token.trim().to_owned() })
    }

    /// Writes a kubeconfig for an identity, with its token and the CA of the API server. Returns its path.
    pub fn kubeconfig_for(&self, who: &Identity) -> Result<PathBuf> {
        let config = objects::kubeconfig(&self.url(), self.ca_pem(), &who.user, &who.token);
        let name = format!("{}.kubeconfig", who.user.replace(':', "_"));
        self.scratch.write(&name, format!("{config:#}\n"))
    }

    /// Returns a Kubernetes client of the admin, for the current runtime.
    pub async fn admin_client(&self) -> Result<kube::Client> {
        self.client_for(&self.tokens.identity(ADMIN)).await
    }

    /// Returns a Kubernetes client of an identity, for the current runtime.
    pub async fn client_for(&self, who: &Identity) -> Result<kube::Client> {
        // The second call fails because the same provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let unexpected = |what: &str, found: String| Error::Unexpected { what: what.to_owned(), found };
        let file = Kubeconfig::read_from(self.kubeconfig_for(who)?)
            .map_err(|error| unexpected("our own kubeconfig", error.to_string()))?;
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
            .await
            .map_err(|error| unexpected("our own kubeconfig", error.to_string()))?;
        Ok(kube::Client::try_from(config)?)
    }

    /// Runs `kubectl args…` as the admin and returns its stdout. Fails unless the exit code is 0.
    pub fn kubectl(&self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<String> {
        self.kubectl_as(&self.tokens.identity(ADMIN), args)?.ok()
    }

    /// Runs `kubectl args…` as a user, with any exit code.
    pub fn kubectl_as(
        &self,
        who: &Identity,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<CommandOutput> {
        self.tool("kubectl", who, args)
    }

    /// Applies a manifest as the admin, server-side and with strict validation.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.apply_with(manifest, &[])
    }

    /// Applies the status of the objects of a manifest.
    pub fn apply_status(&self, manifest: &str) -> Result<String> {
        self.apply_with(manifest, &["--subresource=status"])
    }

    fn apply_with(&self, manifest: &str, more: &[&str]) -> Result<String> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let file = self.scratch.write(&format!("applied-{number}.yaml"), manifest)?;
        let file = OsString::from(file);
        let flags = ["apply", "--server-side", "--force-conflicts", "--validate=strict", "-f"].map(OsString::from);
        self.kubectl(flags.into_iter().chain([file]).chain(more.iter().map(OsString::from)))
    }

    /// Runs `helm args…` as the admin and returns its stdout. Fails unless the exit code is 0. No Pod runs,
    /// so `--wait` would never end.
    pub fn helm(&self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<String> {
        self.tool("helm", &self.tokens.identity(ADMIN), args)?.ok()
    }

    fn tool(
        &self,
        name: &str,
        who: &Identity,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<CommandOutput> {
        let config = self.kubeconfig_for(who)?;
        run(Tools::get()?.path(name), args, |c| client_env(c, self.scratch.path(), &config))
    }

    /// Kills the API server. etcd keeps the data for [`Self::start_api_server`].
    pub fn stop_api_server(&mut self) {
        self.api_server.kill();
    }

    /// Starts the API server again at the same address and waits until it is ready.
    pub fn start_api_server(&mut self) -> Result<()> {
        self.api_server.kill();
        self.api_server = start_api_server(&self.scratch, self.port, self.etcd_port, &self.authority, &self.files)?;
        self.wait_ready()
    }

    /// Returns the requests of a managed host that have ended, in order: `get /apis/…`. `user`: its ServiceAccount.
    pub fn requests_of(&self, user: &str) -> Result<Vec<String>> {
        let file = self.scratch.path().join(AUDIT_LOG);
        let log = std::fs::read_to_string(&file).map_err(Error::io(file.display().to_string()))?;
        let request = |line: &str| {
            // The last line may be incomplete.
            let entry: serde_json::Value = serde_json::from_str(line).ok()?;
            let is_of_user = entry["user"]["username"] == user;
            is_of_user.then(|| Some(format!("{} {}", entry["verb"].as_str()?, entry["requestURI"].as_str()?)))?
        };
        Ok(log.lines().filter_map(request).collect())
    }

    /// Returns the process IDs of kube-apiserver and etcd.
    pub fn pids(&self) -> Vec<i32> {
        [&self.api_server, &self.etcd].into_iter().filter_map(Server::pid).collect()
    }
}

fn start_api_server(scratch: &Scratch, port: u16, etcd_port: u16, ca: &Authority, files: &Files) -> Result<Server> {
    let path = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    let args = [
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        // The Service `kubernetes` does not accept a loopback address.
        "--endpoint-reconciler-type=none".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        path("service-account-key-file", &files.service_accounts.public),
        path("service-account-signing-key-file", &files.service_accounts.private),
        path("token-auth-file", &files.tokens),
        path("audit-policy-file", &files.audit_policy),
        path("audit-log-path", &scratch.path().join(AUDIT_LOG)),
        path("client-ca-file", &ca.file),
        path("tls-cert-file", &files.serving.certificate),
        path("tls-private-key-file", &files.serving.key),
        format!("--etcd-servers=https://127.0.0.1:{etcd_port}"),
        path("etcd-cafile", &scratch.path().join("etcd-ca.crt")),
        path("etcd-certfile", &files.etcd_client.certificate),
        path("etcd-keyfile", &files.etcd_client.key),
    ];
    scratch.start("kube-apiserver", Tools::get()?.path("kube-apiserver"), args, |_| {})
}

fn etcd_args(scratch: &Scratch, port: u16, server: &Pair, clients: &Authority) -> [String; 12] {
    let url = format!("https://127.0.0.1:{port}");
    [
        format!("--data-dir={}", scratch.path().join("etcd").display()),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        // The only member: its peer port is not used.
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        "--initial-advertise-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--initial-cluster=default=http://127.0.0.1:2380".to_owned(),
        format!("--cert-file={}", server.certificate.display()),
        format!("--key-file={}", server.key.display()),
        format!("--trusted-ca-file={}", clients.file.display()),
        "--client-cert-auth=true".to_owned(),
        // The data is removed with the test.
        "--unsafe-no-fsync=true".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

/// Sets the environment of kubectl and helm: their caches and settings stay in the scratch directory.
fn client_env(command: &mut Command, home: &Path, config: &Path) {
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        let theirs = ["HELM_", "XDG_", "KUBE"].iter().any(|prefix| name.starts_with(prefix));
        if theirs || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    command.env("HOME", home).env("KUBECONFIG", config);
}

/// The static tokens of one control plane. They are random, because other users of this machine can connect to its
/// port.
struct Tokens {
    secret: u128,
}

impl Tokens {
    fn new() -> Self {
        Self { secret: rand::random() }
    }

    fn identity(&self, user: &str) -> Identity {
        Identity { user: user.to_owned(), token: format!("{user}-{:032x}", self.secret) }
    }

    /// Returns the token file of the API server: `token,user,uid,"groups"`.
    fn file(&self) -> String {
        let numbered = (0..NUMBERED_USERS).map(|number| format!("user-{number}"));
        let users = NAMED_USERS.into_iter().map(str::to_owned).chain(numbered);
        let row = |user: &str, groups: &str| format!("{},{user},{user},{groups}\n", self.identity(user).token);
        let rows: String = users.map(|user| row(&user, "")).collect();
        row(ADMIN, "\"system:masters\"") + &row(CONTRACTOR, &format!("\"{CONTRACTORS}\"")) + &rows
    }
}

/// Finds a free port below the range that the system uses for outgoing connections, so that such a connection does
/// not take it before the server listens.
fn free_port() -> Result<u16> {
    const TRIES: usize = 100;
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let found = std::iter::repeat_with(|| rand::random_range(20_000..32_000)).take(TRIES).find(free);
    found.ok_or_else(|| Error::Unexpected { what: "a free port of 127.0.0.1".into(), found: "none".into() })
}

fn connect(port: u16) -> Option<()> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(drop)
}
