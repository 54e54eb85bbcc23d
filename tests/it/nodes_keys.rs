//! The tables of `docs/redis.md` are what nodes keep in Redis: each key has a row with its type, each row a key, and each field of a
//! hash is named.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::redis::Redis;
use crate::support::{Server, Signal, until};

const PAGE: &str = include_str!("../../docs/redis.md");

/// Of these hashes all fields are named in their rows.
const HASHES: [&str; 3] = ["hub", "client:", "channel:"];

/// A node, with room of its own for what the server itself says.
fn node(redis: &Redis) -> Server {
    let times = ["--max-idle", "3s", "--min-alive", "3s", "--sweep-interval", "500ms"];
    let url = redis.socket_url();
    let server = Server::with(&[&["--broker", &*url, "--broker-timeout", "1m"], &times[..]].concat());
    until("it is ready", || server.get("/ready").status == 200);
    server
}

/// What is called `client:alice` is a `client:`.
fn kind_of(name: &str) -> String {
    name.split_inclusive(':').next().expect("there is always one part").to_owned()
}

/// What stands between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The rows of the page: the type of each kind of key, and what else is named in the row of a hash.
fn rows() -> (BTreeMap<String, String>, BTreeMap<String, BTreeSet<String>>) {
    let (mut types, mut fields) = (BTreeMap::new(), BTreeMap::new());
    let table = PAGE.lines().skip_while(|line| *line != "| key | type | what |").skip(2);
    for line in table.take_while(|line| line.starts_with('|')) {
        let [names, kinds, what] = line.trim_matches('|').splitn(3, '|').collect::<Vec<_>>()[..] else {
            panic!("{line} has three cells");
        };
        let kinds: Vec<&str> = kinds.split(',').map(str::trim).collect();
        for (at, name) in quoted(names).enumerate() {
            let kind = kinds[at.min(kinds.len() - 1)].replace("sorted set", "zset");
            types.insert(kind_of(name), kind);
            fields.insert(kind_of(name), quoted(what).map(str::to_owned).collect());
        }
    }
    (types, fields)
}

/// What has been seen in a Redis.
struct Seen<'r> {
    redis: &'r Redis,
    types: BTreeMap<String, String>,
    fields: BTreeMap<String, BTreeSet<String>>,
}

impl Seen<'_> {
    /// Looks at all that is there now. Whether such a key has been there.
    fn look(&mut self, kind: &str) -> bool {
        for key in self.redis.ask(&["KEYS", "{shaveet}:*"]).lines() {
            let kind = kind_of(key.strip_prefix("{shaveet}:").expect("it was asked for so"));
            let is = self.redis.ask(&["TYPE", key]);
            if is == "none" {
                // It has gone meanwhile.
                continue;
            }
            if HASHES.contains(&&*kind) {
                let names = self.redis.ask(&["HKEYS", key]);
                self.fields.entry(kind.clone()).or_default().extend(names.lines().map(str::to_owned));
            }
            let before = self.types.insert(kind.clone(), is.clone());
            assert!(before.is_none_or(|before| before == is), "{key} is of two types");
        }
        self.types.contains_key(kind)
    }

    fn until(&mut self, kind: &str) {
        until(kind, || self.look(kind));
    }
}

#[test]
fn the_table_of_keys_is_what_nodes_keep_in_redis() {
    let redis = Redis::start();
    let [a, b] = [(); 2].map(|()| node(&redis));
    // Redis's time stands still, but for when it is turned.
    let mut now: u64 = redis.ask(&["TIME"]).lines().next().and_then(|time| time.parse().ok()).expect("seconds");
    now *= 1000;
    let turn = |now: u64| redis.ask(&["HSET", "{shaveet}:hub", "clock", &now.to_string()]);
    turn(now);
    let mut seen = Seen { redis: &redis, types: BTreeMap::new(), fields: BTreeMap::new() };
    let alice = a.subscriber("alice", &["room", "hall"]);
    a.call("publish", json!(["hall", "one", {"idempotency_key": "key"}]));
    alice.unsubscribe("hall");
    seen.until("ended:");
    // Who does not poll departs, and channels are freed that nobody has used for long.
    now += 10_000;
    turn(now);
    seen.until("departed");
    // The functions are lost with what they had not written down, as in a failover. One node comes back, the other is waited for.
    let heard = |redis: &Redis| redis.ask(&["ZCOUNT", "{shaveet}:nodes", &now.to_string(), "+inf"]) == "2";
    until("both have said that they are there", || heard(&redis));
    b.signal(Signal::STOP);
    redis.ask(&["FUNCTION", "DELETE", "shaveet1"]);
    seen.until("awaited");
    let message = ["room", "500000", "5000", "0", "app", "0", "", "", "0", "0", "\"web\"", "\"put back\""];
    redis.ask(&[&["FCALL", "shaveet1_heal", "1", "{shaveet}:hub"], &message[..]].concat());
    seen.until("heal:");
    b.signal(Signal::CONT);
    turn(now + 10_000);
    until("all is well", || [&a, &b].iter().all(|node| node.get("/ready").status == 200));
    seen.until("hub");
    let (types, fields) = rows();
    assert_eq!(seen.types, types, "there on the left, in docs/redis.md on the right");
    for (kind, there) in seen.fields {
        let unnamed: Vec<&String> = there.difference(&fields[&kind]).filter(|field| *field != "clock").collect();
        assert!(unnamed.is_empty(), "{kind} has fields that docs/redis.md does not name: {unnamed:?}");
    }
}
