//! `d8 policy trust`: trusts a changed proxy of the cluster, after showing the pinned and the current one.

use d8_rpp::{
    EndpointIdentity,
    client::discovery,
    endpoint_pin::{PinCheck, check_pin},
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
    let server = cluster.access.server();
    // Compare what the cluster announces, even if a flag names another endpoint.
    let options = d8_rpp::ClientOptions { endpoint: None, ..context.proxy_options() };
    let now = discovery::find(&cluster.client, &server, &options)
        .await
        .map_err(|error| cluster.access.explain(error))?
        .identity;
    let pinned = pins.load(&cluster.key);
    output::print(format!("cluster:    {server}"));
    output::print(match &pinned {
        Ok(Some(pinned)) => format!("pinned:     {pinned}"),
        Ok(None) => "pinned:     nothing".to_owned(),
        Err(error) => format!("pinned:     unreadable, {}", error.source),
    });
    output::print(format!("now:        {now}"));
    let accepted: EndpointIdentity = match &pinned {
        Ok(known) => match check_pin(known.as_ref(), &now) {
            PinCheck::Trusted => {
                output::print("The proxy is already trusted.");
                return Ok(());
            }
            PinCheck::Update(both) => both,
            PinCheck::Changed => now,
        },
        Err(_) => now,
    };
    confirm(args.yes).await?;
    pins.save(&cluster.key, &server, &accepted)
        .map_err(|error| Failure::new(Code::Failed, "failed to pin the proxy").caused_by(&error))?;
    output::print("The proxy is trusted from now on.");
    Ok(())
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
            "check with an administrator of the cluster, then: d8 policy trust --yes",
        )),
    }
}
