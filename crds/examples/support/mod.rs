//! What both examples are made of: JSON rows on stdin, one a line, an answer each on stdout.

use std::{
    io::{self, BufRead, Write},
    process::ExitCode,
};

use d8_crds::values::text::printable;
use serde::{Serialize, de::DeserializeOwned};

/// A question that has an answer; `Err` says why it has none.
pub(crate) trait Question: DeserializeOwned {
    type Answer: Serialize;
    /// What a line is, for whoever writes another.
    const IS: &'static str;

    fn answer(self) -> Result<Self::Answer, String>;
}

/// Answers stdin.
pub(crate) fn run<Q: Question>() -> ExitCode {
    match judge::<Q>(io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", printable(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// Answers line by line. Blank lines are skipped; a line that is no question is answered by `error`, and
/// the first of them is the result once all are read.
pub(crate) fn judge<Q: Question>(mut input: impl BufRead, output: impl Write) -> io::Result<()> {
    let mut output = io::BufWriter::new(output);
    let mut line = Vec::new();
    let mut first = None;
    for number in 1_u64.. {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match read::<Q>(line.trim_ascii_end()).and_then(|question| question.answer().map_err(|why| format!(": {why}")))
        {
            Ok(answer) => serde_json::to_writer(&mut output, &answer)?,
            Err(why) => {
                let error = format!("line {number}{why}");
                serde_json::to_writer(&mut output, &Wrong { error: &error })?;
                first.get_or_insert(error);
            }
        }
        output.write_all(b"\n")?;
    }
    output.flush()?;
    first.map_or(Ok(()), |error| Err(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// The answer to what is no question.
#[derive(Serialize)]
struct Wrong<'a> {
    error: &'a str,
}

fn read<Q: Question>(line: &[u8]) -> Result<Q, String> {
    // Serde would take a list of the fields, too.
    if !line.trim_ascii_start().starts_with(b"{") {
        return Err(format!(": {}", Q::IS));
    }
    serde_json::from_slice(line).map_err(|error| {
        let text = error.to_string();
        // Its own position counts from the start of this line.
        let cause = text.rsplit_once(" at line ").map_or(text.as_str(), |(cause, _)| cause);
        format!(", column {}: {cause}", error.column())
    })
}
