//! A proxy that answers wrongly: each fault has its words and its exit code, and changes nothing.

use d8_tests::liar::{Answer, Liar, Route, manifest};
use d8_tests::oci::{Entry, gzip, layer};
use d8_tests::{Lab, Result};

struct Case {
    route: Route,
    answer: Answer,
    code: i32,
    says: &'static [&'static str],
}

fn cases(elsewhere: &str) -> Vec<Case> {
    use Route::{Layer, Manifest, Tags};
    let case = |route, answer, code, says| Case { route, answer, code, says };
    let other = layer(&[Entry::file("plugin", "#!/bin/sh\necho other\n")]);
    let mut flipped = other.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let unlike = format!("sha256:{}", "0".repeat(64));
    let json = |text: &str| Answer::body("application/json", text);
    let oci = |text: String| Answer::body("application/vnd.oci.image.manifest.v1+json", text);
    vec![
        case(Tags, Answer::status(401, "Unauthorized"), 5, &["401"]),
        case(Tags, Answer::status(403, "Forbidden (user=x)"), 5, &["403", "cli-download"]),
        case(Tags, Answer::status(404, "unknown image"), 1, &["faulty", "not published"]),
        case(Tags, Answer::status(500, "no registry\u{1b}[31m configuration"), 5, &["500", "no registry"]),
        case(Tags, Answer::status(502, "the registry failed"), 5, &["502"]),
        case(Tags, Answer::status(418, "teapot"), 5, &["418", "teapot"]),
        case(Tags, Answer::redirect(elsewhere), 5, &["redirects are refused", "token was not sent"]),
        case(Tags, json("{\"name\": "), 1, &["faulty", "tag list"]),
        case(Tags, json("[]"), 1, &["faulty", "tag list"]),
        case(Tags, json(r#"{"name":"x","tags":["v1.0.0"]}"#).cut(), 5, &["127.0.0.1"]),
        case(Manifest, Answer::status(502, "the registry failed"), 5, &["502"]),
        case(Manifest, Answer::redirect(elsewhere), 5, &["redirects are refused", "token was not sent"]),
        case(Manifest, oci("not json".into()), 1, &["manifest"]),
        case(Manifest, oci(manifest(&other, &unlike)), 1, &["sha256:"]),
        case(Layer, Answer::status(403, "Forbidden"), 5, &["403"]),
        case(Layer, Answer::status(404, "no such version"), 1, &["v1.0.0"]),
        case(Layer, Answer::redirect(elsewhere), 5, &["redirects are refused", "token was not sent"]),
        case(Layer, Answer::body("application/x-gzip", other.clone()), 1, &["sha256:"]),
        case(Layer, Answer::body("application/x-gzip", gzip(&[0; 4096])), 1, &["sha256:"]),
        case(Layer, Answer::body("application/x-gzip", flipped), 1, &["sha256:"]),
        case(Layer, Answer::body("application/x-gzip", other).cut(), 1, &["faulty v1.0.0", "were announced"]),
    ]
}

#[test]
fn every_fault_of_the_proxy_has_its_words_and_changes_nothing() -> Result<()> {
    let lab = Lab::shared();
    let liar = Liar::start(lab.plane())?;
    let elsewhere = Liar::start(lab.plane())?;
    let alice = lab.new_workstation()?;
    let ca = lab.plane().ca_file().display().to_string();
    let url = liar.url();
    let line = ["plugins", "install", "faulty", "--rpp-endpoint", &url, "--rpp-ca-file", &ca];
    let mut wrong = Vec::new();
    for Case { route, answer, code, says } in cases(&elsewhere.url()) {
        let before = alice.files();
        liar.lie(route, answer.clone());
        let refused = alice.d8(line)?;
        let said = says.iter().all(|words| refused.stderr.contains(words)) && !refused.stderr.contains('\u{1b}');
        let helps = refused.stderr.contains("cause:") && refused.stderr.contains("fix:");
        if refused.code() != code || !said || !helps || alice.files() != before {
            wrong.push(format!("{route:?} {answer:?}, {code} and {says:?} expected:\n{refused:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(elsewhere.requests(), 0, "a redirect was followed, with the token");

    liar.lie(Route::Tags, d8_tests::liar::truth()[&Route::Tags].clone());
    alice.d8(line)?.expect_code(0)?;
    assert_eq!(alice.d8(["faulty"])?.ok()?, "This is faulty v1.0.0.\n");
    Ok(())
}
