//! Kubernetes objects of this project, as JSON.

use serde_json::{Value, json};

use crate::proxy::{CONFIG_MAP, NAMESPACE};

/// Returns an object of group `cli.deckhouse.io` with this spec.
pub fn object(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "cli.deckhouse.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Returns a `CliRelease` with this spec.
pub fn release(name: &str, spec: &Value) -> Value {
    object("CliRelease", name, spec)
}

/// Returns a `PluginPolicy` with this spec.
pub fn policy(name: &str, spec: &Value) -> Value {
    object("PluginPolicy", name, spec)
}

/// Returns the spec of a policy for every host with one rule: for `plugin`, with these fields.
pub fn one_rule(plugin: &str, fields: &Value) -> Value {
    json!({"hostSelector": {}, "rules": [with(json!({"plugins": [plugin]}), fields)]})
}

/// Returns a `CliHost` with label `role`.
pub fn host(name: &str, role: &str) -> Value {
    let identity = format!("system:serviceaccount:d8-cli-hosts:{name}");
    let mut host = object("CliHost", name, &json!({"identity": identity}));
    host["metadata"]["labels"] = json!({"role": role});
    host
}

/// Returns the ConfigMap that announces the proxy at these `host:port` endpoints, whose certificates `ca` signs.
pub fn proxy_config(public_endpoint: Option<&str>, endpoints: &[&str], ca: &str) -> Value {
    let mut data = json!({"endpoints": json!(endpoints).to_string(), "ca.crt": ca});
    if let Some(endpoint) = public_endpoint {
        data["publicEndpoint"] = json!(endpoint);
    }
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE}, "data": data,
    })
}

/// Returns a kubeconfig for a server with this CA, in the fields of a kubeconfig's cluster, and a token.
pub fn kubeconfig(server: &str, ca_pem: &str, user: &str, token: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {
            "server": server, "certificate-authority-data": crate::base64(ca_pem.as_bytes()),
        }}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
    })
}

/// `base` with the fields of `more`, which replace fields of the same name.
#[must_use]
pub fn with(mut base: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().into_iter().flatten() {
        base[name] = value.clone();
    }
    base
}
