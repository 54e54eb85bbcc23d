//! From a request to a verb of the hub, and from what the hub owes to an answer. One file per endpoint.
//!
//! The paths are the original's (WIRE H1), matched exactly (WIRE H10). Only `/`, the metrics and the dashboard ask who is calling
//! (WIRE J12): pages prove themselves with their key.

mod access;
mod assets;
mod cors;
mod dashboard;
mod demo;
mod events;
mod fetch;
mod figures;
mod health;
mod metrics;
mod openmetrics;
mod pace;
mod press;
mod quote;
mod rpc;
mod secret;
mod socket;
mod streaming;
mod token;
mod updates;
mod working;

use std::net::IpAddr;

use log::{debug, warn};

use crate::clock::{Ms, Seldom};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::http::{Error, Exchange, Method, Request, Response, Status};
use crate::hub::{Hub, Owner, Waiter};
use crate::slots::Key;

pub use access::{Access, Entrance, Refusal};
pub use cors::Cors;
pub use health::{Proof, Readiness};
pub use metrics::{Attempts, BrokerEdge, Edge};
pub use openmetrics::Format;
pub use press::Press;
pub use secret::Secret;
pub use socket::Heard;
pub use streaming::Streaming;
pub use token::{Epoch, Token};
pub use updates::{Habit, Parked};
pub use working::{Progress, Working};

use assets::Asset;
use dashboard::Dashboard;
use metrics::{Counts, ENDPOINTS};
use pace::Pace;
use rpc::{Scope, write_message};

/// The endpoints, and the hub they speak to.
#[derive(Debug)]
pub struct Api {
    /// What is published, awaited and owed.
    pub hub: Hub,
    /// If several nodes share one model.
    pub cluster: Option<Box<Cluster>>,
    /// Who may call the JSON-RPC API.
    pub access: Access,
    /// Whether a refusal of each kind may be logged aloud.
    aloud: [Seldom; access::KINDS],
    assets: [Asset; 3],
    /// The demonstration's page, if it is served.
    demo: Option<Asset>,
    dashboard: Dashboard,
    cors: Cors,
    pace: Pace,
    counts: Counts,
    /// In which positions are named.
    pub epoch: Epoch,
    poll_timeout: Ms,
    max_name: usize,
    /// Spreads the ends of polls. Predictable, and it may be: nobody gains by knowing it.
    jitter: fastrand::Rng,
    /// The same for a connection's polls, which all end alike early.
    seed: u64,
    /// How many steps of some us a call is given before it has to wait for its turn.
    pub steps_at_once: u32,
    /// The body being written; kept for its memory.
    body: Vec<u8>,
}

/// Steps of a call that are done at once: some 100 us. Nearly all calls take one or two.
const STEPS_AT_ONCE: u32 = 32;

/// Where a request comes from, and when.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// The turn's time.
    pub now: Ms,
    /// The same as a Date header has it.
    pub date: &'a str,
    /// What the hub is to call the connection if the request parks.
    pub owner: Owner,
    /// The other end's address; `None` on a Unix socket.
    pub address: Option<IpAddr>,
    /// By which listener it has come in.
    pub entrance: Entrance,
}

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// The answer has been written.
    Answered,
    /// The hub will say when there is something to answer.
    Parked(Parked),
    /// It comes too early. Next: show the same request again at this time; it has changed nothing.
    Later(Ms),
    /// The beginning of the answer has been written; the hub will say each time there is more.
    Streaming(Box<Streaming>),
    /// The last thing that is said on this connection has been written.
    Ended,
    /// It wants the metrics. Next: [`Api::write_metrics`], as the answer.
    Metrics(Format),
    /// It wants to see a canary. Next: [`Api::write_readiness`], when it has come out of the hub, or will not.
    Proving(Proof),
    /// It takes longer. Next: [`Working::take_body`] if it wants that, and [`Api::work`].
    Working(Working),
}

