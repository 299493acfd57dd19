//! Tells the program which compiler built it, and which commit of pagebox is in it.

use std::process::Command;

fn main() {
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success());
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    println!("cargo::rustc-env=PEERS_RUSTC={}", said(&rustc, &["--version"]));
    // Of a source without its history there is none.
    println!("cargo::rustc-env=PAGEBOX_COMMIT={}", said("git", &["describe", "--always", "--dirty", "--abbrev=7"]));
    println!("cargo::rerun-if-changed=build.rs");
    for changes in ["HEAD", "logs/HEAD", "index"] {
        let path = said("git", &["rev-parse", "--git-path", changes]);
        if std::path::Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}
