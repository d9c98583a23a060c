//! A server that lies in every way: the client does not outlast its time-outs, does not loop, and afterwards updates as ever.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rota::slot::Slot;
use rota::update::Exit;
use support::artifact::{image, Artifact};
use support::machine::Machine;
use support::server::{Event, Reply, Request, Server};

/// The longest that the client may wait for an answer here.
const TIMEOUT: Duration = Duration::from_secs(1);

fn machine(server: &Server) -> Machine {
    let mut machine = Machine::new(server);
    machine.config.server_timeout = TIMEOUT;
    machine.config.poll_interval = Duration::from_millis(100);
    machine.config.inventory_interval = Duration::from_millis(100);
    machine.config.retry_interval = Duration::from_millis(30);
    machine.config.download_retries = 3;
    machine
}

fn raw(text: impl Into<Vec<u8>>) -> Reply {
    Reply { raw: Some(text.into()), ..Reply::default() }
}

fn json(code: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply { body: body.into(), ..Reply::code(code) }.with("Content-Type", "application/json")
}

/// What a server may say to any request of the device API.
fn lies() -> Vec<Reply> {
    let deep = |open: &str| open.repeat(100_000);
    vec![
        // Statuses out of place.
        Reply::code(500),
        Reply::code(503).with("Retry-After", "0"),
        Reply::code(503).with("Retry-After", "-1"),
        Reply::code(429).with("Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT"),
        Reply::code(401),
        Reply::code(418),
        Reply::code(599),
        Reply::code(302).with("Location", "/api/devices/v1/authentication/auth_requests"),
        Reply::code(307).with("Location", "http://localhost:1/"),
        Reply::code(308),
        // Bodies out of place.
        Reply { body: b"<html>Welcome to our hotel</html>".to_vec(), ..Reply::code(200) }
            .with("Content-Type", "text/html"),
        json(200, "{}"),
        json(200, "[1, 2"),
        json(200, "null"),
        json(200, vec![0xff; 100]),
        json(200, deep("[")),
        json(200, deep("{\"id\":")),
        json(200, vec![b' '; 3 << 20]),
        json(500, vec![b'x'; 3 << 20]),
        json(200, r#"{"id":"../../etc","artifact":{"source":{"uri":"https://localhost/x"}}}"#),
        json(200, r#"{"id":7,"artifact":{"source":{"uri":[]}}}"#),
        // Lengths that are wrong.
        json(200, "{}").with("Content-Length", 1000),
        json(200, "{}").with("Content-Length", 1),
        json(200, "{}").with("Content-Length", "18446744073709551615"),
        json(200, "{}").with("Content-Length", "minus one"),
        json(200, "{}").with("Content-Encoding", "gzip"),
        // What is no HTTP, or half of it.
        raw(""),
        raw("\0\u{1}\u{2}garbage"),
        raw("HTTP/1.1 200 OK\r\nContent-Le"),
        raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\nx"),
        raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\nx\r\n0\r\n\r\n"),
        raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}"),
        raw("HTTP/9.9 200 OK\r\n\r\n"),
        raw("HTTP/1.1 99999 OK\r\n\r\n"),
        raw("HTTP/1.1 100 Continue\r\n\r\n".repeat(3)),
        raw(format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(10_000))),
        raw(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(1 << 20))),
        Reply { cut: Some(1), ..json(200, "{\"id\":") },
        // Answers that do not come, or never end.
        Reply { late: TIMEOUT * 2, ..json(200, "{}") },
        Reply { drops: Some((1, TIMEOUT / 5)), ..json(200, vec![b' '; 1000]) },
    ]
}

