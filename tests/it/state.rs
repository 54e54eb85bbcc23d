//! The state file: what a server knows goes on in the next one, exactly once or told, and no file is harmed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::support::metrics::Scraper;
use crate::support::{BINARY, Client, Nest, Server, Signal, said, since, until};
use serde_json::{Value, json};

/// A place for a state file, and servers that keep theirs there.
struct Place {
    file: PathBuf,
    _nest: Nest,
}

impl Place {
    /// `name` is the test's own.
    fn new(name: &str) -> Place {
        let nest = Nest::new(name);
        Place { file: nest.socket.with_file_name("state"), _nest: nest }
    }

    fn start(&self, more: &[&str]) -> Server {
        Server::with(&[&self.arguments()[..], more].concat())
    }

    fn arguments(&self) -> [&str; 4] {
        ["--presence", "off", "--state", self.file.to_str().expect("a name in UTF-8")]
    }

    /// A server that does not come to listen: what it says.
    fn fails(&self, more: &[&str]) -> String {
        let Output { status, stderr, .. } = Command::new(BINARY)
            .args(["--listen", "127.0.0.1:0", "--state"])
            .arg(&self.file)
            .args(more)
            .stdout(Stdio::null())
            .output()
            .expect("the server's binary starts");
        assert_eq!(status.code(), Some(1));
        String::from_utf8(stderr).expect("a text")
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.file).expect("there is a file")
    }
}

/// What a page knows of itself.
struct Credential {
    id: String,
    key: String,
}

impl Credential {
    fn of(client: &Client<'_>) -> Credential {
        Credential { id: client.id.clone(), key: client.key.clone() }
    }

    /// The same client, with another server.
    fn with<'s>(&self, server: &'s Server) -> Client<'s> {
        Client { server, id: self.id.clone(), key: self.key.clone() }
    }
}

/// A page's answer without its position.
fn heard(answer: &Value) -> (Vec<String>, Value) {
    (said(answer), answer["gaps"].clone())
}

#[test]
fn pages_go_on_where_they_were_after_a_clean_stop() {
    let place = Place::new("state-clean");
    let server = place.start(&[]);
    let alice = server.subscriber("alice", &["room", "news"]);
    let (old, bob) = (server.subscriber("old", &["room"]), server.client("bob"));
    server.publish_all("room", ["one", "two"]);
    let first = alice.resume("");
    assert_eq!(said(&first), ["one", "two"]);
    assert_eq!(old.news(), json!({"room": [[1, "one", "app"], [2, "two", "app"]]}));
    // Alice's next answer is lost with the server.
    server.publish_all("news", ["three"]);
    server.publish_all("room", ["four"]);
    alice.resume(&since(&first));
    let placed = server.call("publish", json!(["room", "five", {"idempotency_key": "k"}]));
    let (alice, old, bob) = (Credential::of(&alice), Credential::of(&old), Credential::of(&bob));
    assert_eq!(server.stop().code(), Some(0));

    let server = place.start(&[]);
    let (alice, old) = (alice.with(&server), old.with(&server));
    let answer = alice.resume(&since(&first));
    assert_eq!(heard(&answer), (vec!["three".into(), "four".into(), "five".into()], json!([])));
    assert_eq!(old.news(), json!({"room": [[3, "four", "app"], [4, "five", Value::Null]]}));
    // Ids, keys, subscriptions and idempotency go on.
    assert_eq!(server.call("create_client", json!(["bob"])), bob.key);
    assert_eq!(alice.channels(), ["news", "room"]);
    let repeated = server.call("publish", json!(["room", "five", {"idempotency_key": "k"}]));
    assert_eq!(repeated, placed);
    server.publish("room", "six");
    let answer = alice.resume(&since(&answer));
    assert_eq!(heard(&answer), (vec!["six".into()], json!([])));
    assert_eq!(answer["messages"][0]["id"], 5);
}

#[test]
fn who_had_departed_and_what_was_freed_is_still_known() {
    let place = Place::new("state-departed");
    let server = Server::calm(&[&place.arguments()[..], &["--channel-idle", "50ms"]].concat());
    let alice = server.subscriber("alice", &["room"]);
    server.publish_all("lonely", ["a", "b"]);
    alice.expire();
    until("a channel is freed", || server.call("list_channels", json!(["lonely"]))["channels"] == json!([]));
    server.publish("room", "meanwhile");
    let alice = Credential::of(&alice);
    assert_eq!(server.stop().code(), Some(0));

    let server = place.start(&[]);
    let alice = alice.with(&server);
    assert!(!alice.is_known());
    let answer = alice.resume("");
    assert_eq!(heard(&answer), (vec!["meanwhile".into()], json!([])));
    // The ids of a name go on.
    assert_eq!(server.call("publish", json!(["lonely", "c"]))["id"], 3);
}

