//! Who answers the polls of the original's protocol.
//!
//! In that protocol only the server knows how far a page has come, so of two polls of one client on two nodes only one may be
//! answered at a time (WIRE P17). A node takes the client's lease before it does, keeps it, and tells the position after each
//! answer; if another node wants it, it gives the lease up as soon as no answer is on its way. A lease is worth as much as its
//! node: one that has not been heard of for [`NODE_TTL`] has none, and knows that itself.

use super::facts::Reader;
use super::{Cluster, Question};
use crate::broker::{Failure, Value};
use crate::clock::Ms;
use crate::hub::{Client, Hub};
use crate::slots::Key;

/// For how long a node is believed to be there that says nothing.
pub(super) const NODE_TTL: Ms = Ms::from_secs(6);

impl Cluster {
    /// From now on this node is another one: what it had has nobody.
    pub(super) fn rename(&mut self) -> String {
        let node = format!("{}#{:08x}", self.names.host, self.random.u32(..));
        std::mem::replace(&mut self.names.node, node)
    }

    pub(super) fn take_leases(&mut self, now: Ms, hub: &mut Hub, clients: Vec<Key<Client>>) {
        if !self.upkeep.may_take() {
            // Another node would be given it all the same.
            return self.upkeep.take_again(clients);
        }
        let named = |&client: &Key<Client>| Some((client, Box::<str>::from(hub.name_of(client)?)));
        let named: Vec<(Key<Client>, Box<str>)> = clients.iter().filter_map(named).collect();
        let node = self.names.node.clone();
        let mut arguments: Vec<&[u8]> = vec![node.as_bytes()];
        arguments.extend(named.iter().map(|(_, id)| id.as_bytes()));
        if named.len() < clients.len()
            || self.call(now, Question::Take(node.clone(), named.clone()), "take", &arguments).is_err()
        {
            return self.upkeep.take_again(clients);
        }
        for client in clients {
            *self.taking.entry(client).or_default() += 1;
        }
    }

    pub(super) fn hear_taken(
        &mut self,
        now: Ms,
        hub: &mut Hub,
        node: &str,
        named: &[(Key<Client>, Box<str>)],
        result: Result<Value, Failure>,
    ) {
        let is_own = node == self.names.node;
        let read = |value: &Value| {
            let mut reply = Reader::of(value)?;
            let granted = reply.number()? == 1;
            let positions: Vec<u64> = std::iter::from_fn(|| reply.next()).map(Value::number).collect::<Option<_>>()?;
            (positions.len() == named.len()).then_some((granted, positions))
        };
        for (client, _) in named {
            if let Some(count) = self.taking.get_mut(client) {
                *count -= 1;
                if *count == 0 {
                    self.taking.remove(client);
                }
            }
        }
        let clients: Vec<Key<Client>> = named.iter().map(|(client, _)| *client).collect();
        match result.as_ref().ok().and_then(read) {
            Some((true, positions)) if is_own => {
                for ((client, id), position) in named.iter().zip(positions) {
                    hub.lease(now, *client, true, position);
                    // It may have gone from here meanwhile.
                    self.release_unused(now, hub, id);
                }
            }
            // Or to whom this node was then.
            Some((_, positions)) => {
                for (&client, position) in clients.iter().zip(positions) {
                    hub.refuse_lease(client);
                    hub.move_client(now, client, position);
                }
                self.upkeep.take_again(clients);
            }
            None => {
                if result == Err(Failure::Late) {
                    // They may have been granted, and others would wait for them.
                    named.iter().for_each(|(_, id)| self.release_unused(now, hub, id));
                }
                clients.iter().for_each(|&client| hub.refuse_lease(client));
                self.upkeep.take_again(clients);
            }
        }
    }

    /// An answer has left, or is lost: the position stands. It is true whoever has the lease by now.
    pub(super) fn settled(&mut self, now: Ms, hub: &mut Hub, client: Key<Client>) {
        if !self.wanted.contains(&client) || hub.is_being_answered(client) {
            self.say_position(now, hub, client, "give");
        }
    }

    pub(super) fn lease_wanted(&mut self, now: Ms, hub: &mut Hub, client: Key<Client>, node: &str) {
        if node == self.names.node {
            return;
        }
        if !hub.has_lease(client) && !self.taking.contains_key(&client) {
            // It has been given up here, and Redis does not know.
            return self.say_position(now, hub, client, "release");
        }
        if !self.wanted.contains(&client) {
            self.wanted.push(client);
        }
    }

    /// Gives up what others want and is used no more. What was granted a moment ago is used first: or two nodes would hand it to
    /// each other for ever, and nobody would be answered.
    pub(super) fn give_up_wanted(&mut self, now: Ms, hub: &mut Hub) {
        // Nor while a lease is on its way, which would come after it was given up.
        let is_unused = |client: &Key<Client>| {
            !hub.is_being_answered(*client) && !hub.is_to_be_looked_at(*client) && !self.taking.contains_key(client)
        };
        let unused: Vec<Key<Client>> = self.wanted.extract_if(.., |client| is_unused(client)).collect();
        for client in unused {
            if hub.has_lease(client) {
                self.say_position(now, hub, client, "release");
                hub.lease(now, client, false, 0);
            }
        }
    }

    pub(super) fn lease_free(&mut self, now: Ms, hub: &mut Hub, client: Key<Client>, position: u64) {
        if !hub.has_lease(client) {
            hub.lease(now, client, false, position);
        }
    }

    /// The same of somebody who may be here, unless it is used or on its way: what is asked for now would be given up with it.
    pub(super) fn release_unused(&mut self, now: Ms, hub: &Hub, id: &str) {
        let is_used = |client| hub.has_lease(client) || self.taking.contains_key(&client);
        if !hub.find_client(id).is_some_and(is_used) {
            self.release_unseen(now, id);
        }
    }

    /// Gives up the lease of somebody who is not here. Nobody else would: it is tried until it is done.
    pub(super) fn release_unseen(&mut self, now: Ms, id: &str) {
        let (node, position) = (self.names.node.clone(), self.token(0));
        let arguments = [node.as_bytes(), id.as_bytes(), position.as_bytes()];
        if self.call(now, Question::Release(id.into()), "release", &arguments).is_err() {
            self.upkeep.release_again(id.into());
        }
    }

    pub(super) fn hear_released(&mut self, id: Box<str>, result: &Result<Value, Failure>) {
        match result {
            // With the link the name has gone that had it; an unknown client has none.
            Ok(_) | Err(Failure::Lost | Failure::Down(_)) => {}
            Err(Failure::Refused(error)) if error.starts_with("UNKNOWNCLIENT") => {}
            Err(_) => self.upkeep.release_again(id),
        }
    }

    pub(super) fn say_position(&mut self, now: Ms, hub: &Hub, client: Key<Client>, function: &str) {
        if self.anew.is_some() {
            // It is of before, and so are all leases.
            return;
        }
        let Some(id) = hub.name_of(client) else { return };
        let (node, position) = (self.names.node.clone(), self.token(hub.acknowledged(client)));
        self.tell(now, function, &[node.as_bytes(), id.as_bytes(), position.as_bytes()]);
    }
}
