//! Before the clock runs: descriptors, clients, subscriptions.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::wire::{Answer, SOCKETIO, Target, Visitor, Wire};

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

    /// Makes a client for each page and subscribes it to its room, in the way that the server knows.
    pub(crate) fn prepare(&mut self, pages: &[(u32, u32)]) -> io::Result<Vec<Visitor>> {
        let key = "0".repeat(32);
        match self.wire.target {
            Target::Shaveet => self.prepare_shaveet(pages),
            Target::Floor | Target::Nchan => {
                Ok(pages.iter().map(|&(number, room)| Visitor::new(number, room, key.clone())).collect())
            }
            Target::Socketio => pages.iter().map(|&page| self.prepare_socketio(page)).collect(),
            Target::Faye => pages.iter().map(|&page| self.prepare_faye(page)).collect(),
        }
    }

    fn prepare_shaveet(&mut self, pages: &[(u32, u32)]) -> io::Result<Vec<Visitor>> {
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

    fn prepare_socketio(&mut self, (number, room): (u32, u32)) -> io::Result<Visitor> {
        let mut request = Vec::new();
        self.wire.write_get(&format!("{SOCKETIO}&room=room{room}"), &mut request);
        let session = quoted(&self.exchange(&request)?, r#""sid":""#)?;
        self.wire.write_post(&format!("{SOCKETIO}&sid={session}"), "text/plain", b"40", &mut request);
        self.exchange(&request)?;
        Ok(Visitor::new(number, room, session))
    }

    fn prepare_faye(&mut self, (number, room): (u32, u32)) -> io::Result<Visitor> {
        let mut request = Vec::new();
        let handshake =
            br#"[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]"#;
        self.wire.write_post("/bayeux", "application/json", handshake, &mut request);
        let client = quoted(&self.exchange(&request)?, r#""clientId":""#)?;
        let subscribe =
            format!(r#"[{{"channel":"/meta/subscribe","clientId":"{client}","subscription":"/room{room}","id":"2"}}]"#);
        self.wire.write_post("/bayeux", "application/json", subscribe.as_bytes(), &mut request);
        self.exchange(&request)?;
        Ok(Visitor::new(number, room, client))
    }

    /// Calls a method and waits for the answer's body.
    pub(crate) fn call(&mut self, body: &str) -> io::Result<String> {
        let mut request = Vec::new();
        self.wire.write_post("/", "application/json", body.as_bytes(), &mut request);
        self.exchange(&request)
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<String> {
        self.stream.write_all(request)?;
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

/// What stands between a mark and the next quote.
fn quoted(text: &str, mark: &str) -> io::Result<String> {
    let found = text.split_once(mark).and_then(|(_, rest)| rest.split_once('"'));
    found.map(|(value, _)| value.to_owned()).ok_or_else(|| io::Error::other(format!("no {mark} in {text}")))
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
