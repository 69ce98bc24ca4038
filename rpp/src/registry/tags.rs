//! The tag list of an image, from all of its pages. A list that cannot be read completely is an error: a part of it
//! would look like versions that were withdrawn.

use std::collections::BTreeSet;

use d8_crds::values::{limits::TAG_LIST_BYTES, name::Component};
use serde::Deserialize;
use url::Url;

use super::{RegistryAccess, RegistryError, link::next_page};
use crate::text::json_error;

/// Tags in one page of a list. Registries may return fewer.
const PAGE: usize = 1000;
/// Pages of one list.
const MAX_PAGES: usize = 1000;

/// The tags of the pages so far.
#[derive(Default)]
struct TagPages {
    tags: Vec<String>,
    known: BTreeSet<String>,
    bytes: usize,
    /// URLs that were requested.
    visited: BTreeSet<Url>,
    /// Whether the registry names its next pages.
    has_links: bool,
}

/// Lists the tags of a component, each once.
///
/// # Errors
/// [`RegistryError::NotFound`] if there is no such image. A page that cannot be read or followed.
pub(crate) async fn list(access: &RegistryAccess, component: &Component) -> Result<Vec<String>, RegistryError> {
    let first = with_query(access.url(component, "tags/list")?, None);
    let mut pages = TagPages::default();
    let mut next = Some(first.clone());
    while let Some(url) = next {
        next = read_page(access, component, &url, &first, &mut pages).await.map_err(|error| match error {
            // The image exists, since it has a first page.
            RegistryError::NotFound if url != first => failed(component, &format!("{url} does not exist")),
            error => error,
        })?;
    }
    Ok(pages.tags)
}

/// Reads a page. Returns the URL of the next one.
async fn read_page(
    access: &RegistryAccess,
    component: &Component,
    url: &Url,
    first: &Url,
    pages: &mut TagPages,
) -> Result<Option<Url>, RegistryError> {
    #[derive(Deserialize)]
    struct Page {
        /// Some registries send `null` for a repository without tags.
        tags: Option<Vec<String>>,
    }
    if pages.visited.len() >= MAX_PAGES || !pages.visited.insert(url.clone()) {
        return Err(failed(component, &format!("its pages do not end, {url} is one of them")));
    }
    let page = access.get(component, url, "application/json", "a page of the tag list", TAG_LIST_BYTES).await?;
    let tags: Page = serde_json::from_slice(&page.body)
        .map_err(|error| failed(component, &format!("{url}: {}", json_error(&error))))?;
    let tags = tags.tags.unwrap_or_default();
    let (last, is_empty) = (tags.last().cloned(), tags.is_empty());
    let added = pages.add(tags);
    if pages.bytes > TAG_LIST_BYTES {
        return Err(failed(component, &format!("it is larger than {TAG_LIST_BYTES} bytes")));
    }
    let next = next_page(&page.headers, url).map_err(|why| failed(component, &format!("{url}: {why}")))?;
    match (next, last) {
        (Some(_), _) if added == 0 && !is_empty => {
            Err(failed(component, &format!("its pages repeat, {url} has no other tags than those before it")))
        }
        (Some(next), _) => {
            pages.has_links = true;
            Ok(Some(next))
        }
        // A registry without links may have more tags: it returns fewer than requested without saying so.
        (None, Some(last)) if added > 0 && !pages.has_links => Ok(Some(with_query(first.clone(), Some(&last)))),
        (None, _) => Ok(None),
    }
}

impl TagPages {
    /// Adds the tags that are not known yet. Returns their number.
    fn add(&mut self, tags: Vec<String>) -> usize {
        let before = self.tags.len();
        for tag in tags {
            if self.known.insert(tag.clone()) {
                self.bytes += tag.len() + 3;
                self.tags.push(tag);
            }
        }
        self.tags.len() - before
    }
}

/// Sets the query of the first page, or of the page after a tag.
fn with_query(mut url: Url, last: Option<&str>) -> Url {
    url.set_query(None);
    url.query_pairs_mut().append_pair("n", &PAGE.to_string()).extend_pairs(last.map(|last| ("last", last)));
    url
}

fn failed(component: &Component, why: &str) -> RegistryError {
    RegistryError::Failed(format!("the tag list of {component} cannot be read completely: {why}"))
}
