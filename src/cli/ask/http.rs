//! One connection to a server: requests out, whole answers in, one after the other.
//!
//! It is the least that the server's own answers need: HTTP/1.1, each with its length. It blocks; who must not be blocked waits
//! for [`Connection::as_fd`] first, or takes [`request`] and [`take_answer`] and reads and writes for itself.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use httparse::{EMPTY_HEADER, Response, Status};

use super::place::Place;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a server may leave a call without a byte: it answers within milliseconds, large ones within seconds.
const SILENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer that are waited for: many times the largest that there is.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What a server has answered.
#[derive(Debug)]
pub(in crate::cli) struct Answer {
    pub(in crate::cli) status: u16,
    pub(in crate::cli) body: Vec<u8>,
    /// The server closes the connection behind it.
    pub(in crate::cli) is_last: bool,
}

/// A connection, and what has been read of the next answer.
pub(in crate::cli) struct Connection {
    stream: Stream,
    inbox: Vec<u8>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// The last one's of the addresses that a name stands for.
    pub(in crate::cli) fn open(place: &Place) -> io::Result<Connection> {
        let stream = match place {
            Place::Tcp(host, port) => Stream::Tcp(open_tcp(host, *port)?),
            Place::Unix(path) => Stream::Unix(open_unix(path)?),
        };
        Ok(Connection { stream, inbox: Vec::new() })
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The server does not take it.
    pub(in crate::cli) fn send(&mut self, request: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(request),
            Stream::Unix(stream) => stream.write_all(request),
        }
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// It does not come, or is none.
    pub(in crate::cli) fn answer(&mut self) -> io::Result<Answer> {
        loop {
            if let Some(answer) = self.read()? {
                return Ok(answer);
            }
        }
    }

    /// Reads what has come, and waits if nothing has. Gives the answer when it is there whole.
    ///
    /// # Errors
    /// As [`answer`](Connection::answer).
    pub(in crate::cli) fn read(&mut self) -> io::Result<Option<Answer>> {
        let mut chunk = [0; 16 << 10];
        let count = match &mut self.stream {
            Stream::Tcp(stream) => stream.read(&mut chunk),
            Stream::Unix(stream) => stream.read(&mut chunk),
        };
        match count {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.inbox.extend_from_slice(&chunk[..count]);
                take_answer(&mut self.inbox)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::TimedOut.into()),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

/// A connection that blocks, and gives up in the end.
pub(in crate::cli) fn open_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(SILENCE))?;
                stream.set_write_timeout(Some(SILENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The same to a Unix socket.
pub(in crate::cli) fn open_unix(path: &std::path::Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    Ok(stream)
}

/// The bytes of a request. `lines` are more headers, each with its line end.
pub(in crate::cli) fn request(method: &str, target: &str, host: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}").into_bytes();
    if !body.is_empty() {
        bytes.extend_from_slice(
            format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()).as_bytes(),
        );
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

/// A value in a query.
pub(in crate::cli) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~!".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

/// Takes the first answer out of an inbox, if it is there whole.
///
/// # Errors
/// There is something else, or more than can be meant.
pub(in crate::cli) fn take_answer(inbox: &mut Vec<u8>) -> io::Result<Option<Answer>> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut headers = [EMPTY_HEADER; 64];
    let mut head = Response::new(&mut headers);
    let parsed = head.parse(inbox).map_err(|error| wrong(format!("what it says is no HTTP: {error}")))?;
    let Status::Complete(start) = parsed else {
        return if inbox.len() > HEAD_BYTES_MAX { Err(wrong("its head has no end".to_owned())) } else { Ok(None) };
    };
    let value = |name: &str| {
        let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| header.value.trim_ascii())
    };
    let length = value("content-length").and_then(|text| std::str::from_utf8(text).ok()?.parse::<usize>().ok());
    let length = length.ok_or_else(|| wrong("its answer does not say how long it is".to_owned()))?;
    if length > ANSWER_BYTES_MAX {
        return Err(wrong(format!("its answer has {length} bytes")));
    }
    let is_last = value("connection").is_some_and(|text| text.eq_ignore_ascii_case(b"close"));
    let status = head.code.unwrap_or(0);
    let Some(body) = inbox.get(start..start + length) else { return Ok(None) };
    let body = body.to_vec();
    inbox.drain(..start + length);
    Ok(Some(Answer { status, body, is_last }))
}

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_when_it_is_whole_wherever_it_is_split() {
        let first = b"HTTP/1.1 200 OK\r\ncontent-length:  5 \r\nConnection: Close\r\n\r\nhello";
        let both = [&first[..], b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"].concat();
        for split in 0..=both.len() {
            let mut inbox = both[..split].to_vec();
            let mut answers = Vec::new();
            for rest in [&[][..], &both[split..]] {
                inbox.extend_from_slice(rest);
                while let Some(answer) = take_answer(&mut inbox).unwrap() {
                    answers.push((answer.status, answer.body, answer.is_last));
                }
            }
            assert_eq!(answers, [(200, b"hello".to_vec(), true), (404, vec![], false)], "{split}");
            assert!(inbox.is_empty());
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for text in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            &format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(HEAD_BYTES_MAX)),
        ] {
            assert!(take_answer(&mut text.as_bytes().to_vec()).is_err(), "{:.60}", text);
        }
    }

    #[test]
    fn values_are_encoded_so_that_nothing_gets_out_of_them() {
        assert_eq!(encoded("a-b_!!_0 &#é\r\n"), "a-b_!!_0%20%26%23%C3%A9%0D%0A");
    }
}
