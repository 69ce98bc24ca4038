//! `d8-rpp` between a real registry and real clients: packed into it, served out of it, as proxies of all
//! generations do.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use d8_crds::values::platform::Platform;
use d8_tests::catalog::script;
use d8_tests::process::Server;
use d8_tests::registry::serve;
use d8_tests::{ADMIN, ControlPlane, Finished, Result, Workstation, cluster, command::run_as_seen, run, tools};
use serde_json::{Value, json};

struct World {
    registry: Server,
    /// `127.0.0.1:<port>`
    address: String,
    credentials: PathBuf,
    plane: ControlPlane,
}

impl World {
    fn shared() -> &'static Self {
        static SHARED: OnceLock<World> = OnceLock::new();
        SHARED.get_or_init(|| Self::start().unwrap_or_else(|error| panic!("{error}")))
    }

    fn start() -> Result<Self> {
        let plane = ControlPlane::start()?;
        cluster::furnish(&plane)?;
        let flags = ["-user", "puller", "-password", "s3cret"];
        let mut registry = plane.scratch().start("registry", tools::registry()?, flags, |_| {})?;
        let address = registry.first_line(Duration::from_secs(10))?;
        let world = Self { registry, credentials: PathBuf::new(), address, plane };
        let credentials = world.credentials("right", "s3cret")?;
        Ok(Self { credentials, ..world })
    }

    /// A docker config with this password.
    fn credentials(&self, name: &str, password: &str) -> Result<PathBuf> {
        let config = json!({"auths": {&self.address: {"username": "puller", "password": password}}});
        self.plane.scratch().write(&format!("{name}.json"), config.to_string())
    }

    /// `d8-rpp pack` of a script that prints who it is, into the registry.
    fn pack(&self, image: &str, version: &str, contract: Option<Value>, more: &[&str]) -> Result<Finished> {
        let name = image.rsplit('/').next().unwrap_or(image);
        let file = format!("{name}-{version}");
        let executable = self.plane.scratch().write(&file, script(name, version))?;
        let mut args: Vec<OsString> = ["pack", "--image", image, "--version", version].map(Into::into).to_vec();
        for platform in [Platform::current().as_str(), "darwin-arm64"] {
            args.extend(["--platform".into(), format!("{platform}={}", executable.display()).into()]);
        }
        if let Some(contract) = contract {
            let path = self.plane.scratch().write(&format!("{file}.yaml"), contract.to_string())?;
            args.extend(["--contract".into(), path.into()]);
        }
        args.extend(["--to".into(), format!("http://{}/d8/ee", self.address).into()]);
        args.extend(["--registry-credentials".into(), (&self.credentials).into()]);
        args.extend(more.iter().map(Into::into));
        run(tools::binary("d8-rpp")?, args, |_| {})
    }

    /// `d8-rpp serve` over the registry.
    fn serve(&self, name: &str, credentials: &PathBuf, more: &[&str]) -> Result<(Server, String)> {
        let cache = self.plane.scratch().folder(&format!("{name}-cache"))?;
        let mut flags: Vec<OsString> = vec!["--registry".into(), format!("http://{}/d8/ee", self.address).into()];
        flags.extend(["--registry-credentials".into(), credentials.into(), "--cache".into(), cache.into()]);
        flags.extend(more.iter().map(Into::into));
        serve(&self.plane, name, flags)
    }

    /// Somebody who may download, from this proxy.
    fn workstation(&self, proxy: &str) -> Result<Workstation> {
        let who = self.plane.new_user();
        cluster::allow_download(&self.plane, &who.user)?;
        let station = Workstation::new(&self.plane, who)?;
        Ok(station.with("D8_RPP_ENDPOINT", format!("https://{proxy}")).with("D8_RPP_CA_FILE", self.plane.ca_file()))
    }

    /// How many blobs of an image the registry has given away.
    fn pulled(&self, image: &str) -> u32 {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.address)?;
            write!(stream, "GET /count/d8/ee/{image} HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().unwrap_or_else(|error| panic!("{error}"));
        answer.lines().last().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
    }
}

const NEEDS: &str = "requires Kubernetes >=99";

