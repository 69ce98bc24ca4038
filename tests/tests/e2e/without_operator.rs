//! A cluster that has the proxy and not this project's chart: d8 works, no policy binds it, and d8 compares
//! requirements with the cluster itself.

use d8_tests::catalog::Plugin;
use d8_tests::{ControlPlane, Proxy, Result, Workstation, cluster};
use serde_json::json;

#[test]
fn d8_works_without_the_operator() -> Result<()> {
    let plane = ControlPlane::start()?;
    cluster::set_up(&plane)?;
    let proxy = Proxy::start(&plane)?;
    for (name, needs) in [
        ("plain", json!({})),
        ("fitting", json!({"kubernetes": {"constraint": ">=1.29"}})),
        ("unfit", json!({"kubernetes": {"constraint": ">=1.99"}})),
        ("modular", json!({"modules": {"mandatory": [{"name": "stronghold", "constraint": ">=1.0"}]}})),
        ("moored", json!({"deckhouse": {"constraint": ">=1.80"}})),
    ] {
        proxy.publish(&Plugin::new(name, "v1.0.0").with_requirements(needs))?;
    }
    let who = plane.new_user();
    cluster::allow_download(&plane, &who.user)?;
    let alice = Workstation::new(&plane, who.clone())?;

    for name in ["plain", "fitting"] {
        alice.d8(["plugins", "install", name])?.expect_code(0)?;
        alice.d8([name])?.expect_code(0)?;
    }
    let unfit = alice.d8(["plugins", "install", "unfit"])?.expect_code(4)?;
    assert!(unfit.stderr.contains("requires Kubernetes >=1.99, the cluster runs v1.36.3"), "{unfit:?}");

    // alice may not read Modules or the Deckhouse Deployment.
    let before = alice.files();
    for name in ["modular", "moored"] {
        let unchecked = alice.d8(["plugins", "install", name])?.expect_code(5)?;
        assert!(unchecked.stderr.contains("--skip-cluster-checks"), "{unchecked:?}");
    }
    assert_eq!(alice.files(), before);
    let waived = alice.d8(["plugins", "install", "modular", "--skip-cluster-checks"])?.expect_code(0)?;
    assert!(waived.stderr.contains("not checked"), "{waived:?}");

    let role =
        ["create", "clusterrole", "reads-facts", "--verb=get,list", "--resource=modules.deckhouse.io,deployments.apps"];
    plane.kubectl(role)?;
    let user = format!("--user={}", who.user);
    plane.kubectl(["create", "clusterrolebinding", "reads-facts", "--clusterrole=reads-facts", &user])?;
    d8_tests::process::wait_for("modules are readable", d8_tests::lab::TIMEOUT, || {
        (alice.d8(["modular"]).ok()?.code() == 0).then_some(())
    })?;
    let unfit = alice.d8(["plugins", "install", "moored"])?.expect_code(4)?;
    assert!(unfit.stderr.contains("the cluster runs v1.72.1"), "{unfit:?}");

    let list = alice.d8(["plugins", "why", "plain"])?.expect_code(0)?;
    assert!(list.stdout.contains("no PluginPolicies"), "{list:?}");
    Ok(())
}
