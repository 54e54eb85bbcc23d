//! What each page must get: everything that was published in a channel while its client was subscribed, once and in order, or to be
//! told that it is lost, for a reason that there was.
//!
//! It knows what the functions were called with and what they published, in Redis's order, and nothing of rings, nodes and
//! connections.

use std::collections::{BTreeMap, BTreeSet};

use shaveet::hub::{Limits, SystemShare};

use super::keyspace::Reply;
use super::node::{Given, Got};
use super::redis::Deed;

/// How far the hub's clock may be behind Redis's: what it takes as the time of a reply is when it comes.
const CLOCK_SLACK_MS: u64 = 2500;

/// What has happened in one epoch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) seq: u64,
    /// What it was before the last failover: a node that has not noticed that yet may still say so.
    seq_before: u64,
    channels: BTreeMap<String, Vec<Message>>,
    pub(crate) clients: BTreeMap<String, Person>,
    /// Those that were killed: a node may not have heard of it.
    dead: Vec<(String, Person)>,
    /// By name and key: those whose kill a failover has undone. A node that had heard of it does not have them back for who waits.
    undead: BTreeSet<(String, String)>,
    /// What was published with a key to publish it by only once.
    once: BTreeMap<String, u64>,
}

#[derive(Clone, Debug)]
struct Message {
    seq: u64,
    id: u64,
    is_system: bool,
    at: u64,
    expires: u64,
    excluded: Vec<String>,
    text: String,
    bytes: usize,
    /// A failover has lost it. Who has had it has had it.
    is_undone: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Person {
    pub(crate) key: String,
    /// Keys that it had before: who has one of them still has had what this client has had.
    former_keys: Vec<String>,
    subscriptions: Vec<Subscription>,
}

#[derive(Clone, Debug)]
struct Subscription {
    channel: String,
    begin: u64,
    until: Option<u64>,
    /// When it ended: the `seq` of the newest message of its channel.
    newest: u64,
    /// From then on nobody need find anything of it.
    stale: u64,
}

/// All epochs.
pub(crate) struct Judge {
    limits: Limits,
    truths: BTreeMap<u64, Truth>,
    pub(crate) current: Option<u64>,
    /// What a replica knows.
    replica: (Option<u64>, Truth),
    /// By epoch and client: the newest position that a page of it has named.
    acknowledged: BTreeMap<(u64, String), u64>,
    /// By epoch and client: what pages of the original's protocol have had, from which node and when.
    had: BTreeMap<(u64, String), BTreeMap<u64, Had>>,
    pub(crate) deliveries: usize,
}

/// An answer that has been had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Had {
    pub(crate) node: usize,
    pub(crate) at: u64,
    /// It was for all of its page's clients. Of whom a kill was undone nobody can say that: its node may have heard of the kill.
    pub(crate) is_sure: bool,
}

/// By channel, and whether it is of the server's own messages: one that is lost, and a page is still to be told so.
pub(crate) type Untold = BTreeMap<(String, bool), String>;

/// How far a page had come before its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Basis {
    Behind {
        epoch: u64,
        seq: u64,
    },
    /// The same, and of a subscription that ended behind it everything was read, and may be forgotten: what it has missed nobody
    /// knows, and it may be told so and given everything that is there.
    BehindForgotten {
        epoch: u64,
        seq: u64,
    },
    /// In the epoch that its node knew when it came.
    Acknowledged {
        epoch: Option<u64>,
    },
    Earliest {
        epoch: Option<u64>,
    },
}

impl Person {
    fn new(key: String) -> Person {
        Person { key, former_keys: Vec::new(), subscriptions: Vec::new() }
    }
}

impl Subscription {
    fn live(channel: String, begin: u64) -> Subscription {
        Subscription { channel, begin, until: None, newest: u64::MAX, stale: u64::MAX }
    }

    fn end(&mut self, until: u64, newest: u64, stale: u64) {
        (self.until, self.newest, self.stale) = (Some(until), newest, stale);
    }
}

