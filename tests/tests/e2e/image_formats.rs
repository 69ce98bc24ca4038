//! Images as publishers build them by mistake: the record, `why` and `install` name what is wrong, where, and what the
//! publisher changes.

use std::path::Path;

use d8_crds::records::release::{Fit, ReleaseVersion};
use d8_crds::values::platform::Platform;
use d8_layers::{TarEntry, layer, tar};
use d8_tests::oci::{self, LAYER, blob_descriptor, push_index, push_manifest};
use d8_tests::{Lab, Result, catalog};
use serde_json::{Value, json};

/// Parts of the record, of `why` and of the error of `install`. Without a record `why` and `install` show the same.
struct Expected {
    fit: Fit,
    reason: &'static str,
    left_out: &'static str,
    why: &'static str,
    /// Parts of the error; empty: the version is installed.
    install: &'static [&'static str],
}

/// An image that can be installed.
const GOOD: Expected = Expected { fit: Fit::Fits, reason: "", left_out: "", why: "Eligible", install: &[] };

/// Name of the plugin, how to write its image, and what is expected. The writer gets the layout and returns the
/// descriptor of the tag.
type Case = (&'static str, fn(&Path, &str) -> Result<Value>, Expected);

fn script(name: &str) -> TarEntry {
    TarEntry::file("plugin", catalog::script(name, "v1.0.0"))
}

fn link(name: &str, kind: u8, target: &str) -> TarEntry {
    TarEntry { link: target.to_owned(), ..TarEntry::of_type(name, kind, "") }
}

/// A manifest with one layer of these bytes.
fn one_layer(layout: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    push_manifest(layout, &[blob_descriptor(layout, media_type, bytes)?], &json!({}))
}

/// An index with one manifest for this platform, and this variant of it.
fn for_platform(mut manifest: Value, variant: &str) -> Value {
    let platform = Platform::current();
    manifest["platform"] = json!({"os": platform.os(), "architecture": platform.arch()});
    if !variant.is_empty() {
        manifest["platform"]["variant"] = json!(variant);
    }
    manifest
}

/// An index of one image whose layer has these bytes.
fn image(layout: &Path, media_type: &str, bytes: &[u8]) -> Result<Value> {
    push_index(layout, &[for_platform(one_layer(layout, media_type, bytes)?, "")])
}

fn unfit(reason: &'static str) -> Expected {
    Expected { fit: Fit::Unfit, reason, why: reason, ..GOOD }
}

/// An image that looks good in its manifests.
fn broken(install: &'static [&'static str]) -> Expected {
    Expected { install, ..GOOD }
}

const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

fn cases() -> Vec<Case> {
    [manifests(), layers(), archives()].into_iter().flatten().collect()
}

/// Indexes and manifests.
fn manifests() -> Vec<Case> {
    vec![
        (
            "format-nested",
            |layout, name| {
                let inner =
                    push_index(layout, &[for_platform(one_layer(layout, LAYER, &layer(&[script(name)]))?, "")])?;
                push_index(layout, &[for_platform(inner, "")])
            },
            Expected {
                install: &["is an index inside of the index; list the manifest of each platform"],
                ..unfit("is an index inside of the index; list the manifest of each platform")
            },
        ),
        (
            "format-no-platform",
            |layout, name| push_index(layout, &[one_layer(layout, LAYER, &layer(&[script(name)]))?]),
            Expected {
                install: &["names no platform"],
                ..unfit("names no platform; add it to its entry in the index")
            },
        ),
        (
            "format-attested",
            |layout, name| {
                let mut statement = one_layer(layout, "application/vnd.in-toto+json", b"{}")?;
                statement["platform"] = json!({"os": "unknown", "architecture": "unknown"});
                let manifest = one_layer(layout, LAYER, &layer(&[script(name)]))?;
                push_index(layout, &[statement, for_platform(manifest, "")])
            },
            GOOD,
        ),
        (
            "format-variants",
            |layout, name| {
                let dies = TarEntry::file("plugin", "#!/bin/sh\nkill -ILL $$\n");
                let special = for_platform(one_layer(layout, LAYER, &layer(&[dies]))?, "v3");
                let usual = for_platform(one_layer(layout, LAYER, &layer(&[script(name)]))?, "");
                push_index(layout, &[special, usual])
            },
            Expected { left_out: "variant v3 is left out: the entry without a variant is used", ..GOOD },
        ),
    ]
}

