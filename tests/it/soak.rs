//! 5,000 pages at once, for some seconds, against one server: every message to every page exactly once and in order,
//! nothing to anybody else, and no memory kept when all have gone.
//!
//! The test is the only publisher and makes one call after the other, so it knows the id of every message: a [`Room`]
//! is the twin of a channel. A [`Page`] is the twin of what a browser does: one connection with one poll at a time, for
//! one client or a few. What the pages do is random; the seed is printed and `SOAK_SEED` sets it. How the work of both
//! processes interleaves is not repeatable, so a seed repeats the calls and not the run.
//!
//! **Hanging up.** In the original's protocol an answer counts as delivered when it has left the server, so a connection
//! that breaks while an answer is on its way takes the answer with it (WIRE P18). Pages here hang up in the two ways in
//! which nothing may be lost. A page that *leaves* closes its own end only and listens until the server closes too: the
//! server gives up the poll or has answered it, and the answer is read. Pages that *vanish* close for good, some with a
//! reset; but all at a time when every page has what it is owed, so at most an empty answer is on its way, and nothing
//! is published before the server has closed its end of them all.
//!
//! No time is measured: the run has a number of steps, and what must come is waited for until [`PATIENCE`] is over.

#![allow(clippy::disallowed_methods, reason = "the test looks at the clock to give up, and leaves the server alone")]

use crate::support::{Connection, Patience, Server, get, post};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Map, Value, json};
use socket2::SockRef;
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

/// Pages, each with a connection and a parked poll. Both processes have as many descriptors: well below the 20,000 that
/// machines with a low limit give.
const PAGES: usize = 5_000;

/// Every so-and-so-many-th page has three clients, or two.
const PAGES_PER_TRIPLE: usize = 50;
const PAGES_PER_PAIR: usize = 10;

/// Channels. Each page starts in one to three of them, so each has about seven subscribers: everybody who joins is told
/// to all who are there, so the work of an arrival grows with the square.
const ROOMS: usize = 1_500;

/// One larger channel, for a fan-out that takes the server several turns.
const HALL: usize = 0;
const PAGES_IN_HALL: usize = 300;

/// What is done twice, each time with a crowd and channels of its own.
const ROUNDS: usize = 2;

/// Deeds in a round, and how often it is interrupted for some pages to vanish.
const STEPS: usize = 1_200;
const LULLS: usize = 2;
const VANISHING: usize = 250;

/// Pages that are still parked when the server is stopped.
const FEWER_PAGES: usize = 1_000;

/// Half of what the server takes at most.
const CALLS_PER_BATCH: usize = 500;

/// By how much the server may be larger after the second crowd than after the first, when it has grown to the size that
/// such a crowd needs and the allocator has kept that. Rounds differ by about 1 MiB; what one publishes takes 8 MiB
/// while it is kept, so keeping it would show.
const MEMORY_KEPT_MAX: u64 = 3 << 20;

/// When the server forgets a channel that nobody is in.
const CHANNEL_IDLE: Duration = Duration::from_millis(100);

/// How long anything may take. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A channel as it must be: texts and senders, the first with the id 1.
#[derive(Default)]
struct Room {
    log: Vec<(String, String)>,
}

/// A page's one connection, and what it is owed.
struct Page {
    /// None while nobody is there.
    socket: Option<TcpStream>,
    inbox: Vec<u8>,
    phase: Phase,
    /// Ids and keys; polled for together.
    clients: Vec<(String, String)>,
    stays: Vec<Stay>,
    /// The id of the last message that it got, by room.
    seen: HashMap<usize, u64>,
    /// Answers without a message.
    empty: u32,
}

/// A subscription, past or present: which messages it is about.
struct Stay {
    client: usize,
    room: usize,
    /// The client's own `subscribe` message is the first.
    from: u64,
    /// Its own `unsubscribe` message is not for it any more. What it had not got before is forgotten (WIRE C3).
    until: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// A poll is under way; when it is answered the next one goes out.
    Polling,
    /// It has closed its end. Next: the server closes, and it comes back over a new connection.
    Leaving,
    /// Its clients are killed. Next: the poll is answered, and it gets new clients.
    Killed,
    /// It does not poll.
    Silent,
}

