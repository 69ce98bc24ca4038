use super::*;

#[test]
fn conditions_do_not_contradict_each_other() {
    type Setup = fn(&mut ReleaseFixture);
    let unreadable: Setup = |fixture| {
        let why = VersionError { reason: "Malformed".into(), message: "no config".into() };
        fixture.poll(&[]).observed.unreadable.insert(tag("v1.0.0"), why);
        fixture.observed.set_tags([tag("v1.0.0")].into());
    };
    let pending: Setup = |fixture| {
        fixture.poll(&[]).observed.reading = true;
        fixture.observed.set_tags([tag("v1.0.0")].into());
    };
    let not_published: Setup = |fixture| {
        fixture.fail_poll("NotPublished");
    };
    let no_version: Setup = |fixture| {
        fixture.poll(&["latest"]);
    };
    let cases: [(&str, Setup, &[&str]); 8] = [
        (
            "before the first poll",
            |_| (),
            &[
                "Synced Unknown: the first poll of the proxy has not finished",
                "Ready Unknown: the first poll of the proxy has not finished",
                "Reconciling True: the first poll of the proxy is about to start",
            ],
        ),
        (
            "during the first poll",
            |fixture| fixture.observed.reading = true,
            &[
                "Synced Unknown: the first poll of the proxy has not finished",
                "Ready Unknown: the first poll of the proxy has not finished",
            ],
        ),
        (
            "after a failed first poll",
            not_published,
            &["Synced False: 502", "Ready False: no poll has succeeded yet; see condition Synced"],
        ),
        (
            "suspended before the first poll",
            |fixture| fixture.spec.suspend = true,
            &[
                "Synced False: spec.suspend is true, so the proxy is not polled",
                "Ready Unknown: no poll has succeeded yet, and spec.suspend is true",
            ],
        ),
        (
            "an invalid spec",
            |fixture| fixture.spec.interval = Some("1x".into()),
            &[
                "Synced False: the spec is invalid; see condition Stalled",
                "Ready False: no poll has succeeded yet, and the spec is invalid; see condition Stalled",
                "Stalled True: spec.interval: ",
            ],
        ),
        (
            "no readable version",
            unreadable,
            &[
                "Synced False: v1.0.0: no config",
                "Ready False: none of the published versions can be used; see condition Synced",
            ],
        ),
        (
            "no version is read yet",
            pending,
            &[
                "Synced True: listed tags: 1; ignored, because they are not versions: 0",
                "Ready False: no published version has been read yet",
                "Reconciling True: read 0 of 1 versions",
            ],
        ),
        (
            "no version",
            no_version,
            &[
                "Synced True: listed tags: 1; ignored, because they are not versions: 1",
                "Ready False: no published version matches spec.channel and spec.versions",
            ],
        ),
    ];
    for (what, setup, expected) in cases {
        let mut fixture = ReleaseFixture::new();
        setup(&mut fixture);
        let conditions = fixture.evaluate().status.conditions;
        let found: Vec<_> = conditions.iter().map(|c| format!("{} {}: {}", c.type_, c.status, c.message)).collect();
        assert_eq!(found.len(), expected.len(), "{what}: {found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{what}: {found}");
        }
    }
}
