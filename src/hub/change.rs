//! Other limits while the hub lives.
//!
//! They hold at once for whatever comes. Channels and clients that are there follow in a walk that can pause: a channel takes
//! over its policy and lets go of what is too much by it, which is told as any loss is; those whose time is shorter now are
//! looked at earlier; and if there are too many departed clients the oldest are forgotten. History that is too much in all
//! goes bit by bit with what is published, as ever.

use crate::clock::Ms;
use crate::slots::Key;

use super::client::{Client, Presence};
use super::{Channel, Hub, Limits};

/// How far the walk has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// The channels from this place on are still to be looked at.
    Channels(u32),
    /// All channels have been; the clients from this place on are still to be.
    Clients(u32),
    /// All have been; there may be too many departed clients.
    Departed,
}

impl Hub {
    /// From now on these limits hold. Next: [`Hub::go_on_changing`], as long as it [is changing](Hub::is_changing).
    pub fn change_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.change = Some(Change::Channels(0));
    }

    /// Whether something that was there before a change has not followed it yet.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.change.is_some()
    }

    /// Has some more follow. Takes one off `budget` for each that is looked at, and for each message that is let go of.
    pub fn go_on_changing(&mut self, now: Ms, budget: &mut u32) {
        while let (Some(change), 1..) = (self.change, *budget) {
            self.change = match change {
                Change::Channels(mut from) => match key_of(self.channels.next_from(&mut from, budget)) {
                    Some(key) if self.follow(now, key, budget) => Some(Change::Channels(from)),
                    // It is not done with this one.
                    Some(_) => Some(change),
                    None if *budget > 0 => Some(Change::Clients(0)),
                    None => Some(Change::Channels(from)),
                },
                Change::Clients(mut from) => match key_of(self.clients.next_from(&mut from, budget)) {
                    Some(key) => {
                        self.look_earlier(now, key);
                        Some(Change::Clients(from))
                    }
                    None if *budget > 0 => Some(Change::Departed),
                    None => Some(Change::Clients(from)),
                },
                Change::Departed => self.forget_one_too_many(now, budget).then_some(Change::Departed),
            };
        }
    }

    /// A channel takes over its policy. False if it has more messages to let go of than the budget allows.
    fn follow(&mut self, now: Ms, key: Key<Channel>, budget: &mut u32) -> bool {
        if self.own.is(key) {
            return true;
        }
        let channel = &mut self.channels[key];
        let policy = self.limits.policies.of(channel.name());
        let before = channel.held_messages().1;
        let is_done = channel.follow(now, policy, budget);
        self.memory.bytes -= before - channel.held_messages().1;
        self.draft.forget_origin();
        self.remind_channel(key);
        is_done
    }

    /// A client is looked at when its time is over by the new limits, if that is earlier.
    fn look_earlier(&mut self, now: Ms, key: Key<Client>) {
        let longest = now + self.limits.departed_age;
        match &mut self.clients[key].presence {
            Presence::Here { .. } => self.remind_of_expiry(key),
            Presence::Departed(departure) if departure.until > longest => {
                departure.until = longest;
                self.remind_of_end(key, longest);
            }
            Presence::Departed(_) => {}
        }
    }

    /// Forgets a departed client if there are too many. Whether there may be more of them.
    fn forget_one_too_many(&mut self, now: Ms, budget: &mut u32) -> bool {
        if self.departed.len() <= self.limits.departed_max {
            return false;
        }
        let oldest = self.departed.oldest().expect("the list is not empty");
        *budget = budget.saturating_sub(1 + self.steps_of(oldest));
        self.forget(now, oldest);
        true
    }
}

