//! `d8 policy trust`: accepts that a cluster has another proxy than the one remembered, once a person has
//! seen both.

use d8_rpp::{
    EndpointIdentity,
    client::discovery,
    endpoint_pin::{PinCheck, judge},
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
    let Some(endpoints) = context.endpoints() else {
        return Err(Failure::new(Code::Failed, "there is no home to remember it in")
            .advise("the user has no home directory", "set HOME"));
    };
    let cluster = context.cluster().await?;
    let server = cluster.config.cluster_url.to_string();
    // What the cluster says, whatever endpoint is given by hand.
    let options = d8_rpp::ClientOptions { endpoint: None, ..context.rpp_options() };
    let now = discovery::find(&cluster.client, &server, &options).await?.announced;
    let remembered = endpoints.load(&cluster.key);
    output::print(format!("cluster:    {server}"));
    output::print(match &remembered {
        Ok(Some(remembered)) => format!("remembered: {remembered}"),
        Ok(None) => "remembered: nothing".to_owned(),
        Err(error) => format!("remembered: unreadable, {}", error.source),
    });
    output::print(format!("now:        {now}"));
    let accepted: EndpointIdentity = match &remembered {
        Ok(known) => match judge(known.as_ref(), &now) {
            PinCheck::Trusted => {
                output::print("It is trusted already.");
                return Ok(());
            }
            PinCheck::Remember(both) => both,
            PinCheck::Changed => now,
        },
        Err(_) => now,
    };
    confirmed(args.yes).await?;
    endpoints
        .save(&cluster.key, &server, &accepted)
        .map_err(|error| Failure::new(Code::Failed, "it could not be remembered").caused_by(&error))?;
    output::print("It is trusted from now on.");
    Ok(())
}

/// Asks on a terminal; without one `--yes` must have been given.
async fn confirmed(yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    match output::confirm("Send your token there from now on?").await {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new(Code::Failed, "what is remembered was left as it is")),
        None => Err(Failure::new(Code::Usage, "trusting another proxy needs a yes").advise(
            "there is no terminal to ask on",
            "ask the cluster's admins whether it is right, then: d8 policy trust --yes",
        )),
    }
}
