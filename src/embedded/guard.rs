//! Programs that end with us, also when we are killed and also while they are stopped: a shell
//! beside each reads from a pipe that only we hold, and kills the program when the pipe closes.

use std::{
    ffi::OsStr,
    io,
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Starts the program in the background, says its process id, and kills it as soon as standard
/// input closes. The shell lets go of standard output, so that it closes when the program ends.
const GUARD: &str =
    r#""$@" </dev/null & it=$!; echo "pid $it"; exec >&-; cat >/dev/null; kill -9 "$it""#;

/// A program that is killed when this is dropped, or when this process ends in any way.
#[derive(Debug)]
pub struct Guarded {
    guard: Child,
    /// Open while the program may live.
    lifeline: Option<ChildStdin>,
}

impl Guarded {
    /// To be completed with arguments, an environment, standard output and standard error.
    pub fn command(program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(program);
        command
    }

    /// The first line of standard output is `pid N`, with the program's process id.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        let mut guard = command
            .stdin(Stdio::piped())
            // Ctrl-C in a terminal reaches the whole group, but what we started must outlive our
            // last use of it.
            .process_group(0)
            .spawn()?;
        let lifeline = guard.stdin.take();
        Ok(Self { guard, lifeline })
    }

    /// What the program says, once, if it was asked to be piped.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.guard.stdout.take()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        drop(self.guard.wait());
    }
}
