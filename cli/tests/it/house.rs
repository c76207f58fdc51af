//! Who may depend on whom, read from `cargo metadata`: an arrow the wrong way is found here and not in a review.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Every crate of the workspace with the crates of the workspace that it may name, outside tests.
const HOUSE: [(&str, &[&str]); 7] = [
    ("mediamill-media", &[]),
    ("mediamill-shared", &[]),
    ("mediamill-api", &["mediamill-shared"]),
    ("mediamill-workers", &["mediamill-media", "mediamill-shared"]),
    ("mediamill-scheduler", &["mediamill-shared"]),
    (
        "mediamill",
        &[
            "mediamill-api",
            "mediamill-media",
            "mediamill-scheduler",
            "mediamill-shared",
            "mediamill-workers",
        ],
    ),
    (
        "mediamill-loadtests",
        &[
            "mediamill-media",
            "mediamill-scheduler",
            "mediamill-shared",
            "mediamill-workers",
        ],
    ),
];

/// Libraries with one home: who else names them goes around a port.
const HOMES: [(&str, &[&str]); 10] = [
    ("sqlx", &["mediamill-shared"]),
    // The load test measures the bare broker beside the queue.
    ("lapin", &["mediamill-shared", "mediamill-loadtests"]),
    ("redis", &["mediamill-shared"]),
    ("aws-sdk-s3", &["mediamill-shared"]),
    ("backoff", &["mediamill-shared"]),
    // Connections to wherever a tenant's URL leads are made in one place. The other is a test's server.
    ("hyper", &["mediamill-workers"]),
    ("tokio-rustls", &["mediamill-workers", "mediamill-shared"]),
    ("axum", &["mediamill-api", "mediamill"]),
    // A load test asks it what it thinks of the engine's files.
    ("image", &["mediamill-media", "mediamill-loadtests"]),
    ("clap", &["mediamill", "mediamill-loadtests"]),
];

/// What has no place in the media engine: bytes in, bytes out.
const NOT_IN_MEDIA: [&str; 7] = [
    "tokio",
    "futures-util",
    "async-trait",
    "reqwest",
    "hyper",
    "sqlx",
    "tracing",
];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap()
}

/// Names of what `package` depends on when it is built, not when it is tested.
fn depends(metadata: &Metadata, package: &str) -> BTreeSet<String> {
    let package = metadata
        .workspace_packages()
        .into_iter()
        .find(|p| p.name == package)
        .unwrap();
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.clone())
        .collect()
}

#[test]
fn arrows_point_down() {
    let metadata = metadata();
    let members: BTreeSet<_> = metadata
        .workspace_packages()
        .iter()
        .map(|p| p.name.to_string())
        .collect();
    let drawn: BTreeSet<_> = HOUSE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(members, drawn, "a crate came or went: draw it in HOUSE");
    for (name, allowed) in HOUSE {
        let allowed: BTreeSet<_> = allowed.iter().map(|name| (*name).to_owned()).collect();
        let named: BTreeSet<_> = depends(&metadata, name).intersection(&members).cloned().collect();
        let wrong: Vec<_> = named.difference(&allowed).collect();
        assert!(wrong.is_empty(), "{name} must not depend on {wrong:?}");
    }
}

#[test]
fn libraries_behind_a_port_have_one_home() {
    let metadata = metadata();
    for (library, homes) in HOMES {
        let named: Vec<_> = HOUSE
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| depends(&metadata, name).contains(library))
            .collect();
        assert!(
            !named.is_empty(),
            "nobody depends on {library} any more: take it from HOMES"
        );
        for name in named {
            assert!(
                homes.contains(&name),
                "{name} must not name {library}: its home is {homes:?}"
            );
        }
    }
    let media = depends(&metadata, "mediamill-media");
    for library in NOT_IN_MEDIA {
        assert!(
            !media.contains(library),
            "the media engine must not depend on {library}"
        );
    }
}

#[test]
fn the_unmaintained_backoff_is_named_in_one_file() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut naming = Vec::new();
    let mut folders: Vec<_> = ["shared", "api", "workers", "scheduler", "cli/src", "loadtests"]
        .iter()
        .map(|folder| root.join(folder))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs")
                && std::fs::read_to_string(&path).unwrap().contains("backoff::")
            {
                naming.push(path.strip_prefix(&root).unwrap().to_owned());
            }
        }
    }
    assert_eq!(naming, [std::path::Path::new("shared/src/retry.rs")]);
}
