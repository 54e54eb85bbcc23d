//! The operator's knobs, as values that are valid by their types.
//!
//! A [`Config`] is made once, by [`crate::cli`] or by a test, and only read after that. It holds no text that somebody would
//! have to parse again; what a user may write, and what is out of range, is the command line's affair. Each field says
//! its unit, its default and the reason for it: defaults that the original server had are the original's.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::clock::Ms;
use crate::http;
use crate::hub::{self, Policies, Policy, SystemShare};

/// Everything that an operator can choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen. Default: port 8082 on all interfaces, as the original (WIRE H1).
    pub listen: Vec<Address>,

    /// Where to listen for the JSON-RPC API alone; no other listener serves it then. Default: nowhere, so that `listen` serves
    /// both, as the original's port did.
    pub rpc_listen: Vec<Address>,
    /// File mode of the Unix sockets among them. Default 660: who is to call is put into the file's group.
    pub rpc_socket_mode: u32,
    /// A file whose one line every call has to bring, as `Authorization: Bearer LINE`. Default: none, as the original's clients
    /// send none.
    pub rpc_token_file: Option<PathBuf>,
    /// Names in the Host header of calls from this machine, besides `localhost` and addresses. Default: none, as any site can
    /// have its name lead to this machine's loopback (DNS rebinding).
    pub rpc_host: Vec<String>,
    /// Networks of the web application, which alone may call the JSON-RPC API; empty allows nobody. Default: this machine's
    /// loopback, IPv4 and IPv6, since whoever calls the API reads and writes everything (WIRE J12).
    pub rpc_allow: Vec<IpNet>,
    /// Networks of the proxies whose word about the peer behind them is believed; empty believes nobody. Default: loopback,
    /// where nginx usually runs; without it each page behind that nginx would look like the web application.
    pub trusted_proxy: Vec<IpNet>,

    /// Whether `/demo` is served, where anybody gets a client and may speak in one channel. Default: no.
    pub demo: bool,

    /// Origins whose pages may read answers; empty: all. Default: all, as the original (WIRE P1), since a page is given away
    /// nothing but by its key.
    pub allow_origin: Vec<String>,

    /// A parked poll without news is answered empty after this time. Default 25 s (WIRE P7): well below the 60 s for which
    /// nginx waits for an answer (`proxy_read_timeout`).
    pub poll_timeout: Ms,
    /// A client that has not polled for this time is collected. Default 10 s (WIRE L1): a page polls again at
    /// once, or a second after an error.
    pub max_idle: Ms,
    /// A new client is not collected before this age. Default 60 s (WIRE L1): the page is still loading when the web
    /// application has made its client.
    pub min_alive: Ms,
    /// How often idle clients are looked for. Default 10 s (WIRE L2).
    pub sweep_interval: Ms,
    /// A channel without subscribers is freed when it was not used for this time. Default 10 min: longer than a page reload
    /// or a short outage, short enough that channel names made per user or per day do not pile up (WIRE C5).
    pub channel_idle: Ms,

    /// What channels keep for those who are behind, by the beginning of their names. Default: 100 messages, 1 MiB, 10
    /// minutes, which covers a page reload, a tunnel and a short outage; 100 system messages beside them, so that a crowd
    /// that comes and goes does not push out what was said; joins and leaves are published.
    pub policies: Policies,
    /// Bytes of messages that all channels keep together. Default 256 MiB: the channels that were not used for longest give
    /// up theirs first.
    pub history_total: usize,
    /// Bytes that the whole process may use. Near it channels give up their history, at it nothing new comes in. Default: three
    /// quarters of what the machine or the control group has; the rest is for the kernel's buffers and the allocator's gaps.
    pub memory_max: Option<usize>,
    /// Connections in all. Default 1,000,000: some 500 MB; the limit of descriptors is mostly lower, and does the same.
    pub max_connections: usize,
    /// Connections from one address, or one IPv6 network of 64 bits, that is no trusted proxy. Default 1,000: a school behind one
    /// address, and not the process's descriptors.
    pub max_connections_per_address: u32,
    /// New ones of these within a second. Default 200: that school when a lesson begins.
    pub max_new_per_address: u32,
    /// Clients, those that may come back included. Default 1,000,000: some 500 MB.
    pub max_clients: usize,
    /// Channels. Default 1,000,000.
    pub max_channels: usize,
    /// Subscriptions of one client. Default 1,000: each poll looks at all of them, and when the client comes or goes it takes
    /// some 300 us in which nobody else is served. The original had no such limit.
    pub max_subscriptions: usize,
    /// Polls that one client may have parked at a time. Default 16: as many tabs of one page.
    pub max_polls: usize,
    /// Polls of one client within a second of which nothing new comes: it asks for what it has had, or breaks off. Default 100:
    /// no page that works does so more than now and then, and one in a hot loop takes a hundredth of the loop's time.
    pub max_poll_rate: u32,
    /// Bytes of a client's id or a channel's name. Default 64 KiB: WIRE H6 has seen ids of 60 KB; 256 is plenty for new
    /// applications.
    pub max_name: usize,
    /// Collected clients that are remembered, so that they can come back; the least recently collected go first.
    /// Default 100,000 (WIRE L3).
    pub departed_max: usize,
    /// A collected client is forgotten after this time. Default 1 day: a laptop that slept over night finds its
    /// subscriptions; the original had no such limit.
    pub departed_age: Ms,
    /// Bytes of a request line and its headers. Default 128 KiB: WIRE H6 wants room for a request line of 64 KB.
    pub max_head: usize,
    /// Bytes of a request body. Default 4 MiB: WIRE H6 has seen messages of 3 MB. Large calls are done in slices, but a single
    /// message is published and written in one go: each MiB of it takes the loop more than 1 ms, each time.
    pub max_body: usize,
    /// Bytes of one poll answer; what is left waits for the next poll. At least one message is always in it, however large.
    /// Default 256 KiB: it is written in one go, in some 200 us, and the page asks for the rest at once.
    pub max_answer: usize,

    /// From a request's first byte to the end of its headers. Default 10 s: ample on a bad line, and the end of a
    /// peer that sends a byte now and then.
    pub head_timeout: Ms,
    /// From the end of the headers to the end of the body. Default 30 s: 4 MiB at a little more than 1 Mbit/s.
    pub body_timeout: Ms,
    /// A connection without a request is closed after this time. Default 75 s: longer than the 60 s for which nginx keeps
    /// its connections to us, so that nginx closes first and never sends a request into a closing one.
    pub idle_timeout: Ms,
    /// A peer that takes nothing of its answer for this time is closed. Default 30 s: past it the line is dead, and
    /// the answer's memory is better used for others.
    pub write_timeout: Ms,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: vec![Address::Everywhere(DEFAULT_PORT)],
            rpc_listen: Vec::new(),
            rpc_socket_mode: 0o660,
            rpc_token_file: None,
            rpc_host: Vec::new(),
            rpc_allow: loopback(),
            trusted_proxy: loopback(),
            demo: false,
            allow_origin: Vec::new(),
            poll_timeout: Ms::from_secs(25),
            max_idle: Ms::from_secs(10),
            min_alive: Ms::from_secs(60),
            sweep_interval: Ms::from_secs(10),
            channel_idle: Ms::from_secs(10 * 60),
            policies: Policies::uniform(default_policy()),
            history_total: 256 * KIB * KIB,
            memory_max: None,
            max_connections: 1_000_000,
            max_connections_per_address: 1_000,
            max_new_per_address: 200,
            max_clients: 1_000_000,
            max_channels: 1_000_000,
            max_subscriptions: 1_000,
            max_polls: 16,
            max_poll_rate: 100,
            max_name: 64 * KIB,
            departed_max: 100_000,
            departed_age: Ms::from_secs(24 * 60 * 60),
            max_head: 128 * KIB,
            max_body: 4 * KIB * KIB,
            max_answer: 256 * KIB,
            head_timeout: Ms::from_secs(10),
            body_timeout: Ms::from_secs(30),
            idle_timeout: Ms::from_secs(75),
            write_timeout: Ms::from_secs(30),
        }
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

