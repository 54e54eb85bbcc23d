//! What the dashboard draws: the numbers of `/metrics`, as one small object a second.
//!
//! Counts are since the start; the page makes rates of them, by `at`. Nothing is walked for it.

use serde::{Serialize, Serializer};

use crate::clock::Ms;
use crate::hub::{Hub, Tally};

use super::metrics::{Edge, LOSSES, by_medium, memory_kinds};

/// The object. What stands in pairs is a name and its number.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// Milliseconds of the server's clock.
    at: u64,
    version: &'static str,
    /// Seconds since 1970.
    started: u64,
    /// How many dashboards listen.
    dashboards: usize,
    clients: usize,
    departed: usize,
    channels: usize,
    subscriptions: usize,
    /// By transport.
    parked: Pairs<usize>,
    /// The web application's, and the server's.
    published: [u64; 2],
    /// To pages, each once for every page.
    sent: u64,
    broken_off: u64,
    accepted: u64,
    received_bytes: u64,
    sent_bytes: u64,
    /// How many deliveries took 1 ms at most, 2, 4...
    latency: Vec<u64>,
    /// How many turns took 1 us at most, 2, 4...
    turns: Vec<u64>,
    gaps: Pairs<u64>,
    /// Those that there were.
    refusals: Pairs<u64>,
    refused_calls: u64,
    /// What there may be so much of: by its knob, how much there is, and the most.
    limits: Vec<(&'static str, usize, usize)>,
    memory: Pairs<usize>,
    memory_used: usize,
    resident: Option<u64>,
    /// Seconds.
    cpu: f64,
    busiest: Vec<Busy>,
}

/// An object of a few members, in order.
#[derive(Debug)]
pub(super) struct Pairs<N>(Vec<(&'static str, N)>);

/// A channel with much to say, since the last time.
#[derive(Debug, Serialize)]
pub(super) struct Busy {
    name: String,
    /// There is more of the name.
    is_cut: bool,
    messages: u64,
    active: usize,
}

/// A longer name is cut: figures are to be small.
const NAME_BYTES_MAX: usize = 200;

impl Figures {
    /// The figures of this moment, but for what the endpoints count, which is given.
    pub(super) fn new(
        now: Ms,
        hub: &Hub,
        edge: &Edge,
        busiest: Vec<Busy>,
        refusals: Vec<(&'static str, u64)>,
        refused_calls: u64,
    ) -> Figures {
        let (stats, usage, tally) = (hub.stats(), hub.usage(), hub.tally());
        let Tally { published, sent, broken_off, latency, gaps, .. } = tally;
        Figures {
            at: now.0,
            version: env!("CARGO_PKG_VERSION"),
            started: edge.started.as_secs(),
            dashboards: hub.own_listeners(),
            clients: stats.clients,
            departed: stats.departed,
            channels: stats.channels,
            subscriptions: usage.subscriptions,
            parked: Pairs(by_medium(tally.parked).collect()),
            published: *published,
            sent: sent.iter().sum(),
            broken_off: broken_off.iter().sum(),
            accepted: edge.accepted,
            received_bytes: edge.received_bytes,
            sent_bytes: edge.sent_bytes,
            latency: latency.counts.to_vec(),
            turns: edge.turns.to_vec(),
            gaps: Pairs(LOSSES.into_iter().zip(*gaps).collect()),
            refusals: Pairs(refusals),
            refused_calls,
            limits: limits(hub, edge),
            memory: Pairs(memory_kinds(edge, usage).into()),
            memory_used: edge.memory_used,
            resident: edge.resident_bytes,
            cpu: edge.cpu_time.as_secs_f64(),
            busiest,
        }
    }

    /// The channels that had the most to say since the last time.
    pub(super) fn busiest(hub: &mut Hub) -> Vec<Busy> {
        let cut = |busy: crate::hub::Busy<'_>| {
            let end = (0..=NAME_BYTES_MAX.min(busy.name.len())).rfind(|&at| busy.name.is_char_boundary(at));
            let name = &busy.name[..end.expect("a name has a beginning")];
            let is_cut = name.len() < busy.name.len();
            Busy { name: name.to_owned(), is_cut, messages: busy.messages, active: busy.active }
        };
        hub.take_busiest().into_iter().map(cut).collect()
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("it has no maps but with strings as keys")
    }
}

/// What is used of the limits that can be come near to.
fn limits(hub: &Hub, edge: &Edge) -> Vec<(&'static str, usize, usize)> {
    let stats = hub.stats();
    let used = |knob| match knob {
        "max-clients" => stats.clients + stats.departed,
        "max-channels" => stats.channels,
        _ => edge.connections,
    };
    let descriptors = <[u64; 2]>::from(edge.descriptors).map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    let counted = edge.limits.into_iter().map(|(knob, most)| (knob, used(knob), most));
    let more = [
        ("descriptors", descriptors[0], descriptors[1]),
        ("history-total", hub.usage().history_bytes, edge.history_max),
        ("memory-max", edge.memory_used, edge.memory_max),
    ];
    counted.chain(more).filter(|&(_, _, most)| most < usize::MAX).collect()
}

impl<N: Serialize> Serialize for Pairs<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, number)| (name, number)))
    }
}
