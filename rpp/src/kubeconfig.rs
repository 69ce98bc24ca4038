//! From a kubeconfig, or the files of a Pod, to clients of the Kubernetes API and of the proxy. Every binary uses this
//! module.
//!
//! What kubectl accepts is accepted here, in the same way. A field that cannot be used is named by its place; a secret
//! is never shown.

mod address;
mod connect;
mod credential;
mod document;
mod exec;
mod selection;

use std::{
    ffi::OsString,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use d8_crds::values::{digest::Digest, text::printable};
use url::Url;

pub(crate) use self::credential::Credential;
use self::{credential::Source, document::Kubeconfig, selection::Selection};
use crate::{
    error::{Error, KubeconfigError, NoIdentity},
    forward_proxy::{ForwardProxy, ProxyEnvironment, ProxySetting},
    text::error_chain,
};

/// Bytes of a kubeconfig that are read.
const MAX_BYTES: u64 = 16 << 20;
/// How long reading the files may take. Without a timeout, a named pipe without a writer would block forever.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// The token of a Pod's `ServiceAccount`.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Flags and environment that select a kubeconfig.
#[derive(Debug, Clone, Default)]
pub struct KubeconfigSource {
    /// The only file to read. It must exist.
    pub file: Option<PathBuf>,
    /// Value of `KUBECONFIG`: several files; missing ones are ignored.
    pub list: Option<OsString>,
    /// Home directory of the user, for `.kube/config`.
    pub home: Option<PathBuf>,
    /// The context, instead of the current one.
    pub context: Option<String>,
    /// Skips the verification of the server's certificate, whatever the kubeconfig says.
    pub insecure: bool,
}

impl KubeconfigSource {
    /// The source for a process without further flags: `file`, else `KUBECONFIG`, else `~/.kube/config`.
    pub fn of_process(file: Option<PathBuf>) -> Self {
        Self { file, list: std::env::var_os("KUBECONFIG"), home: std::env::home_dir(), ..Self::default() }
    }

    /// Loads the client settings. Without a kubeconfig, or if none of the files sets a current context, uses those of
    /// the Pod, as kubectl. Makes no connection and runs no credential plugin.
    ///
    /// # Errors
    /// [`Error::Kubeconfig`]
    pub async fn load(&self) -> Result<ClusterAccess, Error> {
        let (sender, read) = tokio::sync::oneshot::channel();
        let source = self.clone();
        // A thread of its own: the end of the process does not wait for it.
        std::thread::spawn(move || {
            // After the timeout nothing receives it.
            let _ = sender.send(source.read());
        });
        let document = match tokio::time::timeout(READ_TIMEOUT, read).await {
            Ok(Ok(document)) => document?,
            _ => return Err(self.unread().into()),
        };
        let mut access = match document {
            Some(document) => match ClusterAccess::select(document, self.context.as_deref()) {
                Err(KubeconfigError::NoCurrentContext) if is_in_pod() => ClusterAccess::of_pod()?,
                selected => selected?,
            },
            None => match self.context.as_deref().filter(|name| !name.is_empty() && is_in_pod()) {
                // The identity of the Pod is not the one that was asked for.
                Some(name) => {
                    return Err(
                        KubeconfigError::NoContext { name: printable(name).into_owned(), files: Vec::new() }.into()
                    );
                }
                None => ClusterAccess::of_pod().map_err(|error| self.explain_missing(error))?,
            },
        };
        access.config.accept_invalid_certs |= self.insecure;
        Ok(access)
    }

    /// Files to read, in order. `KUBECONFIG` may name a file more than once.
    fn files(&self) -> Vec<PathBuf> {
        if let Some(file) = &self.file {
            return vec![file.clone()];
        }
        let mut files: Vec<PathBuf> = match self.list.as_ref().filter(|list| !list.is_empty()) {
            Some(list) => std::env::split_paths(list).collect(),
            None => self.home.iter().map(|home| home.join(".kube/config")).collect(),
        };
        let mut seen = std::collections::HashSet::new();
        // A file that may not be looked up is an error when it is read, not a missing one.
        let missing = |path: &PathBuf| path.as_os_str().is_empty() || matches!(path.try_exists(), Ok(false));
        files.retain(|path| !missing(path) && seen.insert(path.clone()));
        files
    }

    fn read(&self) -> Result<Option<Kubeconfig>, KubeconfigError> {
        let mut merged: Option<Kubeconfig> = None;
        for path in self.files() {
            let next = read_file(&path).map_err(|why| KubeconfigError::File { path, why })?;
            match &mut merged {
                None => merged = Some(next),
                Some(merged) => merged.merge(next),
            }
        }
        Ok(merged)
    }

    /// Adds the files of `KUBECONFIG` to [`KubeconfigError::Missing`].
    fn explain_missing(&self, error: KubeconfigError) -> KubeconfigError {
        match (error, self.list.as_ref().filter(|list| !list.is_empty())) {
            (KubeconfigError::Missing { .. }, Some(list)) => {
                let listed = std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect();
                KubeconfigError::Missing { listed }
            }
            (error, _) => error,
        }
    }

    fn unread(&self) -> KubeconfigError {
        let path = self.files().into_iter().next().unwrap_or_default();
        KubeconfigError::File { path, why: format!("it could not be read within {} s", READ_TIMEOUT.as_secs()) }
    }
}

fn read_file(path: &Path) -> Result<Kubeconfig, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    let absolute = std::path::absolute(path).map_err(|error| error.to_string())?;
    Kubeconfig::read(&bytes, absolute.parent().unwrap_or(Path::new("/"))).map(|document| document.of_file(path))
}

