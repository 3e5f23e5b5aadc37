//! Child processes that end with their owner, and the process table.

use std::{
    fs,
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::eventually;

/// A child that is killed and reaped when its owner is dropped, also while it is stopped.
#[derive(Debug)]
pub(crate) struct Owned(Child);

impl Owned {
    pub(crate) fn new(child: Child) -> Self {
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self::signal(self.pid(), signal);
    }

    /// Ends it the hard way.
    pub(crate) fn kill(&mut self) {
        // An error means that it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }

    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    pub(crate) async fn exit(&mut self, within: Duration) -> ExitStatus {
        eventually("the process ends", within, async || self.exited()).await
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    let sent = kill(Pid::from_raw(pid.try_into().unwrap()), signal);
    // One that has just ended by itself needs no signal any more.
    assert!(matches!(sent, Ok(()) | Err(Errno::ESRCH)), "{sent:?}");
}

/// Whether a process runs; one that ended and was not reaped yet does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    table().iter().any(|row| row.pid == pid && !row.ended)
}

/// The children of a process, their children, and so on.
pub(crate) fn descendants_of(ancestor: u32) -> Vec<u32> {
    let table = table();
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(
            table
                .iter()
                .filter(|row| row.parent == parent && !row.ended)
                .map(|r| r.pid),
        );
        next += 1;
    }
    found.split_off(1)
}

/// Those among them that run `redis-server`.
pub(crate) fn redis_servers_of(ancestor: u32) -> Vec<u32> {
    let family = descendants_of(ancestor);
    let table = table();
    let servers = table
        .iter()
        .filter(|row| family.contains(&row.pid) && row.name == "redis-server");
    servers.map(|row| row.pid).collect()
}

struct Row {
    pid: u32,
    parent: u32,
    name: String,
    ended: bool,
}

fn table() -> Vec<Row> {
    if fs::exists("/proc/self/stat").unwrap() {
        table_of_proc()
    } else {
        table_of_ps()
    }
}

/// `/proc/PID/stat` reads `PID (NAME) STATE PARENT …`; the name may hold blanks and brackets.
fn table_of_proc() -> Vec<Row> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (head, tail) = stat.rsplit_once(')')?;
            let name = head.split_once('(')?.1.to_owned();
            let mut fields = tail.split_whitespace();
            let ended = matches!(fields.next()?, "Z" | "X");
            let parent = fields.next()?.parse().ok()?;
            Some(Row {
                pid,
                parent,
                name,
                ended,
            })
        })
        .collect()
}

fn table_of_ps() -> Vec<Row> {
    let listing = Command::new("ps")
        .args(["-A", "-o", "pid=,ppid=,stat=,comm="])
        .output()
        .unwrap();
    String::from_utf8_lossy(&listing.stdout)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let pid = fields.next()?.parse().ok()?;
            let parent = fields.next()?.parse().ok()?;
            let ended = fields.next()?.starts_with('Z');
            let name = fields.next()?.rsplit('/').next()?.to_owned();
            Some(Row {
                pid,
                parent,
                name,
                ended,
            })
        })
        .collect()
}
