//! Users: every way to authenticate, and what wins.

use std::path::Path;

use d8_tests::catalog::Plugin;
use d8_tests::{Lab, Result, tools};

use super::{CLUSTER, Expected, Fixture, read};

#[test]
fn users() -> Result<()> {
    let fixture = Fixture::new()?;
    let exec = "apiVersion: client.authentication.k8s.io/v1, interactiveMode";
    let beta = "apiVersion: client.authentication.k8s.io/v1beta1";
    let cases: Vec<(&str, String, Expected<'_>)> = [
        ("a token", "token: $TOKEN", Ok(())),
        ("a wrong token", "token: nobody", Err("missing, invalid or expired")),
        ("a token with a line end", "token: \"$TOKEN\\n\"", Err("its token cannot be sent: it ends with a line break")),
        ("a token with a line end, and its fix", "token: \"$TOKEN\\r\\n\"", Err("fix:   remove the line break from the token\n")),
        ("a token with a line break", "token: \"a\\nb\"", Err("fix:   remove the line break from the token\n")),
        ("a token with a control character", "token: \"a\\x01b\"", Err("character 2 of it")),
        ("a token that is a number", "token: 1234", Err("field users[0].user.token: expected a string")),
        ("a token file", "tokenFile: $DIR/token", Ok(())),
        ("a relative token file", "tokenFile: token", Ok(())),
        ("a token file with LF", "tokenFile: token-lf", Ok(())),
        ("a token file with CRLF and spaces", "tokenFile: token-crlf", Ok(())),
        ("an empty token file", "tokenFile: token-empty", Err("token-empty: it is empty")),
        ("a blank token file", "tokenFile: token-blank", Err("token-blank: it is empty")),
        ("a missing token file", "tokenFile: nowhere", Err("nowhere")),
        ("a stale token and a token file", "token: stale, tokenFile: token", Ok(())),
        ("a token and a missing token file", "token: $TOKEN, tokenFile: nowhere", Ok(())),
        ("a password", "username: me, password: secret", Err("you are anonymous")),
        ("a token and a password", "token: $TOKEN, username: me, password: secret", Err("both a token and a password")),
        ("nothing", "", Err("you are anonymous")),
        ("empty fields", "token: '', tokenFile: '', client-certificate: ''", Err("you are anonymous")),
        ("null fields", "token: $TOKEN, tokenFile: null, exec: null, as-groups: null", Ok(())),
        ("unknown fields", "token: $TOKEN, future: {x: [1]}", Ok(())),
        ("certificate data", "client-certificate-data: $CERT, client-key-data: $KEY", Ok(())),
        ("certificate files", "client-certificate: client.crt, client-key: $DIR/client.key", Ok(())),
        ("a certificate without a key", "client-certificate: client.crt", Err("without `client-key`")),
        ("a key alone", "client-key: client.key, token: $TOKEN", Ok(())),
        ("a certificate twice", "client-certificate: client.crt, client-certificate-data: $CERT, client-key: client.key", Err("both set")),
        ("a missing certificate", "client-certificate: nowhere, client-key: client.key", Err("nowhere")),
        ("a certificate that is none", "client-certificate-data: YQ==, client-key-data: $KEY", Err("client of the Kubernetes API")),
        ("impersonation", "token: $ADMIN, as: someone, as-groups: [a, b], as-uid: '7'", Ok(())),
        ("impersonation without the right", "token: $TOKEN, as: someone", Err("may not read")),
        ("impersonated groups without a user", "token: $ADMIN, as-groups: [a]", Err("need `as`")),
        ("auth-provider gcp", "auth-provider: {name: gcp, config: {cmd-path: /bin/true}}", Err("\"gcp\" is not supported")),
    ]
    .map(|(what, user, expected)| (what, user.to_owned(), expected))
    .into_iter()
    .chain([
        ("a plugin", format!("exec: {{command: ./plugin, {exec}: Never}}"), Ok(())),
        ("a plugin by its path", format!("exec: {{command: $DIR/plugin, {exec}: IfAvailable}}"), Ok(())),
        ("a plugin of v1beta1", format!("exec: {{command: ./plugin-beta, {beta}}}"), Ok(())),
        ("a plugin with arguments", format!("exec: {{command: sh, args: ['-c', '. $F'], env: [{{name: F, value: $DIR/plugin}}], {exec}: Never}}"), Ok(())),
        ("a plugin with a certificate", format!("exec: {{command: ./plugin-certificate, {exec}: Never}}"), Ok(())),
        ("a plugin with an expired token", format!("exec: {{command: ./plugin-expired, {exec}: Never}}"), Ok(())),
        ("a plugin that needs the cluster", format!("exec: {{command: ./plugin-cluster, provideClusterInfo: true, {exec}: Never}}"), Ok(())),
        ("a plugin that lacks the cluster", format!("exec: {{command: ./plugin-cluster, {exec}: Never}}"), Err("exit code 1")),
        ("a plugin without a terminal", format!("exec: {{command: ./plugin, {exec}: Always}}"), Err("needs a terminal")),
        ("a plugin without a mode", format!("exec: {{command: ./plugin, {exec}: ''}}"), Err("interactiveMode is not set")),
        ("a plugin of another version", format!("exec: {{command: ./plugin, {beta}}}"), Err("printed ExecCredential client.authentication.k8s.io/v1,")),
        ("a plugin that fails", format!("exec: {{command: ./plugin-fails, {exec}: Never}}"), Err("it wrote: the session has ended")),
        ("a missing plugin", format!("exec: {{command: no-such-plugin, installHint: 'brew install it', {exec}: Never}}"), Err("fix:   brew install it")),
        ("a plugin beside a token", format!("token: $TOKEN, exec: {{command: ./plugin-fails, {exec}: Never}}"), Ok(())),
        ("a plugin beside a certificate", format!("client-certificate: client.crt, client-key: client.key, exec: {{command: ./plugin-fails, {exec}: Never}}"), Ok(())),
    ])
    .collect();
    for (what, user, expected) in cases {
        fixture.check_file(what, fixture.kubeconfig(CLUSTER, &user), expected)?;
    }
    Ok(())
}

/// Both legs share the credential, and a plugin never reads the list that a shell loop reads.
#[test]
fn a_plugin_runs_once_a_command() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("exec-once", "v1.0.0"))?;
    lab.create_releases(&["exec-once"])?;
    lab.wait_for_version("exec-once", "v1.0.0")?;
    let fixture = Fixture::new()?;
    let exec = "apiVersion: client.authentication.k8s.io/v1, interactiveMode: IfAvailable";
    let counting = fixture.kubeconfig(CLUSTER, &format!("exec: {{command: ./plugin-counts, {exec}}}"));
    let path = fixture.write("counting", counting);
    let d8 = tools::binary("d8")?;
    let installed =
        fixture.run(&d8, &["plugins", "install", "exec-once"], &[("KUBECONFIG", path.into())])?.expect_code(0)?;
    assert_eq!(read(&fixture.directory.join("plugin-counts.log")).lines().count(), 1, "{installed:?}");

    let reading = fixture.kubeconfig(CLUSTER, &format!("exec: {{command: ./plugin-reads, {exec}}}"));
    let path = fixture.write("reading", reading);
    let script = format!(
        "printf 'one\\ntwo\\nthree\\n' | while read p; do echo \"$p\"; {} policy get >/dev/null; done",
        d8.display()
    );
    let looped = fixture.run(Path::new("/bin/sh"), &["-c", &script], &[("KUBECONFIG", path.into())])?;
    assert_eq!(looped.stdout, "one\ntwo\nthree\n", "{looped:?}");
    Ok(())
}
