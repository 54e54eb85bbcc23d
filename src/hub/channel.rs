//! A channel: its recent messages, what fell out of reach, and who is subscribed.
//!
//! The rings are the only place where messages are kept. A reader holds one number, its position, so a slow or absent
//! reader costs nothing here; whoever comes back for what has fallen out is told so.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Ms;
use crate::json;
use crate::names::Named;
use crate::paged::List;
use crate::slots::Key;

use super::client::Client;
use super::freed::Trace;
use super::message::{Kind, Message};
use super::policy::{Policy, SystemShare};
use super::record::{ChannelRecord, LossesRecord};
use super::ring::{Loss, Ring};
use super::subscription::{Subscriber, index};

/// One channel of the hub.
#[derive(Debug)]
pub struct Channel {
    /// The name as a JSON string, quotes included: rendered once for all answers.
    name_json: Box<str>,
    /// The name as clients know it, if it is not just what stands between the quotes.
    name: Option<Box<Box<str>>>,
    pub(super) policy: Arc<Policy>,
    /// By [`Place`]: the web application's messages and the server's, or all in the first.
    rings: [Ring; 2],
    /// By [`index_of`]: the newest message of either kind that was ever appended, as seq...
    newest: [u64; 2],
    /// ...and what fell out, if anything did.
    losses: Option<Box<Losses>>,
    /// Until something does: nobody knows any more what there was of that name, but nothing newer than this; 0 if there was
    /// nothing.
    unknown: u64,
    last_id: u64,
    /// The subscribed clients that are here. In no order: leaving swaps the last one into the gap.
    pub(super) subscribers: List<Subscriber>,
    /// How many of them have a poll parked.
    pub(super) parked: u32,
    /// How many subscriptions have no seat here, of departed clients and ended ones: they keep the channel alive.
    pub(super) held: u32,
    /// How many of these have ended.
    pub(super) ended: u32,
    /// Where the sweep over the subscribers stands, while one is under way.
    pub(super) sweep: Option<Sweep>,
    /// When it was last published to, or lost a subscriber.
    pub(super) used: Ms,
    /// For [`Memory`](super::memory::Memory): it was published to since the hand came by, and it stands in the queue.
    pub(super) used_lately: bool,
    pub(super) queued: bool,
    /// It is nobody's: see [`Hub::send_canary`](super::Hub::send_canary).
    pub(super) is_canary: bool,
    /// When its nearest reminder fires, to see whether it is idle or messages are too old; `Ms::MAX` if none is on its way.
    pub(super) reminded: Ms,
}

/// What a reader may have lost.
#[derive(Debug)]
struct Losses {
    /// By [`index_of`].
    fallen: [Option<Fallen>; 2],
    /// If the newest of the application's that fell out were not for everybody.
    spared: Option<Spared>,
}

/// The newest message of a kind that fell out.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Fallen {
    seq: u64,
    id: u64,
    loss: Loss,
}

/// The newest of the web application's messages that fell out had not been meant for these clients: an application that
/// keeps a client's own messages from it loses nothing of that client's.
#[derive(Debug)]
struct Spared {
    /// Sorted.
    clients: Box<[Key<Client>]>,
    /// What fell out before these messages.
    before: Option<Fallen>,
}

/// What a reader cannot have any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first id that survives after what was lost; the next one to be given if none does.
    pub next_id: u64,
    /// Why the newest lost message was lost.
    pub loss: Loss,
    /// Only messages of the server itself were lost.
    pub system: bool,
    /// Who has come to this `seq` is told of it no more; 0 if that is not known, as after a restart.
    pub seq: u64,
}

/// Where in a channel a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    ring: usize,
    at: usize,
}

/// A walk over the subscribers from the last to the first, in slices.
///
/// Downwards, because leaving swaps the last subscriber into the gap: whoever moves then has been visited already,
/// and whoever joins at the end meanwhile is published about, which asks for one more pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    /// The subscribers below this index are still to be visited in this pass.
    left: u32,
    /// How many messages that were published since the pass began went into the web application's ring.
    behind: u32,
    /// Something was published since the pass began: once more when it ends.
    again: bool,
}

