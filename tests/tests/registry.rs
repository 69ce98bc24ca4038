//! `d8-rpp` with a real container registry: `pack` into the registry, `serve` from it with the routes of all
//! generations, and `d8` as the client.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use d8_crds::values::digest::Digest;
use d8_crds::values::platform::Platform;
use d8_tests::catalog::script;
use d8_tests::pack::Pack;
use d8_tests::page::{self, Substitutions};
use d8_tests::process::Server;
use d8_tests::proxy::serve;
use d8_tests::{ADMIN, CommandOutput, ControlPlane, Result, Workstation, cluster, command::run_merged, tools};
use serde_json::{Value, json};

/// A cluster, and a container registry that needs credentials.
struct RegistryCluster {
    registry: Server,
    /// `127.0.0.1:<port>`
    address: String,
    credentials: PathBuf,
    plane: ControlPlane,
}

impl RegistryCluster {
    fn shared() -> &'static Self {
        static SHARED: OnceLock<RegistryCluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start().unwrap_or_else(|error| panic!("{error}")))
    }

    fn start() -> Result<Self> {
        let plane = ControlPlane::start()?;
        cluster::set_up(&plane)?;
        let flags = ["-user", "puller", "-password", "s3cret"];
        let mut registry = plane.scratch().start("registry", tools::registry()?, flags, |_| {})?;
        let address = registry.first_line(Duration::from_secs(10))?;
        let shared = Self { registry, credentials: PathBuf::new(), address, plane };
        let credentials = shared.credentials("right", "s3cret")?;
        Ok(Self { credentials, ..shared })
    }

    /// Writes a docker configuration with this password.
    fn credentials(&self, name: &str, password: &str) -> Result<PathBuf> {
        let config = json!({"auths": {&self.address: {"username": "puller", "password": password}}});
        self.plane.scratch().write(&format!("{name}.json"), config.to_string())
    }

    /// Packs a script that prints its version into the registry.
    fn pack(
        &self,
        image: &str,
        version: &str,
        contract: Option<Value>,
        flags: &[(&str, &str)],
    ) -> Result<CommandOutput> {
        let name = image.rsplit('/').next().unwrap_or(image);
        let file = format!("{name}-{version}");
        let executable = self.plane.scratch().write(&file, script(name, version))?;
        let mut pack = Pack::new(image, version);
        for platform in [Platform::current().as_str(), "darwin-arm64"] {
            pack = pack.platform(platform, &executable);
        }
        if let Some(contract) = contract {
            pack = pack.contract(&self.plane.scratch().write(&format!("{file}.yaml"), contract.to_string())?);
        }
        let credentials = self.credentials.display().to_string();
        let default = ("--registry-credentials", credentials.as_str());
        let given = flags.iter().any(|(name, _)| *name == default.0);
        for (name, value) in flags.iter().chain(Some(&default).filter(|_| !given)) {
            pack = pack.flag(name, value);
        }
        pack.to(format!("http://{}/d8/ee", self.address))
    }

    /// `d8-rpp serve` over the registry.
    fn serve(&self, name: &str, credentials: &PathBuf, more: &[&str]) -> Result<(Server, String)> {
        let cache = self.plane.scratch().directory(&format!("{name}-cache"))?;
        let mut flags: Vec<OsString> = vec!["--registry".into(), format!("http://{}/d8/ee", self.address).into()];
        flags.extend(["--registry-credentials".into(), credentials.into(), "--cache".into(), cache.into()]);
        flags.extend(more.iter().map(Into::into));
        serve(&self.plane, name, flags)
    }

    /// Creates a workstation for a new user who may download, with the endpoint of this proxy.
    fn workstation(&self, proxy: &str) -> Result<Workstation> {
        let who = self.plane.new_user();
        cluster::allow_download(&self.plane, &who.user)?;
        let station = Workstation::new(&self.plane, who)?;
        let station = station.with_env("D8_RPP_ENDPOINT", format!("https://{proxy}"));
        Ok(station.with_env("D8_RPP_CA_FILE", self.plane.ca_file()))
    }

    /// Returns the number of blobs of an image that the registry has sent.
    fn pulled(&self, image: &str) -> u32 {
        let request = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.address)?;
            write!(stream, "GET /count/d8/ee/{image} HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = request().unwrap_or_else(|error| panic!("{error}"));
        answer.lines().last().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
    }
}

const UNMET: &str = "requires Kubernetes >=99";

