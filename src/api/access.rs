//! Who may call the JSON-RPC API (WIRE J12).
//!
//! The web application calls from an allowed address. Behind a proxy on the same machine every visitor seems to come
//! from there, so the proxy's address proves nothing: whoever comes through a proxy is judged by what the proxy says
//! of it, and by every header that says something. In doubt the answer is no.
//!
//! A browser on an allowed machine runs scripts of any site, and a site can name itself after that machine (DNS rebinding),
//! so what a browser says of where a request comes from is reason enough to refuse it: web applications say no such thing.

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
    /// A browser sends it for a page; the header says so.
    Browser(&'static str),
}

/// How many kinds of refusals there are.
pub(super) const KINDS: usize = 5;

impl Refusal {
    /// A number for its kind.
    pub(super) fn kind(&self) -> usize {
        match self {
            Refusal::NotAllowed(_) => 0,
            Refusal::ForwardedNotAllowed(_) => 1,
            Refusal::UntrustedProxy(_) => 2,
            Refusal::Unreadable(_) => 3,
            Refusal::Browser(_) => 4,
        }
    }
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
        check_browser(request)?;
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

/// Fetch metadata (W3C) and the Origin header (Fetch section 3.2): only browsers send them, and `none` is a person.
fn check_browser(request: &Request<'_>) -> Result<(), Refusal> {
    if request.header("origin").is_some() {
        return Err(Refusal::Browser("Origin"));
    }
    match request.header("sec-fetch-site") {
        None | Some(b"none") => Ok(()),
        Some(_) => Err(Refusal::Browser("Sec-Fetch-Site")),
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
            Refusal::Browser(header) => {
                write!(f, "sent by a browser, as {header} says; only web applications may call")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Decoder, Limits, Step};

    /// Whether a request from `from` with these headers is let in. The web application is at 127.0.0.1 and in 10.1.0.0/16,
    /// proxies at 127.0.0.1 and 192.0.2.1.
    fn judge(from: Option<&str>, headers: &str) -> Result<(), Refusal> {
        let networks = |list: &[&str]| list.iter().map(|network| network.parse().unwrap()).collect();
        let access = Access::new(
            networks(&["127.0.0.1/32", "::1/128", "10.1.0.0/16"]),
            networks(&["127.0.0.1/32", "::1/128", "192.0.2.1/32"]),
        );
        let input = format!("POST / HTTP/1.1\r\n{headers}\r\n");
        let limits = Limits { head_bytes: 10_000, body_bytes: 0 };
        match Decoder::new().next(&limits, input.as_bytes()).unwrap() {
            Step::Request { request, .. } => access.check(from.map(|from| from.parse().unwrap()), &request),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_proxy_the_own_address_counts() {
        for good in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.255.3"] {
            assert_eq!(judge(Some(good), ""), Ok(()), "{good}");
        }
        for bad in ["127.0.0.2", "10.2.0.1", "::2", "192.0.2.1"] {
            assert_eq!(judge(Some(bad), ""), Err(Refusal::NotAllowed(bad.parse().unwrap())), "{bad}");
        }
        assert_eq!(judge(None, ""), Ok(()));
    }

    #[test]
    fn behind_a_proxy_the_right_most_stranger_counts() {
        let allowed = [
            "X-Forwarded-For: 10.1.0.1\r\n",
            "X-Forwarded-For: 127.0.0.1\r\n",
            "X-Forwarded-For: 203.0.113.7, 10.1.0.1, 192.0.2.1, 127.0.0.1\r\n",
            "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 10.1.0.1\r\n",
            "X-Real-IP: 10.1.0.1\r\nX-Forwarded-For: 10.1.0.2\r\n",
            "Forwarded: for=203.0.113.7;proto=http, For=\"10.1.0.1:4711\";by=x\r\n",
            "Forwarded: for=\"[::1]:80\"\r\n",
            "X-Forwarded-For: ::ffff:10.1.0.1\r\n",
        ];
        for headers in allowed {
            assert_eq!(judge(Some("127.0.0.1"), headers), Ok(()), "{headers}");
            assert_eq!(judge(Some("192.0.2.1"), headers), Ok(()), "{headers}");
            assert_eq!(judge(None, headers), Ok(()), "{headers}");
        }
        let refused = [
            "X-Forwarded-For: 203.0.113.7\r\n",
            "X-Forwarded-For: 127.0.0.1, 203.0.113.7\r\n",
            "X-Forwarded-For: 10.1.0.1\r\nX-Forwarded-For: 203.0.113.7, 127.0.0.1\r\n",
            "X-Forwarded-For: 10.1.0.1\r\nX-Real-IP: 203.0.113.7\r\n",
            "X-Real-IP: 10.1.0.1\r\nForwarded: for=\"[2001:db8::1]:4711\"\r\n",
            "Forwarded: for=203.0.113.7\r\n",
        ];
        for headers in refused {
            for from in [Some("127.0.0.1"), Some("192.0.2.1"), None] {
                assert!(matches!(judge(from, headers), Err(Refusal::ForwardedNotAllowed(_))), "{headers}");
            }
        }
    }

    #[test]
    fn browsers_are_refused_wherever_they_are() {
        for header in
            ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "sec-fetch-site: same-origin"]
        {
            for from in [Some("127.0.0.1"), None] {
                assert!(matches!(judge(from, &format!("{header}\r\n")), Err(Refusal::Browser(_))), "{header}");
            }
        }
        assert_eq!(judge(Some("127.0.0.1"), "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: cors\r\n"), Ok(()));
    }

    #[test]
    fn in_doubt_the_answer_is_no() {
        let unreadable = [
            "X-Forwarded-For: unknown\r\n",
            "X-Forwarded-For: 10.1.0.1, _hidden\r\n",
            "X-Forwarded-For: garbage, 10.1.0.1\r\n",
            "X-Forwarded-For:\r\n",
            "X-Forwarded-For: 10.1.0.1,\r\n",
            "X-Real-IP: localhost\r\n",
            "Forwarded: by=10.1.0.1\r\n",
            "Forwarded: for=10.1.0.1;for=203.0.113.7\r\n",
            "Forwarded: for=\"10.1.0.1\r\n",
            "Forwarded: for=\"_gazonk\"\r\n",
            "X-Forwarded-For: 10.1.0.\u{661}\r\n",
        ];
        for headers in unreadable {
            assert!(matches!(judge(Some("127.0.0.1"), headers), Err(Refusal::Unreadable(_))), "{headers}");
        }
        // Allowed itself, but not known as a proxy: whom it speaks for is in doubt.
        let spoken_for = judge(Some("10.1.0.1"), "X-Forwarded-For: 10.1.0.2\r\n");
        assert_eq!(spoken_for, Err(Refusal::UntrustedProxy("10.1.0.1".parse().unwrap())));
        // WIRE J12: a stranger cannot talk itself in.
        let stranger = judge(Some("127.0.0.2"), "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n");
        assert_eq!(stranger, Err(Refusal::NotAllowed("127.0.0.2".parse().unwrap())));
    }
}