/// What a channel keeps unless the operator says otherwise.
fn default_policy() -> Policy {
    Policy {
        history: 100,
        history_system: SystemShare::Own(100),
        history_bytes: KIB * KIB,
        history_age: Ms::from_secs(10 * 60),
        presence: true,
    }
}

/// The original's port (WIRE H1).
const DEFAULT_PORT: u16 = 8082;
const KIB: usize = 1024;

fn loopback() -> Vec<IpNet> {
    vec![IpAddr::from(Ipv4Addr::LOCALHOST).into(), IpAddr::from(Ipv6Addr::LOCALHOST).into()]
}

/// Somewhere to listen. Port 0 means any free port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// This port on all interfaces, IPv4 and IPv6: `8082` or `*:8082`.
    Everywhere(u16),
    /// One TCP address: `127.0.0.1:8082` or `[::1]:8082`.
    Tcp(SocketAddr),
    /// A Unix socket at this path: `unix:/run/shaveet.sock`.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = AddressError;

    /// # Errors
    ///
    /// What is wrong and what to write in its place. Names such as `localhost` are not looked up: they can mean several
    /// addresses, and a server that starts before its resolver would listen on none.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err(AddressError::NoPath),
                path => Ok(Address::Unix(path.into())),
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Address::Tcp(address));
        }
        let port = text.strip_prefix("*:").unwrap_or(text);
        if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
            return port.parse().map(Address::Everywhere).map_err(|_| AddressError::PortRange);
        }
        Err(AddressError::of(text))
    }
}

