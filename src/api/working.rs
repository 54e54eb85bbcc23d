//! Calls that take more than one turn, and answers that are too long to be sent in one go.
//!
//! The edge keeps a [`Working`] with the peer and has it go on by [`Api::work`], some steps in each turn, in turns with all
//! others of its kind. When the call is done its answer comes out in pieces; the next one is asked for when the socket has
//! taken the last. If the caller has gone meanwhile the call is done to its end all the same: half of it is never what
//! somebody wanted.

use crate::clock::Ms;
use crate::http::{Exchange, Response, Status};
use crate::hub::Owner;

use super::rpc::{self, Job, Outcome, Scope, Service};
use super::{Api, PLAIN_TEXT, RPC_HEADERS, Visit};

/// A call of the JSON-RPC API that is not done yet.
#[derive(Debug)]
pub struct Working {
    job: Box<Job<'static>>,
    scope: Scope,
    owner: Owner,
    /// What the request wants of its answer.
    pub exchange: Exchange,
    /// The head of the answer is written.
    has_begun: bool,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is not done. Next: [`Api::work`] again.
    Working,
    /// It waits for the broker. Next: [`Api::work`] when that has answered.
    Waiting,
    /// There is a piece of the answer. Next: send it, then [`Api::work`] again.
    Saying,
    /// There is the last piece of the answer.
    Said,
}

impl Working {
    /// How long its body is, if it has to be handed over, as it is too large to be copied in one go. Next:
    /// [`Working::take_body`], before [`Api::work`] can do anything.
    #[must_use]
    pub fn wants_body(&self) -> Option<usize> {
        self.job.wants_body()
    }

    /// Takes over its body, which is the part of `bytes` from `begin` on.
    pub fn take_body(&mut self, bytes: Vec<u8>, begin: usize) {
        self.job.take_body(bytes, begin);
    }
}

impl Api {
    /// Begins to work on the body of a request. If it is done at once the answer is written behind what is in `out`.
    pub(super) fn begin_work(
        &mut self,
        visit: Visit<'_>,
        body: &[u8],
        scope: Scope,
        exchange: Exchange,
        out: &mut Vec<u8>,
    ) -> Option<Working> {
        let mut room = std::mem::take(&mut self.body);
        room.clear();
        let mut job = Job::new(body, room);
        let mut steps = self.steps_at_once;
        let outcome = job.go_on(&mut self.service(visit.now, scope, visit.owner), &mut steps);
        if let (Some(outcome), Some(body)) = (outcome, job.answer().whole()) {
            let (status, headers) = head_of(outcome);
            Response { status, headers, body }.write(out, visit.date, exchange);
            self.body = job.answer().next_piece();
            return None;
        }
        Some(Working { job: Box::new(job.into_owned()), scope, owner: visit.owner, exchange, has_begun: false })
    }

    /// Goes on with a call, by so many steps of some us at most. A piece of its answer is written into `out`.
    pub fn work(&mut self, working: &mut Working, now: Ms, date: &str, steps: u32, out: &mut Vec<u8>) -> Progress {
        let mut budget = steps;
        let Some(outcome) = working.job.go_on(&mut self.service(now, working.scope, working.owner), &mut budget) else {
            return if self.waits(working) { Progress::Waiting } else { Progress::Working };
        };
        let answer = working.job.answer();
        if !std::mem::replace(&mut working.has_begun, true) {
            let (status, headers) = head_of(outcome);
            Response { status, headers, body: b"" }.write_head(out, date, working.exchange, answer.len());
        }
        out.extend_from_slice(&answer.next_piece());
        if answer.is_empty() { Progress::Said } else { Progress::Saying }
    }

    /// Whether a call waits for a reply of the broker's: [`Cluster::take_awake`](crate::cluster::Cluster::take_awake) says when
    /// it has come.
    #[must_use]
    pub fn waits(&self, working: &Working) -> bool {
        self.cluster.as_ref().is_some_and(|cluster| working.job.waits(cluster))
    }

    fn service(&mut self, now: Ms, scope: Scope, owner: Owner) -> Service<'_> {
        Service {
            hub: &mut self.hub,
            now,
            epoch: self.epoch,
            name_bytes_max: self.max_name,
            long_names: &mut self.counts.long_names,
            scope,
            cluster: self.cluster.as_deref_mut(),
            owner,
        }
    }
}

fn head_of(outcome: rpc::Outcome) -> (Status, &'static str) {
    match outcome {
        Outcome::Answered => (Status::OK, RPC_HEADERS),
        Outcome::Silent => (Status::NO_CONTENT, "Cache-Control: no-cache\r\nPragma: no-cache\r\n"),
        Outcome::Refused => (Status::BAD_REQUEST, PLAIN_TEXT),
    }
}
