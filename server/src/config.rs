//! How the server runs: command line, then environment, then configuration file, then what is built in.
use crate::clock::{self, Millis};
use std::path::PathBuf;

#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of everything that is kept.
    pub data: PathBuf,
    pub listen: String,
    /// How clients reach this server, without a slash at the end; `None`: as they say in `Host`.
    pub public_url: Option<String>,
    /// Most bytes of an uploaded artifact.
    pub artifact_limit: u64,
    pub uploads_at_once: usize,
    pub device_token_life: Millis,
    pub user_token_life: Millis,
    /// Most accepted devices of a tenant; 0: no limit.
    pub max_devices: i64,
    /// Most bytes of all artifacts of a tenant; 0: no limit.
    pub storage_limit: u64,
    /// Speak plain HTTP, to a proxy that has the certificate and says who the client is.
    pub plain_http: bool,
}

impl Config {
    pub fn new(data: PathBuf) -> Config {
        Config {
            data,
            listen: "127.0.0.1:8443".into(),
            public_url: None,
            artifact_limit: 10 << 30,
            uploads_at_once: 4,
            device_token_life: 7 * clock::DAY,
            user_token_life: 7 * clock::DAY,
            max_devices: 0,
            storage_limit: 0,
            plain_http: false,
        }
    }
}
