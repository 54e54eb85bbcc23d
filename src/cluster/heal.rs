//! What a failover has lost and this node still has: it is put back.
//!
//! Redis replicates after it has answered, so a replica that becomes the master may lack the last of what was done: messages that
//! pages of some nodes have had and those of others have not, subscriptions, clients. For some seconds the functions in Redis
//! let nothing new be done, and each node says what it has that the new master lacks; when all have, it is put where it was,
//! and said to the others. Meanwhile the node recovers, and answers nobody (`recover.rs`).
//!
//! Redis says up to which `seq` it is *whole*: up to there it knows everything, and this node nothing better.

use std::collections::{HashMap, VecDeque};

use log::{info, warn};

use super::facts::word;
use super::{Cluster, Question};
use crate::broker::{Failure, Value};
use crate::clock::Ms;
use crate::hub::{Client, EndFacts, Hub, MessageFacts};
use crate::slots::Key;

/// How far it has come.
#[derive(Debug)]
pub(super) struct Healing {
    /// Redis has everything up to there.
    whole: u64,
    asks: Asks,
    /// So many messages were put back from here.
    messages: usize,
}

/// Whether the others have put back what they have.
#[derive(Clone, Copy, Debug)]
enum Asks {
    /// This node itself has more, or it is to be asked at once.
    Next,
    /// An answer is on its way.
    Waits,
    /// They had not, and it is asked again.
    At(Ms),
}

/// What recent messages were published with by only once: whoever puts one back has to know.
#[derive(Debug, Default)]
pub(super) struct RecentKeys {
    /// By their seqs.
    keys: HashMap<u64, RecentKey>,
    /// When each was heard of, the oldest first. What was put back since may stand here twice.
    heard: VecDeque<(Ms, u64)>,
}

#[derive(Debug)]
struct RecentKey {
    heard: Ms,
    channel: Box<str>,
    /// In JSON.
    once: Box<str>,
}

/// No replica is as far behind as that.
const RECENT: Ms = Ms::from_secs(30);

/// They are small, and nobody is to be filled with them.
const RECENT_MAX: usize = 10_000;

/// How often it is asked whether the others are done.
const ASK_EVERY: Ms = Ms(100);

/// Messages in one call, and bytes: a call is not to hold Redis up.
const MESSAGES_PER_CALL: usize = 64;
const BYTES_PER_CALL: usize = 256 * 1024;

impl Healing {
    pub(super) fn next(&self) -> Ms {
        if let Asks::At(time) = self.asks { time } else { Ms::MAX }
    }
}

impl RecentKeys {
    pub(super) fn note(&mut self, now: Ms, channel: &str, seq: u64, once: &str) {
        if once.is_empty() {
            return;
        }
        while let Some(&(heard, oldest)) = self.heard.front()
            && (self.heard.len() >= RECENT_MAX || heard + RECENT < now)
        {
            self.heard.pop_front();
            if self.keys.get(&oldest).is_some_and(|key| key.heard == heard) {
                self.keys.remove(&oldest);
            }
        }
        self.heard.push_back((now, seq));
        self.keys.insert(seq, RecentKey { heard: now, channel: channel.into(), once: once.into() });
    }

    fn find(&self, channel: &str, seq: u64) -> &str {
        self.keys.get(&seq).filter(|key| *key.channel == *channel).map_or("", |key| &key.once)
    }
}

impl Cluster {
    /// Hello was answered: `whole` while it is to be healed.
    pub(super) fn begin_healing(&mut self, hub: &Hub, whole: Option<u64>) {
        self.heard_up_to.get_or_insert(hub.position());
        self.healing = whole.map(|whole| Healing { whole, asks: Asks::Next, messages: 0 });
    }

