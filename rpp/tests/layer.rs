//! Valid, unusual and hostile layers, and the executables that are taken out of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use d8_layers::{TarEntry, gzip};
use d8_rpp::{
    Error, ErrorKind,
    layer::{ExecutableEntry, Limits, unpack},
};
use proptest::prelude::*;
use tokio_tar::EntryType;

const REGULAR: EntryType = EntryType::Regular;

/// Returns the bytes of an entry; links lead to `/etc/passwd`.
fn entry(name: &str, kind: EntryType, data: &[u8]) -> Vec<u8> {
    let link = if kind.is_symlink() || kind.is_hard_link() { "/etc/passwd" } else { "" };
    TarEntry { link: link.to_owned(), mode: 0o644, ..TarEntry::of_type(name, kind.as_byte(), data) }.bytes()
}

fn file(name: &str, data: &[u8]) -> Vec<u8> {
    entry(name, REGULAR, data)
}

fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut tar = entries.concat();
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    TarEntry::pax(records).bytes()
}

/// Returns a sparse file in the format of GNU, with blocks that continue the map of its parts.
fn sparse(name: &str, data: &[u8], blocks: usize) -> Vec<u8> {
    let mut bytes = entry(name, EntryType::GNUSparse, data);
    // GNU tar marks its headers, and says in the 483rd byte that the map continues.
    bytes[257..265].copy_from_slice(b"ustar  \0");
    bytes[482] = u8::from(blocks > 0);
    let content = bytes.split_off(512);
    for block in 0..blocks {
        let mut map = [0; 512];
        map[504] = u8::from(block + 1 < blocks);
        bytes.extend(map);
    }
    let mut bytes = with_size(&bytes, data.len());
    bytes.extend(content);
    bytes
}

/// Returns an entry with another size in its header.
fn with_size(entry: &[u8], size: usize) -> Vec<u8> {
    let mut header = tokio_tar::Header::from_byte_slice(&entry[..512]).clone();
    header.set_size(size as u64);
    header.set_cksum();
    [header.as_bytes(), &entry[512..]].concat()
}

async fn take(layer: &[u8], limits: &Limits) -> (Result<ExecutableEntry, Error>, Vec<u8>) {
    let mut sink = Vec::new();
    let result = unpack(layer, "plugin", limits, &mut sink).await;
    (result, sink)
}

#[tokio::test]
async fn layers_with_an_executable() {
    let long = "x/".repeat(80) + "plugin";
    let two_members = [gzip(&tar(&[file("plugin", b"new")])[..700]), gzip(&tar(&[file("plugin", b"new")])[700..])];
    let cases: Vec<(&str, Vec<u8>, &str, &[u8])> = vec![
        ("plain", gzip(&tar(&[file("plugin", b"new")])), "plugin", b"new"),
        ("with a dot", gzip(&tar(&[file("./plugin", b"new")])), "./plugin", b"new"),
        ("absolute", gzip(&tar(&[file("/plugin", b"new")])), "/plugin", b"new"),
        ("old type flag", gzip(&tar(&[entry("plugin", EntryType::new(0), b"new")])), "plugin", b"new"),
        ("nested only", gzip(&tar(&[file("usr/bin/plugin", b"new")])), "usr/bin/plugin", b"new"),
        (
            "a nearer one comes later",
            gzip(&tar(&[
                file("a/b/plugin", b"longer than the other"),
                file("a/plugin", b"mid"),
                file("plugin", b"new"),
            ])),
            "plugin",
            b"new",
        ),
        (
            "a farther one comes later",
            gzip(&tar(&[file("plugin", b"new"), file("a/plugin", b"old")])),
            "plugin",
            b"new",
        ),
        (
            "contract behind it",
            gzip(&tar(&[file("plugin", b"new"), file("contract.yaml", b"name: x")])),
            "plugin",
            b"new",
        ),
        (
            "links and directories of its name",
            gzip(&tar(&[
                entry("plugin", EntryType::Symlink, b""),
                entry("plugin", EntryType::Link, b""),
                entry("plugin/", EntryType::Directory, b""),
                file("bin/plugin", b"new"),
            ])),
            "bin/plugin",
            b"new",
        ),
        (
            "one that leaves the root",
            gzip(&tar(&[file("../plugin", b"evil"), file("a/../../plugin", b"evil"), file("a/plugin", b"new")])),
            "a/plugin",
            b"new",
        ),
        ("two gzip members", two_members.concat(), "plugin", b"new"),
        (
            "members without content",
            [gzip(b""), gzip(&tar(&[file("plugin", b"new")])), gzip(b"")].concat(),
            "plugin",
            b"new",
        ),
        ("no mark of its end", gzip(&file("plugin", b"new")), "plugin", b"new"),
        ("empty executable", gzip(&tar(&[file("plugin", b"")])), "plugin", b""),
        (
            "a long name by GNU",
            gzip(&tar(&[
                entry("././@LongLink", EntryType::GNULongName, format!("{long}\0").as_bytes()),
                file("cut", b"new"),
            ])),
            &long,
            b"new",
        ),
        ("a name by pax", gzip(&tar(&[pax(&[("mtime", "1"), ("path", &long)]), file("cut", b"new")])), &long, b"new"),
        ("pax without a name", gzip(&tar(&[pax(&[("mtime", "1")]), file("plugin", b"new")])), "plugin", b"new"),
    ];
    check_executables(cases).await;
}

