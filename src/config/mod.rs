//! The operator's choices.
//!
//! A [`Config`] holds them as values that are valid by their types: no text that somebody would have to parse again. It is
//! made from the table of [`knobs`], which says of each what may be written, its default and the reason for it. Where the
//! texts come from, and which of them count, is [`Sources`]' affair: flags, environment, file.

mod address;
mod file;
pub mod knobs;
mod network;
mod problem;
mod rules;
mod sources;
mod values;

use std::path::PathBuf;

use ipnet::IpNet;
use log::LevelFilter;

use crate::broker;
use crate::clock::Ms;
use crate::http;
use crate::hub::{self, Policies, Policy, SystemShare};

pub use address::{Address, AddressError};
pub use file::read_small;
pub use network::{any_network, network};
pub use problem::{Problem, Problems};
pub use sources::{Change, Origin, Setting, Settings, Sources};

use knobs::{Form, KNOBS, Knob};
use rules::ChannelRules;

/// Everything that an operator can choose. The defaults, and the reasons for them, are in the table of [`knobs`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub listen: Vec<Address>,

    /// Where to listen for the JSON-RPC API alone; no other listener serves it then. If nowhere, `listen` serves both.
    pub rpc_listen: Vec<Address>,
    /// File mode of the Unix sockets among them.
    pub rpc_socket_mode: u32,
    /// A file whose one line every call has to bring, as `Authorization: Bearer LINE`.
    pub rpc_token_file: Option<PathBuf>,
    /// Names in the Host header of calls from this machine, besides `localhost` and addresses.
    pub rpc_host: Vec<String>,
    /// Networks of the web application, which alone may call the JSON-RPC API (WIRE J12); empty allows nobody.
    pub rpc_allow: Vec<IpNet>,
    /// Networks of the proxies whose word about the peer behind them is believed; empty believes nobody.
    pub trusted_proxy: Vec<IpNet>,

    /// Whether `/demo` is served, where anybody gets a client and may speak in one channel.
    pub demo: bool,

    /// A file that keeps over a restart what the server knows.
    pub state: Option<PathBuf>,
    /// How often it is written while the server runs, [`Ms::ZERO`] for never.
    pub state_interval: Ms,
    /// Whether what stands in it is put aside, and the server starts without.
    pub state_ignore: bool,

    /// Where the Redis is that several nodes share; `None` for a node alone.
    pub broker: Option<broker::Address>,
    /// A file with the password for it, in place of the address's.
    pub broker_password_file: Option<PathBuf>,
    /// What its keys and channels begin with.
    pub broker_prefix: String,
    /// For how long a call of it may take.
    pub broker_timeout: Ms,

    /// Origins whose pages may read answers; empty: all (WIRE P1).
    pub allow_origin: Vec<String>,

    /// Over how much time a server that stops answers those who wait, if they are many; [`Ms::ZERO`] for at once.
    pub drain: Ms,
    /// A parked poll without news is answered empty after this time (WIRE P7).
    pub poll_timeout: Ms,
    /// A client that has not polled for this time is collected (WIRE L1).
    pub max_idle: Ms,
    /// A new client is not collected before this age (WIRE L1).
    pub min_alive: Ms,
    /// How often idle clients are looked for (WIRE L2).
    pub sweep_interval: Ms,
    /// A channel without subscribers is freed when it was not used for this time (WIRE C5).
    pub channel_idle: Ms,

    /// What channels keep for those who are behind, by the beginning of their names.
    pub policies: Policies,
    /// Bytes of messages that all channels keep together: those that were not used for longest give up theirs first.
    pub history_total: usize,
    /// Bytes that the whole process may use. Near it channels give up their history, at it nothing new comes in. `None`: three
    /// quarters of what the machine or the control group has.
    pub memory_max: Option<usize>,
    /// Connections in all.
    pub max_connections: usize,
    /// Connections from one address, or one IPv6 network of 64 bits, that is no trusted proxy.
    pub max_connections_per_address: u32,
    /// New ones of these within a second.
    pub max_new_per_address: u32,
    /// Clients, those that may come back included.
    pub max_clients: usize,
    /// Channels.
    pub max_channels: usize,
    /// Subscriptions of one client: each poll looks at all of them.
    pub max_subscriptions: usize,
    /// Polls that one client may have parked at a time.
    pub max_polls: usize,
    /// Polls of one client within a second of which nothing new comes: it asks for what it has had, or breaks off.
    pub max_poll_rate: u32,
    /// Bytes of a client's id or a channel's name (WIRE H6).
    pub max_name: usize,
    /// Collected clients that are remembered, so that they can come back; the least recently collected go first (WIRE L3).
    pub departed_max: usize,
    /// A collected client is forgotten after this time.
    pub departed_age: Ms,
    /// Bytes of a request line and its headers (WIRE H6).
    pub max_head: usize,
    /// Bytes of a request body (WIRE H6).
    pub max_body: usize,
    /// Bytes of one poll answer; what is left waits for the next poll. At least one message is always in it, however large.
    pub max_answer: usize,

    /// From a request's first byte to the end of its headers.
    pub head_timeout: Ms,
    /// From the end of the headers to the end of the body.
    pub body_timeout: Ms,
    /// A connection without a request is closed after this time.
    pub idle_timeout: Ms,
    /// A peer that takes nothing of its answer for this time is closed.
    pub write_timeout: Ms,

    /// What is logged.
    pub log: Log,
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Log {
    /// From this level up.
    Level(LevelFilter),
    /// As env_logger reads these directives. They hold until the process ends.
    Directives(String),
}

