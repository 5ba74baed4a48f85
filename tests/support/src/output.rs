//! What a child process has printed, line by line.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// The lines a child printed on stdout and stderr, in the order they arrived. Clones share the lines.
#[derive(Clone)]
pub struct Output(Arc<Shared>);

struct Shared {
    lines: Mutex<Lines>,
    changed: Condvar,
}

struct Lines {
    said: Vec<String>,
    open_streams: usize,
}

impl Output {
    /// Reads `streams` to their ends, each in its own thread.
    pub(crate) fn collect(streams: impl IntoIterator<Item = Box<dyn Read + Send>>) -> Self {
        let output = Self(Arc::new(Shared {
            lines: Mutex::new(Lines {
                said: Vec::new(),
                open_streams: 0,
            }),
            changed: Condvar::new(),
        }));
        for stream in streams {
            output.lines().open_streams += 1;
            let output = output.clone();
            thread::spawn(move || output.read(stream));
        }
        output
    }

    /// The first line that contains `text`, waiting for it at most `patience`.
    ///
    /// `None` if it did not come in time, or can no longer come since the process ended.
    #[must_use]
    pub fn wait_for(&self, text: &str, patience: Duration) -> Option<String> {
        let find = |lines: &Lines| lines.said.iter().find(|line| line.contains(text)).cloned();
        let (lines, _) = self
            .0
            .changed
            .wait_timeout_while(self.lines(), patience, |lines| {
                find(lines).is_none() && lines.open_streams > 0
            })
            .expect("no reader panics under the lock");
        find(&lines)
    }

    /// Everything said so far.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines().said.join("\n")
    }

    fn read(&self, stream: Box<dyn Read + Send>) {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line).into_owned();
            self.lines().said.push(line);
            self.0.changed.notify_all();
        }
        self.lines().open_streams -= 1;
        self.0.changed.notify_all();
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0
            .lines
            .lock()
            .expect("no reader panics under the lock")
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines();
        f.debug_struct("Output")
            .field("lines", &lines.said.len())
            .field("open_streams", &lines.open_streams)
            .finish()
    }
}
