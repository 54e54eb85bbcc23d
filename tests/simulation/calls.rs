//! What the model says a call comes to.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::model::{Fate, Publication};
use super::{Call, Fault, Past, World, channel, many, name, sender};

impl World {
    /// What the model says: a result, that there is one (it depends on the hub's own choices and has been judged), or why
    /// the call fails. `given` is what the hub said.
    pub(super) fn expect(
        &mut self,
        call: &Call,
        text: &str,
        order: &[String],
        given: &Value,
    ) -> Result<Option<Value>, Fault> {
        let now = self.now;
        let one = Ok(Some(json!(1)));
        match call {
            Call::Create(at) => {
                let key = given.as_str().unwrap_or_default().to_owned();
                self.model.create_client(now, name(*at), &key)?;
                let keys = self.keys.entry(name(*at).to_owned()).or_default();
                if keys.last() != Some(&key) {
                    keys.push(key);
                }
                Ok(None)
            }
            Call::Rotate(at) => {
                let key = given.as_str().unwrap_or_default().to_owned();
                self.model.rotate_key(name(*at), &key)?;
                self.keys.entry(name(*at).to_owned()).or_default().push(key);
                Ok(None)
            }
            Call::Subscribe { client, channel: at, since } => {
                let since = since.as_ref().map(|since| self.seq_of(since));
                self.model.subscribe(now, name(*client), channel(*at), since).and(one)
            }
            Call::Unsubscribe { client, channel: at } => {
                self.model.unsubscribe(now, name(*client), channel(*at)).and(one)
            }
            Call::SubscribeMany(pairs) => {
                self.each_pair(pairs, |world, id, channel| world.model.subscribe(now, id, channel, None))
            }
            Call::UnsubscribeMany(pairs) => {
                self.each_pair(pairs, |world, id, channel| world.model.unsubscribe(now, id, channel))
            }
            Call::UnsubscribeAll { channel: at, exclude } => {
                self.judge_channel_clients(channel(*at), order);
                let exclude: Vec<String> = exclude.iter().map(|&at| name(at).to_owned()).collect();
                self.model.unsubscribe_all(now, channel(*at), &exclude, order);
                Ok(Some(json!(200)))
            }
            Call::NewMessage { channel: at, .. } => {
                let what = Publication { text, from: json!("web"), exclude: &[], ttl: None };
                self.model.publish(now, channel(*at), &what).and(one)
            }
            Call::Kill(at) => self.model.kill(now, name(*at)).map(|()| Some(json!(200))),
            Call::Publish { .. } => self.expect_published(call, text).map(Some),
            _ => self.expect_answer(call, given),
        }
    }

    fn expect_published(&mut self, call: &Call, text: &str) -> Result<Value, Fault> {
        let Call::Publish { channels, from, options, is_broadcast, .. } = call else { unreachable!("it publishes") };
        let exclude: Vec<String> = options.exclude.iter().map(|&at| name(at).to_owned()).collect();
        let what = Publication { text, from: sender(*from), exclude: &exclude, ttl: options.ttl.map(u64::from) };
        let mut places = Vec::new();
        for &at in channels {
            let (id, seq) = match options.once {
                Some(once) => self.model.publish_once(self.now, channel(at), &once.to_string(), &what)?,
                None => self.model.publish(self.now, channel(at), &what)?,
            };
            places.push(json!({"id": id, "position": format!("{}{seq}", self.epoch)}));
        }
        Ok(if *is_broadcast { Value::Array(places) } else { places.remove(0) })
    }

    fn each_pair(
        &mut self,
        pairs: &[(u8, Vec<u8>)],
        verb: impl Fn(&mut World, &str, &str) -> Result<(), Fault>,
    ) -> Result<Option<Value>, Fault> {
        for (channel, clients) in many(pairs).as_object().expect("it is an object") {
            for client in clients.as_array().expect("it is a list") {
                verb(self, client.as_str().expect("an id is a string"), channel)?;
            }
        }
        Ok(Some(json!(200)))
    }