/// What publishing to a channel means for the sweep over its subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    /// One is to begin.
    Begun,
    /// One is under way, or nobody waits.
    UnderWay,
    /// One is under way, and should come first: before it has come round, messages may fall out that somebody waits for.
    Urgent,
}

impl Named for Channel {
    fn name(&self) -> &str {
        Channel::name(self)
    }
}

impl Channel {
    /// A channel without messages. `before` is what there was of that name.
    pub(super) fn new(now: Ms, name: &str, policy: Arc<Policy>, before: Trace) -> Channel {
        let is_known = before.last_id > 0;
        let fallen = before.fallen.map(|seq| aged(seq, before.last_id));
        Channel {
            newest: before.newest,
            losses: is_known.then(|| Box::new(Losses { fallen, spared: None })),
            unknown: if is_known { 0 } else { before.fallen[0] },
            last_id: before.last_id,
            ..Channel::empty(now, name, policy)
        }
    }

    /// The channel that was written down, without its messages.
    pub(super) fn restored(record: &ChannelRecord<'_>, policy: Arc<Policy>) -> Channel {
        Channel {
            newest: record.newest,
            losses: record.losses.as_ref().map(|losses| Box::new(Losses::restored(losses))),
            unknown: record.unknown,
            last_id: record.last_id,
            ..Channel::empty(record.used, &record.name, policy)
        }
    }

