//! The world: one server, its web application, its pages, a clock; and the model that judges every step.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shaveet::clock::Ms;
use shaveet::config::Config;

use super::edge::{Edge, Heard};
use super::judge::Said;
use super::model::{Fault, Model, Refusal, SLACK, Since as Place, State, Transport};
use super::step::{self, Call, Credential, Dialect, Past, Polling, Restart, Since, Step};

/// Names of clients; an admin, and one that looks as if its key had begun.
const CLIENTS: [&str; 6] = ["alice", "bob", "admin-1", "d\u{e9}_!!_x", "e", "f"];

/// Names of channels.
const CHANNELS: [&str; 6] = ["room", "chat-1", "chat-big-1", "admin", "\u{20ac} \"2\"", "z"];

/// Answers between two rests of the hub: more would mean that it goes in circles.
const ANSWERS_MAX: usize = 100_000;

/// Answers of one stream until nothing is due to it: more would mean the same.
const ROUNDS_MAX: usize = 1000;

/// Everything.
pub(crate) struct World {
    config: Config,
    now: Ms,
    edge: Edge,
    model: Model,
    /// What tokens begin with.
    epoch: String,
    starts: u64,
    pages: Vec<Page>,
    /// By the number that the edge gives them.
    connections: BTreeMap<u64, Connection>,
    last_connection: u64,
    /// The keys as the web application knows them, the newest last.
    keys: BTreeMap<String, Vec<String>>,
    /// The `seq` when the call that is judged was made.
    seq_before: u64,
    /// Counts messages, so that each has a text of its own.
    texts: u64,
    pub(crate) deliveries: usize,
    /// What happened, if anybody wants to know.
    pub(crate) trace: Option<Vec<String>>,
}

/// A page: whom it polls for, how, and how far it has come.
struct Page {
    members: &'static [usize],
    kind: Kind,
    /// What it was told last; empty at first.
    token: String,
    older: Vec<String>,
}

/// How a page hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It polls, in the original's protocol.
    Original,
    /// In the resume protocol, by which all others go too.
    Resume,
    Events,
    Socket,
}

/// The page's end of a connection.
struct Connection {
    page: usize,
    /// Packets of the request that are still to be sent.
    unsent: Vec<Vec<u8>>,
    poll: Option<Asked>,
    /// What has come.
    inbox: Vec<u8>,
    /// How many events or frames of it the page has read, if it streams.
    read: usize,
    /// The page has gone; the server has not heard of it.
    is_dead: bool,
    /// The server has closed it.
    is_closed: bool,
}

/// What a page has asked for.
#[derive(Clone, Debug)]
struct Asked {
    credentials: Vec<(String, String)>,
    /// `None` in the original's protocol.
    since: Option<String>,
    callback: Option<&'static str>,
    transport: Transport,
}

/// Pages of all kinds, with one or many clients; some share a client.
const PAGES: [(&[usize], Kind); 14] = [
    (&[0], Kind::Resume),
    (&[0], Kind::Resume),
    (&[1], Kind::Original),
    (&[1], Kind::Original),
    (&[2], Kind::Resume),
    (&[0, 1, 2], Kind::Resume),
    (&[3, 3, 4], Kind::Original),
    (&[3], Kind::Resume),
    (&[5, 4], Kind::Resume),
    (&[0], Kind::Events),
    (&[1, 2], Kind::Events),
    (&[3], Kind::Events),
    (&[0], Kind::Socket),
    (&[5, 4], Kind::Socket),
];

impl World {
    pub(crate) fn new(config: &Config, has_trace: bool) -> World {
        let pages = PAGES.map(|(members, kind)| Page { members, kind, token: String::new(), older: Vec::new() });
        World {
            config: config.clone(),
            now: Ms::ZERO,
            edge: Edge::new(Ms::ZERO, config, 0, 0),
            model: Model::new(config),
            epoch: token_head(0),
            starts: 0,
            pages: pages.into(),
            connections: BTreeMap::new(),
            last_connection: 0,
            keys: BTreeMap::new(),
            seq_before: 0,
            texts: 0,
            deliveries: 0,
            trace: has_trace.then(Vec::new),
        }
    }