/// Archives with entries that have nothing to do with the executable.
#[tokio::test]
async fn other_entries_are_passed_over() {
    let cases: Vec<ExecutableCase> = vec![
        ("a size by pax", gzip(&tar(&[pax(&[("size", "3")]), file("plugin", b"new")])), "plugin", b"new"),
        (
            "a size by pax of another entry",
            gzip(&tar(&[
                pax(&[("size", "1000")]),
                [entry("data", REGULAR, b""), vec![b'd'; 1024]].concat(),
                file("plugin", b"new"),
            ])),
            "plugin",
            b"new",
        ),
        (
            "a sparse neighbour by pax",
            gzip(&tar(&[
                pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.name", "share/data")]),
                file("x/plugin", b"data"),
                file("plugin", b"new"),
            ])),
            "plugin",
            b"new",
        ),
        (
            "a sparse neighbour by GNU",
            gzip(&tar(&[sparse("share/data", b"data", 2), file("plugin", b"new")])),
            "plugin",
            b"new",
        ),
        (
            "a link with a size",
            gzip(&tar(&[with_size(&entry("data", EntryType::Link, b""), 700), file("plugin", b"new")])),
            "plugin",
            b"new",
        ),
        (
            "extended attributes with line ends",
            gzip(&tar(&[pax(&[("SCHILY.xattr.user.x", "a\nb"), ("path", "plugin")]), file("cut", b"new")])),
            "plugin",
            b"new",
        ),
        (
            "a global header",
            gzip(&tar(&[entry("g", EntryType::XGlobalHeader, b"13 comment=a\n"), file("plugin", b"new")])),
            "plugin",
            b"new",
        ),
    ];
    check_executables(cases).await;
}

