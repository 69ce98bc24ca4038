//! What hostile bytes must not do.
//!
//! A target takes any bytes, hands them to one reader or decision of the project as the world would, and
//! panics if that panics, contradicts itself, or says what a terminal should not be shown. `make fuzz`
//! lets libFuzzer look for such bytes; the seeds in `seeds/<target>/`, and whatever it found once, run
//! with all other tests.
#![warn(missing_docs)]

mod bytes;
mod contract;
mod input;
mod plan;
mod policy;
mod store;
mod text;

/// One target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of its folder of seeds.
    pub name: &'static str,
    /// Takes any bytes.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "version", run: text::version },
    Target { name: "constraint", run: text::constraint },
    Target { name: "words", run: text::words },
    Target { name: "tags", run: text::tags },
    Target { name: "contract_json", run: contract::json },
    Target { name: "contract_yaml", run: contract::yaml },
    Target { name: "contract_annotation", run: contract::annotation },
    Target { name: "requirements", run: contract::requirements },
    Target { name: "policy", run: policy::policy },
    Target { name: "window", run: policy::window },
    Target { name: "plan", run: plan::plan },
    Target { name: "layer", run: bytes::layer },
    Target { name: "discovery", run: bytes::discovery },
    Target { name: "store", run: store::store },
];

/// The target of this name.
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().copied().find(|target| target.name == name)
}
