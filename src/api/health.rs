//! `/health` and `/ready`: whether the server lives, and whether messages come out of it.
//!
//! They are for who has to know before a page notices: a load balancer, an init system, a script that deploys. So they are
//! open at every listener, where pages come in most of all, as a balancer is to try what pages will use, and has no token.
//! They say one word out of a few and no number, and cost what a poll costs.
//!
//! That `/health` is answered at all says that the loop turns. `/ready` asks for more than an open port: it publishes a
//! [canary](crate::hub::Hub::send_canary), and says that it is ready when the canary has come out of the hub. Nothing is
//! done for either while nobody asks.

use log::debug;

use crate::http::{Exchange, Method, Request, Response, Status};
use crate::hub::Waiter;
use crate::slots::Key;

use super::{Api, Outcome, PLAIN_TEXT, Visit};

/// Somebody who has asked whether the server is ready, and waits for the canary.
#[derive(Debug)]
pub struct Proof {
    /// The hub's name for it.
    pub waiter: Key<Waiter>,
    /// What the request wants of its answer.
    pub exchange: Exchange,
}

/// What `/ready` is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The canary has come out.
    Ready,
    /// There is no memory to publish anything.
    Memory,
    /// The server stops.
    Stopping,
    /// The canary has not come out in time.
    Late,
    /// There is to be a Redis, and the link to it is down.
    Broker,
}

impl Readiness {
    /// All of them, in the order of their counts.
    pub(super) const ALL: [Readiness; 5] =
        [Readiness::Ready, Readiness::Memory, Readiness::Stopping, Readiness::Late, Readiness::Broker];

    /// The word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Readiness::Ready => "ready",
            Readiness::Memory => "memory",
            Readiness::Stopping => "stopping",
            Readiness::Late => "late",
            Readiness::Broker => "broker",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Readiness::Ready => "ready\n",
            Readiness::Memory => "not ready: memory is full, nothing can be published; see --memory-max\n",
            Readiness::Stopping => "not ready: the server stops\n",
            Readiness::Late => "not ready: a message that was published did not come out in time\n",
            // Why is for the log: not everybody is to know where it is.
            Readiness::Broker => "not ready: the link to Redis is down; the log says why\n",
        }
    }
}

impl Api {
    pub(super) fn serve_health(visit: Visit<'_>, request: &Request<'_>, exchange: Exchange, out: &mut Vec<u8>) {
        if is_read(visit, request, exchange, out) {
            Response { status: Status::OK, headers: HEADERS, body: b"ok\n" }.write(out, visit.date, exchange);
        }
    }

    pub(super) fn serve_ready(
        &mut self,
        visit: Visit<'_>,
        request: &Request<'_>,
        exchange: Exchange,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if !is_read(visit, request, exchange, out) {
            return Outcome::Answered;
        }
        if let Some(cluster) = &self.cluster {
            // The link proves itself all the time; and a message of this node alone has no place in the order of all.
            let is_whole = cluster.link.is_live() && !self.hub.is_behind() && !cluster.is_refused();
            let readiness = if is_whole { Readiness::Ready } else { Readiness::Broker };
            self.write_readiness(readiness, visit.date, exchange, out);
            return Outcome::Answered;
        }
        match self.hub.send_canary(visit.now, visit.owner) {
            Ok(waiter) => Outcome::Proving(Proof { waiter, exchange }),
            Err(_) => {
                self.write_readiness(Readiness::Memory, visit.date, exchange, out);
                Outcome::Answered
            }
        }
    }

    /// Writes the answer to who waits for a canary, behind what is in `out`.
    pub fn write_readiness(&mut self, readiness: Readiness, date: &str, exchange: Exchange, out: &mut Vec<u8>) {
        self.counts.checks[readiness as usize] += 1;
        let status = if readiness == Readiness::Ready {
            Status::OK
        } else {
            debug!("{}", readiness.text().trim_end());
            Status::SERVICE_UNAVAILABLE
        };
        Response { status, headers: HEADERS, body: readiness.text().as_bytes() }.write(out, date, exchange);
    }
}

/// Whether it is GET or HEAD; if not it has been refused.
pub(super) fn is_read(visit: Visit<'_>, request: &Request<'_>, exchange: Exchange, out: &mut Vec<u8>) -> bool {
    let is_read = matches!(request.method, Method::Get | Method::Head);
    if !is_read {
        let headers = format!("Allow: GET, HEAD\r\n{PLAIN_TEXT}");
        let response =
            Response { status: Status::METHOD_NOT_ALLOWED, headers: &headers, body: b"this is read by GET\r\n" };
        response.write(out, visit.date, exchange);
    }
    is_read
}

/// Nobody on the way keeps what is true for a moment.
const HEADERS: &str =
    "Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
