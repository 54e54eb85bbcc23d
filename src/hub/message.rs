//! One message of a channel, escaped once when it is published and copied from then on.
//!
//! Every client that gets the message gets the same bytes, whatever its transport, so the only work left on the way
//! to the n-th reader is a copy. They are kept in the shape that the original wire uses, `[41,"text","alice"]` (WIRE P2);
//! the parts of it are the parts of every other shape.

use serde::{Deserialize, Serialize};

use crate::clock::Ms;
use crate::decimal;
use crate::json;
use crate::slots::Key;

use super::client::Client;
use super::record::MessageRecord;

/// A message as it stands in its channel's ring.
#[derive(Debug)]
pub struct Message {
    pub(super) seq: u64,
    pub(super) id: u64,
    /// When it was published.
    pub(super) at: Ms,
    /// What it is not for; nothing for most.
    bounds: Option<Box<Bounds>>,
    triple: Box<[u8]>,
    /// Where in the triple the text and the sender begin.
    text_at: u8,
    from_at: u32,
    pub(super) kind: Kind,
}

/// Whom a message is not for: a name, and the client that has had it last, if there was one here.
pub(super) type Excluded = (Box<str>, Option<Key<Client>>);

/// When and to whom a message is not delivered.
#[derive(Debug)]
struct Bounds {
    /// From then on to nobody.
    expires: Ms,
    /// Not to these clients; sorted.
    excluded: Box<[Key<Client>]>,
    /// In a hub that follows a broker: the names of those to whom it is not, as it may not know them all the time.
    names: Box<[Excluded]>,
    /// What these lists count for.
    bytes: usize,
}

/// Who a message is from: the third element of what pages see (WIRE M7: "delivered as given").
#[derive(Clone, Copy, Debug)]
pub enum Sender<'a> {
    /// An id, which need not belong to any client.
    Id(&'a str),
    /// Any other JSON value, already written in pure ASCII: `null`, `42`.
    Json(&'a [u8]),
}

/// Whether the web application says it or the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The web application.
    Application,
    /// The server: a channel is new, a client comes or goes. The reason stands beside the message, not in it, as the
    /// original's text is fixed (WIRE S1, S2).
    System(Option<Reason>),
}

/// Why a client comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// The web application subscribed it.
    Subscribed,
    /// It had been collected, and polls again.
    Returned,
    /// The web application unsubscribed it.
    Unsubscribed,
    /// It has not polled for too long.
    Expired,
    /// The web application killed it.
    Killed,
}

impl Reason {
    /// The word for it on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Reason::Subscribed => "subscribed",
            Reason::Returned => "returned",
            Reason::Unsubscribed => "unsubscribed",
            Reason::Expired => "expired",
            Reason::Killed => "killed",
        }
    }
}

impl Message {
    /// Renders a message of no channel yet. `id` counts within its channel, `seq` over the whole hub.
    pub(super) fn new(at: Ms, seq: u64, id: u64, kind: Kind, from: Sender<'_>, text: &str) -> Message {
        let from_bytes = match from {
            Sender::Id(id) => id.len() + 2,
            Sender::Json(value) => value.len(),
        };
        // Exact if nothing in it is escaped: then it need not be moved into a box of its size.
        let size = decimal::digits(id) + text.len() + from_bytes + r#"[,"",]"#.len();
        Message::render(at, seq, id, kind, size, |triple| json::write_str(triple, text), from)
    }

    /// The message that was written down.
    pub(super) fn restored(record: &MessageRecord<'_>) -> Message {
        let MessageRecord { seq, id, at, kind, text_json, from_json, ref bounds } = *record;
        let size = decimal::digits(id) + text_json.len() + from_json.len() + "[,,]".len();
        let from = Sender::Json(from_json);
        let mut message = Message::render(at, seq, id, kind, size, |triple| triple.extend_from_slice(text_json), from);
        if let Some((expires, excluded)) = bounds {
            message.bound(*expires, excluded.as_slice().into());
        }
        message
    }