    /// Does a step, and judges what comes of it.
    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Call(call, dialect) => self.call(std::slice::from_ref(call), *dialect, false),
            Step::Batch(calls) => self.call(calls, Dialect::Two, true),
            Step::Poll(polling) => self.poll(polling),
            Step::Arrive(which) => {
                if let Some(key) = self.pick(*which, |connection| !connection.unsent.is_empty()) {
                    self.arrive(key, usize::MAX);
                }
            }
            Step::Deliver { looks, answers, take } => {
                let take = if *take == u16::MAX { usize::MAX } else { usize::from(*take) };
                self.deliver(u32::from(*looks), usize::from(*answers), take);
            }
            Step::Flush { connection, bytes } => {
                if let Some(key) = self.pick(*connection, |_| true) {
                    self.flush(key, usize::from(*bytes));
                }
            }
            Step::Read(which) => {
                if let Some(key) = self.pick(*which, |connection| !connection.inbox.is_empty() && !connection.is_dead) {
                    self.read(key);
                }
            }
            Step::Break { connection, is_heard } => self.break_off(*connection, *is_heard),
            Step::Advance(ms) => self.now += Ms(u64::from(*ms)),
            Step::Expire(255) => self.expire_all(),
            Step::Expire(count) => self.expire(usize::from(*count)),
            Step::Restart(how) => self.restart(*how),
            Step::Reload(seed) => self.reload(*seed),
            Step::TakeOver => {
                self.edge.take_over(self.now, Ms::ZERO);
                self.model.restore(self.now, Ms::ZERO);
            }
            Step::Settle => self.settle(),
            Step::Round(calls) => self.round(calls),
        }
        self.edge.api.hub.check();
        self.model.compare(self.now, &self.edge.api.hub);
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("    {} {}", self.now.0, what()));
        }
    }

    /// A connection of those that are right, by a number.
    fn pick(&self, which: u8, is_right: impl Fn(&Connection) -> bool) -> Option<u64> {
        let right: Vec<u64> = self.connections.iter().filter(|(_, one)| is_right(one)).map(|(&key, _)| key).collect();
        (!right.is_empty()).then(|| right[usize::from(which) % right.len()])
    }

    // --- pages

    fn poll(&mut self, polling: &Polling) {
        let at = usize::from(polling.page) % self.pages.len();
        if let Some(key) = self.open_stream(at) {
            return self.tend(key, polling);
        }
        let page = &self.pages[at];
        let since = match polling.since {
            _ if page.kind == Kind::Original => None,
            Since::Mine => Some(page.token.clone()),
            Since::Older(back) => {
                let older = page.older.iter().rev().nth(usize::from(back));
                Some(older.unwrap_or(&page.token).clone())
            }
            Since::Nothing => Some(String::new()),
            Since::Future => Some(format!("{}{}", self.epoch, self.model.seq + 1)),
            Since::Bad => Some("1-1".to_owned()),
        };
        let credentials = page.members.iter().map(|&member| {
            let keys = self.keys.get(CLIENTS[member]).map_or(&[][..], Vec::as_slice);
            let key = match polling.credential {
                Credential::Current => keys.last(),
                Credential::Stale => keys.first(),
                Credential::Wrong => None,
            };
            (CLIENTS[member].to_owned(), key.map_or("0123", String::as_str).to_owned())
        });
        let callback = match (page.kind, polling.callback) {
            (Kind::Original, callback) => Some(if callback { "cb" } else { "a.b[0]" }),
            (Kind::Resume, callback) => callback.then_some("$"),
            (Kind::Events | Kind::Socket, _) => None,
        };
        let transport = match page.kind {
            Kind::Original | Kind::Resume => Transport::Poll,
            Kind::Events => Transport::Events,
            Kind::Socket => Transport::Socket,
        };
        let asked = Asked { credentials: credentials.collect(), since, callback, transport };
        let request = request(&asked, polling.is_last);
        let is_idle = |one: &Connection| {
            one.page == at && one.poll.is_none() && !one.is_dead && !one.is_closed && one.inbox.is_empty()
        };
        let idle = self.connections.iter().find(|(_, one)| is_idle(one)).map(|(&key, _)| key);
        let key = idle.unwrap_or_else(|| self.edge.connect());
        self.last_connection = self.last_connection.max(key);
        self.note(|| format!("page {at} asks on connection {key}: {asked:?}"));
        let unsent = packets(request.as_bytes(), polling.cuts);
        let (inbox, is_dead, is_closed) = (Vec::new(), false, false);
        let connection = Connection { page: at, unsent, poll: Some(asked), inbox, read: 0, is_dead, is_closed };
        self.connections.insert(key, connection);
        self.arrive(key, if polling.is_held { 1 } else { usize::MAX });
    }

    /// The stream that a page has, if it has one.
    fn open_stream(&self, page: usize) -> Option<u64> {
        let is_open = |one: &Connection| {
            let is_stream = one.poll.as_ref().is_some_and(|asked| asked.transport != Transport::Poll);
            one.page == page && is_stream && one.unsent.is_empty() && !one.is_dead && !one.is_closed
        };
        self.connections.iter().find(|(_, one)| is_open(one)).map(|(&key, _)| key)
    }

    /// A page that streams need not ask. It is to hear something, or says how far it has come.
    fn tend(&mut self, key: u64, polling: &Polling) {
        let connection = &self.connections[&key];
        let (transport, token) =
            (connection.poll.as_ref().map(|asked| asked.transport), self.pages[connection.page].token.clone());
        if transport == Some(Transport::Socket) && polling.callback {
            self.note(|| format!("the page on connection {key} acknowledges {token:?}"));
            let is_heard = self.edge.say(self.now, key, &masked(json!({"ack": token}).to_string().as_bytes()));
            if let Some(Place::At(position)) = self.place(Some(&token)).filter(|_| is_heard) {
                self.model.heard(self.now, key, position);
            }
        } else {
            self.note(|| format!("connection {key} is to hear something"));
            self.edge.beat(key);
            self.model.beat(key);
        }
    }

    /// So many packets of a request come to the server.
    fn arrive(&mut self, key: u64, packets: usize) {
        let connection = self.connections.get_mut(&key).expect("it is connected");
        let count = packets.min(connection.unsent.len());
        let whole = count == connection.unsent.len();
        let mut packets: Vec<Vec<u8>> = connection.unsent.drain(..count).collect();
        let asked = connection.poll.clone().expect("a request is sent");
        let last = packets.pop().expect("there is a packet");
        for packet in packets {
            assert_eq!(self.edge.hear(self.now, key, &packet), Heard::Part);
        }
        if !whole {
            assert_eq!(self.edge.hear(self.now, key, &last), Heard::Part);
            return;
        }
        let names: Vec<&str> = asked.credentials.iter().map(|(name, _)| name.as_str()).collect();
        self.make_sure(&names);
        let heard = self.edge.hear(self.now, key, &last);
        let expected = match self.place(asked.since.as_deref()) {
            Some(since) => {
                self.model.wait(self.now, key, &asked.credentials, since, asked.transport).map_err(|why| match why {
                    Refusal::Gone => 404,
                    Refusal::TooMany => 503,
                })
            }
            None => Err(400),
        };
        match (heard, expected) {
            (Heard::Parked, Ok(())) if asked.transport == Transport::Poll => {}
            (Heard::Streaming(head), Ok(())) if asked.transport != Transport::Poll => {
                let status: &[u8] =
                    if asked.transport == Transport::Events { b"HTTP/1.1 200 " } else { b"HTTP/1.1 101 " };
                assert!(head.starts_with(status));
            }
            (Heard::Answered(answer, keep_alive), Err(status)) => {
                self.note(|| format!("connection {key} is refused: {status}"));
                judge_refusal(&asked, &answer, status);
                let connection = self.connections.get_mut(&key).expect("it is connected");
                connection.poll = None;
                connection.is_closed = !keep_alive;
                if connection.is_closed || connection.is_dead {
                    self.connections.remove(&key);
                    self.edge.bury(self.now, key);
                }
            }
            (heard, expected) => panic!("a poll is {heard:?}, and should be {expected:?}"),
        }
    }

    /// What a token means. `None` if it is none.
    fn place(&self, since: Option<&str>) -> Option<Place> {
        match since {
            None => Some(Place::Original),
            Some("") => Some(Place::Acknowledged),
            Some(token) => {
                let (epoch, seq) = token.split_once('-')?;
                let seq: u64 = seq.parse().ok()?;
                let is_known = self.epoch.strip_suffix('-') == Some(epoch) && seq <= self.model.seq;
                (epoch.len() == 16).then_some(if is_known { Place::At(seq) } else { Place::Lost })
            }
        }
    }

    /// Lets time pass until it is known which of these clients' polls have ended by it.
    fn make_sure(&mut self, names: &[&str]) {
        if names.iter().any(|name| self.model.is_unsure(self.now, name)) {
            self.now += self.config.poll_timeout + SLACK;
            self.expire_all();
        }
    }

    fn read(&mut self, key: u64) {
        let connection = self.connections.get_mut(&key).expect("it is connected");
        if connection.poll.as_ref().is_some_and(|asked| asked.transport != Transport::Poll) {
            return self.read_stream(key);
        }
        let Some((status, body)) = parse(&connection.inbox) else { return };
        connection.inbox.clear();
        let asked = connection.poll.take().expect("it has asked");
        let (page, is_closed) = (connection.page, connection.is_closed);
        if is_closed {
            self.connections.remove(&key);
        }
        self.note(|| format!("page {page} reads on connection {key}: {}", String::from_utf8_lossy(&body)));
        let body = unwrap(&asked, &body);
        let page = &mut self.pages[page];
        if asked.since.is_none() {
            self.deliveries += body.as_object().map_or(0, |channels| {
                channels.values().map(|messages| messages.as_array().map_or(0, Vec::len)).sum::<usize>()
            });
        } else if status == 200 && body.get("error").is_none() {
            self.deliveries += body["messages"].as_array().map_or(0, Vec::len);
            let token = body["since"].as_str().expect("a token is a string").to_owned();
            page.older.push(std::mem::replace(&mut page.token, token));
            if page.older.len() > 6 {
                page.older.remove(0);
            }
        }
    }

    /// Reads what has come whole, and remembers the last position in it.
    fn read_stream(&mut self, key: u64) {
        let connection = self.connections.get_mut(&key).expect("it is connected");
        let transport = connection.poll.as_ref().expect("it has asked").transport;
        let pieces = pieces(transport, &connection.inbox);
        let new = pieces[connection.read.min(pieces.len())..].to_vec();
        connection.read = pieces.len();
        let (at, is_closed) = (connection.page, connection.is_closed);
        if is_closed {
            self.connections.remove(&key);
        }
        self.note(|| format!("page {at} reads on connection {key}: {new:?}"));
        let said = said(transport, &new);
        self.deliveries += said.messages.len();
        let page = &mut self.pages[at];
        if let Some(token) = said.token {
            page.older.push(std::mem::replace(&mut page.token, token));
            if page.older.len() > 6 {
                page.older.remove(0);
            }
        }
    }

    fn break_off(&mut self, which: u8, is_heard: bool) {
        let Some(key) = self.pick(which, |connection| !connection.is_dead) else { return };
        self.note(|| {
            format!("connection {key} breaks, which the server {}", if is_heard { "hears" } else { "does not" })
        });
        let connection = self.connections.get_mut(&key).expect("it is connected");
        connection.is_dead = true;
        connection.unsent.clear();
        if is_heard || connection.poll.is_none() || !self.model.polls.contains_key(&key) {
            self.connections.remove(&key);
            self.edge.bury(self.now, key);
            self.model.cancel(self.now, key);
        }
    }

    // --- the server

    /// The server writes answers. False if nothing is left to answer.
    fn deliver(&mut self, mut looks: u32, answers: usize, take: usize) {
        for round in 0..answers {
            let Some((key, answer)) = self.edge.answer(self.now, &mut looks) else { break };
            assert!(round < ROUNDS_MAX, "answers go in circles: {}", String::from_utf8_lossy(&answer));
            self.judge(key, &answer);
            self.flush(key, take);
        }
        if !self.edge.api.hub.has_answers() {
            for (key, poll) in &self.model.polls {
                let owed = self.model.owes(self.now, self.config.max_answer, poll);
                assert!(!owed, "connection {key} waits for what it is owed: {poll:?}");
            }
        }
    }

    fn judge(&mut self, key: u64, answer: &[u8]) {
        let asked = self.connections[&key].poll.clone().expect("the hub answers who has asked");
        if asked.transport != Transport::Poll {
            let pieces = pieces(asked.transport, answer);
            self.note(|| format!("connection {key} is answered: {pieces:?}"));
            let said = said(asked.transport, &pieces);
            return self.model.judge_stream(self.now, self.config.max_answer, key, &said, &self.epoch.clone());
        }
        let (status, body) = parse(answer).expect("an answer is whole");
        self.note(|| format!("connection {key} is answered: {}", String::from_utf8_lossy(&body)));
        let has_failed = status != 200;
        let body = unwrap(&asked, &body);
        let bytes = self.config.max_answer;
        if asked.since.is_none() {
            assert!(!has_failed);
            self.model.judge_original(self.now, bytes, key, &body);
        } else {
            assert!(!has_failed || asked.callback.is_none() && body["error"]["code"] == status);
            self.model.judge_resume(self.now, bytes.min(1 << 20), key, &body, &self.epoch.clone());
        }
    }

    fn flush(&mut self, key: u64, count: usize) {
        let taken = self.edge.flush(self.now, key, count);
        let connection = self.connections.get_mut(&key).expect("it is connected");
        connection.inbox.extend_from_slice(&taken.bytes);
        connection.is_closed |= taken.is_closed;
        if taken.is_whole {
            self.model.delivered(self.now, key, &self.edge.api.hub);
            let is_dead = connection.is_dead;
            self.note(|| {
                format!("the answer to connection {key} has left whole{}", if is_dead { ", for nobody" } else { "" })
            });
            if is_dead {
                self.connections.remove(&key);
                self.edge.bury(self.now, key);
                self.model.cancel(self.now, key);
            }
        }
    }

    fn expire(&mut self, count: usize) {
        for _ in 0..count {
            if self.edge.api.hub.next_timeout().is_none_or(|next| next > self.now) {
                return;
            }
            self.edge.api.hub.handle_timeout(self.now, &mut 1);
            self.model.follow(self.now, &self.edge.api.hub);
        }
    }

    fn expire_all(&mut self) {
        self.expire(ANSWERS_MAX);
        assert!(self.edge.api.hub.next_timeout().is_none_or(|next| next > self.now), "reminders go in circles");
        self.model.all_is_done(self.now);
    }

    /// Everything comes to its end: nothing is due, nothing is on its way.
    fn settle(&mut self) {
        self.expire_all();
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "answers go in circles");
            let waiting: Vec<u64> = self.connections.keys().copied().collect();
            for key in waiting {
                self.flush(key, usize::MAX);
            }
            self.deliver(u32::MAX, ANSWERS_MAX, usize::MAX);
            if !self.edge.api.hub.has_answers() {
                break;
            }
        }
        let waiting: Vec<u64> = self.connections.keys().copied().collect();
        for key in waiting {
            if !self.connections[&key].inbox.is_empty() && !self.connections[&key].is_dead {
                self.read(key);
            }
        }
        assert!(!self.model.polls.values().any(|poll| matches!(poll.state, State::Sent { .. })));
    }

    /// What is everyday: something is published, everybody who waits gets it, everybody asks again.
    fn round(&mut self, calls: &[Call]) {
        for (at, call) in (0..).zip(calls) {
            self.call(std::slice::from_ref(call), Dialect::Original, false);
            // The sweeps come some way before the next.
            self.deliver(at % 4, ANSWERS_MAX, usize::MAX);
        }
        self.settle();
        for page in 0..PAGES.len() {
            let is_waiting = |one: &Connection| one.page == page && one.poll.is_some() && !one.is_dead;
            if !self.connections.values().any(is_waiting) {
                self.poll(&Polling::everyday(page));
            }
        }
        self.settle();
    }

    fn reload(&mut self, seed: u64) {
        self.config = step::changed(&self.config, &mut fastrand::Rng::with_seed(seed));
        self.note(|| "the limits change".to_owned());
        self.edge.change(self.now, &self.config);
        self.model.change(self.now, &self.config);
    }

    fn restart(&mut self, how: Restart) {
        if let Restart::Stopped | Restart::Saved { .. } = how {
            let mut from = 0;
            while !self.edge.api.hub.end_waiting_from(&mut from, &mut 3, &mut 2) {}
            let parked: Vec<u64> = self.model.polls.keys().copied().collect();
            parked.into_iter().for_each(|key| self.model.end(key, super::model::Ending::Stopping));
            self.settle();
            assert_eq!(self.model.polls.len(), 0, "a server that stops answers everybody");
        }
        self.note(|| "the server starts anew".to_owned());
        if let Restart::Saved { away_s } = how {
            let away = Ms::from_secs(away_s.into());
            self.now += away;
            self.edge.take_over(self.now, away);
            self.edge.hang_up();
            self.model.restore(self.now, away);
        } else {
            self.starts += 1;
            self.edge = Edge::new(self.now, &self.config, self.starts, self.last_connection);
            self.model = Model::new(&self.config);
            self.epoch = token_head(self.starts);
        }
        self.connections.clear();
    }

    // --- the web application

    fn call(&mut self, calls: &[Call], dialect: Dialect, is_batch: bool) {
        for call in calls {
            if let Call::Kill(client) | Call::Rotate(client) = call {
                self.make_sure(&[name(*client)]);
            }
        }
        // In which order the hub has a channel's clients is its own affair, and other calls of a batch may change it.
        let order = |channel: &str| -> Vec<String> {
            let hub = &self.edge.api.hub;
            let Some(mut walk) = hub.walk_channel(channel) else { return Vec::new() };
            let next = || hub.next_client(self.now, &mut walk, &mut u32::MAX.clone()).map(str::to_owned);
            std::iter::from_fn(next).collect()
        };
        let mut prepared = Vec::new();
        let is_asked = |at: usize, call: &Call| at == 0 || !matches!(call, Call::UnsubscribeAll { .. });
        for (_, call) in calls.iter().enumerate().filter(|&(at, call)| is_asked(at, call)) {
            let order =
                if let Call::UnsubscribeAll { channel: at, .. } = call { order(channel(*at)) } else { Vec::new() };
            prepared.push((call, order));
        }
        self.seq_before = self.model.seq;
        let texts: Vec<String> = prepared.iter().map(|(call, _)| self.text(call)).collect();
        let requests = prepared.iter().zip(&texts).map(|((call, _), text)| self.request(call, text, dialect));
        let requests: Vec<Value> = requests.collect();
        let body = if is_batch { Value::Array(requests) } else { requests.into_iter().next().expect("there is one") };
        self.note(|| format!("the web application calls: {body}"));
        let answer = self.edge.call(self.now, body.to_string().as_bytes());
        let (status, answer) = parse(&answer).expect("an answer is whole");
        assert_eq!(status, 200);
        let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
        self.note(|| format!("... and is answered {answer}"));
        let answers = if is_batch { answer.as_array().expect("a batch").clone() } else { vec![answer] };
        assert_eq!(answers.len(), prepared.len());
        for (((call, order), text), answer) in prepared.iter().zip(&texts).zip(answers) {
            let expected = self.expect(call, text, order, &answer["result"]);
            match expected {
                Ok(Some(expected)) => assert_eq!(answer["result"], expected, "{call:?}"),
                Ok(None) => assert!(answer.get("error").is_none(), "{call:?}: {answer}"),
                Err(fault) => assert_eq!(fault_of(&answer), Some(fault), "{call:?}: {answer}"),
            }
        }
    }

    /// What a call says, if it says something.
    fn text(&mut self, call: &Call) -> String {
        let (Call::NewMessage { size, .. } | Call::Publish { size, .. }) = call else { return String::new() };
        self.texts += 1;
        let filler = if size % 2 == 0 { "x" } else { "\u{e9}" };
        format!("m{} {}", self.texts, filler.repeat(usize::from(*size)))
    }

    fn request(&self, call: &Call, text: &str, dialect: Dialect) -> Value {
        let (method, names, values) = self.arguments(call, text);
        let params = match dialect {
            Dialect::Named => names.iter().map(|&name| name.to_owned()).zip(values).collect(),
            Dialect::Original | Dialect::Two => Value::Array(values),
        };
        match dialect {
            Dialect::Two => json!({"jsonrpc": "2.0", "method": method, "params": params, "id": 1}),
            Dialect::Original | Dialect::Named => json!({"method": method, "params": params, "id": 1}),
        }
    }

    fn arguments(&self, call: &Call, text: &str) -> (&'static str, &'static [&'static str], Vec<Value>) {
        let past = |past: &Past| match *past {
            Past::Back(back) => format!("{}{}", self.epoch, self.seq_before.saturating_sub(back.into())),
            Past::Foreign => "ffffffffffffffff-7".to_owned(),
        };
        const PAIR: &[&str] = &["client_id", "channel_name", "options"];
        let list = |clients: &[u8]| clients.iter().map(|&client| name(client)).collect::<Vec<_>>();
        match call {
            Call::Create(at) => ("create_client", &["client_id"], vec![name(*at).into()]),
            Call::Kill(at) => ("kill_client", &["client_id"], vec![name(*at).into()]),
            Call::Rotate(at) => ("rotate_key", &["client_id"], vec![name(*at).into()]),
            Call::Subscribe { client, channel: at, since } => {
                let mut values = vec![name(*client).into(), channel(*at).into()];
                values.extend(since.as_ref().map(|since| json!({"since": past(since)})));
                ("subscribe", PAIR, values)
            }
            Call::Unsubscribe { client, channel: at } => {
                ("unsubscribe", PAIR, vec![name(*client).into(), channel(*at).into()])
            }
            Call::SubscribeMany(pairs) => ("subscribe_many", &["channels"], vec![many(pairs)]),
            Call::UnsubscribeMany(pairs) => ("unsubscribe_many", &["channels"], vec![many(pairs)]),
            Call::UnsubscribeAll { channel: at, exclude } => (
                "unsubscribe_all_channel",
                &["channel_name", "exclude"],
                vec![channel(*at).into(), json!(list(exclude))],
            ),
            Call::NewMessage { channel: at, .. } => {
                let names = &["client_id", "message", "channel_name", "system"];
                ("new_message", names, vec![json!("web"), text.into(), channel(*at).into(), json!(false)])
            }
            Call::Publish { channels, from, options, is_broadcast, .. } => {
                let mut object = json!({"from": sender(*from), "exclude": list(&options.exclude)});
                if let Some(ttl) = options.ttl {
                    object["ttl_ms"] = ttl.into();
                }
                if let Some(once) = options.once {
                    object["idempotency_key"] = once.to_string().into();
                }
                let names: Vec<&str> = channels.iter().map(|&at| channel(at)).collect();
                match is_broadcast {
                    true => ("broadcast", &["channels", "data", "options"], vec![json!(names), text.into(), object]),
                    false => ("publish", &["channel", "data", "options"], vec![names[0].into(), text.into(), object]),
                }
            }
            Call::History { channel: at, since, limit } => {
                let since = since.as_ref().map_or(Value::Null, |since| past(since).into());
                ("history", &["channel", "since", "limit"], vec![channel(*at).into(), since, json!(limit)])
            }
            Call::ChannelInfo(at) => ("channel_info", &["channel"], vec![channel(*at).into()]),
            Call::ClientInfo(at) => ("client_info", &["client_id"], vec![name(*at).into()]),
            Call::ChannelClients(at) => ("get_channel_clients", &["channel_name"], vec![channel(*at).into()]),
            Call::ClientChannels(at) => ("get_client_channels", &["client_id"], vec![name(*at).into()]),
            Call::ListChannels => ("list_channels", &[], vec![]),
            Call::ListClients => ("list_clients", &[], vec![]),
        }
    }
}