impl Api {
    /// The endpoints of a server with this configuration. `date` dates the embedded files (WIRE F1), `epoch` is random
    /// and says that nothing is known from before, `seed` is for the jitter alone.
    #[must_use]
    pub fn new(config: &Config, hub: Hub, date: &str, epoch: u64, seed: u64) -> Api {
        Api {
            hub,
            cluster: None,
            access: Access::new(config),
            aloud: [Seldom::default(); access::KINDS],
            assets: Asset::all(date),
            demo: config.demo.then(|| Asset::new(demo::PAGE, date)),
            dashboard: Dashboard::new(date),
            cors: Cors::new(config),
            pace: Pace::new(config.max_poll_rate),
            counts: Counts::default(),
            epoch: Epoch::new(epoch),
            max_name: config.max_name,
            poll_timeout: config.poll_timeout,
            jitter: fastrand::Rng::with_seed(seed),
            seed,
            steps_at_once: STEPS_AT_ONCE,
            body: Vec::new(),
        }
    }

    /// From now on this configuration holds, and this token. Who waits is answered as was promised.
    pub fn change(&mut self, now: Ms, config: &Config, token: Option<Secret>, date: &str) {
        self.access = Access::new(config);
        if let Some(token) = token {
            self.access.require(token);
        }
        self.demo = config.demo.then(|| Asset::new(demo::PAGE, date));
        self.cors.change(config);
        self.pace.set_rate(config.max_poll_rate);
        self.max_name = config.max_name;
        self.poll_timeout = config.poll_timeout;
        let limits = config.hub_limits();
        if let Some(cluster) = &mut self.cluster {
            cluster.change_limits(now, &self.hub, &limits);
        }
        self.hub.change_limits(limits);
    }

    /// Serves a request: writes the answer behind what is in `out`, or parks. `habit` is the connection's own.
    pub fn handle(
        &mut self,
        visit: Visit<'_>,
        request: &Request<'_>,
        exchange: Exchange,
        habit: &mut Habit,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if visit.entrance == Entrance::Rpc && !is_of_callers(&request.path()) {
            self.counts.requests[OTHER] += 1;
            not_found(visit.date, exchange, out);
            return Outcome::Answered;
        }
        // The path that nearly all requests have, at a glance.
        if let Some(query) = request.query_of(UPDATES) {
            self.counts.requests[0] += 1;
            return self.serve_updates(visit, request, query, exchange, habit, out);
        }
        let path = request.path();
        if is_of_dashboard(&path) {
            self.counts.requests[DASHBOARD] += 1;
            return self.serve_dashboard(visit, request, exchange, habit, out);
        }
        let endpoint = ENDPOINTS.iter().position(|endpoint| endpoint.as_bytes() == &*path);
        self.counts.requests[endpoint.unwrap_or(OTHER)] += 1;
        match &*path {
            b"/" => return self.serve_rpc(visit, request, exchange, out),
            b"/events" => return self.serve_events(visit, request, exchange, out),
            b"/socket" => return self.serve_socket(visit, request, exchange, out),
            path if path == UPDATES.as_bytes() => {
                return self.serve_updates(visit, request, request.query(), exchange, habit, out);
            }
            b"/metrics" => return self.serve_metrics(visit, request, exchange, out),
            b"/ready" => return self.serve_ready(visit, request, exchange, out),
            b"/health" => Api::serve_health(visit, request, exchange, out),
            b"*" => Response { status: Status::NO_CONTENT, headers: "", body: b"" }.write(out, visit.date, exchange),
            path if path.starts_with(b"/demo") => self.serve_demo(visit, request, exchange, out),
            path => match self.assets.iter().find(|asset| asset.is_at(path)) {
                Some(asset) => asset.serve(visit.date, request, exchange, out),
                None => not_found(visit.date, exchange, out),
            },
        }
        Outcome::Answered
    }

    /// The connection of a parked poll or a stream has gone: it takes nothing (WIRE P18). `habit` is the connection's.
    pub fn abandon(&mut self, now: Ms, waiter: Key<Waiter>, habit: &Habit) {
        self.hub.cancel(now, waiter);
        self.pace.count(now, habit.client());
    }

    /// Gives back what nobody needs any more, now that it is so late.
    pub fn forget(&mut self, now: Ms) {
        self.pace.forget(now);
    }