impl Truth {
    /// What a function has done.
    fn hear(&mut self, now: u64, deed: &Deed) {
        let argument = |at: usize| String::from_utf8(deed.arguments[at].clone()).expect("UTF-8");
        let is_done = !matches!(deed.reply, Reply::Error(_));
        if is_done && matches!(&*deed.function, "create_client" | "restore") {
            self.clients.entry(argument(0)).or_insert_with(|| Person::new(argument(1)));
        }
        let heals = matches!(&*deed.function, "heal_client" | "healed");
        if heals && let Reply::Error(error) = &deed.reply {
            panic!("{} says {error}", deed.function);
        }
        if deed.function == "heal_client" && matches!(&deed.reply, Reply::Text(made) if made == b"1") {
            self.clients.entry(argument(0)).or_insert_with(|| Person::new(argument(2)));
        }
        for (channel, payload) in &deed.published {
            let channel = std::str::from_utf8(channel).expect("UTF-8").strip_prefix("{shaveet}:").expect("our prefix");
            let payload = std::str::from_utf8(payload).expect("UTF-8");
            match channel.split_once(':').expect("a kind") {
                ("says", name) if heals => self.put_back(name, payload),
                ("says", name) => self.append(now, name, payload),
                ("tells", id) if heals => self.tell_healed(id, payload),
                ("tells", id) => self.tell(id, payload),
                other => panic!("{other:?}"),
            }
        }
        match &*deed.function {
            "subscribe" if is_done => {
                assert!(self.is_subscribed(&argument(0), &argument(1)), "subscribe is OK, and it is not subscribed");
            }
            "unsubscribe" if is_done => {
                assert!(!self.is_subscribed(&argument(0), &argument(1)), "unsubscribe is OK, and it is subscribed");
            }
            "publish" if is_done => {
                let Reply::List(reply) = &deed.reply else { panic!("publish gives {:?}", deed.reply) };
                let [Reply::Text(_), Reply::Text(seq)] = &**reply else { panic!("publish gives {reply:?}") };
                let seq: u64 = std::str::from_utf8(seq).unwrap().parse().unwrap();
                let once = argument(5);
                if let Some(&first) = self.once.get(&once) {
                    assert_eq!((seq, deed.published.len()), (first, 0), "what is published once is published once");
                    return;
                }
                let newest = self.channels[&argument(0)].last().expect("it was published");
                assert_eq!((newest.seq, &newest.text), (seq, &serde_json::from_str(&argument(2)).unwrap()));
                if !once.is_empty() {
                    self.once.insert(once, seq);
                }
            }
            _ => {}
        }
    }

    /// What a failover has lost is there again.
    fn put_back(&mut self, channel: &str, payload: &str) {
        let message = read(payload);
        let messages = self.channels.get_mut(channel).expect("it was there before");
        let at = messages.partition_point(|other| other.seq < message.seq);
        assert_eq!(messages[at].seq, message.seq, "nothing is put back that was not there");
        assert!(messages[at].is_undone, "nothing is put back that is there");
        assert!(messages[at + 1..].iter().all(|other| other.is_undone), "it is put where it was");
        messages[at] = Message { at: messages[at].at, expires: messages[at].expires, ..message };
    }

