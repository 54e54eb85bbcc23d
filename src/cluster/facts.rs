//! How facts are written: what the functions reply, and what is pushed.
//!
//! Numbers are decimal text, times are Redis's in milliseconds. Nothing is believed: what does not read well is `None`.

use crate::broker::Value;
use crate::clock::Ms;
use crate::hub::{
    Adoption, ChannelFacts, ClientKey, EndFacts, Kind as MessageKind, LinkFacts, Loss, MessageFacts, Reason,
};

/// The fields of a reply, one after the other.
#[derive(Debug)]
pub(super) struct Reader<'a>(std::slice::Iter<'a, Value>);

/// How times are brought to the hub's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct HubClock {
    pub(super) now: Ms,
    /// How far Redis's clock is ahead.
    pub(super) ahead: u64,
}

/// Of what something is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A channel.
    Says,
    /// A client.
    Tells,
}

/// Something that is pushed.
#[derive(Debug)]
pub(super) enum Push<'a> {
    Says {
        epoch: u64,
        before: u64,
        /// What it was published with by only once, in JSON; empty if it was not.
        once: &'a str,
        message: MessageFacts<'a>,
    },
    Tells(Word<'a>),
}

/// What is told of a client.
#[derive(Debug)]
pub(super) enum Word<'a> {
    Subscribed {
        made: u64,
        begin: u64,
        channel: &'a str,
    },
    Ended(LinkFacts<'a>),
    Unsubscribed {
        channel: &'a str,
    },
    Key(ClientKey),
    Killed,
    /// It was collected: it may come back.
    Departed,
    Position(u64),
    /// Another node wants its lease.
    Wanted(&'a str),
    /// Nobody has its lease.
    Free(u64),
    /// Nothing that concerns a copy.
    Returned,
}

/// A client as the broker has it, with its subscriptions.
#[derive(Debug)]
pub(super) struct ClientFacts<'a> {
    pub(super) key: ClientKey,
    pub(super) created: Ms,
    pub(super) position: u64,
    pub(super) resumes: bool,
    pub(super) forgotten: u64,
    pub(super) has_departed: bool,
    pub(super) time: u64,
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) subscriptions: Vec<LinkFacts<'a>>,
}

/// A channel as the broker has it, with messages.
#[derive(Debug)]
pub(super) struct Filled<'a> {
    pub(super) facts: ChannelFacts,
    pub(super) time: u64,
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) messages: Vec<MessageFacts<'a>>,
}

impl HubClock {
    /// What a moment on the hub's clock is on Redis's; 0 for never.
    pub(super) fn redis(self, hub: Ms) -> u64 {
        if hub == Ms::MAX { 0 } else { hub.0.saturating_add(self.ahead) }
    }

    /// A moment; of one that is still to come on the hub's clock, now.
    fn past(self, redis: u64) -> Ms {
        Ms(redis.saturating_sub(self.ahead)).min(self.now)
    }

    fn future(self, redis: u64) -> Ms {
        if redis == 0 { Ms::MAX } else { Ms(redis.saturating_sub(self.ahead)) }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn of(value: &'a Value) -> Option<Reader<'a>> {
        value.list().map(|values| Reader(values.iter()))
    }

    pub(super) fn next(&mut self) -> Option<&'a Value> {
        self.0.next()
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        self.next()?.text()
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.next()?.number()
    }

    fn list(&mut self) -> Option<&'a [Value]> {
        match self.next()? {
            Value::Null => Some(&[]),
            value => value.list(),
        }
    }
}

pub(super) fn epoch(text: &str) -> Option<u64> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

impl<'a> ClientFacts<'a> {
    /// What a hub takes over, but for the subscriptions.
    pub(super) fn adoption<'i>(&self, id: &'i str, now: Ms) -> Adoption<'i> {
        let &ClientFacts { key, created, position, resumes, forgotten, .. } = self;
        Adoption { id, key, created, seen: now, position, resumes, forgotten }
    }

    pub(super) fn read(value: &'a Value, now: Ms) -> Option<ClientFacts<'a>> {
        let mut reply = Reader::of(value)?;
        let key = ClientKey::parse(reply.text()?)?;
        let created = reply.number()?;
        let position = reply.number()?;
        let resumes = reply.number()? != 0;
        let forgotten = reply.number()?;
        let has_departed = !reply.text()?.is_empty();
        let time = reply.number()?;
        let epoch = epoch(reply.text()?)?;
        let seq = reply.number()?;
        let clock = HubClock { now, ahead: time.saturating_sub(now.0) };
        let mut subscriptions = Vec::new();
        for one in reply.list()? {
            let mut fields = Reader::of(one)?;
            let channel = fields.text()?;
            subscriptions.push(LinkFacts { channel, made: fields.number()?, begin: fields.number()?, end: None });
        }
        for one in reply.list()? {
            let mut fields = Reader::of(one)?;
            let (channel, made, begin) = (fields.text()?, fields.number()?, fields.number()?);
            let (until, newest) = (fields.number()?, [fields.number()?, fields.number()?]);
            let end = EndFacts { until, newest, stale: clock.future(fields.number()?.max(1)) };
            subscriptions.push(LinkFacts { channel, made, begin, end: Some(end) });
        }
        let created = clock.past(created);
        Some(ClientFacts { key, created, position, resumes, forgotten, has_departed, time, epoch, seq, subscriptions })
    }
}

