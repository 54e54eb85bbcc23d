//! Who may call the JSON-RPC API: rule J12 of the wire, and what forwarding headers change about it. Whoever may not
//! finds nothing there. The sources are addresses of this machine, so the tests need the loopback network of Linux.

use crate::support::{BINARY, Connection, Nest, Response, Server, get, joins, poll_path, request, until};
use serde_json::json;
use socket2::SockAddr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;

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

// --- a listener of its own

#[test]
fn where_the_api_has_its_own_listener_no_other_serves_it() {
    let server = Server::with(&["--rpc-listen", "127.0.0.1:0"]);
    let mut caller = Connection::open(&server.for_calls[0], None);
    assert!(is_served(&caller.ask(request("POST", "/", &[], CALL))));
    assert!(!is_served(&call(&server, "127.0.0.1", &[])), "the web application's address does not help");
    // Nothing but the API is there.
    for path in ["/message_updates", "/static/shaveet.js", "/nowhere", "//", "/%2fmessage_updates"] {
        assert_eq!(caller.ask(get(path)).status, 404, "{path}");
    }
    assert!(is_served(&caller.ask(request("POST", "/", &[], CALL))));
    assert_eq!(server.get("/static/shaveet.js").status, 200);
    // It is judged there all the same.
    let stranger = Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
    assert!(!is_served(&Connection::open(&server.for_calls[0], stranger).ask(request("POST", "/", &[], CALL))));
}

#[test]
fn the_api_can_be_a_file_that_few_may_open() {
    for (mode, expected) in [(None, 0o660), (Some("600"), 0o600), (Some("666"), 0o666)] {
        let nest = Nest::new("access-mode");
        let listener = nest.listener();
        let mut arguments = vec!["--rpc-listen", &listener];
        arguments.extend(mode.iter().flat_map(|mode| ["--rpc-socket-mode", mode]));
        let server = Server::with(&arguments);
        let found = std::fs::metadata(&nest.socket).expect("the socket is there").permissions().mode();
        assert_eq!(found & 0o777, expected, "{found:o}");
        assert!(is_served(&Connection::open(&server.for_calls[0], None).ask(request("POST", "/", &[], CALL))));
        assert!(!is_served(&call(&server, "127.0.0.1", &[])));
    }
}

// --- a token

#[test]
fn with_a_token_nobody_calls_without_it() {
    let nest = Nest::new("access-token");
    let file = nest.socket.with_file_name("token");
    let token = "0123456789abcdef0123456789abcdef";
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let server = Server::with(&["--rpc-token-file", file.to_str().unwrap()]);
    assert!(is_served(&call(&server, "127.0.0.1", &[&format!("Authorization: Bearer {token}")])));
    assert!(!is_served(&call(&server, "127.0.0.2", &[&format!("Authorization: Bearer {token}")])), "from elsewhere");
    let mut guesses = vec!["X: y".to_owned(), format!("Authorization: {token}"), "Authorization: Bearer ".to_owned()];
    guesses.extend((0..token.len()).map(|at| {
        let mut guess = token.as_bytes().to_vec();
        guess[at] ^= 1;
        format!("Authorization: Bearer {}", String::from_utf8(guess).unwrap())
    }));
    for guess in &guesses {
        assert!(!is_served(&call(&server, "127.0.0.1", &[guess])), "{guess}");
    }
    server.turn();
    assert!(!server.log().contains(&token[..16]), "the token is in the log:\n{}", server.log());
}

#[test]
fn a_token_that_is_none_is_told_at_the_start() {
    let nest = Nest::new("access-no-token");
    let file = nest.socket.with_file_name("token");
    for content in [None, Some(""), Some("short"), Some("two words of it, but long")] {
        let _ = std::fs::remove_file(&file);
        content.iter().for_each(|content| std::fs::write(&file, content).unwrap());
        let arguments = ["--listen", "127.0.0.1:0", "--rpc-token-file", file.to_str().unwrap()];
        let output = std::process::Command::new(BINARY).args(arguments).output().expect("the server's binary starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{content:?}: {said}");
        assert!(said.contains("--rpc-token-file") && !said.contains("two words"), "{said}");
    }
}

// --- browsers

