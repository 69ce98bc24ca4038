//! The proxy's server and packer.
fn main() {}
