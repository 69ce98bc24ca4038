//! `d8-rpp`: serves the images of d8 and its plugins to authorized identities, and packs them.

use std::{
    ffi::{OsStr, OsString},
    io::{ErrorKind, Write as _},
    net::SocketAddr,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    process::ExitCode,
};

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser},
};
use d8_crds::values::{
    name::{Component, Tag},
    platform::Platform,
};
use d8_rpp::{
    KubeconfigSource,
    connections::ConnectionLimits,
    pack,
    protocol::image,
    registry::{Address, RegistryOptions},
    server,
};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The registry-packages-proxy: serves the images of d8 and its plugins, and packs them
#[derive(Parser)]
#[command(name = "d8-rpp", version)]
struct Cli {
    /// Format of the log on stderr
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves an OCI image layout or a registry over TLS to identities that the cluster authorizes
    Serve(Serve),
    /// Writes an image to an OCI image layout or a registry, replacing the image that had its tag
    Pack(Pack),
    /// Removes a tag from an OCI image layout
    Unpublish(Unpublish),
}

#[derive(Args)]
struct Serve {
    /// Directory of an OCI image layout; it is read again when it changes
    #[arg(long, value_name = "DIR", required_unless_present = "registry", conflicts_with = "registry")]
    layout: Option<PathBuf>,
    #[command(flatten)]
    registry: Registry,
    /// Directory for cached layers of a registry
    #[arg(long, value_name = "DIR", requires = "registry", required_unless_present = "layout")]
    cache: Option<PathBuf>,
    /// Size of the cache
    #[arg(long, value_name = "BYTES", default_value = "10GiB", value_parser = parse_size)]
    cache_size: u64,
    /// The newest generation of the protocol to serve, 1 to 3
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    generation: u8,
    /// Address for /metrics, /healthz and /readyz without TLS; port 0 selects a free port, printed as the second
    /// line on stdout
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// Address to listen on; port 0 selects a free port. Printed as the first line on stdout
    #[arg(long, default_value = "0.0.0.0:4219")]
    listen: SocketAddr,
    /// PEM file with the certificate chain
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// PEM file with the private key
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
    /// Connections at a time
    #[arg(long, value_name = "N", default_value_t = ConnectionLimits::default().connections, value_parser = parse_count)]
    max_connections: usize,
    /// Connections at a time of one client address; behind an Ingress all clients have its address
    #[arg(long, value_name = "N", default_value_t = ConnectionLimits::default().per_address, value_parser = parse_count)]
    max_connections_per_address: usize,
    /// Kubeconfig of the cluster that authorizes downloads [default: KUBECONFIG, ~/.kube/config, then the Pod's own]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// How to reach a registry.
#[derive(Args)]
struct Registry {
    /// Registry with the images, `https://host[:port][/path]`; `http://` is for tests
    #[arg(long, value_name = "URL")]
    registry: Option<Address>,
    #[command(flatten)]
    access: RegistryArgs,
}

#[derive(Args)]
struct RegistryArgs {
    /// File with credentials for the registry, in the format of docker's config.json; it is read again when it
    /// changes
    #[arg(long, value_name = "FILE")]
    registry_credentials: Option<PathBuf>,
    /// PEM file with authorities that are trusted for the registry in addition to those of the system
    #[arg(long, value_name = "FILE")]
    registry_ca_file: Option<PathBuf>,
}

impl RegistryArgs {
    fn with_address(self, address: Address) -> RegistryOptions {
        RegistryOptions { address, credentials: self.registry_credentials, ca_file: self.registry_ca_file }
    }
}

/// Format of the log.
#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// Lines with `key=value`
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Args)]
struct Pack {
    /// The image: `deckhouse-cli` or `deckhouse-cli/plugins/NAME`
    #[arg(long, value_parser = parse_image)]
    image: Component,
    /// Tag to publish
    #[arg(long)]
    version: Tag,
    /// Platform and its executable, such as `linux-amd64=./hello`; may be repeated
    #[arg(long = "platform", value_name = "OS-ARCH=FILE", required = true, value_parser = platform_parser())]
    platforms: Vec<(Platform, PathBuf)>,
    /// File with the plugin's contract, YAML or JSON
    #[arg(long, value_name = "FILE")]
    contract: Option<PathBuf>,
    /// Time of publishing, RFC 3339 [default: `SOURCE_DATE_EPOCH`, then now]
    #[arg(long, value_name = "TIME")]
    created: Option<Timestamp>,
    /// Format of the image: 1 for one image per platform with contract.yaml in its layer, 3 for an index with
    /// annotations
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = parse_format)]
    generation: u8,
    /// Layout, created if it does not exist, or registry, `https://host[:port][/path]`
    #[arg(long, value_name = "DIR|URL")]
    to: OsString,
    #[command(flatten)]
    registry: RegistryArgs,
}

