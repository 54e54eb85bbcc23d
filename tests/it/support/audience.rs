//! Pages that poll several nodes while somebody publishes, and a judge: each page has to get every message of its channels once and
//! in order, whatever becomes of the nodes.
//!
//! The messages of a channel are the numbers from 1 on. The next one is published when the one before has been acknowledged, and each
//! has a key: what may not have been done is done again. So whoever is not told a number that follows was kept something that the
//! application knows to be published.

#![allow(clippy::unwrap_used, reason = "what does not hold ends the test")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{SockAddr, Socket, Type};

use super::{Patience, Server, until, updates_path};

/// How long a page waits for an answer before it tries elsewhere: longer than a poll is held.
const PATIENCE: Duration = Duration::from_secs(8);

/// The same for a page of the original's protocol, where an answer that nobody waits for is lost.
const PATIENCE_OF_ORIGINALS: Duration = Duration::from_secs(30);

/// How long a page may take to get the last of it, when all is well again.
const END: Duration = Duration::from_secs(60);

/// So many messages there are at least, in all channels together.
const MESSAGES_MIN: usize = 100;

/// Where somebody can be reached now.
#[derive(Clone)]
pub(crate) struct Doors(Arc<RwLock<Vec<SockAddr>>>);

impl Doors {
    pub(crate) fn of(nodes: &[Server]) -> Doors {
        Doors::to(nodes.iter().map(Server::address))
    }

    pub(crate) fn to<'a>(addresses: impl Iterator<Item = &'a SockAddr>) -> Doors {
        Doors(Arc::new(RwLock::new(addresses.cloned().collect())))
    }

    pub(crate) fn open(&self, node: &Server) {
        self.0.write().unwrap().push(node.address().clone());
    }

    pub(crate) fn shut(&self, node: &Server) {
        self.0.write().unwrap().retain(|at| at != node.address());
    }

    fn any(&self, random: &mut fastrand::Rng) -> SockAddr {
        let doors = self.0.read().unwrap();
        doors[random.usize(..doors.len())].clone()
    }
}

/// Who comes.
pub(crate) struct Plan {
    pub(crate) pages: usize,
    /// So many of them speak the original's protocol. Nobody can know whether an answer arrived that was on its way when something
    /// broke: it may come again, once for each time. They must not lose anything.
    pub(crate) originals: usize,
    pub(crate) channels: usize,
    /// Milliseconds between two messages of one of the [`VOICES`].
    pub(crate) pause: Range<u64>,
}

/// Pages that listen, and the application that publishes.
pub(crate) struct Audience {
    _place: Place,
    shared: Arc<Shared>,
    listening: Vec<JoinHandle<Result<Page, String>>>,
    publishing: Vec<JoinHandle<()>>,
}

/// Each audience takes a whole processor. There are no more at a time than there are those: of nodes that get nothing done pages get
/// less than they are promised, as Redis waits four seconds for them and not longer.
struct Place;

static TAKEN: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Place {
    fn take() -> Place {
        let most = thread::available_parallelism().map_or(1, usize::from);
        let taken = TAKEN.0.lock().unwrap();
        *TAKEN.1.wait_while(taken, |taken| *taken >= most).unwrap() += 1;
        Place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *TAKEN.0.lock().unwrap() -= 1;
        TAKEN.1.notify_one();
    }
}

struct Shared {
    state: AtomicU8,
    /// The newest number of each channel.
    last: Vec<AtomicUsize>,
}

