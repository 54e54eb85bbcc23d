//! `/dashboard`: who may see it, what its page may do, and what the figures cost when nobody looks. What a person sees is
//! looked at in Chromium: `tests/browser/dashboard.test.mjs`.

#![allow(clippy::disallowed_methods, reason = "that nothing happens for a while is seen by waiting")]

use crate::support::metrics::Scraper;
use crate::support::streams::WebSocket;
use crate::support::{Connection, Nest, QUIET, Response, Server, get, request, until};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const FILES: [&str; 4] =
    ["/dashboard", "/dashboard/dashboard.css", "/dashboard/dashboard.mjs", "/dashboard/shaveet.mjs"];

const TRANSPORTS: [&str; 3] = ["message_updates", "events", "socket"];

const TYPE: &str = "Content-Type: application/json";

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A request below `/dashboard/`, as its page sends it.
fn asking(path: &str, headers: &[&str], body: &Value) -> String {
    request("POST", &format!("/dashboard/{path}"), &[&[TYPE], headers].concat(), body.to_string())
}

fn calling(method: &str, params: &Value) -> String {
    asking("call", &[], &json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
}

/// A client for a dashboard.
struct Client {
    id: String,
    claim: String,
    channel: String,
}

impl Client {
    fn of(response: &Response) -> Client {
        assert_eq!(response.status, 200, "{response:?}");
        let (client, text) = (response.json(), |value: &Value| value.as_str().expect("a text").to_owned());
        let (id, key) = (text(&client["clientId"]), text(&client["key"]));
        Client { claim: format!("client_id={id}_!!_{key}"), id, channel: text(&client["channel"]) }
    }

    fn open(server: &Server) -> Client {
        Client::of(&server.ask(asking("open", &[], &json!({}))))
    }

    fn path(&self, transport: &str) -> String {
        format!("/dashboard/{transport}?{}&since=", self.claim)
    }

    fn listen(&self, server: &Server) -> WebSocket {
        WebSocket::ask(server.connect(), &self.path("socket"), b"")
    }
}

/// The next figures.
fn figures(socket: &mut WebSocket) -> Value {
    loop {
        let object = socket.object();
        if let Some(message) = object["messages"].as_array().and_then(|messages| messages.last()) {
            return serde_json::from_str(message["data"].as_str().expect("a text")).expect("JSON");
        }
    }
}

/// All that is there, as anybody may ask for it: what is found.
fn found(mut connection: Connection, headers: &[&str]) -> Vec<String> {
    let reads = FILES.into_iter().map(|path| (path.to_owned(), request("GET", path, headers, "")));
    let calls = ["open", "call"].map(|path| (path.to_owned(), asking(path, headers, &json!({}))));
    let streams = TRANSPORTS.map(|path| {
        (path.to_owned(), request("GET", &format!("/dashboard/{path}?client_id=a_!!_b&since="), headers, ""))
    });
    let mut found = Vec::new();
    for (path, request) in reads.chain(calls).chain(streams) {
        let response = connection.ask(request);
        if response.text() != "Not Found\r\n" {
            found.push(path);
        } else {
            assert_eq!(response.status, 404, "{path}: {response:?}");
        }
    }
    found
}

const EVERYTHING: usize = FILES.len() + 2 + TRANSPORTS.len();

#[test]
fn it_is_for_whoever_may_call_and_nobody_else() {
    let server = Server::start();
    assert_eq!(found(server.connect(), &[]).len(), EVERYTHING);
    let stranger = Connection::open(server.address(), Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))));
    assert_eq!(found(stranger, &[]), [""; 0]);
    assert_eq!(found(server.connect(), &["X-Forwarded-For: 203.0.113.7"]), [""; 0]);
    assert_eq!(found(server.connect(), &["X-Forwarded-For: 127.0.0.1"]).len(), EVERYTHING);
    for path in ["/dashboards", "/dashboard/", "/dashboard/nothing", "/dashboard/open/"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    // Where the API has a listener of its own the dashboard is there, and brings what it needs along.
    let server = Server::with(&["--rpc-listen", "127.0.0.1:0"]);
    assert_eq!(found(server.connect(), &[]), [""; 0]);
    let own = || Connection::open(&server.for_calls[0], None);
    assert_eq!(found(own(), &[]).len(), EVERYTHING);
    let client = Client::of(&own().ask(asking("open", &[], &json!({}))));
    figures(&mut WebSocket::ask(own(), &client.path("socket"), b""));
    assert_eq!(own().ask(get("/static/shaveet.mjs")).status, 404);
}