#[test]
fn gaps_of_before_are_told_after() {
    let place = Place::new("state-gaps");
    let server = place.start(&["--history", "2"]);
    let alice = Credential::of(&server.subscriber("alice", &["room"]));
    server.publish_all("room", ["1", "2", "3", "4", "5"]);
    assert_eq!(server.stop().code(), Some(0));
    let server = place.start(&["--history", "1"]);
    let answer = alice.with(&server).resume("");
    // Three had fallen out, and another one does now.
    let gap = json!([{"channel": "room", "next_id": 5, "reason": "count"}]);
    assert_eq!(heard(&answer), (vec!["5".into()], gap));
}

#[test]
fn a_killed_server_goes_on_from_what_it_wrote_last_and_pages_are_told() {
    let place = Place::new("state-killed");
    let server = place.start(&["--state-interval", "50ms"]);
    let alice = server.subscriber("alice", &["room"]);
    server.publish("room", "written");
    let before = since(&alice.resume(""));
    // A file that was begun after all of this.
    let written = || fs::metadata(&place.file).and_then(|found| found.modified()).ok();
    for _ in 0..2 {
        let last = written();
        until("the state is written", || written() != last);
    }
    let alice = Credential::of(&alice);
    server.kill();

    let server = place.start(&[]);
    let answer = alice.with(&server).resume(&before);
    assert_eq!(
        heard(&answer),
        (vec!["written".into()], json!([{"channel": "room", "next_id": 1, "reason": "restart"}]))
    );
    assert!(server.log().contains("the server had not stopped"), "{}", server.log());
    // Nobody believes a position of this server either, when it is killed.
    let after = since(&answer);
    server.kill();
    let server = place.start(&[]);
    assert_eq!(alice.with(&server).resume(&after)["gaps"][0]["reason"], "restart");
}

#[test]
fn a_killed_server_gives_no_id_again() {
    let place = Place::new("state-ids");
    let server = place.start(&["--channel-idle", "50ms", "--sweep-interval", "50ms"]);
    server.publish_all("freed", ["1", "2"]);
    until("a channel is freed", || server.call("list_channels", json!(["freed"]))["channels"] == json!([]));
    server.publish_all("written", ["1", "2", "3"]);
    assert_eq!(server.stop().code(), Some(0));

    // The same file, again and again.
    let names = ["freed", "written", "unknown"];
    let mut newest = [2, 3, 0];
    for life in 0..3 {
        let server = place.start(&[]);
        for (name, newest) in names.iter().zip(&mut newest) {
            for _ in 0..2 {
                let id = server.call("publish", json!([name, "x"]))["id"].as_u64().expect("an id");
                assert!(if life == 0 { id == *newest + 1 } else { id > *newest }, "{name}: {id} after {newest}");
                *newest = id;
            }
        }
        server.kill();
    }
    // Numbers that JavaScript can hold, and people can read.
    assert!(newest.iter().all(|&id| id < 10_000_000), "{newest:?}");
}

#[test]
fn a_file_that_is_no_state_is_left_alone() {
    let place = Place::new("state-damaged");
    let server = place.start(&[]);
    server.subscriber("alice", &["room"]);
    assert_eq!(server.stop().code(), Some(0));
    let whole = place.bytes();
    let changed = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    let newer = "a newer shaveet has written it (format 258; this one reads format 1)";
    let cases = [
        (Vec::new(), "it is not a state of shaveet"),
        (b"#!/bin/sh\n".to_vec(), "it is not a state of shaveet"),
        (whole[..whole.len() - 1].to_vec(), "it is damaged"),
        (whole[..40].to_vec(), "it is damaged"),
        (changed(whole.len() / 2, 0x5a), "it is damaged"),
        ([&whole[..16], &[2, 1], &whole[18..]].concat(), newer),
        (changed(16, 0), "an older shaveet has written it (format 0; this one reads format 1)"),
    ];
    for (bytes, reason) in cases {
        fs::write(&place.file, &bytes).expect("a file");
        let said = place.fails(&[]);
        assert!(said.contains(reason) && said.contains("--state-ignore"), "{said}");
        assert!(said.contains(place.file.to_str().expect("a name in UTF-8")), "{said}");
        assert_eq!(place.bytes(), bytes, "nothing is overwritten");
    }
    let server = place.start(&["--state-ignore"]);
    server.error("client_info", json!(["alice"]));
    assert_eq!(server.stop().code(), Some(0));
    let aside = fs::read_dir(place.file.parent().expect("a directory")).expect("a directory");
    let names = aside.map(|entry| entry.expect("a file").path());
    let put_aside = names.filter(|path| path.to_string_lossy().contains("state.ignored-")).collect::<Vec<_>>();
    assert_eq!(fs::read(&put_aside[0]).expect("it was put aside"), changed(16, 0));
    // And the new one is good.
    place.start(&[]);
}

