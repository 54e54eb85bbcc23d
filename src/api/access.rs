//! Who may call the JSON-RPC API (WIRE J12).
//!
//! The web application calls from an allowed address. Behind a proxy on the same machine every visitor seems to come
//! from there, so the proxy's address proves nothing: whoever comes through a proxy is judged by what the proxy says
//! of it, and by every header that says something. In doubt the answer is no.
//!
//! A browser on an allowed machine runs scripts of any site, and a site can name itself after that machine (DNS rebinding),
//! so what a browser says of where a request comes from is reason enough to refuse it: web applications say no such thing.
//! An old browser may say nothing; then the name gives it away that it has been told for our address.
//!
//! Whoever wants more has a listener for the API alone, and a token that every call has to bring.
//!
//! The dashboard is for the same callers, but by a browser: of what browsers say it has to say that the request comes from
//! a page of this very server, under a name that is known to be its own, wherever the browser is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::http::{Method, Request};

use super::Visit;
use super::cors::is_own;
use super::quote::Quoted;
use super::secret::Secret;

/// The lists that decide, and the token.
#[derive(Debug)]
pub struct Access {
    allow: Vec<IpNet>,
    trusted_proxy: Vec<IpNet>,
    /// Names by which callers on this machine may know it, besides `localhost`, in any case.
    hosts: Vec<String>,
    token: Option<Secret>,
}

/// By which listener a connection has come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entrance {
    /// For pages and for the web application.
    #[default]
    Shared,
    /// For pages alone, as the web application has a listener of its own.
    Pages,
    /// For the web application alone.
    Rpc,
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
    /// A browser sends it to the dashboard for a page of another site; the header says so.
    Foreign(&'static str),
    /// It was sent to a name of this machine that is not known: the Host header's beginning.
    UnknownHost(String),
    /// The API has a listener of its own.
    OtherListener,
    /// It brings no token.
    NoToken,
    /// It brings another token.
    WrongToken,
}

/// How many kinds of refusals there are.
pub(super) const KINDS: usize = KIND_NAMES.len();

/// What they are called where they are counted.
pub(super) const KIND_NAMES: [&str; 10] =
    ["address", "forwarded", "proxy", "header", "browser", "host", "listener", "no_token", "wrong_token", "site"];

impl Refusal {
    /// A number for its kind.
    pub(super) fn kind(&self) -> usize {
        match self {
            Refusal::NotAllowed(_) => 0,
            Refusal::ForwardedNotAllowed(_) => 1,
            Refusal::UntrustedProxy(_) => 2,
            Refusal::Unreadable(_) => 3,
            Refusal::Browser(_) => 4,
            Refusal::UnknownHost(_) => 5,
            Refusal::OtherListener => 6,
            Refusal::NoToken => 7,
            Refusal::WrongToken => 8,
            Refusal::Foreign(_) => 9,
        }
    }
}

impl Access {
    /// As the configuration has it, and without a token. A Unix socket's callers count as allowed and as trusted proxies:
    /// its file's mode says who may connect.
    #[must_use]
    pub fn new(config: &Config) -> Access {
        Access {
            allow: config.rpc_allow.clone(),
            trusted_proxy: config.trusted_proxy.clone(),
            hosts: config.rpc_host.clone(),
            token: None,
        }
    }

    /// From now on every call has to bring this token.
    pub fn require(&mut self, token: Secret) {
        self.token = Some(token);
    }

    /// Whether it is this one that they have to bring.
    #[must_use]
    pub fn requires(&self, token: &Secret) -> bool {
        self.token.as_ref().is_some_and(|required| required.is_same(token))
    }

    /// Decides about one request.
    ///
    /// # Errors
    /// [`Refusal`] says why not.
    pub fn check(&self, visit: &Visit<'_>, request: &Request<'_>) -> Result<(), Refusal> {
        if visit.entrance == Entrance::Pages {
            return Err(Refusal::OtherListener);
        }
        let address = visit.address.map(|address| address.to_canonical());
        check_browser(request)?;
        if address.is_some_and(|address| address.is_loopback()) {
            self.check_host(request)?;
        }
        self.check_address(address, request)?;
        self.check_token(request)
    }

