//! A client that keeps its connection and wants no more than the status.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Asks one server, one request at a time, over a connection that is made when it is needed and kept.
///
/// Made for load: what it costs is a small part of what any server costs.
#[derive(Debug)]
pub struct Client {
    target: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client of the server at `target`, which need not be there yet.
    #[must_use]
    pub const fn new(target: SocketAddr) -> Self {
        Self {
            target,
            stream: None,
        }
    }

    /// Whom it asks.
    #[must_use]
    pub const fn target(&self) -> SocketAddr {
        self.target
    }

    /// The status of the answer to a GET of `path`. The body, of which the length must be told, is read and dropped.
    ///
    /// # Errors
    /// If the connection cannot be made, breaks, or carries something else than an answer.
    ///
    /// # Cancel safety
    /// Dropping the future hangs up; the next request makes a new connection.
    pub async fn get(&mut self, path: &str) -> io::Result<u16> {
        // Put back when the answer was read to its end, and not before.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.target).await?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let status = receive(&mut stream).await?;
        self.stream = Some(stream);
        Ok(status)
    }
}

async fn receive(stream: &mut BufReader<TcpStream>) -> io::Result<u16> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let status = line
        .get(9..12)
        .and_then(|it| it.parse().ok())
        .ok_or_else(broken)?;
    let mut length = 0;
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(broken());
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(|_| broken())?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(status)
}
