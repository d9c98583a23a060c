//! The description against what is routed.
use crate::common::{Body, Server};
use crate::coverage;
use serde_json::Value;

#[test]
fn what_is_described_is_routed_and_what_is_routed_is_described() {
    let server = Server::start();
    let served = server.send("GET", "/api/openapi.json", &[], Body::None).expect(200).json();
    let built: Value = serde_json::from_str(&rota_server::api::openapi().to_json().unwrap()).unwrap();
    assert_eq!(served, built);
    for (method, path) in coverage::described().into_keys() {
        let reply = server.send(&method, &path.replace("{}", "x"), &[], Body::None);
        let routed = reply.status != 405 && !reply.text().contains("no such path");
        assert!(routed, "{method} {path}: {}", reply.text());
    }
    // The other way round: a route is made by `routes!`, which takes it from its description, except for these few.
    let mut plain = Vec::new();
    each_source(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut |text| {
        plain.extend(text.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
    });
    plain.sort();
    assert_eq!(plain, ["/api/openapi.json", "/health/live", "/health/ready", "/metrics"]);
}

fn each_source(folder: &std::path::Path, act: &mut impl FnMut(String)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_source(&path, act);
        } else {
            act(std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_operation_says_which_token_it_needs() {
    let api: Value = serde_json::from_str(&rota_server::api::openapi().to_json().unwrap()).unwrap();
    let mut open = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"].as_array().unwrap_or_else(|| panic!("{method} {path}"));
            match security.first() {
                None => open.push(format!("{method} {path}")),
                Some(one) => {
                    let kind = if path.starts_with("/api/devices") { "device" } else { "user" };
                    assert!(one.get(kind).is_some(), "{method} {path}");
                }
            }
        }
    }
    assert_eq!(
        open,
        [
            "post /api/devices/v1/authentication/auth_requests",
            "get /api/devices/v1/deployments/download/artifact/{id}",
            "get /api/devices/v1/deployments/download/configuration/{id}/{device_type}/{device}",
            "put /api/management/v1/deployments/artifacts/directupload/{id}",
            "post /api/management/v1/useradm/auth/login",
        ]
    );
}
