//! Answers that have no end yet, and the end of HTTP on a connection.

use std::io::Write;

use serde::{Deserialize, Serialize};

use super::response::Exchange;

/// How the other end finds the end of an answer whose length nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Framing {
    /// By the last chunk (RFC 9112 section 7.1). The connection can go on behind it.
    Chunked,
    /// By the end of the connection: for a sender of HTTP/1.0, which knows no chunks.
    UntilClose,
}

impl Framing {
    /// Writes the head of an answer with status 200. `date` is the value of the Date header, `headers` are whole lines.
    pub fn write_head(self, out: &mut Vec<u8>, date: &str, headers: &str, exchange: Exchange) {
        for part in ["HTTP/1.1 200 OK\r\nDate: ", date, "\r\n", headers] {
            out.extend_from_slice(part.as_bytes());
        }
        if !exchange.keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        if self == Framing::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Writes a part of the body.
    pub fn write_part(self, out: &mut Vec<u8>, part: &[u8]) {
        match self {
            Framing::UntilClose => out.extend_from_slice(part),
            // A chunk of nothing would be the last.
            Framing::Chunked if part.is_empty() => {}
            Framing::Chunked => {
                let _ = write!(out, "{:x}\r\n", part.len());
                out.extend_from_slice(part);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// Writes what says that there is no more.
    pub fn write_end(self, out: &mut Vec<u8>) {
        if self == Framing::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

/// Writes the answer behind which the connection speaks another protocol (RFC 9110 section 15.2.2). `headers` are whole
/// lines, `Upgrade` and `Connection` among them.
pub fn write_switch(out: &mut Vec<u8>, date: &str, headers: &str) {
    for part in ["HTTP/1.1 101 Switching Protocols\r\nDate: ", date, "\r\n", headers, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_chunks_where_chunks_are_known() {
        let write = |framing: Framing, keep_alive| {
            let mut out = Vec::new();
            framing.write_head(&mut out, "now", "A: b\r\n", Exchange { head_only: false, keep_alive });
            framing.write_part(&mut out, b"");
            framing.write_part(&mut out, b"0123456789abcdef");
            framing.write_end(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            write(Framing::Chunked, true),
            "HTTP/1.1 200 OK\r\nDate: now\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n\
             10\r\n0123456789abcdef\r\n0\r\n\r\n"
        );
        assert_eq!(
            write(Framing::UntilClose, false),
            "HTTP/1.1 200 OK\r\nDate: now\r\nA: b\r\nConnection: close\r\n\r\n0123456789abcdef"
        );
    }

    #[test]
    fn a_switch_to_another_protocol_ends_the_head() {
        let mut out = Vec::new();
        write_switch(&mut out, "now", "Upgrade: websocket\r\n");
        assert_eq!(out, b"HTTP/1.1 101 Switching Protocols\r\nDate: now\r\nUpgrade: websocket\r\n\r\n");
    }
}
