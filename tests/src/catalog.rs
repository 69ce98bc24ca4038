//! The plugins of the lab: small shell scripts, in versions that fit the lab's cluster, that do not fit it, that
//! are pre-releases, and that are hostile.
//!
//! The cluster has Kubernetes v1.36, Deckhouse v1.72.1 and the modules of [`MODULES`].

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

/// An image for `d8-rpp pack`: a plugin, or d8 itself.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// Name of the plugin, or `d8`.
    pub name: String,
    /// Tag of the image.
    pub version: String,
    /// The contract. d8 itself has none.
    pub contract: Option<Value>,
    /// The executable: a shell script, by default [`script`].
    pub script: String,
    /// The platforms that the image is for, `<os>-<arch>`.
    pub platforms: Vec<String>,
    /// The creation time of the image. `None`: the time of publishing.
    pub created: Option<Timestamp>,
}

impl Plugin {
    /// Returns a plugin without requirements, for three platforms.
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

    /// Sets the description of the contract.
    #[must_use]
    pub fn with_description(self, description: &str) -> Self {
        self.set_contract_field("description", description.into())
    }

    /// Sets the requirements of the contract.
    #[must_use]
    pub fn with_requirements(self, requirements: Value) -> Self {
        self.set_contract_field("requirements", requirements)
    }

    /// Sets the environment variables that the contract asks for.
    #[must_use]
    pub fn with_contract_env(self, names: &[&str]) -> Self {
        self.set_contract_field("env", names.iter().map(|name| json!({"name": name})).collect())
    }

    /// Replaces the executable, which is [`script`] by default.
    #[must_use]
    pub fn with_executable(mut self, script: &str) -> Self {
        self.script = script.into();
        self
    }

    /// Sets the creation time of the image to this long ago.
    #[must_use]
    pub fn with_age(mut self, age: SignedDuration) -> Self {
        self.created = Some(Timestamp::now() - age);
        self
    }

    fn set_contract_field(mut self, field: &str, value: Value) -> Self {
        if let Some(contract) = &mut self.contract {
            contract[field] = value;
        }
        self
    }

    /// Returns the name of the image.
    pub fn image(&self) -> String {
        image(&self.name)
    }
}

/// An image that `d8-rpp pack` refuses to write.
#[derive(Debug, Clone)]
pub struct HostileImage {
    /// Name of the plugin.
    pub name: &'static str,
    /// Tag of the image.
    pub version: &'static str,
    /// Bytes of the layer.
    pub layer: Vec<u8>,
    /// Annotations of the manifest.
    pub annotations: Value,
    /// The defect, for test output.
    pub defect: &'static str,
    /// Whether d8 installs it: the defect is in a part that d8 does not use, or makes printable.
    pub installs: bool,
}

/// Returns the name of the image of a plugin, or of d8 itself for `d8`.
pub fn image(name: &str) -> String {
    if name == "d8" { "deckhouse-cli".into() } else { format!("deckhouse-cli/plugins/{name}") }
}

/// Returns a plugin for tests: prints its version, its arguments or its environment, or exits with a given code.
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

/// Returns the version that a [`script`] prints.
pub fn script_version(text: &str, name: &str) -> Option<String> {
    let rest = text.split_once(&format!("This is {name} "))?.1;
    Some(rest.split_once(".\"")?.0.to_owned())
}

