//! The server of the sweep, in the thread of the client and without a network. It answers no more than updates need, and ends a
//! client's run once there is nothing more to do.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rota::device::Device;
use rota::identity::Identity;
use rota::net;
use rota::signals::Signals;
use rota::slot::Slot;
use serde_json::json;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use super::flow::{Flow, Trial};
use super::support::http::{self, Reply, Request};
use super::truth::{Told, Truth};

/// Plain HTTP: artifacts are fetched by it when they are signed.
pub const URL: &str = "http://server";
/// More requests than any boot makes.
const REQUESTS: u32 = 30;
/// Longer than any boot takes, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server knows, and what it sees of the boot that runs.
#[derive(Clone)]
pub struct State {
    pub flow: Flow,
    pub truth: Truth,
    /// Name and bytes of the artifact that the device shall have.
    pub deployment: Option<(&'static str, Arc<Vec<u8>>)>,
    /// The slot that runs, and whether on trial.
    pub booted: (Slot, bool),
    pub signals: Signals,
    requests: u32,
    inventory_sent: bool,
    since: Instant,
}

/// Clones are the same server.
#[derive(Clone)]
pub struct Server(Arc<Mutex<State>>);

impl Server {
    pub fn start(flow: Flow) -> Server {
        let state = State {
            flow,
            truth: Truth::default(),
            deployment: None,
            booted: (flow.home(), false),
            signals: Signals::default(),
            requests: 0,
            inventory_sent: false,
            since: Instant::now(),
        };
        let server = Server(Arc::new(Mutex::new(state)));
        let watched = Arc::downgrade(&server.0);
        std::thread::spawn(move || watch(&watched));
        server
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server as the client reaches it.
    pub fn reached_from(&self, device: &Device) -> net::Server {
        let (agent, paths, server) = (
            net::agent(Wire(self.clone()), Nowhere, Duration::from_secs(60)),
            device.paths.clone(),
            self.clone(),
        );
        let identity = move || {
            server.state().count();
            Identity::load(&paths, None)
        };
        net::Server::over(Ok(agent), &device.config, Box::new(identity))
    }
}

impl State {
    /// A boot begins.
    pub fn begin(&mut self, booted: (Slot, bool)) {
        self.booted = booted;
        self.signals = Signals::default();
        (self.requests, self.inventory_sent, self.since) = (0, false, Instant::now());
    }

    /// The client was ended because it would not end.
    pub fn went_in_circles(&self) -> bool {
        self.requests > REQUESTS || self.since.elapsed() > PATIENCE
    }

    /// Something was begun that leads to a request.
    fn count(&mut self) {
        self.requests += 1;
        if self.requests > REQUESTS {
            self.signals.stop();
        }
    }

    /// `None`: the connection breaks off.
    fn answer(&mut self, request: &Request) -> Option<Reply> {
        self.count();
        let (_, on_trial) = self.booted;
        if on_trial && self.flow.trial == Trial::Offline {
            return None;
        }
        self.truth.trial_heard |= on_trial;
        let text = |body: String| Reply { body: body.into_bytes(), ..Reply::code(200) };
        let path = request.path.as_str();
        Some(match path.rsplit('/').next().unwrap_or_default() {
            "auth_requests" => text("token".into()),
            "next" => match &self.deployment {
                Some((name, _)) => text(
                    json!({ "id": name, "artifact": { "artifact_name": name, "source": { "uri": format!("{URL}/artifact") } } })
                        .to_string(),
                ),
                None => {
                    if self.inventory_sent {
                        self.signals.stop();
                    }
                    Reply::code(204)
                }
            },
            "artifact" => match &self.deployment {
                Some((_, artifact)) => Reply { body: artifact.to_vec(), ..Reply::code(200) },
                None => Reply::code(404),
            },
            "status" => self.status(request),
            "log" => Reply::code(204),
            "attributes" => {
                self.inventory_sent = true;
                if self.flow.by_hand.is_some() {
                    // The daemon has nothing more to do; now the person comes.
                    self.signals.stop();
                }
                Reply::code(200)
            }
            _ => Reply::code(404),
        })
    }

    fn status(&mut self, request: &Request) -> Reply {
        let body = request.json();
        let status = body["status"].as_str().unwrap_or_default();
        if let Some(why) = body["substate"].as_str().filter(|why| why.starts_with("waiting")) {
            self.flow.set_clock(why);
        }
        if status == self.flow.aborts_at && self.booted.1 == (status == "installing") {
            return Reply::code(409);
        }
        if ["success", "failure"].contains(&status) {
            let id = request.path.rsplit('/').nth(1).unwrap_or_default();
            self.truth.verdicts.push(Told {
                artifact: id.to_owned(),
                success: status == "success",
                reason: body["substate"].as_str().unwrap_or_default().to_owned(),
            });
            if self.deployment.as_ref().is_some_and(|(name, _)| *name == id) {
                self.deployment = None;
            }
            self.inventory_sent = false;
        }
        Reply::code(204)
    }
}

/// Connections that lead to the server without a network.
struct Wire(Server);

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl Connector for Wire {
    type Out = Connection;

    fn connect(&self, _: &ConnectionDetails, _: Option<()>) -> Result<Option<Connection>, ureq::Error> {
        let buffers = LazyBuffers::new(16 << 10, 16 << 10);
        Ok(Some(Connection {
            server: self.0.clone(),
            buffers,
            request: Vec::new(),
            reply: Vec::new(),
            read: 0,
        }))
    }
}

struct Connection {
    server: Server,
    buffers: LazyBuffers,
    request: Vec<u8>,
    reply: Vec<u8>,
    read: usize,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        self.request.extend_from_slice(&self.buffers.output()[..amount]);
        Ok(())
    }

    /// The client waits: its request is whole.
    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        if self.read == self.reply.len() {
            let request = std::mem::take(&mut self.request);
            let request = http::read(&mut request.as_slice())?.ok_or_else(broken_off)?;
            let reply = self.server.state().answer(&request).ok_or_else(broken_off)?;
            (self.reply, self.read) = (Vec::new(), 0);
            http::write(&mut self.reply, &reply)?;
        }
        let input = self.buffers.input_append_buf();
        let count = input.len().min(self.reply.len() - self.read);
        input[..count].copy_from_slice(&self.reply[self.read..self.read + count]);
        self.buffers.input_appended(count);
        self.read += count;
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        true
    }
}

/// There are no addresses where there is no network.
#[derive(Debug)]
struct Nowhere;

impl Resolver for Nowhere {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut found = self.empty();
        found.push(([0, 0, 0, 0], 0).into());
        Ok(found)
    }
}

/// Ends a client that does not come to an end.
fn watch(shared: &Weak<Mutex<State>>) {
    while let Some(shared) = shared.upgrade() {
        let state = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.elapsed() > PATIENCE {
            state.signals.stop();
        }
        drop(state);
        drop(shared);
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn broken_off() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
