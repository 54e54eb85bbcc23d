//! What each server wants to hear, and how its answers are read.

use std::io::Write;
use std::net::SocketAddr;

use clap::ValueEnum;
use memchr::{memchr, memmem};

/// Whose wire is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Ours: `POST /` with JSON-RPC, `GET /message_updates`.
    Shaveet,
    /// The same wire, without clients and subscriptions.
    Floor,
    /// nginx with nchan: `POST /pub?id=`, `GET /sub?id=`, the position in two headers.
    Nchan,
    /// Socket.IO by long polls: `GET /socket.io/`, our own `POST /pub?id=` beside it.
    Socketio,
    /// Faye by long polls: `POST /bayeux`, our own `POST /pub?id=` beside it.
    Faye,
}

/// How our pages listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// Long poll by the original's protocol, which all servers are measured with.
    Longpoll,
    /// Long poll by the resume protocol: each poll says how far the page has come.
    Resume,
    /// Server-sent events.
    Events,
    /// WebSocket.
    Socket,
}

/// The header lines of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Headers {
    /// What a browser sends from another origin, about 450 bytes.
    Browser,
    /// `Host` alone.
    Minimal,
}

/// A dialect and where it is spoken.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) target: Target,
    pub(crate) address: SocketAddr,
    transport: Transport,
    headers: Headers,
}

/// What a poll has to name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visitor {
    pub(crate) number: u32,
    pub(crate) room: u32,
    /// What the server has given the page to name itself with: a key, a session's id.
    pub(crate) key: String,
    /// How far it has come: nchan's header lines, whole; our token.
    position: Vec<u8>,
    /// The head of its stream has come.
    has_begun: bool,
}

/// A whole answer, or a part of one that goes on: its head, or an event or a message of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    head: &'a [u8],
    pub(crate) body: &'a [u8],
    /// What a WebSocket's ping has in it.
    ping: Option<&'a [u8]>,
}

/// The path of Socket.IO's long polls.
pub(crate) const SOCKETIO: &str = "/socket.io/?EIO=4&transport=polling";

/// The key is that of RFC 6455 section 1.3.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const KEEP_ALIVE: &str = "Connection: keep-alive\r\n";

const BROWSER: &str = "sec-ch-ua-platform: \"Linux\"\r\nUser-Agent: Mozilla/5.0 (X11; Linux \
    x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\nsec-ch-ua: \"Chromium\";v=\"130\", \
    \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\nAccept: \
    */*\r\nOrigin: https://www.example.org\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: \
    empty\r\nReferer: https://www.example.org/\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n";

impl Wire {
    pub(crate) fn new(target: Target, address: SocketAddr, transport: Transport, headers: Headers) -> Wire {
        Wire { target, address, transport, headers }
    }

