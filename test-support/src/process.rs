//! Child processes that end with their owner, and the process table.

use std::{
    fmt::Write as _,
    fs, io,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::bail;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait::eventually;

const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// A child that is killed and reaped when its owner is dropped, also while it is stopped.
#[derive(Debug)]
pub struct Owned(Child);

impl Owned {
    pub fn new(child: Child) -> Self {
        Self(child)
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self::signal(self.pid(), signal)
    }

    /// Kills (SIGKILL) and reaps it.
    pub fn kill(&mut self) {
        // An error means that it has already ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }

    pub fn exited(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    pub async fn exit(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let exited = async || self.exited().transpose();
        Ok(eventually("the process ends", within, exited).await??)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started or does not end in time. It is killed then, and the error has what it
/// printed and what its threads waited for.
pub fn output_within(command: &mut Command, within: Duration) -> anyhow::Result<Output> {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = piped.spawn()?;
    let pid = child.id();
    let (told, output) = mpsc::channel();
    thread::spawn(move || told.send(child.wait_with_output()));
    if let Ok(output) = output.recv_timeout(within) {
        return Ok(output?);
    }
    let threads = threads_of(pid);
    signal(pid, Signal::SIGKILL)?;
    // None if another process has its standard output or error.
    let output = output.recv_timeout(KILLED_WITHIN);
    bail!("{command:?} did not end within {within:?}: {output:?}\n{threads}");
}

/// A line for each thread: its name, state, system call and what it waits for in the kernel. Empty
/// where there is no `/proc`.
pub fn threads_of(pid: u32) -> String {
    let mut lines = String::new();
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let status = read("status");
        let state = status.lines().find(|line| line.starts_with("State"));
        let (name, call, channel) = (read("comm"), read("syscall"), read("wchan"));
        let (name, call, state) = (name.trim(), call.trim(), state.unwrap_or_default());
        // A string takes any text.
        let _ = writeln!(lines, "{name}: {state}, syscall {call}, {channel}");
    }
    lines
}

/// A process that has already ended is no error.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = pid.try_into().map_err(io::Error::other)?;
    match kill(Pid::from_raw(pid), signal) {
        Err(error) if error != Errno::ESRCH => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether a process runs; one that ended and was not reaped yet does not.
pub fn is_alive(pid: u32) -> io::Result<bool> {
    Ok(table()?.iter().any(|row| row.pid == pid && !row.ended))
}

/// The children of a process, their children, and so on.
pub fn descendants_of(ancestor: u32) -> io::Result<Vec<u32>> {
    let table = table()?;
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
    Ok(found.split_off(1))
}

/// The descendants that run `redis-server`.
pub fn redis_servers_of(ancestor: u32) -> io::Result<Vec<u32>> {
    let descendants = descendants_of(ancestor)?;
    let table = table()?;
    let servers = table
        .iter()
        .filter(|row| descendants.contains(&row.pid) && row.name == "redis-server");
    Ok(servers.map(|row| row.pid).collect())
}

struct Row {
    pid: u32,
    parent: u32,
    name: String,
    ended: bool,
}

fn table() -> io::Result<Vec<Row>> {
    if fs::exists("/proc/self/stat")? {
        table_of_proc()
    } else {
        table_of_ps()
    }
}

/// `/proc/PID/stat` reads `PID (NAME) STATE PARENT …`; the name may contain spaces and `)`.
fn table_of_proc() -> io::Result<Vec<Row>> {
    let rows = fs::read_dir("/proc")?
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
        .collect();
    Ok(rows)
}

fn table_of_ps() -> io::Result<Vec<Row>> {
    let listing = Command::new("ps")
        .args(["-A", "-o", "pid=,ppid=,stat=,comm="])
        .output()?;
    let rows = String::from_utf8_lossy(&listing.stdout)
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
        .collect();
    Ok(rows)
}
