//! `d8 policy trust`: trusts a changed proxy of the cluster, after showing the pinned and the current one.

use std::collections::BTreeSet;

use d8_agent::cluster::CacheError;
use d8_crds::values::digest::Digest;
use d8_rpp::{
    EndpointIdentity, Proxy,
    endpoint_pin::{KeyList, accept},
};

use crate::{
    args,
    context::Context,
    terminal::{
        failure::{Code, Failure},
        output,
    },
};

pub(crate) async fn run(context: &Context, args: &args::PolicyTrustArgs) -> Result<(), Failure> {
    let pins = context.endpoint_pins();
    let cluster = context.cluster().await?;
    context.check_cluster_verified("refused to trust a proxy over a connection that is not verified")?;
    let server = cluster.access.server();
    // Compare what the cluster announces, even if a flag names another endpoint or skips the verification of the proxy.
    let options = d8_rpp::ClientOptions { endpoint: None, insecure: false, ..context.proxy_options() };
    let client = std::future::ready(Ok(cluster.client.clone()));
    let found = Proxy::find(client, &cluster.access, &options).await?;
    let pinned = pins.load(&cluster.key);
    show(&server, &pinned, &found.identity);
    let known = pinned.ok().flatten();
    let accepted = accept(known.as_ref(), &found.identity);
    let is_known = known.as_ref().is_some_and(|known| known.host == accepted.host && known.keys == accepted.keys);
    if is_known || accepted.is_empty() {
        output::print("The proxy is already trusted.");
        return Ok(());
    }
    confirm(args.yes).await?;
    pins.save(&cluster.key, &server, &accepted)
        .map_err(|error| Failure::new(Code::Failed, "failed to pin the proxy").caused_by(&error))?;
    output::print("The proxy is trusted from now on.");
    Ok(())
}

/// Prints the pinned and the current proxy, and which keys a confirmation adds and removes.
fn show(server: &str, pinned: &Result<Option<EndpointIdentity>, CacheError>, now: &EndpointIdentity) {
    output::print(format!("cluster:    {server}"));
    output::print(match pinned {
        Ok(Some(pinned)) => format!("pinned:     {pinned}"),
        Ok(None) => "pinned:     nothing".to_owned(),
        Err(error) => format!("pinned:     unreadable, {}", error.source),
    });
    output::print(format!("now:        {now}"));
    let Ok(Some(known)) = pinned else { return };
    let difference = |from: &EndpointIdentity, to: &EndpointIdentity| -> BTreeSet<Digest> {
        from.keys.difference(&to.keys).cloned().collect()
    };
    for (what, keys) in [("new keys:   ", difference(now, known)), ("old keys:   ", difference(known, now))] {
        if !keys.is_empty() && !now.keys.is_empty() {
            output::print(format!("{what}{}", KeyList(&keys)));
        }
    }
}

/// Asks for confirmation, unless `yes`. Without a terminal `--yes` is required.
async fn confirm(yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    match output::confirm("Send your token to this proxy from now on?").await {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new(Code::Failed, "the pinned proxy was not changed")),
        None => Err(Failure::new(Code::Usage, "trusting a changed proxy needs confirmation").advise(
            "standard input is not a terminal",
            "check with an admin of the cluster, then: `d8 policy trust --yes`",
        )),
    }
}
