//! Requests in the queues of the nodes: the guard wakes them, the simulator polls them.

use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use tidegate::fleet::sim::Waiting;

/// A request's place in the queue of a node's process.
pub(super) struct Place {
    pub(super) process: usize,
    pub(super) waiting: Waiting,
    pub(super) waker: Waker,
}

/// Tells whose turn has come.
pub(super) struct Call {
    pub(super) request: u32,
    pub(super) called: Arc<Mutex<Vec<u32>>>,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        let mut called = self.called.lock().expect("nothing panics under this lock");
        called.push(self.request);
    }
}