#[path = "calls.rs"]
mod calls;

/// A frame of text as a page writes it.
fn masked(text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a page says little");
    assert!(length < 126);
    [&[0x81, 0x80 | length, 0, 0, 0, 0][..], text].concat()
}

/// The whole events or frames that have come.
fn pieces(transport: Transport, mut bytes: &[u8]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("all is ASCII");
    let mut pieces = Vec::new();
    if transport == Transport::Socket {
        while let [first, second, rest @ ..] = bytes {
            let (head, length) = match second {
                126 if rest.len() >= 2 => (2, usize::from(u16::from_be_bytes([rest[0], rest[1]]))),
                126 => break,
                127 => panic!("an answer of a stream is little"),
                short => (0, usize::from(*short)),
            };
            let Some(payload) = rest.get(head..head + length) else { break };
            pieces.push(match first {
                0x81 => text(payload),
                0x88 => format!("close {}", u16::from_be_bytes([payload[0], payload[1]])),
                0x89 => "ping".to_owned(),
                other => panic!("a frame that begins with {other:x}"),
            });
            bytes = &rest[head + length..];
        }
        return pieces;
    }
    // What has come of the chunks, though the last may not be whole.
    let mut content = String::new();
    while let Some(line) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(&text(&bytes[..line]), 16).expect("a size");
        let chunk = &bytes[line + 2..];
        if size == 0 {
            content.push_str("the end\n\n");
            break;
        }
        content.push_str(&text(&chunk[..size.min(chunk.len())]));
        bytes = chunk.get(size + 2..).unwrap_or_default();
    }
    content.split_inclusive("\n\n").filter(|piece| piece.ends_with("\n\n")).map(str::to_owned).collect()
}

