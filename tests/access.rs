//! Who may call the JSON-RPC API: rule J12 of the wire, and what forwarding headers change about it. Whoever may not
//! finds nothing there. The sources are addresses of this machine, so the tests need the loopback network of Linux.

mod support;

use serde_json::json;
use socket2::SockAddr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use support::{Connection, Nest, Response, Server, get, joins, poll_path, request};

const CALL: &str = r#"{"method":"system.list_methods","params":[],"id":1}"#;

/// What happens to a call from an address with these header lines.
fn call(server: &Server, source: &str, headers: &[&str]) -> Response {
    let source = source.parse().expect("an address");
    Connection::open(server.address(), Some(source)).ask(request("POST", "/", headers, CALL))
}

/// Whether it is served; if not, it must look as if nothing were there.
fn is_served(response: &Response) -> bool {
    if response.status == 200 {
        return response.json()["id"] == 1;
    }
    assert_eq!((response.status, response.media_type()), (404, "text/html"), "{response:?}");
    assert_eq!(response.text(), "Nothing here buddy");
    false
}

#[test]
fn j12_others_find_nothing_whatever_the_method() {
    let server = Server::start();
    assert!(is_served(&call(&server, "127.0.0.1", &[])));
    for method in ["POST", "GET", "HEAD", "PUT", "OPTIONS", "DELETE"] {
        let mut stranger = Connection::open(server.address(), Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))));
        let response = stranger.ask(request(method, "/", &[], ""));
        if method == "HEAD" {
            assert_eq!(response.status, 404);
        } else {
            assert!(!is_served(&response), "{method}");
        }
        assert!(response.header("allow").is_none() && response.header("access-control-allow-origin").is_none());
    }
}

#[test]
fn j12_polls_and_files_are_for_everyone() {
    let server = Server::start();
    let alice = server.subscriber("alice", &["room"]);
    let mut stranger = Connection::open(server.address(), Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))));
    assert_eq!(stranger.ask(get("/static/shaveet.js")).status, 200);
    assert_eq!(stranger.ask(get(&poll_path(&[&alice]))).news(), json!({"room": [joins(1, "alice")]}));
    let through_a_proxy = request("GET", "/static/shaveet.js", &["X-Forwarded-For: 203.0.113.7"], "");
    assert_eq!(server.ask(through_a_proxy).status, 200);
}

#[test]
fn j12_a_list_of_networks_is_allowed() {
    let server = Server::with(&["--rpc-allow", "127.0.0.1,127.1.0.0/16,10.0.0.0/8"]);
    for (source, expected) in [
        ("127.0.0.1", true),
        ("127.0.0.2", false),
        ("127.0.255.255", false),
        ("127.1.0.1", true),
        ("127.1.255.254", true),
        ("127.2.0.1", false),
    ] {
        assert_eq!(is_served(&call(&server, source, &[])), expected, "{source}");
    }
}

#[test]
fn j12_everybody_can_be_allowed() {
    let server = Server::with(&["--rpc-allow", "any"]);
    assert!(is_served(&call(&server, "127.0.0.2", &[])));
}

#[test]
fn j12_ipv6() {
    let local = IpAddr::V6(Ipv6Addr::LOCALHOST);
    for (allowed, expected) in [("::1", true), ("127.0.0.1", false), ("::/0", true), ("2001:db8::/32", false)] {
        let server = Server::with(&["--listen", "[::1]:0", "--rpc-allow", allowed]);
        let response = Connection::open(server.address(), Some(local)).ask(request("POST", "/", &[], CALL));
        assert_eq!(is_served(&response), expected, "{allowed}");
    }
    let server = Server::with(&["--listen", "[::1]:0"]);
    assert!(is_served(&Connection::open(server.address(), Some(local)).ask(request("POST", "/", &[], CALL))));
}

#[test]
fn j12_ipv4_through_a_dual_stack_socket_is_ipv4() {
    let server = Server::with(&["--listen", "[::]:0"]);
    let to = SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, server.port())));
    for (source, expected) in [(Ipv4Addr::LOCALHOST, true), (Ipv4Addr::new(127, 0, 0, 2), false)] {
        let mut connection = Connection::open(&to, Some(source.into()));
        assert_eq!(is_served(&connection.ask(request("POST", "/", &[], CALL))), expected, "{source}");
        // As a proxy it is the same one, too.
        let forwarded = request("POST", "/", &["X-Forwarded-For: 127.0.0.1, ::ffff:127.0.0.1"], CALL);
        assert_eq!(is_served(&connection.ask(forwarded)), expected, "{source}");
    }
}

