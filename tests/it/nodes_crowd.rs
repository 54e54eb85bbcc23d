//! A thousand pages at three nodes, while the nodes are killed and hang and Redis freezes and is started again: each page gets
//! every message of its channels once and in order, or the test says which one it did not.

#![allow(clippy::disallowed_methods, reason = "pages are threads here, which wait by the real clock between two tries")]
#![allow(clippy::unwrap_used, reason = "what does not hold ends the test")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::redis::Redis;
use crate::support::{Server, Signal, until, updates_path};

const PAGES: usize = 1000;
const CHANNELS: usize = 20;
/// So many messages there are at least, in all channels together.
const MESSAGES_MIN: usize = 100;
/// How long a page waits for an answer before it tries elsewhere: longer than a poll is held.
const PATIENCE: Duration = Duration::from_secs(8);

/// Where the nodes listen now.
#[derive(Clone)]
struct Nodes(Arc<RwLock<Vec<SocketAddr>>>);

impl Nodes {
    fn any(&self, random: &mut fastrand::Rng) -> SocketAddr {
        let nodes = self.0.read().expect("nobody panics with it");
        nodes[random.usize(..nodes.len())]
    }
}

/// Status and body, if there is an answer.
fn ask(to: SocketAddr, request: &str) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    // Half of an answer is none.
    let status = head[9..12].parse().ok()?;
    (Some(answer.len() - end) == length).then(|| (status, answer.split_off(end)))
}

fn get(to: SocketAddr, path: &str) -> Option<(u16, Value)> {
    let (status, body) = ask(to, &format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))?;
    Some((status, serde_json::from_slice(&body).ok()?))
}

/// Calls until it is done; what is called is such that it may be done twice.
fn call(nodes: &Nodes, random: &mut fastrand::Rng, method: &str, params: &Value) -> Value {
    let body = json!({"method": method, "params": params, "id": 1}).to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = ask(nodes.any(random), &request);
        let answer = answer.and_then(|(_, body)| serde_json::from_slice::<Value>(&body).ok());
        match answer {
            Some(answer) if answer.get("error").is_none_or(Value::is_null) => return answer["result"].clone(),
            _ => assert!(Instant::now() < deadline, "{method} is not done: {answer:?}"),
        }
        thread::sleep(Duration::from_millis(random.u64(20..100)));
    }
}

/// A page: what it heard, by channel.
struct Page {
    credential: String,
    since: String,
    heard: BTreeMap<String, Vec<u64>>,
    random: fastrand::Rng,
}

impl Page {
    /// Polls one node or another until it has had so many of each channel.
    fn run(&mut self, nodes: &Nodes, is_over: &AtomicBool, last: &[AtomicUsize]) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(150);
        loop {
            if is_over.load(Ordering::Relaxed) && self.has_all(last) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("{} still waits behind {}: {:?}", self.credential, self.since, self.heard));
            }
            let path = updates_path(&[("client_id", &self.credential), ("since", &self.since)]);
            match get(nodes.any(&mut self.random), &path) {
                Some((200, answer)) => self.take(&answer)?,
                Some((404, answer)) => return Err(format!("{} is gone: {answer}", self.credential)),
                _ => thread::sleep(Duration::from_millis(self.random.u64(50..500))),
            }
        }
    }

    fn take(&mut self, answer: &Value) -> Result<(), String> {
        if answer["gaps"] != json!([]) {
            return Err(format!("{} is told a gap behind {}: {}", self.credential, self.since, answer["gaps"]));
        }
        for message in answer["messages"].as_array().unwrap() {
            let number: u64 = message["data"].as_str().unwrap().parse().unwrap();
            let heard = self.heard.entry(message["channel"].as_str().unwrap().to_owned()).or_default();
            let before = heard.last().copied();
            if number != before.map_or(1, |before| before + 1) {
                return Err(format!(
                    "{} hears {number} behind {before:?} of {}; it asked behind {}, and is at {}",
                    self.credential, message["channel"], self.since, answer["since"]
                ));
            }
            heard.push(number);
        }
        self.since = answer["since"].as_str().unwrap().to_owned();
        Ok(())
    }

    fn has_all(&self, last: &[AtomicUsize]) -> bool {
        self.heard.iter().all(|(channel, heard)| {
            let channel: usize = channel[1..].parse().unwrap();
            heard.len() == last[channel].load(Ordering::Relaxed)
        })
    }
}

fn node(redis: &Redis) -> Server {
    let url = redis.url();
    let times = ["--poll-timeout", "5s", "--presence", "off", "--history", "500"];
    Server::with(&[&["--broker", &*url], &times[..]].concat())
}