struct Soak {
    server: Server,
    /// How many descriptors the server has open when there are no pages.
    descriptors_alone: usize,
    /// The web application's connection.
    calls: Connection,
    poll: Poll,
    rooms: Vec<Room>,
    pages: Vec<Page>,
    /// Clients made so far, for their names.
    clients: usize,
    random: fastrand::Rng,
    /// Part of the channels' names, as each round has its own.
    round: usize,
    /// Killed pages get no new clients.
    ending: bool,
    published: usize,
    answers: u64,
    messages: u64,
}

/// One message in an answer: id, text, sender.
type Triple = (u64, String, String);

impl Soak {
    fn start(poll_timeout: &str) -> Soak {
        let seed = std::env::var("SOAK_SEED");
        let seed = seed.map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
        println!("SOAK_SEED={seed}");
        let limit = getrlimit(Resource::Nofile);
        let enough = limit.maximum.is_none_or(|maximum| maximum > PAGES as u64 + 100);
        assert!(enough, "{PAGES} connections need more descriptors than `ulimit -Hn` allows: {limit:?}");
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
            .expect("up to the hard limit");
        let server = Server::with(&[
            // Everything is kept until it is read,
            "--history=1000000",
            "--history-system=shared",
            "--history-bytes=1GiB",
            "--history-total=1GiB",
            "--history-age=1d",
            // clients live until they are killed or the test is over,
            "--min-alive=1d",
            "--max-idle=1d",
            // so does the connection of a page that is silent,
            "--idle-timeout=1d",
            &format!("--poll-timeout={poll_timeout}"),
            // one client is in every room,
            "--max-subscriptions=10000",
            // who has slept gets what it has missed in several answers,
            "--max-answer=256KiB",
            // and deserted channels are freed soon.
            &format!("--channel-idle={}ms", CHANNEL_IDLE.as_millis()),
        ]);
        let mut soak = Soak {
            calls: server.connect(),
            server,
            descriptors_alone: 0,
            poll: Poll::new().expect("a new poll"),
            rooms: Vec::new(),
            pages: Vec::new(),
            clients: 0,
            random: fastrand::Rng::with_seed(seed),
            round: 0,
            ending: false,
            published: 0,
            answers: 0,
            messages: 0,
        };
        // When it is answered, the server has accepted the connection.
        soak.call("system.list_methods", json!([]));
        soak.descriptors_alone = soak.descriptors();
        soak
    }

    // --- the web application

