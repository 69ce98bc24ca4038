//! `d8-lab`: the lab and the demo of this project.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = d8_tests::supervisor::role(&args) {
        return code;
    }
    eprintln!("usage: d8-lab lab | demo");
    ExitCode::from(2)
}