/// Layers of other formats.
fn layers() -> Vec<Case> {
    vec![
        (
            "format-zstd",
            |layout, _| image(layout, ZSTD, b"\x28\xb5\x2f\xfd\xa0"),
            Expected {
                install: &[
                    "its layer is a zstd stream (media type `application/vnd.oci.image.layer.v1.tar+zstd`); expected a gzip tar",
                ],
                ..unfit(
                    "its layer is a zstd stream (media type `application/vnd.oci.image.layer.v1.tar+zstd`); expected a gzip tar",
                )
            },
        ),
        (
            "format-plain",
            |layout, name| image(layout, PLAIN, &tar(&[script(name)])),
            Expected {
                install: &["its layer is a tar without compression"],
                ..unfit("its layer is a tar without compression")
            },
        ),
        (
            "format-raw",
            |layout, name| image(layout, "application/octet-stream", catalog::script(name, "v1.0.0").as_bytes()),
            Expected {
                install: &["its layer is a script that begins with `#!/bin/sh`"],
                ..unfit("its layer is a script that begins with `#!/bin/sh`")
            },
        ),
        (
            "format-lies",
            |layout, _| image(layout, LAYER, b"\x7fELF\x02\x01"),
            broken(&["the layer is an ELF program; expected a gzip tar", "d8-rpp"]),
        ),
        (
            "format-no-tar",
            |layout, name| image(layout, LAYER, &oci::gzip(catalog::script(name, "v1.0.0").as_bytes())),
            broken(&["the layer is a gzip stream without a tar, its content is a script that begins with `#!/bin/sh`"]),
        ),
        (
            "format-zero",
            |layout, _| image(layout, LAYER, b""),
            Expected { install: &["its last layer is empty"], ..unfit("its last layer is empty") },
        ),
    ]
}

/// Contents of the archive.
fn archives() -> Vec<Case> {
    vec![
        (
            "format-hard-link",
            |layout, name| {
                let whole = TarEntry { name: "hello-v1".to_owned(), ..script(name) };
                image(layout, LAYER, &layer(&[whole, link("plugin", b'1', "hello-v1")]))
            },
            broken(&["entry `plugin` is a hard link to `hello-v1`, not a regular file", "tar --hard-dereference"]),
        ),
        (
            "format-linked-after",
            |layout, name| {
                let whole = TarEntry { name: "bin/plugin".to_owned(), ..script(name) };
                image(layout, LAYER, &layer(&[whole, link("plugin", b'1', "bin/plugin")]))
            },
            GOOD,
        ),
        (
            "format-sparse",
            |layout, name| {
                let header = TarEntry::pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.name", "plugin")]);
                image(layout, LAYER, &layer(&[header, script(name)]))
            },
            broken(&["entry `plugin` is a sparse file, not a regular file", "`tar` without `--sparse`"]),
        ),
        (
            "format-neighbour",
            |layout, name| {
                let header =
                    TarEntry::pax(&[("GNU.sparse.major", "1"), ("GNU.sparse.name", "share/data"), ("size", "4")]);
                image(layout, LAYER, &layer(&[header, TarEntry::file("data", "data"), script(name)]))
            },
            GOOD,
        ),
        (
            "format-other-name",
            |layout, name| {
                let own = TarEntry { name: format!("./{name}"), ..script(name) };
                image(layout, LAYER, &layer(&[own, TarEntry::file("README.md", "x")]))
            },
            broken(&["entry `plugin` is missing; the archive has `./format-other-name`, `README.md`"]),
        ),
        (
            "format-last-layer",
            |layout, name| {
                let first = blob_descriptor(layout, LAYER, &layer(&[script(name)]))?;
                let last = blob_descriptor(layout, LAYER, &layer(&[]))?;
                push_index(layout, &[for_platform(push_manifest(layout, &[first, last], &json!({}))?, "")])
            },
            broken(&["the archive has no files; the image has 2 layers, and only the last one counts"]),
        ),
        (
            "format-large",
            |layout, _| {
                blob_descriptor(layout, "x", json!({"layers": [], "x": "x".repeat(1 << 20)}).to_string().as_bytes())
            },
            Expected {
                fit: Fit::Unknown,
                reason: "cannot be read: plugin format-large v1.0.0: the image cannot be used",
                why: "is larger than 1048576 bytes",
                install: &["is larger than 1048576 bytes"],
                ..GOOD
            },
        ),
        (
            "format-odd-type",
            |layout, name| {
                let mut manifest = one_layer(layout, LAYER, &layer(&[script(name)]))?;
                manifest["mediaType"] = json!("a\nb");
                push_index(layout, &[for_platform(manifest, "")])
            },
            GOOD,
        ),
    ]
}

