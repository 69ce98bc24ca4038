//! `d8-rpp`: serves plugin images to those who may have them, and packs them.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use d8_crds::{
    name::{Component, Tag},
    platform::Platform,
};
use d8_rpp::{image, pack, server};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

/// The registry-packages-proxy: serves plugin images, and packs them.
#[derive(Parser)]
#[command(name = "d8-rpp", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves an OCI image layout over TLS to whoever the cluster lets download.
    Serve(Serve),
    /// Writes an image into an OCI image layout, in place of what had its tag.
    Pack(Pack),
    /// Takes a tag out of an OCI image layout.
    Unpublish(Unpublish),
}

#[derive(Args)]
struct Serve {
    /// The OCI image layout; read again whenever it changes.
    #[arg(long, value_name = "DIR")]
    layout: PathBuf,
    /// The address to listen on; port 0 takes a free one. It is printed as one line on stdout.
    #[arg(long, default_value = "0.0.0.0:4219")]
    listen: SocketAddr,
    /// Certificate chain, PEM.
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// Its private key, PEM.
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
    /// The kubeconfig of the cluster that says who may download; default: KUBECONFIG, then the pod's own.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

#[derive(Args)]
struct Pack {
    /// `deckhouse-cli` or `deckhouse-cli/plugins/NAME`.
    #[arg(long, value_parser = read_image)]
    image: Component,
    /// The tag to publish.
    #[arg(long)]
    version: Tag,
    /// A platform and its executable, `linux-amd64=./hello`; once for each platform.
    #[arg(long = "platform", value_name = "OS-ARCH=FILE", required = true, value_parser = read_platform)]
    platforms: Vec<(Platform, PathBuf)>,
    /// The plugin's contract, YAML or JSON.
    #[arg(long, value_name = "FILE")]
    contract: Option<PathBuf>,
    /// The time of publishing, RFC 3339; default: `SOURCE_DATE_EPOCH`, then now.
    #[arg(long, value_name = "TIME")]
    created: Option<Timestamp>,
    /// The layout; made if it does not exist.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

#[derive(Args)]
struct Unpublish {
    /// `deckhouse-cli` or `deckhouse-cli/plugins/NAME`.
    #[arg(long, value_parser = read_image)]
    image: Component,
    /// The tag to take away.
    #[arg(long)]
    version: Tag,
    /// The layout.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
}

/// What ends the program: a message and an exit code.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self { code: 1, message: error.to_string() }
    }

    fn usage(error: impl std::fmt::Display) -> Self {
        Self { code: 2, message: error.to_string() }
    }
}

fn main() -> ExitCode {
    let level = std::env::var("LOG_LEVEL").unwrap_or_else(|_| "info".to_owned());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(tracing_subscriber::EnvFilter::new(level))
        .init();
    let result = match Cli::parse().command {
        Command::Serve(serve) => run_serve(serve),
        Command::Pack(pack) => run_pack(pack),
        Command::Unpublish(unpublish) => run_unpublish(&unpublish),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("d8-rpp: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn read_image(text: &str) -> Result<Component, String> {
    image::component(text)
        .ok_or_else(|| "it is `deckhouse-cli`, or `deckhouse-cli/plugins/` and a plugin's name".to_owned())
}

fn read_platform(text: &str) -> Result<(Platform, PathBuf), String> {
    let (platform, path) = text.split_once('=').ok_or("it is `<os>-<arch>=<file>`")?;
    Ok((platform.parse().map_err(|error: d8_crds::name::NameError| error.to_string())?, path.into()))
}

fn run_pack(pack: Pack) -> Result<(), Failure> {
    let created = match pack.created {
        Some(created) => created,
        None => source_date_epoch()?.unwrap_or_else(Timestamp::now),
    };
    let order = pack::Order {
        component: pack.image,
        tag: pack.version,
        platforms: pack.platforms,
        contract: pack.contract,
        created,
        to: pack.to,
    };
    let packed = pack::pack(&order).map_err(|error| match error {
        pack::PackError::Layout { .. } => Failure::failed(error),
        _ => Failure::usage(error),
    })?;
    for warning in &packed.warnings {
        eprintln!("warning: {warning}");
    }
    print_line(&format!("{} {}", packed.name, packed.digest))
}

/// The time of publishing that a reproducible build gives (reproducible-builds.org).
fn source_date_epoch() -> Result<Option<Timestamp>, Failure> {
    let Some(text) = std::env::var_os("SOURCE_DATE_EPOCH") else { return Ok(None) };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    match seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()) {
        Some(time) => Ok(Some(time)),
        None => Err(Failure::usage("SOURCE_DATE_EPOCH is not a number of seconds since 1970")),
    }
}

fn run_unpublish(unpublish: &Unpublish) -> Result<(), Failure> {
    let name = format!("{}:{}", image::name(&unpublish.image), unpublish.version);
    match pack::unpublish(&unpublish.from, &unpublish.image, &unpublish.version) {
        Ok(true) => print_line(&format!("unpublished {name}")),
        Ok(false) => Err(Failure::failed(format!("{name} is not in {}", unpublish.from.display()))),
        Err(error) => Err(Failure::failed(error)),
    }
}

#[tokio::main]
async fn run_serve(serve: Serve) -> Result<(), Failure> {
    // The Kubernetes client takes the process's own; there is one only if it is said which.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = client(serve.kubeconfig.as_deref()).await?;
    let options = server::Options {
        layout: serve.layout,
        listen: serve.listen,
        tls_cert: serve.tls_cert,
        tls_key: serve.tls_key,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let server = server::Server::bind(&options, client).map_err(Failure::failed)?;
    print_line(&server.address().to_string())?;
    let end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending: requests that run may finish");
    };
    server.run(end).await.map_err(Failure::failed)
}

async fn client(kubeconfig: Option<&std::path::Path>) -> Result<kube::Client, Failure> {
    let config = match kubeconfig {
        None => kube::Config::infer().await.map_err(Failure::usage)?,
        Some(path) => {
            let kubeconfig = kube::config::Kubeconfig::read_from(path).map_err(Failure::usage)?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
                .await
                .map_err(Failure::usage)?
        }
    };
    kube::Client::try_from(config).map_err(Failure::usage)
}

fn print_line(line: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).map_err(Failure::failed)
}