/// What a page parses out of them.
fn said(transport: Transport, pieces: &[String]) -> Said {
    let mut said = Said::default();
    for piece in pieces {
        if transport == Transport::Socket {
            match piece.as_str() {
                "ping" => {}
                "close 4404" => said.end = Some("gone"),
                "close 4409" => said.end = Some("replaced"),
                "close 1001" => said.end = Some("going away"),
                object => {
                    let object: Value = serde_json::from_str(object).expect("a frame is an object");
                    said.messages.extend(object["messages"].as_array().expect("messages is a list").clone());
                    said.gaps.extend(object["gaps"].as_array().expect("gaps is a list").clone());
                    said.token = Some(object["since"].as_str().expect("a token is a string").to_owned());
                }
            }
            continue;
        }
        if piece == "the end\n\n" {
            said.end = said.end.or(Some("the end"));
            continue;
        }
        let field = |name: &str| piece.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        let data = field("data: ").map(|data| serde_json::from_str::<Value>(&data).expect("data is JSON"));
        let id = field("id: ");
        match (field("event: ").as_deref(), data) {
            (None, Some(message)) => {
                said.messages.push(message);
                said.ids.push(id.clone().expect("a message has an id"));
            }
            (Some("gap"), Some(gap)) => {
                said.gaps.push(gap);
                said.gap_ids.push((said.messages.len(), id.clone()));
            }
            (Some("gone"), Some(gone)) => {
                assert_eq!(gone["error"]["code"], 404);
                said.end = Some("gone");
            }
            (None, None) => assert!(piece.starts_with(':'), "{piece:?}"),
            other => panic!("no event that there is: {other:?}"),
        }
        said.token = id.or(said.token);
    }
    said
}