    /// Decides about a request to the dashboard, but for the token: the page itself has none yet, and what it listens by proves
    /// itself by a key that was given to who had the token.
    ///
    /// # Errors
    /// [`Refusal`] says why not.
    pub(super) fn check_visitor(&self, visit: &Visit<'_>, request: &Request<'_>) -> Result<(), Refusal> {
        if visit.entrance == Entrance::Pages {
            return Err(Refusal::OtherListener);
        }
        check_origin(request)?;
        // Also where it does not come from this machine: the name of a site that names itself after ours is its page's too.
        self.check_host(request)?;
        self.check_address(visit.address.map(|address| address.to_canonical()), request)
    }

    fn check_address(&self, address: Option<IpAddr>, request: &Request<'_>) -> Result<(), Refusal> {
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

    /// A name that leads to this machine may be anybody's, an address and `localhost` nobody's but ours. None is fine:
    /// every browser sends one.
    fn check_host(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let Some(host) = request.header("host") else { return Ok(()) };
        let is_known = std::str::from_utf8(host).is_ok_and(|host| {
            let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
            let is_name = |known: &str| known.eq_ignore_ascii_case(name);
            is_name("localhost") || self.hosts.iter().any(|known| is_name(known)) || address(host).is_some()
        });
        if is_known { Ok(()) } else { Err(Refusal::UnknownHost(Quoted(host).to_string())) }
    }

    /// `Authorization: Bearer TOKEN` (RFC 6750 section 2.1).
    pub(super) fn check_token(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        let mut lines = request.header_values("authorization");
        let brought = lines.next().ok_or(Refusal::NoToken)?;
        let (scheme, brought) = brought.split_at_checked(BEARER.len()).ok_or(Refusal::NoToken)?;
        if !scheme.eq_ignore_ascii_case(BEARER) || lines.next().is_some() {
            return Err(Refusal::NoToken);
        }
        if token.is(brought.trim_ascii()) { Ok(()) } else { Err(Refusal::WrongToken) }
    }
}

const BEARER: &[u8] = b"bearer ";

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

/// Only a page of this server, or a person: an Origin is that of the address to which the request goes. What a person asks for,
/// by a link on another site perhaps, is the page alone.
fn check_origin(request: &Request<'_>) -> Result<(), Refusal> {
    if !request.header_values("origin").all(|origin| is_own(origin, request)) {
        return Err(Refusal::Foreign("Origin"));
    }
    let is_visit = request.method == Method::Get && request.header("sec-fetch-dest") == Some(b"document");
    match request.header("sec-fetch-site") {
        None | Some(b"none" | b"same-origin") => Ok(()),
        Some(_) if is_visit => Ok(()),
        Some(_) => Err(Refusal::Foreign("Sec-Fetch-Site")),
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
    let plain = || bracketed.unwrap_or(node).parse::<IpAddr>().ok();
    let with_port = || node.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    // No IPv4 address has a colon, and no IPv6 address is without.
    let found = if node.contains(':') { with_port().or_else(plain) } else { plain() };
    found.map(|address| address.to_canonical())
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotAllowed(address) => write!(f, "{address} is not in --rpc-allow"),
            Refusal::ForwardedNotAllowed(address) => write!(f, "forwarded for {address}, which is not in --rpc-allow"),
            Refusal::UntrustedProxy(address) => write!(f, "forwarded by {address}, which is not in --trusted-proxy"),
            Refusal::Unreadable(header) => {
                write!(f, "the header {header} does not name an address, as a proxy of --trusted-proxy has to")
            }
            Refusal::Browser(header) => {
                write!(
                    f,
                    "sent by a browser, as {header} says; only web applications may call, and no option lets a browser"
                )
            }
            Refusal::Foreign(header) => {
                write!(
                    f,
                    "sent to the dashboard by a page of another site, as {header} says; a proxy in front has to pass on the Host \
                     that the browser names, which --rpc-host lists"
                )
            }
            Refusal::UnknownHost(host) => {
                write!(f, "sent to the name {host}, which is neither localhost nor an address nor in --rpc-host")
            }
            Refusal::OtherListener => {
                write!(f, "sent to a listener for pages; --rpc-listen says where the API is called")
            }
            Refusal::NoToken => {
                write!(f, "without `Authorization: Bearer`; what it must have is in the file of --rpc-token-file")
            }
            Refusal::WrongToken => write!(f, "its token is not the one in the file of --rpc-token-file"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Ms;
    use crate::http::{Decoder, Limits, Step};
    use crate::hub::Owner;

    /// The web application is at 127.0.0.1 and in 10.1.0.0/16, proxies at 127.0.0.1 and 192.0.2.1.
    fn access() -> Access {
        let networks = |list: &[&str]| list.iter().map(|network| network.parse().unwrap()).collect();
        Access::new(&Config {
            rpc_allow: networks(&["127.0.0.1/32", "::1/128", "10.1.0.0/16"]),
            trusted_proxy: networks(&["127.0.0.1/32", "::1/128", "192.0.2.1/32"]),
            rpc_host: vec!["Push.internal".to_owned()],
            ..Config::default()
        })
    }

    /// What is said of a request from `from` that begins so.
    fn asked(
        entrance: Entrance,
        from: Option<&str>,
        head: &str,
        check: impl FnOnce(&Visit<'_>, &Request<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let address = from.map(|from| from.parse().unwrap());
        let visit = Visit { now: Ms::ZERO, date: "", owner: Owner(1), address, entrance };
        let input = format!("{head}\r\n");
        let limits = Limits { head_bytes: 10_000, body_bytes: 0 };
        match Decoder::new().next(&limits, input.as_bytes()).unwrap() {
            Step::Request { request, .. } => check(&visit, &request),
            other => panic!("{other:?}"),
        }
    }

    /// Whether a call from `from` with these headers is let in.
    fn judge(from: Option<&str>, headers: &str) -> Result<(), Refusal> {
        judge_at(Entrance::Shared, None, from, headers)
    }

    /// The same for a listener, and where a token is wanted.
    fn judge_at(entrance: Entrance, token: Option<&str>, from: Option<&str>, headers: &str) -> Result<(), Refusal> {
        let mut access = access();
        if let Some(token) = token {
            access.require(Secret::parse(token).unwrap());
        }
        asked(entrance, from, &format!("POST / HTTP/1.1\r\n{headers}"), |visit, request| access.check(visit, request))
    }

    /// Whether who asks the dashboard for this, with these headers, is let in.
    fn visit(entrance: Entrance, from: Option<&str>, method: &str, headers: &str) -> Result<(), Refusal> {
        let head = format!("{method} /dashboard HTTP/1.1\r\n{headers}");
        asked(entrance, from, &head, |visit, request| access().check_visitor(visit, request))
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
    fn on_this_machine_the_host_is_an_address_or_a_known_name() {
        let known = [
            "",
            "Host: localhost\r\n",
            "Host: LocalHost:8082\r\n",
            "Host: 127.0.0.1\r\n",
            "host: 192.0.2.7:80\r\n",
            "Host: [::1]:8082\r\n",
            "Host: [::1]\r\n",
            "Host: push.internal:8082\r\n",
            "Host: PUSH.INTERNAL\r\n",
        ];
        for headers in known {
            assert_eq!(judge(Some("127.0.0.1"), headers), Ok(()), "{headers}");
        }
        let unknown = [
            "Host: evil.example\r\n",
            "Host: evil.example:8082\r\n",
            "Host: localhost.evil.example\r\n",
            "Host:\r\n",
            "Host: 127.0.0.1.evil.example\r\n",
            "Host: xlocalhost\r\n",
            "Host: localhost:80:80\r\n",
            "Host: é\r\n",
            "Host: push.internal.\r\n",
            "Host: :8082\r\n",
        ];
        for headers in unknown {
            for from in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.0.0.2"] {
                assert!(matches!(judge(Some(from), headers), Err(Refusal::UnknownHost(_))), "{headers}");
            }
            // Of another machine, or by a Unix socket, it can be any name.
            assert_eq!((judge(Some("10.1.0.1"), headers), judge(None, headers)), (Ok(()), Ok(())), "{headers}");
        }
    }

    #[test]
    fn a_listener_for_pages_serves_no_call_whoever_comes() {
        for from in [Some("127.0.0.1"), None] {
            assert_eq!(judge_at(Entrance::Pages, None, from, ""), Err(Refusal::OtherListener));
            assert_eq!(judge_at(Entrance::Rpc, None, from, ""), Ok(()));
        }
        // The listener of its own opens it to nobody else.
        assert!(matches!(judge_at(Entrance::Rpc, None, Some("192.0.2.9"), ""), Err(Refusal::NotAllowed(_))));
        assert!(matches!(judge_at(Entrance::Rpc, None, None, "Origin: null\r\n"), Err(Refusal::Browser(_))));
    }

    #[test]
    fn where_a_token_is_wanted_only_that_one_will_do() {
        let ask = |from, headers: &str| judge_at(Entrance::Shared, Some("0123456789abcdef"), from, headers);
        for good in ["Authorization: Bearer 0123456789abcdef\r\n", "authorization:bearer   0123456789abcdef \r\n"] {
            assert_eq!((ask(Some("127.0.0.1"), good), ask(None, good)), (Ok(()), Ok(())), "{good}");
            assert!(matches!(ask(Some("192.0.2.9"), good), Err(Refusal::NotAllowed(_))), "it is no ticket for others");
            let twice = format!("{good}Authorization: Basic x\r\n");
            assert_eq!(ask(None, &twice), Err(Refusal::NoToken));
        }
        for none in ["", "Authorization: 0123456789abcdef\r\n", "Authorization: Basic 0123456789abcdef\r\n", "X: y\r\n"]
        {
            assert_eq!(ask(Some("127.0.0.1"), none), Err(Refusal::NoToken), "{none}");
        }
        for wrong in
            ["0123456789abcdeg", "0123456789abcde", "0123456789abcdef0", "1123456789abcdef", "\"0123456789abcdef\""]
        {
            let header = format!("Authorization: Bearer {wrong}\r\n");
            assert_eq!(ask(Some("127.0.0.1"), &header), Err(Refusal::WrongToken), "{wrong}");
        }
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

    #[test]
    fn the_dashboard_is_for_who_may_call_under_a_known_name() {
        for from in [Some("127.0.0.1"), Some("10.1.0.1"), None] {
            for entrance in [Entrance::Shared, Entrance::Rpc] {
                assert_eq!(visit(entrance, from, "GET", "Host: push.internal\r\n"), Ok(()));
            }
            assert_eq!(visit(Entrance::Pages, from, "GET", ""), Err(Refusal::OtherListener));
            let other = visit(Entrance::Shared, from, "GET", "Host: evil.example\r\n");
            assert_eq!(other, Err(Refusal::UnknownHost("\"evil.example\"".to_owned())), "{from:?}");
        }
        let stranger = visit(Entrance::Shared, Some("::ffff:192.0.2.9"), "GET", "");
        assert_eq!(stranger, Err(Refusal::NotAllowed("192.0.2.9".parse().unwrap())));
        let forwarded = visit(Entrance::Shared, Some("127.0.0.1"), "GET", "X-Forwarded-For: 203.0.113.7\r\n");
        assert_eq!(forwarded, Err(Refusal::ForwardedNotAllowed("203.0.113.7".parse().unwrap())));
    }

    #[test]
    fn the_dashboard_is_asked_by_its_own_page_and_shown_to_who_follows_a_link() {
        let site = "Sec-Fetch-Site: cross-site\r\n";
        let link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: document\r\n";
        let frame = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: iframe\r\n";
        let by_origin = Err(Refusal::Foreign("Origin"));
        let by_site = Err(Refusal::Foreign("Sec-Fetch-Site"));
        for (method, headers, expected) in [
            ("POST", "", &Ok(())),
            ("POST", "Host: localhost\r\nOrigin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n", &Ok(())),
            ("POST", "Sec-Fetch-Site: none\r\n", &Ok(())),
            ("POST", "Host: localhost\r\nOrigin: http://evil.example\r\n", &by_origin),
            ("POST", "Host: localhost\r\nOrigin: http://localhost\r\nOrigin: null\r\n", &by_origin),
            ("POST", "Sec-Fetch-Site: same-site\r\n", &by_site),
            ("GET", site, &by_site),
            ("GET", frame, &by_site),
            ("POST", link, &by_site),
            ("GET", link, &Ok(())),
        ] {
            let found = visit(Entrance::Shared, Some("127.0.0.1"), method, headers);
            assert_eq!(found, *expected, "{method} {headers}");
        }
    }

    /// An address as some proxy writes it in a list, and as it is.
    fn written() -> impl Strategy<Value = (String, IpAddr)> {
        let of_note = vec!["127.0.0.1", "192.0.2.1", "10.1.2.3", "203.0.113.7", "::1", "2001:db8::1"];
        let of_note = prop::sample::select(of_note).prop_map(|text| text.parse().unwrap());
        let address = prop_oneof![of_note, any::<IpAddr>()];
        (address, any::<u16>(), 0..4).prop_map(|(address, port, form)| {
            let text = match (form, address) {
                (0, _) => address.to_string(),
                (1, _) => SocketAddr::new(address, port).to_string(),
                (2, IpAddr::V4(address)) => address.to_ipv6_mapped().to_string(),
                (2, IpAddr::V6(_)) => format!("[{address}]"),
                (_, _) => format!(" {address}\t"),
            };
            (text, address.to_canonical())
        })
    }

    proptest! {
        /// A naive twin: trusted proxies are taken away from the right, who is left there is the caller.
        #[test]
        fn whoever_is_forwarded_is_the_last_that_no_trusted_proxy_is(
            lines in prop::collection::vec(prop::collection::vec(written(), 1..4), 1..3),
            is_quoted: bool,
        ) {
            let chain: Vec<IpAddr> = lines.iter().flatten().map(|&(_, address)| address).collect();
            let access = access();
            let mut left = chain.clone();
            while left.len() > 1 && contains(&access.trusted_proxy, left[left.len() - 1]) {
                left.pop();
            }
            let caller = left[left.len() - 1];
            let expected =
                if contains(&access.allow, caller) { Ok(()) } else { Err(Refusal::ForwardedNotAllowed(caller)) };
            let quote = if is_quoted { "\"" } else { "" };
            for (header, before, after) in [("X-Forwarded-For", "", ""), ("forwarded", "proto=http;For=", ";by=x")] {
                let node = |(text, _): &(String, IpAddr)| match header {
                    "forwarded" => format!("{before}{quote}{}{quote}{after}", text.trim()),
                    _ => text.clone(),
                };
                let line = |nodes: &Vec<_>| format!("{header}: {}\r\n", nodes.iter().map(node).collect::<Vec<_>>().join(","));
                let headers: String = lines.iter().map(line).collect();
                prop_assert_eq!(judge(Some("127.0.0.1"), &headers), expected.clone(), "{}", headers);
            }
        }

        #[test]
        fn what_is_no_address_is_in_doubt_wherever_it_stands(
            mut nodes in prop::collection::vec(written().prop_map(|(text, _)| text), 0..4),
            wrong in prop::sample::select(vec![
                "unknown", "_hidden", "", "10.1.0", "10.1.0.256", "10.1.0.1:", "10.1.0.1:65536", "[10.1.0.1]:80x", "::1]", "[::1",
                "1::2::3", "0x7f.1", "10.1.0.1 10.1.0.1", "10.1.0.1;x", "localhost", "127.1", "010.001.000.001",
            ]),
            at: prop::sample::Index,
        ) {
            nodes.insert(at.index(nodes.len() + 1), wrong.to_owned());
            let headers = format!("X-Forwarded-For: {}\r\n", nodes.join(","));
            prop_assert_eq!(judge(Some("127.0.0.1"), &headers), Err(Refusal::Unreadable("x-forwarded-for")), "{}", headers);
        }
    }

    #[test]
    fn it_requires_the_token_that_it_was_given() {
        let token = |text| Secret::parse(text).unwrap();
        let mut access = access();
        assert!(!access.requires(&token("0123456789abcdef")));
        access.require(token("0123456789abcdef"));
        assert!(access.requires(&token("0123456789abcdef")) && !access.requires(&token("0123456789abcdeg")));
    }

    #[test]
    fn each_refusal_is_counted_by_its_kind_and_names_what_allows_it() {
        let address = "192.0.2.9".parse().unwrap();
        for (refusal, kind, said) in [
            (Refusal::NotAllowed(address), "address", "192.0.2.9 is not in --rpc-allow"),
            (Refusal::ForwardedNotAllowed(address), "forwarded", "for 192.0.2.9, which is not in --rpc-allow"),
            (Refusal::UntrustedProxy(address), "proxy", "by 192.0.2.9, which is not in --trusted-proxy"),
            (
                Refusal::Unreadable("forwarded"),
                "header",
                "forwarded does not name an address, as a proxy of --trusted-proxy",
            ),
            (Refusal::Browser("Origin"), "browser", "as Origin says; only web applications may call, and no option"),
            (
                Refusal::Foreign("Origin"),
                "site",
                "as Origin says; a proxy in front has to pass on the Host that the browser names, which --rpc-host",
            ),
            (
                Refusal::UnknownHost("evil.example".to_owned()),
                "host",
                "evil.example, which is neither localhost nor an address nor in --rpc-host",
            ),
            (Refusal::OtherListener, "listener", "--rpc-listen"),
            (
                Refusal::NoToken,
                "no_token",
                "without `Authorization: Bearer`; what it must have is in the file of --rpc-token-file",
            ),
            (Refusal::WrongToken, "wrong_token", "not the one in the file of --rpc-token-file"),
        ] {
            assert_eq!(KIND_NAMES[refusal.kind()], kind);
            assert!(refusal.to_string().contains(said), "{refusal}");
        }
    }
}