    /// What a failover has done to a client is undone.
    fn tell_healed(&mut self, id: &str, payload: &str) {
        let (word, rest) = payload.split_once(' ').expect("a word");
        let (count, begin, until) = match word {
            "subscribed" => (2, 1, None),
            "ended" => (6, 1, Some(2)),
            "unsubscribed" => (1, 0, Some(0)),
            _ => return self.tell(id, payload),
        };
        let fields: Vec<&str> = rest.splitn(count + 1, ' ').collect();
        let number = |at: usize| fields[at].parse::<u64>().expect("a number");
        let channel = fields[count].to_owned();
        let subscriptions = &mut self.clients.get_mut(id).expect("it is known").subscriptions;
        match until.map(number) {
            None => subscriptions.push(Subscription::live(channel, number(1))),
            Some(until) => {
                let (newest, stale) = if count == 6 { (number(3).max(number(4)), number(5)) } else { (0, 0) };
                // That one, and not another of the same channel: here each begins where it was made.
                let is_it =
                    |one: &Subscription| one.until.is_none() && one.channel == channel && one.begin == number(begin);
                let at = subscriptions.iter().position(is_it);
                let at = at.unwrap_or_else(|| {
                    subscriptions.push(Subscription::live(channel, number(1)));
                    subscriptions.len() - 1
                });
                subscriptions[at].end(until, newest, stale);
            }
        }
    }

    fn append(&mut self, now: u64, channel: &str, payload: &str) {
        let message = read(payload);
        assert!(message.seq > self.seq, "seqs rise: {} after {}", message.seq, self.seq);
        assert_eq!(message.at, now);
        self.seq = message.seq;
        let messages = self.channels.entry(channel.into()).or_default();
        let last = messages.iter().rfind(|message| !message.is_undone);
        assert!(last.is_none_or(|last| last.id < message.id), "ids rise");
        assert!(messages.iter().all(|other| other.id != message.id), "no id is given twice: {}", message.id);
        messages.push(message);
    }

    fn tell(&mut self, id: &str, payload: &str) {
        let (word, rest) = payload.split_once(' ').unwrap_or((payload, ""));
        let mut fields = rest.splitn(if word == "ended" { 7 } else { 3 }, ' ');
        let mut number = || fields.next().expect("a field").parse::<u64>().expect("a number");
        match word {
            "subscribed" => {
                let (made, begin) = (number(), number());
                assert_eq!((made, begin), (self.seq, self.seq), "it begins here");
                let channel = fields.next().expect("a name").to_owned();
                let client = self.clients.get_mut(id).expect("it is known");
                client.subscriptions.push(Subscription::live(channel, begin));
            }
            "ended" => {
                let (_, _, until) = (number(), number(), number());
                assert_eq!(until, self.seq);
                let (newest, stale) = (number().max(number()), number());
                self.end(id, fields.last().expect("a name"), newest, stale);
            }
            "unsubscribed" => {
                assert_eq!(number(), self.seq);
                let channel = rest.split_once(' ').expect("a name").1;
                self.end(id, channel, 0, 0);
            }
            "key" => {
                let client = self.clients.get_mut(id).expect("it is known");
                let former = std::mem::replace(&mut client.key, rest.into());
                client.former_keys.push(former);
            }
            "killed" => {
                let client = self.clients.remove(id).expect("it is known");
                self.dead.push((id.to_owned(), client));
            }
            _ => {}
        }
    }

    fn end(&mut self, id: &str, channel: &str, newest: u64, stale: u64) {
        let seq = self.seq;
        let subscriptions = &mut self.clients.get_mut(id).expect("it is known").subscriptions;
        let live = subscriptions.iter_mut().find(|one| one.until.is_none() && one.channel == channel);
        live.expect("it is subscribed").end(seq, newest, stale);
    }

    fn is_subscribed(&self, id: &str, channel: &str) -> bool {
        let subscriptions = self.clients.get(id).map_or(&[][..], |client| &client.subscriptions);
        subscriptions.iter().any(|one| one.until.is_none() && one.channel == channel)
    }

    /// Whether the client that had this key was killed; there may be another one of its name.
    pub(crate) fn was_killed(&self, id: &str, key: &str) -> bool {
        let has = |client: &Person| client.key == key || client.former_keys.iter().any(|former| former == key);
        let is_here = self.clients.get(id).is_some_and(has);
        !is_here && self.dead.iter().any(|(other, client)| other == id && client.key == key)
    }

    /// Whether the kill of the client with this key was undone by a failover.
    pub(crate) fn is_undead(&self, id: &str, key: &str) -> bool {
        self.undead.contains(&(id.to_owned(), key.to_owned()))
    }

