//! Files that another user planted, and pipes in place of files.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{OpenOptionsExt as _, chown, symlink};

use d8_tests::catalog::Plugin;
use d8_tests::process::wait_for;
use d8_tests::{Lab, Result, Workstation, lab, tools};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::json;

const OTHER_USER: u32 = 61_235;

/// Root runs d8 with the home of another user, as `sudo` without `-H` does. Only root may be such a user.
#[test]
fn root_neither_reads_nor_writes_in_the_home_of_another_user() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let lab = Lab::shared();
    lab.publish(&Plugin::new("planted", "v1.0.0"))?;
    lab.apply_policy(
        "planted",
        &json!({"hostSelector": {}, "rules": [{"plugins": ["planted-denied"], "access": "Deny"}]}),
    )?;
    let root = lab.new_workstation()?;
    let outside = root.home().join("outside");
    fs::create_dir(&outside).expect("a directory");
    let state = root.home().join(".deckhouse-cli");
    fs::create_dir(&state).expect("a directory");
    symlink(&outside, state.join("policy")).expect("a link");
    for path in [root.home(), &state] {
        chown(path, Some(OTHER_USER), Some(OTHER_USER)).expect("an owner");
    }
    chown(root.root(), Some(0), Some(0)).expect("an owner");
    let shared = lab.plane().scratch().directory("planted-root")?;
    let why = |line: &[&str]| root.clone().with_env("DECKHOUSE_CLI_PATH", &shared).d8(line);

    let cached = why(&["plugins", "why", "planted"])?.expect_code(0)?;
    assert!(!cached.stderr.contains("not enforced"), "{cached:?}");
    assert_eq!(fs::read_dir(&outside).expect("a directory").count(), 0, "root followed the link");
    let kept: Vec<_> = fs::read_dir(shared.join("policy")).expect("policies in the shared root").flatten().collect();
    assert!(kept.iter().any(|entry| entry.path().extension().is_some_and(|end| end == "json")), "{kept:?}");

    // A pipe that nobody writes to, with the name of a cache.
    fs::remove_file(state.join("policy")).expect("a link");
    fs::create_dir(state.join("policy")).expect("a directory");
    let name = kept.iter().find(|entry| entry.path().is_file()).expect("a file").file_name();
    mkfifo(&state.join("policy").join(name), Mode::S_IRUSR).expect("a pipe");
    chown(state.join("policy"), Some(OTHER_USER), Some(OTHER_USER)).expect("an owner");
    why(&["plugins", "why", "planted"])?.expect_code(0)?;
    Ok(())
}

/// The policies that the home directory cannot keep are kept in the plugin root; if neither can, d8 says so.
#[test]
fn policies_that_cannot_be_cached_are_a_warning() -> Result<()> {
    let lab = Lab::shared();
    lab.publish(&Plugin::new("uncached", "v1.0.0"))?;
    lab.apply_policy("uncached", &json!({"hostSelector": {}, "rules": [{"plugins": ["uncached"], "access": "Deny"}]}))?;
    let alice = lab.new_workstation()?;
    fs::write(alice.home().join(".deckhouse-cli"), "a file in place of the root").expect("a file");
    alice.d8(["plugins", "why", "uncached"])?.expect_code(0)?;
    assert!(alice.root().join("policy").is_dir(), "{:?}", alice.files());

    let nowhere = alice.home().join(".deckhouse-cli/below");
    let warned = alice.clone().with_env("DECKHOUSE_CLI_PATH", nowhere).d8(["policy", "get"])?.expect_code(0)?;
    for words in ["warning: the policies of https://", "are not enforced without the cluster", ".deckhouse-cli"] {
        assert!(warned.stderr.contains(words), "{words}: {warned:?}");
    }
    Ok(())
}

/// A pipe is a file for `kubectl -f <(…)`, so d8 waits for it, but not longer than the user wants.
#[test]
fn a_signal_ends_the_wait_for_a_pipe() -> Result<()> {
    let lab = Lab::shared();
    let alice = lab.new_workstation()?;
    let pipe = alice.home().join("pipe");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).expect("a pipe");
    let pipe = pipe.display().to_string();
    for line in [
        &["policy", "diff", "-f", &pipe][..],
        &["policy", "check", "-f", &pipe],
        &["policy", "get", "--kubeconfig", &pipe],
    ] {
        end_while_reading(lab, &alice, &pipe, line)?;
    }
    Ok(())
}

/// Runs d8, and ends it by SIGTERM while it reads the pipe.
fn end_while_reading(lab: &Lab, user: &Workstation, pipe: &str, args: &[&str]) -> Result<()> {
    let name = format!("reads-a-pipe-{}", args.join("-").replace('/', "-"));
    let mut d8 = lab.plane().scratch().start(&name, tools::binary("d8")?, args, |command| user.environment(command))?;
    // Opening succeeds once d8 reads. The pipe stays open, so d8 goes on reading.
    let writer = d8.wait_for("a reader of the pipe", lab::TIMEOUT, || {
        OpenOptions::new().write(true).custom_flags(nix::libc::O_NONBLOCK).open(pipe).ok()
    })?;
    let pid = wait_for("its process id", lab::TIMEOUT, || d8.pid())?;
    kill(Pid::from_raw(pid), Signal::SIGTERM)
        .map_err(|error| d8_tests::Error::Unexpected { what: "the signal".to_owned(), found: error.to_string() })?;
    wait_for("the end of d8", lab::TIMEOUT, || d8.ended()).map(drop)?;
    assert!(!d8.log().contains("panicked"), "{}", d8.log());
    drop(writer);
    Ok(())
}
