//! Polls where several nodes share one model: before one is parked its clients have to be here.
//!
//! Mostly they are, as a page polls the node that it polled before. If not, the request waits in its connection's inbox and is
//! looked at again when they have been fetched.

use crate::broker::Failure;
use crate::clock::Ms;
use crate::cluster::Admission;

use super::updates::{Poll, Start};
use super::{Api, Visit};

/// Whether a poll can be parked.
#[derive(Debug)]
pub(super) enum Fetch {
    /// It can.
    Here,
    /// Its clients are being fetched: it is to be looked at again when
    /// [`Cluster::take_awake`](crate::cluster::Cluster::take_awake) names its connection, or at this time.
    Later(Ms),
    /// Nobody can say who they are.
    Failed(Failure),
}

/// What is fetched comes, or fails, far sooner.
const PATIENCE: Ms = Ms::from_secs(60);

impl Api {
    /// Sees to it that the clients of a poll are here. A server alone has all that there are.
    pub(super) fn fetch(&mut self, visit: Visit<'_>, poll: &Poll<'_>) -> Fetch {
        if self.cluster.is_none() { Fetch::Here } else { self.admit(visit, poll) }
    }

    fn admit(&mut self, visit: Visit<'_>, poll: &Poll<'_>) -> Fetch {
        let Some(cluster) = &mut self.cluster else { return Fetch::Here };
        let since = match poll.start() {
            Start::Behind(token) => self.epoch.seq(token),
            Start::Acknowledged | Start::Earliest => Some(0),
        };
        let claims = poll.claims().filter_map(|(id, key)| Some((std::str::from_utf8(id).ok()?, key)));
        match cluster.admit(visit.now, &self.hub, visit.owner, claims, since) {
            Admission::Ready => Fetch::Here,
            Admission::Waits => Fetch::Later(visit.now + PATIENCE),
            Admission::Failed(failure) => Fetch::Failed(failure),
        }
    }
}