    fn call(&mut self, method: &str, params: Value) -> Value {
        let mut answer = self.send(&json!({"method": method, "params": params, "id": 1}));
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// The same call for many, in batches of JSON-RPC 2.0.
    fn call_for_each(&mut self, method: &str, many: &[String]) -> Vec<Value> {
        let mut results = Vec::new();
        for some in many.chunks(CALLS_PER_BATCH) {
            let call = |(id, one)| json!({"jsonrpc": "2.0", "method": method, "params": [one], "id": id});
            let batch: Value = some.iter().enumerate().map(call).collect();
            let Value::Array(answers) = self.send(&batch) else { panic!("{method}: not a batch") };
            assert_eq!(answers.len(), some.len(), "{method}");
            for (id, mut answer) in answers.into_iter().enumerate() {
                assert!(answer["id"] == id && answer.get("error").is_none(), "{method}: {answer}");
                results.push(answer["result"].take());
            }
        }
        results
    }

    fn send(&mut self, call: &Value) -> Value {
        self.calls.send(post(call.to_string()));
        let response = self.calls.within(PATIENCE).unwrap_or_else(|why| panic!("{why:?} in place of an answer"));
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }

    /// Writes down what the server is about to publish; returns the id.
    fn log(&mut self, room: usize, text: &str, from: &str) -> u64 {
        let log = &mut self.rooms[room].log;
        log.push((text.to_owned(), from.to_owned()));
        log.len() as u64
    }

    fn publish(&mut self, room: usize) {
        let text = self.text();
        self.log(room, &text, "app");
        let call = json!(["app", text, self.name(room), false]);
        assert_eq!(self.call("new_message", call), 1);
    }

    /// Mostly a short text, sometimes a long one, of all sorts of characters. The lengths are not random: all rounds
    /// publish as much.
    fn text(&mut self) -> String {
        self.published += 1;
        let length = match self.published {
            nth if nth.is_multiple_of(20) => 20_000,
            nth if nth.is_multiple_of(5) => 1_000,
            nth => nth % 60,
        };
        let sorts = ['a', 'b', ' ', '"', '\\', '\n', '<', 'é', '日', '\u{2028}', '😀'];
        (0..length).map(|_| *self.random.choice(&sorts).expect("there are some")).collect()
    }

    fn name(&self, room: usize) -> String {
        format!("round-{} room-{room}", self.round)
    }

    fn subscribe(&mut self, page: usize, client: usize, room: usize) {
        self.joins(page, client, room);
        let call = json!([self.pages[page].clients[client].0, self.name(room)]);
        assert_eq!(self.call("subscribe", call), 1);
    }

    fn joins(&mut self, page: usize, client: usize, room: usize) {
        let id = self.pages[page].clients[client].0.clone();
        let from = self.log(room, r#"{"type": "subscribe"}"#, &id);
        let stays = &mut self.pages[page].stays;
        // Who subscribes again stays where it was (WIRE C2).
        if !stays.iter().any(|stay| stay.is_of(client, room)) {
            stays.push(Stay { client, room, from, until: None });
        }
    }

    /// The room may be one that the client is not in: then everybody else hears of it all the same (WIRE M3).
    fn unsubscribe(&mut self, page: usize, client: usize, room: usize) {
        self.leaves(page, client, room, r#"{"type": "unsubscribe", "gc": false}"#);
        let call = json!([self.pages[page].clients[client].0, self.name(room)]);
        assert_eq!(self.call("unsubscribe", call), 1);
    }

    fn leaves(&mut self, page: usize, client: usize, room: usize, text: &str) {
        let id = self.pages[page].clients[client].0.clone();
        let until = self.log(room, text, &id);
        if let Some(stay) = self.pages[page].stays.iter_mut().find(|stay| stay.is_of(client, room)) {
            stay.until = Some(until);
        }
    }

    /// Kills all clients of a page.
    fn kill(&mut self, page: usize) {
        self.die(page);
        for client in 0..self.pages[page].clients.len() {
            assert_eq!(self.call("kill_client", json!([self.pages[page].clients[client].0])), 200);
        }
    }

    fn die(&mut self, page: usize) {
        let present = self.pages[page].stays.iter().filter(|stay| stay.until.is_none());
        let mut left: Vec<(usize, usize)> = present.map(|stay| (stay.client, stay.room)).collect();
        left.sort_unstable();
        for (client, room) in left {
            self.leaves(page, client, room, r#"{"type": "unsubscribe", "gc": true}"#);
        }
        self.pages[page].phase = Phase::Killed;
    }

    /// New clients for a page, without subscriptions.
    fn create_clients(&mut self, page: usize, count: usize) {
        let ids = self.new_ids(count);
        let keys = self.call_for_each("create_client", &ids);
        self.pages[page].belongs_to(ids, keys);
    }

    fn new_ids(&mut self, count: usize) -> Vec<String> {
        let first = self.clients;
        self.clients += count;
        (first..self.clients).map(|number| format!("client-{number}")).collect()
    }

    // --- pages

    /// A crowd comes: clients are made and subscribed, then all begin to poll. Page 0 keeps all the rooms alive, and does
    /// not poll before the end.
    fn arrive(&mut self, pages: usize) {
        self.round += 1;
        self.rooms.resize_with(ROOMS, Room::default);
        let counts = (0..pages).map(|page| match page {
            page if page % PAGES_PER_TRIPLE == 1 => 3,
            page if page % PAGES_PER_PAIR == 1 => 2,
            _ => 1,
        });
        let mut ids = self.new_ids(counts.clone().sum());
        let mut keys = self.call_for_each("create_client", &ids);
        for (page, count) in counts.enumerate() {
            let mut new = Page::over(self.connect(page));
            new.belongs_to(ids.drain(..count).collect(), keys.drain(..count).collect());
            self.pages.push(new);
        }
        let mut wishes = Map::new();
        for room in 0..ROOMS {
            self.wish(&mut wishes, 0, 0, room);
        }
        for page in 1..pages {
            for client in 0..self.pages[page].clients.len() {
                for _ in 0..self.random.usize(1..=3) {
                    let room = self.random.usize(1..ROOMS);
                    self.wish(&mut wishes, page, client, room);
                }
            }
            if page <= PAGES_IN_HALL {
                self.wish(&mut wishes, page, 0, HALL);
            }
        }
        assert_eq!(self.call("subscribe_many", json!([wishes])), 200);
        for page in 1..pages {
            self.poll_for(page);
        }
    }

    /// A subscription that is made with many others in one call.
    fn wish(&mut self, wishes: &mut Map<String, Value>, page: usize, client: usize, room: usize) {
        self.joins(page, client, room);
        let list = wishes.entry(self.name(room)).or_insert_with(|| json!([]));
        list.as_array_mut().expect("a list").push(json!(self.pages[page].clients[client].0));
    }

    fn connect(&self, page: usize) -> TcpStream {
        let address = self.server.address().as_socket().expect("a TCP listener");
        let mut socket = connect(address);
        self.poll.registry().register(&mut socket, Token(page), Interest::READABLE).expect("a new socket");
        socket
    }

    fn poll_for(&mut self, page: usize) {
        let page = &mut self.pages[page];
        let clients: String = page.clients.iter().map(|(id, key)| format!("&client_id={id}_!!_{key}")).collect();
        let request = get(&format!("/message_updates?callback=cb{clients}"));
        let written = page.socket().write(request.as_bytes()).expect("an open connection");
        assert_eq!(written, request.len(), "a few hundred bytes fit into an empty socket");
        page.phase = Phase::Polling;
    }

    /// Hears what has come for the pages, and lets them react. Waits for it as long as `patience` says.
    fn turn(&mut self, patience: Duration) {
        let mut events = Events::with_capacity(1024);
        match self.poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            polled => polled.expect("the pages' sockets can be watched"),
        }
        for event in &events {
            self.hear(event.token().0);
        }
    }

    fn hear(&mut self, page: usize) {
        let mut chunk = [0; 16 << 10];
        let closed = loop {
            match self.pages[page].socket().read(&mut chunk) {
                Ok(0) => break true,
                Ok(count) => self.pages[page].inbox.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) => panic!("page {page}: {error}"),
            }
        };
        while let Some((status, body)) = self.pages[page].answer() {
            self.hear_answer(page, status, &body);
        }
        if closed {
            assert_eq!(self.pages[page].phase, Phase::Leaving, "page {page}: the server closes");
            assert!(self.pages[page].inbox.is_empty(), "page {page}: half an answer");
            self.come_back(page);
        }
    }

    fn hear_answer(&mut self, page: usize, status: u16, body: &[u8]) {
        self.answers += 1;
        match (status, self.pages[page].phase) {
            // The poll came after the call.
            (404, Phase::Killed) => {}
            (200, phase) if phase != Phase::Silent => self.judge(page, body),
            (_, phase) => panic!("page {page} is {phase:?}: {status} {}", String::from_utf8_lossy(body)),
        }
        match self.pages[page].phase {
            Phase::Polling => self.poll_for(page),
            Phase::Leaving | Phase::Silent => {}
            Phase::Killed if self.ending => self.pages[page].phase = Phase::Silent,
            Phase::Killed => {
                self.create_clients(page, self.pages[page].clients.len());
                for client in 0..self.pages[page].clients.len() {
                    let room = self.random.usize(1..ROOMS);
                    self.subscribe(page, client, room);
                }
                self.poll_for(page);
            }
        }
    }

    fn come_back(&mut self, page: usize) {
        self.pages[page].socket = Some(self.connect(page));
        self.poll_for(page);
    }

    // --- the judge

    /// Every message was published in that room as it came, while a client of the page was subscribed; it is new to the
    /// page; and none is missing before it.
    fn judge(&mut self, page: usize, body: &[u8]) {
        let inside = body.strip_prefix(b"cb(").and_then(|rest| rest.strip_suffix(b");")).expect("cb(...);");
        let news: HashMap<String, Vec<Triple>> =
            serde_json::from_slice(inside).expect("channels with lists of triples");
        self.pages[page].empty += u32::from(news.is_empty());
        for (channel, triples) in news {
            let (round, room) = channel.split_once(" room-").expect("a channel of ours");
            assert_eq!(round, format!("round-{}", self.round), "page {page}: {channel}");
            let room: usize = room.parse().expect("a number");
            assert!(!triples.is_empty(), "page {page}: {channel} without messages");
            for (id, text, from) in triples {
                self.messages += 1;
                self.pages[page]
                    .take(room, id)
                    .unwrap_or_else(|why| panic!("page {page}, {channel}, message {id}: {why}"));
                let logged = id.checked_sub(1).and_then(|at| self.rooms[room].log.get(usize::try_from(at).ok()?));
                let (logged_text, logged_from) = logged.expect("take lets nothing pass that was not published");
                assert!(
                    (logged_text, logged_from) == (&text, &from),
                    "page {page}, {channel}, message {id}: another one"
                );
            }
        }
    }

    /// A room in which the page has not got everything, and how much it has.
    fn owed(&self, page: usize) -> Option<(usize, u64)> {
        let page = &self.pages[page];
        let mut present = page.stays.iter().filter(|stay| stay.until.is_none());
        present.find_map(|stay| {
            let seen = page.seen(stay.room);
            (seen < self.rooms[stay.room].log.len() as u64).then_some((stay.room, seen))
        })
    }

    /// How many descriptors the server has open.
    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.server.pid())).expect("the server runs").count()
    }

    /// The server's memory, in bytes.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.server.pid())).expect("the server runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
        line.trim().strip_suffix(" kB").and_then(|kb| kb.parse::<u64>().ok()).expect("a number of kB") << 10
    }

    // --- the parts of the run

    fn round(&mut self) {
        self.arrive(PAGES);
        self.settle();
        for step in 1..=STEPS {
            self.step();
            // Now and then the pages are slow, and much comes at once.
            if !(step / 64).is_multiple_of(4) {
                self.turn(Duration::ZERO);
            }
            if step.is_multiple_of(STEPS / LULLS) {
                self.vanish();
            }
        }
        self.go();
        self.outlast_channels();
        self.until_connections(0);
        println!(
            "round {}: {} answers, {} messages, {} KiB",
            self.round,
            self.answers,
            self.messages,
            self.memory() >> 10
        );
    }

    /// One random deed.
    fn step(&mut self) {
        let page = self.random.usize(1..self.pages.len());
        let room = self.random.usize(1..ROOMS);
        if self.pages[page].phase != Phase::Polling {
            return self.publish(room);
        }
        let client = self.random.usize(..self.pages[page].clients.len());
        match self.random.u8(..100) {
            0..60 => self.publish(room),
            // Somebody joins while the others are being told.
            60..61 => {
                self.publish(HALL);
                self.subscribe(page, client, HALL);
            }
            61..75 => self.subscribe(page, client, room),
            75..77 => self.unsubscribe(page, client, room),
            77..85 => {
                let stays = &self.pages[page].stays;
                let room = self.random.choice(stays).map_or(room, |stay| stay.room);
                self.unsubscribe(page, client, room);
            }
            85..95 => {
                self.pages[page].socket().shutdown(Shutdown::Write).expect("an open connection");
                self.pages[page].phase = Phase::Leaving;
            }
            _ => self.kill(page),
        }
    }

    /// Until it is so, pages go on.
    fn until(&mut self, mut is_so: impl FnMut(&Soak) -> Result<(), String>) {
        let patience = Patience::new(PATIENCE);
        while let Err(why) = is_so(self) {
            assert!(!patience.is_over(), "not within {PATIENCE:?}: {why}");
            self.turn(Duration::from_millis(10));
        }
    }

    /// Until it is so for every page; of whom it was so once is not asked again.
    fn until_each(&mut self, is_so: impl Fn(&Soak, usize) -> Result<(), String>) {
        let mut checked = 0;
        self.until(|soak| {
            while checked < soak.pages.len() {
                is_so(soak, checked)?;
                checked += 1;
            }
            Ok(())
        });
    }

    /// Until every page that polls has all it is owed and waits for more.
    fn settle(&mut self) {
        // First nobody may be about to come back: killed pages subscribe anew, which others hear of.
        self.until_each(|soak, page| match soak.pages[page].phase {
            Phase::Polling | Phase::Silent => Ok(()),
            phase => Err(format!("page {page} is {phase:?}")),
        });
        self.until_each(|soak, page| match soak.owed(page) {
            Some((room, seen)) if soak.pages[page].phase == Phase::Polling => {
                Err(format!("page {page} has only {seen} messages of {}", soak.name(room)))
            }
            _ => Ok(()),
        });
    }

    /// When all have settled some vanish. They come back when the server has noticed.
    fn vanish(&mut self) {
        self.settle();
        self.until_connections(self.pages.len());
        let mut vanished: Vec<usize> = (1..self.pages.len()).collect();
        self.random.shuffle(&mut vanished);
        vanished.truncate(VANISHING);
        for &page in &vanished {
            if self.random.bool() {
                let socket = SockRef::from(&*self.pages[page].socket());
                socket.set_linger(Some(Duration::ZERO)).expect("TCP can send a reset in place of a goodbye");
            }
            self.pages[page].socket = None;
            self.pages[page].inbox.clear();
        }
        self.until_connections(self.pages.len() - vanished.len());
        for page in vanished {
            self.come_back(page);
        }
    }

    /// The crowd goes. Page 0 wakes up, everybody gets the rest, and when all are killed their polls end; then they
    /// hang up.
    fn go(&mut self) {
        self.poll_for(0);
        self.settle();
        self.ending = true;
        for page in 0..self.pages.len() {
            self.die(page);
        }
        let clients = self.pages.iter().flat_map(|page| &page.clients);
        let ids: Vec<String> = clients.map(|(id, _)| id.clone()).collect();
        assert!(self.call_for_each("kill_client", &ids).iter().all(|result| *result == 200));
        self.until_each(|soak, page| match soak.pages[page].phase {
            Phase::Silent => Ok(()),
            _ => Err(format!("page {page} is killed, but its poll is not answered")),
        });
        self.ending = false;
        self.pages.clear();
        self.rooms.clear();
    }

    /// A debug build looks through all that it has before it says that it ended well.
    fn stop(self) {
        let status = self.server.stop();
        assert_eq!(status.code(), Some(0), "{status}");
    }

    /// Until the server has so many connections, besides the web application's.
    fn until_connections(&mut self, count: usize) {
        self.until(|soak| match soak.descriptors() - soak.descriptors_alone {
            now if now == count => Ok(()),
            now => Err(format!("the server has {now} connections, not {count}")),
        });
    }

    /// Until the server has forgotten the channels that nobody is in: all of them, when it has forgotten one that was
    /// deserted after all others.
    fn outlast_channels(&mut self) {
        let witness = self.server.client("witness");
        witness.subscribe("deserted");
        // What it has not read would keep the channel.
        witness.news();
        witness.unsubscribe("deserted");
        let ask = json!({"method": "channel_info", "params": ["deserted"], "id": 1});
        let patience = Patience::new(PATIENCE);
        while self.server.rpc(&ask).get("error").is_none() {
            assert!(!patience.is_over(), "not within {PATIENCE:?}: a deserted channel is forgotten");
            std::thread::sleep(CHANNEL_IDLE);
        }
        witness.kill();
    }
}

