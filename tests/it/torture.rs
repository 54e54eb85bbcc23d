//! 1,000 clients on the resume protocol whose connections die in every way and at every moment, for some twenty seconds:
//! nothing is lost, nothing comes twice, nothing is out of order, and what a limit has taken away is told.
//!
//! The test is the only publisher and makes one call after the other, so it knows the order of all messages: a [`Room`] is
//! the twin of a channel. A [`Page`] is the twin of what a browser does; it keeps the position of the last answer that
//! it has believed, and the judge holds each message against what the rooms have said. What is done is random; the seed
//! is printed and `TORTURE_SEED` sets it. How the work of the processes interleaves is not repeatable, so a seed repeats
//! the choices and not the run.
//!
//! Three parts: much history, where no gap may be told at all; little, where every hole is covered by a gap that was
//! told, and every gap that was told is about a hole; and much again through a real nginx.

#![allow(clippy::disallowed_methods, reason = "the parts of the test end by the clock")]

use crate::support::crowd::{connect, raise_descriptor_limit, reset, take_answer};
use crate::support::nginx::{Nginx, temporary};
use crate::support::{Connection, Patience, Server, get, post};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};
use socket2::SockAddr;
use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

const CLIENTS: usize = 1_000;

/// Pages that share their client with another one, each with a position of its own.
const TABS: usize = 100;

const ROOMS: usize = 50;

/// How long each part is tortured. Coming and draining take a second or two more.
const TORTURE: Duration = Duration::from_millis(5_000);

/// How long anything may take. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A channel as it must be: the first message has the id 1.
#[derive(Default)]
struct Room {
    log: Vec<Said>,
}

struct Said {
    /// Its place among all messages of all rooms.
    order: u64,
    text: String,
    from: String,
    system: bool,
    /// The client that does not get it.
    excluded: Option<usize>,
}

/// What a client has been subscribed to. Its own `subscribe` message is the first, its own `unsubscribe` is none of it.
struct Stay {
    room: usize,
    from: u64,
    until: Option<u64>,
}

struct Client {
    id: String,
    key: String,
    stays: Vec<Stay>,
    /// It has several pages. What one of them has acknowledged of an ended subscription is gone for the others too, so
    /// these stay where they are.
    is_shared: bool,
}

/// A page's connection and what it believes.
struct Page {
    client: usize,
    as_script: bool,
    socket: Option<TcpStream>,
    inbox: Vec<u8>,
    /// What happens to the poll that is under way.
    fate: Fate,
    /// When it does something by itself.
    wakes: Option<Instant>,
    judge: Judge,
    drained: bool,
}

/// What a page has got.
#[derive(Clone, Default)]
struct Judge {
    since: String,
    /// The order of the last message.
    last: u64,
    /// By room, the last id.
    seen: HashMap<usize, u64>,
    /// By room, up to which id something was told to be lost: anything, and more than system messages.
    told: HashMap<usize, [u64; 2]>,
    /// Holes that no gap has been told for yet: only while there is more to come.
    holes: Vec<(usize, u64)>,
    /// Holes that were there at all.
    lost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// The answer arrives and is believed.
    Lives,
    /// The connection dies at a certain time, whatever has come by then, after so many bytes of the request.
    Dies { reset: bool },
    /// The connection dies when the first bytes of the answer come.
    DiesOver { reset: bool },
    /// The answer arrives, but the page does not come to look at it, and asks again over the same connection.
    Forgets,
    /// The page says that it sends nothing any more; the server takes that for a goodbye.
    HalfCloses,
    /// The page does not read for a while.
    Dawdles,
    /// There is no poll.
    Sleeps,
}

#[derive(Default, Debug)]
struct Counts {
    published: u64,
    answers: u64,
    messages: u64,
    gaps: u64,
    lost: u64,
    fates: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Whether it was no walk in the park.
    fn was_no_walk(&self) -> bool {
        self.fates.values().all(|&count| count > 50) && self.messages > 10_000
    }
}

