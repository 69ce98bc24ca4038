//! Hostile executables in real smoke tests: as root and as an ordinary user, with and without namespaces and Landlock.

mod attacks;
mod probe;

pub use self::{attacks::CASES, probe::main};