/// Returns bytes as PEM (RFC 7468).
fn pem(label: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned());
    let lines: Vec<String> = lines.collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Returns whether the process runs in a Pod with a `ServiceAccount`, as client-go finds out.
fn is_in_pod() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_set("KUBERNETES_SERVICE_HOST") && is_set("KUBERNETES_SERVICE_PORT") && Path::new(POD_TOKEN).is_file()
}

/// How to reach a cluster, and as whom.
#[derive(Clone)]
pub struct ClusterAccess {
    /// Server, certificates, impersonation, timeouts and proxy. It has no token: the credential is beside it.
    pub config: kube::Config,
    credential: Credential,
    user_key: Digest,
    /// The name of the cluster in the kubeconfig.
    cluster_name: Option<String>,
    /// The proxy that the kubeconfig names, for every connection.
    own_proxy: Option<ForwardProxy>,
    /// The proxy for connections to the API server.
    api_proxy: Option<ForwardProxy>,
    environment: ProxyEnvironment,
}

impl ClusterAccess {
    /// Whether connecting needs a terminal: a credential plugin with `interactiveMode: Always`.
    pub fn needs_terminal(&self) -> bool {
        self.credential.needs_terminal()
    }

    /// Returns the same access for a connection that neither asks a person for something nor prints anything: a
    /// credential plugin runs without the terminal. `None`: there is no plugin.
    pub fn without_terminal(&self) -> Option<Self> {
        Some(Self { credential: self.credential.without_terminal()?, ..self.clone() })
    }

    /// Returns the name of the cluster in the kubeconfig and its URL, or the URL alone without a kubeconfig. Printable.
    pub fn display_name(&self) -> String {
        let server = self.server();
        match &self.cluster_name {
            Some(name) => format!("{} ({})", printable(name), printable(server.trim_end_matches('/'))),
            None => printable(server.trim_end_matches('/')).into_owned(),
        }
    }

    /// Returns the name of the cluster in the kubeconfig, or its URL without a kubeconfig. Printable.
    pub fn cluster_name(&self) -> String {
        let server = self.server();
        printable(self.cluster_name.as_deref().unwrap_or_else(|| server.trim_end_matches('/'))).into_owned()
    }

    fn select(document: Kubeconfig, context: Option<&str>) -> Result<Self, KubeconfigError> {
        let selection = Selection::of(document, context)?;
        let (config, credential) = selection.settings()?;
        let access = Self::new(config, credential, selection.user_key(), ProxyEnvironment::of_process());
        Ok(Self { cluster_name: Some(selection.cluster_name().to_owned()), ..access })
    }

