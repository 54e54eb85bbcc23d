//! Bytes in, messages out.
//!
//! The decoder takes everything it is shown and keeps what it needs of it: of a message that is not whole, its bytes so
//! far. Between two messages it is one word. Control frames come out where they stand, also in the middle of a message
//! (RFC 6455 section 5.4). What is wrong is refused at the first byte that shows it, text that is no UTF-8 too.

use serde::{Deserialize, Serialize};

use super::{CONTROL_BYTES_MAX, CloseCode, Opcode};

/// What the bytes amount to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing whole yet; everything shown is taken. Next: show what comes behind it.
    More,
    /// Something whole. Next: act on it, and show what comes after the `used` bytes.
    Event {
        /// What has come.
        event: Event,
        /// How many of the bytes shown are taken.
        used: usize,
    },
}

/// What the other end has sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A message of text.
    Text(String),
    /// A message of bytes.
    Binary(Vec<u8>),
    /// It wants its payload back in a pong.
    Ping(Vec<u8>),
    /// It has answered a ping, or says so of itself.
    Pong(Vec<u8>),
    /// The last that it sends, and perhaps why. Next: answer with the same code, unless it is the answer, and end the
    /// connection; show nothing more.
    Close(Option<CloseCode>),
}

/// Why a connection cannot go on. Next: say so with [`Error::close_code`] and end it; the decoder is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// What has come is against the protocol. Says what is wrong.
    Protocol(&'static str),
    /// A text is no UTF-8.
    InvalidText,
    /// A frame or a message is above its limit.
    TooBig,
}

impl Error {
    /// What tells the other end.
    #[must_use]
    pub fn close_code(self) -> CloseCode {
        match self {
            Error::Protocol(_) => CloseCode::PROTOCOL_ERROR,
            Error::InvalidText => CloseCode::INVALID_TEXT,
            Error::TooBig => CloseCode::TOO_BIG,
        }
    }
}

/// How much is accepted. Control frames have their own limit of 125 bytes (section 5.5).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one frame's payload: beyond, 1009.
    pub frame_bytes: usize,
    /// Bytes of one message, all its frames together: beyond, 1009.
    pub message_bytes: usize,
}

/// How far one connection has come with the frame and the message it is sending.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Decoder(Option<Box<Partial>>);

/// What has come of something that is not whole.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Partial {
    /// The head of a frame, while it is not whole.
    head: Head,
    /// The frame whose payload is coming.
    frame: Option<Frame>,
    /// The message that its frames belong to, until the last has come.
    message: Option<Message>,
    /// The payload of a control frame.
    control: Vec<u8>,
}