struct World {
    server: Server,
    /// Where the pages connect to: the server, or the nginx before it.
    door: SockAddr,
    calls: Connection,
    poll: Poll,
    rooms: Vec<Room>,
    clients: Vec<Client>,
    pages: Vec<Page>,
    random: fastrand::Rng,
    /// The order of the newest message.
    order: u64,
    /// No gap can be.
    keeps_all: bool,
    /// Where everybody is to come to, when nothing is published any more.
    end: Option<String>,
    counts: Counts,
}

impl World {
    fn start(server: Server, door: SockAddr, keeps_all: bool, seed: u64) -> World {
        World {
            calls: server.connect(),
            server,
            door,
            poll: Poll::new().expect("a new poll"),
            rooms: (0..ROOMS).map(|_| Room::default()).collect(),
            clients: Vec::new(),
            pages: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            order: 0,
            keeps_all,
            end: None,
            counts: Counts::default(),
        }
    }

    // --- the web application

    /// Several calls in one batch; their results.
    fn call(&mut self, calls: &[(&str, Value)]) -> Vec<Value> {
        let mut results = Vec::with_capacity(calls.len());
        for some in calls.chunks(500) {
            let call = |(id, (method, params)): (usize, &(&str, Value))| json!({"jsonrpc": "2.0", "method": method, "params": params, "id": id});
            let batch: Value = some.iter().enumerate().map(call).collect();
            self.calls.send(post(batch.to_string()));
            let response = self.calls.within(PATIENCE).unwrap_or_else(|why| panic!("{why:?} in place of an answer"));
            let Value::Array(answers) = response.json() else { panic!("no batch: {response:?}") };
            assert_eq!(answers.len(), some.len());
            for (id, mut answer) in answers.into_iter().enumerate() {
                assert!(answer["id"] == id && answer.get("error").is_none(), "{:?}: {answer}", some[id]);
                results.push(answer["result"].take());
            }
        }
        results
    }

    /// Writes down what the server is about to say; returns the id.
    fn log(&mut self, room: usize, text: &str, from: &str, system: bool, excluded: Option<usize>) -> u64 {
        self.order += 1;
        self.counts.published += 1;
        let said = Said { order: self.order, text: text.to_owned(), from: from.to_owned(), system, excluded };
        self.rooms[room].log.push(said);
        self.rooms[room].log.len() as u64
    }