/// Tells one lie after the other to the requests that `concerned` picks, then the truth. Returns the count of all requests.
fn lie(
    server: &Server,
    lies: Vec<Reply>,
    concerned: fn(&Request) -> bool,
) -> (Arc<AtomicUsize>, Arc<AtomicUsize>) {
    let (all, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (ours, told_here) = (all.clone(), told.clone());
    let mut lies = lies.into_iter();
    server.trick(move |request| {
        ours.fetch_add(1, Ordering::Relaxed);
        let lie = concerned(request).then(|| lies.next()).flatten();
        told_here.fetch_add(usize::from(lie.is_some()), Ordering::Relaxed);
        lie
    });
    (all, told)
}

/// The next deployment works.
fn works(server: &Server, machine: &Machine) {
    server.no_trick();
    server.forget_events();
    server.deploy("good", Artifact::new("good", &image(9, 100_000)).bytes());
    assert_eq!(machine.run_to_report(server), Exit::Restarting);
    machine.power_on();
    machine.run_to_report(server);
    assert_eq!((machine.artifact_name().as_str(), machine.boot_state().committed), ("good", Slot::B));
}

/// Every lie is told to requests of one kind; there are no more than some requests for each of them.
fn lied_to(concerned: fn(&Request) -> bool) {
    let server = Server::start();
    let machine = machine(&server);
    let lies = lies();
    let count = lies.len();
    let (all, told) = lie(&server, lies, concerned);
    let since = Instant::now();
    assert_eq!(machine.run(&server, |_| told.load(Ordering::Relaxed) == count), Exit::Stopped);
    assert!(since.elapsed() < TIMEOUT * 40, "{:?}", since.elapsed());
    let all = all.load(Ordering::Relaxed);
    assert!(all < count * 8, "{all} requests for {count} lies");
    works(&server, &machine);
}

#[test]
fn lies_about_authorisation() {
    lied_to(|request| request.path.ends_with("/auth_requests"));
}

#[test]
fn lies_about_deployments() {
    lied_to(|request| request.path.contains("/deployments/next"));
}

#[test]
fn lies_about_the_inventory() {
    lied_to(|request| request.path.ends_with("/attributes"));
}

/// The device reports, whatever it is answered, and comes to an end.
#[test]
fn lies_about_reports_and_logs() {
    for part in lies().chunks(10) {
        let server = Server::start();
        let machine = machine(&server);
        server.deploy("rel-2", b"no artifact".repeat(100));
        let (all, _) = lie(&server, part.to_vec(), |request| {
            request.path.ends_with("/status") || request.path.ends_with("/log")
        });
        let over = |_: &[Event]| {
            let journal = machine.journal();
            journal.update.is_none() && journal.attempts.last().is_some_and(|attempt| !attempt.unreported)
        };
        assert_eq!(machine.run(&server, over), Exit::Stopped);
        let all = all.load(Ordering::Relaxed);
        assert!(all < part.len() * 8 + 10, "{all} requests for {} lies", part.len());
    }
}

/// A deployment that is downloaded like this fails for a reason like that, with so many requests for the artifact at most.
fn download_fails(lie: impl Fn(&[u8], &Request) -> Reply + Send + 'static, reason: &str, most: usize) {
    let server = Server::start();
    let machine = machine(&server);
    let artifact = Artifact::new("rel-2", &image(3, 300_000)).bytes();
    server.deploy("rel-2", artifact.clone());
    let mut asked = 0;
    let count = Arc::new(AtomicUsize::new(0));
    let ours = count.clone();
    server.trick(move |request| {
        let concerned = request.path.starts_with("/artifact");
        concerned.then(|| {
            asked += 1;
            ours.store(asked, Ordering::Relaxed);
            lie(&artifact, request)
        })
    });
    let since = Instant::now();
    assert_eq!(machine.run_to_report(&server), Exit::Stopped);
    assert!(since.elapsed() < TIMEOUT * 20, "{reason}: {:?}", since.elapsed());
    let (found, log) = server.failure();
    assert!(found.contains(reason), "expected {reason}, found {found}\n{log}");
    let count = count.load(Ordering::Relaxed);
    assert!(count <= most, "{reason}: {count} requests");
    works(&server, &machine);
}

fn whole(body: &[u8]) -> Reply {
    Reply { body: body.to_vec(), ..Reply::code(200) }
}

/// What an honest server answers.
fn rest(body: &[u8], request: &Request) -> Reply {
    let range = request.headers.get("range").map(|range| range[6..range.len() - 1].parse::<usize>().unwrap());
    match range {
        None => whole(body),
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
            Reply { body: body[from..].to_vec(), ..Reply::code(206) }.with("Content-Range", range)
        }
    }
}