/// Header lines that a trusted proxy sends, and whether the caller is served where 10/8 and 2001:db8::/32 are allowed.
const FORWARDED: &[(&[&str], bool)] = &[
    // One address.
    (&["X-Forwarded-For: 10.1.2.3"], true),
    (&["x-forwarded-for:10.1.2.3"], true),
    (&["X-Forwarded-For: 203.0.113.7"], false),
    (&["X-Real-IP: 10.1.2.3"], true),
    (&["X-Real-IP: 203.0.113.7"], false),
    (&["Forwarded: for=10.1.2.3"], true),
    (&["Forwarded: for=203.0.113.7"], false),
    (&["Forwarded: For=10.1.2.3;proto=http;by=203.0.113.43"], true),
    (&["Forwarded: proto=http; by=10.0.0.1; for=203.0.113.7"], false),
    // A list is read from the right: the left is whatever the stranger has written.
    (&["X-Forwarded-For: 203.0.113.7, 10.1.2.3"], true),
    (&["X-Forwarded-For: 10.1.2.3, 203.0.113.7"], false),
    (&["X-Forwarded-For: 127.0.0.1, 203.0.113.7"], false),
    (&["X-Forwarded-For: 10.1.2.3, 203.0.113.7, 127.0.0.1"], false),
    (&["X-Forwarded-For: 203.0.113.7,10.1.2.3,127.0.0.1,::1"], true),
    (&["Forwarded: for=10.1.2.3, for=203.0.113.7"], false),
    (&["Forwarded: for=203.0.113.7, for=10.1.2.3"], true),
    (&["Forwarded: for=10.1.2.3, for=203.0.113.7;proto=https, for=127.0.0.1"], false),
    // Several lines of one header are one list.
    (&["X-Forwarded-For: 10.1.2.3", "X-Forwarded-For: 203.0.113.7"], false),
    (&["X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 10.1.2.3"], true),
    (&["X-Forwarded-For: 203.0.113.7", "X-Forwarded-For: 127.0.0.1"], false),
    (&["Forwarded: for=10.1.2.3", "Forwarded: for=203.0.113.7"], false),
    (&["X-Real-IP: 10.1.2.3", "X-Real-IP: 203.0.113.7"], false),
    // Every header that is there must be good.
    (&["X-Forwarded-For: 10.1.2.3", "X-Real-IP: 10.1.2.3", "Forwarded: for=10.1.2.3"], true),
    (&["X-Forwarded-For: 10.1.2.3", "X-Real-IP: 203.0.113.7"], false),
    (&["X-Forwarded-For: 203.0.113.7", "X-Real-IP: 10.1.2.3"], false),
    (&["X-Forwarded-For: 10.1.2.3", "Forwarded: for=203.0.113.7"], false),
    (&["Forwarded: for=10.1.2.3", "X-Forwarded-For: 203.0.113.7"], false),
    // IPv6, with its spellings.
    (&["X-Forwarded-For: 2001:db8::7"], true),
    (&["X-Forwarded-For: 2001:db9::7"], false),
    (&["X-Forwarded-For: ::ffff:10.1.2.3"], true),
    (&["X-Forwarded-For: ::ffff:203.0.113.7"], false),
    (&["Forwarded: for=\"[2001:db8::7]\""], true),
    (&["Forwarded: for=\"[2001:DB8::7]:4711\";proto=http"], true),
    (&["Forwarded: for=\"[2001:db9::7]\""], false),
    (&["Forwarded: for=\"[2001:db9::7]:4711\""], false),
    (&["Forwarded: for=\"10.1.2.3:4711\""], true),
    (&["Forwarded: for=\"203.0.113.7:4711\""], false),
    (&["Forwarded: for=\"10.1.2.3, for=203.0.113.7\""], false),
    // In doubt refused.
    (&["X-Forwarded-For: unknown"], false),
    (&["X-Forwarded-For:"], false),
    (&["X-Forwarded-For: ,"], false),
    (&["X-Forwarded-For: 10.1.2.3, unknown"], false),
    (&["X-Forwarded-For: 10.1.2.3, unknown, 127.0.0.1"], false),
    (&["X-Forwarded-For: 10.1.2.3 203.0.113.7"], false),
    (&["X-Forwarded-For: 10.1.2"], false),
    (&["X-Forwarded-For: 10.1.2.300"], false),
    (&["X-Forwarded-For: 010.1.2.3"], false),
    (&["X-Forwarded-For: 0x0a.1.2.3"], false),
    (&["X-Forwarded-For: 10.1.2.3/32"], false),
    (&["X-Forwarded-For: localhost"], false),
    (&["X-Forwarded-For: 10.1.2.3;"], false),
    (&["X-Forwarded-For: \u{e9}"], false),
    (&["X-Real-IP: unknown"], false),
    (&["X-Real-IP:"], false),
    (&["Forwarded: for=unknown"], false),
    (&["Forwarded: for=_hidden"], false),
    (&["Forwarded: for=\"_hidden:4711\""], false),
    (&["Forwarded: for="], false),
    (&["Forwarded: for=\"\""], false),
    (&["Forwarded: for=\"10.1.2.3"], false),
    (&["Forwarded: for=10.1.2.3\""], false),
    (&["Forwarded: 10.1.2.3"], false),
    (&["Forwarded:"], false),
    (&["Forwarded: proto=https"], false),
    (&["Forwarded: for=10.1.2.3;for=203.0.113.7"], false),
    (&["Forwarded: for=203.0.113.7;for=10.1.2.3"], false),
    (&["Forwarded: for=10.1.2.3, for=unknown"], false),
    (&["Forwarded: for=10.1.2.3, proto=https"], false),
    (&["Forwarded: for=\"[2001:db8::7\""], false),
    (&["Forwarded: for=\"\\10.1.2.3\", for=203.0.113.7"], false),
];