#[test]
fn two_servers_do_not_share_a_file() {
    let place = Place::new("state-shared");
    let server = place.start(&[]);
    server.subscriber("alice", &["room"]);
    let said = place.fails(&[]);
    assert!(said.contains("another server keeps its state in"), "{said}");
    assert_eq!(server.stop().code(), Some(0));
    assert!(place.start(&[]).call("client_info", json!(["alice"])).is_object());
}

#[test]
fn keys_are_for_the_owners_eyes() {
    let place = Place::new("state-mode");
    let server = place.start(&[]);
    server.client("alice");
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(fs::metadata(&place.file).expect("there is a file").permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_place_where_nothing_can_be_written_is_found_out_at_the_start_and_told_at_the_end() {
    let place = Place::new("state-nowhere");
    let nowhere = Place { file: place.file.join("deeper"), _nest: Nest::new("state-nowhere-2") };
    let said = nowhere.fails(&[]);
    assert!(said.contains("cannot make a file beside the state file"), "{said}");

    let mut server = place.start(&["--state-interval", "50ms"]);
    // Away in one go, whatever is being written there.
    let directory = place.file.parent().expect("a directory");
    let elsewhere = directory.with_extension("elsewhere");
    fs::rename(directory, &elsewhere).expect("it is ours");
    until("it is told that nothing can be written", || server.log().contains("the state cannot be written to"));
    // It serves all the same.
    server.client("alice");
    server.signal(Signal::TERM);
    assert_eq!(server.exit().code(), Some(1));
    fs::rename(&elsewhere, directory).expect("it is ours");
}

/// A file system for the state alone, which is full when that is large.
#[test]
fn a_full_disk_harms_no_state_and_is_written_to_again_when_there_is_room() {
    const MOUNT: &str = "at=$1; shift; mount -t tmpfs -o size=256k none \"$at\"; exec \"$0\" \"$@\"";
    let place = Place::new("state-full");
    let directory = place.file.parent().expect("a directory");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-ec", MOUNT, BINARY]).arg(directory);
    let server = Server::run(command, &[&place.arguments()[..], &["--state-interval", "50ms"]].concat());
    // Only the server sees what is mounted there.
    let seen = PathBuf::from(format!("/proc/{}/root{}", server.pid(), directory.display()));
    let copied = |name: &str| {
        let copy = Place::new(name);
        fs::copy(seen.join("state"), &copy.file).expect("there is a file");
        copy
    };
    let mut scraper = Scraper::new(&server);
    let written = |scraper: &mut Scraper| {
        let before = scraper.get("state_writes_total{result=done}");
        // One that was begun after all of this.
        scraper.until("state_writes_total{result=done}", |done| done >= before + 2.0);
    };
    let alice = server.subscriber("alice", &["room"]);
    server.publish("room", "kept");
    written(&mut scraper);

    let large = "x".repeat(50_000);
    server.publish_all("hall", [large.as_str(); 20]);
    scraper.until("state_last_write_successful", |is| is == 0.0);
    assert!(scraper.get("state_writes_total{result=failed}") >= 1.0);
    assert!(server.log().contains("the state cannot be written to"), "{}", server.log());
    assert!(server.log().contains("No space left on device"), "{}", server.log());
    let credential = Credential::of(&alice);
    let copy = copied("state-full-old");
    let from_copy = copy.start(&[]);
    assert_eq!(said(&credential.with(&from_copy).resume("")), ["kept"], "what stands there is whole");
    // It serves all the while.
    server.publish("room", "meanwhile");
    assert_eq!(said(&alice.resume("")), ["kept", "meanwhile"]);

    // The large ones fall out.
    server.publish_all("hall", ["x"; 100]);
    scraper.until("state_last_write_successful", |is| is == 1.0);
    written(&mut scraper);
    let copy = copied("state-full-new");
    let from_copy = copy.start(&[]);
    assert_eq!(said(&credential.with(&from_copy).resume("")), ["kept", "meanwhile"]);
}

/// What the first version has written is read by every later one, or that one needs another way for it.
#[test]
fn a_file_of_the_first_format_is_read() {
    let place = Place::new("state-format-1");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/state/format-1"), &place.file).expect("a copy");
    let server = place.start(&["--history-age", "10ms"]);
    assert_eq!(server.call("create_client", json!(["alice"])), "aefffe75a192d01bf9a46c39f7cb5659");
    let bob = Client { server: &server, id: "böb".into(), key: "ed3382ffba51c3aab4defd270cc5686b".into() };
    // The newest of a channel stays however old it is; it was not for alice.
    let gap = json!([{"channel": "room", "next_id": 4, "reason": "age"}]);
    assert_eq!(heard(&bob.resume("")), (vec!["not for all".into()], gap));
    assert_eq!(server.call("get_client_channels", json!(["alice"])), json!(["room"]));
    assert_eq!(server.call("publish", json!(["quiet", "x"]))["id"], 2);
}