/// What a page sends.
fn request(asked: &Asked, is_last: bool) -> String {
    let (path, headers) = match asked.transport {
        Transport::Poll => ("message_updates", ""),
        Transport::Events => ("events", ""),
        Transport::Socket => (
            "socket",
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ),
    };
    let is_last = is_last && asked.transport == Transport::Poll;
    let mut target = format!("/{path}?");
    for (name, key) in &asked.credentials {
        target.push_str("client_id=");
        target.extend(name.bytes().map(|byte| format!("%{byte:02X}")));
        target.push_str(&format!("_!!_{key}&"));
    }
    if let Some(callback) = asked.callback {
        target.push_str(&format!("callback={callback}&"));
    }
    if let Some(since) = &asked.since {
        target.push_str(&format!("since={since}&"));
    }
    let close = if is_last { "Connection: close\r\n" } else { "" };
    format!("GET {target}ts=1 HTTP/1.1\r\nHost: x\r\n{headers}{close}\r\n")
}

/// Cuts a request at random places; a seed of 0 leaves it whole.
fn packets(request: &[u8], seed: u64) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut rest, mut packets) = (request, Vec::new());
    while seed > 0 && packets.len() < 3 && rest.len() > 1 {
        let (packet, after) = rest.split_at(random.usize(1..rest.len()));
        packets.push(packet.to_vec());
        rest = after;
    }
    packets.push(rest.to_vec());
    packets
}

