//! Value parsers and arguments that several commands share.

use std::{str::FromStr, time::Duration};

use clap::Args;
use d8_crds::values::name::NameError;

use crate::terminal::output::OutputFormat;

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OutputArgs {
    /// Output format
    #[arg(short = 'o', long = "output", value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
}

/// Parses a duration such as `90s` or `1h30m`; `0` needs no unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    d8_crds::values::duration::parse(text).map_err(|error| error.to_string())
}

/// Parses the name of a plugin or component.
pub(super) fn name<T: FromStr<Err = NameError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: NameError| error.to_string())
}
