//! `d8-rpp serve` with a real API server: which users may download, and which paths exist.

use std::path::PathBuf;
use std::sync::OnceLock;

use d8_tests::catalog::Plugin;
use d8_tests::{CommandOutput, ControlPlane, Identity, Proxy, Result, cluster, objects, tools};
use serde_json::{Value, json};

struct Cluster {
    proxy: Proxy,
    plane: ControlPlane,
}

impl Cluster {
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start().unwrap_or_else(|error| panic!("{error}")))
    }

    fn start() -> Result<Self> {
        let plane = ControlPlane::start()?;
        cluster::set_up(&plane)?;
        let proxy = Proxy::start(&plane)?;
        proxy.publish(&Plugin::new("hello", "v1.0.0"))?;
        proxy.publish(&Plugin::new("hello", "v1.1.0"))?;
        Ok(Self { proxy, plane })
    }

    /// Sends a GET request to the proxy with the token of a user. kubectl is the HTTPS client: it prints status and
    /// body.
    fn get(&self, who: &Identity, path: &str) -> Result<CommandOutput> {
        let config = self.kubeconfig(who)?;
        let kubectl = tools::Tools::get()?.path("kubectl");
        d8_tests::run(kubectl, ["get", "--raw", path, "-v=6"], |command| {
            command.env("KUBECONFIG", config).env("HOME", self.plane.scratch().path());
        })
    }

    fn kubeconfig(&self, who: &Identity) -> Result<PathBuf> {
        let config = objects::kubeconfig(&self.proxy.url(), self.plane.ca_pem(), &who.user, &who.token);
        self.plane.scratch().write(&format!("{}-at-the-proxy", who.user), config.to_string())
    }

    fn allowed(&self) -> Result<Identity> {
        let who = self.plane.new_user();
        cluster::allow_download(&self.plane, &who.user)?;
        Ok(who)
    }
}

#[test]
fn a_permitted_user_reads_tags_and_manifests() -> Result<()> {
    let cluster = Cluster::shared();
    let who = cluster.allowed()?;
    let tags = cluster.get(&who, "/v1/images/deckhouse-cli/plugins/hello/tags")?.ok()?;
    let mut tags: Value = serde_json::from_str(&tags).expect("JSON");
    assert_eq!(tags["name"], "deckhouse-cli/plugins/hello");
    if let Some(list) = tags["tags"].as_array_mut() {
        list.sort_by_key(ToString::to_string);
    }
    assert_eq!(tags["tags"], json!(["v1.0.0", "v1.1.0"]));
    let manifest = cluster.get(&who, "/v1/images/deckhouse-cli/plugins/hello/manifests/v1.0.0")?.ok()?;
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(manifest["schemaVersion"], 2);

    cluster.proxy.publish(&Plugin::new("hello", "v1.2.0"))?;
    let tags = cluster.get(&who, "/v1/images/deckhouse-cli/plugins/hello/tags")?.ok()?;
    assert!(tags.contains("v1.2.0"), "a new tag is served at once: {tags}");
    Ok(())
}

#[test]
fn other_users_are_refused() -> Result<()> {
    let cluster = Cluster::shared();
    let path = "/v1/images/deckhouse-cli/plugins/hello/tags";
    let user = cluster.plane.new_user();
    let ghost = Identity { user: "ghost".into(), token: "no-such-token".into() };
    for (who, status) in [(user, "403"), (ghost, "401")] {
        let refused = cluster.get(&who, path)?.expect_code(1)?;
        assert!(refused.stderr.contains(&format!("status=\"{status}")), "{refused:?}");
    }
    Ok(())
}

#[test]
fn other_paths_do_not_exist() -> Result<()> {
    let cluster = Cluster::shared();
    let who = cluster.allowed()?;
    for path in [
        "/v1/images/deckhouse-cli/plugins/other/tags",
        "/v1/images/deckhouse-cli/plugins/hello/manifests/v9.9.9",
        "/v1/images/deckhouse-controller/tags",
        "/v1/images/deckhouse-cli/plugins/../../../etc/passwd/tags",
        "/v1/packages/anything",
        "/v2/",
    ] {
        let refused = cluster.get(&who, path)?.expect_code(1)?;
        assert!(refused.stderr.contains("status=\"404"), "{path}: {refused:?}");
    }
    Ok(())
}
