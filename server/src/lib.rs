//! The server of rota.
#![forbid(unsafe_code)]
pub mod api;
pub mod app;
pub mod artifact;
pub mod blobs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod events;
pub mod files;
pub mod identity;
pub mod init;
pub mod keys;
pub mod links;
pub mod parse;
pub mod password;
pub mod pubkey;
pub mod rollout;
pub mod serve;
pub mod store;
pub mod throttle;
pub mod tls;
pub mod token;
pub mod upload;