    /// The status with which a stream begins.
    fn welcome(&self) -> &'static [u8] {
        if self.transport == Transport::Socket { b"101" } else { b"200" }
    }

    fn is_stream(&self) -> bool {
        matches!(self.transport, Transport::Events | Transport::Socket)
    }

    pub(crate) fn write_poll(&self, visitor: &Visitor, out: &mut Vec<u8>) {
        out.clear();
        let Visitor { number, room, key, position, .. } = visitor;
        let written = match self.target {
            Target::Shaveet | Target::Floor => {
                let (path, how) = match self.transport {
                    Transport::Longpoll => ("message_updates", "&callback=noop"),
                    Transport::Resume => ("message_updates", "&since="),
                    Transport::Events => ("events", "&since="),
                    Transport::Socket => ("socket", "&since="),
                };
                write!(out, "GET /{path}?client_id=page{number}_!!_{key}&ts=1763800000000{how}")
                    .and_then(|()| out.write_all(position))
                    .and_then(|()| out.write_all(b" HTTP/1.1\r\n"))
            }
            Target::Nchan => write!(out, "GET /sub?id=room{room}&ts=1763800000000 HTTP/1.1\r\n"),
            Target::Socketio => write!(out, "GET {SOCKETIO}&sid={key}&t=1763800000000 HTTP/1.1\r\n"),
            Target::Faye => write!(out, "POST /bayeux HTTP/1.1\r\n"),
        };
        written.expect(VEC_GROWS);
        write!(out, "Host: {}\r\n", self.address).expect(VEC_GROWS);
        let connection = match (self.transport, self.headers) {
            (Transport::Socket, _) => UPGRADE,
            (_, Headers::Browser) => KEEP_ALIVE,
            (_, Headers::Minimal) => "",
        };
        out.extend_from_slice(connection.as_bytes());
        if self.headers == Headers::Browser {
            out.extend_from_slice(BROWSER.as_bytes());
        }
        if self.target == Target::Nchan {
            out.extend_from_slice(position);
        }
        if self.target == Target::Faye {
            let body = format!(
                r#"[{{"channel":"/meta/connect","clientId":"{key}","connectionType":"long-polling","id":"1"}}]"#
            );
            let length = body.len();
            write!(out, "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").expect(VEC_GROWS);
        } else {
            out.extend_from_slice(b"\r\n");
        }
    }

    pub(crate) fn write_publish(&self, room: u32, text: &str, out: &mut Vec<u8>) {
        match self.target {
            Target::Shaveet | Target::Floor => {
                let body =
                    format!(r#"{{"method":"new_message","params":["load","{text}","room{room}",false],"id":1}}"#);
                self.write_post("/", "application/json", body.as_bytes(), out);
            }
            Target::Nchan | Target::Socketio | Target::Faye => {
                self.write_post(&format!("/pub?id=room{room}"), "text/plain", text.as_bytes(), out);
            }
        }
    }

    pub(crate) fn write_post(&self, target: &str, content_type: &str, body: &[u8], out: &mut Vec<u8>) {
        out.clear();
        write!(
            out,
            "POST {target} HTTP/1.1\r\nHost: {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        )
        .expect(VEC_GROWS);
        out.extend_from_slice(body);
    }

    pub(crate) fn write_get(&self, target: &str, out: &mut Vec<u8>) {
        out.clear();
        write!(out, "GET {target} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address).expect(VEC_GROWS);
    }

    /// A small request that has nothing to do with anybody: every one of the servers answers it 404.
    pub(crate) fn write_unrelated(&self, out: &mut Vec<u8>) {
        self.write_get("/nothing", out);
    }

    /// The answer, or the part of a stream, that the bytes begin with, and how many of them it is; `None` if it is not whole yet.
    pub(crate) fn split<'a>(&self, visitor: &mut Visitor, bytes: &'a [u8]) -> Option<(Answer<'a>, usize)> {
        if !self.is_stream() {
            return Answer::split(bytes);
        }
        if !visitor.has_begun {
            let end = memmem::find(bytes, b"\r\n\r\n")? + 4;
            visitor.has_begun = true;
            return Some((Answer { head: &bytes[..end], body: b"", ping: None }, end));
        }
        if self.transport == Transport::Socket {
            return frame(bytes);
        }
        // Between two events there are the sizes of chunks, which say nothing about messages.
        let end = memmem::find(bytes, b"\n\n")? + 2;
        Some((Answer { head: b"", body: &bytes[..end], ping: None }, end))
    }

    /// Writes what a page sends when this has come: its next poll, what a ping asks for, or nothing.
    pub(crate) fn write_reply(&self, visitor: &Visitor, answer: Answer<'_>, out: &mut Vec<u8>) {
        out.clear();
        if let Some(payload) = answer.ping {
            // Masked with zeros, which changes nothing.
            out.extend_from_slice(&[0x8a, 0x80 | u8::try_from(payload.len()).unwrap_or(0x7f), 0, 0, 0, 0]);
            out.extend_from_slice(payload);
        } else if !self.is_stream() {
            self.write_poll(visitor, out);
        }
    }

    /// Whether an answer, or a part of a stream, looks as this server's look.
    pub(crate) fn is_well_formed(&self, answer: Answer<'_>) -> bool {
        match self.transport {
            Transport::Events | Transport::Socket if !answer.head.is_empty() => {
                return answer.status() == self.welcome();
            }
            Transport::Events => return memmem::find(answer.body, b": ").is_some(),
            Transport::Socket => return answer.ping.is_some() || answer.body.starts_with(b"{"),
            Transport::Longpoll | Transport::Resume => {}
        }
        answer.status() == b"200"
            && match self.target {
                Target::Shaveet if self.transport == Transport::Resume => answer.body.starts_with(b"{\"since\":"),
                Target::Shaveet | Target::Floor => answer.body.starts_with(b"noop({") && answer.body.ends_with(b"});"),
                Target::Nchan => answer.body.starts_with(b"#"),
                // A packet's type, and a list of events.
                Target::Socketio => answer.body.first().is_some_and(u8::is_ascii_digit),
                Target::Faye => answer.body.starts_with(b"[{"),
            }
    }
}

/// The frame that the bytes begin with (RFC 6455 section 5.2), and how many of them it is.
fn frame(bytes: &[u8]) -> Option<(Answer<'_>, usize)> {
    let (start, length) = match *bytes.get(1)? {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into()),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        length => (2, length.into()),
    };
    let payload = bytes.get(start..)?.get(..length)?;
    let (body, ping) = if bytes[0] == 0x89 { (&b""[..], Some(payload)) } else { (payload, None) };
    Some((Answer { head: b"", body, ping }, start + length))
}

