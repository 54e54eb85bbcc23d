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
    headers: Headers,
}

/// What a poll has to name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visitor {
    pub(crate) number: u32,
    pub(crate) room: u32,
    /// What the server has given the page to name itself with: a key, a session's id.
    pub(crate) key: String,
    /// nchan's position: header lines, whole.
    position: Vec<u8>,
}

/// A whole answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    head: &'a [u8],
    pub(crate) body: &'a [u8],
}

/// The path of Socket.IO's long polls.
pub(crate) const SOCKETIO: &str = "/socket.io/?EIO=4&transport=polling";

const BROWSER: &str = "Connection: keep-alive\r\nsec-ch-ua-platform: \"Linux\"\r\nUser-Agent: Mozilla/5.0 (X11; Linux \
    x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\nsec-ch-ua: \"Chromium\";v=\"130\", \
    \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\nAccept: \
    */*\r\nOrigin: https://www.example.org\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: \
    empty\r\nReferer: https://www.example.org/\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n";

impl Wire {
    pub(crate) fn new(target: Target, address: SocketAddr, headers: Headers) -> Wire {
        Wire { target, address, headers }
    }

    pub(crate) fn write_poll(&self, visitor: &Visitor, out: &mut Vec<u8>) {
        out.clear();
        let Visitor { number, room, key, position } = visitor;
        let written = match self.target {
            Target::Shaveet | Target::Floor => write!(
                out,
                "GET /message_updates?callback=noop&client_id=page{number}_!!_{key}&ts=1763800000000 HTTP/1.1\r\n"
            ),
            Target::Nchan => write!(out, "GET /sub?id=room{room}&ts=1763800000000 HTTP/1.1\r\n"),
            Target::Socketio => write!(out, "GET {SOCKETIO}&sid={key}&t=1763800000000 HTTP/1.1\r\n"),
            Target::Faye => write!(out, "POST /bayeux HTTP/1.1\r\n"),
        };
        written.expect(VEC_GROWS);
        write!(out, "Host: {}\r\n", self.address).expect(VEC_GROWS);
        if self.headers == Headers::Browser {
            out.extend_from_slice(BROWSER.as_bytes());
        }
        out.extend_from_slice(position);
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

    /// Whether a poll's answer looks as this server's answers look.
    pub(crate) fn is_well_formed(&self, answer: Answer<'_>) -> bool {
        answer.status() == b"200"
            && match self.target {
                Target::Shaveet | Target::Floor => answer.body.starts_with(b"noop({") && answer.body.ends_with(b"});"),
                Target::Nchan => answer.body.starts_with(b"#"),
                // A packet's type, and a list of events.
                Target::Socketio => answer.body.first().is_some_and(u8::is_ascii_digit),
                Target::Faye => answer.body.starts_with(b"[{"),
            }
    }
}

const VEC_GROWS: &str = "a vector takes what is written";

impl Visitor {
    pub(crate) fn new(number: u32, room: u32, key: String) -> Visitor {
        Visitor { number, room, key, position: Vec::new() }
    }

    /// Remembers what the next poll has to repeat.
    pub(crate) fn note_position(&mut self, answer: Answer<'_>) {
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
        let answer = Answer { head: &bytes[..start], body: b"" };
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
    fn a_browsers_poll_has_about_450_bytes_of_headers() {
        assert!((430..=500).contains(&BROWSER.len()), "{}", BROWSER.len());
    }
}