/// Status and body of an answer, if it is whole.
fn parse(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..head_end]).expect("a head is ASCII");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status line has a code");
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("an answer has a length");
    let end = head_end + length.parse::<usize>().expect("a length is a number");
    assert!(answer.len() <= end, "more came than one answer");
    (answer.len() == end).then(|| (status, answer[head_end..].to_vec()))
}

/// The object in an answer, as a page takes it out of its call.
fn unwrap(asked: &Asked, body: &[u8]) -> Value {
    let text = std::str::from_utf8(body).expect("an answer is ASCII");
    let text = match (asked.callback, asked.since.is_some()) {
        (None, _) => text,
        (Some(callback), is_resume) => {
            let comment = if is_resume { "/**/" } else { "" };
            let inside = text.strip_prefix(&format!("{comment}{callback}(")).and_then(|text| text.strip_suffix(");"));
            inside.unwrap_or_else(|| panic!("no call of {callback}: {text}"))
        }
    };
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn judge_refusal(asked: &Asked, answer: &[u8], expected: u16) {
    if asked.transport == Transport::Socket && expected != 400 {
        // A page can read nothing but the code.
        let code: u16 = if expected == 404 { 4404 } else { 1013 };
        let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head") + 4;
        assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer[head_end] == 0x88);
        assert_eq!(answer[head_end + 2..][..2], code.to_be_bytes());
        return;
    }
    if asked.transport == Transport::Events && expected == 503 {
        let (status, body) = parse(answer).expect("an answer is whole");
        assert!(status == 200 && body.starts_with(b"retry: "), "an event source comes back from nothing else");
        return;
    }
    let (status, body) = parse(answer).expect("an answer is whole");
    let has_cors = answer.windows(14).any(|part| part == b"Allow-Origin: ");
    if asked.since.is_none() {
        assert_eq!((status, has_cors), (expected, false));
    } else {
        let as_script = asked.callback.is_some();
        assert_eq!((status, has_cors), (if as_script { 200 } else { expected }, true));
        assert_eq!(unwrap(asked, &body)["error"]["code"], expected);
    }
}