#[test]
fn lies_about_the_artifact() {
    // Too short by its own word; too long, and then nothing; longer than anything; and of a length that is none.
    download_fails(|a, _| whole(&a[..a.len() / 2]), "the artifact is truncated", 1);
    let again = "the whole artifact again (200)";
    download_fails(|a, _| Reply { cut: Some(100), ..whole(a) }.with("Content-Length", a.len() + 9), again, 2);
    download_fails(|a, _| Reply { cut: Some(500), ..whole(a) }.with("Content-Length", u64::MAX), again, 2);
    // A reset at every byte: no progress that counts.
    download_fails(|a, request| Reply { cut: Some(1), ..rest(a, request) }, "gave up after 3 retries", 4);
    download_fails(|a, _| whole(a).with("Content-Length", "x"), "gave up after 3 retries", 4);
    // Compressed by its own word; chunks that are none; no HTTP; nothing.
    download_fails(|_, _| raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx"), "", 5);
    download_fails(|_, _| raw("\0\0\0\0"), "gave up after 3 retries", 4);
    download_fails(|_, _| raw(""), "gave up after 3 retries", 4);
    // To somewhere else, round and round, or out of TLS.
    download_fails(
        |_, _| Reply::code(302).with("Location", "/artifact"),
        "artifact addresses must be final",
        1,
    );
    download_fails(|_, _| Reply::code(307).with("Location", "http://x/"), "a redirect to http://x/", 1);
    // What a client did wrong stays wrong.
    download_fails(|_, _| Reply::code(400), "answered 400", 1);
    download_fails(|_, _| Reply::code(416), "answered 416", 1);
    download_fails(|_, _| Reply::code(204), "answered 204", 1);
    // The address is asked for anew, once.
    download_fails(|_, _| Reply::code(403), "answered 403; the address may have expired", 2);
}

#[test]
fn a_download_that_creeps_or_hangs_is_given_up() {
    let creeping = |a: &[u8], request: &Request| Reply { drops: Some((1, TIMEOUT / 10)), ..rest(a, request) };
    download_fails(creeping, "gave up after 3 retries", 4);
    let hanging = |a: &[u8], _: &Request| Reply { late: TIMEOUT * 5, ..whole(a) };
    download_fails(hanging, "gave up after 3 retries", 4);
    let stalling = |a: &[u8], request: &Request| Reply { drops: Some((1, TIMEOUT * 5)), ..rest(a, request) };
    download_fails(stalling, "gave up after 3 retries", 4);
}

#[test]
fn an_address_that_expired_is_asked_for_anew_and_the_download_goes_on() {
    let server = Server::start();
    let machine = machine(&server);
    let artifact = Artifact::new("rel-2", &image(3, 300_000)).bytes();
    server.deploy("rel-2", artifact.clone());
    let mut asked = 0;
    server.trick(move |request| {
        if !request.path.starts_with("/artifact") {
            return None;
        }
        asked += 1;
        if asked > 1 {
            assert_eq!(request.headers.get("if-range").map(String::as_str), Some("\"one\""));
        }
        // Every address takes 100 kB, then breaks off and has expired.
        Some(match asked % 2 {
            0 => Reply::code(403),
            _ => Reply { cut: Some(100_000), ..rest(&artifact, request) }.with("ETag", "\"one\""),
        })
    });
    assert_eq!(machine.run_to_report(&server), Exit::Restarting);
    assert_eq!(machine.slot(Slot::B)[..300_000], image(3, 300_000));
}

/// A server that asks to wait for years is not obeyed for longer than its due, and a waiting client can be stopped and woken.
#[test]
fn an_absurd_wait_holds_nobody() {
    for asked in ["999999999999999999999", "4000000000", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        for concerned in ["/deployments/next", "/artifact", "/auth_requests"] {
            let server = Server::start();
            let machine = machine(&server);
            server.deploy("rel-2", Artifact::new("rel-2", b"x").bytes());
            let told = Arc::new(AtomicUsize::new(0));
            let ours = told.clone();
            server.trick(move |request| {
                request.path.contains(concerned).then(|| {
                    ours.fetch_add(1, Ordering::Relaxed);
                    Reply::code(429).with("Retry-After", asked)
                })
            });
            assert_eq!(machine.run(&server, |_| told.load(Ordering::Relaxed) > 0), Exit::Stopped);
        }
    }
    // The trial is not left hanging.
    let server = Server::start();
    let mut machine = machine(&server);
    server.deploy("rel-2", Artifact::new("rel-2", b"x").bytes());
    machine.run_to_report(&server);
    machine.power_on();
    machine.config.health_timeout = Duration::from_secs(1);
    server.trick(|request| {
        request.reports("installing").then(|| Reply::code(429).with("Retry-After", "4000000000"))
    });
    let since = Instant::now();
    machine.run_to_report(&server);
    assert!(since.elapsed() < Duration::from_secs(30));
    assert_eq!(machine.artifact_name(), "rel-2");
}

/// A deployment that is offered again and again, whatever is reported, is tried once a poll.
#[test]
fn a_deployment_that_never_ends_is_no_loop() {
    let server = Server::start();
    let mut machine = machine(&server);
    machine.config.poll_interval = Duration::from_secs(600);
    let downloads =
        |events: &[Event]| events.iter().filter(|event| matches!(event, Event::Download { .. })).count();
    let reports = |events: &[Event]| {
        events.iter().filter(|event| matches!(event, Event::Status(status, _) if status == "failure")).count()
    };
    server.deploy("rel-2", b"no artifact".repeat(100));
    let since = Instant::now();
    machine.run(&server, |events| {
        if reports(events) == 1 {
            server.deploy("rel-2", b"no artifact".repeat(100));
        }
        since.elapsed() > Duration::from_secs(2)
    });
    assert_eq!((downloads(&server.events()), reports(&server.events())), (1, 1));
}