fn recorded<'r>(release: &'r d8_crds::records::release::CliRelease, version: &str) -> Option<&'r ReleaseVersion> {
    release.status.iter().flat_map(|status| &status.versions).find(|known| known.version == version)
}

#[test]
fn every_format_is_told_in_the_record_in_why_and_in_install() -> Result<()> {
    let lab = Lab::shared();
    let layout = lab.proxy().layout();
    let alice = lab.new_workstation()?;
    let mut cases = cases();
    for (name, write, _) in &cases {
        oci::name(layout, &catalog::image(name), "v1.0.0", &write(layout, name)?)?;
        // An older version that is good, which one odd version must not affect.
        let good = one_layer(layout, LAYER, &layer(&[TarEntry::file("plugin", catalog::script(name, "v0.9.0"))]))?;
        oci::name(layout, &catalog::image(name), "v0.9.0", &good)?;
    }
    // First without records, from the proxy alone.
    for source in ["the proxy", "the record"] {
        for (name, _, expected) in &cases {
            let what = format!("{name} from {source}");
            let why = alice.d8(["plugins", "why", name])?.ok()?;
            let row = why.lines().find(|line| line.contains("v1.0.0")).unwrap_or_default();
            assert!(row.contains(expected.why), "{what}: {why}");
            assert!(why.lines().any(|line| line.contains("v0.9.0") && line.contains("Eligible")), "{what}: {why}");
            let installed = alice.d8(["plugins", "install", name, "--version", "v1.0.0"])?;
            if expected.install.is_empty() {
                assert_eq!(installed.code(), 0, "{what}: {installed:?}");
                alice.d8(["plugins", "remove", name])?.ok()?;
                continue;
            }
            assert_ne!(installed.code(), 0, "{what}: {installed:?}");
            for part in expected.install {
                assert!(installed.stderr.contains(part), "{what}: {}", installed.stderr);
            }
        }
        if source == "the proxy" {
            let names: Vec<&str> = cases.iter().map(|(name, ..)| *name).collect();
            lab.create_releases(&names)?;
            for (name, _, expected) in &mut cases {
                let release = lab.wait_for_release(name, "both versions", |release| {
                    recorded(release, "v1.0.0").is_some() && recorded(release, "v0.9.0").is_some()
                })?;
                let version = recorded(&release, "v1.0.0").expect("waited for");
                assert_eq!(version.fit, expected.fit, "{name}: {version:?}");
                assert!(version.reasons.join(" ").contains(expected.reason), "{name}: {version:?}");
                assert_eq!(version.digest.is_empty(), expected.fit == Fit::Unknown, "{name}: {version:?}");
                let left_out: String = version.left_out.iter().map(|part| part.reason.as_str()).collect();
                assert!(left_out.contains(expected.left_out), "{name}: {version:?}");
                assert_eq!(recorded(&release, "v0.9.0").expect("waited for").fit, Fit::Fits, "{name}");
            }
        }
    }
    Ok(())
}
