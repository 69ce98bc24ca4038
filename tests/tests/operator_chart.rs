//! The rendered chart: its objects, and the values that it refuses.

use std::collections::BTreeSet;
use std::path::Path;

use d8_tests::{CommandOutput, Result, run, tools::Tools};
use serde_json::Value;

fn helm(args: &[&str]) -> Result<CommandOutput> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/d8-operator");
    let mut args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    args.push(chart.display().to_string());
    run(Tools::get()?.path("helm"), args, |_| {})
}

fn rendered(flags: &[&str]) -> Result<Vec<Value>> {
    let text = helm(&[&["template", "d8-operator", "--namespace=d8-operator"], flags].concat())?.ok()?;
    let read =
        |document| serde_saphyr::from_str::<Value>(document).unwrap_or_else(|error| panic!("{error}: {document}"));
    Ok(text.split("\n---").map(read).filter(|object| !object.is_null()).collect())
}

fn find<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
fn helm_lint_passes() -> Result<()> {
    helm(&["lint", "--strict"])?.ok().map(drop)
}

#[test]
fn the_pod_has_the_least_privileges() -> Result<()> {
    let objects = rendered(&[])?;
    let pod = &find(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
    for probe in ["livenessProbe", "readinessProbe"] {
        assert!(container[probe]["httpGet"]["path"].is_string(), "{probe}");
    }
    assert!(container["resources"]["limits"]["memory"].is_string());
    assert_eq!(container["image"], "d8-operator:v0.1.0");
    Ok(())
}

#[test]
fn no_role_reads_secrets_or_has_a_wildcard() -> Result<()> {
    let objects = rendered(&[])?;
    let roles = [find(&objects, "ClusterRole"), find(&objects, "Role")].concat();
    assert!(roles.len() >= 4);
    for role in roles {
        for rule in role["rules"].as_array().expect("rules") {
            let text = rule.to_string();
            let name = &role["metadata"]["name"];
            assert!(!text.contains("\"*\""), "{name}: {text}");
            // The admins of hosts create and delete Secrets that have no data.
            let reads = ["get", "list", "watch"].iter().any(|verb| rule["verbs"].to_string().contains(verb));
            assert!(!(text.contains("secrets") && reads), "{name}: {text}");
        }
    }
    Ok(())
}

#[test]
fn values_are_set_in_the_pod() -> Result<()> {
    let digest = format!("image.digest=sha256:{}", "0".repeat(64));
    let set = "image.repository=registry.example/d8,proxy.endpoint=https://proxy.example/base,proxy.caConfigMap=ca";
    let key = format!("sha256:{}", "a".repeat(64));
    let pins = format!("proxy.pinnedKeys={{{key}}},proxy.pinnedHost=packages.example:8443");
    let objects = rendered(&["--set", set, "--set", &digest, "--set", &pins])?;
    let pod = &find(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert!(container["image"].as_str().is_some_and(|image| image.starts_with("registry.example/d8@sha256:")));
    let args: BTreeSet<&str> = container["args"].as_array().expect("args").iter().filter_map(Value::as_str).collect();
    assert!(args.contains("--rpp-endpoint=https://proxy.example/base"), "{args:?}");
    assert!(args.contains("--rpp-ca-file=/etc/d8-operator/proxy-ca/ca.crt"), "{args:?}");
    assert!(args.contains(format!("--rpp-key={key}").as_str()), "{args:?}");
    assert!(args.contains("--rpp-host=packages.example:8443"), "{args:?}");
    assert_eq!(pod["volumes"][0]["configMap"]["name"], "ca");
    // Names of hosts have no case: the operator compares them in lower case.
    let upper = rendered(&["--set", "proxy.pinnedHost=Packages.EXAMPLE:8443"])?;
    let args = &find(&upper, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"];
    assert!(args.to_string().contains("\"--rpp-host=Packages.EXAMPLE:8443\""), "{args}");
    Ok(())
}

#[test]
fn the_viewer_role_is_bound_to_every_authenticated_user_by_default() -> Result<()> {
    let is_viewer = |object: &&Value| object["roleRef"]["name"] == "d8:cli:viewer";
    let bound = |objects: &[Value]| {
        let binding = find(objects, "ClusterRoleBinding").into_iter().find(is_viewer).cloned();
        binding.map(|binding| binding["subjects"][0]["name"].clone())
    };
    assert_eq!(bound(&rendered(&[])?), Some("system:authenticated".into()));
    assert_eq!(bound(&rendered(&["--set=viewer.bindTo="])?), None);
    Ok(())
}

#[test]
fn invalid_values_are_refused() -> Result<()> {
    for (value, named) in [
        ("nonsense=1", "nonsense"),
        ("image.digest=sha256:short", "digest"),
        ("proxy.endpoint=http://proxy.example", "endpoint"),
        ("proxy.pinnedKeys={yes}", "pinnedKeys"),
        ("proxy.pinnedHost=https://packages.example", "pinnedHost"),
        ("log.format=xml", "format"),
        ("replicas=-1", "replicas"),
    ] {
        let refused = helm(&["template", "d8-operator", "--set", value])?.expect_code(1)?;
        assert!(refused.stderr.contains(named), "{value}: {refused:?}");
    }
    Ok(())
}