    /// What is written down of it, beside its messages.
    pub(super) fn record(&self, at: Key<Channel>) -> ChannelRecord<'_> {
        ChannelRecord {
            at,
            name: self.name().into(),
            last_id: self.last_id,
            newest: self.newest,
            unknown: self.unknown,
            losses: self.losses.as_ref().map(|losses| losses.record()),
            used: self.used,
        }
    }

    /// Puts a message back that was written down, behind the others; older ones go if the policy says another thing now. One
    /// that came while the channel was being written is newer than the channel says.
    pub(super) fn put_back(&mut self, now: Ms, message: Message) {
        self.last_id = self.last_id.max(message.id);
        let newest = &mut self.newest[index_of(message.kind)];
        *newest = message.seq.max(*newest);
        self.push(now, message);
    }

    /// All that was written down of its messages is back. If the newest is not among them, the channel was freed while it was
    /// being written.
    pub(super) fn end_put_back(&mut self, now: Ms) {
        if self.newest_held().is_some_and(|newest| newest < self.last_seq()) {
            self.lose_all(now);
        }
    }

    /// Its next id is so many higher than it would have been.
    pub(super) fn skip_ids(&mut self, count: u64) {
        self.last_id += count;
    }

    /// What somebody knows who has seen more of it: its newest id and `seq`s, and the newest that fell out. What is not here
    /// then is lost.
    pub(super) fn know(&mut self, now: Ms, last_id: u64, newest: [u64; 2], lost: [Option<(u64, u64, Loss)>; 2]) {
        self.last_id = self.last_id.max(last_id);
        for (mine, newest) in self.newest.iter_mut().zip(newest) {
            *mine = newest.max(*mine);
        }
        for (kind, lost) in lost.into_iter().enumerate() {
            let known = self.fallen()[kind].map_or(0, |fallen| fallen.seq);
            if let Some((seq, id, loss)) = lost.filter(|&(seq, ..)| seq > known) {
                let (unknown, first) = (self.unknown, Losses { fallen: [None; 2], spared: None });
                let losses = self.losses.get_or_insert_with(|| Box::new(first));
                losses.fallen[0] = losses.fallen[0].or(aged(unknown, 0));
                losses.fallen[kind] = Some(Fallen { seq, id, loss });
                losses.spared = None;
            }
        }
        self.end_put_back(now);
    }

    /// A client that messages name which are not for it has come to be known.
    pub(super) fn exclude_named(&mut self, name: &str, client: Key<Client>) {
        for message in self.rings.iter_mut().flat_map(Ring::iter_mut) {
            message.exclude_named(name, client);
        }
    }

    fn newest_held(&self) -> Option<u64> {
        self.rings.iter().filter_map(Ring::newest).map(|message| message.seq).max()
    }

    /// The first message after this place, where a place is a ring and a `seq` in it: first those of one ring, then those of
    /// the other.
    pub(super) fn next_message(&self, (ring, seq): (usize, u64)) -> Option<(usize, &Message)> {
        let found =
            |ring: usize, seq| Some((ring, self.rings[ring].get(self.rings[ring].between(seq, u64::MAX).next()?)));
        found(ring, seq).or_else(|| if ring == 0 { found(1, 0) } else { None })
    }

    /// The messages behind `seq`, in order, and the newest of either kind that fell out.
    pub(super) fn messages_behind(&self, seq: u64) -> (Vec<&Message>, [u64; 2]) {
        let of = |ring: &'_ Ring| ring.between(seq, u64::MAX);
        let mut messages: Vec<&Message> = self.rings.iter().flat_map(|ring| of(ring).map(|at| ring.get(at))).collect();
        messages.sort_unstable_by_key(|message| message.seq);
        (messages, self.fallen().map(|fallen| fallen.map_or(0, |fallen| fallen.seq)))
    }

    fn empty(now: Ms, name: &str, policy: Arc<Policy>) -> Channel {
        let mut name_json = Vec::with_capacity(name.len() + 2);
        json::write_str(&mut name_json, name);
        let name_json = String::from_utf8(name_json).expect("it is ASCII").into_boxed_str();
        Channel {
            name: (name_json[1..name_json.len() - 1] != *name).then(|| Box::new(name.into())),
            name_json,
            policy,
            rings: Default::default(),
            newest: [0; 2],
            losses: None,
            unknown: 0,
            last_id: 0,
            subscribers: List::new(),
            parked: 0,
            held: 0,
            ended: 0,
            sweep: None,
            used: now,
            used_lately: false,
            queued: false,
            is_canary: false,
            reminded: Ms::MAX,
        }
    }

    /// Puts a message behind the others; older ones go as the policy says.
    pub(super) fn append(&mut self, now: Ms, message: Message) {
        assert!(message.id > self.last_id && message.seq > self.last_seq(), "ids and seqs are given in order");
        self.last_id = message.id;
        self.newest[index_of(message.kind)] = message.seq;
        self.used = now;
        self.push(now, message);
    }

    fn push(&mut self, now: Ms, message: Message) {
        let (ring, count) = match (message.kind, self.policy.history_system) {
            (Kind::System(_), SystemShare::Own(count)) => (1, count),
            _ => (0, self.policy.history),
        };
        let &mut Channel { ref mut rings, ref mut losses, unknown, .. } = self;
        rings[ring]
            .push(message, count, self.policy.history_bytes, |lost, loss| note(losses, unknown, now, lost, loss));
    }

    /// Takes a policy over, and lets go of what is too much by it. Takes one off `budget` for each message that goes or moves; false
    /// if more have to go. Whether the server's messages have a ring of their own is changed in one go.
    pub(super) fn follow(&mut self, now: Ms, policy: &Arc<Policy>, budget: &mut u32) -> bool {
        if *self.policy != **policy {
            let is_shared = |policy: &Policy| policy.history_system == SystemShare::Shared;
            let other_rings = is_shared(&self.policy) != is_shared(policy);
            self.policy = policy.clone();
            if other_rings {
                *budget = budget.saturating_sub(index(self.held_messages().0));
                self.fill_rings_anew(now);
            }
        }
        self.lose_excess(now, budget)
    }

    fn fill_rings_anew(&mut self, now: Ms) {
        let mut messages: Vec<Message> =
            std::mem::take(&mut self.rings).into_iter().flat_map(Ring::into_messages).collect();
        messages.sort_by_key(Message::seq);
        for message in messages {
            self.push(now, message);
        }
    }

    fn lose_excess(&mut self, now: Ms, budget: &mut u32) -> bool {
        let own = match self.policy.history_system {
            SystemShare::Own(count) => count,
            SystemShare::Shared => usize::MAX,
        };
        let &mut Channel { ref mut rings, ref mut losses, unknown, .. } = self;
        let [first, second] = rings;
        [(first, self.policy.history), (second, own)].into_iter().all(|(ring, count)| {
            ring.shrink(count, self.policy.history_bytes, budget, |lost, loss| note(losses, unknown, now, lost, loss))
        })
    }

    /// Lets go of what is older than the policy says.
    pub(super) fn lose_old(&mut self, now: Ms) {
        let &mut Channel { ref mut rings, ref mut losses, unknown, .. } = self;
        for ring in rings {
            ring.lose_older(now - self.policy.history_age, |lost, loss| note(losses, unknown, now, lost, loss));
        }
    }

    /// Lets go of everything, as nobody uses it any more: what is left of it.
    pub(super) fn lose_all(&mut self, now: Ms) -> Trace {
        let &mut Channel { ref mut rings, ref mut losses, unknown, .. } = self;
        for ring in rings {
            ring.lose_all(|lost, loss| note(losses, unknown, now, lost, loss));
        }
        let fallen = self.fallen().map(|fallen| fallen.map_or(0, |fallen| fallen.seq));
        Trace { last_id: self.last_id, newest: self.newest, fallen }
    }

    /// Lets go of its oldest message for the sake of the whole. False if it has none to give.
    pub(super) fn lose_oldest(&mut self, now: Ms) -> bool {
        let oldest = |ring: &Ring| if ring.len() > 1 { ring.oldest().map(|message| message.seq) } else { None };
        let order =
            oldest(&self.rings[1]).is_some_and(|system| oldest(&self.rings[0]).is_none_or(|first| system < first));
        match self.rings[usize::from(order)].lose_oldest() {
            Some(lost) => {
                note(&mut self.losses, self.unknown, now, lost, Loss::Memory);
                true
            }
            None => false,
        }
    }

    /// When its oldest message becomes too old, if it is not the newest of its ring too.
    pub(super) fn ages_at(&self) -> Option<Ms> {
        let oldest = self.rings.iter().filter(|ring| ring.len() > 1).filter_map(Ring::oldest).map(|message| message.at);
        oldest.min().map(|at| at + self.policy.history_age + Ms(1))
    }

    /// Asks for every subscriber to be visited once from now on, as a message of this kind has come.
    pub(super) fn mark(&mut self, kind: Kind) -> Marked {
        let takes_room = !kind.is_system() || self.policy.history_system == SystemShare::Shared;
        match &mut self.sweep {
            Some(sweep) => {
                sweep.again = true;
                sweep.behind = sweep.behind.saturating_add(u32::from(takes_room));
                // Once, when half of the ring is new.
                let is_half = takes_room && sweep.behind as usize == self.policy.history.div_ceil(2);
                if is_half { Marked::Urgent } else { Marked::UnderWay }
            }
            // Who comes to wait is looked at by itself.
            None if self.parked == 0 => Marked::UnderWay,
            None => {
                self.sweep = Some(Sweep { left: index(self.subscribers.len()), again: false, behind: 0 });
                Marked::Begun
            }
        }
    }

    /// Whether its sweep should come before those of other channels.
    pub(super) fn is_urgent(&self) -> bool {
        self.sweep.is_some_and(|sweep| sweep.behind as usize >= self.policy.history.div_ceil(2))
    }

    /// The next subscriber of the sweep, or `None` when it is over.
    pub(super) fn visit(&mut self) -> Option<Subscriber> {
        if self.parked == 0 {
            // Nobody waits; who comes to do so is looked at by itself.
            self.sweep = None;
        }
        let subscribers = index(self.subscribers.len());
        let sweep = self.sweep.as_mut()?;
        // Some may have left since the last slice.
        sweep.left = sweep.left.min(subscribers);
        if sweep.left == 0 && sweep.again {
            *sweep = Sweep { left: subscribers, again: false, behind: 0 };
        }
        if sweep.left == 0 {
            self.sweep = None;
            return None;
        }
        sweep.left -= 1;
        Some(self.subscribers[sweep.left as usize])
    }

    /// Nobody is subscribed, and nobody who may still want something is either.
    pub(super) fn is_deserted(&self) -> bool {
        self.subscribers.is_empty() && self.held == 0
    }

    /// The id that the next message of this channel gets (WIRE C1: 1, 2, 3...).
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.last_id + 1
    }

    /// The `seq` of its newest message; 0 if there never was one.
    #[must_use]
    pub fn last_seq(&self) -> u64 {
        self.newest[0].max(self.newest[1])
    }

    /// The same by kind: the web application's, the server's.
    pub(super) fn newest(&self) -> [u64; 2] {
        self.newest
    }

    /// Its name as clients know it.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.name {
            Some(name) => name,
            None => &self.name_json[1..self.name_json.len() - 1],
        }
    }

    /// Its name as a JSON string in pure ASCII, quotes included.
    #[must_use]
    pub fn name_json(&self) -> &[u8] {
        self.name_json.as_bytes()
    }

    /// How many messages it holds, and how many bytes they are.
    #[must_use]
    pub fn held_messages(&self) -> (usize, usize) {
        self.rings.iter().fold((0, 0), |(count, bytes), ring| (count + ring.len(), bytes + ring.bytes()))
    }

    /// Whoever has had everything up to one of these lacks the same as who has had everything up to `after`, which is one
    /// of them.
    pub(super) fn stretch(&self, after: u64) -> Range<u64> {
        let fallen = self.fallen().into_iter().flatten().map(|fallen| fallen.seq);
        let (mut start, mut end) = (0, u64::MAX);
        for seq in fallen.chain(self.rings.iter().flat_map(|ring| ring.around(after))) {
            if seq <= after { start = start.max(seq) } else { end = end.min(seq) }
        }
        start..end
    }

    /// Where the messages after `after` and up to `upto` are, for each ring in order.
    pub(super) fn places(&self, after: u64, upto: u64) -> [impl Iterator<Item = Place>; 2] {
        [0, 1].map(|ring| self.rings[ring].between(after, upto).map(move |at| Place { ring, at }))
    }

    /// The message at a place.
    pub(super) fn message(&self, place: Place) -> &Message {
        self.rings[place.ring].get(place.at)
    }

    /// The message with this id, if it survives.
    pub(super) fn message_by_id(&self, id: u64) -> Option<&Message> {
        let at = id.checked_sub(1)?;
        self.rings.iter().filter_map(|ring| ring.first_after_id(at)).find(|message| message.id == id)
    }

    /// For an id that does not survive: up to which `seq` everything with such ids has fallen out, and why.
    pub(super) fn fallen_at(&self, id: u64) -> Option<(u64, Loss)> {
        let beyond = self.fallen().into_iter().flatten().filter(|fallen| fallen.id >= id);
        beyond.min_by_key(|fallen| fallen.seq).map(|fallen| (fallen.seq, fallen.loss))
    }

    /// What a reader has lost that has had everything up to `after`, and to whom nothing newer than `newest` (of either
    /// kind) was meant; `reader` is the client it reads for. A kind's loss counts when the reader's next position, `upto`,
    /// passes the newest of it.
    pub(super) fn gap(&self, reader: Option<Key<Client>>, after: u64, newest: [u64; 2], upto: u64) -> Option<Gap> {
        let is_spared = |spared: &&Spared| reader.is_some_and(|reader| spared.clients.binary_search(&reader).is_ok());
        let fallen = match self.losses.as_ref().and_then(|losses| losses.spared.as_ref()).filter(is_spared) {
            Some(spared) => [spared.before, self.fallen()[1]],
            None => self.fallen(),
        };
        let lost = |kind: usize| {
            let is_lost = |fallen: &Fallen| fallen.seq > after && newest[kind] > after;
            fallen[kind].filter(is_lost).filter(|fallen| fallen.seq.min(newest[kind]) <= upto)
        };
        let (application, system_lost) = (lost(0), lost(1));
        let fallen = application.into_iter().chain(system_lost).max_by_key(|fallen| fallen.seq)?;
        let (system, loss) = (application.is_none(), fallen.loss);
        let passed = [application, system_lost].into_iter().zip(newest);
        let seq = passed.filter_map(|(fallen, newest)| Some(fallen?.seq.min(newest))).max()?;
        Some(Gap { next_id: self.first_id_after(fallen.id), loss, system, seq })
    }

    /// What a reader is told whose position is unknown: everything up to here may be lost.
    pub(super) fn restart_gap(&self, after: u64) -> Gap {
        let newest_lost =
            self.fallen().into_iter().flatten().filter(|fallen| fallen.seq > after).map(|fallen| fallen.id).max();
        let survivor =
            self.rings.iter().filter_map(|ring| ring.between(after, u64::MAX).next().map(|at| ring.get(at).id));
        let next_id = match newest_lost {
            Some(id) => self.first_id_after(id),
            None => survivor.min().unwrap_or(self.next_id()),
        };
        Gap { next_id, loss: Loss::Restart, system: false, seq: 0 }
    }

    /// The newest that fell out, by kind.
    fn fallen(&self) -> [Option<Fallen>; 2] {
        self.losses.as_ref().map_or([aged(self.unknown, 0), None], |losses| losses.fallen)
    }

    /// Whether not all readers have lost the same.
    pub(super) fn spares_some(&self) -> bool {
        self.losses.as_ref().is_some_and(|losses| losses.spared.is_some())
    }

    fn first_id_after(&self, id: u64) -> u64 {
        let survivors = self.rings.iter().filter_map(|ring| ring.first_after_id(id)).map(|message| message.id);
        survivors.min().unwrap_or(self.next_id())
    }

    /// Asserts that it holds no more than its policy says, as it does unless that has just changed.
    pub(super) fn check_policy(&self) {
        assert!(self.rings[0].len() <= self.policy.history);
        if let SystemShare::Own(count) = self.policy.history_system {
            assert!(self.rings[1].len() <= count);
        }
    }

    /// Asserts what must always hold (for [`Hub::check`](super::Hub::check)).
    pub(super) fn check(&self) {
        self.rings.iter().for_each(Ring::check);
        let newest = self.newest_held();
        // One of a name that was used before begins empty.
        assert!(newest.is_none_or(|newest| newest == self.last_seq()), "the newest message stays");
        for fallen in self.fallen().into_iter().flatten() {
            assert!(fallen.seq <= self.last_seq() && fallen.id <= self.last_id);
        }
    }
}

