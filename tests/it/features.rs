//! What programs get that embed the library with fewer features.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::servers::cache_folder;

/// Crates of the program that a library must not bring.
const PROGRAM_CRATES: [&str; 8] = [
    "clap",
    "rustyline",
    "indicatif",
    "rpassword",
    "s3s",
    "tpchgen",
    "md-5",
    "tracing-subscriber",
];

fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .env_remove("CARGO_TARGET_DIR");
    cargo
}

/// The names of all crates that the library brings with these features.
fn crates_with(features: &[&str]) -> BTreeSet<String> {
    let features = features.join(",");
    let tree = cargo(&[
        "tree",
        "--locked",
        "--package",
        "tidegate",
        "--edges",
        "normal",
    ])
    .args([
        "--prefix",
        "none",
        "--format",
        "{lib}",
        "--no-default-features",
    ])
    .args(["--features", &features])
    .output()
    .unwrap();
    assert!(tree.status.success());
    let names = String::from_utf8(tree.stdout).unwrap();
    names
        .lines()
        .map(|name| name.trim().replace('_', "-"))
        .collect()
}

#[test]
fn each_feature_brings_its_own_crates_alone() {
    let own: [(&str, &[&str]); 3] = [
        ("aws-chain", &["aws-config"]),
        ("dev-server", &["s3s", "tpchgen"]),
        ("file-catalog", &["rusqlite", "chacha20poly1305"]),
    ];
    let none = crates_with(&[]);
    assert!(none.contains("datafusion"));
    for (feature, crates) in own {
        let with = crates_with(&[feature]);
        for name in crates {
            assert!(with.contains(*name), "{feature} lacks {name}");
            assert!(!none.contains(*name), "{name} comes without {feature}");
        }
        for name in PROGRAM_CRATES.iter().filter(|name| !crates.contains(name)) {
            assert!(
                !with.contains(*name) || feature == "dev-server",
                "{feature}: {name}"
            );
        }
    }
    for name in PROGRAM_CRATES {
        assert!(!none.contains(name), "{name} comes with the library");
    }
}

/// Checks the library with no feature and with each feature alone. The folder of the checks is
/// kept, so that only the first run checks the dependencies.
#[test]
fn each_feature_builds_alone() {
    let folder = cache_folder().join("features");
    for features in ["", "aws-chain", "dev-server", "file-catalog"] {
        let checked = cargo(&[
            "check",
            "--quiet",
            "--locked",
            "--lib",
            "--no-default-features",
        ])
        .args(["--package", "tidegate", "--features", features])
        .env("CARGO_TARGET_DIR", Path::new(&folder))
        .output()
        .unwrap();
        let said = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{features}: {said}");
        assert!(!said.contains("warning"), "{features}: {said}");
    }
}