/// What goes on: messages come; no more come; nobody is interested any more.
const ON: u8 = 0;
const OVER: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Audience {
    /// Pages with two channels each, that poll by one of `pages`; the application calls one of `nodes`.
    pub(crate) fn gather(plan: &Plan, nodes: &Doors, pages: &Doors) -> Audience {
        let place = Place::take();
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let last = (0..plan.channels).map(|_| AtomicUsize::new(0)).collect();
        let shared = Arc::new(Shared { state: AtomicU8::new(ON), last });
        let seats: Vec<Page> = (0..plan.pages).map(|number| Page::new(number, plan, nodes, &mut random)).collect();
        let listen = |mut page: Page| {
            let (doors, shared) = (pages.clone(), shared.clone());
            let run = move || page.run(&doors, &shared).map(|()| page);
            thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap()
        };
        let listening = seats.into_iter().map(listen).collect();
        let publishing = (0..VOICES).map(|voice| {
            let (nodes, shared, pause, mut random) = (nodes.clone(), shared.clone(), plan.pause.clone(), random.fork());
            thread::spawn(move || publish(voice, &nodes, &shared, &pause, &mut random))
        });
        let publishing = publishing.collect();
        Audience { _place: place, shared, listening, publishing }
    }

    /// How many messages have been acknowledged.
    pub(crate) fn published(&self) -> usize {
        self.shared.last.iter().map(|last| last.load(Ordering::Relaxed)).sum()
    }

    /// Waits until so many more have been acknowledged: as long as it takes, if only it goes on.
    pub(crate) fn hears_more(&self, count: usize) {
        let (begun, mut last) = (self.published(), 0);
        while last < begun + count {
            until("something more is published", || self.published() > last.max(begun));
            last = self.published();
        }
    }

    /// No more is published. Holds if every page has had all of it, and nothing again but what was on its way when something broke,
    /// which was so often.
    pub(crate) fn end(mut self, breaks: usize) {
        // On a busy machine it takes longer until enough is said.
        while self.published() < MESSAGES_MIN && !self.publishing.iter().any(JoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(100));
        }
        self.shared.state.store(OVER, Ordering::Relaxed);
        std::mem::take(&mut self.publishing).into_iter().for_each(|voice| voice.join().unwrap());
        let ends: Vec<_> = std::mem::take(&mut self.listening).into_iter().map(|page| page.join().unwrap()).collect();
        let count = ends.len();
        let total = self.published();
        let wrong: Vec<&String> = ends.iter().filter_map(|end| end.as_ref().err()).collect();
        assert!(
            wrong.is_empty(),
            "{} pages of {count}, with {total} messages: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        );
        let pages = || ends.iter().flatten();
        let (heard, again): (usize, usize) = (pages().map(Page::count).sum(), pages().map(|page| page.again).sum());
        let failed: usize = pages().map(|page| page.failed).sum();
        let most = pages().map(|page| page.repeats).max().unwrap_or(0);
        println!(
            "{total} messages, heard {heard} times; {failed} polls failed; originals were told {again} again, in {most} answers at most"
        );
        assert!(
            most <= breaks,
            "a page was told again in {most} answers what it had had, and something broke {breaks} times"
        );
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        self.shared.state.store(GIVEN_UP, Ordering::Relaxed);
    }
}

/// Parts of the application that publish at a time, each in channels of its own.
const VOICES: usize = 4;

fn publish(voice: usize, nodes: &Doors, shared: &Shared, pause: &Range<u64>, random: &mut fastrand::Rng) {
    while shared.state.load(Ordering::Relaxed) == ON {
        let channel = random.usize(..shared.last.len() / VOICES) * VOICES + voice;
        let number = shared.last[channel].load(Ordering::Relaxed) + 1;
        let options = json!({"idempotency_key": format!("{channel}-{number}")});
        call(nodes, random, "publish", &json!([format!("c{channel}"), number.to_string(), options]));
        shared.last[channel].store(number, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(random.u64(pause.clone())));
    }
}

/// A page: what it heard, by channel.
struct Page {
    credential: String,
    /// Of the resume protocol.
    since: Option<String>,
    heard: BTreeMap<String, Vec<u64>>,
    /// Messages that it was told again, and answers in which it was.
    again: usize,
    repeats: usize,
    failed: usize,
    random: fastrand::Rng,
}

impl Page {
    fn new(number: usize, plan: &Plan, nodes: &Doors, random: &mut fastrand::Rng) -> Page {
        let id = format!("page{number}");
        let key = call(nodes, random, "create_client", &json!([id]));
        let channels = [number, number * 7 + 3].map(|channel| format!("c{}", channel % plan.channels));
        for channel in &channels {
            call(nodes, random, "subscribe", &json!([id, channel]));
        }
        let heard = channels.into_iter().map(|channel| (channel, Vec::new())).collect();
        let credential = format!("{id}_!!_{}", key.as_str().unwrap());
        let since = (number >= plan.originals).then(String::new);
        Page { credential, since, heard, again: 0, repeats: 0, failed: 0, random: random.fork() }
    }

