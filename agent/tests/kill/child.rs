//! The child process: runs one command on a store.

use std::{ffi::OsString, path::Path, process::ExitCode, time::Duration};

use d8_agent::{Retention, SilentReporter, Store, StoreChange, StoreError, smoke::Sandbox};

use crate::support::{MemorySource, layer, name, now, request, tag};

/// Runs one command, given as words separated by blanks: `child <root> <command>`.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let root = arguments.next().unwrap();
    let command = arguments.next().and_then(|command| command.into_string().ok()).unwrap();
    match crate::block_on(run(Path::new(&root), &command)) {
        Ok(output) => {
            println!("{output}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}: {error}", error.kind().as_str());
            ExitCode::FAILURE
        }
    }
}

/// Runs a command.
pub async fn run(root: &Path, command: &str) -> Result<String, StoreError> {
    let words: Vec<&str> = command.split(' ').collect();
    // The default sandbox: a test that drops privileges runs a copy of this program.
    let store = Store::at(root)?.with_sandbox(Sandbox::default());
    let timeout = Duration::from_secs(30);
    match words.as_slice() {
        // `install a=v1.0.0 b=v1.0.0` installs several plugins in one change.
        [verb @ ("install" | "force"), plugins @ ..] => {
            let plugins: Vec<(&str, &str)> = plugins.iter().filter_map(|plugin| plugin.split_once('=')).collect();
            let names: Vec<_> = plugins.iter().map(|(plugin, _)| name(plugin)).collect();
            let mut locked = store.lock(&names, timeout, &SilentReporter).await?;
            let mut changes = Vec::new();
            for (plugin, version) in plugins {
                let entry = store.get(&name(plugin))?;
                let stored = entry.as_ref().and_then(|entry| entry.version(&tag(version)));
                changes.push(if stored.is_some() && *verb != "force" {
                    StoreChange::Relink { name: name(plugin), tag: tag(version) }
                } else {
                    let mut request = request(plugin, version);
                    request.force = *verb == "force";
                    StoreChange::Install(locked.stage(request, &MemorySource::default(), &SilentReporter).await?)
                });
            }
            let activations = locked.switch(changes, now(), &SilentReporter).await?;
            Ok(format!("{} changed", activations.iter().filter(|activation| activation.changed).count()))
        }
        ["rollback", plugin] => {
            let mut locked = store.lock(&[name(plugin)], timeout, &SilentReporter).await?;
            Ok(locked.rollback(&name(plugin), now(), &SilentReporter).await?.tag.to_string())
        }
        ["remove", plugin] => {
            let mut locked = store.lock(&[name(plugin)], timeout, &SilentReporter).await?;
            Ok(locked.remove(&name(plugin))?.to_string())
        }
        ["prune", plugin] => {
            let mut locked = store.lock(&[name(plugin)], timeout, &SilentReporter).await?;
            let removed = locked.prune(&name(plugin), &Retention { pinned: Vec::new(), others: 0 })?;
            Ok(removed.len().to_string())
        }
        // Takes the locks, repairs the plugins, and releases the locks.
        ["repair", plugins @ ..] => {
            let names: Vec<_> = plugins.iter().map(|plugin| name(plugin)).collect();
            store.lock(&names, timeout, &SilentReporter).await?;
            Ok(String::new())
        }
        // Prints that it holds the locks, and holds them until its standard input ends.
        ["hold", plugins @ ..] => {
            let names: Vec<_> = plugins.iter().map(|plugin| name(plugin)).collect();
            let _locked = store.lock(&names, timeout, &SilentReporter).await?;
            println!("held");
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
            Ok(String::new())
        }
        // Installs a plugin whose smoke test sleeps.
        ["sleeper", seconds] => {
            let script = format!("#!/bin/sh\nexec sleep {seconds}\n");
            let layer = layer(&[("plugin", script.as_bytes())]);
            let locked = store.lock(&[name("s")], timeout, &SilentReporter).await?;
            locked
                .stage(request("s", "v1.0.0"), &MemorySource::default().with("s", "v1.0.0", layer), &SilentReporter)
                .await?;
            Ok(String::new())
        }
        // Installs a plugin whose smoke test kills all processes that it may kill.
        ["killer", plugin] => {
            let (plugin, version) = plugin.split_once('=').unwrap();
            let layer = layer(&[("plugin", b"#!/bin/sh\nkill -9 -1\nexit 3\n")]);
            let source = MemorySource::default().with(plugin, version, layer);
            let locked = store.lock(&[name(plugin)], timeout, &SilentReporter).await?;
            locked.stage(request(plugin, version), &source, &SilentReporter).await?;
            Ok(String::new())
        }
        // Increments a counter in a file that only the lock protects.
        ["count", plugin, times] => {
            let counter = root.join("counter");
            for _ in 0..times.parse::<u32>().unwrap() {
                let _locked = store.lock(&[name(plugin)], timeout, &SilentReporter).await?;
                let count: u32 = std::fs::read_to_string(&counter).map_or(0, |count| count.parse().unwrap());
                std::fs::write(&counter, (count + 1).to_string()).unwrap();
            }
            Ok(String::new())
        }
        _ => panic!("no such command: {command}"),
    }
}
