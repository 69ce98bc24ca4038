//! What the lab's registry holds: plugins that are small shell scripts, in versions that fit the lab's
//! cluster, do not fit it, are not released yet, or mean harm.
//!
//! The cluster is Kubernetes v1.36, Deckhouse v1.72.1, with the modules of [`MODULES`].

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::oci::{Entry, gzip, layer};

/// The modules of the lab's cluster: name, version, enabled.
pub const MODULES: [(&str, &str, bool); 5] = [
    ("cert-manager", "v1.8.2", true),
    ("cni-cilium", "v1.17.4", true),
    ("cni-flannel", "v0.26.1", false),
    ("prometheus", "v2.55.1", true),
    ("stronghold", "v1.15.3", true),
];

/// An image that `d8-rpp pack` writes: a plugin or d8 itself.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// Its tag.
    pub version: String,
    /// Its contract, as the publisher wrote it; d8 itself has none.
    pub contract: Option<Value>,
    /// The executable.
    pub script: String,
    /// `<os>-<arch>` of each artefact.
    pub platforms: Vec<String>,
    /// When its image says it was made; `None`: when it is published.
    pub created: Option<Timestamp>,
}

impl Plugin {
    /// A plugin without requirements, for this machine and some others.
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            contract: (name != "d8").then(|| json!({"name": name, "version": version})),
            script: script(name, version),
            platforms: ["linux-amd64", "linux-arm64", "darwin-arm64"].map(str::to_owned).into(),
            created: None,
        }
    }

    /// What the contract says of it in one line.
    #[must_use]
    pub fn described(self, description: &str) -> Self {
        self.promise("description", description.into())
    }

    /// What it demands, as the contract's `requirements`.
    #[must_use]
    pub fn requires(self, requirements: Value) -> Self {
        self.promise("requirements", requirements)
    }

    /// The environment variables the contract asks for.
    #[must_use]
    pub fn reads(self, names: &[&str]) -> Self {
        self.promise("env", names.iter().map(|name| json!({"name": name})).collect())
    }

    /// Another executable than [`script`].
    #[must_use]
    pub fn runs(mut self, script: &str) -> Self {
        self.script = script.into();
        self
    }

    /// Made that long ago.
    #[must_use]
    pub fn aged(mut self, age: SignedDuration) -> Self {
        self.created = Some(Timestamp::now() - age);
        self
    }

    fn promise(mut self, field: &str, value: Value) -> Self {
        if let Some(contract) = &mut self.contract {
            contract[field] = value;
        }
        self
    }

    /// Its image's name.
    pub fn image(&self) -> String {
        image(&self.name)
    }
}

/// An image that no careful packer would write.
#[derive(Debug, Clone)]
pub struct Hostile {
    /// The plugin's name.
    pub name: &'static str,
    /// Its tag.
    pub version: &'static str,
    /// The layer as stored.
    pub layer: Vec<u8>,
    /// The manifest's annotations.
    pub annotations: Value,
    /// What is wrong with it.
    pub harm: &'static str,
}

/// The image of a plugin, or of d8 itself under the name `d8`.
pub fn image(name: &str) -> String {
    if name == "d8" { "deckhouse-cli".into() } else { format!("deckhouse-cli/plugins/{name}") }
}

/// A plugin to try things with: says who it is, shows its arguments and environment, exits as told.
pub fn script(name: &str, version: &str) -> String {
    format!(
        r#"#!/bin/sh
case "${{1-}}" in
--version) echo "{name} {version}" ;;
args) shift; for word; do echo "<$word>"; done ;;
env) env ;;
exit) exit "${{2:-0}}" ;;
*) echo "This is {name} {version}." ;;
esac
"#
    )
}