    /// Polls until it has had all of each channel.
    fn run(&mut self, doors: &Doors, shared: &Shared) -> Result<(), String> {
        let mut patience = None;
        loop {
            match shared.state.load(Ordering::Relaxed) {
                ON => {}
                OVER if self.has_all(&shared.last) => return Ok(()),
                OVER => {
                    if patience.get_or_insert_with(|| Patience::new(END)).is_over() {
                        return Err(format!(
                            "{} still waits behind {:?}: {:?}",
                            self.credential, self.since, self.heard
                        ));
                    }
                }
                _ => return Err("nobody wants to know".into()),
            }
            let door = doors.any(&mut self.random);
            match self.poll(&door) {
                Some((200, body)) => self.take(&body)?,
                Some((404, body)) if body.starts_with(b"{") || body == b"Not Found\r\n" => {
                    return Err(format!("{} is gone: {}", self.credential, String::from_utf8_lossy(&body)));
                }
                _ => {
                    self.failed += 1;
                    thread::sleep(Duration::from_millis(self.random.u64(50..500)));
                }
            }
        }
    }

    fn poll(&self, door: &SockAddr) -> Option<(u16, Vec<u8>)> {
        let own = ("client_id", &*self.credential);
        let (path, patience) = match &self.since {
            Some(since) => (updates_path(&[own, ("since", since)]), PATIENCE),
            None => (updates_path(&[own, ("callback", "cb")]), PATIENCE_OF_ORIGINALS),
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        ask(door, &request, patience)
    }

    fn take(&mut self, body: &[u8]) -> Result<(), String> {
        let Some(since) = &self.since else { return self.take_original(body) };
        let answer: Value = serde_json::from_slice(body).unwrap();
        if answer["gaps"] != json!([]) {
            return Err(format!("{} is told a gap behind {since}: {}", self.credential, answer["gaps"]));
        }
        for message in answer["messages"].as_array().unwrap() {
            let number: u64 = message["data"].as_str().unwrap().parse().unwrap();
            let heard = self.heard.entry(message["channel"].as_str().unwrap().to_owned()).or_default();
            let before = heard.last().copied();
            if number != before.map_or(1, |before| before + 1) {
                return Err(format!(
                    "{} hears {number} behind {before:?} of {}; it asked behind {since}, and is at {}",
                    self.credential, message["channel"], answer["since"]
                ));
            }
            heard.push(number);
        }
        self.since = Some(answer["since"].as_str().unwrap().to_owned());
        Ok(())
    }

    fn take_original(&mut self, body: &[u8]) -> Result<(), String> {
        let inside = body.strip_prefix(b"cb(").and_then(|body| body.strip_suffix(b");"));
        let news: BTreeMap<String, Vec<(u64, String, Value)>> = serde_json::from_slice(inside.unwrap()).unwrap();
        let before = self.again;
        for (channel, messages) in news {
            let heard = self.heard.entry(channel.clone()).or_default();
            for (_, text, _) in messages {
                let (number, before): (u64, u64) = (text.parse().unwrap(), heard.last().copied().unwrap_or(0));
                if number > before + 1 {
                    return Err(format!("{} hears {number} behind {before} of {channel}", self.credential));
                }
                if number > before {
                    heard.push(number);
                } else {
                    self.again += 1;
                }
            }
        }
        self.repeats += usize::from(self.again > before);
        Ok(())
    }

    fn has_all(&self, last: &[AtomicUsize]) -> bool {
        self.heard.iter().all(|(channel, heard)| {
            let channel: usize = channel[1..].parse().unwrap();
            heard.len() == last[channel].load(Ordering::Relaxed)
        })
    }

    fn count(&self) -> usize {
        self.heard.values().map(Vec::len).sum()
    }
}

/// Calls until it is done; what is called is such that it may be done twice.
fn call(nodes: &Doors, random: &mut fastrand::Rng, method: &str, params: &Value) -> Value {
    let body = json!({"method": method, "params": params, "id": 1}).to_string();
    let length = body.len();
    let request =
        format!("POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    let patience = Patience::new(END);
    loop {
        let answer = ask(&nodes.any(random), &request, PATIENCE);
        let answer = answer.and_then(|(_, body)| serde_json::from_slice::<Value>(&body).ok());
        match answer {
            Some(answer) if answer.get("error").is_none_or(Value::is_null) => return answer["result"].clone(),
            _ => assert!(!patience.is_over(), "{method} is not done: {answer:?}"),
        }
        thread::sleep(Duration::from_millis(random.u64(20..100)));
    }
}

/// Status and body, if there is an answer.
fn ask(to: &SockAddr, request: &str, patience: Duration) -> Option<(u16, Vec<u8>)> {
    let mut socket = Socket::new(to.domain(), Type::STREAM, None).ok()?;
    socket.connect_timeout(to, patience).ok()?;
    socket.set_read_timeout(Some(patience)).ok()?;
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    // Half of an answer is none.
    let status = head[9..12].parse().ok()?;
    (Some(answer.len() - end) == length).then(|| (status, answer.split_off(end)))
}
