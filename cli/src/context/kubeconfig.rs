//! The kubeconfig a command uses, merged as kubectl merges it.

use std::path::{Path, PathBuf};

use d8_agent::cluster::ClusterKey;
use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::terminal::failure::{Code, Failure};

/// What the person gave: flags and environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    /// `--kubeconfig`: this file and no other.
    pub(crate) file: Option<PathBuf>,
    /// `KUBECONFIG`: several files, those that are missing ignored.
    pub(crate) list: Option<std::ffi::OsString>,
    /// `$HOME`, for `~/.kube/config`.
    pub(crate) home: Option<PathBuf>,
    /// `--context`.
    pub(crate) context: Option<String>,
    /// `--insecure-skip-tls-verify`.
    pub(crate) insecure: bool,
}

impl Source {
    /// The files to read, in order; those of `KUBECONFIG` that exist.
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
            let one = Kubeconfig::read_from(&file).map_err(|error| unusable(&file, &error))?;
            merged = Some(match merged {
                None => one,
                Some(first) => first.merge(one).map_err(|error| unusable(&file, &error))?,
            });
        }
        Ok(merged)
    }

    /// The client configuration.
    ///
    /// # Errors
    /// No kubeconfig at all, one that cannot be read, a context it does not have: exit 5.
    pub(crate) async fn load(&self) -> Result<kube::Config, Failure> {
        let mut config = match self.read()? {
            Some(kubeconfig) => {
                let options = KubeConfigOptions { context: self.context.clone(), ..Default::default() };
                kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| {
                    Failure::new(Code::Unreachable, "the kubeconfig cannot be used").caused_by(&error).advise(
                        self.context.as_ref().map_or("its current context is incomplete".to_owned(), |name| {
                            format!("context {name:?} is missing or incomplete")
                        }),
                        "kubectl config get-contexts",
                    )
                })?
            }
            None => kube::Config::incluster().map_err(|_| {
                Failure::new(Code::Unreachable, "there is no kubeconfig").advise(
                    "neither --kubeconfig nor KUBECONFIG nor ~/.kube/config names a file that exists",
                    "pass one with --kubeconfig FILE, or export KUBECONFIG=FILE",
                )
            })?,
        };
        config.accept_invalid_certs |= self.insecure;
        config.connect_timeout = Some(std::time::Duration::from_secs(10));
        config.read_timeout = Some(std::time::Duration::from_secs(30));
        config.reset_reader_on_write = true;
        Ok(config)
    }
}

fn unusable(file: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(Code::Unreachable, format!("kubeconfig {} cannot be read", file.display())).caused_by(error).advise(
        "the file is missing, unreadable or no kubeconfig",
        format!("kubectl --kubeconfig {} config view", file.display()),
    )
}

/// The key under which what this cluster said is kept.
pub(crate) fn cluster_key(config: &kube::Config) -> ClusterKey {
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
    async fn several_files_are_merged_and_missing_ones_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, kubeconfig("https://a.example:6443", "a")).unwrap();
        std::fs::write(&b, kubeconfig("https://b.example:6443", "b")).unwrap();
        let list = std::env::join_paths([dir.path().join("missing"), a.clone(), b.clone()]).unwrap();
        let source = Source { list: Some(list), ..Default::default() };
        assert_eq!(
            source.load().await.unwrap().cluster_url.host(),
            Some("a.example"),
            "the first current-context wins"
        );
        let other = Source { context: Some("b".into()), ..source.clone() };
        assert_eq!(other.load().await.unwrap().cluster_url.host(), Some("b.example"));
        let flag = Source { file: Some(b), ..source.clone() };
        assert_eq!(flag.load().await.unwrap().cluster_url.host(), Some("b.example"), "the flag wins over the variable");
        let wrong = Source { context: Some("nope".into()), ..source }.load().await.unwrap_err();
        assert_eq!(wrong.code, Code::Unreachable);
        assert!(wrong.to_string().contains("nope"), "{wrong}");
    }

    #[tokio::test]
    async fn a_file_named_by_flag_must_exist() {
        let source = Source { file: Some("/nonexistent/kubeconfig".into()), ..Default::default() };
        let failure = source.load().await.unwrap_err();
        assert!(failure.to_string().contains("/nonexistent/kubeconfig"), "{failure}");
    }
}
