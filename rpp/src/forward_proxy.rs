//! The HTTP proxies that the environment names, by the rules of Go's `golang.org/x/net/http/httpproxy`, which kubectl
//! follows: `HTTPS_PROXY` for https, `HTTP_PROXY` for http, and `NO_PROXY` for hosts that are reached directly.
//!
//! localhost and loopback addresses are always reached directly. This module does not handle
//! the proxy of a kubeconfig, which always applies.

use std::{fmt, net::IpAddr};

use d8_crds::values::text::printable;
use http::Uri;
use url::Url;

/// An HTTP or SOCKS proxy. Messages show it without its user name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct ForwardProxy {
    /// URL of the proxy, with user name and password if the setting has them.
    pub url: Uri,
    /// Where the proxy is set. Messages name it.
    pub setting: ProxySetting,
}

/// The setting that names a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxySetting {
    /// This variable of the environment.
    Variable(&'static str),
    /// `proxy-url` of a cluster in a kubeconfig.
    Kubeconfig,
}

/// Writes `HTTP proxy http://proxy:3128 (set by HTTPS_PROXY)`.
impl fmt::Display for ForwardProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.url.scheme_str().unwrap_or("http");
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
        let kind = if scheme.starts_with("socks") { "SOCKS" } else { "HTTP" };
        write!(f, "{kind} proxy {scheme}://{} ({})", printable(address), self.setting)
    }
}

impl fmt::Debug for ForwardProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ProxySetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "set by {name}"),
            Self::Kubeconfig => f.write_str("`proxy-url` in the kubeconfig"),
        }
    }
}

/// The proxy variables of a process.
#[derive(Debug, Clone, Default)]
pub struct ProxyEnvironment {
    https: Option<ForwardProxy>,
    http: Option<ForwardProxy>,
    direct: Vec<DirectHosts>,
}

/// Proxies as a library takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LibraryProxies {
    /// URL of the proxy for https, with its user name and password.
    pub(crate) https: Option<String>,
    /// URL of the proxy for http.
    pub(crate) http: Option<String>,
    /// Hosts that are reached directly: names, addresses and networks, with commas between them.
    pub(crate) direct: String,
}

/// The name of a variable, and its value.
type Variable = (&'static str, String);

/// One entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum DirectHosts {
    /// `*`: every host, so that no proxy is used.
    All,
    /// A network: its address, and the number of bits that count.
    Network(IpAddr, u8),
    /// An address; only with this port if there is one.
    Address(IpAddr, Option<u16>),
    /// A domain and its subdomains. `suffix` begins with a dot.
    Domain { suffix: String, itself: bool, port: Option<u16> },
}

impl ProxyEnvironment {
    /// Reads the variables of this process. Names in upper case win over those in lower case.
    pub fn of_process() -> Self {
        let variable = |names: [&'static str; 2]| -> Option<Variable> {
            let value = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
            names.into_iter().find_map(|name| Some((name, value(name)?)))
        };
        let no_proxy = variable(["NO_PROXY", "no_proxy"]).map(|(_, list)| list);
        Self {
            https: variable(["HTTPS_PROXY", "https_proxy"]).and_then(read_variable),
            http: variable(["HTTP_PROXY", "http_proxy"]).and_then(read_variable),
            direct: parse_list(no_proxy.as_deref().unwrap_or_default()),
        }
    }

    /// Reads the values of the three variables. A proxy that cannot be read is ignored, as kubectl does.
    pub fn new(https: Option<&str>, http: Option<&str>, no_proxy: Option<&str>) -> Self {
        let proxy = |name, value: Option<&str>| read_variable((name, value?.to_owned()));
        let direct = parse_list(no_proxy.unwrap_or_default());
        Self { https: proxy("HTTPS_PROXY", https), http: proxy("HTTP_PROXY", http), direct }
    }

