//! The `Link` header (RFC 8288), with which a registry names the next page of a list.

use http::{HeaderMap, header::LINK};
use url::Url;

use crate::text::{MAX_MESSAGE, one_line};

/// Returns the URL of the next page, `None` if the headers name none. `page` is the URL of this page.
///
/// # Errors
/// The header cannot be read, or the next page is at another host: credentials are not sent there.
pub(super) fn next_page(headers: &HeaderMap, page: &Url) -> Result<Option<Url>, String> {
    for value in headers.get_all(LINK) {
        let shown = || one_line(value.as_bytes(), MAX_MESSAGE);
        let unreadable = || format!("header `Link: {}` cannot be read", shown());
        let text = value.to_str().map_err(|_| unreadable())?;
        for link in split(text, ',').filter(|link| !link.is_empty()) {
            let link = Link::parse(link).ok_or_else(unreadable)?;
            if link.is_next {
                let next = page.join(link.target).map_err(|_| unreadable())?;
                return at_host_of(page, &next)
                    .map(Some)
                    .ok_or_else(|| format!("the next page is at another host than the registry: {}", shown()));
            }
        }
    }
    Ok(None)
}

/// Returns the page at the address of the registry. A registry behind a TLS proxy names itself with `http`, or with
/// another port. `None` for another host.
fn at_host_of(page: &Url, next: &Url) -> Option<Url> {
    if next.host_str() != page.host_str() {
        return None;
    }
    let mut url = page.clone();
    url.set_path(next.path());
    url.set_query(next.query());
    Some(url)
}

/// A link of the header.
struct Link<'a> {
    target: &'a str,
    is_next: bool,
}

impl<'a> Link<'a> {
    /// Parses `<TARGET>; rel="next"`, `None` if it is malformed. A link without a relation counts as the next page:
    /// some registries forget it.
    fn parse(link: &'a str) -> Option<Self> {
        let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
        let relation = split(parameters, ';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("rel").then(|| value.trim().trim_matches('"'))
        });
        let has_next = |relations: &str| relations.split_whitespace().any(|one| one.eq_ignore_ascii_case("next"));
        Some(Self { target, is_next: relation.is_none_or(has_next) })
    }
}

/// Splits a text at a separator that is not inside of `<>` or quotes. Returns the trimmed parts.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut in_target, mut in_quotes) = (false, false);
    text.split(move |c: char| {
        match c {
            '"' if !in_target => in_quotes = !in_quotes,
            '<' if !in_quotes => in_target = true,
            '>' if !in_quotes => in_target = false,
            _ => {}
        }
        c == separator && !in_target && !in_quotes
    })
    .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next page, or a part of the error.
    type Next = Result<Option<String>, &'static str>;

    #[test]
    fn the_next_page_in_a_link_header() {
        let page = Url::parse("https://registry.example.com:5000/v2/x/tags/list?n=1000").unwrap();
        let here = |rest: &str| Ok(Some(format!("https://registry.example.com:5000{rest}")));
        let cases: [(&[&str], Next); 17] = [
            (&[], Ok(None)),
            (&[""], Ok(None)),
            (&["</v2/x/tags/list?n=5&last=a>; rel=\"next\""], here("/v2/x/tags/list?n=5&last=a")),
            (&["</v2/x/tags/list?last=a>; rel=next"], here("/v2/x/tags/list?last=a")),
            (&["</v2/x/tags/list?last=a>;REL=\"Next\""], here("/v2/x/tags/list?last=a")),
            (&["</v2/x/tags/list?last=a>; rel=\"first next\"; title=\"a, b\""], here("/v2/x/tags/list?last=a")),
            (&["</v2/x/tags/list?last=a>"], here("/v2/x/tags/list?last=a")),
            (&["<?last=a,b>; rel=next"], here("/v2/x/tags/list?last=a,b")),
            (&["<list?last=a>; rel=next"], here("/v2/x/tags/list?last=a")),
            (&["</a>; rel=prev, </b>; rel=next"], here("/b")),
            (&["</a>; rel=prev", "</b>; rel=next"], here("/b")),
            (&["</a>; rel=prev"], Ok(None)),
            (&["<https://registry.example.com:5000/b>; rel=next"], here("/b")),
            (&["<http://registry.example.com/b>; rel=next"], here("/b")),
            (&["<https://evil.example.com/b>; rel=next"], Err("at another host")),
            (&["/v2/x; rel=next"], Err("cannot be read")),
            (&["</v2/x; rel=next"], Err("cannot be read")),
        ];
        for (values, expected) in cases {
            let headers: HeaderMap = values.iter().map(|value| (LINK, value.parse().unwrap())).collect();
            let found = next_page(&headers, &page).map(|next| next.map(String::from));
            match expected {
                Ok(next) => assert_eq!(found, Ok(next), "{values:?}"),
                Err(part) => assert!(found.as_ref().is_err_and(|why| why.contains(part)), "{values:?}: {found:?}"),
            }
        }
    }
}
