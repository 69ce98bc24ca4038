//! A fleet as one page: no script, and nothing that a browser would load from elsewhere. Well-formed as XML, too, so that
//! tests read it with a strict parser.
//!
//! The page stays below [`MAX_BYTES`] whatever the number of hosts: lists are cut, and say so.

mod chart;
mod markup;
mod sections;

use d8_crds::decisions::fleet::Fleet;

use self::markup::{Markup, escaped};

/// Most bytes of a page, so that it can be mailed.
const MAX_BYTES: usize = 3_000_000;
/// Bytes that are kept for the end of the page.
const RESERVE: usize = 1_000;

/// What a browser may do with the page: nothing but to apply the styles that are in it.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Returns the page.
pub(super) fn page(fleet: &Fleet, cluster: &str) -> String {
    let mut page = Markup::default();
    let title = format!("Fleet of {cluster}");
    page.add("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n");
    page.add(format_args!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"{}\"/>\n",
        escaped(CONTENT_SECURITY_POLICY)
    ));
    page.add("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
    page.add(
        "<meta name=\"color-scheme\" content=\"light dark\"/>\n<meta name=\"referrer\" content=\"no-referrer\"/>\n",
    );
    page.add(format_args!("<title>{}</title>\n", escaped(&title)));
    page.add(concat!("<style>\n", include_str!("html/page.css"), "</style>\n</head>\n<body>\n"));
    sections::head(&mut page, fleet, &title);
    page.add("<main>\n");
    sections::totals(&mut page, &fleet.totals);
    sections::failed(&mut page, fleet);
    sections::waves(&mut page, fleet);
    sections::components(&mut page, fleet);
    sections::holds(&mut page, fleet);
    sections::silent(&mut page, fleet);
    sections::policies(&mut page, fleet);
    let room = MAX_BYTES.saturating_sub(page.len() + RESERVE);
    sections::hosts(&mut page, fleet, room);
    page.add("</main>\n</body>\n</html>\n");
    page.finish()
}

#[cfg(test)]
mod tests;
