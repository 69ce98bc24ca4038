//! The managed hosts as their records have them: for those who ask what a policy does to others.

use d8_crds::records::host::CliHost;
use kube::{Api, Client, api::ListParams};

use crate::cluster::{ViewError, absent_or};

/// Hosts in one answer of the API server: there may be thousands.
const PAGE: u32 = 500;

/// The record of one host, if there is one.
///
/// # Errors
/// [`ViewError`]; an absent group is no error.
pub async fn host(client: &Client, name: &str) -> Result<Option<CliHost>, ViewError> {
    match Api::<CliHost>::all(client.clone()).get_opt(name).await {
        Ok(host) => Ok(host),
        Err(error) => absent_or(client, "clihosts", error).await.map(|()| None),
    }
}

/// The records of all hosts.
///
/// # Errors
/// [`ViewError`]; an absent group is no error.
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
