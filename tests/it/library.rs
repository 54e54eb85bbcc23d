//! The library of functions against the hub: in a real Redis, call by call, with a clock that both are told.

mod functions;
mod healing;
mod twin;

use std::collections::BTreeMap;
use std::path::Path;

use shaveet::broker::library::TEXT;
use shaveet::cluster::limits;
use shaveet::hub::Limits;

use crate::support::redis::Redis;
use crate::support::resp::{Reply, Session};

const PAGE: &str = include_str!("../../docs/redis.md");
const HUB: &str = "{shaveet}:hub";
const EPOCH: &str = "0123456789abcdef";

/// A Redis with the library, and a node that calls its functions.
struct Node {
    redis: Redis,
    /// As the user that docs/redis.md has for nodes.
    session: Session,
    /// Hears all that is published.
    ear: Session,
}

impl Node {
    /// One that has said hello with these limits.
    fn new(limits: &Limits) -> Node {
        let mut node = Node::silent();
        node.hello("run", limits);
        node
    }

    /// One that has said nothing yet.
    fn silent() -> Node {
        let redis = Redis::start();
        let user =
            PAGE.lines().find(|line| line.starts_with("ACL SETUSER shaveet on ")).expect("it says which user suffices");
        redis.ask(&user.split(' ').collect::<Vec<_>>());
        let url = redis.socket_url();
        let socket = url.strip_prefix("unix://").expect("it is one");
        let [mut session, mut ear] = [(); 2].map(|()| {
            let mut session = Session::connect(Path::new(socket));
            assert_eq!(session.call(&["AUTH", "shaveet", "PASSWORD"]), Reply::Text("OK".into()));
            session
        });
        assert_eq!(session.call(&["FUNCTION", "LOAD", TEXT]), Reply::Text("shaveet1".into()));
        ear.call(&["PSUBSCRIBE", "{shaveet}:*"]);
        Node { redis, session, ear }
    }

    /// Epoch, seq, time, generation.
    fn hello(&mut self, run_id: &str, limits: &Limits) -> Vec<String> {
        self.ask("hello", &["node", run_id, EPOCH, &limits::write(limits), "", "", "", ""])
    }

    /// Nobody has anything to put back.
    fn heals(&mut self) {
        assert_eq!(self.call("healed", &["node"]), Reply::Text("0".into()));
    }

    fn call(&mut self, function: &str, arguments: &[&str]) -> Reply {
        let function = format!("shaveet1_{function}");
        self.session.call(&[&["FCALL", &function, "1", HUB], arguments].concat())
    }

    /// The same where a list of texts is the answer.
    fn ask(&mut self, function: &str, arguments: &[&str]) -> Vec<String> {
        self.call(function, arguments).texts().into_iter().map(String::from).collect()
    }

    /// The same where an error is: its first word, or for a limit what it says of it.
    fn refused(&mut self, function: &str, arguments: &[&str]) -> String {
        outcome(self.call(function, arguments)).expect_err("it is refused")
    }

    /// From now on it is this time.
    fn turn_clock(&mut self, now: u64) {
        self.session.call(&["HSET", HUB, "clock", &now.to_string()]);
    }

    fn hash(&mut self, key: &str) -> BTreeMap<String, String> {
        let found = self.session.call(&["HGETALL", &format!("{{shaveet}}:{key}")]);
        found.texts().chunks(2).map(|pair| (pair[0].into(), pair[1].into())).collect()
    }

    /// What was published since the last time, as channel and payload: all of it that was before the last reply.
    fn heard(&mut self) -> Vec<(String, String)> {
        self.ear.send(&["PING"]);
        let mut heard = Vec::new();
        loop {
            match *self.ear.hear().texts() {
                ["pmessage", _, channel, payload] => {
                    let channel = channel.strip_prefix("{shaveet}:").expect("it is ours");
                    heard.push((channel.into(), payload.into()));
                }
                ["pong", _] => return heard,
                ref other => panic!("{other:?}"),
            }
        }
    }
}

/// What came of a call; of an error the first word, or what it says of a limit.
fn outcome(reply: Reply) -> Result<Reply, String> {
    match reply {
        Reply::Error(error) if error.starts_with("FULL ") => Err(error),
        Reply::Error(error) => Err(error.split(' ').next().unwrap_or_default().into()),
        other => Ok(other),
    }
}
