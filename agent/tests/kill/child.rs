//! The child: one command on a store, through the real pipeline.

use std::{path::Path, process::ExitCode, time::Duration};

use d8_agent::{Retention, SilentReporter, Store, StoreChange, StoreError, smoke::Sandbox};

use crate::support::{Memory, layer, name, now, order, tag};

/// One command, as the tests give it to a child: words joined by blanks.
pub fn main(arguments: &[String]) -> ExitCode {
    let [root, command] = arguments else { panic!("child <root> <command>") };
    match crate::block_on(run(Path::new(root), command)) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}: {error}", error.kind().as_str());
            ExitCode::FAILURE
        }
    }
}

/// What a child is told to do.
pub async fn run(root: &Path, command: &str) -> Result<String, StoreError> {
    let words: Vec<&str> = command.split(' ').collect();
    // A sandbox of its own path: in a test that drops privileges /proc/self/exe is the same file.
    let store = Store::at(root)?.with_sandbox(Sandbox::default());
    let timeout = Duration::from_secs(30);
    match words.as_slice() {
        // Several plugins in one change: `install a=v1.0.0 b=v1.0.0`.
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
                    let mut order = order(plugin, version);
                    order.force = *verb == "force";
                    StoreChange::Install(locked.stage(order, &Memory::default(), &SilentReporter).await?)
                });
            }
            let outcomes = locked.switch(changes, now(), &SilentReporter).await?;
            Ok(format!("{} changed", outcomes.iter().filter(|outcome| outcome.changed).count()))
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
            let gone = locked.prune(&name(plugin), &Retention { pinned: Vec::new(), others: 0 })?;
            Ok(gone.len().to_string())
        }
        // Takes the locks, puts in order what there is, and gives them back.
        ["repair", plugins @ ..] => {
            let names: Vec<_> = plugins.iter().map(|plugin| name(plugin)).collect();
            store.lock(&names, timeout, &SilentReporter).await?;
            Ok(String::new())
        }
        // Says that it holds the lock, and holds it until its standard input ends.
        ["hold", plugins @ ..] => {
            let names: Vec<_> = plugins.iter().map(|plugin| name(plugin)).collect();
            let _locked = store.lock(&names, timeout, &SilentReporter).await?;
            println!("held");
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
            Ok(String::new())
        }
        // Installs a plugin whose smoke test sleeps for that long.
        ["sleeper", seconds] => {
            let script = format!("#!/bin/sh\nexec sleep {seconds}\n");
            let layer = layer(&[("plugin", script.as_bytes())]);
            let locked = store.lock(&[name("s")], timeout, &SilentReporter).await?;
            locked.stage(order("s", "v1.0.0"), &Memory::default().with("s", "v1.0.0", layer), &SilentReporter).await?;
            Ok(String::new())
        }
        // Counts in a file that only the lock protects.
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
