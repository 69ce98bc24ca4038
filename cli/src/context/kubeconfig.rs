//! The cluster of a command: its kubeconfig, read as `kubectl` does, and its key in the caches.

use std::time::Duration;

use d8_agent::cluster::ClusterKey;
use d8_rpp::{ClusterAccess, KubeconfigSource};

use crate::terminal::failure::Failure;

/// How long connecting to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the API server may send nothing during a request.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the API server may send nothing during a watch. It sends a bookmark about once a minute.
const WATCH_READ_TIMEOUT: Duration = Duration::from_secs(150);

/// Loads the client settings, with the timeouts of a command.
///
/// # Errors
/// There is no kubeconfig, it cannot be read, or its context is missing: exit 5.
pub(super) async fn load(source: &KubeconfigSource) -> Result<ClusterAccess, Failure> {
    let mut access = source.load().await?;
    access.config.connect_timeout = Some(CONNECT_TIMEOUT);
    access.config.read_timeout = Some(READ_TIMEOUT);
    access.config.reset_reader_on_write = true;
    Ok(access)
}

/// Returns the settings for a watch.
pub(super) fn for_watch(mut access: ClusterAccess) -> ClusterAccess {
    access.config.read_timeout = Some(WATCH_READ_TIMEOUT);
    access
}

/// Returns the key of a cluster in the policy cache and in the endpoint pins.
pub(super) fn cluster_key(config: &kube::Config) -> ClusterKey {
    ClusterKey::new(&config.cluster_url.to_string(), config.root_cert.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::failure::Code;

    fn kubeconfig(server: &str, context: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {context}\n\
             clusters: [{{name: c-{context}, cluster: {{server: \"{server}\"}}}}]\n\
             users: [{{name: u-{context}, user: {{token: t}}}}]\n\
             contexts: [{{name: {context}, context: {{cluster: c-{context}, user: u-{context}}}}}]\n"
        )
    }

    async fn host(source: &KubeconfigSource) -> String {
        load(source).await.unwrap().config.cluster_url.host().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn merges_files_and_ignores_missing_ones() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, kubeconfig("https://a.example:6443", "a")).unwrap();
        std::fs::write(&b, kubeconfig("https://b.example:6443", "b")).unwrap();
        let list = std::env::join_paths([dir.path().join("missing"), a.clone(), b.clone()]).unwrap();
        let source = KubeconfigSource { list: Some(list), ..Default::default() };
        assert_eq!(host(&source).await, "a.example", "the first current-context wins");
        let other = KubeconfigSource { context: Some("b".into()), ..source.clone() };
        assert_eq!(host(&other).await, "b.example");
        let flag = KubeconfigSource { file: Some(b), ..source.clone() };
        assert_eq!(host(&flag).await, "b.example", "the flag wins over the variable");
        let wrong = load(&KubeconfigSource { context: Some("nope".into()), ..source }).await.err().unwrap();
        assert_eq!(wrong.code, Code::Unreachable);
        assert!(wrong.to_string().contains("nope"), "{wrong}");
    }

    #[tokio::test]
    async fn the_file_of_the_flag_must_exist() {
        let source = KubeconfigSource { file: Some("/nonexistent/kubeconfig".into()), ..Default::default() };
        let failure = load(&source).await.err().unwrap();
        assert!(failure.to_string().contains("/nonexistent/kubeconfig"), "{failure}");
    }
}