impl Losses {
    fn restored(record: &LossesRecord) -> Losses {
        let spared = record
            .spared
            .as_ref()
            .map(|(clients, before)| Spared { clients: clients.as_slice().into(), before: *before });
        Losses { fallen: record.fallen, spared }
    }

    fn record(&self) -> LossesRecord {
        let spared = self.spared.as_ref().map(|spared| (spared.clients.to_vec(), spared.before));
        LossesRecord { fallen: self.fallen, spared }
    }
}

/// Remembers a message that has fallen out. One whose time was over is nobody's loss, and one is nobody's whom its
/// publisher has excluded.
fn note(losses: &mut Option<Box<Losses>>, unknown: u64, now: Ms, lost: Message, loss: Loss) {
    if lost.is_over(now) {
        return;
    }
    let first = || Box::new(Losses { fallen: [aged(unknown, 0), None], spared: None });
    let Losses { fallen, spared } = &mut **losses.get_or_insert_with(first);
    let (kind, new) = (index_of(lost.kind), Fallen { seq: lost.seq, id: lost.id, loss });
    if fallen[kind].is_some_and(|fallen| fallen.seq > lost.seq) {
        // What was never here is newer.
        return;
    }
    let before = fallen[kind].replace(new);
    if !lost.kind.is_system() {
        let is_spared = |one: &&Key<Client>| lost.excluded().binary_search(one).is_ok();
        let together = |run: &Spared| run.clients.iter().filter(is_spared).copied().collect();
        *spared = match spared.take() {
            _ if lost.excluded().is_empty() => None,
            Some(run) if run.clients.iter().any(|one| is_spared(&one)) => {
                Some(Spared { clients: together(&run), before: run.before })
            }
            _ => Some(Spared { clients: lost.excluded().into(), before }),
        };
    }
}