    /// Whether a subscription of a client, or of one that was killed and had its name, may be forgotten that ended behind `seq`.
    fn may_be_forgotten(&self, now: u64, id: &str, seq: u64) -> bool {
        let dead = self.dead.iter().filter(|(other, _)| other == id).map(|(_, client)| client);
        let mut subscriptions = dead.chain(self.clients.get(id)).flat_map(|client| &client.subscriptions);
        subscriptions.any(|one| one.until.is_some() && one.newest > seq && one.stale <= now)
    }

    /// Who is given again what it has had, up to `seq`, is told why: that it may have missed something.
    fn check_told(&self, members: &[&str], given: &Given, seq: u64) {
        let ends_in = |channel: &str| {
            let persons = members.iter().filter_map(|id| self.clients.get(*id));
            persons.flat_map(|client| &client.subscriptions).any(|one| one.channel == channel && one.until.is_some())
        };
        for got in given.messages.iter().filter(|got| got.seq <= seq && !ends_in(&got.channel)) {
            let is_told = given.gaps.iter().any(|gap| gap.channel == got.channel && !gap.is_system);
            assert!(is_told, "{got:?} comes again to who has had everything up to {seq}, and nobody says why");
        }
    }

    /// The channels of a client.
    pub(crate) fn channels_of(&self, id: &str) -> BTreeSet<String> {
        let subscriptions = self.clients.get(id).map_or(&[][..], |client| &client.subscriptions);
        subscriptions.iter().filter(|one| one.until.is_none()).map(|one| one.channel.clone()).collect()
    }

    /// What is a client's own behind `after` and up to `upto`: channel and message.
    fn owed<'a>(&'a self, id: &'a str, after: u64, upto: u64) -> impl Iterator<Item = (&'a str, &'a Message)> {
        let client = self.clients.get(id).into_iter();
        client.flat_map(move |client| self.owed_to(client, id, after, upto))
    }

    /// The same of what a page must find: what was ended long ago may be forgotten.
    fn must_find<'a>(&'a self, now: u64, id: &'a str, after: u64) -> impl Iterator<Item = (&'a str, &'a Message)> {
        self.owed(id, after, u64::MAX).filter(move |(channel, message)| {
            let of = |one: &&Subscription| {
                one.channel == *channel && one.begin < message.seq && message.seq <= one.until.unwrap_or(u64::MAX)
            };
            self.clients[id].subscriptions.iter().filter(of).any(|one| now < one.stale)
        })
    }

    /// The same of all clients that have ever had this name.
    fn ever_owed<'a>(&'a self, id: &'a str, after: u64, upto: u64) -> impl Iterator<Item = (&'a str, &'a Message)> {
        let dead = self.dead.iter().filter(move |(other, _)| other == id).map(|(_, client)| client);
        dead.chain(self.clients.get(id)).flat_map(move |client| self.owed_to(client, id, after, upto))
    }

    fn owed_to<'a>(
        &'a self,
        client: &'a Person,
        id: &'a str,
        after: u64,
        upto: u64,
    ) -> impl Iterator<Item = (&'a str, &'a Message)> {
        client.subscriptions.iter().flat_map(move |one| {
            let (from, to) = (after.max(one.begin), upto.min(one.until.unwrap_or(u64::MAX)));
            let messages = self.channels.get(&one.channel).map_or(&[][..], |messages| messages.as_slice());
            let first = messages.partition_point(|message| message.seq <= from);
            let within = messages[first..].iter().take_while(move |message| message.seq <= to);
            let hers = within.filter(move |message| message.excluded.iter().all(|other| *other != *id));
            hers.map(move |message| (&*one.channel, message))
        })
    }
}

