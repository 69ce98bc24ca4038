//! Reads the records of managed hosts, to preview the effect of a policy on them.

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
    let api: Api<CliHost> = Api::all(client.clone());
    let (mut hosts, mut next) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        match api.list(&next).await {
            Ok(page) => {
                hosts.extend(page.items);
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => next = ListParams::default().limit(PAGE).continue_token(&token),
                    None => return Ok(hosts),
                }
            }
            Err(error) => return absent_or(client, "clihosts", error).await.map(|()| hosts),
        }
    }
}