#[test]
fn only_its_own_page_has_a_browser_ask() {
    let server = Server::start();
    let own: [&[&str]; 4] = [
        &["Sec-Fetch-Site: same-origin"],
        &["Origin: http://localhost"],
        &["Origin: https://LOCALHOST", "Sec-Fetch-Site: same-origin"],
        &["Sec-Fetch-Site: none"],
    ];
    for headers in own {
        assert_eq!(found(server.connect(), headers).len(), EVERYTHING, "{headers:?}");
    }
    let foreign: [&[&str]; 9] = [
        &["Origin: http://evil.example"],
        &["Origin: null"],
        &["Origin: http://localhost:8083"],
        &["Origin: http://localhost.evil.example"],
        &["Origin: ftp://localhost"],
        &["Origin: http://localhost", "Origin: http://evil.example"],
        &["Sec-Fetch-Site: cross-site"],
        &["Sec-Fetch-Site: same-site"],
        &["Origin: http://localhost", "Sec-Fetch-Site: cross-site"],
    ];
    for headers in foreign {
        assert_eq!(found(server.connect(), headers), [""; 0], "{headers:?}");
    }
    // A person who follows a link sees the page; a page that has it in a frame, or sends a form there, gets nothing.
    let follows = |method: &str, path: &str, to: &str| {
        server.ask(request(
            method,
            path,
            &["Sec-Fetch-Site: cross-site", to, TYPE],
            "{}".repeat(usize::from(method == "POST")),
        ))
    };
    let page = follows("GET", "/dashboard", "Sec-Fetch-Dest: document");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && page.header("access-control-allow-origin").is_none());
    assert_eq!(follows("GET", "/dashboard", "Sec-Fetch-Dest: iframe").status, 404);
    assert_eq!(follows("POST", "/dashboard/open", "Sec-Fetch-Dest: document").status, 404);
    // Of a browser that says nothing of all this: a form cannot say that it sends JSON.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        let form = request("POST", "/dashboard/open", &[&format!("Content-Type: {kind}")], "{}");
        assert_eq!(server.ask(form).status, 400, "{kind}");
    }
    assert_eq!(server.call("list_clients", json!([]))["clients"].as_array().map(Vec::len), Some(EVERYTHING_OPENED));
}

/// Each time that everything was found there is one client more.
const EVERYTHING_OPENED: usize = 4;

#[test]
fn a_site_that_names_itself_after_the_server_is_refused_from_anywhere() {
    let nest = Nest::new("dashboard-name");
    let server = Server::with(&["--listen", &nest.listener(), "--rpc-host", "push.internal"]);
    for (host, is_known) in
        [("localhost:80", true), ("192.0.2.1:8082", true), ("push.internal", true), ("evil.example", false)]
    {
        let origin = format!("Origin: http://{host}");
        for path in ["/dashboard", "/dashboard/socket?client_id=a_!!_b"] {
            let asked = server.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n\r\n"));
            assert_eq!(asked.text() != "Not Found\r\n", is_known, "{host} {path}");
        }
        let length = 2;
        let open = format!(
            "POST /dashboard/open HTTP/1.1\r\nHost: {host}\r\n{origin}\r\n{TYPE}\r\nContent-Length: {length}\r\n\r\n{{}}"
        );
        assert_eq!(server.ask(open).status == 200, is_known, "{host}");
    }
}

#[test]
fn with_a_token_only_who_has_it_opens_and_calls() {
    let nest = Nest::new("dashboard-token");
    let file = nest.file("token", TOKEN);
    let server = Server::with(&["--rpc-token-file", file.to_str().unwrap()]);
    for path in FILES {
        assert_eq!(server.get(path).status, 200, "{path}: a person has to be asked for it");
    }
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    for headers in [
        vec![],
        vec![bearer("x")],
        vec![bearer(&TOKEN.replace('a', "b"))],
        vec!["Authorization: Basic eDp5".to_owned()],
    ] {
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        for path in ["open", "call"] {
            let refused = server.ask(asking(path, &headers, &json!({})));
            assert_eq!(
                (refused.status, refused.header("www-authenticate")),
                (401, Some("Bearer")),
                "{path} {headers:?}"
            );
        }
    }
    let client = Client::of(&server.ask(asking("open", &[&bearer(TOKEN)], &json!({}))));
    // What it listens by has the key that only who had the token was given.
    figures(&mut client.listen(&server));
    assert_eq!(server.get("/dashboard/message_updates?client_id=a_!!_b&since=").status, 404);
    server.turn();
    assert!(!server.log().contains(&TOKEN[..16]), "the token is in the log:\n{}", server.log());
}

#[test]
fn it_looks_and_kills_and_does_no_more() {
    let server = Server::start();
    let _alice = server.listener("alice", &["room"]);
    let methods: Vec<String> = server.call("rpc.discover", json!([]))["methods"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|method| method["name"].as_str().expect("a name").to_owned())
        .collect();
    let is_there = |method: &str| {
        let answer = server.ask(calling(method, &json!({"nobody has": "this"}))).json();
        answer["error"]["code"] != -32601
    };
    let there: Vec<&str> = methods.iter().map(String::as_str).filter(|method| is_there(method)).collect();
    assert_eq!(
        there,
        [
            "channel_info",
            "client_info",
            "get_channel_clients",
            "get_client_channels",
            "history",
            "kill_client",
            "list_channels",
            "list_clients",
            "why"
        ]
    );
    let batch = json!([{"jsonrpc": "2.0", "id": 1, "method": "publish", "params": ["room", "x"]}]);
    assert_eq!(server.ask(asking("call", &[], &batch)).json()[0]["error"]["code"], -32601);
    assert_eq!(server.ask(calling("channel_info", &json!(["room"]))).json()["result"]["next_id"], 2);
    assert_eq!(server.ask(calling("kill_client", &json!(["alice"]))).json()["result"], 200);
    assert_eq!(server.error("client_info", json!(["alice"]))["type"], "<type 'exceptions.KeyError'>");
}

