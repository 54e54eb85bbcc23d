//! What must always hold, walked in full. For tests and debug builds: it costs as much as there is.

use crate::clock::Ms;

use super::subscription::{Seat, Subscription};
use super::waiter::State;
use super::{Hub, MEDIA, Transport};

impl Hub {
    /// Walks every list and every count, and asserts that they agree.
    ///
    /// # Panics
    /// If they do not: a bug in the hub.
    pub fn check(&self) {
        self.check_names();
        for (key, client) in self.clients.iter() {
            let mut ended = 0;
            for (at, subscription) in client.subscriptions.iter().enumerate() {
                assert!(subscription.begin <= subscription.made && subscription.made <= self.seq);
                let is_same = |other: &Subscription| other.channel == subscription.channel && !other.has_ended();
                let others = &client.subscriptions[at + 1..];
                assert!(subscription.has_ended() || !others.iter().any(is_same), "subscribed twice");
                match &subscription.seat {
                    Seat::Taken(seat) => {
                        assert!(client.is_here(), "only who is here has a seat");
                        let subscriber = self.channels[subscription.channel].subscribers[*seat as usize];
                        assert_eq!((subscriber.client, subscriber.at as usize), (key, at));
                    }
                    Seat::Away => assert!(!client.is_here(), "who is here has a seat"),
                    Seat::Ended(end) => {
                        assert!(end.until >= subscription.made);
                        ended += 1;
                    }
                }
            }
            assert_eq!(ended, client.ended);
            assert!(client.position <= self.seq);
            for &waiter in client.polls() {
                assert!(self.waiters[waiter].clients().any(|client| client == key));
            }
            assert!(client.polls().iter().filter(|&&waiter| self.waiters[waiter].holds_up()).count() <= 1);
            let parked =
                client.polls().iter().map(|&waiter| &self.waiters[waiter]).filter(|poll| poll.state == State::Parked);
            let looked_at_by = parked.map(|poll| poll.deadline).min();
            let idle = client.polls().is_empty().then_some(Ms(Ms::MAX.0 - 1));
            assert!(looked_at_by.or(idle).is_none_or(|by| client.reminded <= by), "every client is looked at in time");
        }
        self.check_channels();
        self.check_tally();
        for (key, waiter) in self.waiters.iter() {
            for client in waiter.clients() {
                assert!(self.clients[client].polls().contains(&key));
            }
        }
        self.departed.check(&self.clients);
        assert!(self.departed.len() <= self.limits.departed_max || self.is_changing());
    }

    /// What is counted along the way agrees with what there is.
    fn check_tally(&self) {
        assert_eq!(
            self.clients.iter().map(|(_, client)| client.subscriptions.len()).sum::<usize>(),
            self.subscriptions
        );
        assert_eq!(self.clients.iter().filter(|(_, client)| client.is_canary).count(), self.canaries);
        let mut parked = [0; MEDIA.len()];
        for (_, waiter) in self.waiters.iter().filter(|(_, waiter)| waiter.transport != Transport::Canary) {
            parked[waiter.medium()] += 1;
        }
        assert_eq!(parked, self.tally.parked);
    }

    fn check_names(&self) {
        self.client_names.check(&self.clients, |client| !client.is_canary);
        self.channel_names.check(&self.channels, |channel| !channel.is_canary);
    }

    fn check_channels(&self) {
        let (mut held, mut ended) = (0, 0);
        let counted = || self.channels.iter().map(|(_, channel)| channel).filter(|channel| !channel.is_canary);
        assert_eq!(counted().count(), self.channels.len() - self.canaries);
        for (key, channel) in self.channels.iter() {
            channel.check();
            if !self.is_changing() {
                channel.check_policy();
            }
            assert!(channel.last_seq() <= self.seq);
            for (seat, subscriber) in channel.subscribers.iter().enumerate() {
                let subscription = &self.clients[subscriber.client].subscriptions[subscriber.at as usize];
                assert_eq!(subscription.channel, key);
                assert!(matches!(subscription.seat, Seat::Taken(taken) if taken as usize == seat));
            }
            let polls = channel.subscribers.iter().filter(|seat| !self.clients[seat.client].polls().is_empty());
            assert_eq!(polls.count(), channel.parked as usize);
            assert!(channel.sweep.is_none() || self.sweeps.contains(&key), "a sweep under way has its place");
            let looked_at = channel.reminded < Ms::MAX;
            assert!(looked_at || !channel.is_deserted() && channel.ages_at().is_none(), "looked at some time");
            held += channel.held as usize;
            ended += channel.ended;
        }
        assert_eq!(self.clients.iter().map(|(_, client)| client.ended).sum::<u32>(), ended);
        assert_eq!(counted().map(|channel| channel.held_messages().1).sum::<usize>(), self.memory.bytes);
        let seatless = self.clients.iter().flat_map(|(_, client)| &client.subscriptions);
        assert_eq!(seatless.filter(|subscription| !matches!(subscription.seat, Seat::Taken(_))).count(), held);
    }
}
