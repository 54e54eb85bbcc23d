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
    pub(super) fn take_leases(&mut self, now: Ms, hub: &mut Hub, clients: Vec<Key<Client>>) {
        let ids: Vec<Box<str>> = clients.iter().filter_map(|&client| Some(hub.name_of(client)?.into())).collect();
        let node = self.names.node.clone();
        let mut arguments: Vec<&[u8]> = vec![node.as_bytes()];
        arguments.extend(ids.iter().map(|id| id.as_bytes()));
        if ids.len() < clients.len() || self.call(now, Question::Take(clients.clone()), "take", &arguments).is_err() {
            self.upkeep.take_again(clients);
        }
    }

    pub(super) fn hear_taken(
        &mut self,
        now: Ms,
        hub: &mut Hub,
        clients: &[Key<Client>],
        result: Result<Value, Failure>,
    ) {
        let read = |value: &Value| {
            let mut reply = Reader::of(value)?;
            let granted = reply.number()? == 1;
            let positions: Vec<u64> = std::iter::from_fn(|| reply.next()).map(Value::number).collect::<Option<_>>()?;
            (positions.len() == clients.len()).then_some((granted, positions))
        };
        let taken = result.ok().as_ref().and_then(read);
        match taken {
            Some((granted, positions)) => {
                for (&client, position) in clients.iter().zip(positions) {
                    if granted {
                        hub.lease(now, client, true, position);
                    } else {
                        hub.refuse_lease(client);
                        hub.move_client(now, client, position);
                    }
                }
                if !granted {
                    self.upkeep.take_again(clients.to_vec());
                }
            }
            None => {
                clients.iter().for_each(|&client| hub.refuse_lease(client));
                self.upkeep.take_again(clients.to_vec());
            }
        }
    }

    /// An answer has left, or is lost: the position stands.
    pub(super) fn settled(&mut self, now: Ms, hub: &mut Hub, client: Key<Client>) {
        if !hub.has_lease(client) {
            return;
        }
        let is_wanted = self.wanted.contains(&client) && !hub.is_being_answered(client);
        self.say_position(now, hub, client, if is_wanted { "release" } else { "give" });
        if is_wanted {
            self.wanted.retain(|other| *other != client);
            hub.lease(now, client, false, 0);
        }
    }

    pub(super) fn lease_wanted(&mut self, now: Ms, hub: &mut Hub, client: Key<Client>, node: &str) {
        if node == self.names.node || !hub.has_lease(client) {
            return;
        }
        if hub.is_being_answered(client) {
            if !self.wanted.contains(&client) {
                self.wanted.push(client);
            }
        } else {
            self.say_position(now, hub, client, "release");
            hub.lease(now, client, false, 0);
        }
    }

    pub(super) fn lease_free(&mut self, now: Ms, hub: &mut Hub, client: Key<Client>, position: u64) {
        if !hub.has_lease(client) {
            hub.lease(now, client, false, position);
        }
    }

    fn say_position(&mut self, now: Ms, hub: &Hub, client: Key<Client>, function: &str) {
        let Some(id) = hub.name_of(client) else { return };
        let (node, position) = (self.names.node.clone(), hub.acknowledged(client).to_string());
        self.tell(now, function, &[node.as_bytes(), id.as_bytes(), position.as_bytes()]);
    }
}
