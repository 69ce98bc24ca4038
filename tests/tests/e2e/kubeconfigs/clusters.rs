//! Clusters: addresses, certificates and proxies.

use std::ffi::OsString;

use d8_tests::tunnel::Tunnel;
use d8_tests::{Lab, Result, skewed_clock, tools};

use super::{Expected, Fixture};

#[test]
fn clusters() -> Result<()> {
    let fixture = Fixture::new()?;
    let folded = fixture.fill("$CA").as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\\n");
    for (what, cluster, expected) in [
        ("a CA file", "server: $URL, certificate-authority: ca.crt", Ok(())),
        ("CA data in lines", &format!("server: $URL, certificate-authority-data: \"{folded}\\n\""), Ok(())),
        ("a CA twice", "server: $URL, certificate-authority: ca.crt, certificate-authority-data: $CA", Err("both set")),
        ("a missing CA file", "server: $URL, certificate-authority: nowhere", Err("nowhere")),
        ("CA data that is no base64", "server: $URL, certificate-authority-data: '*'", Err("is not base64")),
        (
            "CA data that is no certificate",
            "server: $URL, certificate-authority-data: YQ==",
            Err("no usable certificate"),
        ),
        ("no CA", "server: $URL", Err("authority that is not trusted")),
        ("no verification", "server: $URL, insecure-skip-tls-verify: true", Ok(())),
        ("no verification, in YAML 1.1", "server: $URL, insecure-skip-tls-verify: yes", Ok(())),
        (
            "no verification with a CA",
            "server: $URL, insecure-skip-tls-verify: true, certificate-authority: ca.crt",
            Err("keep one of them"),
        ),
        ("another server name", "server: $URL, certificate-authority: ca.crt, tls-server-name: localhost", Ok(())),
        (
            "a wrong server name",
            "server: $URL, certificate-authority: ca.crt, tls-server-name: other.example",
            Err("certificate of the Kubernetes API"),
        ),
        ("a trailing slash", "server: $URL/, certificate-authority: ca.crt", Ok(())),
        ("upper case", "server: 'HTTPS://LOCALHOST:$PORT', certificate-authority: ca.crt", Ok(())),
        ("no scheme, which is http", "server: '$HOST', certificate-authority: ca.crt", Err("")),
        ("another scheme", "server: 'ftp://$HOST', certificate-authority: ca.crt", Err("must begin with https://")),
        (
            "a port that is none",
            "server: 'https://127.0.0.1:99999', certificate-authority: ca.crt",
            Err("a port that is not a number"),
        ),
        ("no server", "certificate-authority: ca.crt", Err("has no `server`")),
        ("unknown fields", "server: $URL, certificate-authority: ca.crt, future: 1", Ok(())),
        (
            "a proxy without a scheme",
            "server: $URL, certificate-authority: ca.crt, proxy-url: '127.0.0.1:1'",
            Err("http://proxy:3128"),
        ),
        (
            "a proxy with another scheme",
            "server: $URL, certificate-authority: ca.crt, proxy-url: 'ftp://127.0.0.1:1'",
            Err("http://proxy:3128"),
        ),
    ] {
        fixture.check_file(what, fixture.kubeconfig(cluster, "token: $TOKEN"), expected)?;
    }
    Ok(())
}

#[test]
fn forward_proxies() -> Result<()> {
    let fixture = Fixture::new()?;
    let server = fixture.fill("$HOST");
    let tunnel = Tunnel::to(&server)?;
    let (http, socks) = (format!("http://{}", tunnel.address), format!("socks5://{}", tunnel.address));
    // No resolver knows this name: only the proxy reaches the server.
    let named = "server: 'https://api.example:6443', certificate-authority: ca.crt, tls-server-name: localhost";
    let local = "server: $URL, certificate-authority: ca.crt";
    let nowhere = "http://nowhere.invalid:3128";
    let bare = tunnel.address.clone();
    let own = |cluster: &str, proxy: &str| format!("{cluster}, proxy-url: '{proxy}'");
    // Name, cluster, HTTPS_PROXY, NO_PROXY, whether the proxy is used, whether the server is reached.
    let cases: Vec<(&str, String, &str, &str, bool, Expected<'_>)> = vec![
        ("of the environment", named.into(), &http, "", true, Ok(())),
        ("without a scheme", named.into(), &bare, "", true, Ok(())),
        ("SOCKS of the environment", named.into(), &socks, "", true, Ok(())),
        ("another host in NO_PROXY", named.into(), &http, "other.example,10.0.0.0/8,", true, Ok(())),
        ("another port in NO_PROXY", named.into(), &http, "api.example:443", true, Ok(())),
        ("only commas in NO_PROXY", named.into(), &http, " , ,", true, Ok(())),
        ("the host in NO_PROXY", named.into(), &http, "a, api.example ,", false, Err("")),
        ("its domain in NO_PROXY", named.into(), &http, ".example", false, Err("")),
        ("a wildcard domain in NO_PROXY", named.into(), &http, "*.example:6443", false, Err("")),
        ("everything in NO_PROXY", named.into(), &http, "*", false, Err("")),
        ("loopback", local.into(), nowhere, "", false, Ok(())),
        ("loopback in NO_PROXY", local.into(), nowhere, "127.0.0.0/8,", false, Ok(())),
        ("of the kubeconfig", own(named, &http), "", "", true, Ok(())),
        ("SOCKS of the kubeconfig", own(named, &socks), "", "", true, Ok(())),
        ("of the kubeconfig, for loopback", own(local, &http), "", "127.0.0.1", true, Ok(())),
        ("of the kubeconfig, not of the environment", own(local, &http), nowhere, "*", true, Ok(())),
        (
            "of the kubeconfig, which fails",
            own(local, nowhere),
            &http,
            "",
            false,
            Err("the HTTP proxy http://nowhere.invalid:3128 (`proxy-url` in the kubeconfig)"),
        ),
        (
            "of the environment, which fails",
            named.into(),
            "me:secret@nowhere.invalid:3128",
            "",
            false,
            Err("the HTTP proxy http://nowhere.invalid:3128 (set by HTTPS_PROXY)"),
        ),
    ];
    for (what, cluster, https_proxy, no_proxy, through, expected) in cases {
        let path = fixture.write("proxied", fixture.kubeconfig(&cluster, "token: $TOKEN"));
        let env =
            [("KUBECONFIG", path.into()), ("HTTPS_PROXY", https_proxy.into()), ("NO_PROXY", OsString::from(no_proxy))];
        fixture.check(what, &env, expected)?;
        assert_eq!(tunnel.take_targets().len(), if through { 2 } else { 0 }, "{what}");
    }
    Ok(())
}

#[test]
fn a_clock_in_the_past_is_named() -> Result<()> {
    let fixture = Fixture::new()?;
    let server = skewed_clock::future_server(Lab::shared().plane())?;
    let cluster = format!("server: 'https://{server}', certificate-authority: ca.crt");
    let path = fixture.write("future", fixture.kubeconfig(&cluster, "token: $TOKEN"));
    let env = [("KUBECONFIG", path.into())];
    fixture.check("d8", &env, Err("valid from 2090-01-01T00:00:00Z, and the clock of this machine says 20"))?;
    let refused = fixture.run(&tools::binary("d8")?, &["policy", "get"], &env)?;
    assert!(refused.stderr.contains("date -u"), "{}", refused.stderr);
    Ok(())
}
