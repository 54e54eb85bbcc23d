//! Judges what a page parses out of an answer: exactly what the model says is due, and every gap that is real.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shaveet::clock::Ms;
use shaveet::json::write_str;

use super::model::{Ending, Fate, Message, Model, Poll, Since, State, Subscription, Transport};

/// What is due to a poll.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// Channel and index of each message, in order; only those that fit.
    pub(crate) messages: Vec<(usize, usize)>,
    /// By channel.
    pub(crate) gaps: BTreeMap<usize, Gap>,
    pub(crate) upto: u64,
    pub(crate) more: bool,
}

/// What may or must be said about what a channel has lost.
#[derive(Debug, Default)]
pub(crate) struct Gap {
    /// It must be told.
    is_real: bool,
    /// Something was lost that was for the reader, so it must not be left parked.
    is_urgent: bool,
    /// It must be told as the web application's messages' gap, or may.
    application: bool,
    perhaps_application: bool,
    is_restart: bool,
    /// The pairs of next id and reason of which one is to be told.
    ways: Vec<(u64, &'static str)>,
}

/// What the page of a stream parses out of an answer.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) messages: Vec<Value>,
    pub(crate) gaps: Vec<Value>,
    /// The position of each message, where each has one.
    pub(crate) ids: Vec<String>,
    /// The same of each gap, with how many messages were told before it.
    pub(crate) gap_ids: Vec<(usize, Option<String>)>,
    /// The last position that is told.
    pub(crate) token: Option<String>,
    /// How it ends: as the page is told, if it is.
    pub(crate) end: Option<&'static str>,
}

/// Bytes in one answer of a stream.
const STREAM_BYTES_MAX: usize = 64 << 10;

/// Messages in one answer of the resume protocol.
const COUNT_MAX: usize = 1000;

impl Model {
    /// What is due to a poll now.
    pub(crate) fn due(&self, now: Ms, answer_bytes: usize, poll: &Poll) -> Due {
        let mut all = Vec::new();
        let mut due = Due { upto: self.seq, ..Due::default() };
        if poll.since == Since::Original && self.is_held_up(poll) {
            return Due::default();
        }
        for (client, subscription, after) in self.readings(poll) {
            let until = subscription.until.unwrap_or(u64::MAX);
            let messages = self.channels[subscription.channel].messages.iter().enumerate();
            all.extend(messages.rev().take_while(|(_, message)| message.seq > after).filter_map(|(at, message)| {
                let is_for = message.seq <= until && now < message.expires && !message.exclude.contains(&client);
                (is_for && message.fate == Fate::Kept).then_some((message.seq, subscription.channel, at))
            }));
        }
        all.sort_unstable();
        all.dedup();
        // A position before that would say that nothing of the subscription has been had.
        let behind = self.readings(poll).filter(|(_, one, after)| {
            let is_told = poll.since == Since::Lost && one.made <= poll.came && one.until.is_none();
            let newest = self.channels[one.channel].messages.last().map_or(0, |message| message.seq);
            one.begin < one.made && *after == one.begin && (is_told || newest > *after)
        });
        let whole_upto = behind.map(|(_, subscription, _)| subscription.made).max().unwrap_or(0);
        let mut bytes = 0;
        for &(seq, channel, at) in &all {
            bytes += self.channels[channel].messages[at].bytes;
            if poll.since != Since::Original {
                // Each is written with its channel's name.
                bytes += quoted_bytes(&self.channels[channel].name);
            }
            let count = due.messages.len();
            let is_full = bytes > answer_bytes || poll.since != Since::Original && count >= COUNT_MAX;
            if is_full && count > 0 && seq > whole_upto {
                due.more = true;
                break;
            }
            due.messages.push((channel, at));
            due.upto = seq;
        }
        due.upto = if due.more { due.upto.max(whole_upto) } else { self.seq };
        if poll.since != Since::Original {
            for (client, subscription, after) in self.readings(poll) {
                self.find_gap(poll, client, subscription, after, &mut due);
            }
        }
        due
    }

