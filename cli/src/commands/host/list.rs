//! `d8 host list`: the managed hosts, with their labels and what they reported last.

use std::{collections::BTreeMap, time::Duration};

use d8_agent::cluster;
use d8_crds::{records::host::CliHost, values::duration::FormattedDuration};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    args,
    context::Context,
    terminal::{failure::Failure, output, table::Table},
};

/// An entry of the JSON document (`docs/fleet.md`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedHost {
    name: String,
    labels: BTreeMap<String, String>,
    /// Absent if the host has not reported it.
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<String>,
    /// Active version of d8.
    #[serde(skip_serializing_if = "Option::is_none")]
    d8: Option<String>,
    /// `True`, `False` or `Unknown`.
    ready: String,
    reason: String,
    /// When the host reported last; absent if it has not reported yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<Timestamp>,
}

impl From<CliHost> for ListedHost {
    fn from(host: CliHost) -> Self {
        let status = host.status.unwrap_or_default();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        let d8 = status.components.iter().find(|component| component.name == "d8");
        Self {
            name: host.metadata.name.unwrap_or_default(),
            labels: host.metadata.labels.unwrap_or_default(),
            d8: d8.and_then(|d8| d8.active.clone()),
            ready: ready.map_or("Unknown", |ready| ready.status.as_str()).to_owned(),
            reason: ready.map(|ready| ready.reason.clone()).unwrap_or_default(),
            platform: status.platform,
            last_seen: status.last_seen.map(|time| time.0),
        }
    }
}

pub(crate) async fn run(context: &Context, args: &args::HostListArgs) -> Result<(), Failure> {
    let client = &context.cluster().await?.client;
    let hosts = cluster::hosts(client).await.map_err(|error| context.view_failure(&error))?;
    let mut hosts: Vec<ListedHost> = hosts.into_iter().map(ListedHost::from).collect();
    hosts.sort_by(|a, b| a.name.cmp(&b.name));
    let names = hosts.iter().map(|host| &host.name);
    output::print_document(args.output.format, &hosts, names, |hosts| print_text(context, hosts))
}

fn print_text(context: &Context, hosts: &[ListedHost]) {
    if hosts.is_empty() {
        context.printer.note("No hosts are enrolled. Enrol one: `d8 host enroll NAME`");
        return;
    }
    let mut table = Table::new(&["NAME", "PLATFORM", "D8", "READY", "REASON", "SEEN", "LABELS"]);
    for host in hosts {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let seen = match host.last_seen {
            Some(seen) => {
                let age = context.now.duration_since(seen).unsigned_abs();
                let minutes = age.as_secs() / 60;
                format!("{} ago", FormattedDuration(Duration::from_mins(minutes)))
            }
            None => "never".to_owned(),
        };
        let labels: Vec<String> = host.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let (platform, d8) = (text(&host.platform), text(&host.d8));
        table.row([&host.name, &platform, &d8, &host.ready, &host.reason, &seen, &labels.join(",")]);
    }
    output::print_table(&table);
}
