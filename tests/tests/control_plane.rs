//! The control plane that the other end-to-end tests use.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use d8_tests::process::wait_for;
use d8_tests::{ControlPlane, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::ListParams;

fn control_plane() -> &'static ControlPlane {
    static SHARED: OnceLock<ControlPlane> = OnceLock::new();
    SHARED.get_or_init(|| ControlPlane::start().unwrap_or_else(|error| panic!("{error}")))
}

#[test]
fn the_version_is_that_of_the_tools() -> Result<()> {
    let version = control_plane().kubectl(["get", "--raw=/version"])?;
    assert!(version.contains(r#""gitVersion": "v1.36.3""#), "{version}");
    Ok(())
}

#[tokio::test]
async fn only_the_admin_has_permissions() -> Result<()> {
    let plane = control_plane();
    let list = |client| async move { Api::<Namespace>::all(client).list(&ListParams::default()).await };

    let seen = list(plane.admin_client().await?).await.expect("an admin lists namespaces");
    assert!(seen.items.iter().any(|namespace| namespace.metadata.name.as_deref() == Some("kube-system")));

    for who in [plane.user("alice"), plane.new_user()] {
        let refused = list(plane.client_for(&who).await?).await;
        match refused {
            Err(kube::Error::Api(status)) => {
                assert_eq!(status.code, 403, "{status}");
                assert!(status.message.contains(&format!(r#"User "{}""#, who.user)), "{status}");
            }
            other => panic!("{} got {other:?}", who.user),
        }
    }
    Ok(())
}

#[test]
fn an_unknown_token_is_refused() -> Result<()> {
    let plane = control_plane();
    let mut who = plane.new_user();
    who.token.push('x');
    let refused = plane.kubectl_as(&who, ["get", "namespaces"])?;
    assert!(refused.stderr.contains("must be logged in"), "{refused:?}");
    Ok(())
}

#[test]
fn a_service_account_token_is_accepted() -> Result<()> {
    let plane = control_plane();
    plane.kubectl(["create", "serviceaccount", "robot", "--namespace=default"])?;
    let robot = plane.service_account("default", "robot")?;
    let who = plane.kubectl_as(&robot, ["auth", "whoami", "--output=jsonpath={.status.userInfo.username}"])?.ok()?;
    assert_eq!(who, "system:serviceaccount:default:robot");
    assert_eq!(plane.kubectl_as(&robot, ["auth", "can-i", "list", "secrets"])?.stdout.trim(), "no");
    Ok(())
}

#[test]
fn helm_can_use_the_cluster() -> Result<()> {
    assert_eq!(control_plane().helm(["list", "--all-namespaces", "--short"])?, "");
    Ok(())
}

#[test]
fn a_restarted_api_server_has_its_data() -> Result<()> {
    let mut plane = ControlPlane::start()?;
    plane.kubectl(["create", "namespace", "kept"])?;
    plane.stop_api_server();
    let down = plane.kubectl_as(&plane.user("alice"), ["get", "namespaces"])?;
    assert!(down.stderr.contains("refused"), "{down:?}");
    plane.start_api_server()?;
    assert!(plane.kubectl(["get", "namespace", "kept", "--output=name"])?.contains("kept"));
    Ok(())
}

/// The process that [`a_killed_owner_leaves_nothing`] kills. Prints its directory and its processes, then waits.
#[test]
#[ignore = "a helper process of another test"]
fn owner_of_a_control_plane() {
    let plane = ControlPlane::start().expect("a control plane");
    let pids: Vec<String> = plane.pids().iter().map(i32::to_string).collect();
    println!("owned\t{}\t{}", plane.scratch().path().display(), pids.join("\t"));
    loop {
        std::thread::park();
    }
}

#[test]
fn a_killed_owner_leaves_nothing() {
    let mut parent = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "owner_of_a_control_plane", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the owner starts");
    let lines = BufReader::new(parent.stdout.take().expect("its stdout")).lines();
    let owned = lines
        .map_while(std::io::Result::ok)
        .find_map(|line| line.split_once("owned\t").map(|(_, owned)| owned.to_owned()))
        .expect("the owner has a control plane");
    let mut owned = owned.split('\t');
    let directory = Path::new(owned.next().expect("its directory")).to_owned();
    let processes: Vec<_> = owned.map(|pid| Path::new("/proc").join(pid)).collect();
    assert_eq!(processes.len(), 2, "kube-apiserver and etcd");
    assert!(directory.exists() && processes.iter().all(|process| process.exists()));

    parent.kill().expect("SIGKILL");
    parent.wait().expect("the owner is dead");
    let gone = || (!directory.exists() && !processes.iter().any(|process| process.exists())).then_some(());
    wait_for("the end of its processes and its directory", Duration::from_secs(10), gone).expect("nothing is left");
}