    /// Some messages at once, here and there.
    fn publish(&mut self, count: usize) {
        let (mut calls, mut ids) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (room, text) = (self.random.usize(..ROOMS), self.text());
            // Where a page can be told of a gap it may be one in what was not for it.
            let excluded = (self.keeps_all && self.random.u8(..10) == 0).then(|| self.random.usize(..CLIENTS));
            ids.push(self.log(room, &text, "app", false, excluded));
            let mut options = json!({"from": "app"});
            if let Some(excluded) = excluded {
                options["exclude"] = json!([self.clients[excluded].id]);
            }
            calls.push(("publish", json!([name(room), text, options])));
        }
        let results = self.call(&calls);
        assert!(results.iter().zip(ids).all(|(result, id)| result["id"] == id), "{results:?}");
    }

    /// Mostly short, sometimes longer than a socket takes at once.
    fn text(&mut self) -> String {
        let length = match self.random.u32(..1000) {
            0 => 200_000,
            1..20 => 5_000,
            _ => self.random.usize(..40),
        };
        let sorts = ['a', 'b', ' ', '"', '\\', '\n', '<', 'é', '日', '\u{2028}', '😀'];
        let sort = *self.random.choice(&sorts).expect("there are some");
        format!("{} {}", self.order + 1, std::iter::repeat_n(sort, length).collect::<String>())
    }

    fn subscribe(&mut self, client: usize, room: usize) -> (&'static str, Value) {
        let id = self.clients[client].id.clone();
        let from = self.log(room, r#"{"type": "subscribe"}"#, &id, true, None);
        let stays = &mut self.clients[client].stays;
        if !stays.iter().any(|stay| stay.room == room && stay.until.is_none()) {
            stays.push(Stay { room, from, until: None });
        }
        ("subscribe", json!([id, name(room)]))
    }

    fn unsubscribe(&mut self, client: usize, room: usize) -> (&'static str, Value) {
        let id = self.clients[client].id.clone();
        let until = self.log(room, r#"{"type": "unsubscribe", "gc": false}"#, &id, true, None);
        let stays = &mut self.clients[client].stays;
        if let Some(stay) = stays.iter_mut().find(|stay| stay.room == room && stay.until.is_none()) {
            stay.until = Some(until);
        }
        ("unsubscribe", json!([id, name(room)]))
    }

    /// A client comes or goes somewhere.
    fn move_somebody(&mut self) {
        let (client, room) = (self.random.usize(..CLIENTS), self.random.usize(..ROOMS));
        let call = if self.clients[client].is_shared || self.random.bool() {
            self.subscribe(client, room)
        } else {
            let stays = &self.clients[client].stays;
            let room = self.random.choice(stays).map_or(room, |stay| stay.room);
            self.unsubscribe(client, room)
        };
        self.call(&[call]);
    }

    // --- pages

    fn arrive(&mut self) {
        let ids: Vec<String> = (0..CLIENTS).map(|n| format!("client-{n}")).collect();
        let calls: Vec<(&str, Value)> = ids.iter().map(|id| ("create_client", json!([id]))).collect();
        for (at, (id, key)) in ids.into_iter().zip(self.call(&calls)).enumerate() {
            let key = key.as_str().expect("a key").to_owned();
            self.clients.push(Client { id, key, stays: Vec::new(), is_shared: at < TABS });
        }
        let mut calls = Vec::new();
        for client in 0..CLIENTS {
            for _ in 0..self.random.usize(0..=3) {
                let room = self.random.usize(..ROOMS);
                calls.push(self.subscribe(client, room));
            }
        }
        self.call(&calls);
        for at in 0..CLIENTS + TABS {
            let page = Page {
                client: at % CLIENTS,
                as_script: at % 3 == 0,
                socket: None,
                inbox: Vec::new(),
                fate: Fate::Sleeps,
                wakes: (at < CLIENTS).then(Instant::now),
                judge: Judge::default(),
                drained: false,
            };
            self.pages.push(page);
        }
    }

    fn torture(&mut self) {
        let (end, latest) = (Instant::now() + TORTURE, Patience::new(PATIENCE));
        // On a busy machine it takes longer until everything has happened often enough.
        while Instant::now() < end || !self.counts.was_no_walk() && !latest.is_over() {
            match self.random.u8(..100) {
                0..60 => {
                    let count = self.random.usize(1..8);
                    self.publish(count);
                }
                // More at once than a small ring holds.
                60..62 => self.publish(300),
                62..70 => self.move_somebody(),
                _ => {}
            }
            self.turn(Duration::from_millis(1));
        }
    }

    /// Everybody comes to the end of what was said.
    fn drain(&mut self) {
        for room in 0..ROOMS {
            self.log(room, "the end", "app", false, None);
        }
        let rooms: Vec<String> = (0..ROOMS).map(name).collect();
        let placed = self.call(&[("broadcast", json!([rooms, "the end", {"from": "app"}]))]);
        let last = placed[0].as_array().expect("one for each room").last().expect("there are rooms");
        self.end = Some(last["position"].as_str().expect("a position").to_owned());
        let patience = Patience::new(PATIENCE);
        while let Some(at) = self.pages.iter().position(|page| !page.drained) {
            let page = &self.pages[at];
            assert!(!patience.is_over(), "page {at} is at {} ({:?}), not {:?}", page.judge.since, page.fate, self.end);
            self.turn(Duration::from_millis(10));
        }
        for (at, page) in self.pages.iter_mut().enumerate() {
            let client = &self.clients[page.client];
            page.judge.note_rest(client, page.client, &self.rooms);
            page.judge.close(at, &self.rooms);
            self.counts.lost += page.judge.lost;
        }
    }

    /// Hears what has come for the pages, and has those act whose time it is.
    fn turn(&mut self, patience: Duration) {
        let mut events = Events::with_capacity(1024);
        match self.poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            polled => polled.expect("the pages' sockets can be watched"),
        }
        for event in &events {
            let page = event.token().0;
            if self.pages[page].fate != Fate::Dawdles {
                self.hear(page);
            }
        }
        let now = Instant::now();
        for page in 0..self.pages.len() {
            if self.pages[page].wakes.is_some_and(|wakes| wakes <= now) {
                self.pages[page].wakes = None;
                self.act(page);
            }
        }
    }

    /// The time has come for a page.
    fn act(&mut self, page: usize) {
        match self.pages[page].fate {
            Fate::Dies { reset } => {
                self.hang_up(page, reset);
                self.rest(page);
            }
            Fate::Dawdles => {
                self.pages[page].fate = Fate::Lives;
                self.hear(page);
            }
            Fate::Sleeps => self.ask(page),
            Fate::Lives | Fate::DiesOver { .. } | Fate::Forgets | Fate::HalfCloses => {}
        }
    }

    fn hang_up(&mut self, page: usize, hard: bool) {
        self.pages[page].inbox.clear();
        if let Some(socket) = self.pages[page].socket.take()
            && hard
        {
            reset(socket);
        }
    }

    /// Mostly a page comes back at once, sometimes it is away for a while.
    fn rest(&mut self, page: usize) {
        let longest = match self.random.u8(..100) {
            _ if self.end.is_some() => 1,
            0..70 => 1,
            70..95 => 200,
            _ => 2500,
        };
        self.pages[page].fate = Fate::Sleeps;
        self.pages[page].wakes = Some(Instant::now() + Duration::from_millis(self.random.u64(..longest)));
    }

    /// Sends a poll, over the connection that there is or a new one, and decides what becomes of it.
    fn ask(&mut self, page: usize) {
        let fate = self.choose_fate();
        let kind = match fate {
            Fate::Lives => "lives",
            Fate::Dies { reset: true } => "dies by a reset",
            Fate::Dies { reset: false } => "dies by a goodbye",
            Fate::DiesOver { reset: true } => "dies by a reset over the answer",
            Fate::DiesOver { reset: false } => "dies by a goodbye over the answer",
            Fate::Forgets => "forgets the answer",
            Fate::HalfCloses => "half closes",
            Fate::Dawdles => "dawdles",
            Fate::Sleeps => unreachable!("it is chosen by those who wait"),
        };
        *self.counts.fates.entry(kind).or_default() += 1;
        if self.pages[page].socket.is_none() {
            let mut socket = connect(&self.door);
            self.poll.registry().register(&mut socket, Token(page), Interest::READABLE).expect("a new socket");
            self.pages[page].socket = Some(socket);
        }
        let request = self.request(page);
        // Who dies may do so in the middle of the request.
        let cut = match fate {
            Fate::Dies { .. } if self.random.u8(..4) == 0 => self.random.usize(1..request.len()),
            _ => request.len(),
        };
        let socket = self.pages[page].socket.as_mut().expect("just made");
        // nginx may have closed it meanwhile, as it may at any time between two requests: then its end will be heard.
        let _ = socket.write(&request.as_bytes()[..cut]);
        let now = Instant::now();
        self.pages[page].wakes = match fate {
            Fate::Dies { .. } => Some(now + Duration::from_millis(self.random.u64(..300))),
            Fate::Dawdles => Some(now + Duration::from_millis(self.random.u64(..1000))),
            _ => None,
        };
        if fate == Fate::HalfCloses {
            let _ = self.pages[page].socket.as_ref().expect("just made").shutdown(Shutdown::Write);
        }
        self.pages[page].fate = fate;
    }

    fn choose_fate(&mut self) -> Fate {
        let reset = self.random.bool();
        match self.random.u8(..100) {
            _ if self.end.is_some() => Fate::Lives,
            0..50 => Fate::Lives,
            50..70 => Fate::Dies { reset },
            70..84 => Fate::DiesOver { reset },
            84..92 => Fate::Forgets,
            92..95 => Fate::HalfCloses,
            _ => Fate::Dawdles,
        }
    }

    fn request(&self, page: usize) -> String {
        let page = &self.pages[page];
        let client = &self.clients[page.client];
        let callback = if page.as_script { "&callback=cb" } else { "" };
        let (id, key, since) = (&client.id, &client.key, &page.judge.since);
        get(&format!("/message_updates?client_id={id}_!!_{key}&since={since}{callback}"))
    }

    fn hear(&mut self, page: usize) {
        if let Fate::DiesOver { reset } = self.pages[page].fate {
            self.hang_up(page, reset);
            return self.rest(page);
        }
        let mut chunk = [0; 64 << 10];
        let Some(mut socket) = self.pages[page].socket.take() else { return };
        let closed = loop {
            match socket.read(&mut chunk) {
                Ok(0) => break true,
                Ok(count) => self.pages[page].inbox.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break true,
                Err(error) => panic!("page {page}: {error}"),
            }
        };
        if !closed {
            self.pages[page].socket = Some(socket);
        }
        while let Some((status, body)) = take_answer(&mut self.pages[page].inbox) {
            self.hear_answer(page, status, &body);
        }
        // Who still has its end has no reason to be left alone, but by nginx, which may close between two polls.
        if closed && self.pages[page].socket.is_none() && !matches!(self.pages[page].fate, Fate::Sleeps) {
            self.pages[page].inbox.clear();
            self.rest(page);
        }
    }

    fn hear_answer(&mut self, page: usize, status: u16, body: &[u8]) {
        self.counts.answers += 1;
        assert_eq!(status, 200, "page {page}: {}", String::from_utf8_lossy(body));
        match self.pages[page].fate {
            Fate::Lives | Fate::HalfCloses => {
                self.judge(page, body);
                let (since, end) = (&self.pages[page].judge.since, &self.end);
                if end.as_ref() == Some(since) {
                    self.pages[page].drained = true;
                    self.pages[page].fate = Fate::Sleeps;
                } else {
                    self.rest(page);
                }
            }
            Fate::Forgets => self.rest(page),
            Fate::Dies { .. } => {
                // It dies a little later, over an answer that it has not looked at.
            }
            fate @ (Fate::DiesOver { .. } | Fate::Dawdles | Fate::Sleeps) => {
                panic!("page {page} {fate:?} and hears {}", String::from_utf8_lossy(body));
            }
        }
    }

    /// Believes an answer.
    fn judge(&mut self, at: usize, body: &[u8]) {
        let Page { client, as_script, judge, .. } = &mut self.pages[at];
        let inside = match as_script {
            true => body.strip_prefix(b"/**/cb(").and_then(|rest| rest.strip_suffix(b");")).expect("cb(...);"),
            false => body,
        };
        let answer: Value = serde_json::from_slice(inside).expect("JSON");
        for gap in answer["gaps"].as_array().expect("a list") {
            assert!(!self.keeps_all, "page {at}: {gap}");
            self.counts.gaps += 1;
            judge.tell(gap, &self.clients[*client], *client, &self.rooms).unwrap_or_else(|why| {
                panic!("page {at} at {}: {why}: {gap}", judge.since);
            });
        }
        for message in answer["messages"].as_array().expect("a list") {
            self.counts.messages += 1;
            judge.take(message, &self.clients[*client], *client, &self.rooms).unwrap_or_else(|why| {
                panic!("page {at} at {}: {why}: {message}", judge.since);
            });
        }
        if answer.get("more").is_none() {
            judge.close(at, &self.rooms);
        }
        answer["since"].as_str().expect("a position").clone_into(&mut judge.since);
        assert!(!judge.since.is_empty());
        self.open_tab(at);
    }

    /// The second page of a client opens where the first one is: from an empty position it would not be known where it is.
    fn open_tab(&mut self, first: usize) {
        let judge = self.pages[first].judge.clone();
        if let Some(tab) = self.pages.get_mut(first + CLIENTS).filter(|tab| tab.judge.since.is_empty()) {
            tab.judge = judge;
            tab.wakes = Some(Instant::now());
        }
    }
}

