//! One control plane with the chart's CRDs, for all tests of this process.

use std::sync::OnceLock;

use d8_tests::{ADMIN, ControlPlane, objects};
use kube::{
    Api, Client, Config,
    api::{DynamicObject, Patch, PatchParams, ValidationDirective},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

/// The CRDs of the chart.
const CRDS: &str = include_str!("../../../charts/d8-operator/templates/crds.yaml");

struct Cluster {
    plane: ControlPlane,
    /// Read once, before tests run in parallel.
    admin: Kubeconfig,
}

fn cluster() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| {
        let plane = ControlPlane::start().unwrap_or_else(|error| panic!("{error}"));
        plane.apply(CRDS).unwrap_or_else(|error| panic!("the CRDs: {error}"));
        let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
        plane.kubectl(wait).unwrap_or_else(|error| panic!("{error}"));
        let path = plane.kubeconfig_for(&plane.user(ADMIN)).unwrap_or_else(|error| panic!("{error}"));
        let admin = Kubeconfig::read_from(path).unwrap_or_else(|error| panic!("{error}"));
        let _ = rustls::crypto::ring::default_provider().install_default();
        Cluster { plane, admin }
    })
}

pub(crate) fn control_plane() -> &'static ControlPlane {
    &cluster().plane
}

/// Applies objects to the API server. Unknown and duplicate fields are errors.
pub(crate) struct Records {
    client: Client,
}

impl Records {
    pub(crate) async fn new() -> Self {
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(cluster().admin.clone(), &options).await;
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        Self { client: Client::try_from(config).unwrap_or_else(|error| panic!("{error}")) }
    }

    pub(crate) fn api(&self, kind: &str) -> Api<DynamicObject> {
        let plural = match kind {
            "CliRelease" => "clireleases",
            "PluginPolicy" => "pluginpolicies",
            "CliHost" => "clihosts",
            other => panic!("{other} is not a kind of this project"),
        };
        let kind = GroupVersionKind::gvk("cli.deckhouse.io", "v1alpha1", kind);
        Api::all_with(self.client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
    }

    pub(crate) async fn apply(&self, object: &Value) -> Result<DynamicObject, String> {
        self.put(object, strict()).await
    }

    /// Applies an object as a dry run.
    pub(crate) async fn dry_run(&self, object: &Value) -> Result<DynamicObject, String> {
        self.put(object, PatchParams { dry_run: true, ..strict() }).await
    }

    pub(crate) async fn apply_status(&self, object: &Value) -> Result<DynamicObject, String> {
        self.put_status(object, strict()).await
    }

    /// Applies a status as a dry run.
    pub(crate) async fn dry_run_status(&self, object: &Value) -> Result<DynamicObject, String> {
        self.put_status(object, PatchParams { dry_run: true, ..strict() }).await
    }

    async fn put_status(&self, object: &Value, params: PatchParams) -> Result<DynamicObject, String> {
        let (kind, name) = kind_and_name(object);
        self.api(&kind).patch_status(&name, &params, &Patch::Apply(object)).await.map_err(refusal)
    }

    async fn put(&self, object: &Value, params: PatchParams) -> Result<DynamicObject, String> {
        let (kind, name) = kind_and_name(object);
        self.api(&kind).patch(&name, &params, &Patch::Apply(object)).await.map_err(refusal)
    }
}

fn strict() -> PatchParams {
    PatchParams { field_validation: Some(ValidationDirective::Strict), ..PatchParams::apply("d8-tests").force() }
}

fn kind_and_name(object: &Value) -> (String, String) {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    (text("/kind"), text("/metadata/name"))
}

fn refusal(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => panic!("the API server did not answer: {other}"),
    }
}

/// Returns an object of a kind with this spec.
#[expect(clippy::needless_pass_by_value, reason = "tables read best so")]
pub(crate) fn object(kind: &str, name: &str, spec: Value) -> Value {
    objects::object(kind, name, &spec)
}

/// Returns a policy for every host with these additional fields.
pub(crate) fn policy(fields: &Value) -> Value {
    objects::policy("p", &objects::with(json!({"hostSelector": {}}), fields))
}

/// Returns a policy whose only rule, for plugin `x`, has these fields.
pub(crate) fn rule(fields: &Value) -> Value {
    objects::policy("p", &objects::one_rule("x", fields))
}

pub(crate) fn release(spec: Value) -> Value {
    object("CliRelease", "trial", spec)
}

/// Returns a well-formed digest.
pub(crate) fn digest() -> String {
    format!("sha256:{}", "0".repeat(64))
}

/// Runs `d8 policy check` on an object. Returns the exit code and the output.
#[expect(clippy::unwrap_used, reason = "only tests call it")]
pub(crate) fn policy_check(object: &Value) -> (Option<i32>, String) {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new(d8_tests::tools::binary("d8").unwrap())
        .args(["policy", "check", "-f", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(object.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}
