//! `/metrics`: what there is, what has happened, and what is near its limit. Served to whoever may call the JSON-RPC API, as it
//! says how much goes on.
//!
//! All of it is kept as it happens, in plain numbers, by the hub ([`Tally`](crate::hub::Tally)), by the endpoints ([`Counts`])
//! and by the server ([`Edge`]). So asking costs the writing of some hundred lines, with a million pages too.

use std::time::Duration;

use crate::broker;
use crate::cluster;
use crate::http::{Exchange, Request, Response, Status};
use crate::hub::{MEDIA, Tally, Usage};

use super::health::{Readiness, is_read};
use super::openmetrics::{Exposition, Format};
use super::{Api, Outcome, Visit, access, not_found};

/// What the endpoints count.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Requests, by [`ENDPOINTS`].
    pub(super) requests: [u64; ENDPOINTS.len()],
    /// Calls that were refused, by the kind of [`Refusal`](super::Refusal).
    pub(super) refused_calls: [u64; access::KINDS],
    /// Polls that came too soon.
    pub(super) early_polls: u64,
    /// Names that were too long.
    pub(super) long_names: u64,
    /// Answers of `/ready`, by [`Readiness`].
    pub(super) checks: [u64; Readiness::ALL.len()],
}

/// Where requests go to.
pub(super) const ENDPOINTS: [&str; 9] =
    ["/message_updates", "/events", "/socket", "/", "/metrics", "/health", "/ready", "/dashboard", "other"];