/// What was lost with a channel that was freed, if there was anything.
fn aged(seq: u64, id: u64) -> Option<Fallen> {
    (seq > 0).then_some(Fallen { seq, id, loss: Loss::Age })
}

/// The index of what is kept by kind.
pub(super) fn index_of(kind: Kind) -> usize {
    usize::from(kind.is_system())
}

#[cfg(test)]
mod tests {
    use super::super::message::{Reason, Sender};
    use super::*;

    fn channel(system: SystemShare) -> Channel {
        let (history_bytes, history_age) = (1000, Ms(1000));
        let policy = Policy { history: 3, history_system: system, history_bytes, history_age, presence: true };
        Channel::new(Ms::ZERO, "room", Arc::new(policy), Trace::default())
    }

    fn append(channel: &mut Channel, seq: u64, kind: Kind) {
        let message = Message::new(Ms(seq), seq, channel.next_id(), kind, Sender::Json(b"null"), "x");
        channel.append(Ms(seq), message);
        channel.check();
    }

    fn seqs(channel: &Channel, after: u64, upto: u64) -> Vec<u64> {
        channel.places(after, upto).into_iter().flatten().map(|place| channel.message(place).seq).collect()
    }

    const SAID: Kind = Kind::Application;
    const JOINED: Kind = Kind::System(Some(Reason::Subscribed));

