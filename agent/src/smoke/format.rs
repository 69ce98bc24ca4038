//! Whether a file is a program for this machine.

use std::{
    io::{self, Read as _},
    path::Path,
};

/// Returns whether an interpreter reads the file.
pub(super) fn is_script(program: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    d8_rpp::file::open_regular(program)?.take(2).read_to_end(&mut head)?;
    Ok(head == b"#!")
}

/// Returns why the file is not a program for this machine. `execvp` passes files that the kernel does not recognise to
/// a shell, and the shell accepts an empty file.
pub(super) fn unsupported(program: &Path) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    d8_rpp::file::open_regular(program)?.take(20).read_to_end(&mut head)?;
    if head.starts_with(b"#!") || !cfg!(target_os = "linux") {
        return Ok(None);
    }
    if !head.starts_with(b"\x7fELF") || head.len() < 20 {
        return Ok(Some("it is neither a program nor a script".to_owned()));
    }
    let machine = if head[5] == 2 { [head[19], head[18]] } else { [head[18], head[19]] };
    let machine = u16::from_le_bytes(machine);
    // Values of e_machine in the ELF specification.
    let runs: &[u16] = match std::env::consts::ARCH {
        "x86_64" => &[62, 3],
        "x86" => &[3],
        "aarch64" => &[183, 40],
        "arm" => &[40],
        _ => return Ok(None),
    };
    Ok((!runs.contains(&machine)).then(|| {
        format!("it is built for another processor (ELF machine {machine}, this one is {})", std::env::consts::ARCH)
    }))
}