/// What only the server knows. Counts are since its start.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Connections that are open.
    pub connections: usize,
    /// Bytes that they take, without what is buffered for them.
    pub connection_bytes: usize,
    /// Bytes of requests that are not whole, and of answers that have not left.
    pub buffer_bytes: usize,
    /// Connections that were accepted.
    pub accepted: u64,
    /// Bytes that were read from sockets...
    pub received_bytes: u64,
    /// ...and that sockets have taken.
    pub sent_bytes: u64,
    /// How many turns took 1 us at most, 2 at most, 4...; the last has all that were longer.
    pub turns: [u64; 20],
    /// How long they took together.
    pub turn_time: Duration,
    /// How often something was refused, by the knob that is the limit.
    pub refused: [(&'static str, u64); 9],
    /// What was refused or closed as there was no memory for it.
    pub refused_for_memory: u64,
    /// What came and was no request.
    pub malformed: u64,
    /// Limits, by their knob.
    pub limits: [(&'static str, usize); 3],
    /// How the configuration was read again.
    pub reloads: Attempts,
    /// How the state was written while the server ran.
    pub state_writes: Attempts,
    /// Bytes that all history may take.
    pub history_max: usize,
    /// Bytes that the process has asked the allocator for.
    pub memory_used: usize,
    /// Bytes that it may ask for; `usize::MAX` if nobody knows.
    pub memory_max: usize,
    /// Descriptors that are open, and how many may be.
    pub descriptors: (u64, u64),
    /// CPU time of the process.
    pub cpu_time: Duration,
    /// When it began, since 1970.
    pub started: Duration,
    /// Bytes of it that are in memory, as the kernel counts; `None` if it does not say.
    pub resident_bytes: Option<u64>,
    /// The link to Redis; `None` if there is to be none.
    pub broker: Option<BrokerEdge>,
}

/// What the link to Redis has done.
#[derive(Clone, Debug)]
pub struct BrokerEdge {
    /// Whether calls go out.
    pub is_up: bool,
    /// Calls whose reply has not come.
    pub pending: usize,
    /// What came by it that is none of ours.
    pub junk: u64,
    /// The most steps in one turn of what is done bit by bit.
    pub steps_most: usize,
    /// What came of looking for clients for whom somebody polls.
    pub lookups: cluster::Lookups,
    /// What it has counted.
    pub counts: broker::Counts,
}

/// How often something was tried that can fail, and how it went.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    done: u64,
    failed: u64,
    /// When it was done last, since 1970.
    done_at: Option<Duration>,
    has_last_failed: bool,
    last_took: Duration,
}

impl Attempts {
    /// It was tried at this time, which took so long.
    pub fn note(&mut self, is_done: bool, at: Duration, took: Duration) {
        *if is_done { &mut self.done } else { &mut self.failed } += 1;
        self.done_at = if is_done { Some(at) } else { self.done_at };
        (self.has_last_failed, self.last_took) = (!is_done, took);
    }
}

impl Api {
    /// Whoever may not read it finds nothing there.
    pub(super) fn serve_metrics(
        &mut self,
        visit: Visit<'_>,
        request: &Request<'_>,
        exchange: Exchange,
        out: &mut Vec<u8>,
    ) -> Outcome {
        if let Err(refusal) = self.access.check(&visit, request) {
            self.complain(visit, &refusal);
            not_found(visit.date, exchange, out);
            return Outcome::Answered;
        }
        if is_read(visit, request, exchange, out) {
            return Outcome::Metrics(Format::of(request));
        }
        Outcome::Answered
    }

    /// Writes the metrics behind what is in `out`.
    pub fn write_metrics(&mut self, edge: &Edge, format: Format, date: &str, exchange: Exchange, out: &mut Vec<u8>) {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let mut page = Exposition::begin(format, &mut body);
        let (tally, usage) = (self.hub.tally(), self.hub.usage());
        self.write_population(&mut page, edge, usage);
        self.write_requests(&mut page, edge);
        write_traffic(&mut page, edge, tally);
        write_times(&mut page, edge, tally);
        self.write_losses(&mut page, edge, tally);
        write_memory(&mut page, edge, usage);
        write_reloads(&mut page, edge);
        write_state(&mut page, edge);
        if let Some(broker) = &edge.broker {
            write_broker(&mut page, broker);
        }
        write_process(&mut page, edge);
        page.end();
        Response { status: Status::OK, headers: format.headers(), body: &body }.write(out, date, exchange);
        self.body = body;
    }

    /// What is asked of it.
    fn write_requests(&self, page: &mut Exposition<'_>, edge: &Edge) {
        let Counts { requests, checks, .. } = &self.counts;
        page.counter("shaveet_requests", "Requests, by where they went.")
            .by("path", ENDPOINTS.into_iter().zip(*requests));
        page.counter("shaveet_malformed_requests", "What came and was no request: 400 and its kind.")
            .is(edge.malformed);
        let results = Readiness::ALL.map(Readiness::name);
        page.counter("shaveet_readiness_checks", "Answers of /ready.").by("result", results.into_iter().zip(*checks));
    }

    /// What there is now.
    fn write_population(&self, page: &mut Exposition<'_>, edge: &Edge, usage: Usage) {
        let (stats, tally) = (self.hub.stats(), self.hub.tally());
        page.gauge("shaveet_clients", "Clients that are here.").is(stats.clients);
        page.gauge("shaveet_departed_clients", "Clients that were collected and may come back.").is(stats.departed);
        page.gauge("shaveet_channels", "Channels.").is(stats.channels);
        page.gauge(
            "shaveet_subscriptions",
            "Subscriptions, with those of departed clients and ended ones that are still read.",
        )
        .is(usage.subscriptions);
        page.gauge("shaveet_parked", "Polls and streams that wait for news, or whose answer is on its way.")
            .by("transport", by_medium(tally.parked));
        page.gauge("shaveet_connections", "Connections that are open.").is(edge.connections);
        page.gauge("shaveet_limit", "How many there may be, by knob.").by("limit", edge.limits);
    }
}

/// What goes through.
fn write_traffic(page: &mut Exposition<'_>, edge: &Edge, tally: &Tally) {
    let kinds = ["application", "system"];
    page.counter("shaveet_published_messages", "Messages published: by the web application, and joins and leaves.")
        .by("kind", kinds.into_iter().zip(tally.published));
    page.counter("shaveet_published_bytes", "Bytes of the messages published, as they are kept.")
        .is(tally.published_bytes);
    page.counter("shaveet_sent_messages", "Messages put into answers, once for each page that they went to.")
        .by("transport", by_medium(tally.sent));
    page.counter("shaveet_deliveries", "Answers with messages in them that have left whole.")
        .by("transport", by_medium(tally.delivered));
    page.counter("shaveet_broken_deliveries", "Answers with messages in them whose page had gone; it gets them again.")
        .by("transport", by_medium(tally.broken_off));
    let endings = ["timeout", "crowded", "stopping", "gone"];
    page.counter("shaveet_ended_polls", "Polls and streams ended by their time, by too many of a client, or with it.")
        .by("reason", endings.into_iter().zip(tally.ended));
    page.counter("shaveet_accepted_connections", "Connections accepted.").is(edge.accepted);
    page.counter("shaveet_received_bytes", "Bytes read from sockets.").is(edge.received_bytes);
    page.counter("shaveet_sent_bytes", "Bytes that sockets have taken.").is(edge.sent_bytes);
}

/// How long it takes.
fn write_times(page: &mut Exposition<'_>, edge: &Edge, tally: &Tally) {
    page.histogram(
        "shaveet_delivery_latency_seconds",
        "Time from the publication of a message to an answer with it, for who waited, to the millisecond.",
        &tally.latency.counts,
        1e-3,
        Duration::from_millis(tally.latency.sum).as_secs_f64(),
    );
    page.histogram(
        "shaveet_turn_duration_seconds",
        "CPU time of a turn of the loop: for so long nobody else was heard.",
        &edge.turns,
        1e-6,
        edge.turn_time.as_secs_f64(),
    );
}

impl Api {
    /// What was lost, ended or refused, and why.
    fn write_losses(&self, page: &mut Exposition<'_>, edge: &Edge, tally: &Tally) {
        page.counter("shaveet_gaps", "Gaps that pages were told, by the limit of history that made them.")
            .by("reason", LOSSES.into_iter().zip(tally.gaps));
        page.counter("shaveet_created_clients", "Clients made.").is(tally.created);
        page.counter("shaveet_returned_clients", "Collected clients that came back.").is(tally.returned);
        let expired = [
            ("client", tally.departed),
            ("departed_client", tally.forgotten),
            ("channel", tally.freed),
            ("message", tally.aged),
        ];
        page.counter(
            "shaveet_expirations",
            "What went as its time was over: silent clients, departed ones, idle channels, old messages.",
        )
        .by("kind", expired);
        page.counter("shaveet_refusals", "What was refused, put off or closed at a limit, by the limit's knob.")
            .by("limit", self.refusals(edge));
        page.counter("shaveet_refused_calls", "Calls of the API, of the metrics and the dashboard, by who may not.")
            .by("reason", access::KIND_NAMES.into_iter().zip(self.counts.refused_calls));
    }

    /// How often something was refused, by the limit's knob.
    pub(super) fn refusals(&self, edge: &Edge) -> impl Iterator<Item = (&'static str, u64)> {
        let (Counts { early_polls, long_names, .. }, refused) = (&self.counts, self.hub.tally().refused);
        let own = [
            ("max-clients", refused.clients),
            ("max-channels", refused.channels),
            ("max-subscriptions", refused.subscriptions),
            ("max-polls", refused.polls),
            ("memory-max", refused.memory + edge.refused_for_memory),
            ("max-poll-rate", *early_polls),
            ("max-name", *long_names),
        ];
        own.into_iter().chain(edge.refused)
    }
}

/// What the limits of history are called that make gaps, by [`Loss`](crate::hub::Loss).
pub(super) const LOSSES: [&str; 5] = ["count", "bytes", "age", "memory", "restart"];

/// Who takes the memory.
pub(super) fn memory_kinds(edge: &Edge, usage: Usage) -> [(&'static str, usize); 6] {
    [
        ("clients", usage.client_bytes),
        ("subscriptions", usage.subscription_bytes),
        ("channels", usage.channel_bytes),
        ("history", usage.history_bytes),
        ("connections", edge.connection_bytes),
        ("buffers", edge.buffer_bytes),
    ]
}

fn write_memory(page: &mut Exposition<'_>, edge: &Edge, usage: Usage) {
    page.gauge("shaveet_memory_bytes", "Memory by what takes it: counts times sizes; history and buffers to the byte.")
        .by("kind", memory_kinds(edge, usage));
    page.gauge("shaveet_memory_used_bytes", "Memory that the process has asked for, in all.").is(edge.memory_used);
    if edge.memory_max < usize::MAX {
        page.gauge("shaveet_memory_limit_bytes", "Memory that it may ask for (--memory-max).").is(edge.memory_max);
    }
    page.gauge("shaveet_history_limit_bytes", "Memory that all history may take (--history-total).")
        .is(edge.history_max);
}

/// How it was to read the configuration again (SIGHUP).
fn write_reloads(page: &mut Exposition<'_>, edge: &Edge) {
    let Attempts { done, failed, done_at, has_last_failed, last_took } = &edge.reloads;
    page.counter("shaveet_config_reloads", "How often the configuration was read again.")
        .by("result", [("done", *done), ("refused", *failed)]);
    page.gauge("shaveet_config_last_reload_successful", "Whether the last time it was taken over.")
        .is(u64::from(!has_last_failed));
    page.gauge("shaveet_config_last_reload_success_timestamp_seconds", "When it was taken over, or read first.")
        .is(done_at.unwrap_or(edge.started).as_secs_f64());
    page.gauge("shaveet_config_last_reload_duration_seconds", "How long the last one held the loop up.")
        .is(last_took.as_secs_f64());
}

fn write_state(page: &mut Exposition<'_>, edge: &Edge) {
    let Attempts { done, failed, done_at, has_last_failed, last_took } = &edge.state_writes;
    page.counter("shaveet_state_writes", "How often the state was written while the server ran.")
        .by("result", [("done", *done), ("failed", *failed)]);
    page.gauge("shaveet_state_last_write_successful", "Whether the last time it could be.")
        .is(u64::from(!has_last_failed));
    page.gauge("shaveet_state_last_write_success_timestamp_seconds", "When it was, 0 for never.")
        .is(done_at.unwrap_or_default().as_secs_f64());
    page.gauge("shaveet_state_last_write_duration_seconds", "How long the last time took, between other work.")
        .is(last_took.as_secs_f64());
}

fn write_broker(page: &mut Exposition<'_>, broker: &BrokerEdge) {
    let broker::Counts { dials, calls, times, received, sent } = &broker.counts;
    page.gauge("shaveet_broker_up", "Whether the link to Redis is up.").is(u64::from(broker.is_up));
    page.gauge("shaveet_broker_pending_calls", "Calls that Redis has not answered.").is(broker.pending);
    page.counter("shaveet_broker_calls", "Calls of Redis, by what came of them.")
        .by("result", broker::RESULTS.into_iter().zip(*calls));
    page.histogram(
        "shaveet_broker_call_duration_seconds",
        "Time from a call to its reply, to the millisecond.",
        &times.counts,
        1e-3,
        Duration::from_millis(times.sum).as_secs_f64(),
    );
    page.counter("shaveet_broker_junk", "What came from Redis and is none of ours: it was left out.").is(broker.junk);
    page.gauge("shaveet_broker_turn_steps_max", "The most steps in one turn of what is done bit by bit for Redis.")
        .is(broker.steps_most);
    let cluster::Lookups { done, in_vain, put_off } = broker.lookups;
    page.counter("shaveet_broker_lookups", "Clients that were looked for as somebody polled, by what came of it.")
        .by("result", [("done", done), ("in_vain", in_vain), ("put_off", put_off)]);
    page.counter("shaveet_broker_dials", "How often a connection to Redis was begun.").is(*dials);
    page.counter("shaveet_broker_bytes", "Bytes from Redis and to it.")
        .by("direction", [("received", *received), ("sent", *sent)]);
}

/// What every process has, by the names that everybody uses for it.
fn write_process(page: &mut Exposition<'_>, edge: &Edge) {
    page.gauge("process_open_fds", "Descriptors that are open.").is(edge.descriptors.0);
    page.gauge("process_max_fds", "Descriptors that may be open.").is(edge.descriptors.1);
    if let Some(bytes) = edge.resident_bytes {
        page.gauge("process_resident_memory_bytes", "Memory that the kernel counts.").is(bytes);
    }
    page.counter("process_cpu_seconds", "CPU time of the process.").is(edge.cpu_time.as_secs_f64());
    page.gauge("process_start_time_seconds", "When the process began, since 1970.").is(edge.started.as_secs_f64());
    page.gauge("shaveet_build_info", "The version, as a label.").by("version", [(env!("CARGO_PKG_VERSION"), 1_u64)]);
}

/// All but the canaries, which are nobody's.
pub(super) fn by_medium<N>(counts: [N; MEDIA.len()]) -> impl Iterator<Item = (&'static str, N)> {
    MEDIA.into_iter().zip(counts).take(MEDIA.len() - 1)
}
