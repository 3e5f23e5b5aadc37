//! Child processes that end with this process, also when it is killed and also while they are
//! stopped: a shell beside each reads from a pipe that only this process holds, and kills the
//! program when the pipe closes.

use std::{
    ffi::OsStr,
    io,
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// Starts the program in the background, prints its process id, and kills it as soon as standard
/// input closes. The shell closes its own standard output, so that the pipe ends with the program.
const GUARD: &str =
    r#""$@" </dev/null & it=$!; echo "pid $it"; exec >&-; cat >/dev/null; kill -9 "$it""#;

/// A program that is killed when this is dropped, or when this process ends in any way.
#[derive(Debug)]
pub struct Guarded {
    guard: Child,
    /// The shell kills the program when this closes.
    stdin: Option<ChildStdin>,
}

impl Guarded {
    /// A command to which arguments, environment, standard output and standard error can be added.
    pub fn command(program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(program);
        command
    }

    /// The first line of standard output is `pid N`, with the program's process id.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        let mut guard = command
            .stdin(Stdio::piped())
            // Ctrl-C in a terminal reaches the whole process group, but the program must run until
            // this process has used it for the last time.
            .process_group(0)
            .spawn()?;
        let stdin = guard.stdin.take();
        Ok(Self { guard, stdin })
    }

    /// The program's standard output if it is piped; `None` after the first call.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.guard.stdout.take()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.guard.wait());
    }
}
