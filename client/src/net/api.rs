//! The requests of the device API, each with its path, its body and the statuses it takes for success.

use std::collections::BTreeMap;

use serde_json::{json, Value};
use ureq::http::Method;

use super::{Answer, Error, Server};

pub(super) const AUTHORISE: &str = "authorise";
pub(super) const AUTH_PATH: &str = "/api/devices/v1/authentication/auth_requests";
const DEPLOYMENTS: &str = "/api/devices/v1/deployments/device/deployments";
pub(super) const NEXT_V1: &str = "/api/devices/v1/deployments/device/deployments/next";
const NEXT_V2: &str = "/api/devices/v2/deployments/device/deployments/next";
const ATTRIBUTES: &str = "/api/devices/v1/inventory/device/attributes";

/// A deployment that is meant for this device (device API: next deployment).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Names the deployment in every report.
    pub id: String,
    /// Where the artifact lies.
    pub uri: String,
    /// What the server says that the artifact is called.
    pub artifact_name: Option<String>,
}

/// What a device says of a deployment (device API: status).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The artifact is being fetched and written.
    Downloading,
    /// It is being installed, or about to be committed.
    Installing,
    /// The trial begins.
    Rebooting,
    /// Committed.
    Success,
    /// Not installed, or rolled back.
    Failure,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Status::Downloading => "downloading",
            Status::Installing => "installing",
            Status::Rebooting => "rebooting",
            Status::Success => "success",
            Status::Failure => "failure",
        }
    }
}

/// One line of a deployment log.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// RFC 3339.
    pub timestamp: String,
    /// `error`, `warning`, `info` or `debug`.
    pub level: String,
    /// One or more lines.
    pub message: String,
}

impl Server {
    /// Asks for a deployment, with all that the device provides. `provides` holds `device_type` too.
    pub fn next_deployment(
        &mut self,
        provides: &BTreeMap<String, String>,
    ) -> Result<Option<Deployment>, Error> {
        const ACT: &str = "ask for a deployment";
        // Servers differ in the forms they know; the form that a server knows must not change between two polls.
        loop {
            let answer = self.ask_in_form(provides)?;
            match answer.code {
                200 => {
                    return deployment(&answer.body)
                        .map(Some)
                        .map_err(|found| Error::Answer { act: ACT, found })
                }
                204 => return Ok(None),
                404 | 405 if self.next_form < 2 => self.next_form += 1,
                404 | 405 => {
                    self.next_form = 0;
                    return Err(answer.error(ACT));
                }
                _ => return Err(answer.error(ACT)),
            }
        }
    }

    /// The next deployment is asked for in the first form again: a server that lacked it may have been in trouble, or replaced.
    pub fn deployment_is_over(&mut self) {
        self.next_form = 0;
    }

    fn ask_in_form(&mut self, provides: &BTreeMap<String, String>) -> Result<Answer, Error> {
        let of = |key: &str| provides.get(key).map_or("", String::as_str);
        let (artifact_name, device_type) = (of("artifact_name"), of("device_type"));
        match self.next_form {
            0 => self.call(
                Method::POST,
                NEXT_V2,
                Some(json!({ "device_provides": provides }).to_string().as_bytes()),
            ),
            1 => {
                let body = json!({
                    "artifact_name": artifact_name, "device_type": device_type, "artifact_provides": provides,
                });
                self.call(Method::POST, &format!("{DEPLOYMENTS}/next"), Some(body.to_string().as_bytes()))
            }
            _ => {
                let (name, device_type) = (percent(artifact_name), percent(device_type));
                let path = format!("{DEPLOYMENTS}/next?artifact_name={name}&device_type={device_type}");
                self.call(Method::GET, &path, None)
            }
        }
    }

    /// Reports how a deployment stands. A 409 means that it was aborted.
    pub fn report(&mut self, id: &str, status: Status, substate: Option<&str>) -> Result<(), Error> {
        let mut body = json!({ "status": status.name() });
        if let Some(substate) = substate {
            body["substate"] = short(substate, 200).into();
        }
        self.done("report the status", &format!("{DEPLOYMENTS}/{id}/status"), &body, 204)
    }

    /// Sends the log of a failed deployment.
    pub fn send_log(&mut self, id: &str, messages: &[Message]) -> Result<(), Error> {
        let body = json!({ "messages": messages });
        self.done("send the deployment log", &format!("{DEPLOYMENTS}/{id}/log"), &body, 204)
    }

    /// Replaces the device's attributes: a value is a text or a list of texts.
    pub fn send_inventory(&mut self, attributes: &BTreeMap<String, Value>) -> Result<(), Error> {
        let list = attributes.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.done("send the inventory", ATTRIBUTES, &Value::Array(list), 200)
    }

    fn done(&mut self, act: &'static str, path: &str, body: &Value, success: u16) -> Result<(), Error> {
        let answer = self.call(Method::PUT, path, Some(body.to_string().as_bytes()))?;
        if answer.code == success {
            Ok(())
        } else {
            Err(answer.error(act))
        }
    }
}

/// At most `limit` characters, as the server counts them.
pub fn short(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    text.chars().take(limit - 1).chain(['…']).collect()
}

fn deployment(body: &[u8]) -> Result<Deployment, String> {
    let json: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let text =
        |value: &Value, name: &str| value.as_str().map(str::to_owned).ok_or(format!("{name} is missing"));
    let id = text(&json["id"], "id")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    // It becomes part of paths, here and on the server.
    if id.is_empty() || id.len() > 64 || !id.bytes().all(plain) {
        return Err(format!("id {id:?} is not an id of at most 64 letters, digits, - and _"));
    }
    let uri = text(&json["artifact"]["source"]["uri"], "artifact.source.uri")?;
    let artifact_name = json["artifact"]["artifact_name"].as_str().map(str::to_owned);
    Ok(Deployment { id, uri, artifact_name })
}

fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_needs_id_and_address_and_a_harmless_id() {
        let body = r#"{"id":"d-1","artifact":{"artifact_name":"rel-2","source":{"uri":"https://s/a","expire":"x"}},"more":1}"#;
        let expected =
            Deployment { id: "d-1".into(), uri: "https://s/a".into(), artifact_name: Some("rel-2".into()) };
        assert_eq!(deployment(body.as_bytes()), Ok(expected));
        for wrong in ["", "[]", r#"{"id":"d"}"#, &body.replace("d-1", "../d"), &body.replace("d-1", "")] {
            assert!(deployment(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn queries_are_encoded_and_texts_cut_at_characters() {
        assert_eq!(percent("rel 2/ä"), "rel%202%2F%C3%A4");
        assert_eq!(short("ääääää", 4), "äää…");
        assert_eq!(short("four", 4), "four");
    }
}
