//! Guessing is slowed down, by account and by address.
use crate::common::Server;
use std::io::{ErrorKind, Read, Write};

#[test]
fn after_some_failures_an_address_waits_whatever_account_it_tries() {
    let server = Server::start();
    for number in 0..5 {
        server.sign_in(&format!("user{number}@example.com"), "wrong").expect(401);
    }
    let reply = server.sign_in("another@example.com", "wrong").expect(429);
    assert!(reply.json()["request_id"].is_string());
}

/// A connection that says nothing, or stops in its head, or in HTTP/2's preface, is closed.
#[test]
fn who_says_nothing_is_left() {
    let server = Server::start();
    let begun = ["", "GET /health/live HTTP/1.1\r\nHo", "PRI * HTTP/2.0\r\n"].map(|begin| {
        let mut connection = crate::common::device::tls(&server);
        connection.write_all(begin.as_bytes()).unwrap();
        connection.flush().unwrap();
        (begin, connection)
    });
    for (begin, mut connection) in begun {
        // Without an end, the test's own patience runs out: an error of the kind WouldBlock.
        let end = connection.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
        assert!(matches!(end, Ok(_) | Err(ErrorKind::UnexpectedEof)), "{begin:?}: {end:?}");
    }
}
