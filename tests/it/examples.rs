//! The examples, run as programs.

use std::path::PathBuf;
use std::process::Command;

/// Cargo builds examples next to the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples")
        .join(name)
}

#[test]
fn embed() {
    let output = Command::new(example("embed")).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("COPY 1000"), "{shown}");
}

#[test]
fn existing_datafusion_app() {
    let output = Command::new(example("existing_datafusion_app"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(shown.matches("| 1    |").count(), 3, "{shown}");
}
