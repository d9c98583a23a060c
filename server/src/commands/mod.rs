//! What the program does besides serving.
pub mod backup;
pub mod check;
pub mod health;
pub mod users;
