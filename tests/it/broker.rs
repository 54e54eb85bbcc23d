//! The link to a real Redis: how it comes up, what stands against it, and that it comes back by itself.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use serde_json::json;

use crate::support::link::{comes_up, goes_down, says};
use crate::support::metrics::Scraper;
use crate::support::program::{ended, shaveet};
use crate::support::redis::{Redis, free_port};
use crate::support::{BINARY, Nest, Server, Signal, until};

/// A node for which no Redis is late, however busy the machine is.
fn node(url: &str) -> Server {
    node_with(url, &[])
}

fn node_with(url: &str, more: &[&str]) -> Server {
    let arguments = [&["--broker", url, "--broker-timeout", "1m"], more].concat();
    Server::with(&arguments)
}

/// Lines about the link that an operator sees without asking for more.
fn lines(server: &Server) -> Vec<String> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| line.split_once(" broker: ")).map(|(_, line)| line.to_owned());
    lines.filter(|line| !line.starts_with("all that is followed")).collect()
}

#[test]
fn it_comes_up_by_address_name_and_path_and_brings_its_functions() {
    let redis = Redis::start();
    let port = redis.port;
    assert_eq!(redis.ask(&["FUNCTION", "LIST"]), "");
    for (at, url) in
        [redis.url(), format!("redis://localhost:{port}/2"), redis.socket_url() + "?db=3"].into_iter().enumerate()
    {
        let server = node(&url);
        comes_up(&server);
        assert_eq!(redis.nodes(), 1);
        let databases = redis.ask(&["CLIENT", "LIST"]);
        assert!(
            databases.contains("name=shaveet-") && databases.contains(&format!("-{}-", server.pid())),
            "{databases}"
        );
        assert!(databases.contains(&format!("db={} ", [0, 2, 3][at])), "{databases}");
        assert_eq!(lines(&server).len(), 1, "{:?}", lines(&server));
        assert_eq!(server.stop().code(), Some(0));
        until("Redis has seen it go", || redis.nodes() == 0);
    }
    let revision = redis.ask(&["FCALL_RO", "shaveet1_revision", "0"]);
    assert!(revision.parse::<u32>().is_ok_and(|revision| revision > 0), "{revision}");
    // Once was enough: a function that is there is not replaced.
    assert_eq!(redis.ask(&["INFO", "commandstats"]).matches("cmdstat_function|load:calls=1,").count(), 1);
}

#[test]
fn newer_functions_stay_and_older_ones_give_way() {
    for (revision, replaced) in [(0, true), (1_000_000, false)] {
        let redis = Redis::start();
        let ours = include_str!("../../src/broker/library.lua");
        let line = ours.lines().find(|line| line.starts_with("local REVISION = ")).expect("it has a revision");
        let function = ours.replace(line, &format!("local REVISION = {revision}"));
        redis.ask(&["FUNCTION", "LOAD", &function]);
        comes_up(&node(&redis.url()));
        let is_ours = redis.ask(&["FCALL_RO", "shaveet1_revision", "0"]) != revision.to_string();
        assert_eq!(is_ours, replaced, "{revision}");
    }
}

#[test]
fn functions_that_are_replaced_are_not_taken_for_another_redis() {
    let redis = Redis::start();
    let first = node(&redis.url());
    comes_up(&first);
    first.publish("room", "one");
    // What is there is as old as can be.
    let life = redis.ask(&["FCALL_RO", "shaveet1_life", "0"]);
    let ours = shaveet::broker::library::text_of(&life);
    let line = ours.lines().find(|line| line.starts_with("local REVISION = ")).expect("it has a revision");
    redis.ask(&["FUNCTION", "LOAD", "REPLACE", &ours.replace(line, "local REVISION = 0")]);
    comes_up(&node(&redis.url()));
    assert_ne!(redis.ask(&["FCALL_RO", "shaveet1_revision", "0"]), "0", "they are the newer ones");
    assert_eq!(redis.ask(&["HGET", "{shaveet}:hub", "healing"]), "");
    assert_eq!(redis.ask(&["HGET", "{shaveet}:hub", "generation"]), "0", "no number is skipped");
    assert_eq!(first.call("publish", serde_json::json!(["room", "two"]))["id"], 2);
}