    #[test]
    fn joins_push_nobody_elses_messages_out_unless_they_share() {
        let mut own = channel(SystemShare::Own(2));
        let mut shared = channel(SystemShare::Shared);
        for (seq, kind) in [(1, SAID), (2, JOINED), (3, JOINED), (4, JOINED), (5, JOINED)] {
            append(&mut own, seq, kind);
            append(&mut shared, seq, kind);
        }
        assert_eq!(seqs(&own, 0, 99), [1, 4, 5]);
        assert_eq!(seqs(&shared, 0, 99), [3, 4, 5]);
        let told = own.gap(None, 0, [u64::MAX; 2], u64::MAX).unwrap();
        assert_eq!((told.next_id, told.loss, told.system), (4, Loss::Count, true));
        let told = shared.gap(None, 0, [u64::MAX; 2], u64::MAX).unwrap();
        assert_eq!((told.next_id, told.loss, told.system), (3, Loss::Count, false));
        assert!(shared.gap(None, 1, [u64::MAX; 2], u64::MAX).unwrap().system);
        assert_eq!(shared.gap(None, 2, [u64::MAX; 2], u64::MAX), None);
        // To whom nothing of the server's after 1 was meant has lost nothing of it.
        assert_eq!(own.gap(None, 0, [1, 0], u64::MAX), None);
        // A loss counts from where the newest of it is passed that was meant for the reader.
        assert_eq!(own.gap(None, 0, [u64::MAX; 2], 2), None);
        assert!(own.gap(None, 0, [u64::MAX; 2], 3).is_some() && own.gap(None, 0, [0, 2], 2).is_some());
    }