impl Judge {
    /// A message comes: it was said so, it is for this client, and it is new; what it leaves out is noted.
    fn take(&mut self, message: &Value, client: &Client, number: usize, rooms: &[Room]) -> Result<(), String> {
        let room = number_of(&message["channel"]);
        let id = message["id"].as_u64().expect("an id");
        let said = id.checked_sub(1).and_then(|at| rooms[room].log.get(usize::try_from(at).ok()?));
        let said = said.ok_or("nobody has said this")?;
        if message["data"] != said.text || message["from"] != said.from || message["system"] != said.system {
            return Err("it was said in other words".into());
        }
        if said.order <= self.last {
            return Err("it came before, or is out of order".into());
        }
        if said.excluded == Some(number) || !client.is_in(room, id) {
            return Err("it is not for this client".into());
        }
        self.last = said.order;
        let seen = self.seen.insert(room, id).unwrap_or(0);
        self.note(client, number, room, seen + 1..id, rooms);
        Ok(())
    }

    /// A gap is told: it is about something that the page has not got and was not told of.
    fn tell(&mut self, gap: &Value, client: &Client, number: usize, rooms: &[Room]) -> Result<(), String> {
        let room = number_of(&gap["channel"]);
        let next_id = gap["next_id"].as_u64().expect("an id");
        let system = gap.get("system").is_some();
        if gap["reason"] != "count" {
            return Err("there is no reason for that".into());
        }
        let told = self.told.entry(room).or_default();
        let before = told[usize::from(!system)];
        let seen = self.seen.get(&room).copied().unwrap_or(0);
        let is_hole = |id: u64| {
            (id > seen || self.holes.contains(&(room, id)))
                && is_owed(client, number, room, id, rooms)
                && said(rooms, room, id).system == system
        };
        if !(before.max(1)..next_id).any(is_hole) {
            return Err(format!("nothing new is lost up to there: seen {seen}, told {told:?}"));
        }
        told[0] = told[0].max(next_id);
        if !system {
            told[1] = told[1].max(next_id);
        }
        Ok(())
    }

