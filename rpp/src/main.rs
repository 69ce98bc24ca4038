//! `d8-rpp`: serves plugin images to those who may have them, and packs them.

use std::{io::Write as _, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};
use d8_crds::values::{
    name::{Component, Tag},
    platform::Platform,
};
use d8_rpp::{
    pack,
    protocol::image,
    registry::{Address, RegistryOptions},
    server,
};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

/// The registry-packages-proxy: serves plugin images, and packs them.
#[derive(Parser)]
#[command(name = "d8-rpp", version)]
struct Cli {
    /// How to log
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves an OCI image layout or a registry over TLS to whoever the cluster lets download.
    Serve(Serve),
    /// Writes an image into an OCI image layout or a registry, in place of what had its tag.
    Pack(Pack),
    /// Takes a tag out of an OCI image layout.
    Unpublish(Unpublish),
}

#[derive(Args)]
struct Serve {
    /// The OCI image layout; read again whenever it changes.
    #[arg(long, value_name = "DIR", required_unless_present = "registry", conflicts_with = "registry")]
    layout: Option<PathBuf>,
    #[command(flatten)]
    registry: Registry,
    /// The folder that layers of a registry are kept in.
    #[arg(long, value_name = "DIR", requires = "registry", required_unless_present = "layout")]
    cache: Option<PathBuf>,
    /// How much is kept there at most.
    #[arg(long, value_name = "BYTES", default_value = "10GiB", value_parser = bytes)]
    cache_size: u64,
    /// Answer as a proxy of this generation does, 1 to 3.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    generation: u8,
    /// Where to serve /metrics, /healthz and /readyz without TLS; port 0 takes a free one, which is the
    /// second line on stdout.
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
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

/// How to reach a registry.
#[derive(Args)]
struct Registry {
    /// The registry with the images, `https://host[:port][/path]`; `http://` is for tests.
    #[arg(long, value_name = "URL")]
    registry: Option<Address>,
    #[command(flatten)]
    access: RegistryAccess,
}

#[derive(Args)]
struct RegistryAccess {
    /// Credentials for the registry, in the format of docker's config.json; read again when it changes.
    #[arg(long, value_name = "FILE")]
    registry_credentials: Option<PathBuf>,
    /// Authorities that vouch for the registry beside the system's, PEM.
    #[arg(long, value_name = "FILE")]
    registry_ca_file: Option<PathBuf>,
}

impl RegistryAccess {
    fn of(self, address: Address) -> RegistryOptions {
        RegistryOptions { address, credentials: self.registry_credentials, ca_file: self.registry_ca_file }
    }
}

/// How lines are logged on stderr.
#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// `key=value`
    Text,
    /// An object a line
    Json,
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
    /// The form: 1 is one image for each platform, with contract.yaml in its layer; 3 is an index with
    /// annotations.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = read_form)]
    generation: u8,
    /// The layout, made if it does not exist; or a registry, `https://host[:port][/path]`.
    #[arg(long, value_name = "DIR|URL")]
    to: String,
    #[command(flatten)]
    registry: RegistryAccess,
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
    // What the library warns of are other registries' habits.
    let level = std::env::var("LOG_LEVEL").unwrap_or_else(|_| "info,oci_client=error".to_owned());
    let cli = Cli::parse();
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(tracing_subscriber::EnvFilter::new(level));
    match cli.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    // The Kubernetes client and the registry's take the process's own; there is one only if it is said which.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = match cli.command {
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
    Ok((platform.parse().map_err(|error: d8_crds::values::name::NameError| error.to_string())?, path.into()))
}

fn read_form(text: &str) -> Result<u8, String> {
    match text {
        "1" => Ok(1),
        // What the proxies of both serve is one form.
        "2" | "3" => Ok(3),
        _ => Err("it is 1 or 3".to_owned()),
    }
}

/// `512MiB`, `10GiB`, or a number of bytes.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("", 0)];
    let unit = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    let bytes = unit.and_then(|(number, shift)| number.parse::<u64>().ok()?.checked_mul(1 << shift));
    bytes.ok_or_else(|| "it is a number of bytes, or of KiB, MiB or GiB, such as 10GiB".to_owned())
}

fn run_pack(pack: Pack) -> Result<(), Failure> {
    let created = match pack.created {
        Some(created) => created,
        None => source_date_epoch()?.unwrap_or_else(Timestamp::now),
    };
    let to = if pack.to.contains("://") {
        let address = pack.to.parse().map_err(|why| Failure::usage(format!("{}: {why}", pack.to)))?;
        pack::Target::Registry(pack.registry.of(address))
    } else {
        pack::Target::Layout(pack.to.into())
    };
    let order = pack::PackRequest {
        component: pack.image,
        tag: pack.version,
        platforms: pack.platforms,
        contract: pack.contract,
        created,
        form: if pack.generation == 1 { pack::ImageFormat::PerPlatform } else { pack::ImageFormat::Index },
        to,
    };
    let packed = pack::pack(&order).map_err(|error| match error {
        pack::PackError::Layout { .. } | pack::PackError::Registry(_) => Failure::failed(error),
        _ => Failure::usage(error),
    })?;
    for warning in &packed.warnings {
        eprintln!("warning: {warning}");
    }
    for (name, digest) in &packed.names {
        print_line(&format!("{name} {digest}"))?;
    }
    Ok(())
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
    let client = client(serve.kubeconfig.as_deref()).await?;
    let source = match (serve.layout, serve.registry.registry, serve.cache) {
        (Some(layout), ..) => server::Source::Layout(layout),
        (None, Some(address), Some(cache)) => {
            let registry = serve.registry.access.of(address);
            server::Source::Registry { registry, cache, cache_bytes: serve.cache_size }
        }
        _ => return Err(Failure::usage("give either --layout, or --registry and --cache")),
    };
    let options = server::ServeOptions {
        source,
        generation: serve.generation,
        inside: serve.metrics_listen,
        listen: serve.listen,
        tls_cert: serve.tls_cert,
        tls_key: serve.tls_key,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let server = server::Server::bind(&options, client).map_err(Failure::failed)?;
    print_line(&server.address().to_string())?;
    if let Some(inside) = server.inside() {
        print_line(&inside.to_string())?;
    }
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