#[test]
fn d8_works_with_all_three_generations() -> Result<()> {
    let shared = RegistryCluster::shared();
    let fits = |name: &str| Some(json!({"name": name, "description": "prints its version"}));
    let unfit = |name: &str| Some(json!({"name": name, "requirements": {"kubernetes": {"constraint": ">=99"}}}));
    let (new, old) = ("deckhouse-cli/plugins/new", "deckhouse-cli/plugins/old");
    for (image, name, flags) in [(new, "new", &[][..]), (old, "old", &[("--generation", "1")])] {
        shared.pack(image, "v1.0.0", fits(name), flags)?.expect_code(0)?;
        let packed = shared.pack(image, "v1.1.0", unfit(name), flags)?.ok()?;
        assert_eq!(packed.lines().count(), if name == "new" { 1 } else { 2 }, "{packed}");
    }
    for generation in ["3", "2", "1"] {
        let (_server, proxy) =
            shared.serve(&format!("proxy-{generation}"), &shared.credentials, &["--generation", generation])?;
        let station = shared.workstation(&proxy)?;
        for name in ["new", "old"] {
            let what = format!("{name} of generation {generation}");
            let installed = station.d8(["plugins", "install", name])?.expect_code(0)?;
            assert!(installed.stdout.contains(&format!("Installed {name} v1.0.0")), "{what}: {installed:?}");
            assert!(installed.stderr.contains(UNMET), "{what}: {installed:?}");
            assert_eq!(station.d8([name])?.ok()?, format!("This is {name} v1.0.0.\n"), "{what}");
            let listed: Value =
                serde_json::from_str(&station.d8(["plugins", "list", "-o", "json"])?.ok()?).expect("JSON");
            let row = listed.as_array().and_then(|rows| rows.iter().find(|row| row["name"] == name)).cloned();
            let verified = row.unwrap_or_default()["verified"].clone();
            assert_eq!(verified, if generation == "3" { "digest" } else { "transport" }, "{what}: {listed}");
        }
        let before = station.files();
        let refused = station.d8(["plugins", "install", "new", "--version", "v1.1.0"])?.expect_code(4)?;
        assert!(refused.stderr.contains(UNMET), "{refused:?}");
        assert_eq!(station.files(), before);
    }
    Ok(())
}

#[test]
fn the_cache_shares_downloads_and_is_bounded() -> Result<()> {
    let shared = RegistryCluster::shared();
    let image = "deckhouse-cli/plugins/shared";
    for version in ["v1.0.0", "v2.0.0"] {
        shared.pack(image, version, None, &[])?.expect_code(0)?;
    }
    let (_server, proxy) = shared.serve("proxy-cache", &shared.credentials, &["--cache-size", "1"])?;
    let before = shared.pulled(image);
    let stations: Vec<Workstation> = (0..6).map(|_| shared.workstation(&proxy)).collect::<Result<_>>()?;
    let install = |station: &Workstation, version: &str| {
        station.d8(["plugins", "install", "shared", "--version", version])?.expect_code(0)
    };
    install(&stations[0], "v1.0.0")?;
    assert_eq!(shared.pulled(image) - before, 1);
    install(&stations[1], "v1.0.0")?;
    assert_eq!(shared.pulled(image) - before, 2, "a layer that is larger than the cache is not cached");

    let (_server, proxy) = shared.serve("proxy-room", &shared.credentials, &[])?;
    let stations: Vec<Workstation> = (0..6).map(|_| shared.workstation(&proxy)).collect::<Result<_>>()?;
    let before = shared.pulled(image);
    std::thread::scope(|scope| {
        let running: Vec<_> = stations.iter().map(|station| scope.spawn(|| install(station, "v2.0.0"))).collect();
        running.into_iter().map(|one| one.join().expect("no panic").map(drop)).collect::<Result<Vec<()>>>()
    })?;
    assert_eq!(shared.pulled(image) - before, 1);
    Ok(())
}

/// The clients of the registry follow the same rules as all others: loopback is reached directly, and `ALL_PROXY` does
/// not count.
#[test]
fn a_registry_on_this_machine_needs_no_proxy_and_a_moved_tag_is_reported() -> Result<()> {
    let shared = RegistryCluster::shared();
    let pack = |content: &str| {
        let executable = shared.plane.scratch().write("moving", content)?;
        let platform = format!("linux-amd64={}", executable.display());
        let (to, credentials) = (format!("http://{}/d8/ee", shared.address), shared.credentials.display().to_string());
        let args = ["pack", "--image", "deckhouse-cli/plugins/moving", "--version", "v1.0.0", "--platform", &platform];
        let more = ["--to", &to, "--registry-credentials", &credentials, "--created", "2026-01-02T03:04:05Z"];
        d8_tests::run(d8_tests::tools::binary("d8-rpp")?, args.iter().chain(&more).copied(), |command| {
            for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
                command.env(name, "http://127.0.0.1:1");
            }
        })?
        .expect_code(0)
    };
    let first = pack("one")?;
    assert_eq!(pack("one")?.stderr, first.stderr, "the same image");
    let moved = pack("two")?;
    let digest = |packed: &CommandOutput| packed.stdout.split_whitespace().last().unwrap_or_default().to_owned();
    let warning = format!("moving:v1.0.0 moved from {} to {}", digest(&first), digest(&moved));
    assert!(moved.stderr.contains(&warning), "{moved:?}");
    assert!(!first.stderr.contains("moved"), "{first:?}");
    Ok(())
}