/// Returns the plugins that `make lab` publishes.
pub fn plugins() -> Vec<Plugin> {
    let delivery = |version: &str, kit: &str| {
        Plugin::new("delivery", version)
            .with_description("Builds and ships applications")
            .with_requirements(json!({"plugins": {"mandatory": [{"name": "delivery-kit", "constraint": kit}]}}))
    };
    let stronghold = |version: &str, kubernetes: &str| {
        Plugin::new("stronghold", version)
            .with_description("Secrets of the cluster")
            .with_contract_env(&["KUBECONFIG"])
            .with_requirements(json!({
                "kubernetes": {"constraint": kubernetes},
                "deckhouse": {"constraint": ">= 1.70"},
                "modules": {"mandatory": [{"name": "stronghold", "constraint": ">= 1.0"}]},
            }))
    };
    vec![
        Plugin::new("d8", "v0.1.0"),
        Plugin::new("hello", "v1.0.0").with_description("Says hello"),
        Plugin::new("hello", "v1.1.0").with_description("Says hello"),
        Plugin::new("hello", "v2.0.0-rc.1").with_description("Says hello, soon better"),
        stronghold("v1.2.0", ">= 1.29"),
        stronghold("v1.3.0", ">= 1.29"),
        stronghold("v1.4.0", ">= 1.99"),
        Plugin::new("delivery-kit", "v1.0.0").with_description("Builds images"),
        Plugin::new("delivery-kit", "v1.2.0").with_description("Builds images"),
        Plugin::new("delivery-kit", "v2.0.0").with_description("Builds images"),
        delivery("v0.9.0", "^1.0"),
        delivery("v1.0.0", "^1.1"),
        Plugin::new("netcheck", "v0.3.0").with_description("Looks into the network").with_requirements(json!({
            "modules": {"anyOf": [{"name": "cni", "modules": [{"name": "cni-cilium"}, {"name": "cni-flannel"}]}]},
        })),
        Plugin::new("legacy-vault", "v1.0.0").with_description("Replaced by stronghold").with_requirements(json!({
            "modules": {"noneOf": [{"name": "successor", "modules": [{"name": "stronghold"}]}]},
        })),
        Plugin::new("commander", "v1.0.0").with_description("Many clusters at once").with_requirements(json!({
            "deckhouse": {"constraint": ">= 1.80"},
        })),
        Plugin::new("edge", "v0.1.0-alpha.1").with_description("Not released yet"),
        Plugin::new("edge", "v0.1.0-beta.2").with_description("Not released yet"),
        Plugin::new("crash", "v1.0.0").with_description("Worked once"),
        Plugin::new("crash", "v1.1.0")
            .with_description("Does not start")
            .with_executable("#!/bin/sh\necho 'cannot load libmissing.so.1' >&2\nexit 127\n"),
    ]
}

/// Hostile images, which must do no harm.
pub fn hostile() -> Vec<HostileImage> {
    let contract = |contract: &Value| json!({"contract": crate::base64(contract.to_string().as_bytes())});
    let valid_contract = |name: &str| contract(&json!({"name": name, "version": "v1.0.0", "description": "Harmless"}));
    let plugin = |name: &str| Entry::file("plugin", script(name, "v1.0.0"));
    let image = |name, layer, annotations, defect| HostileImage {
        name,
        version: "v1.0.0",
        layer,
        annotations,
        defect,
        installs: ["escape", "climber"].contains(&name),
    };
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
            valid_contract("hollow"),
            "a layer without the executable",
        ),
        image(
            "climber",
            layer(&[Entry::file("../../../../../../../../tmp/d8-climber", "#!/bin/sh\n"), plugin("climber")]),
            valid_contract("climber"),
            "a layer with a path that leaves the directory",
        ),
        image(
            "linker",
            layer(&[Entry::link("plugin", "/bin/sh")]),
            valid_contract("linker"),
            "a link instead of the executable",
        ),
        image(
            "garbled",
            layer(&[plugin("garbled")]),
            contract(&json!({"name": "garbled", "version": "v1.0.0", "requirements": {"modules": ["stronghold"]}})),
            "a contract with a field of the wrong type",
        ),
        image(
            "nonsense",
            layer(&[plugin("nonsense")]),
            json!({"contract": "%%% not base64 %%%"}),
            "a contract that is not base64",
        ),
        image("impostor", layer(&[plugin("impostor")]), valid_contract("hello"), "the contract of another plugin"),
        image(
            "tail",
            [layer(&[plugin("tail")]), b"garbage".to_vec()].concat(),
            valid_contract("tail"),
            "garbage after the end of the layer",
        ),
        image("torn", gzip(b"this is no tar"), valid_contract("torn"), "a layer that is not a tar archive"),
    ]
}
