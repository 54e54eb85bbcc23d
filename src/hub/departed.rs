//! The departed: clients that were collected and may still come back (WIRE L2, L3).
//!
//! A list threaded through the clients themselves, the one who left first at its old end, so that leaving, coming back
//! and being forgotten cost the same with ten of them or a hundred thousand. It is bounded by count and by time.

use crate::clock::Ms;
use crate::slots::{Key, Slots};

use super::client::{Client, Departure, Presence};

/// Both ends of the list, and how many are on it.
#[derive(Debug, Default)]
pub(super) struct Departed {
    oldest: Option<Key<Client>>,
    newest: Option<Key<Client>>,
    len: usize,
}

impl Departed {
    /// Puts a client at the young end. It must have been here until now.
    pub(super) fn push(&mut self, clients: &mut Slots<Client>, key: Key<Client>, until: Ms) {
        assert!(clients[key].is_here(), "nobody departs twice");
        clients[key].presence = Presence::Departed(Box::new(Departure { until, older: self.newest, newer: None }));
        match self.newest {
            Some(neighbour) => *links(clients, neighbour).1 = Some(key),
            None => self.oldest = Some(key),
        }
        self.newest = Some(key);
        self.len += 1;
    }

    /// Takes a client out, wherever it stands, and has it here again.
    pub(super) fn remove(&mut self, clients: &mut Slots<Client>, key: Key<Client>) {
        let (&mut older, &mut newer) = links(clients, key);
        match older {
            Some(neighbour) => *links(clients, neighbour).1 = newer,
            None => self.oldest = newer,
        }
        match newer {
            Some(neighbour) => *links(clients, neighbour).0 = older,
            None => self.newest = older,
        }
        self.len -= 1;
        clients[key].presence = Presence::Here { polls: Default::default() };
    }

    /// Who left first.
    pub(super) fn oldest(&self) -> Option<Key<Client>> {
        self.oldest
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Asserts that the list is whole in both directions.
    pub(super) fn check(&self, clients: &Slots<Client>) {
        let (mut at, mut previous, mut count) = (self.oldest, None, 0);
        while let Some(key) = at {
            let Presence::Departed(departure) = &clients[key].presence else {
                panic!("client {key:?} is here and on the list of the departed");
            };
            let Departure { older, newer, .. } = **departure;
            assert_eq!(older, previous);
            (previous, at, count) = (at, newer, count + 1);
            assert!(count <= self.len, "the list runs in a circle");
        }
        assert_eq!((previous, count), (self.newest, self.len));
    }
}

/// The neighbours of a departed client: older, newer.
fn links(clients: &mut Slots<Client>, key: Key<Client>) -> (&mut Option<Key<Client>>, &mut Option<Key<Client>>) {
    match &mut clients[key].presence {
        Presence::Departed(departure) => (&mut departure.older, &mut departure.newer),
        Presence::Here { .. } => unreachable!("client {key:?} is not on the list of the departed"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::ClientKey;
    use super::*;

    #[test]
    fn the_list_does_as_a_vector_does() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut clients = Slots::new();
        let everybody: Vec<Key<Client>> = (0..20)
            .map(|i| clients.insert(Client::new(Ms::ZERO, i.to_string().into(), ClientKey::new([0; 16]))))
            .collect();
        let (mut list, mut twin) = (Departed::default(), Vec::new());
        for _ in 0..2000 {
            let key = everybody[random.usize(..everybody.len())];
            match twin.iter().position(|&other| other == key) {
                Some(at) => {
                    twin.remove(at);
                    list.remove(&mut clients, key);
                }
                None => {
                    twin.push(key);
                    list.push(&mut clients, key, Ms::MAX);
                }
            }
            list.check(&clients);
            assert_eq!((list.oldest(), list.len()), (twin.first().copied(), twin.len()), "seed {seed}");
        }
    }
}