/// A message as it is said.
fn read(payload: &str) -> Message {
    let fields: Vec<&str> = payload.splitn(11, '\n').collect();
    let number = |at: usize| fields[at].parse::<u64>().expect("a number");
    let excluded = if fields[7].is_empty() { Vec::new() } else { serde_json::from_str(fields[7]).expect("a list") };
    Message {
        seq: number(1),
        id: number(2),
        is_system: fields[5] != "app",
        at: number(4),
        expires: if number(6) == 0 { u64::MAX } else { number(6) },
        excluded,
        text: serde_json::from_str(fields[10]).expect("a text"),
        bytes: fields[2].len() + fields[9].len() + fields[10].len() + 4,
        is_undone: false,
    }
}

/// Whose page it is: a name, and whether its key is the one that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    pub(crate) id: &'a str,
    pub(crate) is_current: bool,
}

impl Judge {
    pub(crate) fn new(limits: &Limits) -> Judge {
        Judge {
            limits: limits.clone(),
            truths: BTreeMap::new(),
            current: None,
            replica: (None, Truth::default()),
            acknowledged: BTreeMap::new(),
            had: BTreeMap::new(),
            deliveries: 0,
        }
    }

    pub(crate) fn truth(&self) -> Option<&Truth> {
        self.truths.get(&self.current?)
    }

    /// A function has been called, with whatever came of it. `now` is Redis's time, `epoch` what stands there.
    pub(crate) fn hear(&mut self, now: u64, epoch: Option<u64>, deed: &Deed) {
        if let Some(epoch) = epoch.filter(|_| self.current != epoch) {
            self.truths.entry(epoch).or_default();
            self.current = Some(epoch);
        }
        if let Reply::Error(error) = &deed.reply {
            let word = error.split(' ').next().unwrap_or_default();
            assert!(
                ["UNKNOWNCLIENT", "UNKNOWNCHANNEL", "NOHUB", "RESTORING", "HEALING"].contains(&word),
                "{} says {error}",
                deed.function
            );
        }
        if deed.function == "hello" {
            let Reply::List(reply) = &deed.reply else { panic!("hello gives {:?}", deed.reply) };
            let [Reply::Text(epoch), Reply::Text(seq), ..] = &**reply else { panic!("hello gives {reply:?}") };
            let epoch = u64::from_str_radix(std::str::from_utf8(epoch).unwrap(), 16).unwrap();
            let truth = self.truths.entry(epoch).or_default();
            let seq = std::str::from_utf8(seq).unwrap().parse().unwrap();
            assert!(seq >= truth.seq, "the seq never falls");
            truth.seq = seq;
            self.current = Some(epoch);
            return;
        }
        match self.current {
            Some(epoch) => self.truths.get_mut(&epoch).expect("it is known").hear(now, deed),
            None => assert!(matches!(deed.reply, Reply::Error(_)), "there is no hub, and {deed}"),
        }
    }

    pub(crate) fn replicate(&mut self) {
        self.replica = (self.current, self.truth().cloned().unwrap_or_default());
    }

    /// What the replica did not have is lost.
    pub(crate) fn fail_over(&mut self) {
        let (epoch, mut truth) = self.replica.clone();
        if let Some(epoch) = epoch {
            let now = self.truths.remove(&epoch).expect("a replica has had it from the master");
            let was_killed = |(id, client): &(&String, &Person)| now.was_killed(id, &client.key);
            let undead = truth.clients.iter().filter(was_killed).map(|(id, client)| (id.clone(), client.key.clone()));
            truth.undead = now.undead.iter().cloned().chain(undead).collect();
            for (name, messages) in now.channels {
                let kept = truth.channels.entry(name).or_default();
                let newest = kept.last().map_or(0, |message| message.seq);
                let lost = messages.into_iter().filter(|message| message.seq > newest);
                kept.extend(lost.map(|message| Message { is_undone: true, ..message }));
            }
            truth.seq_before = now.seq.max(now.seq_before);
            // What a page was owed by what is lost it may still get.
            truth.dead = now.dead;
            truth.dead.extend(now.clients);
            self.truths.insert(epoch, truth);
        }
        self.current = epoch;
    }