    /// The answers to questions.
    fn expect_answer(&self, call: &Call, given: &Value) -> Result<Option<Value>, Fault> {
        let model = &self.model;
        match call {
            Call::History { channel: at, since, limit } => {
                let at = *model.names.get(channel(*at)).ok_or(Fault::Unknown)?;
                let since = since.as_ref().map_or(0, |since| self.seq_of(since));
                Ok(Some(self.history(at, since, limit.map_or(1000, usize::from))))
            }
            Call::ChannelInfo(at) => {
                let at = *model.names.get(channel(*at)).ok_or(Fault::Unknown)?;
                assert_eq!(given["next_id"], model.next_id(at));
                assert_eq!(given["messages"], model.kept(at).count());
                Ok(None)
            }
            Call::ClientInfo(at) => {
                let client = &model.clients[*model.ids.get(name(*at)).ok_or(Fault::Unknown)?];
                assert_eq!(given["here"], client.is_here);
                assert_eq!(given["parked"], client.polls.len());
                assert_eq!(given["acknowledged"], format!("{}{}", self.epoch, client.position));
                Ok(None)
            }
            Call::ChannelClients(at) => {
                let given: Vec<String> = strings(given);
                self.judge_channel_clients(channel(*at), &given);
                Ok(None)
            }
            Call::ClientChannels(at) => {
                let client = &model.clients[model.here(name(*at))?];
                let subscribed = client.subscriptions.iter().filter(|one| one.until.is_none());
                let subscribed = subscribed.map(|one| model.channels[one.channel].name.clone());
                assert_eq!(set(strings(given)), set(subscribed));
                Ok(None)
            }
            Call::ListChannels => {
                assert_eq!(set(strings(&given["channels"])), set(model.names.keys().cloned()));
                Ok(None)
            }
            Call::ListClients => {
                let here = model.ids.iter().filter(|&(_, &client)| model.clients[client].is_here);
                assert_eq!(set(strings(&given["clients"])), set(here.map(|(name, _)| name.clone())));
                Ok(None)
            }
            _ => unreachable!("it is a question"),
        }
    }

    fn history(&self, at: usize, since: u64, limit: usize) -> Value {
        let kept = self.model.kept(at).filter(|message| message.seq > since && self.now < message.expires);
        let messages: Vec<_> = kept.take(limit).collect();
        // A full page goes on behind its last message; an empty one where it began.
        let last = messages.last().map_or(since, |message| message.seq);
        let position = if messages.len() == limit { last } else { self.model.seq };
        let position = format!("{}{position}", self.epoch);
        let messages: Vec<Value> = messages.into_iter().map(|message| message.object()).collect();
        let mut all = self.model.channels[at].messages.iter().filter(|message| message.seq > since);
        let gap = all.any(|message| matches!(message.fate, Fate::Lost(_)));
        json!({"messages": messages, "gap": gap, "position": position})
    }

    /// Active subscribers, less the hidden ones (WIRE M9).
    fn judge_channel_clients(&self, channel: &str, given: &[String]) {
        let model = &self.model;
        let listed = model.ids.iter().filter(|&(name, &client)| {
            let at = model.names.get(channel);
            let is_subscribed = at.is_some_and(|&at| model.subscription(client, at).is_some());
            let is_here = model.clients[client].is_here && model.is_active(self.now, client);
            is_subscribed && is_here && !name.contains("admin")
        });
        assert_eq!(set(given.iter().cloned()), set(listed.map(|(name, _)| name.clone())));
    }

    fn seq_of(&self, past: &Past) -> u64 {
        match *past {
            Past::Back(back) => self.seq_before.saturating_sub(back.into()),
            Past::Foreign => 0,
        }
    }
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("it is a list").iter();
    list.map(|one| one.as_str().expect("it is a string").to_owned()).collect()
}

fn set(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    names.into_iter().collect()
}