impl Page {
    fn over(socket: TcpStream) -> Page {
        let (inbox, clients, stays) = (Vec::new(), Vec::new(), Vec::new());
        Page { socket: Some(socket), inbox, phase: Phase::Silent, clients, stays, seen: HashMap::new(), empty: 0 }
    }

    fn belongs_to(&mut self, ids: Vec<String>, keys: Vec<Value>) {
        let keys = keys.into_iter().map(|key| key.as_str().expect("a key").to_owned());
        self.clients = ids.into_iter().zip(keys).collect();
        self.stays.clear();
        self.seen.clear();
    }

    fn socket(&mut self) -> &mut TcpStream {
        self.socket.as_mut().expect("only vanished pages have none, and they do nothing")
    }

    /// The first whole answer in the inbox: status and body.
    fn answer(&mut self) -> Option<(u16, Vec<u8>)> {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(start) = head.parse(&self.inbox).expect("an answer's head") else { return None };
        let status = head.code.expect("a status");
        let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
        let end = start + length.expect("a Content-Length");
        if end > self.inbox.len() {
            return None;
        }
        let body = self.inbox[start..end].to_vec();
        self.inbox.drain(..end);
        Some((status, body))
    }

    fn seen(&self, room: usize) -> u64 {
        self.seen.get(&room).copied().unwrap_or(0)
    }