    #[test]
    fn messages_move_when_the_servers_have_a_ring_of_their_own_or_no_more() {
        let mut channel = channel(SystemShare::Own(2));
        for (seq, kind) in [(1, JOINED), (2, SAID), (3, SAID), (4, JOINED), (5, SAID)] {
            append(&mut channel, seq, kind);
        }
        assert_eq!(seqs(&channel, 0, 99), [2, 3, 5, 1, 4]);
        let mut follow = |history_system, budget| {
            let policy = Arc::new(Policy { history_system, ..(*channel.policy).clone() });
            let mut left = budget;
            let is_done = channel.follow(Ms(5), &policy, &mut left);
            channel.check();
            let lost = channel.gap(None, 0, [u64::MAX; 2], u64::MAX).map(|gap| (gap.next_id, gap.loss, gap.system));
            (seqs(&channel, 0, 99), lost, is_done, budget - left)
        };
        // Five of which two are too many.
        let shared = (vec![3, 4, 5], Some((3, Loss::Count, false)), true, 5);
        assert_eq!(follow(SystemShare::Shared, 9), shared);
        assert_eq!(follow(SystemShare::Shared, 9), (shared.0, shared.1, true, 0));
        assert_eq!(follow(SystemShare::Own(1), 9), (vec![3, 5, 4], shared.1, true, 3));
    }