    /// Notes what of these ids was owed and has not come.
    fn note(&mut self, client: &Client, number: usize, room: usize, ids: std::ops::Range<u64>, rooms: &[Room]) {
        for id in ids {
            if is_owed(client, number, room, id, rooms) {
                self.holes.push((room, id));
            }
        }
    }

    /// Nothing more comes: what is owed and has not come is lost.
    fn note_rest(&mut self, client: &Client, number: usize, rooms: &[Room]) {
        for (room, log) in rooms.iter().enumerate() {
            let seen = self.seen.get(&room).copied().unwrap_or(0);
            self.note(client, number, room, seen + 1..log.log.len() as u64 + 1, rooms);
        }
    }

    /// Every hole is covered by a gap that was told.
    fn close(&mut self, page: usize, rooms: &[Room]) {
        for (room, id) in self.holes.drain(..) {
            let system = said(rooms, room, id).system;
            let told = self.told.get(&room).copied().unwrap_or_default();
            assert!(
                id < told[usize::from(!system)],
                "page {page} at {}: message {id} of {} (system: {system}) is lost, told is {told:?}",
                self.since,
                name(room)
            );
            self.lost += 1;
        }
    }
}

impl Client {
    fn is_in(&self, room: usize, id: u64) -> bool {
        let mut stays = self.stays.iter().filter(|stay| stay.room == room);
        stays.any(|stay| stay.from <= id && stay.until.is_none_or(|until| id < until))
    }
}

