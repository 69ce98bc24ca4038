//! The policies of a cluster as they would be after `kubectl apply` of some files.

use serde_json::{Value, json};

use super::{
    facts::ClusterState,
    wave_reports::WaveReports,
    waves::{WaveChange, WaveEdit},
};
use crate::{
    decisions::validation::{CheckedPolicy, RESUME},
    records::policy::{PluginPolicy, PluginPolicySpec, PluginPolicyStatus, WaveState},
    values::{name::Component, text::printable, version::Version},
};

/// An edit of the policies of a cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyEdit {
    /// All policies after the edit.
    pub policies: Vec<Value>,
    /// The names of the policies that it deletes.
    pub deleted: Vec<String>,
    /// The names of policies with a rollout that it creates. The operator may still have waves of a former policy of that
    /// name.
    pub created: Vec<String>,
    /// The halts of deleted policies. They come back with a policy of that name.
    pub kept_halts: Vec<KeptHalt>,
    /// What it does to waves, by policy.
    pub waves: Vec<WaveChange>,
}

/// A halted wave of a policy that an edit deletes. The operator keeps the halt while the record has the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptHalt {
    /// Name of the policy.
    pub policy: String,
    /// The component of the version.
    pub component: Component,
    /// The version whose wave is halted.
    pub version: Version,
}

impl PolicyEdit {
    /// Returns the live policies with those of `files` added, or in place of those with the same name. If several
    /// files have one name, the last one counts. `prune` deletes the policies that no file has.
    ///
    /// The waves are those that the operator will record, as far as the status, the records and the hosts show: a wave
    /// that has begun stays, also if the policy begins to require evidence; one that waited for evidence begins once the
    /// policy requires none; the wave of a version that was not permitted before begins now. Only the annotation resumes
    /// a halted wave. An edit that changes nothing keeps the policy as it is. Edits count as observed by the operator,
    /// so that the result shows where they lead and not that they are new.
    pub fn new(live: &[Value], files: &[PluginPolicy], cluster: ClusterState<'_>, prune: bool) -> Self {
        let is_kept =
            |policy: &&Value| !prune || files.iter().any(|file| name_of(policy) == file.metadata.name.as_deref());
        let mut edit = Self { policies: live.iter().filter(is_kept).cloned().collect(), ..Self::default() };
        let deleted = live.iter().filter(|policy| !is_kept(policy));
        edit.kept_halts = deleted.clone().flat_map(halts).collect();
        edit.deleted = deleted.filter_map(shown_name).collect();
        for (i, file) in files.iter().enumerate() {
            let name = file.metadata.name.as_deref();
            let is_replaced = files[i + 1..].iter().any(|later| later.metadata.name.as_deref() == name);
            if !is_replaced {
                edit.apply(file, cluster);
            }
        }
        edit
    }

    fn apply(&mut self, file: &PluginPolicy, cluster: ClusterState<'_>) {
        let name = file.metadata.name.as_deref();
        let index = self.policies.iter().position(|policy| name_of(policy) == name);
        let before = index.map(|index| &self.policies[index]);
        if before.is_some_and(|before| is_same(before, file)) {
            return;
        }
        let (policy, waves) = edited(before, file, cluster);
        let is_created = before.is_none() && file.spec.rollout.is_some();
        self.created.extend(is_created.then(|| shown_name(&policy)).flatten());
        self.waves.extend(waves);
        match index {
            Some(index) => self.policies[index] = policy,
            None => self.policies.push(policy),
        }
    }
}

fn name_of(policy: &Value) -> Option<&str> {
    policy.pointer("/metadata/name").and_then(Value::as_str)
}

fn shown_name(policy: &Value) -> Option<String> {
    name_of(policy).map(|name| printable(name).into_owned())
}

/// Returns the halted waves in the status of a policy.
fn halts(policy: &Value) -> Vec<KeptHalt> {
    let Some(name) = shown_name(policy) else { return Vec::new() };
    let mut halts = Vec::new();
    for progress in &status(policy).components {
        let Ok(component) = progress.name.parse::<Component>() else { continue };
        let halted = progress.waves.iter().filter(|wave| wave.state == Some(WaveState::Halted));
        let versions = halted.filter_map(|wave| Version::parse(&wave.version).ok());
        halts.extend(versions.map(|version| KeptHalt { policy: name.clone(), component: component.clone(), version }));
    }
    halts
}

fn status(policy: &Value) -> PluginPolicyStatus {
    let status = policy.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
    status.unwrap_or_default()
}

/// Returns whether the file changes neither the spec nor what the annotation resumes.
fn is_same(before: &Value, file: &PluginPolicy) -> bool {
    let spec = before.get("spec").and_then(|spec| serde_json::from_value::<PluginPolicySpec>(spec.clone()).ok());
    let resumes = resume_annotation(file).is_none_or(|resumed| before["metadata"]["annotations"][RESUME] == resumed);
    spec.is_some_and(|before| before == file.spec) && resumes
}

/// Returns a policy after the edit, and what the edit does to its waves.
fn edited(before: Option<&Value>, file: &PluginPolicy, cluster: ClusterState<'_>) -> (Value, Vec<WaveChange>) {
    let mut edit = policy(file, before);
    let status = before.map(status).unwrap_or_default();
    let checked = |policy: &Value| CheckedPolicy::new(&serde_json::from_value(policy.clone()).ok()?).ok();
    // An invalid policy acts as paused. Its waves stay.
    let Some(after) = checked(&edit) else { return (edit, Vec::new()) };
    // The waves of a policy that was invalid stayed, too. What its spec was before is not known.
    let before = before.map(|before| checked(before).unwrap_or_else(|| after.clone()));
    let reports = WaveReports::count(&after, cluster);
    let waves = WaveEdit { before: before.as_ref(), after: &after, status: &status, cluster, reports }.waves();
    if !waves.components.is_empty() {
        edit["status"] = json!({"components": waves.components});
    }
    (edit, waves.changes)
}

/// Returns the policy of a file, without a status.
fn policy(file: &PluginPolicy, before: Option<&Value>) -> Value {
    let mut policy = json!({
        "apiVersion": "cli.deckhouse.io/v1alpha1", "kind": "PluginPolicy",
        "metadata": {"name": file.metadata.name}, "spec": file.spec,
    });
    // Applying a file keeps the annotations that it does not name.
    let of_file = resume_annotation(file).map(Value::from);
    let kept = || before?.pointer("/metadata/annotations")?.get(RESUME).cloned();
    if let Some(resumed) = of_file.or_else(kept) {
        policy["metadata"]["annotations"] = json!({RESUME: resumed});
    }
    policy
}

fn resume_annotation(file: &PluginPolicy) -> Option<&str> {
    file.metadata.annotations.as_ref()?.get(RESUME).map(String::as_str)
}
