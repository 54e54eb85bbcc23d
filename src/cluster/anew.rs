//! Redis has lost everything: what is here of before is let go of, and the clients are made again there.
//!
//! A node may have a million clients, so both are done bit by bit. Until the first is over nothing that Redis says now meets what
//! is of before: words and messages are passed over, as all of it is fetched afterwards (`recover.rs`), and polls are held, and
//! admitted when it is over.

use log::{debug, info};

use super::heal::RecentKeys;
use super::recover::{OUTSTANDING_MAX, Welcome};
use super::{Admission, Awake, Cluster, Question};
use crate::broker::{Failure, Value};
use crate::clock::Ms;
use crate::hub::{Former, Hub, Owner};
use crate::paged::Queue;

/// What is of before is being let go of.
#[derive(Debug, Default)]
pub(super) struct Anew {
    /// What comes next, if the link is there.
    pub(super) welcome: Option<Welcome>,
}

/// Clients that are to be made again in Redis.
#[derive(Debug)]
pub(super) struct Lost {
    /// Those that were to be made again before it lost everything once more, or could not be: they come first, as they know what
    /// they were subscribed to. The hub has them without that by now.
    again: Queue<Former>,
    clients: Queue<Former>,
    /// Those that are made again, until all that is followed is up to date.
    made: Queue<Former>,
    /// So many of these are lost once more.
    remade: usize,
    /// So many are on their way.
    asked: usize,
    /// When it goes on.
    at: Ms,
}

/// When clients are made again that could not be: Redis may be full, say.
const AGAIN: Ms = Ms(200);

/// [`Cluster::anew_steps`]: a step takes less than a microsecond.
pub(super) const STEPS_PER_TURN: u32 = 256;

/// Clients that are made again in one turn.
const MADE_PER_TURN: usize = 64;

/// Of those that are made again, how many are forgotten in one turn, or have to be made once more.
const PUT_ASIDE_PER_TURN: usize = 256;

/// Polls that go on in one turn: each has a request looked at.
const AWAKENED_PER_TURN: usize = 64;

impl Lost {
    pub(super) fn new() -> Lost {
        Lost { again: Queue::new(), clients: Queue::new(), made: Queue::new(), remade: 0, asked: 0, at: Ms::ZERO }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.again.is_empty() && self.clients.is_empty()
    }

    /// Some of those that were made again are lost once more. True when all of them are.
    fn lose_again(&mut self) -> bool {
        let count = self.remade.min(PUT_ASIDE_PER_TURN);
        std::iter::from_fn(|| self.made.pop_front()).take(count).for_each(|former| self.again.push_back(former));
        self.remade -= count;
        self.remade == 0
    }

    /// All that is followed is up to date: nobody asks any more what they were. Forgets some of them.
    fn forget_made(&mut self) {
        std::iter::from_fn(|| self.made.pop_front()).take(PUT_ASIDE_PER_TURN).for_each(drop);
    }
}

impl Cluster {
    /// Nothing that is here is of the epoch that there is now.
    pub(super) fn begin_anew(&mut self, hub: &mut Hub) {
        hub.begin_anew();
        self.era += 1;
        self.recent_keys = RecentKeys::default();
        self.anew.get_or_insert_default();
        self.lost.remade = self.lost.made.len();
        (self.recovery, self.healing, self.heard_up_to) = (None, None, None);
        self.filling.clear();
        self.unsettled.clear();
        self.strangers.give_all_back();
        for (_, adopting) in std::mem::take(&mut self.adopting) {
            for guest in adopting.guests() {
                if self.visit_of(guest).is_some() {
                    self.visits.remove(&guest.owner);
                    self.held.push_back(guest.owner);
                }
            }
        }
    }

    /// A poll waits until what is of before has gone.
    pub(super) fn hold(&mut self, owner: Owner) -> Admission {
        self.forget_visitor(owner);
        self.held.push_back(owner.0);
        Admission::Waits
    }

    /// Goes on with letting go, and with making again. When nothing of before is left everything is as for a node that has just come.
    pub(super) fn go_on_anew(&mut self, now: Ms, hub: &mut Hub) {
        let Some(anew) = &self.anew else {
            if !hub.is_behind() {
                self.lost.forget_made();
            }
            return self.awaken_some();
        };
        let welcome = anew.welcome;
        let all_lost = self.lost.lose_again();
        let mut budget = self.anew_steps;
        while let Some(former) = hub.next_former(now, &mut budget) {
            self.lost.clients.push_back(former);
        }
        self.steps.note((self.anew_steps - budget) as usize);
        if welcome.is_some() {
            self.restore_some(now);
        }
        if all_lost && !hub.is_beginning_anew() {
            self.anew = None;
            if let Some(welcome) = welcome {
                self.settle_in(now, hub, welcome);
            }
        }
    }

    /// Lets go of all that is left at once: another process goes on from here.
    pub fn let_go_of_all(&mut self, now: Ms, hub: &mut Hub) {
        while let Some(former) = hub.next_former(now, &mut u32::MAX.clone()) {
            self.lost.clients.push_back(former);
        }
    }

    fn awaken_some(&mut self) {
        let count = self.held.len().min(AWAKENED_PER_TURN);
        self.steps.note(count);
        self.awake.extend(self.held.drain(..count).map(|owner| Awake::Visitor(Owner(owner))));
    }

    /// Has some more clients made again that were lost. False while there are more.
    pub(super) fn restore_some(&mut self, now: Ms) -> bool {
        for _ in 0..MADE_PER_TURN {
            if self.lost.asked >= OUTSTANDING_MAX || self.lost.at > now {
                break;
            }
            let Some(former) = self.lost.again.pop_front().or_else(|| self.lost.clients.pop_front()) else { break };
            let key = former.key.hex();
            let mut arguments: Vec<&[u8]> = vec![former.id.as_bytes(), &key];
            arguments.extend(former.channels.iter().map(|channel| channel.as_bytes()));
            if let Err(failure) = self.call(now, Question::Restore(former.clone()), "restore", &arguments) {
                debug!("{} cannot be made again now: {failure}", former.id);
                self.lost.again.push_front(former);
                self.lost.at = now + AGAIN;
                break;
            }
            self.lost.asked += 1;
            self.steps.note(1);
        }
        self.lost.is_empty()
    }

    /// When there are some more to be made again.
    pub(super) fn next_restoring(&self) -> Ms {
        let may_go_on = self.recovery.is_some() && !self.lost.is_empty() && self.lost.asked < OUTSTANDING_MAX;
        if may_go_on { self.lost.at } else { Ms::MAX }
    }

    /// A client has been made again, or not: then it is tried once more.
    pub(super) fn hear_restored(&mut self, now: Ms, former: Former, result: &Result<Value, Failure>) {
        self.lost.asked -= 1;
        match result {
            Ok(_) => self.lost.made.push_back(former),
            // There are too many by now.
            Err(Failure::Refused(error)) if error.starts_with("FULL") => {
                info!("broker: {:?} is not made again: {error}", former.id);
            }
            Err(_) => {
                self.lost.again.push_front(former);
                self.lost.at = now + AGAIN;
            }
        }
    }
}
