//! `d8-simulation`: simulates a week of a fleet, prints the table and draws the waves.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::{Parser, ValueEnum};
use d8_simulation::{Reaction, Scenario, Settings, run};

/// A week of a fleet on a virtual clock
#[derive(Parser)]
struct Args {
    /// Number of hosts
    #[arg(long, default_value_t = 10_000)]
    hosts: usize,
    /// Seed of everything that is random; without it, another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// Duration of the rollout
    #[arg(long, default_value = "48h")]
    over: String,
    /// How hosts react to a change of a policy
    #[arg(long, value_enum, default_value = "spread")]
    reaction: ReactionArg,
    /// Where to write the image
    #[arg(long, default_value = "target/waves.svg")]
    svg: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum ReactionArg {
    /// All hosts at once
    AtOnce,
    /// Spread over time
    Spread,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let reaction = match args.reaction {
        ReactionArg::AtOnce => Reaction::AtOnce,
        ReactionArg::Spread => Reaction::Spread,
    };
    let seed = args.seed.unwrap_or_else(rand::random);
    eprintln!("seed {seed}");
    let settings = Settings { hosts: args.hosts, seed, over: args.over, reaction, verify_one_of: 500 };
    let started = Instant::now();
    let report = run(&Scenario::week(), &settings);
    println!("{report}\nsimulated in {:.1} s", started.elapsed().as_secs_f32());
    if let Err(error) = std::fs::write(&args.svg, report.svg()) {
        eprintln!("error: failed to write {}: {error}", args.svg.display());
        return ExitCode::FAILURE;
    }
    println!("{}", args.svg.display());
    ExitCode::SUCCESS
}
