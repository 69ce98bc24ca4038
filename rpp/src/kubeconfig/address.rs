//! The addresses in a kubeconfig: the server's, and the proxy's in front of it.

use d8_crds::values::text::printable;
use http::Uri;

/// Returns the server's URL. Without a scheme it is http, as for kubectl.
pub(super) fn server_url(server: &str) -> Result<Uri, String> {
    if server.is_empty() {
        return Err("it has no `server`".to_owned());
    }
    let bad = |why: &str| format!("server {:?} {why}", printable(server));
    let lower = server.to_ascii_lowercase();
    let url = match lower.split_once("://") {
        Some(("http" | "https", _)) => server.to_owned(),
        Some(_) => return Err(bad("must begin with https:// or http://")),
        None => format!("http://{server}"),
    };
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let uri: Uri = url.parse().map_err(|_| bad("is not a URL"))?;
    let Some(authority) = uri.authority() else { return Err(bad("has no host")) };
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return Err(bad("must have a host, and no user name or password"));
    }
    if authority.port_u16().is_none() && authority.as_str().len() > authority.host().len() {
        return Err(bad("has a port that is not a number up to 65535"));
    }
    if !lower.contains("://") && uri.path() != "/" && !uri.path().is_empty() {
        return Err(bad("must be a URL, or host:port"));
    }
    Ok(uri)
}

/// Returns the proxy of the kubeconfig. It needs a scheme, unlike a proxy of the environment.
pub(super) fn proxy_url(text: &str) -> Result<Option<Uri>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let bad = || {
        format!(
            "proxy-url {:?} must be a URL with the scheme http, https or socks5, such as http://proxy:3128",
            printable(&without_password(text))
        )
    };
    let uri: Uri = text.parse().map_err(|_| bad())?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https" | "socks5"), Some(host)) if !host.is_empty() => Ok(Some(uri)),
        _ => Err(bad()),
    }
}

/// Removes what stands before `@`: a user name and a password.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        for (server, expected) in [
            ("https://api:6443", Ok("https://api:6443/")),
            ("https://api:6443/", Ok("https://api:6443/")),
            ("https://api/k8s/clusters/c-1", Ok("https://api/k8s/clusters/c-1")),
            ("https://api:6443/?x#y", Ok("https://api:6443/")),
            ("HTTPS://API:6443", Ok("https://API:6443/")),
            ("https://[::1]:6443", Ok("https://[::1]:6443/")),
            ("api:6443", Ok("http://api:6443/")),
            ("api", Ok("http://api/")),
            ("api/path", Err("must be a URL, or host:port")),
            ("ftp://api", Err("must begin with https://")),
            ("https://", Err("is not a URL")),
            ("https:///x", Err("is not a URL")),
            ("https://api:99999", Err("a port that is not a number")),
            ("https://u:secret@api", Err("no user name or password")),
            ("https://a b", Err("is not a URL")),
            ("", Err("no `server`")),
        ] {
            match (server_url(server), expected) {
                (Ok(uri), Ok(expected)) => assert_eq!(uri.to_string(), expected, "{server}"),
                (Err(error), Err(words)) => assert!(error.contains(words), "{server}: {error}"),
                (result, _) => panic!("{server}: {result:?}"),
            }
        }
    }

    #[test]
    fn proxies_of_a_kubeconfig_have_a_scheme() {
        for (text, valid) in [
            ("http://proxy:3128", true),
            ("https://proxy", true),
            ("socks5://user:secret@proxy:1080", true),
            ("proxy:3128", false),
            ("ftp://proxy", false),
            ("http://", false),
            ("ftp://user:secret@proxy", false),
        ] {
            let result = proxy_url(text);
            assert_eq!(result.is_ok(), valid, "{text}: {result:?}");
            assert!(!result.err().unwrap_or_default().contains("secret"), "{text}");
        }
        assert_eq!(proxy_url(""), Ok(None));
    }
}