/// What is published in the lab from its start.
pub fn plugins() -> Vec<Plugin> {
    let delivery = |version: &str, kit: &str| {
        Plugin::new("delivery", version)
            .described("Builds and ships applications")
            .requires(json!({"plugins": {"mandatory": [{"name": "delivery-kit", "constraint": kit}]}}))
    };
    let stronghold = |version: &str, kubernetes: &str| {
        Plugin::new("stronghold", version).described("Secrets of the cluster").reads(&["KUBECONFIG"]).requires(json!({
            "kubernetes": {"constraint": kubernetes},
            "deckhouse": {"constraint": ">= 1.70"},
            "modules": {"mandatory": [{"name": "stronghold", "constraint": ">= 1.0"}]},
        }))
    };
    vec![
        Plugin::new("d8", "v0.1.0"),
        Plugin::new("hello", "v1.0.0").described("Says hello"),
        Plugin::new("hello", "v1.1.0").described("Says hello"),
        Plugin::new("hello", "v2.0.0-rc.1").described("Says hello, soon better"),
        stronghold("v1.2.0", ">= 1.29"),
        stronghold("v1.3.0", ">= 1.29"),
        stronghold("v1.4.0", ">= 1.99"),
        Plugin::new("delivery-kit", "v1.0.0").described("Builds images"),
        Plugin::new("delivery-kit", "v1.2.0").described("Builds images"),
        Plugin::new("delivery-kit", "v2.0.0").described("Builds images"),
        delivery("v0.9.0", "^1.0"),
        delivery("v1.0.0", "^1.1"),
        Plugin::new("netcheck", "v0.3.0").described("Looks into the network").requires(json!({
            "modules": {"anyOf": [{"name": "cni", "modules": [{"name": "cni-cilium"}, {"name": "cni-flannel"}]}]},
        })),
        Plugin::new("legacy-vault", "v1.0.0").described("What stronghold replaced").requires(json!({
            "modules": {"noneOf": [{"name": "successor", "modules": [{"name": "stronghold"}]}]},
        })),
        Plugin::new("commander", "v1.0.0").described("Many clusters at once").requires(json!({
            "deckhouse": {"constraint": ">= 1.80"},
        })),
        Plugin::new("edge", "v0.1.0-alpha.1").described("Not released yet"),
        Plugin::new("edge", "v0.1.0-beta.2").described("Not released yet"),
        Plugin::new("crash", "v1.0.0").described("Worked once"),
        Plugin::new("crash", "v1.1.0")
            .described("Does not start")
            .runs("#!/bin/sh\necho 'cannot load libmissing.so.1' >&2\nexit 127\n"),
    ]
}

/// What is published beside it and must do no harm.
pub fn hostile() -> Vec<Hostile> {
    let contract = |contract: &Value| json!({"contract": crate::base64(contract.to_string().as_bytes())});
    let honest = |name: &str| contract(&json!({"name": name, "version": "v1.0.0", "description": "Harmless"}));
    let plugin = |name: &str| Entry::file("plugin", script(name, "v1.0.0"));
    let image = |name, layer, annotations, harm| Hostile { name, version: "v1.0.0", layer, annotations, harm };
    vec![
        image(
            "escape",
            layer(&[plugin("escape")]),
            contract(&json!({
                "name": "escape", "version": "v1.0.0",
                "description": "\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}innocent\r\nd8: all is well",
            })),
            "a description with escape sequences",
        ),
        image(
            "hollow",
            layer(&[Entry::file("README", "no executable here")]),
            honest("hollow"),
            "a layer without the executable",
        ),
        image(
            "climber",
            layer(&[Entry::file("../../../../../../../../tmp/d8-climber", "#!/bin/sh\n"), plugin("climber")]),
            honest("climber"),
            "a layer with a path that leaves the folder",
        ),
        image(
            "linker",
            layer(&[Entry::link("plugin", "/bin/sh")]),
            honest("linker"),
            "a link in place of the executable",
        ),
        image(
            "garbled",
            layer(&[plugin("garbled")]),
            contract(&json!({"name": "garbled", "version": "v1.0.0", "requirements": {"modules": ["stronghold"]}})),
            "a contract that is not of the contract's form",
        ),
        image(
            "nonsense",
            layer(&[plugin("nonsense")]),
            json!({"contract": "%%% not base64 %%%"}),
            "a contract that is no base64",
        ),
        image("impostor", layer(&[plugin("impostor")]), honest("hello"), "the contract of another plugin"),
        image(
            "tail",
            [layer(&[plugin("tail")]), b"garbage".to_vec()].concat(),
            honest("tail"),
            "garbage behind the layer",
        ),
        image("torn", gzip(b"this is no tar"), honest("torn"), "a layer that is no tar"),
    ]
}
