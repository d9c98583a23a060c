//! What happens, told to those who listen.
use crate::store::Tenant;
use serde_json::Value;
use tokio::sync::broadcast;

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Event {
    pub tenant: Tenant,
    /// `device`, `deployment`.
    pub topic: &'static str,
    pub data: Value,
}

/// A listener that is slower than this many events misses some, and is told so.
const BACKLOG: usize = 1024;

pub struct Events(broadcast::Sender<Event>);

impl Default for Events {
    fn default() -> Self {
        Events(broadcast::Sender::new(BACKLOG))
    }
}

impl Events {
    pub fn tell(&self, tenant: &Tenant, topic: &'static str, data: Value) {
        // Nobody listens: nobody misses it.
        let _ = self.0.send(Event { tenant: tenant.clone(), topic, data });
    }

    pub fn listen(&self) -> broadcast::Receiver<Event> {
        self.0.subscribe()
    }
}