    /// The seq up to which a replica knows everything.
    pub(crate) fn replicated(&self) -> u64 {
        self.replica.1.seq
    }

    /// Whether a failover has lost a message for good that is young enough to be kept.
    pub(crate) fn is_undone(&self, now: u64, channel: &str, seq: u64) -> bool {
        let messages = self.truth().and_then(|truth| truth.channels.get(channel));
        let age = self.limits.policies.of(channel).history_age.0;
        let is_it = |message: &Message| message.seq == seq && message.is_undone && message.at + age > now;
        messages.is_some_and(|messages| messages.iter().any(is_it))
    }

    /// FLUSHALL.
    pub(crate) fn flush(&mut self) {
        self.current = None;
        self.replicate();
    }

    /// From where a poll goes on that is parked now, and names this position.
    pub(crate) fn basis(&self, now: u64, members: &[&str], epoch: u64, seq: u64) -> Basis {
        let truth = self.truths.get(&epoch);
        if truth.is_some_and(|truth| members.iter().any(|id| truth.may_be_forgotten(now, id, seq))) {
            Basis::BehindForgotten { epoch, seq }
        } else {
            Basis::Behind { epoch, seq }
        }
    }

    /// A page names a position.
    pub(crate) fn acknowledge(&mut self, client: &str, epoch: u64, seq: u64) {
        let newest = self.acknowledged.entry((epoch, client.into())).or_default();
        *newest = seq.max(*newest);
    }

    fn may_be_lost(&self, now: u64, channel: &str, message: &Message, truth: &Truth) -> bool {
        let policy = self.limits.policies.of(channel);
        let ring = |message: &Message| message.is_system && policy.history_system != SystemShare::Shared;
        let own = ring(message);
        let most = match policy.history_system {
            SystemShare::Own(most) if own => most,
            _ => policy.history,
        };
        let later = truth.channels[channel].iter().filter(|other| ring(other) == own && other.seq > message.seq);
        let (count, bytes) = later.fold((0, message.bytes), |(count, bytes), other| {
            // A node counts who is excluded, too.
            let excluded: usize = other.excluded.iter().map(|name| name.len() + 16).sum();
            (count + 1, bytes + other.bytes + excluded)
        });
        count >= most.max(1) || count > 0 && bytes > policy.history_bytes.saturating_sub(100) || {
            let is_old = now.saturating_sub(message.at) > policy.history_age.0;
            is_old && count > 0
        }
    }

