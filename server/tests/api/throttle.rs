//! Guessing is slowed down, by account and by address.
use crate::common::Server;

#[test]
fn after_some_failures_an_address_waits_whatever_account_it_tries() {
    let server = Server::start();
    for number in 0..5 {
        server.sign_in(&format!("user{number}@example.com"), "wrong").expect(401);
    }
    let reply = server.sign_in("another@example.com", "wrong").expect(429);
    assert!(reply.json()["request_id"].is_string());
}
