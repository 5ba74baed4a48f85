//! Where tasks run that nobody waits for: one thread for all of a process, which outlives the runtimes of its users.

use std::future::pending;
use std::sync::OnceLock;
use tokio::runtime::Handle;

/// Runs `task` on `runtime`, or on the driver thread of the process.
pub(crate) fn spawn(runtime: Option<&Handle>, task: impl Future<Output = ()> + Send + 'static) {
    runtime.unwrap_or_else(|| driver()).spawn(task);
}

fn driver() -> &'static Handle {
    static DRIVER: OnceLock<Handle> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the operating system gives a process an event queue");
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name("tidegate".to_owned())
            .spawn(move || runtime.block_on(pending::<()>()))
            .expect("the operating system gives a process a thread");
        handle
    })
}
