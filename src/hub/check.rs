//! What must always hold, walked in full. For tests and debug builds: it costs as much as there is.

use crate::clock::Ms;

use super::Hub;
use super::client::Presence;
use super::waiter::State;

impl Hub {
    /// Walks every list and every count, and asserts that they agree.
    ///
    /// # Panics
    /// If they do not: a bug in the hub.
    pub fn check(&self) {
        self.check_names();
        for (key, client) in self.clients.iter() {
            for (at, subscription) in client.subscriptions.iter().enumerate() {
                assert!(subscription.since <= self.seq);
                let others = &client.subscriptions[at + 1..];
                assert!(others.iter().all(|other| other.channel != subscription.channel), "subscribed twice");
                assert_eq!(subscription.seat.is_some(), client.is_here(), "only who is here has a seat");
                if let Some(seat) = subscription.seat {
                    let subscriber = self.channels[subscription.channel].subscribers[seat as usize];
                    assert_eq!((subscriber.client, subscriber.at as usize), (key, at));
                }
            }
            assert!(client.position <= self.seq);
            for &waiter in client.polls() {
                assert!(self.waiters[waiter].clients.contains(&key));
            }
            assert!(client.polls().iter().filter(|&&waiter| self.waiters[waiter].is_sent()).count() <= 1);
            let parked =
                client.polls().iter().map(|&waiter| &self.waiters[waiter]).filter(|poll| poll.state == State::Parked);
            let looked_at_by = parked.map(|poll| poll.deadline).min();
            let idle = client.polls().is_empty().then_some(Ms(Ms::MAX.0 - 1));
            assert!(looked_at_by.or(idle).is_none_or(|by| client.reminded <= by), "every client is looked at in time");
        }
        self.check_channels();
        for (key, waiter) in self.waiters.iter() {
            for &client in &waiter.clients {
                assert!(self.clients[client].polls().contains(&key));
            }
        }
        self.departed.check(&self.clients);
        assert!(self.departed.len() <= self.limits.departed_max);
    }

    fn check_names(&self) {
        assert_eq!(self.client_names.len(), self.clients.len());
        assert!(self.client_names.iter().all(|(name, &client)| self.clients[client].id == *name));
        assert_eq!(self.channel_names.len(), self.channels.len());
        assert!(self.channel_names.iter().all(|(name, &channel)| self.channels[channel].name == *name));
    }

    fn check_channels(&self) {
        let mut departed = 0;
        for (key, channel) in self.channels.iter() {
            channel.check(self.limits.history);
            assert!(channel.last_seq() <= self.seq);
            for (seat, subscriber) in channel.subscribers.iter().enumerate() {
                let subscription = self.clients[subscriber.client].subscriptions[subscriber.at as usize];
                assert_eq!((subscription.channel, subscription.seat.map(|seat| seat as usize)), (key, Some(seat)));
            }
            assert_eq!(channel.sweep.is_some(), self.sweeps.contains(&key));
            assert!(channel.reminded || !channel.is_deserted(), "a deserted channel is looked at some time");
            departed += channel.departed as usize;
        }
        let away = self.clients.iter().filter(|(_, client)| matches!(client.presence, Presence::Departed { .. }));
        assert_eq!(away.map(|(_, client)| client.subscriptions.len()).sum::<usize>(), departed);
    }
}