#[test]
fn what_is_counted() {
    let mut redis = Redis::start();
    let server = node(&redis.url());
    comes_up(&server);
    let mut scraper = Scraper::new(&server);
    // What a node asks when it has come up is answered, sooner or later, and nothing more is asked.
    scraper.until("broker_pending_calls", |calls| calls == 0.0);
    let first = scraper.read();
    assert_eq!((first["broker_up"], first["broker_dials_total"]), (1.0, 1.0), "{first:?}");
    assert!(first["broker_bytes_total{direction=sent}"] > 1000.0, "the library has gone: {first:?}");
    // It is asked whether it is there once a second.
    scraper.until("broker_bytes_total{direction=received}", |count| {
        count > first["broker_bytes_total{direction=received}"]
    });
    redis.kill();
    scraper.until("broker_up", |up| up == 0.0);
    scraper.until("broker_dials_total", |dials| dials > 2.0);
}

#[test]
fn a_password_comes_from_the_url_or_a_file_and_is_shown_nowhere() {
    let mut redis = Redis::with_password("s3cret/@:pass");
    let port = redis.port;
    let nest = Nest::new("broker-password");
    let file = nest.file("password", "s3cret/@:pass\n").display().to_string();
    let url = format!("redis://:s3cret%2F%40%3Apass@127.0.0.1:{port}");
    let by_url = node_with(&url, &["--log", "trace"]);
    comes_up(&by_url);
    let by_file = node_with(&redis.url(), &["--broker-password-file", &file, "--log", "trace"]);
    comes_up(&by_file);
    for server in [&by_url, &by_file] {
        assert!(!server.log().contains("s3cret"), "{}", server.log());
    }
    // Another password from now on, which is read when the connection has to be made anew.
    redis.want("another");
    nest.file("password", "another");
    redis.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    says(&by_url, "wrong user name or password: see --broker and --broker-password-file (WRONGPASS");
    comes_up(&by_file);
    goes_down(&by_url);
    assert!(!by_url.log().contains("s3cret"));
}

#[test]
fn a_user_may_have_no_more_rights_than_it_needs() {
    let redis = Redis::start();
    let rules = "on >pw ~{shaveet}:* &{shaveet}:* +@all -@admin -@dangerous +function|load";
    let user: Vec<&str> = ["ACL", "SETUSER", "push"].into_iter().chain(rules.split(' ')).collect();
    redis.ask(&user);
    redis.ask(&["ACL", "SETUSER", "poor", "on", ">pw", "+hello"]);
    let port = redis.port;
    comes_up(&node(&format!("redis://push:pw@127.0.0.1:{port}")));
    let poor = node(&format!("redis://poor:pw@127.0.0.1:{port}"));
    says(&poor, "its user may not do that: see docs/redis.md");
    let other = node_with(&format!("redis://push:pw@127.0.0.1:{port}"), &["--broker-prefix", "other"]);
    says(&other, "its user may not do that");
}

