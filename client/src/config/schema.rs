//! `dist/rota.schema.json` says of `rota.toml` what the code does.

use serde_json::{Map, Value};

use super::keys::KEYS;
use super::*;

/// Every key of the schema, with what it says of it; references are resolved.
fn schema() -> Vec<(String, Map<String, Value>)> {
    let root: Value = serde_json::from_str(include_str!("../../dist/rota.schema.json")).unwrap();
    let resolve = |of: &Value| {
        let mut of = of.as_object().unwrap().clone();
        if let Some(Value::String(to)) = of.remove("$ref") {
            let definition = &root["definitions"][to.trim_start_matches("#/definitions/")];
            for (name, value) in definition.as_object().unwrap() {
                of.entry(name.clone()).or_insert(value.clone());
            }
        }
        of
    };
    let mut keys = Vec::new();
    for (name, of) in root["properties"].as_object().unwrap() {
        match of["properties"].as_object() {
            Some(inner) => {
                assert_eq!(
                    (&of["additionalProperties"], &of["type"]),
                    (&false.into(), &"object".into()),
                    "{name}"
                );
                keys.extend(inner.iter().map(|(key, of)| (format!("{name}.{key}"), resolve(of))));
            }
            None => keys.push((name.clone(), resolve(of))),
        }
    }
    keys
}

#[test]
fn the_schema_has_the_keys_that_are_known_and_no_others() {
    let mut ours: Vec<_> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
    let mut schemas: Vec<_> = schema().into_iter().map(|(key, _)| key).collect();
    ours.sort();
    schemas.sort();
    assert_eq!(ours, schemas);
}

#[test]
fn its_defaults_are_the_codes_and_its_examples_are_good() {
    for (key, of) in schema() {
        assert!(of["description"].as_str().is_some_and(|text| text.ends_with('.')), "{key}");
        let mut config = Config::default();
        let mut set = |value: &Value| {
            config
                .set(&key, &toml::Value::try_from(value).unwrap())
                .unwrap_or_else(|why| panic!("{key}: {why}"));
            format!("{config:?}")
        };
        match (of.get("default"), of.get("examples")) {
            (Some(default), None) => assert_eq!(set(default), format!("{:?}", Config::default()), "{key}"),
            (None, Some(Value::Array(examples))) => examples.iter().for_each(|example| {
                assert_ne!(set(example), format!("{:?}", Config::default()), "{key}");
            }),
            _ => panic!("{key}: expected a default or examples"),
        }
    }
}

/// What the schema calls a type is what the code takes for one.
#[test]
fn its_types_are_the_codes() {
    let probes: [(&str, toml::Value); 5] = [
        ("string", "/a".into()),
        ("integer", 7.into()),
        ("boolean", true.into()),
        ("array", toml::Value::Array(Vec::new())),
        ("object", toml::Value::Table(toml::Table::new())),
    ];
    for (key, of) in schema() {
        let types: Vec<&str> = match of.get("oneOf") {
            Some(several) => {
                several.as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect()
            }
            None => vec![of["type"].as_str().unwrap()],
        };
        // Texts with a form of their own are refused here, and accepted as defaults and examples.
        let has_form = ["oneOf", "enum", "pattern"].iter().any(|form| of.contains_key(*form));
        for (name, value) in &probes {
            let taken = Config::default().set(&key, value).is_ok();
            if *name == "string" && has_form {
                continue;
            }
            assert_eq!(taken, types.contains(name), "{key} as {name}");
        }
    }
}