impl<'a> Filled<'a> {
    pub(super) fn read(value: &'a Value, now: Ms) -> Option<Filled<'a>> {
        let mut reply = Reader::of(value)?;
        let last_id = reply.number()?;
        let newest = [reply.number()?, reply.number()?];
        let lost = [lost(reply.text()?)?, lost(reply.text()?)?];
        let _used = reply.number()?;
        let time = reply.number()?;
        let epoch = epoch(reply.text()?)?;
        let seq = reply.number()?;
        let clock = HubClock { now, ahead: time.saturating_sub(now.0) };
        let messages = reply.list()?.iter().map(|one| {
            let mut fields = Reader::of(one)?;
            let (seq, id, at) = (fields.number()?, fields.number()?, clock.past(fields.number()?));
            let kind = kind(fields.text()?)?;
            let expires = clock.future(fields.number()?);
            let excluded = excluded(fields.text()?)?;
            let (from_json, text_json) = (ascii(fields.text()?)?, ascii(fields.text()?)?);
            Some(MessageFacts { seq, id, at, kind, from_json, text_json, expires, excluded })
        });
        let messages = messages.collect::<Option<_>>()?;
        Some(Filled { facts: ChannelFacts { last_id, newest, lost }, time, epoch, seq, messages })
    }
}

impl<'a> Push<'a> {
    pub(super) fn read(of: Kind, payload: &'a [u8], clock: HubClock) -> Option<Push<'a>> {
        let payload = std::str::from_utf8(payload).ok()?;
        match of {
            Kind::Says => says(payload, clock),
            Kind::Tells => Word::read(payload, clock).map(Push::Tells),
        }
    }
}

fn says(payload: &str, clock: HubClock) -> Option<Push<'_>> {
    let mut fields = payload.splitn(11, '\n');
    let mut next = || fields.next();
    let epoch = epoch(next()?)?;
    let (seq, id, before) = (next()?.parse().ok()?, next()?.parse().ok()?, next()?.parse().ok()?);
    let at = clock.past(next()?.parse().ok()?);
    let kind = kind(next()?)?;
    let expires = clock.future(next()?.parse().ok()?);
    let excluded = excluded(next()?)?;
    let once = next()?;
    if !once.is_empty() {
        ascii(once)?;
    }
    let (from_json, text_json) = (ascii(next()?)?, ascii(next()?)?);
    let message = MessageFacts { seq, id, at, kind, from_json, text_json, expires, excluded };
    Some(Push::Says { epoch, before, once, message })
}

impl<'a> Word<'a> {
    fn read(payload: &'a str, clock: HubClock) -> Option<Word<'a>> {
        let (word, rest) = payload.split_once(' ').unwrap_or((payload, ""));
        // The name of a channel comes last, and may hold anything.
        let fields = |count: usize| -> Option<(Vec<u64>, &'a str)> {
            let mut parts = rest.splitn(count + 1, ' ');
            let numbers = (0..count).map(|_| parts.next()?.parse().ok()).collect::<Option<Vec<u64>>>()?;
            Some((numbers, parts.next().unwrap_or("")))
        };
        Some(match word {
            "subscribed" => {
                let (numbers, channel) = fields(2)?;
                Word::Subscribed { made: numbers[0], begin: numbers[1], channel }
            }
            "ended" => {
                let (numbers, channel) = fields(6)?;
                let stale = clock.future(numbers[5].max(1));
                let end = EndFacts { until: numbers[2], newest: [numbers[3], numbers[4]], stale };
                Word::Ended(LinkFacts { channel, made: numbers[0], begin: numbers[1], end: Some(end) })
            }
            "unsubscribed" => Word::Unsubscribed { channel: fields(1)?.1 },
            "key" => Word::Key(ClientKey::parse(rest)?),
            "killed" => Word::Killed,
            "departed" => Word::Departed,
            "returned" => Word::Returned,
            "position" => Word::Position(rest.parse().ok()?),
            "wanted" => Word::Wanted(rest),
            "free" => Word::Free(rest.parse().ok()?),
            _ => return None,
        })
    }
}

fn lost(text: &str) -> Option<Option<(u64, u64, Loss)>> {
    if text.is_empty() {
        return Some(None);
    }
    let mut fields = text.split(' ');
    let (seq, id) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let loss = match fields.next()? {
        "count" => Loss::Count,
        "bytes" => Loss::Bytes,
        "age" => Loss::Age,
        "memory" => Loss::Memory,
        "restart" => Loss::Restart,
        _ => return None,
    };
    Some(Some((seq, id, loss)))
}

/// The word for a kind, as [`kind`] reads it.
pub(super) fn word(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Application => "app",
        MessageKind::System(None) => "new",
        MessageKind::System(Some(reason)) => reason.name(),
    }
}

fn kind(word: &str) -> Option<MessageKind> {
    let reason = match word {
        "app" => return Some(MessageKind::Application),
        "new" => None,
        "subscribed" => Some(Reason::Subscribed),
        "returned" => Some(Reason::Returned),
        "unsubscribed" => Some(Reason::Unsubscribed),
        "expired" => Some(Reason::Expired),
        "killed" => Some(Reason::Killed),
        _ => return None,
    };
    Some(MessageKind::System(reason))
}

fn excluded(json: &str) -> Option<Vec<Box<str>>> {
    if json.is_empty() { Some(Vec::new()) } else { serde_json::from_str(json).ok() }
}

/// JSON as we write it, or what could pass for it: pages get it as it is. A script or a quote in it would be theirs.
fn ascii(json: &str) -> Option<&[u8]> {
    let is_ours = json.is_ascii() && serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok();
    is_ours.then_some(json.as_bytes())
}