    /// The access of a Pod: the files of its `ServiceAccount`.
    fn of_pod() -> Result<Self, KubeconfigError> {
        if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
            return Err(KubeconfigError::Missing { listed: Vec::new() });
        }
        let config = kube::Config::incluster().map_err(|error| KubeconfigError::Pod(error_chain(&error)))?;
        Ok(Self::with_token(config, ProxyEnvironment::of_process()))
    }

    /// Takes the token, or the token file, from settings that were made without a kubeconfig.
    fn with_token(mut config: kube::Config, environment: ProxyEnvironment) -> Self {
        let file = config.auth_info.token_file.take();
        let user_key = Digest::of(file.as_deref().unwrap_or_default().as_bytes());
        let source = file.map_or(Source::Anonymous, |path| Source::file(&path, None));
        Self::new(config, Credential::new(source), user_key, environment)
    }

    fn new(mut config: kube::Config, credential: Credential, user_key: Digest, environment: ProxyEnvironment) -> Self {
        let own_proxy = config.proxy_url.take().map(|url| ForwardProxy { url, setting: ProxySetting::Kubeconfig });
        let server = &config.cluster_url;
        let scheme = server.scheme_str().unwrap_or("https");
        let port = server.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        let api_proxy =
            own_proxy.clone().or_else(|| environment.for_host(scheme, server.host().unwrap_or_default(), port));
        config.proxy_url = api_proxy.as_ref().map(|proxy| proxy.url.clone());
        Self { config, credential, user_key, cluster_name: None, own_proxy, api_proxy, environment }
    }

    /// Returns a client of the Kubernetes API. Sends no request, but runs a credential plugin.
    ///
    /// # Errors
    /// The credential, the certificates or the proxy cannot be used.
    pub async fn client(&self) -> Result<kube::Client, Error> {
        connect::client(self).await
    }

    /// URL of the API server.
    pub fn server(&self) -> String {
        self.config.cluster_url.to_string()
    }

    /// Returns the certificates that verify the API server, as PEM; `None`: those of the system.
    pub fn certificate_authority(&self) -> Option<String> {
        let certificates = self.config.root_cert.as_ref()?;
        Some(certificates.iter().map(|der| pem("CERTIFICATE", der)).collect())
    }

    /// Identifies the user of the kubeconfig, with no secret in it. It stays the same when a token is renewed by a
    /// program or in a file.
    pub fn user_key(&self) -> &Digest {
        &self.user_key
    }

    /// Returns why requests to the Kubernetes API carry no identity: no token, no password, no client certificate.
    /// `None` if they carry one.
    pub fn no_identity(&self) -> Option<NoIdentity> {
        if self.is_secret() {
            self.credential.is_anonymous().then_some(NoIdentity::NoCredential)
        } else {
            Some(NoIdentity::PlainHttp)
        }
    }

    /// Returns whether others cannot read the connection to the API server.
    fn is_secret(&self) -> bool {
        self.config.cluster_url.scheme() == Some(&http::uri::Scheme::HTTPS)
    }

    /// Turns a refusal by the Kubernetes API into [`Error::Anonymous`] if the request had no identity. Other
    /// errors stay as they are.
    pub fn explain(&self, error: Error) -> Error {
        let refused = matches!(error, Error::ClusterUnauthorized { .. } | Error::Discovery { denied: Some(_), .. });
        match self.no_identity() {
            Some(why) if refused => Error::Anonymous { server: self.server(), why },
            _ => error,
        }
    }

    pub(crate) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Returns the proxy for connections to an endpoint of the registry-packages-proxy.
    pub(crate) fn forward_proxy(&self, endpoint: &Url) -> Option<ForwardProxy> {
        self.own_proxy.clone().or_else(|| self.environment.for_url(endpoint))
    }
}

impl ClusterAccess {
    /// Reads the content of one kubeconfig that is not in a file. Paths in it are relative to `/`.
    ///
    /// # Errors
    /// As [`KubeconfigSource::load`].
    pub fn of_text(text: impl AsRef<[u8]>) -> Result<Self, Error> {
        let document = Kubeconfig::read(text.as_ref(), Path::new("/"));
        let document = document.map_err(|why| KubeconfigError::File { path: PathBuf::new(), why })?;
        Ok(Self::select(document, None)?)
    }
}