#[test]
fn what_cannot_be_used_is_told_once_and_tried_again() {
    let redis = Redis::with_password("pw");
    let master = Redis::start();
    let replica = Redis::with(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let sentinel = Redis::sentinel(&master);
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    let sentinels = format!("redis+sentinel://127.0.0.1:{}/other", sentinel.port);
    let no_sentinel = format!("redis+sentinel://127.0.0.1:{}/main", master.port);
    let port = redis.port;
    let cases = [
        (redis.url(), "it asks for a password: write redis://user:password@host, or --broker-password-file (NOAUTH"),
        (format!("redis://:no@127.0.0.1:{port}"), "wrong user name or password: see --broker"),
        (replica.url(), "it is a read-only replica: name its master, or the Sentinels"),
        (sentinel.url(), "it is a Sentinel: write redis+sentinel://"),
        (sentinels, "this Sentinel knows no master \"other\""),
        (no_sentinel, "it is no Sentinel: a Redis is named by redis://"),
        (format!("{}/99", master.url()), "it has no database 99"),
        (nobody, "nobody listens there (connection refused)"),
        ("unix:///nowhere/at/all".into(), "there is no such socket"),
        ("redis://no-such-host.invalid".into(), "its address is not found"),
    ];
    let nodes: Vec<Server> = cases.iter().map(|(url, _)| node(url)).collect();
    for (server, (url, told)) in nodes.iter().zip(&cases) {
        says(server, told);
        goes_down(server);
        // The application is told the same.
        let refused = server.error("publish", json!(["room", "x"]));
        assert!(refused["message"].as_str().is_some_and(|message| message.contains(told)), "{told}: {refused}");
        Scraper::new(server).until("broker_dials_total", |dials| dials > 3.0);
        assert_eq!(lines(server).len(), 1, "{url}: {:?}", lines(server));
    }
}

#[test]
fn one_that_becomes_a_replica_says_so_to_who_publishes_and_is_left() {
    let redis = Redis::start();
    let server = node(&redis.url());
    comes_up(&server);
    // Of a master that cannot be reached, whose data would take the place of its own, and our functions with them.
    redis.ask(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]);
    let refused = server.error("publish", json!(["room", "x"]));
    assert!(refused["message"].as_str().is_some_and(|message| message.contains("replica")), "{refused}");
    goes_down(&server);
    redis.ask(&["REPLICAOF", "NO", "ONE"]);
    comes_up(&server);
}

#[test]
fn functions_that_somebody_has_deleted_are_told_of_and_brought_again() {
    let redis = Redis::start();
    let server = node(&redis.url());
    comes_up(&server);
    redis.ask(&["FUNCTION", "FLUSH"]);
    let refused = server.error("publish", json!(["room", "x"]));
    let told = "the functions of Shaveet are not in Redis any more, nothing was done; they are brought again";
    assert!(refused["message"].as_str().is_some_and(|message| message.contains(told)), "{refused}");
    Scraper::new(&server).until("broker_dials_total", |dials| dials > 1.0);
    comes_up(&server);
    assert!(server.call("publish", json!(["room", "x"]))["id"].is_u64());
}

#[test]
fn a_frozen_one_is_left_and_found_again() {
    let redis = Redis::start();
    let server = Server::with(&["--broker", &redis.url(), "--broker-timeout", "500ms"]);
    comes_up(&server);
    redis.signal(Signal::STOP);
    goes_down(&server);
    says(&server, "it has not answered within 500ms");
    redis.signal(Signal::CONT);
    comes_up(&server);
    until("what was left is closed", || redis.nodes() == 1);
}

#[test]
fn one_that_is_started_again_is_found_and_gets_its_functions_anew() {
    let mut redis = Redis::start();
    let server = node(&redis.socket_url());
    comes_up(&server);
    redis.kill();
    goes_down(&server);
    Scraper::new(&server).until("broker_dials_total", |dials| dials > 3.0);
    redis.start_again();
    comes_up(&server);
    assert_ne!(redis.ask(&["FUNCTION", "LIST"]), "");
    // One line when it went, perhaps another as the socket was gone and then nobody's, one for each time that it came.
    assert!((3..=5).contains(&lines(&server).len()), "{:?}", lines(&server));
}