#[derive(Args)]
struct Unpublish {
    /// The image: `deckhouse-cli` or `deckhouse-cli/plugins/NAME`
    #[arg(long, value_parser = parse_image)]
    image: Component,
    /// Tag to remove
    #[arg(long)]
    version: Tag,
    /// Directory of the OCI image layout
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
}

/// An error that ends the program.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self { code: 1, message: error.to_string() }
    }

    /// Prints the error and returns the exit code. If stderr is closed, there is nowhere to report that.
    fn print(&self) -> ExitCode {
        let _ = writeln!(std::io::stderr().lock(), "d8-rpp: {}", self.message);
        ExitCode::from(self.code)
    }

    fn stdout(error: &std::io::Error) -> Self {
        Self::failed(format_args!("failed to write to stdout: {error}"))
    }

    fn usage(error: impl std::fmt::Display) -> Self {
        Self { code: 2, message: error.to_string() }
    }

    /// A usage error with its causes and fixes.
    fn advised(error: &d8_rpp::Error) -> Self {
        Self::usage(error.describe())
    }
}

impl From<pack::PackError> for Failure {
    fn from(error: pack::PackError) -> Self {
        if error.is_invalid_input() { Self::usage(error) } else { Self::failed(error) }
    }
}

impl From<server::ServeError> for Failure {
    fn from(error: server::ServeError) -> Self {
        if error.is_invalid_input() { Self::usage(error) } else { Self::failed(error) }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return print_parse_result(&error),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.print(),
    }
}

/// Prints help, the version, or what is wrong with the command line. Returns the exit code.
fn print_parse_result(result: &clap::Error) -> ExitCode {
    match result.print() {
        Err(error) if !result.use_stderr() && error.kind() != ErrorKind::BrokenPipe => Failure::stdout(&error).print(),
        _ => ExitCode::from(u8::try_from(result.exit_code()).unwrap_or(1)),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    start_log(cli.log_format)?;
    // The clients of Kubernetes and of the registry use the default provider of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match cli.command {
        Command::Serve(serve) => run_serve(serve),
        Command::Pack(pack) => run_pack(pack),
        Command::Unpublish(unpublish) => run_unpublish(&unpublish),
    }
}

/// Writes the log to stderr from now on, filtered by `LOG_LEVEL`.
fn start_log(format: LogFormat) -> Result<(), Failure> {
    // The library warns about deviations of registries from the spec.
    let level = std::env::var("LOG_LEVEL").unwrap_or_else(|_| "info,oci_client=error".to_owned());
    let filter = EnvFilter::try_new(&level).map_err(|error| Failure::usage(format!("LOG_LEVEL {level:?}: {error}")))?;
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .with_ansi(false)
        .with_env_filter(filter);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

fn parse_image(text: &str) -> Result<Component, String> {
    image::component(text)
        .ok_or_else(|| "it must be `deckhouse-cli`, or `deckhouse-cli/plugins/` and the name of a plugin".to_owned())
}

/// Returns the parser of a platform and the path of its executable, which need not be UTF-8.
fn platform_parser() -> impl TypedValueParser<Value = (Platform, PathBuf)> {
    OsStringValueParser::new().try_map(|value| parse_platform(&value))
}

fn parse_platform(value: &OsStr) -> Result<(Platform, PathBuf), String> {
    let bytes = value.as_bytes();
    let equals = bytes
        .iter()
        .position(|byte| *byte == b'=')
        .ok_or("it must be `OS-ARCH=FILE`, for example `linux-amd64=./hello`")?;
    let (platform, path) = (String::from_utf8_lossy(&bytes[..equals]), OsStr::from_bytes(&bytes[equals + 1..]));
    Ok((platform.parse().map_err(|error: d8_crds::values::name::NameError| error.to_string())?, path.into()))
}

fn parse_format(text: &str) -> Result<u8, String> {
    match text {
        "1" => Ok(1),
        // Proxies of both generations serve the same format.
        "2" | "3" => Ok(3),
        _ => Err("it must be 1 or 3".to_owned()),
    }
}

/// Parses a size: `512MiB`, `10GiB`, or a number of bytes.
fn parse_size(text: &str) -> Result<u64, String> {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("", 0)];
    let unit = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    let bytes = unit.and_then(|(number, shift)| number.parse::<u64>().ok()?.checked_mul(1 << shift));
    bytes.ok_or_else(|| "it must be a number of bytes, KiB, MiB or GiB, such as 10GiB".to_owned())
}