const VEC_GROWS: &str = "a vector takes what is written";

impl Visitor {
    pub(crate) fn new(number: u32, room: u32, key: String) -> Visitor {
        Visitor { number, room, key, position: Vec::new(), has_begun: false }
    }

    /// It connects anew.
    pub(crate) fn begin(&mut self) {
        self.has_begun = false;
    }

    /// Remembers what the next poll has to repeat.
    pub(crate) fn note_position(&mut self, answer: Answer<'_>) {
        // Ours: at the beginning of an answer, or in an event.
        for (mark, end) in [(&b"\"since\":\""[..], b'"'), (b"id: ", b'\n')] {
            let start = answer.body.get(..16).and_then(|start| memmem::find(start, mark));
            if let Some(rest) = start.map(|start| &answer.body[start + mark.len()..])
                && let Some(end) = memchr(end, rest)
            {
                self.position.clear();
                self.position.extend_from_slice(&rest[..end]);
            }
        }
        let (Some(modified), Some(etag)) = (answer.header(b"last-modified"), answer.header(b"etag")) else { return };
        self.position.clear();
        for part in [b"If-Modified-Since: ", modified, b"\r\nIf-None-Match: ", etag, b"\r\n"] {
            self.position.extend_from_slice(part);
        }
    }
}

impl<'a> Answer<'a> {
    /// The answer that the bytes begin with, and how many of them it is; `None` if it is not whole yet.
    pub(crate) fn split(bytes: &'a [u8]) -> Option<(Answer<'a>, usize)> {
        let start = memmem::find(bytes, b"\r\n\r\n")? + 4;
        let answer = Answer { head: &bytes[..start], body: b"", ping: None };
        let length = answer.header(b"content-length").map_or(0, |digits| {
            digits.iter().fold(0, |length, digit| length * 10 + usize::from(digit.wrapping_sub(b'0')))
        });
        let body = bytes.get(start..start + length)?;
        Some((Answer { body, ..answer }, start + length))
    }

    fn status(&self) -> &'a [u8] {
        self.head.get(9..12).unwrap_or_default()
    }

    fn header(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut rest = self.head;
        while let Some(end) = memchr(b'\n', rest) {
            let line = &rest[..end];
            if line.len() > name.len() && line[name.len()] == b':' && line[..name.len()].eq_ignore_ascii_case(name) {
                return Some(line[name.len() + 1..].trim_ascii());
            }
            rest = &rest[end + 1..];
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_whole_or_not_at_all() {
        let bytes = b"HTTP/1.1 200 OK\r\nETag: a\r\nContent-length: 3\r\n\r\nabcHTTP/1.1 404";
        let whole = bytes.len() - 12;
        assert!((0..whole).all(|end| Answer::split(&bytes[..end]).is_none()));
        let (answer, used) = Answer::split(bytes).unwrap();
        assert_eq!((answer.status(), answer.body, used), (&b"200"[..], &b"abc"[..], whole));
        assert_eq!(answer.header(b"etag"), Some(&b"a"[..]));
    }

    #[test]
    fn a_stream_is_taken_part_by_part() {
        let wire = |transport| Wire::new(Target::Shaveet, ([127, 0, 0, 1], 1).into(), transport, Headers::Minimal);
        let parts = |transport, bytes: &[u8]| {
            let (mut visitor, mut used, mut bodies) = (Visitor::default(), 0, Vec::new());
            while let Some((part, length)) = wire(transport).split(&mut visitor, &bytes[used..]) {
                assert!(wire(transport).is_well_formed(part), "{part:?}");
                used += length;
                bodies.push(String::from_utf8(part.body.to_vec()).unwrap());
            }
            (bodies, used)
        };
        let events = b"HTTP/1.1 200 OK\r\n\r\n9\r\ndata: a\n\n\r\n9\r\ndata: b\n\n\r\n9\r\nda";
        assert_eq!(parts(Transport::Events, events).0, ["", "9\r\ndata: a\n\n", "\r\n9\r\ndata: b\n\n"]);
        let long = [&b"\x81\x7e\x00\xc8{"[..], &[b'x'; 199]].concat();
        let frames = [&b"HTTP/1.1 101 Now\r\n\r\n\x81\x02{}\x89\x01x"[..], &long, b"\x81\x05{"].concat();
        let (bodies, used) = parts(Transport::Socket, &frames);
        assert_eq!((bodies[1].as_str(), bodies[2].as_str(), bodies[3].len(), used), ("{}", "", 200, frames.len() - 3));
    }

    #[test]
    fn a_browsers_poll_has_about_450_bytes_of_headers() {
        let bytes = KEEP_ALIVE.len() + BROWSER.len();
        assert!((430..=500).contains(&bytes), "{bytes}");
    }
}
