//! Who may call the JSON-RPC API (WIRE J12).
//!
//! The web application calls from an allowed address. Behind a proxy on the same machine every visitor seems to come
//! from there, so the proxy's address proves nothing: whoever comes through a proxy is judged by what the proxy says
//! of it, and by every header that says something. In doubt the answer is no.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::http::Request;

/// The two lists that decide.
#[derive(Debug)]
pub struct Access {
    allow: Vec<IpNet>,
    trusted_proxy: Vec<IpNet>,
}

/// Why a caller is refused; says which knob would let it in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The caller's own address is not in the list.
    NotAllowed(IpAddr),
    /// A trusted proxy says that the caller has this address, which is not in the list.
    ForwardedNotAllowed(IpAddr),
    /// The request has been forwarded by somebody who is not known to tell the truth.
    UntrustedProxy(IpAddr),
    /// A forwarding header does not say plainly who it is.
    Unreadable(&'static str),
}

impl Access {
    /// `allow` are the networks that may call, `trusted_proxy` those whose forwarding headers are believed. A Unix
    /// socket's callers count as both: its file's mode says who may connect.
    #[must_use]
    pub fn new(allow: Vec<IpNet>, trusted_proxy: Vec<IpNet>) -> Access {
        Access { allow, trusted_proxy }
    }

    /// Decides about one request from `address` (`None`: a Unix socket).
    ///
    /// # Errors
    /// [`Refusal`] says why not.
    pub fn check(&self, address: Option<IpAddr>, request: &Request<'_>) -> Result<(), Refusal> {
        let address = address.map(|address| address.to_canonical());
        let mut forwarded = false;
        for (header, read) in FORWARDING {
            let mut chain = Vec::new();
            for line in request.header_values(header) {
                forwarded = true;
                read(line, &mut chain).ok_or(Refusal::Unreadable(header))?;
            }
            self.check_chain(&chain)?;
        }
        match address {
            None => Ok(()),
            Some(address) if forwarded && contains(&self.trusted_proxy, address) => Ok(()),
            Some(address) if !contains(&self.allow, address) => Err(Refusal::NotAllowed(address)),
            Some(address) if forwarded => Err(Refusal::UntrustedProxy(address)),
            Some(_) => Ok(()),
        }
    }

    /// Each proxy adds at the right whom it has seen, so the right-most one that is not itself a trusted proxy is the
    /// caller; what stands left of it anybody could have written.
    fn check_chain(&self, chain: &[IpAddr]) -> Result<(), Refusal> {
        let caller = chain.iter().rev().find(|&&address| !contains(&self.trusted_proxy, address)).or(chain.first());
        match caller {
            Some(&caller) if !contains(&self.allow, caller) => Err(Refusal::ForwardedNotAllowed(caller)),
            _ => Ok(()),
        }
    }
}

type ReadLine = fn(&[u8], &mut Vec<IpAddr>) -> Option<()>;

/// The headers by which proxies name their visitor, and how a line of each is read. `None` is in doubt.
const FORWARDING: [(&str, ReadLine); 3] =
    [("x-forwarded-for", read_list), ("x-real-ip", read_list), ("forwarded", read_forwarded)];

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// `203.0.113.7, 2001:db8::1`.
fn read_list(line: &[u8], chain: &mut Vec<IpAddr>) -> Option<()> {
    for node in std::str::from_utf8(line).ok()?.split(',') {
        chain.push(address(node.trim())?);
    }
    Some(())
}

/// `for=203.0.113.7;proto=https, for="[2001:db8::1]:4711"` (RFC 7239 section 4). No value that matters to us has a comma
/// or a semicolon in it, so a quoted one that does is in doubt.
fn read_forwarded(line: &[u8], chain: &mut Vec<IpAddr>) -> Option<()> {
    for element in std::str::from_utf8(line).ok()?.split(',') {
        let mut nodes = element.split(';').filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
        });
        let (node, None) = (nodes.next()?, nodes.next()) else { return None };
        let unquoted = node.strip_prefix('"').and_then(|node| node.strip_suffix('"'));
        chain.push(address(unquoted.unwrap_or(node))?);
    }
    Some(())
}

/// An address, perhaps with a port, IPv6 perhaps in brackets.
fn address(node: &str) -> Option<IpAddr> {
    let bracketed = node.strip_prefix('[').and_then(|node| node.strip_suffix(']'));
    let plain = bracketed.unwrap_or(node).parse::<IpAddr>().ok();
    plain.or_else(|| node.parse::<SocketAddr>().ok().map(|socket| socket.ip())).map(|address| address.to_canonical())
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotAllowed(address) => write!(f, "{address} is not in --rpc-allow"),
            Refusal::ForwardedNotAllowed(address) => write!(f, "forwarded for {address}, which is not in --rpc-allow"),
            Refusal::UntrustedProxy(address) => write!(f, "forwarded by {address}, which is not in --trusted-proxy"),
            Refusal::Unreadable(header) => write!(f, "the header {header} does not name an address"),
        }
    }
}
