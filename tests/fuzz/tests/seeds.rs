//! Runs every target with its seeds and with simple mutations of them.

use std::{collections::BTreeSet, fs, path::Path};

use d8_fuzz::TARGETS;

/// Number of positions at which a seed is cut, changed and repeated.
const POSITIONS: usize = 8;

#[test]
fn every_target_runs_its_seeds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let directories: BTreeSet<_> = fs::read_dir(&seeds)
        .expect("the directory of seeds")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .collect();
    let names: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(directories, names, "a directory for every target");
    for target in TARGETS {
        (target.run)(b"");
        for entry in fs::read_dir(seeds.join(target.name)).expect("the target's directory") {
            let path = entry.expect("an entry").path();
            eprintln!("{}", path.display());
            let seed = fs::read(&path).expect("a seed");
            (target.run)(&seed);
            for position in (0..seed.len()).step_by(seed.len().div_ceil(POSITIONS).max(1)) {
                (target.run)(&seed[..position]);
                for byte in [0, b'"', 0xff] {
                    let mut changed = seed.clone();
                    changed[position] = byte;
                    (target.run)(&changed);
                }
                (target.run)(&[&seed[..position], &seed[position / 2..]].concat());
            }
        }
    }
}