    /// Whether an answer is on its way to one of the poll's clients in the original's protocol.
    fn is_held_up(&self, poll: &Poll) -> bool {
        let mut others = poll.members.iter().flat_map(|&(client, _)| &self.clients[client].polls);
        others.any(|key| {
            let other = &self.polls[key];
            other.since == Since::Original && matches!(other.state, State::Sent { is_empty: false, .. })
        })
    }

    /// Clients, subscriptions, and what was had of each.
    fn readings<'a>(&'a self, poll: &'a Poll) -> impl Iterator<Item = (usize, &'a Subscription, u64)> {
        poll.members.iter().flat_map(move |&(client, position)| {
            let position = match poll.since {
                Since::Original => self.clients[client].position,
                Since::Acknowledged | Since::At(_) => position,
                Since::Lost => 0,
            };
            let subscriptions = self.clients[client].subscriptions.iter();
            let subscriptions = subscriptions.filter(|one| poll.since != Since::Original || one.until.is_none());
            subscriptions.map(move |subscription| (client, subscription, subscription.after(position)))
        })
    }

    /// Finds what a reader has lost of a channel, as far as the answer's token passes it. A kind's loss is told in the
    /// answer that passes the newest lost message of the kind.
    fn find_gap(&self, poll: &Poll, client: usize, subscription: &Subscription, after: u64, due: &mut Due) {
        let channel = subscription.channel;
        let messages = &self.channels[channel].messages;
        let until = subscription.until.unwrap_or(u64::MAX);
        let is_lost = |message: &&Message| matches!(message.fate, Fate::Lost(_));
        let is_hers = |message: &&Message| is_lost(message) && !message.exclude.contains(&client);
        let told = due.gaps.entry(channel).or_default();
        if poll.since == Since::Lost && subscription.made <= poll.came && subscription.until.is_none() {
            (told.is_real, told.is_urgent, told.application, told.is_restart) = (true, true, true, true);
            let newest = messages.iter().rev().find(|message| message.seq > after && is_lost(message));
            let next_id = match newest {
                Some(newest) => self.first_kept(channel, |message| message.id > newest.id),
                None => self.first_kept(channel, |message| message.seq > after),
            };
            told.ways.push((next_id, "restart"));
            return;
        }
        let mut newest_told = 0;
        for is_system in [false, true] {
            let of_kind = || {
                let start = messages.partition_point(|message| message.seq <= after);
                let mine = messages[start..].iter().filter(move |message| message.seq <= until);
                mine.filter(move |message| message.system.is_some() == is_system)
            };
            // Who was excluded is known of the newest that fell; of several, only as far as they have in common.
            let perhaps = of_kind().any(|message| is_lost(&message) && message.exclude.len() > 1);
            told.perhaps_application |= perhaps && !is_system;
            told.ways.extend(self.ways(channel, after).filter(|_| perhaps));
            let Some(newest) = of_kind().rfind(is_hers) else {
                // What an ended subscription has lost is known only roughly when some of it had expired, or was not for it.
                let is_nobodys = |message: &Message| message.fate == Fate::Expired || is_lost(&message);
                let perhaps = subscription.until.is_some() && of_kind().any(is_nobodys);
                told.perhaps_application |= perhaps && !is_system;
                told.ways.extend(self.ways(channel, after).filter(|_| perhaps));
                continue;
            };
            let last = of_kind().next_back().map_or(0, |message| message.seq);
            let by = if subscription.until.is_some() { last } else { newest.seq };
            if by > due.upto {
                if subscription.until.is_some() && newest.seq <= due.upto {
                    told.perhaps_application |= !is_system;
                    told.ways.extend(self.ways(channel, newest.seq - 1));
                }
                continue;
            }
            // Then it may stand for all that was lost up to one that was not for the reader either, and is told with that.
            let is_later = |message: &Message| message.seq > due.upto && is_lost(&message);
            if perhaps && of_kind().any(is_later) {
                told.perhaps_application |= !is_system;
                told.ways.extend(self.ways(channel, newest.seq - 1));
                continue;
            }
            told.is_real = true;
            told.is_urgent = true;
            told.application |= !is_system;
            newest_told = newest_told.max(newest.seq);
        }
        if newest_told > 0 && subscription.until.is_some() {
            told.ways.extend(self.ways(channel, newest_told - 1));
        } else if newest_told > 0 {
            told.ways.extend(self.ways(channel, newest_told - 1).next());
        }
    }

    /// How a gap can be told whose newest lost message is one of those after `after`, the oldest first.
    fn ways(&self, channel: usize, after: u64) -> impl Iterator<Item = (u64, &'static str)> {
        let messages = &self.channels[channel].messages;
        let start = messages.partition_point(|message| message.seq <= after);
        messages[start..].iter().filter_map(move |lost| {
            let Fate::Lost(why) = lost.fate else { return None };
            Some((self.first_kept(channel, |message| message.id > lost.id), why))
        })
    }

    fn first_kept(&self, channel: usize, is_right: impl Fn(&Message) -> bool) -> u64 {
        self.kept(channel).find(|message| is_right(message)).map_or(self.next_id(channel), |message| message.id)
    }

    /// Whether a parked poll has to be answered, once the hub has looked at everything.
    pub(crate) fn owes(&self, now: Ms, answer_bytes: usize, poll: &Poll) -> bool {
        let due = self.due(now, answer_bytes, poll);
        match poll.state {
            State::Parked => !due.messages.is_empty() || due.gaps.values().any(|gap| gap.is_urgent) || poll.owes_word,
            State::Over(_) => true,
            State::Sent { .. } => false,
        }
    }

    /// Judges the answer to a poll: what a page of the original's protocol parses. Returns the messages.
    pub(crate) fn judge_original(&mut self, now: Ms, answer_bytes: usize, connection: u64, body: &Value) -> usize {
        let poll = &self.polls[&connection];
        let is_gone = matches!(poll.state, State::Over(Ending::Gone));
        let due = if is_gone { Due::default() } else { self.due(now, answer_bytes, poll) };
        assert!(is_gone || !due.messages.is_empty() || is_ended(now, poll), "a poll is answered without any reason");
        let mut expected = serde_json::Map::new();
        for &(channel, at) in &due.messages {
            let Message { id, text, from, .. } = &self.channels[channel].messages[at];
            let list = expected.entry(self.channels[channel].name.clone()).or_insert(json!([]));
            list.as_array_mut().expect("it is a list").push(json!([id, text, from]));
        }
        assert_eq!(*body, Value::Object(expected), "an answer of the original's protocol");
        let is_empty = due.messages.is_empty();
        self.polls.get_mut(&connection).expect("it is there").state = State::Sent { upto: due.upto, is_empty };
        due.messages.len()
    }

    /// The same in the resume protocol. `epoch` is what tokens begin with.
    pub(crate) fn judge_resume(
        &mut self,
        now: Ms,
        answer_bytes: usize,
        connection: u64,
        body: &Value,
        epoch: &str,
    ) -> usize {
        let poll = &self.polls[&connection];
        let ending = if let State::Over(ending) = poll.state { Some(ending) } else { None };
        if ending == Some(Ending::Gone) {
            assert_eq!(body["error"]["code"], 404, "a poll whose client has gone: {body}");
            self.polls.get_mut(&connection).expect("it is there").state = State::Sent { upto: 0, is_empty: true };
            return 0;
        }
        let is_crowded = ending == Some(Ending::Crowded) && poll.since != Since::Lost;
        let mut due = if is_crowded { Due::default() } else { self.due(now, answer_bytes, poll) };
        let token = match poll.since {
            Since::Acknowledged if is_crowded => String::new(),
            Since::At(position) if is_crowded => format!("{epoch}{position}"),
            _ => format!("{epoch}{}", due.upto),
        };
        assert_eq!(body["since"], token, "the answer's token: {body}");
        let retry = body["retry_ms"].as_u64().expect("retry_ms is a number");
        let is_sent_away = matches!(ending, Some(Ending::Crowded | Ending::Stopping));
        // Its time may have been up before the server stopped.
        let perhaps_not = ending == Some(Ending::Stopping) && poll.earliest <= now;
        assert!(
            is_sent_away && (500..=5000).contains(&retry) || (!is_sent_away || perhaps_not) && retry == 0,
            "{body}"
        );
        assert_eq!(body["more"] == true, due.more, "{body}");
        let expected: Vec<Value> = due.messages.iter().map(|&(channel, at)| self.object(channel, at)).collect();
        assert_eq!(body["messages"], Value::Array(expected), "the messages of an answer");
        let told = body["gaps"].as_array().expect("gaps is a list");
        let is_news = !due.messages.is_empty() || !told.is_empty();
        assert!(is_news || is_ended(now, poll), "a poll is answered without any reason: {body}");
        told.iter().for_each(|gap| self.judge_gap(gap, &mut due));
        let untold = due.gaps.iter().find(|(_, gap)| gap.is_real);
        assert!(untold.is_none(), "a gap is not told: {untold:?} {body}");
        self.polls.get_mut(&connection).expect("it is there").state = State::Sent { upto: 0, is_empty: true };
        due.messages.len()
    }

    /// The same of a stream.
    pub(crate) fn judge_stream(&mut self, now: Ms, answer_bytes: usize, connection: u64, said: &Said, epoch: &str) {
        let poll = &self.polls[&connection];
        let ending = if let State::Over(ending) = poll.state { Some(ending) } else { None };
        let is_socket = poll.transport == Transport::Socket;
        let end = match ending {
            None => None,
            Some(Ending::Gone) => Some("gone"),
            Some(Ending::Crowded) => Some(if is_socket { "replaced" } else { "the end" }),
            Some(Ending::Stopping) => Some(if is_socket { "going away" } else { "the end" }),
            Some(Ending::Time) => panic!("a stream has no end of time"),
        };
        assert_eq!(said.end, end, "{said:?} {poll:?}");
        let is_mute =
            ending == Some(Ending::Gone) || ending == Some(Ending::Crowded) && (is_socket || poll.since != Since::Lost);
        let mut due = if is_mute { Due::default() } else { self.due(now, answer_bytes.min(STREAM_BYTES_MAX), poll) };
        let expected: Vec<Value> = due.messages.iter().map(|&(channel, at)| self.object(channel, at)).collect();
        assert_eq!(said.messages, expected, "the messages of an answer: {said:?}");
        let seqs = due.messages.iter().map(|&(channel, at)| self.channels[channel].messages[at].seq);
        let seqs: Vec<u64> = seqs.collect();
        let is_last = |told: usize| told == seqs.len() && said.gap_ids.iter().all(|&(before, _)| before < told);
        let ids = seqs.iter().enumerate().map(|(at, &seq)| if is_last(at + 1) { due.upto } else { seq });
        let ids = ids.map(|seq| format!("{epoch}{seq}"));
        assert!(is_socket || ids.eq(said.ids.iter().cloned()), "the position of each message: {said:?}");
        for (at, (before, id)) in said.gap_ids.iter().enumerate() {
            // Of a restart the last gap says where the page is then.
            let Some(id) = id else {
                let is_followed = said.gap_ids.get(at + 1).is_some_and(|(next, _)| *next == 0);
                assert!(said.gaps[at]["reason"] == "restart" && *before == 0 && is_followed, "{said:?}");
                continue;
            };
            let here = id.strip_prefix(epoch).and_then(|seq| seq.parse::<u64>().ok()).expect("a position of the epoch");
            let is_between =
                seqs[..*before].iter().all(|&seq| seq <= here) && seqs[*before..].iter().all(|&seq| seq > here);
            assert!(
                is_between && here <= due.upto,
                "who goes on from a gap misses something, or hears it again: {said:?}"
            );
            assert!(!self.is_told_again(poll, &said.gaps[at], here, due.upto), "a gap is told again: {said:?} {at}");
        }
        if !is_mute {
            assert_eq!(said.token, Some(format!("{epoch}{}", due.upto)), "{said:?}");
        }
        let is_news = !due.messages.is_empty() || !said.gaps.is_empty();
        assert!(is_news || poll.owes_word || end.is_some(), "a stream is answered without any reason: {said:?}");
        said.gaps.iter().for_each(|gap| self.judge_gap(gap, &mut due));
        let untold = due.gaps.iter().find(|(_, gap)| gap.is_real);
        assert!(untold.is_none(), "a gap is not told: {untold:?} {said:?}");
        let poll = self.polls.get_mut(&connection).expect("it is there");
        poll.state = State::Sent { upto: due.upto, is_empty: due.messages.is_empty() };
        (poll.owes_word, poll.is_last) = (false, end.is_some());
    }

    /// Whether a page that goes on from `here` would be told a gap that it was told there. Not of a restart, before which it is
    /// nowhere, nor of a subscription that begins in the past, of which it has had nothing before it was made, nor of a client
    /// that was further than others of its stream.
    fn is_told_again(&self, poll: &Poll, gap: &Value, here: u64, upto: u64) -> bool {
        if gap["reason"] == "restart" {
            return false;
        }
        let channel = self.names[gap["channel"].as_str().expect("a channel has a name")];
        let from_here = Poll { since: Since::At(here), ..poll.clone() };
        let mut due = Due { upto, ..Due::default() };
        for &(client, _) in poll.members.iter().filter(|&&(_, position)| position <= here) {
            let of_channel =
                |one: &&Subscription| one.channel == channel && (here >= one.made || one.begin == one.made);
            for subscription in self.clients[client].subscriptions.iter().filter(of_channel) {
                self.find_gap(&from_here, client, subscription, subscription.after(here), &mut due);
            }
        }
        due.gaps.get(&channel).is_some_and(|gap| gap.is_real)
    }

    fn judge_gap(&self, told: &Value, due: &mut Due) {
        let name = told["channel"].as_str().expect("a channel has a name");
        let gap = self.names.get(name).and_then(|channel| due.gaps.remove(channel));
        let gap = gap.unwrap_or_else(|| panic!("a gap is told where none can be, or twice: {told}"));
        let (next_id, reason) = (told["next_id"].as_u64(), told["reason"].as_str());
        let is_way = |way: &(u64, &'static str)| Some(way.0) == next_id && Some(way.1) == reason;
        assert!(gap.ways.iter().any(is_way), "a gap is told wrongly: {told} {gap:?}");
        assert!(!gap.is_restart || reason == Some("restart"), "a restart is not told: {told}");
        let is_application = told.get("system").is_none_or(|system| system != true);
        let perhaps = gap.perhaps_application && !gap.application;
        assert!(perhaps || is_application == gap.application, "whose messages were lost? {told} {gap:?}");
    }

    /// A message as the resume protocol shows it.
    fn object(&self, channel: usize, at: usize) -> Value {
        let name = &self.channels[channel].name;
        let mut object = self.channels[channel].messages[at].object();
        object["channel"] = Value::from(name.clone());
        object
    }
}

impl Message {
    /// As `history` shows it.
    pub(crate) fn object(&self) -> Value {
        let Message { id, text, from, system, .. } = self;
        let mut object = json!({"id": id, "from": from, "data": text, "system": system.is_some()});
        if let Some(Some(reason)) = system {
            object["reason"] = Value::from(*reason);
        }
        object
    }
}

fn quoted_bytes(name: &str) -> usize {
    let mut quoted = Vec::new();
    write_str(&mut quoted, name);
    quoted.len()
}

/// Whether a poll may be answered with nothing.
fn is_ended(now: Ms, poll: &Poll) -> bool {
    matches!(poll.state, State::Over(_)) || poll.earliest <= now
}