#[test]
fn all_three_generations_end_to_end() -> Result<()> {
    let world = World::shared();
    let fits = |name: &str| Some(json!({"name": name, "description": "says who it is"}));
    let unfit = |name: &str| Some(json!({"name": name, "requirements": {"kubernetes": {"constraint": ">=99"}}}));
    let (new, old) = ("deckhouse-cli/plugins/new", "deckhouse-cli/plugins/old");
    for (image, name, more) in [(new, "new", &[][..]), (old, "old", &["--generation", "1"])] {
        world.pack(image, "v1.0.0", fits(name), more)?.expect_code(0)?;
        let packed = world.pack(image, "v1.1.0", unfit(name), more)?.ok()?;
        assert_eq!(packed.lines().count(), if name == "new" { 1 } else { 2 }, "{packed}");
    }
    for generation in ["3", "2", "1"] {
        let (_server, proxy) =
            world.serve(&format!("proxy-{generation}"), &world.credentials, &["--generation", generation])?;
        let station = world.workstation(&proxy)?;
        for name in ["new", "old"] {
            let what = format!("{name} of generation {generation}");
            let installed = station.d8(["plugins", "install", name])?.expect_code(0)?;
            assert!(installed.stdout.contains(&format!("Installed {name} v1.0.0")), "{what}: {installed:?}");
            assert!(installed.stderr.contains(NEEDS), "{what}: {installed:?}");
            assert_eq!(station.d8([name])?.ok()?, format!("This is {name} v1.0.0.\n"), "{what}");
            let listed: Value =
                serde_json::from_str(&station.d8(["plugins", "list", "-o", "json"])?.ok()?).expect("JSON");
            let row = listed.as_array().and_then(|rows| rows.iter().find(|row| row["name"] == name)).cloned();
            let verified = row.unwrap_or_default()["verified"].clone();
            assert_eq!(verified, if generation == "3" { "digest" } else { "transport" }, "{what}: {listed}");
        }
        let before = station.files();
        let refused = station.d8(["plugins", "install", "new", "--version", "v1.1.0"])?.expect_code(4)?;
        assert!(refused.stderr.contains(NEEDS), "{refused:?}");
        assert_eq!(station.files(), before);
    }
    Ok(())
}

#[test]
fn one_fetch_for_many_and_a_bound() -> Result<()> {
    let world = World::shared();
    let image = "deckhouse-cli/plugins/shared";
    for version in ["v1.0.0", "v2.0.0"] {
        world.pack(image, version, None, &[])?.expect_code(0)?;
    }
    let (_server, proxy) = world.serve("proxy-cache", &world.credentials, &["--cache-size", "1"])?;
    let before = world.pulled(image);
    let stations: Vec<Workstation> = (0..6).map(|_| world.workstation(&proxy)).collect::<Result<_>>()?;
    let install = |station: &Workstation, version: &str| {
        station.d8(["plugins", "install", "shared", "--version", version])?.expect_code(0)
    };
    install(&stations[0], "v1.0.0")?;
    assert_eq!(world.pulled(image) - before, 1);
    install(&stations[1], "v1.0.0")?;
    assert_eq!(world.pulled(image) - before, 2, "a layer larger than the cache is only passed through");

    let (_server, proxy) = world.serve("proxy-room", &world.credentials, &[])?;
    let stations: Vec<Workstation> = (0..6).map(|_| world.workstation(&proxy)).collect::<Result<_>>()?;
    let before = world.pulled(image);
    std::thread::scope(|scope| {
        let running: Vec<_> = stations.iter().map(|station| scope.spawn(|| install(station, "v2.0.0"))).collect();
        running.into_iter().map(|one| one.join().expect("no panic").map(drop)).collect::<Result<Vec<()>>>()
    })?;
    assert_eq!(world.pulled(image) - before, 1);
    Ok(())
}