    /// Returns the proxy for the server of a URL, `None` if it is reached directly.
    pub fn for_url(&self, url: &Url) -> Option<ForwardProxy> {
        let port = url.port_or_known_default().unwrap_or(443);
        self.for_host(url.scheme(), url.host_str().unwrap_or_default(), port)
    }

    /// Returns these rules for a library that has its own settings of proxies, and that connects to the server of a URL
    /// and to servers that it learns there. The server of the URL is reached exactly as [`Self::for_url`] says. The
    /// library reads an entry of `NO_PROXY` with a leading dot as that domain, too.
    pub(crate) fn for_library(&self, url: &Url) -> LibraryProxies {
        let shown = |proxy: &Option<ForwardProxy>| proxy.as_ref().map(|proxy| proxy.url.to_string());
        let (https, http) = (shown(&self.https), shown(&self.http));
        if https.is_none() && http.is_none() {
            // Without any setting the library would read the environment by its own rules.
            return LibraryProxies { https: Some("http://unused.invalid".to_owned()), http, direct: "*".to_owned() };
        }
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let is_direct = self.for_url(url).is_none();
        let listed = self.direct.iter().filter_map(DirectHosts::in_library).filter(|entry| is_direct || entry != host);
        let loopback = ["localhost", "127.0.0.0/8", "::1"].map(str::to_owned).into_iter();
        let direct: Vec<_> = listed.chain(loopback).chain(is_direct.then(|| host.to_owned())).collect();
        LibraryProxies { https, http, direct: direct.join(",") }
    }

    /// Returns the proxy for a server, `None` if it is reached directly. `host` may be an IPv6 address in brackets.
    pub fn for_host(&self, scheme: &str, host: &str, port: u16) -> Option<ForwardProxy> {
        let proxy = if scheme == "https" { &self.https } else { &self.http };
        let proxy = proxy.as_ref()?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        let loopback = host == "localhost" || address.is_some_and(|address| address.is_loopback());
        let direct = loopback || self.direct.iter().any(|entry| entry.contains(&host, address, port));
        (!direct).then(|| proxy.clone())
    }
}

impl DirectHosts {
    /// Returns the entry for a library that knows no ports. A port other than that of https is left out: the library
    /// would take it for every port.
    fn in_library(&self) -> Option<String> {
        let is_default = |port: &Option<u16>| matches!(port, None | Some(443));
        match self {
            Self::All => Some("*".to_owned()),
            Self::Network(network, bits) => Some(format!("{network}/{bits}")),
            Self::Address(only, port) => is_default(port).then(|| only.to_string()),
            Self::Domain { suffix, port, .. } => is_default(port).then(|| suffix[1..].to_owned()),
        }
    }

    fn contains(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        let at_port = |only: &Option<u16>| only.is_none_or(|only| only == port);
        match self {
            Self::All => true,
            Self::Network(network, bits) => address.is_some_and(|address| in_network(address, *network, *bits)),
            Self::Address(only, on_port) => address == Some(*only) && at_port(on_port),
            Self::Domain { suffix, itself, port: on_port } => {
                (host.ends_with(suffix.as_str()) || (*itself && host == &suffix[1..])) && at_port(on_port)
            }
        }
    }
}

fn read_variable((name, value): Variable) -> Option<ForwardProxy> {
    let url = parse_proxy(&value);
    if url.is_none() {
        tracing::warn!("{name} is not a URL; it is ignored");
    }
    Some(ForwardProxy { url: url?, setting: ProxySetting::Variable(name) })
}

/// Reads a proxy: a URL, or `host:port`, for which http is assumed.
fn parse_proxy(text: &str) -> Option<Uri> {
    let text = text.trim();
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = url.parse().ok()?;
    uri.host().is_some_and(|host| !host.is_empty()).then_some(uri)
}

/// Reads the list of `NO_PROXY`. Empty entries are skipped, and so are spaces around entries.
fn parse_list(text: &str) -> Vec<DirectHosts> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).filter_map(parse_entry).collect()
}

