//! The Kubernetes objects of the proxy: where they are and how they are called.

/// Namespace that the proxy runs in.
pub const NAMESPACE: &str = "d8-cloud-instance-manager";
/// ConfigMap with the addresses of the proxy.
pub const CONFIG_MAP: &str = "registry-packages-proxy-config";
/// Deployment of the proxy. The right to `get` its subresource [`SUBRESOURCE`] is the right to download.
pub const DEPLOYMENT: &str = "registry-packages-proxy";
/// Subresource of [`DEPLOYMENT`] that access reviews ask for.
pub const SUBRESOURCE: &str = "cli-binary";
/// Ingress of the proxy. Its host is used in clusters without the ConfigMap.
pub const INGRESS: &str = "registry-packages-proxy";
/// Label selector of the proxy's Pods.
pub const POD_SELECTOR: &str = "app=registry-packages-proxy";
/// Port that the Pods listen on.
pub(crate) const PORT: u16 = 4219;
/// ClusterRole that allows an identity to download.
pub(crate) const DOWNLOAD_ROLE: &str = "d8:registry-packages-proxy:cli-download";