    fn take(&mut self, room: usize, id: u64) -> Result<(), &'static str> {
        let seen = self.seen.insert(room, id).unwrap_or(0);
        if id <= seen {
            return Err("it came before");
        }
        let mut stays = self.stays.iter().filter(|stay| stay.room == room);
        if !stays.clone().any(|stay| stay.from <= id && stay.until.is_none_or(|until| id < until)) {
            return Err("nobody there is subscribed");
        }
        // What is skipped may be missing only if nobody who is subscribed still was subscribed then.
        if stays.any(|stay| stay.until.is_none() && stay.from.max(seen + 1) < id) {
            return Err("there is one missing before it");
        }
        Ok(())
    }
}

impl Stay {
    /// Whether it is the client's present subscription to the room.
    fn is_of(&self, client: usize, room: usize) -> bool {
        self.until.is_none() && (self.client, self.room) == (client, room)
    }
}

/// Connects at once: whoever comes by the thousand must wait for its turn, and not be turned away.
fn connect(address: SocketAddr) -> TcpStream {
    let socket = std::net::TcpStream::connect(address).expect("the server accepts");
    socket.set_nodelay(true).expect("TCP can");
    socket.set_nonblocking(true).expect("every socket can");
    TcpStream::from_std(socket)
}

#[test]
fn a_crowd_gets_every_message_once_and_leaves_nothing() {
    // Nobody may be helped by a timeout to what it should have been told.
    let mut soak = Soak::start("1d");
    let mut memory = Vec::new();
    for _ in 0..ROUNDS {
        soak.round();
        memory.push(soak.memory());
    }
    let level = memory[0] + MEMORY_KEPT_MAX;
    soak.until(|soak| match soak.memory() {
        now if now <= level => Ok(()),
        now => Err(format!("the server's memory was {memory:?} bytes after the rounds, is {now}, not {level}")),
    });

    soak.arrive(FEWER_PAGES);
    soak.settle();
    soak.stop();
}

#[test]
fn a_crowd_without_news_is_answered_empty_again_and_again() {
    let mut soak = Soak::start("500ms");
    soak.arrive(FEWER_PAGES);
    soak.settle();
    soak.until_each(|soak, page| match soak.pages[page].empty {
        empty if empty >= 3 || page == 0 => Ok(()),
        empty => Err(format!("page {page} had only {empty} empty answers")),
    });
    soak.publish(HALL);
    soak.settle();
    soak.stop();
}
