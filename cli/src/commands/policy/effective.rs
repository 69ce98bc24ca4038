//! `d8 policy get --effective`: what all policies come to on a host, and whose word each field is.

use std::{collections::BTreeMap, fmt};

use d8_agent::cluster::{self, ClusterView};
use d8_crds::{
    decisions::verdict::{Attributed, Effective, EffectiveComponent, FieldSource, Host, Merged},
    records::host::CliHost,
    values::name::Component,
};
use serde::Serialize;

use crate::{
    args,
    context::Context,
    terminal::{
        failure::{Code, Failure},
        output,
        table::Table,
    },
};

/// The document's shape (`docs/policy-commands.md`).
#[derive(Debug, Serialize)]
struct Document<'a> {
    host: Who<'a>,
    #[serde(flatten)]
    effective: Effective,
}

/// Whom it is about.
#[derive(Debug, Serialize)]
struct Who<'a> {
    /// The `CliHost`; absent: this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    labels: &'a BTreeMap<String, String>,
}

pub(super) async fn run(context: &Context, view: &ClusterView, args: &args::PolicyGetArgs) -> Result<(), Failure> {
    let set = view.policy_set();
    let record = match &args.host {
        Some(name) => Some(managed(context, name).await?),
        None => None,
    };
    let labels = record.map(|record| record.metadata.labels.unwrap_or_default());
    let host = match (&labels, &args.host) {
        (Some(labels), Some(id)) => Host { id, labels, new_root: false },
        _ => context.host(),
    };
    let asked = match &args.plugin {
        Some(Component::Plugin(name)) => vec![name.clone()],
        Some(Component::D8) | None => Vec::new(),
    };
    let mut effective = set.for_host(host).effective(&asked);
    if let Some(only) = &args.plugin {
        effective.components.retain(|component| component.component == only.name());
    }
    let document = Document { host: Who { name: args.host.as_deref(), labels: host.labels }, effective };
    let names = document.effective.components.iter().map(|c| &c.component);
    output::print_document(args.output.format, &document, names, show)
}

fn show(document: &Document<'_>) {
    let Document { host, effective } = document;
    let labels: Vec<String> = host.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    output::print(format!("host: {} ({})", host.name.unwrap_or("this machine"), labels.join(", ")));
    if effective.policies.is_empty() {
        output::print("policies: none speaks for it");
        return;
    }
    let names: Vec<&str> = effective.policies.iter().map(|policy| policy.name.as_str()).collect();
    output::print(format!("policies: {}", names.join(", ")));
    for policy in effective.policies.iter().filter(|policy| !policy.valid) {
        let why = policy.why.as_deref().unwrap_or_default();
        output::print(format!("policy {} is not valid and acts as paused: {why}", policy.name));
    }
    let mut rows = Rows(Table::new(&["COMPONENT", "FIELD", "VALUE", "FROM"]));
    rows.decided("", "paused", &effective.paused, ToString::to_string);
    rows.decided("", "missingDependencies", &effective.missing_dependencies, debug);
    rows.decided("", "integrity.movedTags", &effective.moved_tags, debug);
    rows.words("", "windows", &effective.windows, |windows| {
        let one = |window: &d8_crds::records::policy::Window| {
            let days = window.days.as_ref().map(|days| days.iter().map(debug).collect::<Vec<_>>().join(","));
            let zone = window.time_zone.as_deref().unwrap_or("UTC");
            format!("{} {} for {} {zone}", days.as_deref().unwrap_or("daily"), window.start, window.duration)
        };
        windows.iter().map(one).collect::<Vec<_>>().join("; ")
    });
    rows.words("", "rollout", &effective.rollouts, |spread| {
        if spread.canary {
            format!("over {}, this host goes first", spread.over)
        } else {
            format!("over {}", spread.over)
        }
    });
    for component in &effective.components {
        rows.component(component);
    }
    output::print_table(&rows.0);
    output::print(
        "Where nobody speaks: access Allow, any version, a pre-release must be named, updates Manual, majorUpdates \
         Stay, minAge 0s, missingDependencies Install, movedTags Refuse.",
    );
}

/// Only what somebody says.
struct Rows(Table);

impl Rows {
    fn decided<T>(&mut self, component: &str, field: &str, decided: &Merged<T>, show: impl Fn(&T) -> String) {
        if !decided.from.is_empty() {
            let from: Vec<String> = decided.from.iter().map(FieldSource::to_string).collect();
            self.0.row([component, field, &show(&decided.value), &from.join("; ")]);
        }
    }

    fn words<T>(&mut self, component: &str, field: &str, words: &[Attributed<T>], show: impl Fn(&T) -> String) {
        for word in words {
            self.0.row([component, field, &show(&word.value), &word.from.to_string()]);
        }
    }

    fn component(&mut self, of: &EffectiveComponent) {
        let name = of.component.as_str();
        if let Some(access) = &of.access {
            self.decided(name, "access", access, debug);
        }
        self.words(name, "versions", &of.versions, Clone::clone);
        self.words(name, "block", &of.block, Clone::clone);
        self.decided(name, "channel", &of.channel, |channel| channel.as_ref().map(debug).unwrap_or_default());
        if let Some(recorded) = &of.recorded {
            self.words(name, "pins", &recorded.pins, |pin| format!("{} {}", pin.version, pin.digest.short()));
            self.decided(name, "updates", &recorded.updates, debug);
            self.decided(name, "majorUpdates", &recorded.major_updates, debug);
            self.decided(name, "minAge", &recorded.min_age, Clone::clone);
            self.words(name, "expedite", &recorded.expedite, Clone::clone);
        }
        self.words(name, "message", &of.messages, Clone::clone);
    }
}

fn debug(value: &impl fmt::Debug) -> String {
    format!("{value:?}")
}

/// A managed host's record.
///
/// # Errors
/// There is none (1), or it may not be read (5).
async fn managed(context: &Context, name: &str) -> Result<CliHost, Failure> {
    let cluster = context.cluster().await?;
    let found = cluster::host(&cluster.client, name).await.map_err(|error| context.view_failure(&error))?;
    found.ok_or_else(|| {
        Failure::new(Code::Failed, format!("there is no host {name}"))
            .advise("no CliHost has that name", "kubectl get clihosts")
    })
}