fn parse_count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "it must be a number greater than 0".to_owned())
}

fn run_pack(pack: Pack) -> Result<(), Failure> {
    let created = match pack.created {
        Some(created) => created,
        None => source_date_epoch()?.unwrap_or_else(Timestamp::now),
    };
    let to = match pack.to.to_str().filter(|to| to.contains("://")) {
        Some(url) => {
            let address = url.parse().map_err(|why| Failure::usage(format!("{url}: {why}")))?;
            pack::Target::Registry(pack.registry.with_address(address))
        }
        None => pack::Target::Layout(pack.to.into()),
    };
    let request = pack::PackRequest {
        component: pack.image,
        tag: pack.version,
        platforms: pack.platforms,
        contract: pack.contract,
        created,
        format: if pack.generation == 1 { pack::ImageFormat::PerPlatform } else { pack::ImageFormat::Index },
        to,
    };
    let packed = pack::pack(&request)?;
    for warning in &packed.warnings {
        let _ = writeln!(std::io::stderr().lock(), "warning: {warning}");
    }
    for (name, digest) in &packed.names {
        print_line(&format!("{name} {digest}"))?;
    }
    Ok(())
}

/// Reads the time of publishing of a reproducible build (reproducible-builds.org).
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
        Ok(false) => Err(Failure::failed(format!("{name} is not published in {}", unpublish.from.display()))),
        Err(error) => Err(error.into()),
    }
}

#[tokio::main]
async fn run_serve(serve: Serve) -> Result<(), Failure> {
    let client = client(serve.kubeconfig).await?;
    let source = match (serve.layout, serve.registry.registry, serve.cache) {
        (Some(layout), ..) => server::ImageSource::Layout(layout),
        (None, Some(address), Some(cache)) => {
            let registry = serve.registry.access.with_address(address);
            server::ImageSource::Registry { registry, cache, cache_bytes: serve.cache_size }
        }
        _ => return Err(Failure::usage("pass either --layout, or --registry and --cache")),
    };
    let options = server::ServeOptions {
        source,
        generation: serve.generation,
        metrics_listen: serve.metrics_listen,
        listen: serve.listen,
        tls_cert: serve.tls_cert,
        tls_key: serve.tls_key,
        limits: ConnectionLimits {
            connections: serve.max_connections,
            per_address: serve.max_connections_per_address,
            ..ConnectionLimits::default()
        },
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let server = server::Server::bind(&options, client)?;
    print_line(&server.address().to_string())?;
    if let Some(address) = server.metrics_address() {
        print_line(&address.to_string())?;
    }
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutting down; running requests may finish");
    };
    Ok(server.run(shutdown).await?)
}

async fn client(kubeconfig: Option<PathBuf>) -> Result<kube::Client, Failure> {
    let access = KubeconfigSource::of_process(kubeconfig).load().await.map_err(|error| Failure::advised(&error))?;
    // The API server decides who may download and receives the tokens of users, so its identity must be verified.
    d8_rpp::verify_api_server(&access.config).map_err(|error| {
        Failure::usage(format!("{error}; set `certificate-authority` of the cluster in the kubeconfig instead"))
    })?;
    access.client().await.map_err(|error| Failure::advised(&error))
}

/// Prints a line to stdout. A closed pipe is not a failure.
fn print_line(line: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::stdout(&error)),
        _ => Ok(()),
    }
}
