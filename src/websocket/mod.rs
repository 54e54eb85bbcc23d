//! WebSocket (RFC 6455) as values, the server's side: bytes in, messages out; messages in, bytes out. No socket, no hub, no
//! clock.
//!
//! [`accept`] judges the handshake; [`Decoder`] turns what a connection has sent into [`Event`]s, however it was cut into
//! packets; `write_*` write frames. A decoder between two messages is one word and owns nothing, as there is one for each
//! page that listens. What is not allowed is refused as soon as it is seen, with the close code that says why
//! (section 7.4.1).
//!
//! No extension is spoken: permessage-deflate (RFC 7692) would want a window for each connection, or to compress each
//! message anew for everybody who gets it.

mod decoder;
mod encoder;
mod handshake;

pub use decoder::{Decoder, Error, Event, Limits, Step};
pub use encoder::{write_binary, write_close, write_ping, write_pong, write_text};
pub use handshake::{Accept, Refusal, VERSION, accept};

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a frame is (section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    /// Of the four bits of a frame's head; `None` for those that mean nothing.
    fn parse(bits: u8) -> Option<Opcode> {
        const ALL: [Opcode; 6] =
            [Opcode::Continuation, Opcode::Text, Opcode::Binary, Opcode::Close, Opcode::Ping, Opcode::Pong];
        ALL.into_iter().find(|opcode| opcode.bits() == bits)
    }

    fn bits(self) -> u8 {
        match self {
            Opcode::Continuation => 0,
            Opcode::Text => 1,
            Opcode::Binary => 2,
            Opcode::Close => 8,
            Opcode::Ping => 9,
            Opcode::Pong => 10,
        }
    }

    /// A control frame is whole in itself and may come in the middle of a message (section 5.5).
    fn is_control(self) -> bool {
        self.bits() >= 8
    }
}

/// Bytes of a control frame's payload (section 5.5).
const CONTROL_BYTES_MAX: usize = 125;

/// Why a connection is closed (section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// Everything has been said.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// The server stops, or the page is left.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// The other end does not keep to the protocol.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// A kind of message that is not for this end.
    pub const UNSUPPORTED: CloseCode = CloseCode(1003);
    /// Text that is no UTF-8.
    pub const INVALID_TEXT: CloseCode = CloseCode(1007);
    /// What this end does not allow.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// A frame or a message above the limit.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// Too much to do: come back later (IANA's registry).
    pub const TRY_LATER: CloseCode = CloseCode(1013);

    /// Whether it may stand in a frame: what the RFC or the registry gives a meaning, but for those that stand for there
    /// being no frame (1005, 1006, 1015), and what is left to libraries and applications.
    fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
