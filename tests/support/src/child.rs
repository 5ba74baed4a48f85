//! A child process that never outlives its test.
//!
//! Beside the child runs a watcher, a `sh` that blocks on a pipe whose other end this process holds. When this
//! process ends in whatever way, the kernel closes the pipe and the watcher kills the child. The child starts as a
//! `sh` too, which becomes the program only at a word from us: so there is no moment at which the child runs
//! unwatched.

use crate::PATIENCE;
use crate::output::Output;
use crate::scratch::Scratch;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{fmt, thread};

/// A running child process: killed when dropped, and when this process is killed. What it prints is kept.
pub struct ChildGuard {
    name: String,
    child: Child,
    watcher: Child,
    output: Output,
    ended: Option<ExitStatus>,
}

impl ChildGuard {
    /// Starts `command`: its program, arguments, environment and directory count; stdin is empty, stdout and stderr
    /// are collected.
    ///
    /// A program that does not exist is a child that ends with status 127.
    ///
    /// # Panics
    /// If there is no `sh`.
    #[must_use]
    pub fn spawn(command: &Command) -> Self {
        Self::launch(command, Path::new(""))
    }

    /// As [`Self::spawn`]; whoever kills the child because this process is gone removes `scratch` too.
    pub(crate) fn spawn_in(command: &Command, scratch: &Scratch) -> Self {
        Self::launch(command, scratch.path())
    }

    fn launch(command: &Command, scratch: &Path) -> Self {
        let mut start = Command::new("sh");
        start
            .arg("-c")
            .arg(r#"read -r go || exit 0; exec "$@" </dev/null"#)
            .arg("launcher")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => start.env(name, value),
                None => start.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            start.current_dir(directory);
        }
        let mut child = start
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh can be started");

        let watcher = Command::new("sh")
            .arg("-c")
            .arg(r#"trap "" INT TERM HUP; read -r over || { kill -9 "$1"; rm -rf "$2"; }"#)
            .arg("watcher")
            .arg(child.id().to_string())
            .arg(scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Of its own group, so that it survives a signal to the whole group of the test.
            .process_group(0)
            .spawn()
            .expect("sh can be started");

        let streams: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("stdout is piped")),
            Box::new(child.stderr.take().expect("stderr is piped")),
        ];
        let mut stdin = child.stdin.take().expect("stdin is piped");
        stdin
            .write_all(b"go\n")
            .expect("the launcher waits for this line");
        Self {
            name: describe(command),
            child,
            watcher,
            output: Output::collect(streams),
            ended: None,
        }
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What the child prints.
    #[must_use]
    pub const fn output(&self) -> &Output {
        &self.output
    }

    /// The first line that contains `text`.
    ///
    /// # Panics
    /// If it does not come; the message tells what the child said instead.
    pub fn expect_line(&self, text: &str) -> String {
        let Some(line) = self.output.wait_for(text, PATIENCE) else {
            panic!("{self:?} did not say {text:?} but:\n{}", self.output.text());
        };
        line
    }

    /// Whether the child has ended.
    pub fn has_ended(&mut self) -> bool {
        self.ended.is_some() || self.try_wait().is_some()
    }

    /// Asks the child to end (SIGTERM).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Interrupts the child (SIGINT), as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Stops the child (SIGSTOP), and returns when it stands.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        // Looks without collecting the status, so that a child that ended instead is still ours to wait for.
        let _ = rustix::process::waitid(
            WaitId::Pid(self.pid()),
            WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        );
    }

    /// Lets a stopped child go on (SIGCONT).
    pub fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the child (SIGKILL), stopped or not, and returns when it is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if self.ended.is_none() {
            self.dismiss_watcher();
            self.ended = self.child.wait().ok();
        }
    }

    /// Waits at most `patience` for the child to end by itself.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let step = Duration::from_millis(5);
        let mut left = patience;
        loop {
            if let Some(status) = self.ended.or_else(|| self.try_wait()) {
                return Some(status);
            }
            if left.is_zero() {
                return None;
            }
            let pause = step.min(left);
            sleep(pause);
            left -= pause;
        }
    }

    fn try_wait(&mut self) -> Option<ExitStatus> {
        self.ended = self.child.try_wait().ok().flatten();
        if self.ended.is_some() {
            self.dismiss_watcher();
        }
        self.ended
    }

    /// Once the child was waited for, its id may become anybody's: the watcher must be gone by then.
    fn dismiss_watcher(&mut self) {
        if let Some(mut word) = self.watcher.stdin.take() {
            let _ = word.write_all(b"over\n");
            let _ = self.watcher.wait();
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Nothing is sent once the child was waited for: its id may belong to another process by then.
    fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // A child that has ended and was not waited for keeps its id, and ignores the signal.
            let _ = rustix::process::kill_process(self.pid(), signal);
        }
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("{self:?} said:\n{}", self.output.text());
        }
    }
}

impl fmt::Debug for ChildGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChildGuard({}, {})", self.name, self.child.id())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "std can only be asked whether a child has ended, not be told to wait so long"
)]
fn sleep(pause: Duration) {
    thread::sleep(pause);
}

fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program());
    program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned()
}