    fn serve_rpc(&mut self, visit: Visit<'_>, request: &Request<'_>, exchange: Exchange, out: &mut Vec<u8>) -> Outcome {
        if let Err(refusal) = self.access.check(&visit, request) {
            self.complain(visit, &refusal);
            let headers = "Content-Type: text/html; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n";
            let response = Response { status: Status::NOT_FOUND, headers, body: b"Nothing here buddy" };
            response.write(out, visit.date, exchange);
            return Outcome::Answered;
        }
        if request.method != Method::Post {
            let body = format!(
                "405 Method Not Allowed. This JSONRPC interface only supports POST. Method used was \"{}\"",
                request.method.name()
            );
            let headers = format!("Allow: POST\r\nCache-Control: no-cache\r\n{PLAIN_TEXT}");
            let response = Response { status: Status::METHOD_NOT_ALLOWED, headers: &headers, body: body.as_bytes() };
            response.write(out, visit.date, exchange);
            return Outcome::Answered;
        }
        match self.begin_work(visit, &request.body, Scope::All, exchange, out) {
            None => Outcome::Answered,
            Some(working) => Outcome::Working(working),
        }
    }
}

impl Api {
    /// Logs a refusal: aloud once a minute for each kind, as somebody may look for why nothing works.
    fn complain(&mut self, visit: Visit<'_>, refusal: &Refusal) {
        self.counts.refused_calls[refusal.kind()] += 1;
        if self.aloud[refusal.kind()].is_due(visit.now) {
            warn!("a call of the JSON-RPC API is refused: {refusal} (others like it are logged at debug for a minute)");
        } else {
            debug!("a call of the JSON-RPC API is refused: {refusal}");
        }
    }
}

/// Where pages poll (WIRE H1).
const UPDATES: &str = ENDPOINTS[0];

/// Whether it is served where nothing but the web application, and who looks after it, comes in.
fn is_of_callers(path: &[u8]) -> bool {
    matches!(path, b"/" | b"/metrics" | b"/health" | b"/ready") || is_of_dashboard(path)
}

fn is_of_dashboard(path: &[u8]) -> bool {
    path.strip_prefix(b"/dashboard").is_some_and(|below| matches!(below, [] | [b'/', ..]))
}

/// The last two of the endpoints that are counted.
const DASHBOARD: usize = ENDPOINTS.len() - 2;
const OTHER: usize = ENDPOINTS.len() - 1;

/// WIRE J2.
const RPC_HEADERS: &str = "Cache-Control: no-cache\r\nPragma: no-cache\r\nContent-Type: application/json\r\n\
     X-Content-Type-Options: nosniff\r\n";

/// Writes the answer to what could not be read as a request. The connection closes behind it.
pub fn refuse(error: Error, date: &str, out: &mut Vec<u8>) {
    let text = match error {
        Error::Malformed(what) | Error::NotImplemented(what) => what,
        Error::BodyTooLarge => "the body is too large; --max-body is the limit",
        Error::TargetTooLong => "the request line is too long; --max-head is the limit",
        Error::HeadTooLarge => "the headers are too large or too many; --max-head is the limit",
        Error::UnknownExpectation => "only Expect: 100-continue is known here",
        Error::UnknownVersion => "only HTTP/1.0 and HTTP/1.1 are spoken here",
    };
    refuse_with(error.status(), text, date, out);
}

/// Writes the answer to a request that did not come to an end in time (RFC 9110 section 15.5.9).
pub fn refuse_late(date: &str, out: &mut Vec<u8>) {
    refuse_with(Status::REQUEST_TIMEOUT, "the request did not come to an end in time", date, out);
}

/// Writes the answer to a request for the rest of which there is no memory.
pub fn refuse_for_memory(date: &str, out: &mut Vec<u8>) {
    refuse_with(
        Status::SERVICE_UNAVAILABLE,
        "there is no memory for a large request now; --memory-max is the limit",
        date,
        out,
    );
}

fn refuse_with(status: Status, text: &str, date: &str, out: &mut Vec<u8>) {
    let body = format!("{text}\r\n");
    let exchange = Exchange { head_only: false, keep_alive: false };
    Response { status, headers: PLAIN_TEXT, body: body.as_bytes() }.write(out, date, exchange);
}

/// WIRE H1, P11: never with a CORS header (WIRE P12).
fn not_found(date: &str, exchange: Exchange, out: &mut Vec<u8>) {
    Response { status: Status::NOT_FOUND, headers: PLAIN_TEXT, body: b"Not Found\r\n" }.write(out, date, exchange);
}

const PLAIN_TEXT: &str = "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n";