fn is_up(node: &Server) -> bool {
    node.get("/ready").status == 200
}

/// Pages with two channels each.
fn crowd(nodes: &Nodes, random: &mut fastrand::Rng) -> Vec<Page> {
    let mut pages = Vec::new();
    for number in 0..PAGES {
        let id = format!("page{number}");
        let key = call(nodes, random, "create_client", &json!([id]));
        let channels = [number % CHANNELS, (number * 7 + 3) % CHANNELS].map(|channel| format!("c{channel}"));
        for channel in &channels {
            call(nodes, random, "subscribe", &json!([id, channel]));
        }
        let heard = channels.into_iter().map(|channel| (channel, Vec::new())).collect();
        let credential = format!("{id}_!!_{}", key.as_str().unwrap());
        pages.push(Page { credential, since: String::new(), heard, random: random.fork() });
    }
    pages
}

fn address(node: &Server) -> SocketAddr {
    node.address().as_socket().unwrap()
}

/// What happens to them.
fn trouble(servers: &mut Vec<Server>, redis: &mut Redis, nodes: &Nodes, round: usize) {
    let pause = || thread::sleep(Duration::from_millis(1500));
    pause();
    // One is killed, and another takes its place elsewhere.
    let killed = servers.remove(round % servers.len());
    nodes.0.write().unwrap().retain(|at| *at != address(&killed));
    killed.kill();
    pause();
    servers.push(node(redis));
    until("it is up", || is_up(servers.last().unwrap()));
    nodes.0.write().unwrap().push(address(servers.last().unwrap()));
    pause();
    // One hangs, the first time for longer than it is believed to be there.
    servers[0].signal(Signal::STOP);
    thread::sleep(Duration::from_secs(if round == 0 { 7 } else { 2 }));
    servers[0].signal(Signal::CONT);
    pause();
    redis.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(3));
    redis.signal(Signal::CONT);
    pause();
    redis.kill();
    thread::sleep(Duration::from_millis(500));
    redis.start_again();
    servers.iter().for_each(|node| until("it is up again", || is_up(node)));
}

#[test]
fn a_thousand_pages_get_everything_once_whatever_happens_to_nodes_and_redis() {
    let mut redis = Redis::with(&["--appendonly", "yes"]);
    let mut servers: Vec<Server> = (0..3).map(|_| node(&redis)).collect();
    servers.iter().for_each(|node| until("it is up", || is_up(node)));
    let nodes = Nodes(Arc::new(RwLock::new(servers.iter().map(address).collect())));
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);

    let pages = crowd(&nodes, &mut random);
    let (is_over, last) =
        (Arc::new(AtomicBool::new(false)), Arc::new((0..CHANNELS).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>()));
    let listening: Vec<_> = pages
        .into_iter()
        .map(|mut page| {
            let (nodes, is_over, last) = (nodes.clone(), is_over.clone(), last.clone());
            thread::Builder::new().stack_size(256 << 10).spawn(move || page.run(&nodes, &is_over, &last)).unwrap()
        })
        .collect();
    // The application publishes all the while, each message with a key: what may not have been done is done again.
    let publishing = thread::spawn({
        let (nodes, is_over, last, mut random) = (nodes.clone(), is_over.clone(), last.clone(), random.fork());
        move || {
            while !is_over.load(Ordering::Relaxed) {
                let channel = random.usize(..CHANNELS);
                let number = last[channel].load(Ordering::Relaxed) + 1;
                let options = json!({"idempotency_key": format!("{channel}-{number}")});
                call(&nodes, &mut random, "publish", &json!([format!("c{channel}"), number.to_string(), options]));
                last[channel].store(number, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(random.u64(0..20)));
            }
        }
    });

    // All of it happens once, or as often as somebody wants.
    let rounds = std::env::var("TEST_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        trouble(&mut servers, &mut redis, &nodes, round);
    }
    // On a busy machine it takes longer until enough is said.
    let total = || last.iter().map(|last| last.load(Ordering::Relaxed)).sum::<usize>();
    while total() < MESSAGES_MIN && !publishing.is_finished() {
        thread::sleep(Duration::from_millis(100));
    }
    is_over.store(true, Ordering::Relaxed);
    publishing.join().unwrap();
    let wrong: Vec<String> = listening.into_iter().filter_map(|page| page.join().unwrap().err()).collect();
    let total = total();
    println!("{total} messages");
    assert!(
        wrong.is_empty(),
        "{} pages of {PAGES}, with {total} messages: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(5)]
    );
    for node in servers {
        assert_eq!(node.stop().code(), Some(0), "a debug build checks its hub when it stops");
    }
}