    /// An answer of the resume protocol, or of a stream. `now` is Redis's time. `untold` is what was passed over by answers before it,
    /// which were cut before they came to the end of what is lost. It gives the same for the next one.
    pub(crate) fn judge(
        &mut self,
        now: u64,
        members: &[Member<'_>],
        basis: Basis,
        untold: &Untold,
        given: &Given,
    ) -> Untold {
        let untold_before: Vec<(String, bool)> = untold.keys().cloned().collect();
        let mut untold = untold.clone();
        let Some(upto) = given.upto else {
            assert!(given.messages.is_empty() && given.gaps.is_empty(), "without a position there is nothing in it");
            return untold;
        };
        let Some(truth) = self.truths.get(&given.epoch) else {
            assert!(given.messages.is_empty() && given.gaps.is_empty(), "nothing is known in that epoch");
            return untold;
        };
        let (after, is_lost) = match basis {
            Basis::Behind { epoch, seq } if epoch == given.epoch => (seq, false),
            Basis::Behind { .. } | Basis::BehindForgotten { .. } => (0, true),
            // It came before everything was lost.
            Basis::Acknowledged { epoch } | Basis::Earliest { epoch } => (0, epoch != Some(given.epoch)),
        };
        assert!(upto >= after, "the position goes back from {after} to {upto}");
        let newest = truth.seq.max(truth.seq_before);
        assert!(upto <= newest, "the position is still to come: {upto} after {newest}");
        assert!(given.messages.is_sorted_by(|a, b| a.seq < b.seq), "they are in order, each once");
        let owed: BTreeMap<u64, (&str, &Message)> = members
            .iter()
            .flat_map(|member| truth.ever_owed(member.id, after, upto))
            .map(|(channel, message)| (message.seq, (channel, message)))
            .collect();
        for got in &given.messages {
            check(now, truth, &owed, got, after);
            assert!(got.seq <= upto, "it is behind the position that is told with it");
        }
        let got: BTreeSet<u64> = given.messages.iter().map(|got| got.seq).collect();
        let floor = |id: &str| match basis {
            Basis::Acknowledged { .. } => self.acknowledged.get(&(given.epoch, id.to_owned())).copied().unwrap_or(0),
            Basis::BehindForgotten { epoch, seq } if epoch == given.epoch => seq,
            _ => after,
        };
        if let Basis::BehindForgotten { epoch, seq } = basis
            && epoch == given.epoch
        {
            truth.check_told(&members.iter().map(|member| member.id).collect::<Vec<_>>(), given, seq);
        }
        for member in members.iter().filter(|member| member.is_current) {
            for (channel, message) in truth.must_find(now, member.id, floor(member.id)) {
                if message.seq > upto {
                    continue;
                }
                if got.contains(&message.seq) || message.expires <= now || message.is_undone {
                    continue;
                }
                assert!(
                    self.may_be_lost(now, channel, message, truth),
                    "{:?} of {channel:?} (seq {}) was passed over, from {after} to {upto}",
                    message.text,
                    message.seq
                );
                untold.insert((channel.to_owned(), message.is_system), message.text.clone());
            }
        }
        untold.retain(|(channel, is_system), _| {
            let told = given.gaps.iter().any(|gap| gap.channel == *channel && (*is_system || !gap.is_system));
            !told && truth.channels.contains_key(channel)
        });
        assert!(given.more || untold.is_empty(), "{untold:?} is lost, and nobody says so");
        if !is_lost {
            self.check_gaps(now, truth, given, after, &untold_before);
        }
        self.deliveries += given.messages.len();
        untold
    }

    /// Each gap that is told is of something that is lost behind `after`, or was passed over before.
    fn check_gaps(&self, now: u64, truth: &Truth, given: &Given, after: u64, untold_before: &[(String, bool)]) {
        for gap in &given.gaps {
            let messages = truth.channels.get(&gap.channel).map_or(&[][..], |messages| messages);
            let is_reason = |message: &Message| {
                message.seq > after
                    && (message.is_undone
                        || self.may_be_lost(now, &gap.channel, message, truth)
                        || message.expires <= now)
            };
            let is_reason = |message: &Message| {
                let is_behind = untold_before.contains(&(gap.channel.clone(), message.is_system));
                is_behind || is_reason(message)
            };
            assert!(messages.iter().any(is_reason), "{gap:?} is told, and nothing is lost behind {after}");
        }
    }

    /// A page of the original's protocol has had this, for those of its clients that it still has the key of. `excused` says of what it
    /// has had before whether it may come again.
    pub(crate) fn had(
        &mut self,
        now: u64,
        all: &[&str],
        clients: &[&str],
        given: &Given,
        had: Had,
        excused: impl Fn(Had) -> bool,
    ) {
        let Some(truth) = self.truths.get(&given.epoch) else {
            assert!(given.messages.is_empty());
            return;
        };
        let owed: BTreeMap<u64, (&str, &Message)> = all
            .iter()
            .flat_map(|client| truth.ever_owed(client, 0, u64::MAX))
            .map(|(channel, message)| (message.seq, (channel, message)))
            .collect();
        for got in &given.messages {
            check(now, truth, &owed, got, 0);
            // Whoever was killed has no position any more.
            let is_here = |client: &&&str| truth.clients.contains_key(**client);
            let hers = |client: &&&str| truth.ever_owed(client, got.seq - 1, got.seq).next().is_some();
            let mut is_new = truth.channels[&got.channel].iter().any(|other| other.seq == got.seq && other.is_undone);
            let mut before = Vec::new();
            for client in clients.iter().filter(hers) {
                let had_before = self.had.entry((given.epoch, (*client).to_owned())).or_default().insert(got.seq, had);
                is_new |= had_before.is_none();
                before.extend(had_before);
            }
            // It comes for all of them if it may come again for one.
            let may_come =
                is_new || before.is_empty() || before.iter().any(|&before| !before.is_sure || excused(before));
            // Of an answer that was on its way when one of them was killed it may have been for that one.
            if clients.len() == all.len() && clients.iter().all(|client| is_here(&client)) {
                assert!(may_come, "{:?} (seq {}) comes again; it came before: {before:?}", got.text, got.seq);
            }
        }
        self.deliveries += given.messages.len();
    }

    /// Everything is well and has been for long: what a client's pages of the original's protocol have not had is nowhere.
    pub(crate) fn check_all_had(&self, now: u64, client: &str) {
        let (Some(epoch), Some(truth)) = (self.current, self.truth()) else { return };
        let nothing = BTreeMap::new();
        let had = self.had.get(&(epoch, client.to_owned())).unwrap_or(&nothing);
        let live = truth.channels_of(client);
        for (channel, message) in truth.owed(client, 0, u64::MAX) {
            let is_had = had.contains_key(&message.seq) || !live.contains(channel) || message.is_undone;
            // One that was ended is not read any more, and its channel may be subscribed anew.
            let is_over = truth.clients[client].subscriptions.iter().any(|one| {
                one.channel == channel && one.until.is_some_and(|until| one.begin < message.seq && message.seq <= until)
            });
            assert!(
                is_had || is_over || message.expires <= now || self.may_be_lost(now, channel, message, truth),
                "{client} has never had {:?} of {channel:?} (seq {})",
                message.text,
                message.seq
            );
        }
    }

    /// The same of a page of the resume protocol that waits.
    pub(crate) fn check_nothing_due(&self, now: u64, clients: &[&str], basis: Basis) {
        let (Some(epoch), Some(truth)) = (self.current, self.truth()) else { return };
        for client in clients {
            let after = match basis {
                Basis::Behind { epoch: of, seq } | Basis::BehindForgotten { epoch: of, seq } if of == epoch => seq,
                Basis::Acknowledged { epoch: Some(of) } if of == epoch => {
                    self.acknowledged.get(&(epoch, (*client).to_owned())).copied().unwrap_or(0)
                }
                // Of another epoch: it is told as soon as its client is subscribed to anything.
                Basis::Behind { .. }
                | Basis::BehindForgotten { .. }
                | Basis::Acknowledged { .. }
                | Basis::Earliest { .. } => 0,
            };
            for (channel, message) in truth.must_find(now, client, after) {
                assert!(
                    message.is_undone || message.expires <= now,
                    "a page waits behind {after}, and {:?} of {channel:?} (seq {}) is due to it",
                    message.text,
                    message.seq
                );
            }
        }
    }
}

/// One message that was given.
fn check(now: u64, truth: &Truth, owed: &BTreeMap<u64, (&str, &Message)>, got: &Got, after: u64) {
    let Some((channel, message)) = owed.get(&got.seq) else {
        let messages = truth.channels.get(&got.channel).map_or(&[][..], |messages| messages);
        let undone = messages.iter().find(|message| message.seq == got.seq && message.is_undone);
        assert!(
            undone.is_some() && got.seq > after,
            "{got:?} is not for this page, which has had everything up to {after}"
        );
        return;
    };
    assert_eq!(
        (*channel, message.id, &message.text, message.is_system),
        (&*got.channel, got.id, &got.text, got.is_system)
    );
    assert!(now < message.expires.saturating_add(CLOCK_SLACK_MS), "{got:?} had its time");
}
