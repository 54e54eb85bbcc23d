//! Readers of streams, by bytes: server-sent events and WebSocket frames, as their specifications have them.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Client, Connection, Missing, PATIENCE, Patience, Response, request};

/// The path of a stream for these clients.
pub(crate) fn stream_path(kind: &str, clients: &[&Client<'_>], since: Option<&str>) -> String {
    let mut pairs: Vec<String> =
        clients.iter().map(|client| format!("client_id={}", super::encoded(&client.credential()))).collect();
    pairs.extend(since.map(|since| format!("since={since}")));
    format!("/{kind}?{}", pairs.join("&"))
}

impl Connection {
    /// Reads once more. False if the server has closed the connection.
    fn read_more(&mut self, patience: Patience) -> Result<bool, Missing> {
        let look = patience.look().ok_or(Missing::Silent)?;
        self.socket.set_read_timeout(Some(look)).expect("a time above zero");
        let mut chunk = [0; 64 << 10];
        match self.socket.read(&mut chunk) {
            Ok(0) => Ok(false),
            Ok(n) => {
                self.inbox.extend_from_slice(&chunk[..n]);
                Ok(true)
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(true),
            Err(e) => panic!("cannot read: {e}"),
        }
    }

    /// The head of an answer; its body stays in the inbox.
    fn head(&mut self) -> Response {
        let patience = Patience::new(PATIENCE);
        loop {
            if let Some(end) = self.inbox.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = self.inbox.drain(..end + 4).collect::<Vec<_>>();
                return Response::parse(&head, true).expect("a whole head").0;
            }
            assert_eq!(self.read_more(patience), Ok(true), "no head: {:?}", self.text());
        }
    }
}

/// A stream of server-sent events.
pub(crate) struct Events {
    pub(crate) connection: Connection,
    pub(crate) head: Response,
    is_chunked: bool,
    /// What has come out of the chunks and is no whole event yet.
    text: Vec<u8>,
    is_over: bool,
    pub(crate) last_id: String,
    pub(crate) retry_ms: Option<u64>,
}

/// What a reader dispatches.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Events {
    pub(crate) fn open(client: &Client<'_>, since: Option<&str>) -> Events {
        Events::ask(client.server.connect(), &[], &stream_path("events", &[client], since))
    }

    pub(crate) fn resume(client: &Client<'_>, last_id: &str) -> Events {
        let header = format!("Last-Event-ID: {last_id}");
        Events::ask(client.server.connect(), &[&header], &stream_path("events", &[client], None))
    }

    pub(crate) fn ask(connection: Connection, headers: &[&str], path: &str) -> Events {
        Events::send(connection, request("GET", path, headers, ""))
    }

    pub(crate) fn send(mut connection: Connection, request: impl AsRef<[u8]>) -> Events {
        connection.send(request);
        let head = connection.head();
        assert_eq!((head.status, head.media_type()), (200, "text/event-stream"), "{head:?}");
        let is_chunked = head.header("transfer-encoding") == Some("chunked");
        let (last_id, retry_ms) = (String::new(), None);
        Events { connection, head, is_chunked, text: Vec::new(), is_over: false, last_id, retry_ms }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.within(PATIENCE).unwrap_or_else(|why| panic!("no event: {why:?}"))
    }

    /// The next that is a message.
    pub(crate) fn message(&mut self) -> Value {
        let event = self.next().expect("an event");
        assert_eq!(event.kind, "message", "{event:?}");
        event.data
    }

    pub(crate) fn within(&mut self, patience: Duration) -> Result<Option<Event>, Missing> {
        let patience = Patience::new(patience);
        while let Some(block) = self.block(patience)? {
            if let Some(event) = self.dispatch(&block) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The lines up to the next empty one. [`Missing::Closed`] is an end that the server has not said.
    pub(crate) fn block(&mut self, patience: Patience) -> Result<Option<String>, Missing> {
        loop {
            if let Some(end) = self.text.windows(2).position(|w| w == b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                return Ok(Some(String::from_utf8(block).expect("UTF-8")));
            }
            if self.is_over {
                assert_eq!(self.text, b"", "the stream ends in the middle of an event");
                return Ok(None);
            }
            if !self.unwrap_chunk() {
                let goes_on = self.connection.read_more(patience)?;
                if !goes_on && self.is_chunked {
                    // Without a last chunk: it was cut, perhaps in the middle of an event, which comes again then.
                    return Err(Missing::Closed);
                }
                self.is_over |= !goes_on;
            }
        }
    }

    /// Takes the bytes that are there out of their chunks. False if there are none.
    fn unwrap_chunk(&mut self) -> bool {
        let inbox = &mut self.connection.inbox;
        if !self.is_chunked {
            let has_more = !inbox.is_empty();
            self.text.append(inbox);
            return has_more;
        }
        let Some(line) = inbox.windows(2).position(|w| w == b"\r\n") else { return false };
        let size = std::str::from_utf8(&inbox[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.unwrap_or_else(|| panic!("no size of a chunk: {:?}", String::from_utf8_lossy(&inbox[..line])));
        if inbox.len() < line + 2 + size + 2 {
            return false;
        }
        self.text.extend_from_slice(&inbox[line + 2..line + 2 + size]);
        assert_eq!(&inbox[line + 2 + size..][..2], b"\r\n");
        inbox.drain(..line + 2 + size + 2);
        self.is_over |= size == 0;
        true
    }

    /// What the specification makes of the lines (WHATWG HTML, 9.2.6).
    fn dispatch(&mut self, block: &str) -> Option<Event> {
        let (mut kind, mut data) = ("message".to_owned(), Vec::new());
        for line in block.lines().filter(|line| !line.is_empty()) {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => {}
                "event" => kind = value.to_owned(),
                "data" => data.push(value.to_owned()),
                "id" => self.last_id = value.to_owned(),
                "retry" => self.retry_ms = Some(value.parse().expect("a number")),
                other => panic!("an unknown field {other:?} in {block:?}"),
            }
        }
        let data = match &data[..] {
            [] => return None,
            [one] => serde_json::from_str(one).unwrap_or_else(|e| panic!("{e}: {one:?}")),
            _ => panic!("data in several lines: {block:?}"),
        };
        Some(Event { kind, id: self.last_id.clone(), data })
    }
}

/// The client's side of a WebSocket.
pub(crate) struct WebSocket {
    pub(crate) connection: Connection,
}

/// A frame from the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    Text(Value),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// Its code and its reason.
    Close(Option<u16>, String),
    /// The connection has ended.
    End,
}

pub(crate) const HANDSHAKE: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

/// Whether an object only says where the page is.
fn is_beat(object: &Value) -> bool {
    object["messages"] == json!([]) && object["gaps"] == json!([]) && object["retry_ms"] == 0
}

/// A frame as a client writes it.
pub(crate) fn masked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | u8::try_from(length).expect("it is short")),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(length).expect("it is not long").to_be_bytes());
        }
    }
    let mask = [17, 2, 0, 255];
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

