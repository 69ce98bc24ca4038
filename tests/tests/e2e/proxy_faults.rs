//! Faults of the proxy: each has a message and an exit code, and changes nothing.

use d8_tests::faulty_proxy::{FaultyProxy, Response, Route, manifest};
use d8_tests::oci::{Entry, gzip, layer};
use d8_tests::{Lab, Result};

struct Case {
    route: Route,
    response: Response,
    code: i32,
    texts: &'static [&'static str],
}

fn cases(elsewhere: &str) -> Vec<Case> {
    use Route::{Layer, Manifest, Tags};
    let case = |route, response, code, texts| Case { route, response, code, texts };
    let other = layer(&[Entry::file("plugin", "#!/bin/sh\necho other\n")]);
    let mut flipped = other.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let unlike = format!("sha256:{}", "0".repeat(64));
    let json = |text: &str| Response::body("application/json", text);
    let oci = |text: String| Response::body("application/vnd.oci.image.manifest.v1+json", text);
    vec![
        case(Tags, Response::status(401, "Unauthorized"), 5, &["401"]),
        case(Tags, Response::status(403, "Forbidden (user=x)"), 5, &["403", "cli-download"]),
        case(Tags, Response::status(404, "unknown image"), 1, &["faulty", "not published"]),
        case(Tags, Response::status(500, "no registry\u{1b}[31m configuration"), 5, &["500", "no registry"]),
        case(Tags, Response::status(502, "the registry failed"), 5, &["502"]),
        case(Tags, Response::status(418, "teapot"), 5, &["418", "teapot"]),
        case(Tags, Response::redirect(elsewhere), 5, &["redirects are refused", "no token was sent"]),
        case(Tags, json("{\"name\": "), 1, &["faulty", "tag list"]),
        case(Tags, json("[]"), 1, &["faulty", "tag list"]),
        case(Tags, json(r#"{"name":"x","tags":["v1.0.0"]}"#).truncated(), 5, &["127.0.0.1"]),
        case(Manifest, Response::status(502, "the registry failed"), 5, &["502"]),
        case(Manifest, Response::redirect(elsewhere), 5, &["redirects are refused", "no token was sent"]),
        case(Manifest, oci("not json".into()), 1, &["manifest"]),
        case(Manifest, oci(manifest(&other, &unlike)), 1, &["sha256:"]),
        case(Layer, Response::status(403, "Forbidden"), 5, &["403"]),
        case(Layer, Response::status(404, "no such version"), 1, &["v1.0.0"]),
        case(Layer, Response::redirect(elsewhere), 5, &["redirects are refused", "no token was sent"]),
        case(Layer, Response::body("application/x-gzip", other.clone()), 1, &["sha256:"]),
        case(Layer, Response::body("application/x-gzip", gzip(&[0; 4096])), 1, &["sha256:"]),
        case(Layer, Response::body("application/x-gzip", flipped), 1, &["sha256:"]),
        case(Layer, Response::body("application/x-gzip", other).truncated(), 1, &["faulty v1.0.0", "were announced"]),
    ]
}

#[test]
fn every_proxy_fault_has_a_message_and_changes_nothing() -> Result<()> {
    let lab = Lab::shared();
    let proxy = FaultyProxy::start(lab.plane())?;
    let elsewhere = FaultyProxy::start(lab.plane())?;
    let alice = lab.new_workstation()?;
    let ca = lab.plane().ca_file().display().to_string();
    let url = proxy.url();
    let line = ["plugins", "install", "faulty", "--rpp-endpoint", &url, "--rpp-ca-file", &ca];
    let mut wrong = Vec::new();
    for Case { route, response, code, texts } in cases(&elsewhere.url()) {
        let before = alice.files();
        proxy.set_response(route, response.clone());
        let refused = alice.d8(line)?;
        let has = |text: &str| refused.stderr.contains(text);
        let explains = texts.iter().all(|text| has(text)) && has("cause:") && has("fix:") && !has("\u{1b}");
        if refused.code() != code || !explains || alice.files() != before {
            wrong.push(format!("{route:?} {response:?}: expected {code} and {texts:?}, got\n{refused:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(elsewhere.requests(), 0, "d8 followed a redirect and sent the token");

    proxy.repair();
    alice.d8(line)?.expect_code(0)?;
    assert_eq!(alice.d8(["faulty"])?.ok()?, "This is faulty v1.0.0.\n");
    Ok(())
}