impl fmt::Display for Address {
    /// As it was written; [`FromStr`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Everywhere(port) => write!(f, "*:{port}"),
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a text is no [`Address`]. Its `Display` says what to write in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// `unix:` and nothing behind it.
    NoPath,
    /// The port is more than 65535.
    PortRange,
    /// An address without a port.
    NoPort(IpAddr),
    /// An IPv6 address and a port without brackets between them.
    NoBrackets,
    /// A path without `unix:` before it.
    BarePath,
    /// A host name in place of an address.
    Name,
    /// Anything else.
    Unknown,
}

impl AddressError {
    /// Finds the nearest thing that `text`, which is no address, was meant to be.
    fn of(text: &str) -> Self {
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return AddressError::NoPort(address);
        }
        if text.starts_with(['/', '.']) {
            return AddressError::BarePath;
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
                    match port.parse::<u16>() {
                        Ok(_) => AddressError::NoBrackets,
                        Err(_) => AddressError::PortRange,
                    }
                } else if is_name(host) {
                    AddressError::Name
                } else {
                    AddressError::Unknown
                }
            }
            None if is_name(text) => AddressError::Name,
            _ => AddressError::Unknown,
        }
    }
}

fn is_name(host: &str) -> bool {
    let letters = host.bytes().any(|byte| byte.is_ascii_alphabetic());
    letters && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::NoPath => write!(f, "the path is missing, as in unix:/run/shaveet.sock"),
            AddressError::PortRange => write!(f, "a port is a number from 0 to 65535, 0 being any free port"),
            AddressError::NoPort(address) => {
                write!(f, "the port is missing, as in {}", SocketAddr::new(*address, DEFAULT_PORT))
            }
            AddressError::NoBrackets => {
                write!(f, "an IPv6 address stands in brackets, as in [::1]:8082")
            }
            AddressError::BarePath => write!(f, "a path needs unix: before it, as in unix:/run/shaveet.sock"),
            AddressError::Name => {
                write!(
                    f,
                    "names are not looked up, give an address: 127.0.0.1:8082, [::1]:8082, or 8082 for all interfaces"
                )
            }
            AddressError::Unknown => {
                write!(
                    f,
                    "not an address; allowed are 127.0.0.1:8082, [::1]:8082, 8082 (all interfaces) and unix:/path"
                )
            }
        }
    }
}