impl WebSocket {
    pub(crate) fn open(client: &Client<'_>, since: Option<&str>) -> WebSocket {
        WebSocket::ask(client.server.connect(), &stream_path("socket", &[client], since), b"")
    }

    /// `more` comes with the handshake.
    pub(crate) fn ask(mut connection: Connection, path: &str, more: &[u8]) -> WebSocket {
        connection.send([request("GET", path, &HANDSHAKE, "").as_bytes(), more].concat());
        let head = connection.head();
        assert_eq!(head.status, 101, "{head:?}");
        assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        let is = |name: &str, value: &str| head.header(name).is_some_and(|found| found.eq_ignore_ascii_case(value));
        assert!(is("upgrade", "websocket") && is("connection", "upgrade"), "{head:?}");
        WebSocket { connection }
    }

    pub(crate) fn send(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        self.connection.send(masked(first, payload));
    }

    pub(crate) fn acknowledge(&mut self, token: &str) {
        self.send(0x81, json!({"ack": token}).to_string());
    }

    pub(crate) fn next(&mut self) -> Frame {
        self.within(PATIENCE).unwrap_or_else(|why| panic!("no frame: {why:?}"))
    }

    /// The next object.
    pub(crate) fn object(&mut self) -> Value {
        loop {
            match self.next() {
                Frame::Text(object) => return object,
                // It comes when its time has come.
                Frame::Ping(_) => {}
                other => panic!("{other:?} in place of an object"),
            }
        }
    }

    /// The next frame that is no beat: one may come at any time, the first time at once. So may the word of where a page begins.
    pub(crate) fn frame(&mut self) -> Frame {
        loop {
            match self.next() {
                Frame::Ping(_) => {}
                Frame::Text(object) if is_beat(&object) => {}
                other => return other,
            }
        }
    }

    /// The next object that says something.
    pub(crate) fn news(&mut self) -> Value {
        match self.frame() {
            Frame::Text(object) => object,
            other => panic!("{other:?} in place of an object"),
        }
    }

    /// The code by which the server closes, and its end of the connection.
    pub(crate) fn closes(&mut self) -> Option<u16> {
        loop {
            if let Frame::Close(code, _) = self.next() {
                assert_eq!(self.next(), Frame::End, "a close is the last frame");
                return code;
            }
        }
    }

    pub(crate) fn within(&mut self, patience: Duration) -> Result<Frame, Missing> {
        self.by(Patience::new(patience))
    }

    pub(crate) fn by(&mut self, patience: Patience) -> Result<Frame, Missing> {
        loop {
            if let Some(frame) = self.take_frame() {
                return Ok(frame);
            }
            if !self.connection.read_more(patience)? {
                assert_eq!(self.connection.text(), "", "the end in the middle of a frame");
                return Ok(Frame::End);
            }
        }
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let inbox = &mut self.connection.inbox;
        let (&first, &second) = (inbox.first()?, inbox.get(1)?);
        assert_eq!((first & 0xf0, second & 0x80), (0x80, 0), "whole, without reserved bits and mask");
        let (start, length) = match second {
            126 => (4, u16::from_be_bytes(inbox.get(2..4)?.try_into().ok()?).into()),
            127 => (10, usize::try_from(u64::from_be_bytes(inbox.get(2..10)?.try_into().ok()?)).ok()?),
            short => (2, short.into()),
        };
        if inbox.len() < start + length {
            return None;
        }
        let frame: Vec<u8> = inbox.drain(..start + length).skip(start).collect();
        Some(match first & 15 {
            1 => {
                assert!(frame.is_ascii());
                Frame::Text(serde_json::from_slice(&frame).expect("JSON"))
            }
            8 if frame.is_empty() => Frame::Close(None, String::new()),
            8 => {
                let code = u16::from_be_bytes([frame[0], frame[1]]);
                Frame::Close(Some(code), String::from_utf8(frame[2..].to_vec()).expect("UTF-8"))
            }
            9 => Frame::Ping(frame),
            10 => Frame::Pong(frame),
            other => panic!("opcode {other}"),
        })
    }
}
