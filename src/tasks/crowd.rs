//! The runtime of the crowd: connections and the requests on them, apart from the lanes.
//!
//! A batch is a chain of short steps: lock, read, write, commit. On one runtime each step would
//! queue behind the hundreds of requests that arrive and the hundreds of answers that leave; with
//! two, the system's scheduler lets the lane's next step go first.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

use super::Tasks;

/// As many threads as there are processors; they end when it is dropped.
#[derive(Debug)]
pub struct Crowd {
    runtime: Option<Runtime>,
    handle: Handle,
    tasks: Tasks,
}

impl Crowd {
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(tasks: &Tasks) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .enable_all()
            .thread_name("crowd")
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

    /// The service's tasks; those that are started through it run here.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // To wait for its threads would block a thread of another runtime.
            runtime.shutdown_background();
        }
    }
}
