//! What the spec of a record changes.

use super::*;

#[test]
fn a_suspended_record_is_still_evaluated() {
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.0.0=a@>=1.34"]).evaluate();
    fixture.spec.suspend = true;
    fixture.kubernetes = "v1.34.0";
    fixture.wait(60).evaluate();
    assert_eq!(
        (fixture.condition("Synced"), fixture.condition("Ready")),
        ("False/Suspended".into(), "True/Published".into())
    );
    assert_eq!(fixture.version("v1.0.0").fit, Fit::Fits);
}

#[test]
fn an_invalid_spec_keeps_the_recorded_versions() {
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.0.0"]).evaluate();
    fixture.spec.versions = Some("one or two".into());
    fixture.generation = 2;
    fixture.wait(60).evaluate();
    assert_eq!(fixture.names(), "v1.0.0");
    assert_eq!(fixture.condition("Synced"), "False/InvalidSpec");
    assert_eq!(fixture.condition("Stalled"), "True/InvalidSpec");
    let stalled = fixture.status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
    assert!(stalled.message.starts_with("spec.versions: "), "{}", stalled.message);
    fixture.spec.versions = None;
    fixture.wait(60).evaluate();
    assert_eq!((fixture.condition("Synced").as_str(), fixture.condition("Stalled").as_str()), ("True/Synced", ""));
}

#[test]
fn platforms_limit_artifacts_and_the_latest_fitting_version() {
    for (platforms, fitting, artifacts) in [
        (None, Some("v1.0.0"), 1),
        (Some(vec!["linux-amd64"]), Some("v1.0.0"), 1),
        (Some(vec!["linux-amd64", "darwin-arm64"]), None, 1),
        (Some(vec!["darwin-arm64"]), None, 0),
    ] {
        let mut fixture = ReleaseFixture::new();
        fixture.spec.platforms = platforms.as_ref().map(|list| list.iter().map(|&p| p.to_owned()).collect());
        fixture.poll(&["v1.0.0"]).evaluate();
        assert_eq!(fixture.status.latest_fitting.as_deref(), fitting, "{platforms:?}");
        assert_eq!(fixture.version("v1.0.0").artifacts.len(), artifacts, "{platforms:?}");
    }
}

#[test]
fn other_platforms_in_the_spec_move_no_tag() {
    let mut fixture = ReleaseFixture::new();
    fixture.poll(&["v1.0.0"]).evaluate();
    fixture.spec.platforms = Some(vec!["darwin-arm64".into()]);
    fixture.wait(60).evaluate();
    fixture.spec.platforms = None;
    fixture.wait(60).evaluate();
    assert_eq!((fixture.version("v1.0.0").moved.clone(), fixture.first_seen("v1.0.0")), (None, 500));
}
