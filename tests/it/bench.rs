//! `shaveet bench`: that what it tells is what happened, and that nothing of it is left, however it ends.

use std::process::Command;

use crate::support::program::{Ended, Running, ended, shaveet};
use crate::support::{BINARY, Nest, Server, Signal, until};
use serde_json::{Value, json};

fn url(server: &Server) -> String {
    format!("http://127.0.0.1:{}", server.port())
}

/// The clients that the server has.
fn clients(server: &Server) -> Value {
    server.call("list_clients", json!([]))["clients"].take()
}

/// Messages of the application that have been published.
fn published(server: &Server) -> f64 {
    let page = server.get("/metrics");
    let line = page
        .text()
        .lines()
        .find_map(|line| line.strip_prefix("shaveet_published_messages_total{kind=\"application\"} "));
    line.and_then(|value| value.parse().ok()).expect("a counter")
}

#[test]
fn every_page_has_every_message_once_and_the_server_says_the_same() {
    let server = Server::start();
    let page = server.listener("page1", &["room"]);
    let mut waiting = page.park();
    let arguments = ["bench", &url(&server), "-c", "30", "--channels", "4", "--size", "1000", "-d", "300ms", "--json"];
    let Ended { code, stdout, stderr } = ended(shaveet(&arguments));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let told: Value = serde_json::from_str(&stdout).expect("a line of JSON");
    let rounds = told["rounds"].as_u64().expect("a count");
    assert!(rounds > 0, "{told}");
    assert_eq!(told["deliveries"], rounds * 30, "{told}");
    assert_eq!((&told["clients"], &told["channels"]), (&json!(30), &json!(4)));
    assert!(told["used_bytes_per_client"].as_f64().expect("bytes") > 100.0, "{told}");
    let latency = |name: &str| told["latency_us"][name].as_u64().expect("a time");
    assert!(0 < latency("p50") && latency("p50") <= latency("p99") && latency("p99") <= latency("max"), "{told}");
    assert_eq!(published(&server), (rounds * 4) as f64);
    // Who was there is there, and has not noticed.
    assert_eq!(clients(&server), json!(["page1"]));
    server.publish("room", "hello");
    assert_eq!(waiting.news()["room"][0][1], "hello");
}

#[test]
fn it_is_a_picture_for_people_over_a_socket_and_with_a_token() {
    let nest = Nest::new("bench");
    let token = nest.file("token", "0123456789abcdef0123");
    let (calls, token) = (nest.listener(), token.to_str().expect("ASCII"));
    let server = Server::with(&["--rpc-listen", &calls, "--rpc-token-file", token]);
    let pages = url(&server);
    let arguments = ["bench", &calls, "--pages-url", &pages, "--rpc-token-file", token, "-c", "10", "-d", "200ms"];
    let Ended { code, stdout, stderr } = ended(shaveet(&arguments));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = stdout.lines().collect();
    for (line, beginning) in
        [(0, "pages       10 on 1 channel, 100 bytes"), (1, "deliveries  "), (2, "latency     50 % within ")]
    {
        assert!(lines[line].starts_with(beginning), "{stdout}");
    }
    assert!(lines.iter().any(|line| line.contains(&"█".repeat(40))), "{stdout}");
    assert!(stdout.contains("\nmemory      ") && stdout.contains(" us a delivery\n"), "{stdout}");
    assert!(lines.iter().all(|line| line.chars().count() < 100), "{stdout}");
    // Without the token nothing is begun.
    let Ended { code, stderr, .. } = ended(shaveet(&["bench", &calls, "--pages-url", &pages]));
    assert!(code == Some(1) && stderr.contains("--rpc-token-file"), "{stderr}");
}

#[test]
fn a_terminal_sees_how_far_it_is() {
    let server = Server::start();
    let mut command = Command::new("script");
    command.args(["-qec", &format!("{BINARY} bench {} -c 10 -d 300ms", url(&server)), "/dev/null"]);
    let shown = String::from_utf8_lossy(&command.output().expect("script is there").stdout).into_owned();
    for part in
        ["\rmaking clients", "\rconnecting", "\rpublishing       █", "░", " %\x1b[K", "\r\x1b[K", "deliveries  "]
    {
        assert!(shown.contains(part), "{part:?} in {shown:?}");
    }
}

#[test]
fn ctrl_c_ends_it_with_what_was_measured() {
    let server = Server::start();
    let bench = Running::start(shaveet(&["bench", &url(&server), "-c", "10", "-d", "1h"]));
    until("some rounds are over", || published(&server) > 3.0);
    bench.signal(Signal::INT);
    assert!(bench.line().starts_with("pages       10 on 1 channel"));
    assert!(bench.line().starts_with("deliveries  "));
    assert_eq!(bench.ended().code(), Some(0));
    assert_eq!(clients(&server), json!([]));
}

#[test]
fn where_there_is_no_room_it_says_which_limit_and_leaves_nothing() {
    let said = |server: &Server, arguments: &[&str]| {
        let url = url(server);
        let Ended { code, stdout, stderr } = ended(shaveet(&[&["bench", &url], arguments].concat()));
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
        assert_eq!(clients(server), json!([]), "{stderr}");
        stderr
    };
    let server = Server::with(&["--max-connections", "20", "--max-channels", "3"]);
    assert!(said(&server, &["-c", "25"]).contains("--max-connections"));
    let few_channels = said(&server, &["-c", "10", "--channels", "10"]);
    assert!(few_channels.contains("--max-channels"), "{few_channels}");
    let server = Server::with(&["--history-total", "1MiB"]);
    let little_history = said(&server, &["-c", "50", "--channels", "50", "--size", "1000"]);
    assert!(little_history.contains("--history-total"), "{little_history}");
    let server = Server::with(&["--trusted-proxy", "none", "--max-connections-per-address", "9"]);
    let few_connections = said(&server, &["-c", "20"]);
    assert!(few_connections.contains("--max-connections-per-address"), "{few_connections}");

    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$@\"", "sh", BINARY, "bench", &url(&server), "-c", "100"]);
    let Ended { code, stderr, .. } = ended(command);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("64 descriptors (ulimit -n)") && stderr.contains("--clients 44"), "{stderr}");
}

#[test]
fn a_server_that_goes_meanwhile_is_told() {
    let server = Server::start();
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" 2>&1", "sh", BINARY, "bench", &url(&server), "-c", "10", "-d", "1h"]);
    let bench = Running::start(command);
    until("some rounds are over", || published(&server) > 3.0);
    server.kill();
    let said = bench.line();
    assert!(said.starts_with("shaveet: http://127.0.0.1:"), "{said}");
    assert_eq!(bench.ended().code(), Some(1));
}
