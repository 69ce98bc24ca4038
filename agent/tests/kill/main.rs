//! Kills real processes during real changes, and lets real processes compete.
//!
//! This program is the tests, the child that changes a store (first argument `child` or `child-d8`), the sandbox of the
//! smoke test, and the caller that a hostile executable attacks (`probe`).
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod child;
mod contend;
mod d8;
mod faults;
mod hostile;
mod mounts;
mod no_link;
mod planted;
mod points;
mod random;
mod sandbox;
#[path = "../support/mod.rs"]
mod support;

use support::scratch;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

/// Name and body of a test.
type TestCase = (&'static str, fn());

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    match arguments.first().map(String::as_str) {
        Some(d8_agent::smoke::CHILD_ARG) => {
            return ExitCode::from(u8::try_from(d8_agent::smoke::child_main()).unwrap_or(1));
        }
        Some("child") => return child::main(std::env::args_os().skip(2)),
        Some("probe") => return hostile::main(&arguments[1..]),
        Some("child-d8") => return d8::main(&arguments[1..]),
        _ => {}
    }
    let cases: Vec<TestCase> = [
        points::CASES,
        random::CASES,
        contend::CASES,
        faults::CASES,
        mounts::CASES,
        no_link::CASES,
        planted::CASES,
        sandbox::CASES,
        hostile::CASES,
        d8::CASES,
    ]
    .concat();
    run(&arguments, &cases)
}

/// Runs the tests as `cargo test` expects: with filters, `--exact`, `--skip` and `--list`. Ignores other flags.
fn run(arguments: &[String], cases: &[TestCase]) -> ExitCode {
    let skipped: Vec<&String> = arguments.windows(2).filter(|pair| pair[0] == "--skip").map(|pair| &pair[1]).collect();
    let filters: Vec<&String> =
        arguments.iter().filter(|argument| !argument.starts_with('-') && !skipped.contains(argument)).collect();
    let exact = arguments.iter().any(|argument| argument == "--exact");
    let matches = |name: &str, filter: &String| if exact { name == filter } else { name.contains(filter.as_str()) };
    let mut failed = Vec::new();
    let mut ran = 0;
    for (name, body) in cases {
        if !filters.is_empty() && !filters.iter().any(|filter| matches(name, filter))
            || skipped.iter().any(|skip| matches(name, skip))
        {
            continue;
        }
        if arguments.iter().any(|argument| argument == "--list") {
            println!("{name}: test");
            continue;
        }
        let begun = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(body)).is_ok();
        println!("test {name} ... {} ({:.1} s)", if passed { "ok" } else { "FAILED" }, begun.elapsed().as_secs_f32());
        ran += 1;
        if !passed {
            failed.push(*name);
        }
    }
    println!("\nkill: {ran} ran, {} failed {failed:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns the path of this program, to start it as a child or as a sandbox.
fn own() -> std::path::PathBuf {
    std::env::current_exe().expect("current_exe")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Replaces a directory by a copy, as `cp -a` does: links between files are kept.
fn copy_tree(from: &std::path::Path, to: &std::path::Path) -> io::Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other("cp failed")) }
}