impl std::error::Error for AddressError {}

/// Reads a network, `10.0.0.0/8`, or a single address, `127.0.0.1`. Bits behind the prefix are cleared, and IPv4 in the
/// clothes of IPv6 (`::ffff:10.0.0.0/104`) becomes plain IPv4, as peers seen through a dual-stack socket do (WIRE J12).
///
/// # Errors
///
/// The text is neither.
pub fn network(text: &str) -> Result<IpNet, ipnet::AddrParseError> {
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse()?,
    };
    Ok(unmapped(net).trunc())
}

fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let Some(prefix) = v6.prefix_len().checked_sub(MAPPED_PREFIX) else {
        return net;
    };
    match v6.addr().to_ipv4_mapped() {
        Some(address) => Ipv4Net::new_assert(address, prefix).into(),
        None => net,
    }
}

/// Bits of `::ffff:0:0/96`, in which IPv4 addresses are mapped (RFC 4291, 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// Every address there is, IPv4 and IPv6.
#[must_use]
pub fn any_network() -> Vec<IpNet> {
    vec![Ipv4Net::default().into(), Ipv6Net::default().into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, address) in [
            ("8082", Address::Everywhere(8082)),
            ("*:0", Address::Everywhere(0)),
            ("127.0.0.1:8082", Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 8082)))),
            ("[::1]:0", Address::Tcp((Ipv6Addr::LOCALHOST, 0).into())),
            ("[::]:65535", Address::Tcp((Ipv6Addr::UNSPECIFIED, 65535).into())),
            ("unix:/run/a b:80.sock", Address::Unix("/run/a b:80.sock".into())),
            ("unix:relative", Address::Unix("relative".into())),
        ] {
            assert_eq!(text.parse(), Ok(address.clone()), "{text}");
            assert_eq!(address.to_string().parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_what_to_write() {
        for (text, error) in [
            ("unix:", AddressError::NoPath),
            ("65536", AddressError::PortRange),
            ("*:99999999999999999999", AddressError::PortRange),
            ("127.0.0.1:70000", AddressError::PortRange),
            ("[::1]:70000", AddressError::PortRange),
            ("127.0.0.1", AddressError::NoPort([127, 0, 0, 1].into())),
            ("::1", AddressError::NoPort(Ipv6Addr::LOCALHOST.into())),
            ("[::1]", AddressError::NoPort(Ipv6Addr::LOCALHOST.into())),
            ("fe80::1:2:3:4:5:6:8082", AddressError::NoBrackets),
            ("/run/shaveet.sock", AddressError::BarePath),
            ("./shaveet.sock", AddressError::BarePath),
            ("localhost:8082", AddressError::Name),
            ("localhost", AddressError::Name),
            ("push.example.org:80", AddressError::Name),
            ("", AddressError::Unknown),
            (":8082", AddressError::Unknown),
            ("*:", AddressError::Unknown),
            ("127.0.0.1:", AddressError::Unknown),
            ("127.0.0.1:+80", AddressError::Unknown),
            ("http://127.0.0.1:8082", AddressError::Unknown),
            ("256.0.0.1:80", AddressError::Unknown),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
        assert!("::1".parse::<Address>().unwrap_err().to_string().ends_with("[::1]:8082"));
    }

    #[test]
    fn networks_are_canonical() {
        for (text, net) in [
            ("127.0.0.1", "127.0.0.1/32"),
            ("::1", "::1/128"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:127.0.0.1", "127.0.0.1/32"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), net, "{text}");
        }
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0/8", "127.0.0.1:80", "::/129"] {
            assert!(network(text).is_err(), "{text}");
        }
    }
}