#[test]
fn what_is_no_redis_is_named_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    // The first two say something else; the third says nothing and goes; the others speak for ever.
    thread::spawn(move || {
        for (at, stream) in listener.incoming().flatten().enumerate() {
            thread::spawn(move || {
                let mut stream = stream;
                let _ = stream.read(&mut [0; 1000]);
                let junk = [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\0\x01\xff\r\n", b""].get(at).copied();
                match junk {
                    Some(junk) => drop(stream.write_all(junk)),
                    None => while stream.write_all(&b"*1\r\n".repeat(1000)).is_ok() {},
                }
            });
        }
    });
    let server = node(&format!("redis://127.0.0.1:{port}"));
    says(&server, "it is no Redis, or not only: it says \"HTTP/1.1 400 Bad Request");
    says(&server, r#"it says "\0\u{1}"#);
    says(&server, "it has closed the connection");
    says(&server, "an answer is larger than 64 MiB, or has too much in it");
    goes_down(&server);
}

#[test]
fn the_master_that_a_sentinel_makes_is_followed() {
    let mut master = Redis::start();
    let replica = Redis::with(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    until("it is a replica", || replica.ask(&["INFO", "replication"]).contains("master_link_status:up"));
    let sentinel = Redis::sentinel(&master);
    // Nobody listens at the first.
    let server = node(&format!("redis+sentinel://127.0.0.1:{},127.0.0.1:{}/main", free_port(), sentinel.port));
    comes_up(&server);
    assert_eq!((master.nodes(), replica.nodes()), (1, 0));
    until("the Sentinel knows the replica", || sentinel.ask(&["SENTINEL", "REPLICAS", "main"]).contains("slave"));
    master.kill();
    sentinel.takes_the_silent_for_dead();
    goes_down(&server);
    comes_up(&server);
    assert_eq!(replica.nodes(), 1);
    assert!(replica.ask(&["ROLE"]).starts_with("master"));
}

#[test]
fn the_node_of_a_cluster_that_has_our_keys_is_found() {
    let cluster = |port: u16| {
        let bus = port.to_string();
        Redis::with(&["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"])
    };
    let nodes = [cluster(free_port()), cluster(free_port())];
    // All slots are the second one's.
    nodes[1].ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let bus = nodes[1].ask(&["CONFIG", "GET", "cluster-port"]);
    let bus = bus.lines().last().expect("a port");
    nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &nodes[1].port.to_string(), bus]);
    let is_whole = |redis: &Redis| redis.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
    until("the cluster is whole", || nodes.iter().all(is_whole));
    let server = node(&nodes[0].url());
    comes_up(&server);
    assert_eq!((nodes[0].nodes(), nodes[1].nodes()), (0, 1));
}

#[test]
fn an_upgrade_goes_on_with_a_link_of_its_own() {
    let redis = Redis::start();
    let server = node(&redis.url());
    comes_up(&server);
    server.signal(Signal::USR2);
    says(&server, "has taken over");
    comes_up(&server);
    until("the link before is closed", || redis.nodes() == 1);
}

#[test]
fn nothing_that_is_told_of_the_configuration_has_the_password() {
    let nest = Nest::new("broker-config");
    let file = nest.file("shaveet.toml", "broker = \"redis://u:s3cret@127.0.0.1:1\"\n").display().to_string();
    let wrong = nest.file("wrong.toml", "broker = \"redis://u:s3cret@127.0.0.1:x\"\n").display().to_string();
    let variable = |value: &str| {
        let mut command = shaveet(&["check"]);
        command.env("SHAVEET_BROKER", value);
        command
    };
    let told = [
        (shaveet(&["check", "--config", &file]), 0, "broker = \"redis://u:***@127.0.0.1:1\""),
        (shaveet(&["check", "--broker", "redis://u:s3cret@h/2"]), 0, "broker = \"redis://u:***@h/2\""),
        (variable("redis://:s3cret@h"), 0, "broker = \"redis://:***@h\""),
        (shaveet(&["check", "--config", &wrong]), 2, "a port is a number"),
        (shaveet(&["check", "--broker", "redis://u:s3cret@h:x"]), 2, "'redis://u:***@h:x'"),
        (variable("redis://s3cret@"), 2, "'redis://***@'"),
        (
            shaveet(&["--listen", "127.0.0.1:0", "--broker", "redis://h", "--broker-password-file", "/nowhere"]),
            1,
            "--broker-password-file",
        ),
    ];
    for (command, code, what) in told {
        let shown = format!("{command:?}");
        let end = ended(command);
        let said = end.stdout + &end.stderr;
        assert!(said.contains(what) && !said.contains("s3cret"), "{shown}: {said}");
        assert_eq!(end.code, Some(code), "{shown}: {said}");
    }
    let mut command = Command::new(BINARY);
    command.args(["--config", &file]);
    let server = Server::run(command, &[]);
    nest.file("shaveet.toml", "broker = \"redis://u:s3cret@127.0.0.1:2\"\n");
    server.signal(Signal::HUP);
    says(&server, "broker: redis://u:***@127.0.0.1:1 -> redis://u:***@127.0.0.1:2");
    assert!(!server.log().contains("s3cret"), "{}", server.log());
}
