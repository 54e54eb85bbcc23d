//! Who answers the polls of the original's protocol.
//!
//! In that protocol only the server knows how far a page has come, so of two polls of one client on two nodes only one may be
//! answered at a time (WIRE P17). A node takes the client's lease before it does, keeps it, and tells the position after each
//! answer; if another node wants it, it gives the lease up as soon as no answer is on its way. A lease is worth as much as its
//! node: one that has not been heard of for [`NODE_TTL`] has none, and knows that itself.

use std::collections::HashMap;

use super::facts::Reader;
use super::{Cluster, Question};
use crate::broker::{Failure, Value};
use crate::clock::Ms;
use crate::hub::{Client, Hub};
use crate::paged::Queue;
use crate::slots::Key;

/// For how long a node is believed to be there that says nothing.
pub(super) const NODE_TTL: Ms = Ms::from_secs(6);

/// Clients whose lease another node wants, to be given up when what is due to them has left.
#[derive(Debug)]
pub(super) struct Wanted {
    /// And whether each is in line to be looked at.
    clients: HashMap<Key<Client>, bool>,
    /// Those to which something has happened: it may be that nothing is due to them any more. A crowd that waits for slow lines is
    /// not walked through in each turn.
    line: Queue<Key<Client>>,
    /// There were more of these than a turn looks at.
    is_left: bool,
}

/// Clients in line that are looked at in one turn: each may be a call.
const LOOKS_PER_TURN: usize = 256;

impl Wanted {
    pub(super) fn new() -> Wanted {
        Wanted { clients: HashMap::new(), line: Queue::new(), is_left: false }
    }

    /// Another node wants the lease of this client.
    fn want(&mut self, client: Key<Client>) {
        self.clients.entry(client).or_insert(false);
        self.note(client);
    }

    fn has(&self, client: Key<Client>) -> bool {
        self.clients.contains_key(&client)
    }

    /// Something has happened to a client.
    fn note(&mut self, client: Key<Client>) {
        if let Some(is_in_line @ false) = self.clients.get_mut(&client) {
            *is_in_line = true;
            self.line.push_back(client);
        }
    }

    /// Those to look at in this turn.
    fn take_some(&mut self) -> Vec<Key<Client>> {
        let mut some = Vec::new();
        for _ in 0..self.line.len().min(LOOKS_PER_TURN) {
            let Some(client) = self.line.pop_front() else { break };
            if let Some(is_in_line) = self.clients.get_mut(&client) {
                *is_in_line = false;
                some.push(client);
            }
        }
        self.is_left = !self.line.is_empty();
        some
    }

    /// It is given up, or its client is not here any more.
    pub(super) fn forget(&mut self, client: Key<Client>) {
        self.clients.remove(&client);
    }

    /// Whether some are to be looked at at once.
    pub(super) fn has_more(&self) -> bool {
        self.is_left
    }
}

impl Cluster {
    /// From now on this node is another one: what it had has nobody.
    pub(super) fn rename(&mut self) -> String {
        let node = format!("{}#{:08x}", self.names.host, self.random.u32(..));
        self.wanted = Wanted::new();
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
            self.wanted.note(*client);
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
        if !self.wanted.has(client) || hub.is_being_answered(client) {
            return self.say_position(now, hub, client, "give");
        }
        self.wanted.note(client);
    }

    pub(super) fn lease_wanted(&mut self, now: Ms, hub: &mut Hub, client: Key<Client>, node: &str) {
        if node == self.names.node {
            return;
        }
        if !hub.has_lease(client) && !self.taking.contains_key(&client) {
            // It has been given up here, and Redis does not know.
            return self.say_position(now, hub, client, "release");
        }
        self.wanted.want(client);
    }

    /// Gives up what others want and is used no more. What was granted a moment ago is used first: or two nodes would hand it to
    /// each other for ever, and nobody would be answered.
    pub(super) fn give_up_wanted(&mut self, now: Ms, hub: &mut Hub) {
        let some = self.wanted.take_some();
        self.steps.note(some.len());
        for client in some {
            if hub.is_being_answered(client) || self.taking.contains_key(&client) {
                // It is looked at again when the answer has left, or the lease has come, which would come after it was given up.
            } else if hub.is_to_be_looked_at(client) {
                self.wanted.note(client);
            } else {
                self.wanted.forget(client);
                // Where it has been revoked Redis may not know.
                self.say_position(now, hub, client, "release");
                if hub.has_lease(client) {
                    hub.lease(now, client, false, 0);
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_that_is_wanted_is_looked_at_when_something_has_happened_to_it_and_some_of_them_in_a_turn() {
        let mut wanted = Wanted::new();
        let clients: Vec<Key<Client>> = (0..3 * LOOKS_PER_TURN as u64 + 1).map(Key::unpack).collect();
        wanted.note(clients[0]);
        assert!(wanted.take_some().is_empty(), "nobody wants it");
        for round in 0..2 {
            // However often it is said.
            clients.iter().chain(&clients).for_each(|&client| wanted.want(client));
            let mut looked = Vec::new();
            loop {
                let some = wanted.take_some();
                assert!((1..=LOOKS_PER_TURN).contains(&some.len()), "round {round}: {}", some.len());
                looked.extend(some);
                if !wanted.has_more() {
                    break;
                }
            }
            assert_eq!(looked, clients, "round {round}");
            assert!(wanted.take_some().is_empty(), "nothing has happened since");
        }
        clients.iter().for_each(|&client| wanted.note(client));
        clients[1..].iter().for_each(|&client| wanted.forget(client));
        assert_eq!(wanted.take_some(), clients[..1]);
        assert!(wanted.has(clients[0]) && !wanted.has(clients[1]));
    }
}
