//! Just enough of Redis's protocol to ask a server something over a plain socket.

use std::io::{self, BufRead, Write};

/// What Redis answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// A status, such as `OK`.
    Status(String),
    /// An error, with its code word.
    Error(String),
    /// An integer.
    Integer(i64),
    /// A string of bytes.
    Bulk(Vec<u8>),
    /// Nothing there.
    Nil,
    /// Several replies.
    Array(Vec<Self>),
}

impl Reply {
    /// A status or a string as text.
    ///
    /// # Panics
    /// If it is anything else.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Status(text) => text.clone(),
            Self::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Error(_) | Self::Integer(_) | Self::Nil | Self::Array(_) => {
                panic!("not a text: {self:?}")
            }
        }
    }

    /// The number.
    ///
    /// # Panics
    /// If it is anything else.
    #[must_use]
    pub fn integer(&self) -> i64 {
        let Self::Integer(number) = self else {
            panic!("not an integer: {self:?}");
        };
        *number
    }
}

/// Sends one command.
pub(crate) fn send(to: &mut impl Write, arguments: &[&str]) -> io::Result<()> {
    let mut message = format!("*{}\r\n", arguments.len());
    for argument in arguments {
        message.push_str(&format!("${}\r\n{argument}\r\n", argument.len()));
    }
    to.write_all(message.as_bytes())
}

/// Reads one reply.
pub(crate) fn receive(from: &mut impl BufRead) -> io::Result<Reply> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let (kind, rest) = line
        .trim_end()
        .split_at_checked(1)
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(match kind {
        "+" => Reply::Status(rest.to_owned()),
        "-" => Reply::Error(rest.to_owned()),
        ":" => Reply::Integer(number(rest)?),
        "$" => match usize::try_from(number(rest)?) {
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Reply::Bulk(bytes)
            }
            Err(_) => Reply::Nil,
        },
        "*" => match number(rest)? {
            -1 => Reply::Nil,
            length => Reply::Array(
                (0..length)
                    .map(|_| receive(from))
                    .collect::<io::Result<_>>()?,
            ),
        },
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, line)),
    })
}

fn number(text: &str) -> io::Result<i64> {
    text.parse()
        .map_err(|source| io::Error::new(io::ErrorKind::InvalidData, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_reply_is_read() {
        let mut wire: &[u8] = b"*6\r\n+OK\r\n-ERR no\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n*0\r\n";
        assert_eq!(
            receive(&mut wire).unwrap(),
            Reply::Array(vec![
                Reply::Status("OK".to_owned()),
                Reply::Error("ERR no".to_owned()),
                Reply::Integer(-7),
                Reply::Bulk(b"a\r\n".to_vec()),
                Reply::Nil,
                Reply::Array(Vec::new()),
            ])
        );
        assert!(wire.is_empty());
    }

    #[test]
    fn a_cut_reply_is_an_error() {
        for cut in [&b""[..], b"$5\r\nab", b"*2\r\n:1\r\n", b"?\r\n", b":x\r\n"] {
            assert!(receive(&mut { cut }).is_err());
        }
    }
}
