//! Reads the records of managed hosts.

use d8_crds::records::host::CliHost;
use kube::{Api, Client, api::ListParams};

use super::{ViewError, absent_or};

/// Hosts in one page of a list: a cluster may have thousands.
const PAGE: u32 = 500;

/// Reads the record of one host, if it exists.
///
/// # Errors
/// [`ViewError`]. A cluster without the API group is not an error.
pub async fn host(client: &Client, name: &str) -> Result<Option<CliHost>, ViewError> {
    match Api::<CliHost>::all(client.clone()).get_opt(name).await {
        Ok(host) => Ok(host),
        Err(error) => absent_or(client, "clihosts", error).await.map(|()| None),
    }
}

/// Reads the records of all hosts.
///
/// # Errors
/// [`ViewError`]. A cluster without the API group is not an error.
pub async fn hosts(client: &Client) -> Result<Vec<CliHost>, ViewError> {
    let mut hosts = Vec::new();
    each_host(client, None, |host| hosts.push(host)).await?;
    Ok(hosts)
}

/// Reads the records of hosts, page by page, and passes each on. `selector`: a label selector as `kubectl` takes it.
///
/// # Errors
/// [`ViewError`]. A cluster without the API group is not an error.
pub async fn each_host(
    client: &Client,
    selector: Option<&str>,
    mut each: impl FnMut(CliHost),
) -> Result<(), ViewError> {
    let api: Api<CliHost> = Api::all(client.clone());
    let first = ListParams { label_selector: selector.map(str::to_owned), ..ListParams::default().limit(PAGE) };
    let mut next = first.clone();
    loop {
        match api.list(&next).await {
            Ok(page) => {
                page.items.into_iter().for_each(&mut each);
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => next = first.clone().continue_token(&token),
                    None => return Ok(()),
                }
            }
            Err(error) => return absent_or(client, "clihosts", error).await,
        }
    }
}