    /// What is written down of it.
    pub(super) fn record(&self) -> MessageRecord<'_> {
        MessageRecord {
            seq: self.seq,
            id: self.id,
            at: self.at,
            kind: self.kind,
            text_json: self.text_json(),
            from_json: self.from_json(),
            bounds: self.bounds.as_ref().map(|bounds| (bounds.expires, bounds.excluded.to_vec())),
        }
    }

    fn render(
        at: Ms,
        seq: u64,
        id: u64,
        kind: Kind,
        size: usize,
        write_text: impl FnOnce(&mut Vec<u8>),
        from: Sender<'_>,
    ) -> Message {
        let mut triple = Vec::with_capacity(size);
        triple.push(b'[');
        decimal::write(&mut triple, id);
        triple.push(b',');
        let text_at = u8::try_from(triple.len()).expect("an id has 20 digits at most");
        write_text(&mut triple);
        triple.push(b',');
        let from_at = u32::try_from(triple.len()).expect("a message is far smaller than 4 GiB: bodies are limited");
        match from {
            Sender::Id(id) => json::write_str(&mut triple, id),
            Sender::Json(value) => triple.extend_from_slice(value),
        }
        triple.push(b']');
        let triple = triple.into_boxed_slice();
        Message { seq, id, at, bounds: None, triple, text_at, from_at, kind }
    }

    /// Not to be delivered from `expires` on (`Ms::MAX` for never), nor to these clients.
    pub(super) fn bound(&mut self, expires: Ms, mut excluded: Box<[Key<Client>]>) {
        excluded.sort_unstable();
        let is_for_all = expires == Ms::MAX && excluded.is_empty();
        let bytes = size_of_val(&*excluded);
        self.bounds = (!is_for_all).then(|| Box::new(Bounds { expires, excluded, names: Box::default(), bytes }));
    }

    /// Nor to clients of these names, whenever they are known: as long as it is kept they may go and come again.
    pub(super) fn keep_names(&mut self, names: Box<[Excluded]>) {
        if !names.is_empty() {
            let first =
                || Box::new(Bounds { expires: Ms::MAX, excluded: Box::default(), names: Box::default(), bytes: 0 });
            let bounds = self.bounds.get_or_insert_with(first);
            bounds.bytes += names.iter().map(|(name, _)| name.len()).sum::<usize>();
            bounds.names = names;
        }
    }

    /// Those names.
    pub(super) fn names(&self) -> &[Excluded] {
        self.bounds.as_ref().map_or(&[], |bounds| &bounds.names)
    }

    /// From when on it is delivered to nobody; `Ms::MAX` for never.
    pub(super) fn expires(&self) -> Ms {
        self.bounds.as_ref().map_or(Ms::MAX, |bounds| bounds.expires)
    }

    /// A client of that name has come to be known.
    pub(super) fn exclude_named(&mut self, name: &str, client: Key<Client>) {
        let Some(bounds) = &mut self.bounds else { return };
        let Some(found) = bounds.names.iter_mut().find(|(excluded, _)| **excluded == *name) else { return };
        found.1 = Some(client);
        let mut excluded: Vec<Key<Client>> = bounds.names.iter().filter_map(|(_, client)| *client).collect();
        excluded.sort_unstable();
        bounds.excluded = excluded.into();
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

    /// `41`.
    #[must_use]
    pub fn id_json(&self) -> &[u8] {
        &self.triple[1..self.text_at as usize - 1]
    }

    /// `"text"`.
    #[must_use]
    pub fn text_json(&self) -> &[u8] {
        &self.triple[self.text_at as usize..self.from_at as usize - 1]
    }

    /// `"alice"`.
    #[must_use]
    pub fn from_json(&self) -> &[u8] {
        &self.triple[self.from_at as usize..self.triple.len() - 1]
    }

    /// Who says it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What it counts for in a ring's budget of bytes.
    pub(super) fn bytes(&self) -> usize {
        self.triple.len() + self.bounds.as_ref().map_or(0, |bounds| bounds.bytes)
    }

    /// Whether every client gets it, at any time.
    pub(super) fn is_for_all(&self) -> bool {
        self.bounds.is_none()
    }

    /// Whether a client gets it at the time `now`.
    pub(super) fn is_for(&self, now: Ms, client: Key<Client>) -> bool {
        self.bounds.is_none() || !self.is_over(now) && self.excluded().binary_search(&client).is_err()
    }

    /// Whether its time is over.
    pub(super) fn is_over(&self, now: Ms) -> bool {
        self.bounds.as_ref().is_some_and(|bounds| bounds.expires <= now)
    }

    /// The clients that do not get it, sorted.
    pub(super) fn excluded(&self) -> &[Key<Client>] {
        self.bounds.as_ref().map_or(&[], |bounds| &bounds.excluded)
    }
}

impl Kind {
    /// Whether the server says it.
    #[must_use]
    pub fn is_system(self) -> bool {
        matches!(self, Kind::System(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_rendered_once_and_taken_apart_for_other_shapes() {
        let m = Message::new(Ms::ZERO, 9, 41, Kind::Application, Sender::Id("alice"), "say \"hé\"\u{2028}");
        assert_eq!(m.triple(), br#"[41,"say \"h\u00e9\"\u2028","alice"]"#);
        assert_eq!((m.id_json(), m.text_json()), (&b"41"[..], &br#""say \"h\u00e9\"\u2028""#[..]));
        assert_eq!(m.from_json(), br#""alice""#);
        let m = Message::new(Ms::ZERO, 1, 1, Kind::Application, Sender::Json(b"null"), "");
        assert_eq!((m.triple(), m.from_json()), (&br#"[1,"",null]"#[..], &b"null"[..]));
    }
}
