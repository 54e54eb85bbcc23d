//! A connection that does not block, with what is still to be sent and what has come.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use super::super::ask::http;

/// Next: [`Line::stands`], when it can be written to for the first time.
pub(super) struct Line {
    stream: Stream,
    pub(super) outbox: Vec<u8>,
    pub(super) inbox: Vec<u8>,
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Line {
    /// Begins to connect.
    pub(super) fn to_address(address: SocketAddr) -> io::Result<Line> {
        TcpStream::connect(address).map(|stream| Line::over(Stream::Tcp(stream)))
    }

    /// Connects, and waits for room in the listener's queue.
    pub(super) fn to_socket(path: &Path) -> io::Result<Line> {
        let stream = http::open_unix(path)?;
        stream.set_nonblocking(true)?;
        Ok(Line::over(Stream::Unix(UnixStream::from_std(stream))))
    }

    fn over(stream: Stream) -> Line {
        Line { stream, outbox: Vec::new(), inbox: Vec::new() }
    }

    /// Edge-triggered, once and for all.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match &mut self.stream {
            Stream::Tcp(stream) => registry.register(stream, token, both),
            Stream::Unix(stream) => registry.register(stream, token, both),
        }
    }

    /// Whether the connection has been made.
    pub(super) fn stands(&self) -> io::Result<bool> {
        let Stream::Tcp(stream) = &self.stream else { return Ok(true) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => stream.set_nodelay(true).map(|()| true),
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes what it takes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            let written = match &mut self.stream {
                Stream::Tcp(stream) => stream.write(&self.outbox),
                Stream::Unix(stream) => stream.write(&self.outbox),
            };
            match written {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads all that there is.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let read = match &mut self.stream {
                Stream::Tcp(stream) => stream.read(buffer),
                Stream::Unix(stream) => stream.read(buffer),
            };
            match read {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.inbox.extend_from_slice(&buffer[..count]);
                    // Less than was asked for is all that there was (epoll(7)).
                    if count < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