#[test]
fn no_browser_reaches_it_and_no_answer_is_for_one() {
    let server = Server::start();
    let from_pages = [
        &["Origin: http://evil.example"][..],
        &["Origin: null"],
        &["Origin: http://localhost:8082"],
        &["Sec-Fetch-Site: cross-site"],
        &["Sec-Fetch-Site: same-site"],
        &["Sec-Fetch-Site: same-origin"],
        &["Sec-Fetch-Site: none", "Origin: http://127.0.0.1"],
        &["Content-Type: text/plain", "Origin: http://evil.example"],
    ];
    for headers in from_pages {
        for method in ["POST", "OPTIONS", "GET"] {
            let response = server.ask(request(method, "/", headers, CALL));
            assert!(!is_served(&response), "{method} {headers:?}");
            assert_eq!(response.header("access-control-allow-origin"), None, "{method} {headers:?}");
        }
    }
    let served = call(&server, "127.0.0.1", &["Sec-Fetch-Site: none"]);
    assert!(is_served(&served));
    assert_eq!(served.header("access-control-allow-origin"), None);
}

#[test]
fn a_site_that_names_itself_after_this_machine_is_refused() {
    let server = Server::with(&["--rpc-host", "push.internal,other"]);
    let ask = |host: &str| {
        let length = CALL.len();
        server.ask(format!("POST / HTTP/1.1\r\n{host}Content-Length: {length}\r\n\r\n{CALL}"))
    };
    for host in ["", "Host: localhost:8082\r\n", "Host: 127.0.0.1\r\n", "Host: Push.Internal:80\r\n", "Host: other\r\n"]
    {
        assert!(is_served(&ask(host)), "{host}");
    }
    for host in ["Host: evil.example\r\n", "Host: internal\r\n", "Host: localhost.\r\n", "Host: \r\n"] {
        assert!(!is_served(&ask(host)), "{host}");
    }
    // Pages come by any name.
    assert_eq!(server.ask("GET /static/shaveet.js HTTP/1.1\r\nHost: evil.example\r\n\r\n").status, 200);
}

// --- what the log says

#[test]
fn every_kind_of_refusal_names_its_knob_once_a_minute() {
    let nest = Nest::new("access-log");
    let file = nest.socket.with_file_name("token");
    std::fs::write(&file, "0123456789abcdef").unwrap();
    let arguments = ["--rpc-token-file", file.to_str().unwrap(), "--rpc-allow", "127.0.0.1,127.0.0.3"];
    let server = Server::with(&[&arguments[..], &["--trusted-proxy", "127.0.0.1"]].concat());
    let evil = format!("Host: evil\x1b[31m{}", "e".repeat(400));
    for _ in 0..3 {
        call(&server, "127.0.0.2", &[]);
        call(&server, "127.0.0.1", &["X-Forwarded-For: 203.0.113.7"]);
        call(&server, "127.0.0.3", &["X-Forwarded-For: 127.0.0.1"]);
        call(&server, "127.0.0.1", &["X-Forwarded-For: unknown"]);
        call(&server, "127.0.0.1", &["Origin: http://evil.example"]);
        server.ask(request("POST", "/dashboard/call", &["Sec-Fetch-Site: cross-site"], CALL));
        call(&server, "127.0.0.1", &[]);
        call(&server, "127.0.0.1", &["Authorization: Bearer 0123456789abcdeg"]);
        server.ask(format!("POST / HTTP/1.1\r\nHost: evil.example\\{}\r\nContent-Length: 0\r\n\r\n", "e".repeat(400)));
        server.ask(format!("POST / HTTP/1.1\r\n{evil}\r\nContent-Length: 0\r\n\r\n"));
    }
    let own = Server::with(&["--rpc-listen", "127.0.0.1:0"]);
    call(&own, "127.0.0.1", &[]);
    let told = [
        ("127.0.0.2 is not in --rpc-allow", &server),
        ("203.0.113.7, which is not in --rpc-allow", &server),
        ("127.0.0.3, which is not in --trusted-proxy", &server),
        ("x-forwarded-for does not name an address, as a proxy of --trusted-proxy has to", &server),
        ("as Origin says; only web applications may call, and no option lets a browser", &server),
        (
            "as Sec-Fetch-Site says; a proxy in front has to pass on the Host that the browser names, which --rpc-host",
            &server,
        ),
        ("evil.example", &server),
        ("without `Authorization: Bearer`; what it must have is in the file of --rpc-token-file", &server),
        ("its token is not the one in the file of --rpc-token-file", &server),
        ("--rpc-listen says where", &own),
    ];
    for (what, server) in told {
        until(what, || server.log().contains(what));
    }
    server.turn();
    let log = server.log();
    let refusals: Vec<&str> = log.lines().filter(|line| line.contains("is refused")).collect();
    assert_eq!(refusals.len(), 9, "one of each kind:\n{log}");
    assert!(
        refusals.iter().all(|line| line.len() < 1024 && line.bytes().all(|byte| matches!(byte, b' '..=b'~'))),
        "{log}"
    );
    assert!(!log.contains("0123456789abcde"), "a token is in the log:\n{log}");
}