    /// What this node has of a channel, and Redis has not: there `newest` is the newest.
    pub(super) fn put_back(&mut self, now: Ms, hub: &Hub, name: &str, newest: u64) {
        let Some(healing) = &mut self.healing else { return };
        let (messages, fallen) = hub.messages_behind(name, newest.max(healing.whole));
        healing.messages += messages.len();
        let mut rest = &messages[..];
        let mut before = newest;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |message: &&MessageFacts<'_>| {
                bytes += message.text_json.len() + message.from_json.len();
                bytes <= BYTES_PER_CALL
            };
            let count = rest.iter().take(MESSAGES_PER_CALL).take_while(fits).count().max(1);
            let (now_sent, later) = rest.split_at(count);
            if self.put_some_back(now, name, now_sent, &mut before, fallen).is_err() {
                return self.recover_again(now, name.into());
            }
            self.recovers_one();
            rest = later;
        }
    }

    fn put_some_back(
        &mut self,
        now: Ms,
        name: &str,
        messages: &[MessageFacts<'_>],
        before: &mut u64,
        fallen: [u64; 2],
    ) -> Result<(), Failure> {
        let clock = self.to_hub_clock(now);
        let mut arguments: Vec<Vec<u8>> = vec![name.into()];
        for message in messages {
            let excluded = if message.excluded.is_empty() {
                String::new()
            } else {
                serde_json::to_string(&message.excluded).expect("texts are JSON")
            };
            // Lost between the one before and this one.
            let lost = fallen.map(|seq| if *before < seq && seq < message.seq { seq } else { 0 });
            arguments.extend([
                message.seq.to_string().into(),
                message.id.to_string().into(),
                clock.redis(message.at).to_string().into(),
                word(message.kind).into(),
                clock.redis(message.expires).to_string().into(),
                excluded.into(),
                self.recent_keys.find(name, message.seq).into(),
                lost[0].to_string().into(),
                lost[1].to_string().into(),
                message.from_json.into(),
                message.text_json.into(),
            ]);
            *before = message.seq;
        }
        let borrowed: Vec<&[u8]> = arguments.iter().map(|argument| &**argument).collect();
        self.call(now, Question::Heal(name.into()), "heal", &borrowed).map(drop)
    }

    pub(super) fn hear_put_back(&mut self, now: Ms, name: Box<str>, result: &Result<Value, Failure>) {
        self.recovered_one();
        match result {
            Ok(value) if value.number() == Some(0) => {
                warn!(
                    "broker: what it has lost of {name:?} is put back too late, and other nodes' pages do not get it"
                );
            }
            Ok(_) => {}
            Err(_) => self.recover_again(now, name),
        }
    }

    /// A client as it is known here, if that may be more than Redis knows.
    pub(super) fn heal_client(&mut self, now: Ms, hub: &Hub, client: Key<Client>, id: &str) -> Result<(), Failure> {
        let (Some(healing), Some(heard)) = (&self.healing, self.heard_up_to) else { return Ok(()) };
        // Of one that is being fetched not everything is here.
        if heard < healing.whole || !hub.is_settled(client) {
            return Ok(());
        }
        let Some(key) = hub.key_of(client) else { return Ok(()) };
        let (created, forgotten) = hub.origin_of(client);
        let clock = self.to_hub_clock(now);
        let mut arguments: Vec<Vec<u8>> = vec![
            id.into(),
            heard.to_string().into(),
            key.hex().to_vec(),
            clock.redis(created).to_string().into(),
            hub.acknowledged(client).to_string().into(),
            if hub.resumes(client) { b"1" } else { b"0" }.to_vec(),
            forgotten.to_string().into(),
        ];
        for link in hub.links_of(client) {
            let end = |of: fn(&EndFacts) -> u64| link.end.as_ref().map_or(Vec::new(), |end| of(end).to_string().into());
            arguments.extend([
                link.channel.into(),
                link.made.to_string().into(),
                link.begin.to_string().into(),
                end(|end| end.until),
                end(|end| end.newest[0]),
                end(|end| end.newest[1]),
                link.end.map_or(Vec::new(), |end| clock.redis(end.stale).to_string().into()),
            ]);
        }
        let borrowed: Vec<&[u8]> = arguments.iter().map(|argument| &**argument).collect();
        self.call(now, Question::Tell, "heal_client", &borrowed).map(drop)
    }

    /// What is here has been put back, and what is in Redis is here: whether the others are done, too. Asks.
    pub(super) fn has_healed(&mut self, now: Ms) -> bool {
        let Some(healing) = &mut self.healing else { return true };
        let is_time = match healing.asks {
            Asks::Next => true,
            Asks::Waits => false,
            Asks::At(time) => time <= now,
        };
        if is_time {
            healing.asks = Asks::Waits;
            let node = self.names.node.clone();
            if self.call(now, Question::Healed, "healed", &[node.as_bytes()]).is_err() {
                self.ask_healed_at(now + ASK_EVERY);
            }
        }
        false
    }

    pub(super) fn hear_healed(&mut self, now: Ms, result: &Result<Value, Failure>) {
        let wait = match result.as_ref().map(Value::number) {
            Ok(Some(0)) => {
                if let Some(Healing { messages: 1.., .. }) = self.healing.take() {
                    info!("broker: what it had lost is put back");
                }
                return;
            }
            Ok(Some(wait)) => Ms(wait).min(ASK_EVERY),
            _ => ASK_EVERY,
        };
        self.ask_healed_at(now + wait);
    }

    fn ask_healed_at(&mut self, at: Ms) {
        if let Some(healing) = &mut self.healing {
            healing.asks = Asks::At(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_for_as_long_as_a_replica_may_be_behind_and_are_not_kept_without_end() {
        let mut recent = RecentKeys::default();
        let later = |seconds: u64| Ms::from_secs(100 + seconds);
        recent.note(later(0), "room", 1, "\"a\"");
        recent.note(later(0), "room", 2, "");
        assert_eq!(["room", "hall"].map(|channel| recent.find(channel, 1)), ["\"a\"", ""]);
        assert_eq!(recent.find("room", 2), "");
        // It has been put back: from then on it is as if it were new.
        recent.note(later(20), "room", 1, "\"a\"");
        recent.note(later(31), "room", 3, "\"b\"");
        assert_eq!([1, 3].map(|seq| recent.find("room", seq)), ["\"a\"", "\"b\""]);
        recent.note(later(51), "room", 4, "\"c\"");
        assert_eq!([1, 3, 4].map(|seq| recent.find("room", seq)), ["", "\"b\"", "\"c\""]);
        let many = RECENT_MAX as u64;
        (10..10 + 2 * many).for_each(|seq| recent.note(later(51), "room", seq, "\"d\""));
        assert_eq!((recent.keys.len(), recent.heard.len()), (RECENT_MAX, RECENT_MAX));
        assert_eq!([9 + many, 10 + many].map(|seq| recent.find("room", seq)), ["", "\"d\""]);
    }
}
