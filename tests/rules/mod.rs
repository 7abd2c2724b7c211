//! The rules of the code that no compiler checks: who may import whom, who touches the disk, how long things get.
//!
//! Each test reads the sources as text and names every place that breaks its rule. An exception is an entry in a list
//! here, with its reason.

use std::path::{Path, PathBuf};

mod imports;
mod shape;

/// A source file: its path from the root, with `/`, and its text.
pub struct Source {
    pub path: String,
    pub text: String,
}

impl Source {
    /// Lines with their numbers, those of unit tests and comments left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let product = self.text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
        product
            .lines()
            .enumerate()
            .map(|(i, line)| (i + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.starts_with("tests/")
            || name == "tests.rs"
            || name.ends_with("_tests.rs")
            || self.path.contains("/tests/")
    }
}

/// Every Rust source of the workspace.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["src", "catalog/src", "tests"] {
        walk(root, &root.join(folder), &mut found);
    }
    assert!(found.len() > 50, "only {} sources found", found.len());
    found
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path: PathBuf = entry.expect("an entry").path();
        if path.is_dir() {
            walk(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source is UTF-8");
            let path = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            found.push(Source { path, text });
        }
    }
}

fn none_breaks(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}
