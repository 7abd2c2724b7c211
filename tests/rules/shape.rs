//! How the code is laid out.

use super::{Source, none_breaks, sources};

/// Lines of a file at most, its unit tests not counted.
const FILE: usize = 500;
/// Nine of ten functions are shorter than this many lines, and none is longer than the second.
const FUNCTION: usize = 35;
const LONGEST: usize = 60;

#[test]
fn every_module_says_what_it_is_for() {
    let tests = |source: &Source| source.path.ends_with("tests.rs") || source.text.lines().count() == 1;
    let broken: Vec<String> =
        sources().iter().filter(|s| !s.text.starts_with("//! ") && !tests(s)).map(|s| s.path.clone()).collect();
    none_breaks("a module begins with //!", &broken);
}

#[test]
fn files_stay_short() {
    let long = |source: &Source| {
        let lines = source.text.split("\n#[cfg(test)]\n").next().unwrap_or_default().lines().count();
        (lines > FILE).then(|| format!("{}: {lines} lines", source.path))
    };
    let broken: Vec<String> = sources().iter().filter_map(long).collect();
    none_breaks("split the file by meaning", &broken);
}

#[test]
fn functions_stay_short() {
    let mut lengths: Vec<(usize, String)> = sources().iter().filter(|s| !s.is_test()).flat_map(functions).collect();
    lengths.sort_unstable();
    assert!(lengths.len() > 200, "only {} functions found", lengths.len());
    let nine_in_ten = &lengths[lengths.len() * 9 / 10];
    assert!(nine_in_ten.0 < FUNCTION, "nine in ten functions have up to {} lines ({})", nine_in_ten.0, nine_in_ten.1);
    let long =
        lengths.iter().filter(|(length, _)| *length > LONGEST).map(|(length, at)| format!("{at}: {length} lines"));
    none_breaks("split the function", &long.collect::<Vec<_>>());
}

/// Length and place of each function, from its signature to the brace that closes it, as rustfmt sets it.
fn functions(source: &Source) -> Vec<(usize, String)> {
    let lines: Vec<(usize, &str)> = source.code().collect();
    let mut found = Vec::new();
    for (at, (number, line)) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let signature = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "async fn ",
            "pub async fn ",
            "const fn ",
            "pub const fn ",
        ];
        if !signature.iter().any(|start| trimmed.starts_with(start))
            || trimmed.ends_with(';')
            || trimmed.ends_with("{}")
        {
            continue;
        }
        let indent = line.len() - trimmed.len();
        let close = format!("{}}}", " ".repeat(indent));
        if let Some((end, _)) = lines[at..].iter().find(|(_, line)| *line == close) {
            found.push((end - number + 1, format!("{}:{number}", source.path)));
        }
    }
    found
}

#[test]
fn no_path_of_a_machine_and_no_registry_is_named() {
    // Put together, so that this file does not break its own rule.
    let hosts = ["crates.io", "npmjs", "pypi.org", "maven.org", "pythonhosted"];
    let roots =
        ["/ho".to_owned() + "me/", "/ro".to_owned() + "ot/", "/Us".to_owned() + "ers/", "/wo".to_owned() + "rk/"];
    let mut broken = Vec::new();
    for source in sources().iter().filter(|source| source.path != "tests/rules/shape.rs") {
        for (number, line) in source.text.lines().enumerate() {
            let named = hosts.iter().copied().chain(roots.iter().map(String::as_str)).find(|text| line.contains(text));
            broken.extend(named.map(|text| format!("{}:{}: {text}", source.path, number + 1)));
        }
    }
    none_breaks("a path or a host that only one machine has", &broken);
}

#[test]
fn no_name_says_nothing() {
    let empty = ["utils", "helpers", "manager", "misc", "common"];
    let says_nothing = |source: &&Source| source.path.split(['/', '.']).any(|part| empty.contains(&part));
    let broken: Vec<String> = sources().iter().filter(says_nothing).map(|s| s.path.clone()).collect();
    none_breaks("name the module by what it is for", &broken);
}