/// The first bytes of a frame: two, up to eight of a length, four of a mask.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Head {
    bytes: [u8; 14],
    length: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Frame {
    opcode: Opcode,
    is_last: bool,
    /// What the next bytes of the payload are masked with.
    mask: [u8; 4],
    /// Bytes of the payload that are still to come.
    left: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct Message {
    is_text: bool,
    bytes: Vec<u8>,
    /// How many of them are found to be UTF-8; behind them are those of a character that is not whole.
    checked: usize,
}

impl Decoder {
    /// Looks at what has come since the last call.
    ///
    /// # Errors
    /// [`Error`] if the connection cannot go on.
    pub fn next(&mut self, limits: &Limits, input: &[u8]) -> Result<Step, Error> {
        if input.is_empty() {
            return Ok(Step::More);
        }
        let mut partial = self.0.take().map(|partial| *partial).unwrap_or_default();
        let mut used = 0;
        let event = loop {
            if partial.frame.is_none() {
                used += partial.read_head(limits, &input[used..])?;
            }
            used += partial.read_payload(&input[used..])?;
            if let Some(event) = partial.take_event()? {
                break Some(event);
            }
            if used == input.len() {
                break None;
            }
        };
        if !partial.is_empty() {
            self.0 = Some(Box::new(partial));
        }
        Ok(event.map_or(Step::More, |event| Step::Event { event, used }))
    }
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.head.length == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Reads until the head of a frame is whole. Each byte is judged when it is there, so that it makes no difference how
    /// many come at once.
    fn read_head(&mut self, limits: &Limits, input: &[u8]) -> Result<usize, Error> {
        for (at, &byte) in input.iter().enumerate() {
            self.head.bytes[self.head.length] = byte;
            self.head.length += 1;
            match self.head.length {
                1 => self.check_first()?,
                2 => self.head.check_second()?,
                _ => {}
            }
            let payload_at = self.head.expected();
            if self.head.length == payload_at - MASK_BYTES {
                self.check_length(limits)?;
            } else if self.head.length == payload_at {
                self.frame = Some(self.head.frame());
                self.head.length = 0;
                return Ok(at + 1);
            }
        }
        Ok(input.len())
    }

    /// The first byte: what kind of frame it is, and whether it can stand here.
    fn check_first(&mut self) -> Result<(), Error> {
        if self.head.bytes[0] & 0x70 != 0 {
            return Err(Error::Protocol("a reserved bit is set, and no extension was agreed on"));
        }
        let opcode = Opcode::parse(self.head.bytes[0] & 15).ok_or(Error::Protocol("the opcode is reserved"))?;
        match opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong if !self.head.is_last() => {
                Err(Error::Protocol("a control frame is in fragments"))
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong => Ok(()),
            Opcode::Continuation if self.message.is_none() => Err(Error::Protocol("there is no message to continue")),
            Opcode::Continuation => Ok(()),
            Opcode::Text | Opcode::Binary if self.message.is_some() => {
                Err(Error::Protocol("a message begins before the last one has ended"))
            }
            Opcode::Text | Opcode::Binary => {
                self.message = Some(Message { is_text: opcode == Opcode::Text, bytes: Vec::new(), checked: 0 });
                Ok(())
            }
        }
    }

    /// The length, when all its bytes are there.
    fn check_length(&self, limits: &Limits) -> Result<(), Error> {
        let length = self.head.payload_bytes();
        let is_minimal = match self.head.bytes[1] & 127 {
            126 => length > 125,
            127 => length > u64::from(u16::MAX),
            _ => true,
        };
        if !is_minimal || length >> 63 != 0 {
            return Err(Error::Protocol("a length is not written as short as it can be, or has its highest bit set"));
        }
        let message = self.message.as_ref().filter(|_| !self.head.opcode().is_control());
        let before = message.map_or(0, |message| message.bytes.len());
        match usize::try_from(length).ok().map(|length| (length, before.checked_add(length))) {
            Some((length, Some(all))) if length <= limits.frame_bytes && all <= limits.message_bytes => Ok(()),
            _ if self.head.opcode().is_control() => Ok(()),
            _ => Err(Error::TooBig),
        }
    }

    /// Reads as much of the payload as there is.
    fn read_payload(&mut self, input: &[u8]) -> Result<usize, Error> {
        let Some(frame) = &mut self.frame else { return Ok(0) };
        let bytes = &input[..input.len().min(frame.left)];
        frame.left -= bytes.len();
        let mask = frame.mask;
        frame.mask.rotate_left(bytes.len() % MASK_BYTES);
        if frame.opcode.is_control() {
            unmask(&mut self.control, bytes, mask);
        } else {
            let message = self.message.as_mut().expect("a frame of data belongs to a message");
            unmask(&mut message.bytes, bytes, mask);
            message.check()?;
        }
        Ok(bytes.len())
    }

    /// What is whole when a frame is.
    fn take_event(&mut self) -> Result<Option<Event>, Error> {
        let Some(frame) = self.frame.take_if(|frame| frame.left == 0) else { return Ok(None) };
        let control = std::mem::take(&mut self.control);
        match frame.opcode {
            Opcode::Ping => Ok(Some(Event::Ping(control))),
            Opcode::Pong => Ok(Some(Event::Pong(control))),
            Opcode::Close => close_code(&control).map(|code| Some(Event::Close(code))),
            Opcode::Continuation | Opcode::Text | Opcode::Binary if frame.is_last => {
                self.message.take().expect("a frame of data belongs to a message").into_event().map(Some)
            }
            Opcode::Continuation | Opcode::Text | Opcode::Binary => Ok(None),
        }
    }
}

const MASK_BYTES: usize = 4;

impl Head {
    fn is_last(&self) -> bool {
        self.bytes[0] & 0x80 != 0
    }

    fn opcode(&self) -> Opcode {
        Opcode::parse(self.bytes[0] & 15).expect("it was found to be one when it came")
    }

    /// The second byte: the mask, and the length or how it is written.
    fn check_second(&self) -> Result<(), Error> {
        if self.bytes[1] & 0x80 == 0 {
            return Err(Error::Protocol("a frame is not masked"));
        }
        if self.opcode().is_control() && usize::from(self.bytes[1] & 127) > CONTROL_BYTES_MAX {
            return Err(Error::Protocol("a control frame is longer than 125 bytes"));
        }
        Ok(())
    }

    /// How long it is when it is whole, as far as that is known.
    fn expected(&self) -> usize {
        let length_bytes = match self.bytes[1] & 127 {
            _ if self.length < 2 => 0,
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length_bytes + MASK_BYTES
    }

    fn payload_bytes(&self) -> u64 {
        match self.bytes[1] & 127 {
            short @ 0..=125 => u64::from(short),
            _ => {
                let long = &self.bytes[2..self.expected() - MASK_BYTES];
                long.iter().fold(0, |length, &byte| length << 8 | u64::from(byte))
            }
        }
    }

    fn frame(&self) -> Frame {
        let mask = &self.bytes[self.expected() - MASK_BYTES..self.expected()];
        Frame {
            opcode: self.opcode(),
            is_last: self.is_last(),
            mask: mask.try_into().expect("a mask has four bytes"),
            left: usize::try_from(self.payload_bytes()).expect("it is within its limit"),
        }
    }
}

impl Message {
    /// Checks the bytes that have come; those at the end may be the beginning of a character.
    fn check(&mut self) -> Result<(), Error> {
        if !self.is_text {
            return Ok(());
        }
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(text) => self.checked += text.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(Error::InvalidText),
        }
        Ok(())
    }

    fn into_event(self) -> Result<Event, Error> {
        if !self.is_text {
            return Ok(Event::Binary(self.bytes));
        }
        String::from_utf8(self.bytes).map(Event::Text).map_err(|_| Error::InvalidText)
    }
}

/// Puts bytes behind the others, unmasked (section 5.3).
fn unmask(to: &mut Vec<u8>, bytes: &[u8], mask: [u8; MASK_BYTES]) {
    let start = to.len();
    to.extend_from_slice(bytes);
    for group in to[start..].chunks_mut(MASK_BYTES) {
        for (byte, mask) in group.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
}

/// What a close frame says (section 5.5.1).
fn close_code(payload: &[u8]) -> Result<Option<CloseCode>, Error> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(Error::Protocol("a close code has two bytes")) };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.may_be_sent() {
        return Err(Error::Protocol("a close code is one that is not sent"));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(Error::InvalidText),
    }
}

#[cfg(test)]
mod tests;