    #[test]
    fn who_was_excluded_from_what_fell_out_has_lost_nothing_by_it() {
        let mut channel = channel(SystemShare::Shared);
        let [alice, bob] = [Key::unpack(1), Key::unpack(2)];
        let say = |channel: &mut Channel, seq, exclude: &[Key<Client>]| {
            let mut message = Message::new(Ms(seq), seq, channel.next_id(), SAID, Sender::Json(b"null"), "x");
            message.bound(Ms::MAX, exclude.into());
            channel.append(Ms(seq), message);
        };
        let lost =
            |channel: &Channel, reader, after| channel.gap(Some(reader), after, [u64::MAX; 2], u64::MAX).is_some();
        say(&mut channel, 1, &[]);
        for seq in 2..=7 {
            say(&mut channel, seq, &[alice, bob][..if seq < 7 { 1 } else { 2 }]);
        }
        // Up to 4 have fallen out: of these only the first was for alice.
        assert!(
            lost(&channel, alice, 0) && !lost(&channel, alice, 1) && lost(&channel, bob, 3) && !lost(&channel, bob, 4)
        );
        (8..=10).for_each(|seq| say(&mut channel, seq, &[bob]));
        // Up to 7; the last was for neither of them, but only alice's others are known.
        assert!(!lost(&channel, alice, 1) && lost(&channel, bob, 5));
        (11..=13).for_each(|seq| say(&mut channel, seq, &[bob]));
        // Up to 10, of which the last three were for alice.
        assert!(
            lost(&channel, alice, 9) && !lost(&channel, alice, 10) && lost(&channel, bob, 6) && !lost(&channel, bob, 7)
        );
    }

    #[test]
    fn a_sweep_visits_everybody_and_once_more_when_marked_meanwhile() {
        let mut channel = channel(SystemShare::Shared);
        for at in 0..3 {
            channel.subscribers.push(Subscriber { client: Key::unpack(7), at });
        }
        channel.parked = 1;
        assert_eq!(channel.mark(SAID), Marked::Begun);
        assert_eq!(channel.visit().map(|s| s.at), Some(2));
        assert_eq!(channel.mark(SAID), Marked::UnderWay);
        let rest: Vec<u32> = std::iter::from_fn(|| channel.visit()).map(|s| s.at).collect();
        assert_eq!(rest, [1, 0, 2, 1, 0]);
        assert!(channel.sweep.is_none());
        // Half of a ring of three.
        assert_eq!(
            [0; 4].map(|_| channel.mark(SAID)),
            [Marked::Begun, Marked::UnderWay, Marked::Urgent, Marked::UnderWay]
        );
        assert!(channel.is_urgent());
        channel.parked = 0;
        assert!(channel.visit().is_none() && channel.sweep.is_none(), "nobody waits");
    }

    #[test]
    fn nobody_is_visited_where_nobody_waits() {
        let mut channel = channel(SystemShare::Shared);
        channel.subscribers.push(Subscriber { client: Key::unpack(7), at: 0 });
        assert_eq!(channel.mark(SAID), Marked::UnderWay);
        assert!(channel.sweep.is_none());
    }

    #[test]
    fn a_sweep_survives_that_everybody_leaves() {
        let mut channel = channel(SystemShare::Shared);
        channel.subscribers.push(Subscriber { client: Key::unpack(7), at: 0 });
        channel.parked = 1;
        channel.mark(SAID);
        channel.subscribers = List::new();
        assert!(channel.visit().is_none() && channel.sweep.is_none());
    }
}
