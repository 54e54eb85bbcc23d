//! One message of a channel, escaped once when it is published and copied from then on.
//!
//! Every client that gets the message gets the same bytes, whatever its transport, so the only work left on the way
//! to the n-th reader is a copy. The text is kept in the shape that the original wire uses (WIRE P2).

use crate::json;

/// A message as it stands in its channel's ring.
#[derive(Debug)]
pub struct Message {
    seq: u64,
    triple: Box<[u8]>,
}

/// Who a message is from: the third element of what pages see (WIRE M7: "delivered as given").
#[derive(Clone, Copy, Debug)]
pub enum Sender<'a> {
    /// An id, which need not belong to any client.
    Id(&'a str),
    /// Any other JSON value, already written in pure ASCII: `null`, `42`.
    Json(&'a [u8]),
}

impl Message {
    /// Renders a message. `id` counts within its channel, `seq` over the whole hub.
    pub(super) fn new(seq: u64, id: u64, text: &str, from: Sender<'_>) -> Message {
        let mut triple = Vec::with_capacity(text.len() + 48);
        triple.push(b'[');
        triple.extend_from_slice(id.to_string().as_bytes());
        triple.push(b',');
        json::write_str(&mut triple, text);
        triple.push(b',');
        match from {
            Sender::Id(id) => json::write_str(&mut triple, id),
            Sender::Json(value) => triple.extend_from_slice(value),
        }
        triple.push(b']');
        Message { seq, triple: triple.into_boxed_slice() }
    }

    /// Its place in the order of all messages of the hub.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// `[41,"text","alice"]`: the channel's id of it, its text, who it is from; pure ASCII JSON (WIRE P2, P3).
    #[must_use]
    pub fn triple(&self) -> &[u8] {
        &self.triple
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_rendered_as_the_wire_wants_it() {
        let m = Message::new(9, 41, "say \"hé\"\u{2028}", Sender::Id("alice"));
        assert_eq!(m.triple(), br#"[41,"say \"h\u00e9\"\u2028","alice"]"#);
        assert_eq!(Message::new(1, 1, "", Sender::Json(b"null")).triple(), br#"[1,"",null]"#);
    }
}