#[test]
fn a_trusted_proxy_is_judged_by_whom_it_forwards() {
    let server = Server::with(&["--rpc-allow", "127.0.0.1,10.0.0.0/8,2001:db8::/32"]);
    for (headers, expected) in FORWARDED {
        assert_eq!(is_served(&call(&server, "127.0.0.1", headers)), *expected, "{headers:?}");
    }
}

#[test]
fn a_peer_that_is_no_trusted_proxy_is_judged_by_its_own_address() {
    let server = Server::with(&["--trusted-proxy", "127.0.0.9"]);
    let others = ["X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1"];
    for header in others {
        assert!(!is_served(&call(&server, "127.0.0.2", &[header])), "{header}");
    }
    assert!(!is_served(&call(&server, "127.0.0.2", &others)));
    assert!(is_served(&call(&server, "127.0.0.1", &[])));
    assert!(is_served(&call(&server, "127.0.0.9", &others)), "the proxy speaks for an allowed one");
    assert!(!is_served(&call(&server, "127.0.0.9", &["X-Forwarded-For: 203.0.113.7"])));
    assert!(!is_served(&call(&server, "127.0.0.9", &[])), "it is not allowed itself");
}

#[test]
fn where_no_proxy_is_trusted_what_was_forwarded_is_refused() {
    let server = Server::with(&["--trusted-proxy", "none"]);
    assert!(is_served(&call(&server, "127.0.0.1", &[])));
    for header in ["X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: 203.0.113.7", "Forwarded: for=127.0.0.1"] {
        assert!(!is_served(&call(&server, "127.0.0.1", &[header])), "{header}");
    }
}

#[test]
fn a_unix_socket_is_as_good_as_a_trusted_proxy() {
    let nest = Nest::new("access");
    let server = Server::with(&["--listen", &nest.listener()]);
    for (headers, expected) in [
        (&[][..], true),
        (&["X-Forwarded-For: 127.0.0.1"], true),
        (&["X-Forwarded-For: 203.0.113.7"], false),
        (&["X-Forwarded-For: unknown"], false),
    ] {
        assert_eq!(is_served(&server.ask(request("POST", "/", headers, CALL))), expected, "{headers:?}");
    }
}

#[test]
fn networks_of_proxies_are_skipped() {
    let server = Server::with(&["--trusted-proxy", "127.0.0.1,192.0.2.0/24", "--rpc-allow", "10.0.0.0/8"]);
    for (header, expected) in [
        ("X-Forwarded-For: 10.1.2.3, 192.0.2.5, 192.0.2.250", true),
        ("X-Forwarded-For: 10.1.2.3, 203.0.113.7, 192.0.2.5", false),
        ("X-Forwarded-For: 192.0.2.5", false),
    ] {
        assert_eq!(is_served(&call(&server, "127.0.0.1", &[header])), expected, "{header}");
    }
    assert!(!is_served(&call(&server, "127.0.0.1", &[])), "the proxy itself is not allowed");
}

#[test]
fn the_web_application_behind_its_own_proxy_is_served() {
    let server = Server::start();
    for header in ["X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1", "X-Real-IP: ::1"] {
        assert!(is_served(&call(&server, "127.0.0.1", &[header])), "{header}");
    }
}

#[test]
fn a_connection_is_judged_anew_for_each_request() {
    let server = Server::start();
    let mut proxy = server.connect();
    for (header, expected) in [
        ("X-Forwarded-For: 127.0.0.1", true),
        ("X-Forwarded-For: 203.0.113.7", false),
        ("X-Forwarded-For: 127.0.0.1", true),
    ] {
        assert_eq!(is_served(&proxy.ask(request("POST", "/", &[header], CALL))), expected);
    }
}