#[test]
fn figures_say_what_goes_on_and_nobody_else_hears_of_it() {
    let server = Server::start();
    let admin = server.listener("an admin", &["admin", "room"]);
    let mut scraper = Scraper::new(&server);
    let before = scraper.read();
    let client = Client::open(&server);
    let mut socket = client.listen(&server);
    let first = figures(&mut socket);
    assert_eq!(
        (&first["clients"], &first["dashboards"], &first["parked"]["socket"]),
        (&json!(2), &json!(1), &json!(1))
    );
    server.publish_all("room", ["one", "two", "three"]);
    let published = |figures: &Value| figures["published"][0].as_u64().expect("a count");
    let (mut second, mut busiest) = (figures(&mut socket), Vec::new());
    busiest.push(second["busiest"].clone());
    while published(&second) < published(&first) + 3 {
        second = figures(&mut socket);
        busiest.push(second["busiest"].clone());
    }
    let said = busiest.iter().flat_map(|busiest| busiest.as_array().expect("a list"));
    assert!(said.clone().all(|busy| (&busy["name"], &busy["active"]) == (&json!("room"), &json!(1))), "{busiest:?}");
    assert_eq!(said.map(|busy| busy["messages"].as_u64().expect("a count")).sum::<u64>(), 3);
    assert_eq!(first["sent"], second["sent"], "figures are not counted");
    let passed = second["at"].as_u64().expect("a time") - first["at"].as_u64().expect("a time");
    assert!(passed >= 1000, "{passed} ms between two of them");
    assert!(second.to_string().len() < 4096, "{} bytes", second.to_string().len());
    let limit = |knob: &str| {
        let limits = second["limits"].as_array().expect("a list").iter().find(|limit| limit[0] == knob);
        limits.unwrap_or_else(|| panic!("no {knob}: {second}")).clone()
    };
    assert_eq!(limit("max-clients"), json!(["max-clients", 2, 1_000_000]));
    // No announcement, no join, no leave, and no channel whose name a visitor could have guessed.
    assert_eq!(server.call("kill_client", json!([client.id])), 200);
    let heard = admin.resume("");
    assert_eq!(heard["messages"].as_array().map(Vec::len), Some(3), "{heard}");
    assert_eq!(server.present(&client.channel), [""; 0]);
    assert!(client.channel.len() > 32);
    let moved: Vec<String> = scraper.since(&before);
    assert!(moved.contains(&"published_messages_total{kind=application} +3".to_owned()), "{moved:?}");
    assert!(!moved.iter().any(|name| name.starts_with("sent_messages_total{transport=socket")), "{moved:?}");
}

#[test]
fn a_long_name_is_cut_in_the_figures() {
    let server = Server::start();
    let mut socket = Client::open(&server).listen(&server);
    figures(&mut socket);
    let name = "\u{e9}".repeat(1000);
    server.publish(&name, "hello");
    // The next ones may have been made before that.
    let mut all = std::iter::repeat_with(|| figures(&mut socket)["busiest"].take());
    let busiest = all.find(|busiest| busiest != &json!([])).expect("they do not end");
    let cut = json!({"name": name[..200], "is_cut": true, "messages": 1, "active": 0});
    assert!(busiest.as_array().expect("a list").contains(&cut), "{busiest}");
}

#[test]
fn it_is_a_page_of_any_transport_whatever_origins_are_listed() {
    let server = Server::with(&["--allow-origin", "https://www.example.org"]);
    let client = Client::open(&server);
    let own = ["Origin: http://localhost", "Sec-Fetch-Site: same-origin"];
    let poll = server.ask(request("GET", &client.path("message_updates"), &own, ""));
    assert_eq!((poll.status, poll.json()["messages"][0]["channel"].as_str()), (200, Some(&*client.channel)));
    let foreign = request("GET", &client.path("message_updates"), &["Origin: https://www.example.org"], "");
    assert_eq!(server.ask(foreign).text(), "Not Found\r\n");
}

#[test]
fn when_nobody_looks_any_more_the_server_sleeps() {
    let server = Server::start();
    let client = Client::open(&server);
    let mut socket = client.listen(&server);
    figures(&mut socket);
    figures(&mut socket);
    drop(socket);
    // Some seconds later.
    let stretch = Duration::from_millis(1500) + QUIET;
    until("the server sleeps", || {
        let before = wake_ups(server.pid());
        std::thread::sleep(stretch);
        wake_ups(server.pid()) == before
    });
    // And the next one who looks wakes it.
    figures(&mut client.listen(&server));
}

/// How often the process has gone to sleep.
fn wake_ups(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("Linux says it")
}