#[test]
fn registry_failures_are_reported_as_such() -> Result<()> {
    let shared = RegistryCluster::shared();
    shared.pack("deckhouse-cli/plugins/guarded", "v1.0.0", None, &[])?.expect_code(0)?;
    let credentials = shared.credentials("changing", "wrong")?;
    let (server, proxy) = shared.serve("proxy-guarded", &credentials, &[])?;
    let station = shared.workstation(&proxy)?;
    let refused = station.d8(["plugins", "install", "guarded"])?.expect_code(5)?;
    assert!(refused.stderr.contains("answered 502: the registry failed"), "{refused:?}");
    // The log of the proxy has the reason, and never the password.
    assert!(server.log().contains("401 Unauthorized"), "{}", server.log());

    std::fs::remove_file(&credentials).expect("the file is there");
    let refused = station.d8(["plugins", "install", "guarded"])?.expect_code(5)?;
    assert!(
        refused.stderr.contains("answered 500: the proxy's configuration for the registry is not usable"),
        "{refused:?}"
    );

    shared.credentials("changing", "s3cret")?;
    station.d8(["plugins", "install", "guarded"])?.expect_code(0)?;
    let unknown = station.d8(["plugins", "install", "unknown"])?.expect_code(1)?;
    assert!(unknown.stderr.contains("plugin unknown is not published"), "{unknown:?}");
    for secret in ["s3cret", "wrong", &station.identity().token] {
        assert!(!server.log().contains(secret), "{}", server.log());
    }
    let credentials = &[("--registry-credentials", "/dev/null")];
    let refused = shared.pack("deckhouse-cli/plugins/guarded", "v2.0.0", None, credentials)?.expect_code(2)?;
    assert!(refused.stderr.contains("/dev/null"), "{refused:?}");
    let _ = &shared.registry;
    Ok(())
}

/// Every command of `docs/proxy.md` prints what the page shows, in the order of the page.
#[test]
fn every_example_of_the_page_runs() -> Result<()> {
    let shared = RegistryCluster::shared();
    let (plane, scratch) = (&shared.plane, shared.plane.scratch());
    let directory = scratch.directory("page")?;
    let write = |name: &str, content: &str| scratch.write(&format!("page/{name}"), content);
    write("hello", &script("hello", "v1.0.0"))?;
    write("contract.yaml", "name: hello\ndescription: says hello\n")?;
    write("docker.json", &read(&shared.credentials))?;
    write("ca.crt", plane.ca_pem())?;
    let serving = plane.serving_certificate("page")?;
    write("tls.crt", &read(&serving.certificate))?;
    write("tls.key", &read(&serving.key))?;
    let account = plane.service_account("d8-cloud-instance-manager", "registry-packages-proxy")?;
    write("kubeconfig", &read(&plane.kubeconfig_for(&account)?))?;

    let workstation = |user| Workstation::new(plane, user);
    let (alice, bob) = (workstation(plane.new_user())?, workstation(plane.new_user())?);
    let admin = workstation(plane.user(ADMIN))?;
    let built = tools::binary("d8")?.parent().map(Path::to_owned).unwrap_or_default();
    let directories = [built.as_path(), tools::Tools::get()?.directory(), Path::new("/usr/bin"), Path::new("/bin")];
    let path = std::env::join_paths(directories).unwrap_or_default();
    let mut names = Substitutions::default();
    names.add(format!("http://{}", shared.address), "https://registry.example.com");
    names.add(plane.url(), "https://127.0.0.1:6443");
    names.add(bob.identity().user.clone(), "$BOB");
    plane.kubectl(["create", "namespace", "d8-operator"])?;
    plane.kubectl(["create", "configmap", "d8-proxy-pin", "--namespace=d8-operator"])?;
    let key = Digest::of(b"the key of another authority").to_string();
    let mut servers = Vec::new();
    let examples = page::examples(include_str!("../../docs/proxy.md"));
    for example in &examples {
        let line = names.to_machine(example.line);
        if example.user == "proxy" {
            let line = format!("cd '{}' && exec {}", directory.display(), line.replace(":4219", ":0"));
            let path = path.clone();
            let mut server = scratch.start("page", "bash", ["-c", &line], |command| {
                command.env("PATH", path);
            })?;
            names.add(server.first_line(Duration::from_mins(1))?, example.output);
            servers.push(server);
            continue;
        }
        let user = match example.user {
            "admin" => &admin,
            "bob" => &bob,
            _ => &alice,
        };
        let output = run_merged("bash", ["-c", &line], |command: &mut Command| {
            user.environment(command);
            command.env("PATH", &path).env("ALICE", &alice.identity().user).env("KEY", &key).current_dir(&directory);
        })?;
        assert_eq!(without_digests(names.to_page(&output.stdout).trim()), example.output, "{}", example.line);
    }
    assert!(examples.len() > 9, "{}", examples.len());
    Ok(())
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Replaces each digest by `sha256:…`.
fn without_digests(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "sha256:…" + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
}