#[test]
fn what_is_wrong_with_the_registry_is_told_as_that() -> Result<()> {
    let world = World::shared();
    world.pack("deckhouse-cli/plugins/guarded", "v1.0.0", None, &[])?.expect_code(0)?;
    let credentials = world.credentials("changing", "wrong")?;
    let (server, proxy) = world.serve("proxy-guarded", &credentials, &[])?;
    let station = world.workstation(&proxy)?;
    let refused = station.d8(["plugins", "install", "guarded"])?.expect_code(5)?;
    assert!(refused.stderr.contains("answered 502: the registry failed"), "{refused:?}");
    // It is told at the proxy why, and never the password.
    assert!(server.log().contains("Not authorized"), "{}", server.log());

    std::fs::remove_file(&credentials).expect("the file is there");
    let refused = station.d8(["plugins", "install", "guarded"])?.expect_code(5)?;
    assert!(refused.stderr.contains("answered 500: the proxy has no usable registry configuration"), "{refused:?}");

    world.credentials("changing", "s3cret")?;
    station.d8(["plugins", "install", "guarded"])?.expect_code(0)?;
    let unknown = station.d8(["plugins", "install", "unknown"])?.expect_code(1)?;
    assert!(unknown.stderr.contains("plugin unknown is not published"), "{unknown:?}");
    for secret in ["s3cret", "wrong", &station.who().token] {
        assert!(!server.log().contains(secret), "{}", server.log());
    }
    let denied =
        world.pack("deckhouse-cli/plugins/guarded", "v2.0.0", None, &["--registry-credentials", "/dev/null"])?;
    assert_eq!(denied.code(), 2, "{denied:?}");
    let _ = &world.registry;
    Ok(())
}

/// Every command of `docs/proxy.md` gives what the page says, in the order of the page.
#[test]
fn the_page() -> Result<()> {
    let world = World::shared();
    let (plane, scratch) = (&world.plane, world.plane.scratch());
    let folder = scratch.folder("page")?;
    let file = |name: &str, content: &str| scratch.write(&format!("page/{name}"), content);
    file("hello", &script("hello", "v1.0.0"))?;
    file("contract.yaml", "name: hello\ndescription: says hello\n")?;
    file("docker.json", &read(&world.credentials))?;
    file("ca.crt", plane.ca_pem())?;
    let serving = plane.serving_certificate("page")?;
    file("tls.crt", &read(&serving.certificate))?;
    file("tls.key", &read(&serving.key))?;
    let account = plane.service_account("d8-cloud-instance-manager", "registry-packages-proxy")?;
    file("kubeconfig", &read(&plane.kubeconfig_for(&account)?))?;

    let station = |user| Workstation::new(plane, user);
    let (alice, bob) = (station(plane.new_user())?, station(plane.new_user())?);
    let admin = station(plane.user(ADMIN))?;
    let built = tools::binary("d8")?.parent().map(Path::to_owned).unwrap_or_default();
    let folders = [built.as_path(), tools::Tools::get()?.folder(), Path::new("/usr/bin"), Path::new("/bin")];
    let path = std::env::join_paths(folders).unwrap_or_default();
    let mut places = vec![
        (format!("http://{}", world.address), "https://registry.example.com".to_owned()),
        (plane.url(), "https://127.0.0.1:6443".to_owned()),
        (bob.who().user.clone(), "$BOB".to_owned()),
    ];
    let mut servers = Vec::new();
    let mut ran = 0;
    for block in include_str!("../../docs/proxy.md").split("```console\n").skip(1) {
        for example in block.split("```").next().unwrap_or_default().split("\n\n") {
            let Some((prompt, rest)) = example.split_once("$ ") else { panic!("no command in {example:?}") };
            let (line, want) = rest.split_once('\n').unwrap_or((rest, ""));
            ran += 1;
            let real = places.iter().fold(line.to_owned(), |line, (real, shown)| line.replace(shown, real));
            if prompt == "proxy" {
                let line = format!("cd '{}' && exec {}", folder.display(), real.replace(":4219", ":0"));
                let path = path.clone();
                let mut server = scratch.start("page", "bash", ["-c", &line], |command| {
                    command.env("PATH", path);
                })?;
                places.push((server.first_line(Duration::from_mins(1))?, want.trim().to_owned()));
                servers.push(server);
                continue;
            }
            let typist = match prompt {
                "admin" => &admin,
                "bob" => &bob,
                _ => &alice,
            };
            let finished = run_as_seen("bash", ["-c", &real], |command: &mut std::process::Command| {
                typist.environment(command);
                command.env("PATH", &path).env("ALICE", &alice.who().user).current_dir(&folder);
            })?;
            let said = places.iter().fold(finished.stdout, |said, (real, shown)| said.replace(real, shown));
            assert_eq!(without_digests(said.trim()), want.trim(), "{line}");
        }
    }
    assert!(ran > 9, "{ran}");
    Ok(())
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `sha256:…` for each digest.
fn without_digests(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "sha256:…" + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
}