fn said(rooms: &[Room], room: usize, id: u64) -> &Said {
    &rooms[room].log[usize::try_from(id - 1).expect("a number of messages")]
}

fn is_owed(client: &Client, number: usize, room: usize, id: u64, rooms: &[Room]) -> bool {
    client.is_in(room, id) && said(rooms, room, id).excluded != Some(number)
}

fn name(room: usize) -> String {
    format!("room-{room}")
}

fn number_of(channel: &Value) -> usize {
    let number = channel.as_str().and_then(|name| name.strip_prefix("room-")?.parse().ok());
    number.unwrap_or_else(|| panic!("no channel of ours: {channel}"))
}

/// nginx in front of the server, for a thousand pages. It keeps connections to the server and, as it does when nobody tells
/// it otherwise, takes answers in before the pages have: so it has some that are lost with it.
fn nginx_before(server: &Server) -> Nginx {
    let port = server.port();
    Nginx::start(|address, directory| {
        let temporary = temporary(directory);
        format!(
            "daemon off;\nworker_processes 1;\nworker_rlimit_nofile 8192;\nuser root root;\npid nginx.pid;\n\
             error_log error.log error;\nevents {{ worker_connections 4096; }}\n\
             http {{\naccess_log off;\n{temporary}\
             upstream shaveet {{ server 127.0.0.1:{port}; keepalive 64; }}\n\
             server {{ listen {address}; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             location = /message_updates {{ proxy_pass http://shaveet; }} }}\n}}\n"
        )
    })
}

