//! The kubeconfig of a command, merged from several files as `kubectl` does.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use d8_agent::cluster::ClusterKey;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::terminal::failure::{Code, Failure};

/// How long connecting to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the API server may send nothing during a request.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Flags and environment that select a kubeconfig.
#[derive(Debug, Clone, Default)]
pub(super) struct KubeconfigSource {
    /// `--kubeconfig`: the only file to read.
    pub(super) file: Option<PathBuf>,
    /// `KUBECONFIG`: several files; missing ones are ignored.
    pub(super) list: Option<OsString>,
    /// `$HOME`, for `~/.kube/config`.
    pub(super) home: Option<PathBuf>,
    /// `--context`.
    pub(super) context: Option<String>,
    /// `--insecure-skip-tls-verify`.
    pub(super) insecure: bool,
}

impl KubeconfigSource {
    /// Returns the files to read, in order.
    fn files(&self) -> Vec<PathBuf> {
        if let Some(file) = &self.file {
            return vec![file.clone()];
        }
        let present = |path: &PathBuf| !path.as_os_str().is_empty() && path.exists();
        match self.list.as_ref().filter(|list| !list.is_empty()) {
            Some(list) => std::env::split_paths(list).filter(present).collect(),
            None => self.home.iter().map(|home| home.join(".kube/config")).filter(present).collect(),
        }
    }

    fn read(&self) -> Result<Option<Kubeconfig>, Failure> {
        let mut merged: Option<Kubeconfig> = None;
        for file in self.files() {
            let next = Kubeconfig::read_from(&file).map_err(|error| read_failure(&file, &error))?;
            merged = Some(match merged {
                None => next,
                Some(first) => first.merge(next).map_err(|error| read_failure(&file, &error))?,
            });
        }
        Ok(merged)
    }

    /// Loads the client configuration. Without a kubeconfig, uses that of the pod.
    ///
    /// # Errors
    /// There is no kubeconfig, it cannot be read, or its context is missing: exit 5.
    pub(super) async fn load(&self) -> Result<kube::Config, Failure> {
        let mut config = match self.read()? {
            Some(kubeconfig) => {
                let options = KubeConfigOptions { context: self.context.clone(), ..Default::default() };
                kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| {
                    Failure::new(Code::Unreachable, "invalid kubeconfig").caused_by(&error).advise(
                        self.context.as_ref().map_or("its current context is incomplete".to_owned(), |name| {
                            format!("context {name:?} is missing or incomplete")
                        }),
                        "kubectl config get-contexts",
                    )
                })?
            }
            None => kube::Config::incluster().map_err(|_| {
                Failure::new(Code::Unreachable, "no kubeconfig found").advise(
                    "neither `--kubeconfig` nor `KUBECONFIG` names an existing file, and there is no ~/.kube/config",
                    "pass `--kubeconfig FILE`, or run `export KUBECONFIG=FILE`",
                )
            })?,
        };
        config.accept_invalid_certs |= self.insecure;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        config.reset_reader_on_write = true;
        Ok(config)
    }
}

fn read_failure(file: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(Code::Unreachable, format!("failed to read kubeconfig {}", file.display())).caused_by(error).advise(
        "the file is missing, unreadable, or not a kubeconfig",
        format!("kubectl --kubeconfig {} config view", file.display()),
    )
}

/// Returns the key of a cluster in the policy cache and in the endpoint pins.
pub(super) fn cluster_key(config: &kube::Config) -> ClusterKey {
    ClusterKey::new(&config.cluster_url.to_string(), config.root_cert.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(server: &str, context: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {context}\n\
             clusters: [{{name: c-{context}, cluster: {{server: \"{server}\"}}}}]\n\
             users: [{{name: u-{context}, user: {{token: t}}}}]\n\
             contexts: [{{name: {context}, context: {{cluster: c-{context}, user: u-{context}}}}}]\n"
        )
    }

    #[tokio::test]
    async fn merges_files_and_ignores_missing_ones() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, kubeconfig("https://a.example:6443", "a")).unwrap();
        std::fs::write(&b, kubeconfig("https://b.example:6443", "b")).unwrap();
        let list = std::env::join_paths([dir.path().join("missing"), a.clone(), b.clone()]).unwrap();
        let source = KubeconfigSource { list: Some(list), ..Default::default() };
        assert_eq!(
            source.load().await.unwrap().cluster_url.host(),
            Some("a.example"),
            "the first current-context wins"
        );
        let other = KubeconfigSource { context: Some("b".into()), ..source.clone() };
        assert_eq!(other.load().await.unwrap().cluster_url.host(), Some("b.example"));
        let flag = KubeconfigSource { file: Some(b), ..source.clone() };
        assert_eq!(flag.load().await.unwrap().cluster_url.host(), Some("b.example"), "the flag wins over the variable");
        let wrong = KubeconfigSource { context: Some("nope".into()), ..source }.load().await.unwrap_err();
        assert_eq!(wrong.code, Code::Unreachable);
        assert!(wrong.to_string().contains("nope"), "{wrong}");
    }

    #[tokio::test]
    async fn the_file_of_the_flag_must_exist() {
        let source = KubeconfigSource { file: Some("/nonexistent/kubeconfig".into()), ..Default::default() };
        let failure = source.load().await.unwrap_err();
        assert!(failure.to_string().contains("/nonexistent/kubeconfig"), "{failure}");
    }
}
