//! A Tokio runtime for connections and requests, separate from that of lanes and jobs.
//!
//! A batch is a chain of short steps: lock, read, write, commit. On one runtime each step would
//! queue behind hundreds of incoming requests and outgoing responses; with two, the operating
//! system schedules the lane's next step first.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

use super::Tasks;

/// A runtime with one thread per processor; dropping it ends the threads.
#[derive(Debug)]
pub struct RequestRuntime {
    runtime: Option<Runtime>,
    handle: Handle,
    tasks: Tasks,
}

impl RequestRuntime {
    /// # Errors
    /// When the operating system cannot start a thread.
    pub fn start(tasks: &Tasks) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .thread_name("requests")
            .build()?;
        Ok(Self {
            tasks: tasks.on(runtime.handle()),
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    pub fn runtime(&self) -> &Handle {
        &self.handle
    }

    /// The service's tasks; those started through this handle run on this runtime.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }
}

impl Drop for RequestRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for its threads would block a thread of another runtime.
            runtime.shutdown_background();
        }
    }
}