fn fault_of(answer: &Value) -> Option<Fault> {
    let error = answer.get("error")?;
    let kind = error["type"].as_str().unwrap_or_default();
    match error["code"].as_i64() {
        Some(-32001 | -32002) => Some(Fault::Unknown),
        Some(-32003) => Some(Fault::Full),
        None if kind.contains("KeyError") => Some(Fault::Unknown),
        None if kind.contains("OverflowError") => Some(Fault::Full),
        _ => None,
    }
}

/// What all tokens of a start begin with.
fn token_head(epoch: u64) -> String {
    format!("{epoch:016x}-")
}

fn name(at: u8) -> &'static str {
    CLIENTS[usize::from(at) % CLIENTS.len()]
}

fn channel(at: u8) -> &'static str {
    CHANNELS[usize::from(at) % CHANNELS.len()]
}

fn sender(at: u8) -> Value {
    match at % 4 {
        0 => Value::Null,
        1 => json!(42),
        _ => name(at).into(),
    }
}

/// `{channel: [client, ...]}`, where of several of one name the last counts.
fn many(pairs: &[(u8, Vec<u8>)]) -> Value {
    let lists = pairs.iter().map(|(at, clients)| {
        let clients: Vec<&str> = clients.iter().map(|&client| name(client)).collect();
        (channel(*at).to_owned(), json!(clients))
    });
    lists.collect()
}
