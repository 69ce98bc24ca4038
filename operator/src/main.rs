//! The process of the operator. Everything is in the library, so that a simulation decides with the same code.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    d8_operator::main().await
}