fn parse_entry(entry: &str) -> Option<DirectHosts> {
    let entry = entry.to_ascii_lowercase();
    if entry == "*" {
        return Some(DirectHosts::All);
    }
    if let Some(network) = parse_network(&entry) {
        return Some(network);
    }
    let (host, port) = split_port(&entry);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(DirectHosts::Address(address.to_canonical(), port));
    }
    let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    match host.strip_prefix('.') {
        _ if host.is_empty() => None,
        Some(_) => Some(DirectHosts::Domain { suffix: host.to_owned(), itself: false, port }),
        None => Some(DirectHosts::Domain { suffix: format!(".{host}"), itself: true, port }),
    }
}

fn parse_network(entry: &str) -> Option<DirectHosts> {
    let (address, bits) = entry.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let bits: u8 = bits.parse().ok()?;
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(DirectHosts::Network(address, bits))
}

/// Splits `host:port`. An IPv6 address without brackets has no port.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            if port.is_empty() {
                (host, None)
            } else {
                port.parse().map_or((entry, None), |port| (host, Some(port)))
            }
        }
        _ => (entry, None),
    }
}

fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |a: u128, b: u128, width: u32| (a ^ b).checked_shr(width - u32::from(bits)).unwrap_or_default() == 0;
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_are_reached_directly() {
        for (no_proxy, host, port, direct) in [
            ("", "api.example", 443, false),
            ("*", "api.example", 443, true),
            (" * ,x", "api.example", 443, true),
            ("api.example", "api.example", 443, true),
            ("API.Example", "api.example", 443, true),
            ("api.example", "API.EXAMPLE", 443, true),
            ("example", "api.example", 443, true),
            (".example", "api.example", 443, true),
            ("*.example", "api.example", 443, true),
            (".api.example", "api.example", 443, false),
            ("pi.example", "api.example", 443, false),
            ("api.example:6443", "api.example", 6443, true),
            ("api.example:6443", "api.example", 443, false),
            ("api.example:", "api.example", 443, true),
            ("a, , api.example ,,", "api.example", 443, true),
            ("api.example,", "other.example", 443, false),
            (",", "api.example", 443, false),
            (":443", "api.example", 443, false),
            ("localhost,", "api.example", 443, false),
            ("10.1.2.3", "10.1.2.3", 6443, true),
            ("10.1.2.3:6443", "10.1.2.3", 6443, true),
            ("10.1.2.3:6443", "10.1.2.3", 443, false),
            ("10.0.0.0/8", "10.1.2.3", 6443, true),
            ("10.1.2.3/0", "192.0.2.1", 6443, true),
            ("10.1.2.3/32", "10.1.2.3", 6443, true),
            ("10.1.2.3/33", "10.1.2.3", 6443, false),
            ("192.168.0.0/16", "10.1.2.3", 6443, false),
            ("10.0.0.0/8", "10.example", 6443, false),
            ("2001:db8::/32", "[2001:db8::1]", 6443, true),
            ("2001:db8::1", "[2001:db8::1]", 6443, true),
            ("[2001:db8::1]:6443", "[2001:db8::1]", 6443, true),
            ("[2001:db8::1]:443", "[2001:db8::1]", 6443, false),
            ("::/0", "10.1.2.3", 6443, false),
            ("\u{e9},/,//,[,]:,%", "api.example", 443, false),
        ] {
            let environment = ProxyEnvironment::new(Some("http://proxy:3128"), None, Some(no_proxy));
            assert_eq!(environment.for_host("https", host, port).is_none(), direct, "{no_proxy:?} {host}:{port}");
        }
        for loopback in ["localhost", "127.0.0.1", "127.1.2.3", "[::1]", "LOCALHOST"] {
            let environment = ProxyEnvironment::new(Some("http://proxy:3128"), None, None);
            assert_eq!(environment.for_host("https", loopback, 443), None, "{loopback}");
        }
    }

    #[test]
    fn proxies() {
        for (text, proxy) in [
            ("http://proxy:3128", Some("http://proxy:3128/")),
            ("proxy:3128", Some("http://proxy:3128/")),
            ("proxy", Some("http://proxy/")),
            ("user:secret@proxy:3128", Some("http://user:secret@proxy:3128/")),
            ("https://proxy", Some("https://proxy/")),
            ("socks5://proxy:1080", Some("socks5://proxy:1080/")),
            (" http://proxy:3128 ", Some("http://proxy:3128/")),
            ("http://", None),
            ("http://[::1", None),
            ("a b", None),
        ] {
            let environment = ProxyEnvironment::new(Some(text), None, None);
            let found = environment.for_host("https", "api.example", 443).map(|proxy| proxy.url.to_string());
            assert_eq!(found.as_deref(), proxy, "{text:?}");
            assert_eq!(environment.for_host("http", "api.example", 80), None, "{text:?}");
        }
    }

    #[test]
    fn rules_for_a_library() {
        const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";
        let environment = |https, http, no_proxy| ProxyEnvironment::new(https, http, Some(no_proxy));
        let proxy = Some("http://proxy:3128");
        let shown = |environment: &ProxyEnvironment, url: &str| environment.for_library(&Url::parse(url).unwrap());
        let registry = "https://registry.example/v2/";
        let none = shown(&environment(None, None, "a"), registry);
        assert_eq!((none.direct.as_str(), none.http), ("*", None), "everything is direct");
        assert!(none.https.is_some(), "so that the library does not read the environment");
        for (no_proxy, url, direct) in [
            ("", registry, LOOPBACK.to_owned()),
            ("10.0.0.0/8,example.org", registry, format!("10.0.0.0/8,example.org,{LOOPBACK}")),
            ("registry.example", registry, format!("registry.example,{LOOPBACK},registry.example")),
            // The entry is for subdomains only.
            (".registry.example", registry, LOOPBACK.to_owned()),
            (".example", registry, format!("example,{LOOPBACK},registry.example")),
            // Only the port of the entry is direct.
            ("registry.example:5000", registry, LOOPBACK.to_owned()),
            ("registry.example:5000", "https://registry.example:5000/v2/", format!("{LOOPBACK},registry.example")),
            ("", "https://127.0.0.1:5000/", format!("{LOOPBACK},127.0.0.1")),
        ] {
            let found = shown(&environment(proxy, proxy, no_proxy), url);
            assert_eq!(found.direct, direct, "{no_proxy:?} {url}");
            assert_eq!(found.https.as_deref(), Some("http://proxy:3128/"));
        }
        let only_http = shown(&environment(None, proxy, ""), "http://registry.example/");
        assert_eq!((only_http.https, only_http.http.is_some()), (None, true));
    }

    #[test]
    fn messages_name_the_proxy_and_its_setting_and_no_password() {
        for (text, shown) in [
            ("proxy:3128", "HTTP proxy http://proxy:3128 (set by HTTPS_PROXY)"),
            ("https://user:secret@proxy", "HTTP proxy https://proxy (set by HTTPS_PROXY)"),
            ("socks5://user:p@ss@[::1]:1080", "SOCKS proxy socks5://[::1]:1080 (set by HTTPS_PROXY)"),
        ] {
            let environment = ProxyEnvironment::new(Some(text), None, None);
            let proxy = environment.for_host("https", "api.example", 443);
            let shown_twice = proxy.as_ref().map(|proxy| (proxy.to_string(), format!("{proxy:?}")));
            assert_eq!(shown_twice, Some((shown.to_owned(), shown.to_owned())), "{text}");
        }
        let url = "http://proxy:3128".parse().unwrap();
        let of_kubeconfig = ForwardProxy { url, setting: ProxySetting::Kubeconfig };
        assert_eq!(of_kubeconfig.to_string(), "HTTP proxy http://proxy:3128 (`proxy-url` in the kubeconfig)");
    }
}
