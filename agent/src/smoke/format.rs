//! Whether a file is a program for this machine. Reads its headers only.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

/// Size of the header of an ELF file with 64-bit addresses, in bytes. That of a file with 32-bit addresses is smaller.
const ELF_HEADER: u64 = 64;

/// Size of all program headers of an ELF file, in bytes. The kernel of Linux refuses larger ones.
const PROGRAM_HEADERS: u64 = 64 << 10;

/// First bytes of programs of macOS: for one processor, in both byte orders, and for several.
const MACH_O: [[u8; 4]; 5] = [
    [0xfe, 0xed, 0xfa, 0xce],
    [0xfe, 0xed, 0xfa, 0xcf],
    [0xce, 0xfa, 0xed, 0xfe],
    [0xcf, 0xfa, 0xed, 0xfe],
    [0xca, 0xfe, 0xba, 0xbe],
];

/// Returns whether an interpreter reads the file.
pub(super) fn is_script(program: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    d8_rpp::file::open_regular(program)?.take(2).read_to_end(&mut head)?;
    Ok(head == b"#!")
}

/// Returns why the file is not a program for this machine. `execvp` of some systems passes files that the kernel does
/// not recognise to a shell, and the shell accepts an empty or a truncated file.
///
/// # Errors
/// The file cannot be read.
pub fn unsupported(program: &Path) -> io::Result<Option<String>> {
    let mut file = d8_rpp::file::open_regular(program)?;
    let mut head = Vec::new();
    file.by_ref().take(ELF_HEADER).read_to_end(&mut head)?;
    let other = || Ok(Some("it is neither a program nor a script".to_owned()));
    if head.starts_with(b"#!") {
        return Ok(None);
    }
    if cfg!(target_os = "macos") {
        return if MACH_O.iter().any(|magic| head.starts_with(magic)) { Ok(None) } else { other() };
    }
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    if !head.starts_with(b"\x7fELF") || head.len() < 20 {
        return other();
    }
    let header = ElfHeader { is_64_bit: head[4] == 2, is_big_endian: head[5] == 2, bytes: head };
    Ok(match header.other_processor() {
        Some(why) => Some(why),
        None => header.incomplete(&mut file)?,
    })
}

/// The header of an ELF file. Offsets of its fields are those of the ELF specification.
struct ElfHeader {
    is_64_bit: bool,
    is_big_endian: bool,
    bytes: Vec<u8>,
}

impl ElfHeader {
    /// Returns the number in `length` bytes.
    fn number(&self, bytes: &[u8], at: usize, length: usize) -> u64 {
        let bytes = bytes.get(at..at + length).unwrap_or_default();
        let append = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        if self.is_big_endian { bytes.iter().fold(0, append) } else { bytes.iter().rev().fold(0, append) }
    }

    /// Returns the field of the header that has these offsets in a file with 32-bit and with 64-bit addresses.
    fn field(&self, (at_32, length_32): (usize, usize), (at_64, length_64): (usize, usize)) -> u64 {
        let (at, length) = if self.is_64_bit { (at_64, length_64) } else { (at_32, length_32) };
        self.number(&self.bytes, at, length)
    }

    fn other_processor(&self) -> Option<String> {
        let machine = self.number(&self.bytes, 18, 2);
        // Values of e_machine in the ELF specification.
        let runs: &[u64] = match std::env::consts::ARCH {
            "x86_64" => &[62, 3],
            "x86" => &[3],
            "aarch64" => &[183, 40],
            "arm" => &[40],
            _ => return None,
        };
        (!runs.contains(&machine)).then(|| {
            format!("it is built for another processor (ELF machine {machine}, this one is {})", std::env::consts::ARCH)
        })
    }

    /// Returns why the kernel cannot load the file: it is not a program, or a part of it is missing.
    fn incomplete(&self, file: &mut File) -> io::Result<Option<String>> {
        let size = file.metadata()?.len();
        let truncated = |needed: u64| Some(format!("it is truncated: it has {size} bytes and needs {needed}"));
        let (header, entry) = if self.is_64_bit { (ELF_HEADER, 56) } else { (52, 32) };
        if size < header {
            return Ok(truncated(header));
        }
        let (table, count) = (self.field((28, 4), (32, 8)), self.field((44, 2), (56, 2)));
        let is_program = matches!(self.number(&self.bytes, 16, 2), 2 | 3);
        let length = entry * count;
        if !is_program || self.field((42, 2), (54, 2)) != entry || count == 0 || length > PROGRAM_HEADERS {
            return Ok(Some("it is an ELF file, and not a program".to_owned()));
        }
        let end = table.saturating_add(length);
        if size < end {
            return Ok(truncated(end));
        }
        let mut headers = Vec::new();
        file.seek(SeekFrom::Start(table))?;
        file.take(length).read_to_end(&mut headers)?;
        let ends = headers.chunks(usize::from(if self.is_64_bit { 56_u8 } else { 32 }));
        let end = ends.filter_map(|header| self.end_of_segment(header)).max().unwrap_or_default();
        Ok(if size < end { truncated(end) } else { None })
    }

    /// Returns where the bytes of a segment end that is loaded.
    fn end_of_segment(&self, header: &[u8]) -> Option<u64> {
        const LOADED: u64 = 1;
        let (offset, size) = if self.is_64_bit {
            (self.number(header, 8, 8), self.number(header, 32, 8))
        } else {
            (self.number(header, 4, 4), self.number(header, 16, 4))
        };
        (self.number(header, 0, 4) == LOADED).then(|| offset.saturating_add(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_programs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let why = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            unsupported(&path).unwrap()
        };
        assert_eq!((why(&own), why(b"#!/bin/sh\n")), (None, None));
        for other in [&b""[..], b"#", b"echo hello\n", b"\0\0\0\0", b"MZ\x90\0"] {
            assert!(why(other).is_some_and(|why| why.contains("neither a program nor a script")), "{other:?}");
        }
        if cfg!(target_os = "linux") {
            for length in [24, 63, 64, 100, 4096, 100_000] {
                assert!(why(&own[..length]).is_some_and(|why| why.contains("truncated")), "{length}");
            }
            // The type of a relocatable file, and a program without a segment.
            for (at, value) in [(16, 1), (56, 0)] {
                let mut changed = own.clone();
                changed[at] = value;
                if at == 56 {
                    changed[57] = 0;
                }
                assert!(why(&changed).is_some_and(|why| why.contains("not a program")), "{at}");
            }
            // Offsets that no file has do not overflow.
            let mut far = own.clone();
            far[32..40].fill(0xff);
            assert!(why(&far).is_some_and(|why| why.contains("truncated")));
        }
    }
}