/// Clients live as long as the test, and polls end now and then.
const TIMERS: [&str; 6] = ["--min-alive", "1d", "--max-idle", "1d", "--poll-timeout", "1s"];

/// Everything is kept until it is read.
const MUCH: [&str; 8] =
    ["--history", "1000000", "--history-system", "1000000", "--history-bytes", "1GiB", "--history-total", "1GiB"];

/// Who is away for a moment has missed something.
const LITTLE: [&str; 8] =
    ["--history", "20", "--history-system", "10", "--history-bytes", "1GiB", "--history-total", "1GiB"];

fn seed() -> u64 {
    let seed = std::env::var("TORTURE_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("TORTURE_SEED={seed}");
    seed
}

fn run(server: Server, door: SockAddr, keeps_all: bool) -> Counts {
    let mut world = World::start(server, door, keeps_all, seed());
    world.arrive();
    world.torture();
    world.drain();
    println!("{:?}", world.counts);
    assert!(world.counts.was_no_walk(), "{:?}", world.counts);
    let World { server, pages, counts, .. } = world;
    drop(pages);
    // A debug build looks through all its lists at the end.
    assert_eq!(server.stop().code(), Some(0));
    counts
}

/// One after the other, as each takes the whole machine.
#[test]
fn nothing_is_lost_repeated_or_out_of_order_however_connections_die() {
    raise_descriptor_limit();
    let server = Server::with(&[&TIMERS[..], &MUCH].concat());
    let door = server.address().clone();
    let counts = run(server, door, true);
    assert_eq!((counts.gaps, counts.lost), (0, 0));

    let server = Server::with(&[&TIMERS[..], &LITTLE].concat());
    let door = server.address().clone();
    let counts = run(server, door, false);
    assert!(counts.gaps > 0 && counts.lost > 0, "there was nothing to tell: {counts:?}");

    let server = Server::with(&[&TIMERS[..], &MUCH].concat());
    let nginx = nginx_before(&server);
    let counts = run(server, nginx.address.clone(), true);
    assert_eq!((counts.gaps, counts.lost), (0, 0));
}