fn key_of<T>(found: Option<(Key<T>, &T)>) -> Option<Key<T>> {
    found.map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{ClientKey, Policies, Policy, Sender, Submission, SystemShare};
    use super::*;
    use crate::config::Config;

    fn limits(random: &mut fastrand::Rng) -> Limits {
        let policy = |random: &mut fastrand::Rng| Policy {
            history: random.usize(1..20),
            history_system: if random.bool() { SystemShare::Shared } else { SystemShare::Own(random.usize(1..20)) },
            history_bytes: random.usize(20..2000),
            history_age: Ms(random.u64(10..100_000)),
            presence: random.bool(),
        };
        let mut policies = Policies::uniform(policy(random));
        policies.by_prefix.push(("a".into(), Arc::new(policy(random))));
        Limits {
            policies,
            max_idle: Ms(random.u64(1..10_000)),
            min_alive: Ms(random.u64(1..10_000)),
            sweep_interval: Ms(random.u64(1..1000)),
            channel_idle: Ms(random.u64(1..100_000)),
            departed_max: random.usize(0..10),
            departed_age: Ms(random.u64(1..100_000)),
            subscriptions_max: random.usize(1..5),
            ..Config::default().hub_limits()
        }
    }

    #[test]
    fn whatever_the_limits_become_all_that_is_there_follows_bit_by_bit() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        println!("seed {seed}");
        for _ in 0..20 {
            let mut hub = Hub::new(Ms::ZERO, limits(&mut random));
            let mut now = Ms::ZERO;
            for _ in 0..400 {
                now += Ms(random.u64(0..200));
                let (client, channel) =
                    (random.u8(0..30).to_string(), format!("{}{}", ["a", "b"][random.usize(0..2)], random.u8(0..3)));
                let _ = match random.u8(0..5) {
                    0 => hub.create_client(now, &client, ClientKey::new([0; 16])).map(drop),
                    1 => hub.subscribe(now, &client, &channel, None),
                    2 => hub.unsubscribe(now, &client, &channel),
                    _ => {
                        let (from, text) = (Sender::Json(b"0"), &"x".repeat(random.usize(0..100))[..]);
                        hub.publish(now, Submission { channel: &channel, from, text, exclude: &[], ttl: None })
                            .map(drop)
                    }
                };
                hub.handle_timeout(now, &mut random.u32(0..5));
                if random.u8(0..20) == 0 {
                    hub.change_limits(limits(&mut random));
                }
                let (budget, mut left) = (random.u32(0..5), 0);
                left += budget;
                hub.go_on_changing(now, &mut left);
                assert!(left <= budget, "seed {seed}");
                hub.check();
            }
            while hub.is_changing() {
                hub.go_on_changing(now, &mut 3);
            }
            hub.check();
            for (_, channel) in hub.channels.iter() {
                assert_eq!(*channel.policy, **hub.limits.policies.of(channel.name()), "seed {seed}");
            }
            assert!(hub.departed.len() <= hub.limits.departed_max, "seed {seed}");
        }
    }

    #[test]
    fn what_is_there_is_looked_at_when_its_new_time_is_over() {
        let limits = Config::default().hub_limits();
        let mut hub = Hub::new(Ms::ZERO, limits.clone());
        hub.create_client(Ms(1), "page", ClientKey::new([0; 16])).unwrap();
        hub.publish(
            Ms(1),
            Submission { channel: "room", from: Sender::Json(b"0"), text: "x", exclude: &[], ttl: None },
        )
        .unwrap();
        let run_to = |hub: &mut Hub, end: u64| {
            for now in (0..=end).step_by(100) {
                hub.handle_timeout(Ms(now), &mut 1000);
            }
            (hub.stats().clients, hub.stats().departed, hub.stats().channels)
        };
        assert_eq!(run_to(&mut hub, 1000), (1, 0, 2));
        let (short, second) = (Ms(500), Ms(1000));
        hub.change_limits(Limits {
            max_idle: short,
            min_alive: short,
            sweep_interval: short,
            channel_idle: short,
            ..limits.clone()
        });
        hub.go_on_changing(second, &mut 1000);
        assert_eq!(run_to(&mut hub, 3000), (0, 1, 0));
        hub.change_limits(Limits { departed_age: short, ..limits });
        hub.go_on_changing(Ms(3000), &mut 1000);
        assert_eq!(run_to(&mut hub, 4000), (0, 0, 0));
    }
}
