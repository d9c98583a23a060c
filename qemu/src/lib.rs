//! Virtual machines for rota's demo and system tests. A scenario starts with a [`lab::Lab`].
#![forbid(unsafe_code)]

pub mod api;
pub mod boards;
pub mod console;
pub mod cuts;
pub mod debian;
pub mod demo;
pub mod disk;
pub mod error;
pub mod house;
pub mod kind;
pub mod lab;
pub mod lossy;
pub mod machine;
pub mod random;
pub mod release;
pub mod run;
pub mod server;
pub mod soak;
pub mod tree;
pub mod wait;
