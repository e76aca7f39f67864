//! The door's connections by number, so that another connection can cancel what one of them runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// What a connection runs now, if anything.
#[derive(Default)]
pub struct Running(Mutex<Option<CancellationToken>>);

impl Running {
    /// Marks the beginning of something that can be cancelled.
    pub fn begin(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.0.lock() = Some(token.clone());
        token
    }

    /// Marks its end: a request that comes later is too late, and does nothing.
    pub fn end(&self) {
        *self.0.lock() = None;
    }

    fn cancel(&self) {
        if let Some(token) = &*self.0.lock() {
            token.cancel();
        }
    }
}

/// All connections that are logged in. Bounded by the door's number of connections.
#[derive(Default)]
pub struct Registry {
    next_process_id: AtomicI32,
    connections: Mutex<HashMap<i32, (i32, Arc<Running>)>>,
}

/// A connection's place in the registry; dropping it takes the connection out.
pub struct Registered {
    registry: Arc<Registry>,
    /// The number the client is told.
    pub process_id: i32,
    /// The secret a cancel request must repeat.
    pub secret: i32,
    /// What the connection runs.
    pub running: Arc<Running>,
}

impl Registry {
    /// Takes a connection in.
    pub fn register(self: &Arc<Registry>) -> Registered {
        let running = Arc::new(Running::default());
        let secret = rand::random();
        let mut connections = self.connections.lock();
        let process_id = loop {
            // After 2³¹ connections the numbers begin again; the ones still in use are passed over.
            let next = self.next_process_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX;
            if next != 0 && !connections.contains_key(&next) {
                break next;
            }
        };
        connections.insert(process_id, (secret, Arc::clone(&running)));
        Registered { registry: Arc::clone(self), process_id, secret, running }
    }

    /// Cancels what the connection runs, if the secret is right. Nobody is told whether it was.
    pub fn cancel(&self, process_id: i32, secret: i32) {
        if let Some((expected, running)) = self.connections.lock().get(&process_id)
            && *expected == secret
        {
            running.cancel();
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.connections.lock().remove(&self.process_id);
    }
}
