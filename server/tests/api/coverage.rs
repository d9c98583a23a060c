//! What the contract tests called, held against Mender's operations and against the errors that are documented.
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Mutex;

/// A full disk has a test of its own.
const FULL: u16 = 507;

static SEEN: Mutex<Vec<(String, String, u16)>> = Mutex::new(Vec::new());

/// Notes an answer.
pub fn observe(method: &str, path: &str, status: u16) {
    let path = path.split_once("://").map_or(path, |(_, rest)| &rest[rest.find('/').unwrap_or(rest.len())..]);
    let path = path.split('?').next().unwrap().to_owned();
    SEEN.lock().unwrap().push((method.to_owned(), path, status));
}

/// A path pattern with its names left out.
pub fn bare(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// `(METHOD, bare path)` to the documented statuses.
pub fn described() -> BTreeMap<(String, String), BTreeSet<u16>> {
    let api: Value = serde_json::from_str(&rota_server::api::openapi().to_json().unwrap()).unwrap();
    let mut operations = BTreeMap::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let statuses = operation["responses"].as_object().unwrap().keys();
            let statuses = statuses.map(|status| status.parse().unwrap()).collect();
            operations.insert((method.to_uppercase(), bare(path)), statuses);
        }
    }
    operations
}

/// The pattern that a path belongs to: the one with the fewest names.
fn pattern<'a>(patterns: &'a [(String, String)], method: &str, path: &str) -> Option<&'a (String, String)> {
    let parts: Vec<_> = path.split('/').collect();
    let fits = |pattern: &str| {
        let pattern: Vec<_> = pattern.split('/').collect();
        pattern.len() == parts.len()
            && pattern.iter().zip(&parts).all(|(pattern, part)| *pattern == "{}" || pattern == part)
    };
    let fitting = patterns.iter().filter(|(of, pattern)| of == method && fits(pattern));
    fitting.min_by_key(|(_, pattern)| pattern.matches("{}").count())
}

/// Past the test runner, which keeps what a good test prints to itself.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints the table, and fails when an operation lacks something.
pub fn report() {
    let described = described();
    let patterns: Vec<_> = described.keys().cloned().collect();
    let mut seen: BTreeMap<&(String, String), BTreeSet<u16>> = BTreeMap::new();
    for (method, path, status) in SEEN.lock().unwrap().iter() {
        if let Some(operation) = pattern(&patterns, method, path) {
            seen.entry(operation).or_default().insert(*status);
        }
    }
    let mut faults = Vec::new();
    let (mut operations, mut implemented, mut tested) = (0, 0, 0);
    let mut listed = BTreeSet::new();
    for line in include_str!("operations.txt").lines().filter(|line| !line.starts_with('#')) {
        let (operation, absent) =
            line.split_once(" -- ").map_or((line, None), |(left, why)| (left, Some(why)));
        let mut words = operation.split_whitespace();
        let operation = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        operations += 1;
        let shown = format!("{:6} {}", operation.0, operation.1);
        let Some(statuses) = described.get(&operation) else {
            say(&format!("{shown:<86} absent: {}", absent.unwrap_or("?")));
            if absent.is_none() {
                faults.push(format!("{shown} is not implemented"));
            }
            continue;
        };
        implemented += 1;
        let met = seen.get(&operation).cloned().unwrap_or_default();
        let missing: Vec<_> = statuses.difference(&met).filter(|status| **status != FULL).collect();
        tested += usize::from(missing.is_empty());
        let list: Vec<_> = statuses.intersection(&met).map(u16::to_string).collect();
        say(&format!("{shown:<86} {}", list.join(" ")));
        if !missing.is_empty() {
            faults.push(format!("{shown} was never answered with {missing:?}"));
        }
        listed.insert(operation);
    }
    for operation in patterns.iter().filter(|operation| !listed.contains(operation)) {
        faults.push(format!("{operation:?} is not in operations.txt"));
    }
    say(&format!(
        "{operations} operations, {implemented} implemented, {tested} tested with every documented status"
    ));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
