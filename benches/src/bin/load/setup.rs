//! Before the clock runs: descriptors, clients, subscriptions.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::wire::{Answer, Visitor, Wire};

/// A web application that waits for each answer.
pub(crate) struct Webapp {
    wire: Wire,
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Calls of one batch, and clients of one `subscribe_many`.
const BATCH: usize = 500;

impl Webapp {
    pub(crate) fn connect(wire: &Wire) -> io::Result<Webapp> {
        let stream = TcpStream::connect(wire.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Webapp { wire: wire.clone(), stream, buffer: Vec::new() })
    }

    /// Makes a client for each page and subscribes it to its room, where the server knows such things.
    pub(crate) fn prepare(&mut self, pages: &[(u32, u32)]) -> io::Result<Vec<Visitor>> {
        if !self.wire.has_clients() {
            let key = "0".repeat(32);
            return Ok(pages.iter().map(|&(number, room)| Visitor::new(number, room, key.clone())).collect());
        }
        let mut visitors = Vec::new();
        for some in pages.chunks(BATCH) {
            let calls: Vec<String> = some.iter().map(|&(number, _)| create(number)).collect();
            let answer = self.call(&format!("[{}]", calls.join(",")))?;
            let keys: Vec<&str> = answer.split(r#""result":""#).skip(1).filter_map(|part| part.get(..32)).collect();
            if keys.len() != some.len() {
                return Err(io::Error::other(format!("{} clients were made of {}", keys.len(), some.len())));
            }
            visitors.extend(some.iter().zip(keys).map(|(&(number, room), key)| Visitor::new(number, room, key.into())));
        }
        for some in pages.chunks(BATCH) {
            let mut rooms = String::new();
            for same in some.chunk_by(|a, b| a.1 == b.1) {
                let clients: Vec<String> = same.iter().map(|(number, _)| format!(r#""page{number}""#)).collect();
                let comma = if rooms.is_empty() { "" } else { "," };
                let _ = write!(rooms, r#"{comma}"room{}":[{}]"#, same[0].1, clients.join(","));
            }
            self.call(&format!(r#"{{"method":"subscribe_many","params":[{{{rooms}}}],"id":1}}"#))?;
        }
        Ok(visitors)
    }

    /// Calls and waits for the answer's body.
    pub(crate) fn call(&mut self, body: &str) -> io::Result<String> {
        let mut request = Vec::new();
        self.wire.write_post("/", "application/json", body.as_bytes(), &mut request);
        self.stream.write_all(&request)?;
        self.buffer.clear();
        let mut chunk = [0; 16 << 10];
        loop {
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::Error::other("the server has closed the web application's connection")),
                count => self.buffer.extend_from_slice(&chunk[..count]),
            }
            if let Some((answer, _)) = Answer::split(&self.buffer) {
                return Ok(String::from_utf8_lossy(answer.body).into_owned());
            }
        }
    }
}

fn create(number: u32) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"create_client","params":["page{number}"],"id":{number}}}"#)
}

/// Each page is a descriptor.
pub(crate) fn raise_descriptor_limit(pages: u32) {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if limit.maximum.is_some_and(|maximum| u64::from(pages) + 32 > maximum) {
        eprintln!("load: {pages} pages need more than the {:?} descriptors that are allowed", limit.maximum);
    }
}
