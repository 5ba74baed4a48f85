//! Everything that a Redis does, as it does it.

use crate::PATIENCE;
use crate::resp;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Tells every command that a server without a password carries out, those of scripts and of its master included, until
/// dropped. When the server is gone it waits for the next one on its port.
#[derive(Debug)]
pub struct Monitor {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How long it takes to notice that nobody listens any more, and how often a server that is gone is looked for.
const LOOK: Duration = Duration::from_millis(20);

impl Monitor {
    /// Tells `each` line that the server at `address` says of itself from now on, as `MONITOR` writes them.
    ///
    /// # Panics
    /// If there is no such server now.
    #[must_use]
    pub fn start(address: SocketAddr, mut each: impl FnMut(&str) + Send + 'static) -> Self {
        let mut stream = Some(listen(address).expect("the server is up"));
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                match stream.take().map_or_else(|| listen(address), Ok) {
                    // It ends when the server does, who may be back.
                    Ok(stream) => drop(pass_on(stream, &until, &mut each)),
                    Err(_) => thread::park_timeout(LOOK),
                }
            }
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in there has been printed.
            let _ = thread.join();
        }
    }
}

/// Returns when everything is told from here on.
fn listen(address: SocketAddr) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    resp::send(&mut &stream, &["MONITOR"])?;
    let mut stream = BufReader::new(stream);
    resp::receive(&mut stream)?;
    stream.get_ref().set_read_timeout(Some(LOOK))?;
    Ok(stream)
}

fn pass_on(
    mut stream: BufReader<TcpStream>,
    over: &AtomicBool,
    mut each: impl FnMut(&str),
) -> io::Result<()> {
    let mut line = Vec::new();
    while !over.load(Ordering::Relaxed) {
        match stream.read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => {
                each(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
            Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            // What was read of a line is kept, and the rest of it comes.
            Err(error) if is_silence(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_silence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