/// What, the layer, and the path and the content of the executable.
type ExecutableCase = (&'static str, Vec<u8>, &'static str, &'static [u8]);

async fn check_executables(cases: Vec<(&str, Vec<u8>, &str, &[u8])>) {
    for (what, layer, name, bytes) in cases {
        let (result, sink) = take(&layer, &Limits::default()).await;
        let executable = result.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((executable.path.as_str(), executable.size), (name, bytes.len() as u64), "{what}");
        assert_eq!(sink, bytes, "{what}");
    }
}

#[tokio::test]
async fn layers_that_are_refused() {
    let good = gzip(&tar(&[file("plugin", b"new")]));
    let flipped = {
        let mut bytes = good.clone();
        let last = bytes.len() - 6;
        bytes[last] ^= 1;
        bytes
    };
    let small = Limits { archive: 64 << 10, executable: 1 << 10 };
    let plain = Limits::default();
    let bomb = gzip(&tar(&[file("other", &vec![0; 1 << 20]), file("plugin", b"new")]));
    let tail_bomb = gzip(&[tar(&[file("plugin", b"new")]), vec![0; 1 << 20]].concat());
    let cases: Vec<RefusedCase> = vec![
        ("no executable", gzip(&tar(&[file("other", b"x")])), plain, ErrorKind::Archive, "entry `plugin` is missing"),
        ("nothing at all", gzip(b""), plain, ErrorKind::Archive, "entry `plugin` is missing"),
        (
            "a link in its place",
            gzip(&tar(&[entry("plugin", EntryType::Symlink, b"")])),
            plain,
            ErrorKind::Archive,
            "entry `plugin` is a symbolic link to `/etc/passwd`, not a regular file",
        ),
        (
            "a hard link",
            gzip(&tar(&[entry("plugin", EntryType::Link, b"")])),
            plain,
            ErrorKind::Archive,
            "entry `plugin` is a hard link to `/etc/passwd`, not a",
        ),
        (
            "a device",
            gzip(&tar(&[entry("plugin", EntryType::Char, b"")])),
            plain,
            ErrorKind::Archive,
            "not a regular file",
        ),
        ("only outside", gzip(&tar(&[file("../plugin", b"evil")])), plain, ErrorKind::Archive, "is missing"),
        ("garbage behind", [&good[..], b"garbage"].concat(), plain, ErrorKind::Archive, "gzip"),
        ("zeros behind", [&good[..], &[0; 512]].concat(), plain, ErrorKind::Archive, "gzip"),
        ("a member cut short", [&good[..], &good[..15]].concat(), plain, ErrorKind::Archive, "ends too early"),
        ("a header cut short", [&good[..], &good[..5]].concat(), plain, ErrorKind::Archive, "ends too early"),
        ("cut short", good[..good.len() - 9].to_vec(), plain, ErrorKind::Archive, "ends too early"),
        ("wrong checksum", flipped, plain, ErrorKind::Archive, "gzip"),
        ("empty", Vec::new(), plain, ErrorKind::Archive, "the layer is empty; expected a gzip tar"),
        ("tar cut short", gzip(&file("plugin", &[1; 2000])[..1024]), plain, ErrorKind::Archive, "unexpected EOF"),
        ("skipped entry cut short", gzip(&file("other", &[1; 2000])[..1024]), plain, ErrorKind::Archive, "archive"),
        (
            "executable too large",
            gzip(&tar(&[file("plugin", &[1; 2000])])),
            small,
            ErrorKind::TooLarge,
            "the executable is larger than 1024 bytes",
        ),
        ("bomb", bomb, small, ErrorKind::TooLarge, "the unpacked content is larger than 65536 bytes"),
        (
            "bomb behind the end",
            tail_bomb,
            small,
            ErrorKind::TooLarge,
            "the unpacked content is larger than 65536 bytes",
        ),
        (
            "a name of a megabyte",
            gzip(&tar(&[entry("L", EntryType::GNULongName, &vec![b'a'; 1 << 20]), file("plugin", b"x")])),
            plain,
            ErrorKind::Archive,
            "too long",
        ),
        (
            "a pax header of a megabyte",
            gzip(&tar(&[entry("x", EntryType::XHeader, &vec![b'a'; 1 << 20]), file("plugin", b"x")])),
            plain,
            ErrorKind::Archive,
            "too long",
        ),
    ];
    check_refused(cases).await;
}

#[tokio::test]
async fn layers_that_are_no_gzip_tar() {
    let plain = Limits::default();
    let cases: Vec<RefusedCase> = vec![
        (
            "a page",
            b"<html>".to_vec(),
            plain,
            ErrorKind::Archive,
            "the layer is an HTML or XML page; expected a gzip tar",
        ),
        (
            "zstd",
            b"\x28\xb5\x2f\xfd\xa0".to_vec(),
            plain,
            ErrorKind::Archive,
            "the layer is a zstd stream; expected a gzip tar",
        ),
        (
            "a tar",
            tar(&[file("plugin", b"new")]),
            plain,
            ErrorKind::Archive,
            "the layer is a tar without compression; expected a gzip",
        ),
        (
            "a program",
            b"\x7fELF\x02".to_vec(),
            plain,
            ErrorKind::Archive,
            "the layer is an ELF program; expected a gzip tar",
        ),
        (
            "a script",
            b"#!/bin/sh\n".to_vec(),
            plain,
            ErrorKind::Archive,
            "a script that begins with `#!/bin/sh`; expected a gzip tar",
        ),
        (
            "not tar",
            gzip(&[b'x'; 2048]),
            plain,
            ErrorKind::Archive,
            "a gzip stream without a tar, its content is of an unknown",
        ),
        (
            "gzip of a program",
            gzip(b"\x7fELF"),
            plain,
            ErrorKind::Archive,
            "without a tar, its content is an ELF program",
        ),
    ];
    check_refused(cases).await;
}

#[tokio::test]
async fn executables_in_another_form() {
    let plain = Limits::default();
    let cases: Vec<RefusedCase> = vec![
        (
            "a size by pax beyond the end",
            gzip(&tar(&[pax(&[("size", "9999")]), file("plugin", b"x")])),
            plain,
            ErrorKind::Archive,
            "unexpected EOF",
        ),
        (
            "no size by pax",
            gzip(&tar(&[pax(&[("size", "-1")]), file("plugin", b"x")])),
            plain,
            ErrorKind::Archive,
            "the size in a pax header",
        ),
        (
            "a huge size by pax",
            gzip(&tar(&[pax(&[("size", "18446744073709551615")]), file("plugin", b"x")])),
            plain,
            ErrorKind::TooLarge,
            "the executable is larger",
        ),
        (
            "a sparse file by pax",
            gzip(&tar(&[
                pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.name", "plugin")]),
                file("GNUSparseFile.0/plugin", b"x"),
            ])),
            plain,
            ErrorKind::Archive,
            "entry `plugin` is a sparse file, not a regular file",
        ),
        (
            "a sparse file by GNU",
            gzip(&tar(&[sparse("plugin", b"x", 0)])),
            plain,
            ErrorKind::Archive,
            "entry `plugin` is a sparse file",
        ),
        (
            "a sparse file nearer than another",
            gzip(&tar(&[sparse("plugin", b"x", 1), file("old/plugin", b"old")])),
            plain,
            ErrorKind::Archive,
            "entry `plugin` is a sparse file",
        ),
        (
            "other names",
            gzip(&tar(&[
                file("./hello", b"x"),
                file("README.md", b"x"),
                entry("doc/", EntryType::Directory, b""),
                file("a", b""),
                file("b", b""),
                file("c", b""),
            ])),
            plain,
            ErrorKind::Archive,
            "entry `plugin` is missing; the archive has `./hello`, `README.md`, `a`, `b` and 1 more",
        ),
        (
            "no files",
            gzip(&[0; 1024]),
            plain,
            ErrorKind::Archive,
            "entry `plugin` is missing; the archive has no files",
        ),
    ];
    check_refused(cases).await;
}

/// What, the layer, the limits, and the kind and a part of the error.
type RefusedCase = (&'static str, Vec<u8>, Limits, ErrorKind, &'static str);

async fn check_refused(cases: Vec<RefusedCase>) {
    for (what, layer, limits, kind, message) in cases {
        let (result, _) = take(&layer, &limits).await;
        let error = result.expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(error.to_string().contains(message), "{what}: {error}");
        assert!(!error.advice().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn an_error_of_the_sink_is_local() {
    struct Full;
    impl d8_rpp::layer::Sink for Full {
        async fn restart(&mut self) -> std::io::Result<()> {
            Ok(())
        }
        async fn write(&mut self, _: &[u8]) -> std::io::Result<()> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
    }
    let layer = gzip(&tar(&[file("plugin", b"new")]));
    let error = unpack(&layer[..], "plugin", &Limits::default(), &mut Full).await.unwrap_err();
    assert!(matches!(&error, Error::Sink(io) if io.kind() == std::io::ErrorKind::StorageFull), "{error}");
    assert_eq!(error.kind(), ErrorKind::Local);
}

#[tokio::test]
async fn a_nearer_entry_replaces_the_content_of_a_file() {
    let layer = gzip(&tar(&[file("a/plugin", b"much longer"), file("plugin", b"new")]));
    let temporary = tempfile::NamedTempFile::new().unwrap();
    let mut file = tokio::fs::File::create(temporary.path()).await.unwrap();
    unpack(&layer[..], "plugin", &Limits::default(), &mut file).await.unwrap();
    tokio::io::AsyncWriteExt::flush(&mut file).await.unwrap();
    assert_eq!(std::fs::read(temporary.path()).unwrap(), b"new");
}

/// Overwrites bytes at these places, and truncates.
fn damage(bytes: &[u8], changes: &[(prop::sample::Index, u8)], cut: Option<prop::sample::Index>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (place, value) in changes {
        let place = place.index(bytes.len());
        bytes[place] = *value;
    }
    if let Some(cut) = cut {
        bytes.truncate(cut.index(bytes.len()));
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A damaged layer causes no panic, never exceeds the limit, and an executable that is accepted is complete.
    #[test]
    fn damaged_layers(
        inside in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..6),
        outside in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..3),
        cut in any::<Option<prop::sample::Index>>(),
        garbage in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let entries = [pax(&[("path", "a/plugin")]), file("x", &[7; 700]), file("plugin", &[9; 300]), file("z", b"z")];
        let tar = damage(&tar(&entries), &inside, None);
        let mut layer = damage(&gzip(&tar), &outside, cut);
        layer.extend_from_slice(&garbage);
        let limits = Limits { archive: 1 << 20, executable: 600 };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (result, sink) = runtime.block_on(take(&layer, &limits));
        prop_assert!(sink.len() <= 600);
        match result {
            Ok(executable) => prop_assert_eq!(executable.size, sink.len() as u64),
            Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control), "{:?}", error),
        }
    }
}