/// What the table says.
impl Default for Config {
    fn default() -> Self {
        let mut draft = Draft::empty();
        for knob in KNOBS {
            let texts = knob.preset().into_iter().flat_map(|text| text.split(','));
            draft.read_all(knob, texts).expect("the table's defaults are allowed");
        }
        draft.config()
    }
}

impl Config {
    /// The hub's share of it.
    #[must_use]
    pub fn hub_limits(&self) -> hub::Limits {
        hub::Limits {
            policies: self.policies.clone(),
            max_idle: self.max_idle,
            min_alive: self.min_alive,
            sweep_interval: self.sweep_interval,
            channel_idle: self.channel_idle,
            departed_max: self.departed_max,
            departed_age: self.departed_age,
            answer_bytes: self.max_answer,
            polls_per_client: self.max_polls,
            clients_max: self.max_clients,
            channels_max: self.max_channels,
            subscriptions_max: self.max_subscriptions,
            history_bytes_max: self.history_total,
        }
    }

    /// The HTTP decoder's share of it.
    #[must_use]
    pub fn http_limits(&self) -> http::Limits {
        http::Limits { head_bytes: self.max_head, body_bytes: self.max_body }
    }
}

/// A configuration in the making.
#[derive(Debug)]
struct Draft {
    config: Config,
    rules: ChannelRules,
}

impl Draft {
    /// Nothing is allowed, and nothing listens: every knob with a default has to be read into it.
    fn empty() -> Draft {
        let nothing = Policy {
            history: 0,
            history_system: SystemShare::Shared,
            history_bytes: 0,
            history_age: Ms::ZERO,
            presence: false,
        };
        let config = Config {
            listen: Vec::new(),
            rpc_listen: Vec::new(),
            rpc_socket_mode: 0,
            rpc_token_file: None,
            rpc_host: Vec::new(),
            rpc_allow: Vec::new(),
            trusted_proxy: Vec::new(),
            demo: false,
            state: None,
            state_interval: Ms::ZERO,
            state_ignore: false,
            broker: None,
            broker_password_file: None,
            broker_prefix: String::new(),
            broker_timeout: Ms::ZERO,
            allow_origin: Vec::new(),
            drain: Ms::ZERO,
            poll_timeout: Ms::ZERO,
            max_idle: Ms::ZERO,
            min_alive: Ms::ZERO,
            sweep_interval: Ms::ZERO,
            channel_idle: Ms::ZERO,
            policies: Policies::uniform(nothing),
            history_total: 0,
            memory_max: None,
            max_connections: 0,
            max_connections_per_address: 0,
            max_new_per_address: 0,
            max_clients: 0,
            max_channels: 0,
            max_subscriptions: 0,
            max_polls: 0,
            max_poll_rate: 0,
            max_name: 0,
            departed_max: 0,
            departed_age: Ms::ZERO,
            max_head: 0,
            max_body: 0,
            max_answer: 0,
            head_timeout: Ms::ZERO,
            body_timeout: Ms::ZERO,
            idle_timeout: Ms::ZERO,
            write_timeout: Ms::ZERO,
            log: Log::Level(LevelFilter::Off),
        };
        Draft { config, rules: ChannelRules::default() }
    }

    /// Reads all that is said of a knob.
    ///
    /// # Errors
    /// The text that is wrong, and why.
    fn read_all<'t>(&mut self, knob: &Knob, texts: impl IntoIterator<Item = &'t str>) -> Result<(), (&'t str, String)> {
        if let (Form::Rules, Some(for_all_others)) = (knob.form, knob.preset()) {
            knob.read(self, for_all_others).expect("the table's defaults are allowed");
        }
        texts.into_iter().try_for_each(|text| knob.read(self, text).map_err(|why| (text, why)))
    }

    /// What has become of it when all knobs have been read.
    fn config(mut self) -> Config {
        self.config.policies = self.rules.policies();
        // All of them if one says so.
        if self.config.allow_origin.iter().any(|origin| origin == "*") {
            self.config.allow_origin.clear();
        }
        self.config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_that_the_original_had_are_the_originals() {
        let config = Config::default();
        assert_eq!(config.listen, [Address::Everywhere(8082)]);
        assert_eq!((config.poll_timeout, config.max_idle), (Ms::from_secs(25), Ms::from_secs(10)));
        assert_eq!((config.min_alive, config.sweep_interval), (Ms::from_secs(60), Ms::from_secs(10)));
        assert_eq!((config.departed_max, config.allow_origin, config.rpc_host), (100_000, vec![], vec![]));
    }

    #[test]
    fn every_knob_with_a_default_sets_something() {
        // A rule that nothing is said of has no answer, and what the others set to nothing cannot be told from nothing.
        let told =
            |knob: &&Knob| knob.form != Form::Rules && !["demo", "state-ignore", "allow-origin"].contains(&knob.name);
        for knob in KNOBS.iter().filter(told).filter(|knob| knob.preset().is_some()) {
            let mut draft = Draft::empty();
            for other in KNOBS.iter().filter(|other| other.name != knob.name) {
                draft.read_all(other, other.preset().into_iter().flat_map(|text| text.split(','))).unwrap();
            }
            assert_ne!(draft.config(), Config::default(), "{}", knob.name);
        }
    }
}
