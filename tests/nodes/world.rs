//! The world: several nodes, one Redis, the web application, pages, a clock; and the judge of every answer.

use std::collections::{BTreeMap, BTreeSet};

use shaveet::broker::Failure;
use shaveet::hub::{Ending, WaitError};

use super::judge::{Basis, Had, Judge, Member, Untold};
use super::keyspace::Keyspace;
use super::node::{Asking, Given, Medium, Node, Refusal, Request, Start, Told, Way};
use super::redis::Redis;
use super::step::{Begin, Call, Setup, Step, Trouble};

/// Names of clients and channels, with all that a name may hold.
const CLIENTS: [&str; 5] = ["alice", "bob", "carol x", "d\u{e9}\n_!!_", "admin-1"];
const CHANNELS: [&str; 5] = ["room", "chat-1", "chat-2", "\u{20ac} \"2\" x\n", "admin"];

/// Whom a page polls for, and how.
const PAGES: [(&[usize], Medium); 14] = [
    (&[0], Medium::Resume),
    (&[0], Medium::Resume),
    (&[1], Medium::Resume),
    (&[4], Medium::Resume),
    (&[0, 1], Medium::Resume),
    (&[1, 4], Medium::Resume),
    (&[2], Medium::Original),
    (&[2], Medium::Original),
    (&[3], Medium::Original),
    (&[3], Medium::Original),
    (&[2, 3], Medium::Original),
    (&[0], Medium::Events),
    (&[1], Medium::Socket),
    (&[4, 0], Medium::Socket),
];

/// Redis's clock when the world begins.
const BEGAN: u64 = 1_700_000_000_000;

/// Without anything wrong for this long everything is as it should be: a node is believed to live for 6 s, and a link waits for
/// 2 s at most before it is dialled again.
const CALM_MS: u64 = 12_000;

/// After a failover: a link waits for 2 s at most, and then it is healed for 4 s at most.
const HEALED_MS: u64 = 7_000;

/// Rounds of pages until nothing is due: more would mean that they go in circles.
const ROUNDS_MAX: usize = 500;

pub(crate) struct World {
    setup: Setup,
    now: u64,
    redis: Redis,
    is_frozen: bool,
    is_slow: bool,
    /// When it listens again.
    is_away_until: u64,
    runs: u64,
    replica: Keyspace,
    seats: Vec<Seat>,
    pages: Vec<Page>,
    judge: Judge,
    /// Whom an owner's number belongs to.
    owners: u64,
    calls: BTreeMap<u64, (usize, Vec<String>)>,
    /// What failed, and is safe to be tried again.
    retries: Vec<Vec<String>>,
    texts: u64,
    /// When all clients and positions were last in doubt: Redis has lost something.
    lost_at: Option<u64>,
    /// What a failover has lost and a node that nothing was wrong with had: it is to come again.
    lost: Option<Lost>,
    pub(crate) trace: Option<Vec<String>>,
}

/// Messages by their channels' names and their seqs.
struct Lost {
    at: u64,
    messages: Vec<(&'static str, u64)>,
}

/// Where a node runs.
struct Seat {
    node: Node,
    lives: u64,
    is_hung: bool,
    is_cut: bool,
    is_deaf: bool,
    is_dumb: bool,
    /// When something was last wrong with it.
    trouble_at: u64,
}

struct Page {
    members: &'static [usize],
    medium: Medium,
    /// What it was loaded with.
    keys: Option<Vec<String>>,
    token: Option<(u64, u64)>,
    untold: Untold,
    poll: Option<Poll>,
}

/// A poll, or a stream.
struct Poll {
    owner: u64,
    node: usize,
    /// When it came.
    at: u64,
    start: Start,
    basis: Basis,
    is_slow: bool,
    is_parked: bool,
    /// What is on its way to it, and when it was said.
    answer: Option<(Given, u64)>,
    /// What its page is still to be told when it has read that.
    untold: Untold,
}

impl World {
    pub(crate) fn new(setup: &Setup, has_trace: bool) -> World {
        let seat = |at| Seat {
            node: Node::new(0, &name_of(at), &setup.limits, seed(at, 0)),
            lives: 0,
            is_hung: false,
            is_cut: false,
            is_deaf: false,
            is_dumb: false,
            trouble_at: 0,
        };
        let page = |&(members, medium): &(&'static [usize], Medium)| Page {
            members,
            medium,
            keys: None,
            token: None,
            untold: Untold::new(),
            poll: None,
        };
        World {
            setup: setup.clone(),
            now: 0,
            redis: Redis::new(BEGAN, setup.says_own_last),
            is_frozen: false,
            is_slow: false,
            is_away_until: 0,
            runs: 0,
            replica: Keyspace::default(),
            seats: (0..setup.nodes).map(seat).collect(),
            pages: PAGES.iter().map(page).collect(),
            judge: Judge::new(&setup.limits),
            owners: 0,
            calls: BTreeMap::new(),
            retries: Vec::new(),
            texts: 0,
            lost_at: None,
            lost: None,
            trace: has_trace.then(Vec::new),
        }
    }

    pub(crate) fn deliveries(&self) -> usize {
        self.judge.deliveries
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Call(node, call) => self.call(usize::from(*node) % self.seats.len(), call),
            Step::Poll { page, node, start, is_slow } => {
                self.poll(usize::from(*page), usize::from(*node) % self.seats.len(), *start, *is_slow);
            }
            Step::Read(page) => self.read(usize::from(*page)),
            Step::Leave(page) => self.leave(usize::from(*page)),
            Step::Turn(node) => self.turn(usize::from(*node) % self.seats.len()),
            Step::Do { node, count } => {
                let seat = &mut self.seats[usize::from(*node) % self.setup.nodes];
                seat.node.carry(&mut self.redis, !seat.is_dumb && !seat.is_cut, false);
                self.work(usize::from(*count));
            }
            Step::Hear { node, count } => {
                let node = usize::from(*node) % self.seats.len();
                let seat = &mut self.seats[node];
                seat.node.carry(&mut self.redis, false, !seat.is_deaf && !seat.is_cut);
                self.turn_hearing(node, usize::from(*count));
            }
            Step::Flow => self.flow(),
            Step::Advance(ms) => self.advance(u64::from(*ms)),
            Step::Trouble(trouble) => self.trouble(*trouble),
            Step::Round => self.round(),
        }
    }

    fn redis_now(&self) -> u64 {
        BEGAN + self.now
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("    {}", what()));
        }
    }

    // --- the web application

    fn call(&mut self, node: usize, call: &Call) {
        let client = |at: &u8| CLIENTS[usize::from(*at)].to_owned();
        let channel = |at: &u8| CHANNELS[usize::from(*at)].to_owned();
        self.texts += 1;
        let key = format!("{:032x}", self.texts);
        let parts = match call {
            Call::Create(at) => vec!["create_client".into(), client(at), key],
            Call::Subscribe { client: id, channel: name } => {
                vec!["subscribe".into(), client(id), channel(name), String::new()]
            }
            Call::Unsubscribe { client: id, channel: name } => vec!["unsubscribe".into(), client(id), channel(name)],
            Call::Rotate(at) => vec!["rotate_key".into(), client(at), key],
            Call::Kill(at) => vec!["kill_client".into(), client(at)],
            Call::Publish { channel: name, exclude, ttl, once } => {
                let excluded = exclude.map_or(String::new(), |at| serde_json::to_string(&[client(&at)]).unwrap());
                let text = format!("\"t{}\"", self.texts);
                let once = if *once { format!("o{}", self.texts) } else { String::new() };
                let ttl = ttl.map_or(String::new(), |ttl| ttl.to_string());
                vec!["publish".into(), channel(name), "\"web\"".into(), text, ttl, excluded, once]
            }
        };
        self.ask(node, parts);
    }

    fn ask(&mut self, node: usize, parts: Vec<String>) {
        let owner = self.owner();
        self.calls.insert(owner, (node, parts.clone()));
        self.seats[node].node.ask(Request::Call { owner, parts });
    }

    fn owner(&mut self) -> u64 {
        self.owners += 1;
        self.owners
    }

    fn called(&mut self, owner: u64, result: Result<shaveet::broker::Value, Failure>) {
        let (_, parts) = self.calls.remove(&owner).expect("it was asked");
        self.note(|| format!("{} comes to {result:?}", parts.join(" ")));
        match result {
            Ok(_) => {}
            Err(Failure::Refused(error)) => {
                let word = error.split(' ').next().unwrap_or_default();
                assert!(
                    ["UNKNOWNCLIENT", "UNKNOWNCHANNEL", "NOHUB", "RESTORING", "OOM", "HEALING"].contains(&word),
                    "{error}"
                );
            }
            // With a key to publish by only once it is safe to try again.
            Err(_) if parts[0] == "publish" && !parts[6].is_empty() => self.retries.push(parts),
            Err(_) => {}
        }
    }

    // --- pages

    fn poll(&mut self, at: usize, node: usize, begin: Begin, is_slow: bool) {
        let Some(truth) = self.judge.truth() else { return };
        let page = &mut self.pages[at];
        if page.poll.is_some() {
            return;
        }
        if let Begin::Reloaded = begin {
            (page.token, page.keys, page.untold) = (None, None, Untold::new());
        }
        if page.keys.is_none() {
            let key = |&member: &usize| truth.clients.get(CLIENTS[member]).map(|client| client.key.clone());
            page.keys = page.members.iter().map(key).collect();
        }
        let Some(keys) = &page.keys else { return };
        let claims = page.members.iter().zip(keys).map(|(&member, key)| (CLIENTS[member].to_owned(), key.clone()));
        let (start, basis) = match (page.token, begin) {
            _ if page.medium == Medium::Original => (Start::Acknowledged, Basis::Acknowledged { epoch: None }),
            (Some((epoch, seq)), _) => (Start::Behind { epoch, seq }, Basis::Behind { epoch, seq }),
            (None, Begin::Earliest) => (Start::Earliest, Basis::Earliest { epoch: None }),
            (None, Begin::Acknowledged | Begin::Reloaded) => (Start::Acknowledged, Basis::Acknowledged { epoch: None }),
        };
        let asking = Asking { ids_and_keys: claims.collect(), start, medium: page.medium };
        if let Start::Behind { epoch, seq } = start {
            for &member in page.members {
                self.judge.acknowledge(CLIENTS[member], epoch, seq);
            }
        }
        let owner = self.owner();
        self.note(|| format!("page {at} polls {node} as {owner}: {start:?}"));
        self.pages[at].poll = Some(Poll {
            owner,
            node,
            at: self.now,
            start,
            basis,
            is_slow,
            is_parked: false,
            answer: None,
            untold: Untold::new(),
        });
        self.seats[node].node.ask(Request::Poll { owner, asking });
    }

    /// It takes what is on its way to it.
    fn read(&mut self, at: usize) {
        let page = &mut self.pages[at];
        let Some(poll) = &mut page.poll else { return };
        if self.seats[poll.node].is_hung {
            return;
        }
        let Some((given, said)) = poll.answer.take() else { return };
        let (node, came) = (poll.node, poll.at);
        let is_stream = matches!(page.medium, Medium::Events | Medium::Socket);
        let is_last = !is_stream || given.ending.is_some();
        let is_gone = given.ending == Some(Ending::Gone);
        if let (Some(upto), true) = (given.upto, page.medium != Medium::Original) {
            page.token = Some((given.epoch, upto));
            page.untold = std::mem::take(&mut poll.untold);
            poll.basis = Basis::Behind { epoch: given.epoch, seq: upto };
            poll.start = Start::Behind { epoch: given.epoch, seq: upto };
        }
        if is_last {
            page.poll = None;
        }
        let members: Vec<&str> = page.members.iter().map(|&member| CLIENTS[member]).collect();
        // Of a client that was killed and made anew it has nothing.
        let truth = self.judge.truth();
        let is_current = |&(id, key): &(&str, &String)| truth.is_none_or(|truth| !truth.was_killed(id, key));
        let keys = page.keys.as_ref().expect("it was loaded");
        let current: Vec<&str> = members.iter().copied().zip(keys).filter(is_current).map(|(id, _)| id).collect();
        let is_of_before = self.lost_at.is_some_and(|lost| came <= lost);
        let is_undead = |(id, key): (&&str, &String)| truth.is_some_and(|truth| truth.is_undead(id, key));
        let is_sure = !(is_of_before && members.iter().zip(keys).any(is_undead));
        let medium = page.medium;
        self.seats[node].node.delivered(self.now, given.waiter);
        if is_gone {
            self.reload(at);
        }
        match medium {
            Medium::Original => {
                let now = BEGAN + said;
                let is_slow = self.is_slow;
                let troubled = |seat: &Seat| if is_slow { u64::MAX } else { seat.troubled_at() };
                let troubles: Vec<u64> = self.seats.iter().map(troubled).collect();
                let lost_at = self.lost_at;
                let excused = |before: Had| {
                    let since = before.at.min(said);
                    troubles[before.node] >= since || troubles[node] >= since || lost_at.is_some_and(|at| at >= since)
                };
                self.judge.had(now, &members, &current, &given, Had { node, at: said, is_sure }, excused);
            }
            Medium::Events | Medium::Socket => {
                if let Some(upto) = given.upto {
                    for client in &members {
                        self.judge.acknowledge(client, given.epoch, upto);
                    }
                    if medium == Medium::Socket && self.seats[node].node.cluster.epoch() == Some(given.epoch) {
                        self.seats[node].node.heard(self.now, given.waiter, upto);
                    }
                }
            }
            Medium::Resume => {}
        }
    }

    /// It has been told that its client is gone: the web application gives it a new page.
    fn reload(&mut self, at: usize) {
        let page = &mut self.pages[at];
        (page.keys, page.token, page.untold) = (None, None, Untold::new());
    }

    fn leave(&mut self, at: usize) {
        if let Some(poll) = self.pages[at].poll.take() {
            self.seats[poll.node].node.ask(Request::Leave { owner: poll.owner });
        }
    }

    fn told(&mut self, node: usize, told: Told) {
        let find = |pages: &[Page], owner| {
            pages.iter().position(|page| page.poll.as_ref().is_some_and(|poll| poll.owner == owner))
        };
        match told {
            Told::Called { owner, result } => self.called(owner, result),
            Told::Parked { owner, is_lost } => {
                let at = find(&self.pages, owner).expect("it is its page's");
                let now = self.redis_now();
                let page = &mut self.pages[at];
                let poll = page.poll.as_mut().expect("it polls");
                poll.is_parked = true;
                let known = self.seats[node].node.cluster.epoch();
                match &mut poll.basis {
                    Basis::Acknowledged { epoch } | Basis::Earliest { epoch } => *epoch = known,
                    &mut (Basis::Behind { epoch, seq } | Basis::BehindForgotten { epoch, seq }) => {
                        let members: Vec<&str> = page.members.iter().map(|&member| CLIENTS[member]).collect();
                        poll.basis = self.judge.basis(now, &members, epoch, seq);
                    }
                }
                let Start::Behind { epoch, seq } = poll.start else { return };
                let is_same = self.seats[node].node.cluster.epoch() == Some(epoch);
                assert!(!(is_lost && is_same), "page {at} is not believed that it has come to {seq}");
            }
            Told::Refused { owner, why } => {
                let at = find(&self.pages, owner).expect("it is its page's");
                self.note(|| format!("page {at} is refused: {why:?}"));
                self.pages[at].poll = None;
                match why {
                    Refusal::Away | Refusal::Wait(WaitError::TooManyPolls) => {}
                    Refusal::Wait(WaitError::TooManyClients) => panic!("no page has so many clients"),
                    Refusal::Wait(WaitError::UnknownClient | WaitError::WrongKey) => self.told_gone(at),
                }
            }
            Told::Given(given) => {
                let at = find(&self.pages, given.owner).expect("it is its page's");
                self.given(node, at, given);
            }
        }
    }

    fn given(&mut self, node: usize, at: usize, given: Given) {
        self.note(|| format!("page {at} is given by {node}: {given:?}"));
        let now = self.redis_now();
        let came = self.pages[at].poll.as_ref().expect("it polls").at;
        let member = |(&at, key): (&usize, &String)| Member {
            id: CLIENTS[at],
            is_current: self.is_current(CLIENTS[at], key, came),
        };
        let keys = self.pages[at].keys.as_ref().expect("it was loaded");
        let members: Vec<Member<'_>> = self.pages[at].members.iter().zip(keys).map(member).collect();
        if given.ending == Some(Ending::Gone) {
            self.check_gone(at);
        }
        let page = &mut self.pages[at];
        let poll = page.poll.as_mut().expect("it polls");
        assert!(poll.answer.is_none(), "one answer at a time");
        if page.medium != Medium::Original {
            poll.untold = self.judge.judge(now, &members, poll.basis, &page.untold, &given);
        }
        let is_slow = poll.is_slow;
        poll.answer = Some((given, self.now));
        if !is_slow {
            self.read(at);
        }
    }

    /// Whether a poll that came `at` is still for the client that it has this key of. Whose kill a failover has undone is dead for a
    /// poll of before that.
    fn is_current(&self, id: &str, key: &str, at: u64) -> bool {
        let Some(truth) = self.judge.truth() else { return false };
        let is_of_before = self.lost_at.is_some_and(|lost| at <= lost);
        truth.clients.get(id).is_some_and(|client| client.key == key) && !(is_of_before && truth.is_undead(id, key))
    }

    fn told_gone(&mut self, at: usize) {
        self.check_gone(at);
        self.reload(at);
    }

    /// One of its clients is gone, or has another key.
    fn check_gone(&self, at: usize) {
        let page = &self.pages[at];
        let keys = page.keys.as_ref().expect("it was loaded");
        let clients = self.judge.truth().map(|truth| &truth.clients);
        let is_known = |(&member, key): (&usize, &String)| {
            clients.is_some_and(|clients| clients.get(CLIENTS[member]).is_some_and(|client| client.key == *key))
        };
        let is_right = page.members.iter().zip(keys).all(is_known);
        assert!(!is_right || self.lost_at.is_some(), "page {at} is told that it is gone");
    }

    // --- what happens

    fn way(&self, node: usize) -> Way {
        if self.seats[node].is_cut {
            Way::Cut
        } else if self.now < self.is_away_until {
            Way::Refused
        } else {
            Way::Open
        }
    }

    fn turn(&mut self, node: usize) {
        self.turn_hearing(node, usize::MAX);
    }

    fn turn_hearing(&mut self, node: usize, most: usize) {
        if self.seats[node].is_hung {
            return;
        }
        self.redis.set_time(self.redis_now());
        let way = self.way(node);
        let told = self.seats[node].node.turn_hearing(self.now, &mut self.redis, way, most);
        for told in told {
            self.told(node, told);
        }
    }

    /// Redis does what has come, so many commands at most. Whether there was any.
    fn work(&mut self, most: usize) -> bool {
        if self.is_frozen || self.now < self.is_away_until {
            return false;
        }
        self.redis.set_time(self.redis_now());
        let now = self.redis_now();
        let mut left = most;
        let connections: Vec<u64> = self.redis.connections.keys().copied().collect();
        for connection in connections {
            while left > 0
                && let Some(deed) = self.redis.take(connection)
            {
                left -= 1;
                if let Some(deed) = deed {
                    if let Some(trace) = &mut self.trace {
                        trace.push(format!("    {deed}"));
                    }
                    self.judge.hear(now, self.redis.epoch(), &deed);
                }
            }
        }
        left < most
    }

    fn flow(&mut self) {
        for _ in 0..ROUNDS_MAX {
            for node in 0..self.seats.len() {
                self.turn(node);
            }
            let mut moved = false;
            for seat in &mut self.seats {
                moved |= seat.node.carry(&mut self.redis, !seat.is_dumb && !seat.is_cut, false);
            }
            moved |= self.work(if self.is_slow { 1 } else { usize::MAX });
            for seat in &mut self.seats {
                moved |= seat.node.carry(&mut self.redis, false, !seat.is_deaf && !seat.is_cut);
                moved |= !seat.is_hung && (seat.node.is_called() || seat.node.is_beginning_anew());
            }
            if !moved || self.is_slow {
                return;
            }
        }
        panic!("nodes and Redis go in circles");
    }

    fn advance(&mut self, ms: u64) {
        let until = self.now + ms;
        self.flow();
        while self.now < until {
            let awake = self.seats.iter().filter(|seat| !seat.is_hung);
            let next = awake.map(|seat| seat.node.next_timeout()).min().unwrap_or(until);
            let least = if self.is_slow { SLOW_MS } else { STEP_MS };
            self.now = next.max(self.now + least.min(until - self.now)).min(until);
            self.flow();
        }
    }

    // --- troubles

    fn trouble(&mut self, trouble: Trouble) {
        if !matches!(trouble, Trouble::Replicate | Trouble::Mend(_)) {
            self.check_put_back();
        }
        let count = self.seats.len();
        let seat = |node: u8| usize::from(node) % count;
        match trouble {
            Trouble::Reset { node, comes } => {
                let now = self.now;
                let seat = &mut self.seats[seat(node)];
                seat.node.reset(now, &mut self.redis, comes);
                seat.trouble_at = now;
            }
            Trouble::Cut(node) => self.seats[seat(node)].is_cut = true,
            Trouble::Deaf(node) => self.seats[seat(node)].is_deaf = true,
            Trouble::Dumb(node) => self.seats[seat(node)].is_dumb = true,
            Trouble::Hang(node) => self.seats[seat(node)].is_hung = true,
            Trouble::Mend(node) => self.mend(seat(node)),
            Trouble::Kill(node) => self.kill(seat(node)),
            Trouble::Freeze => self.is_frozen = true,
            Trouble::Slow => self.is_slow = true,
            Trouble::Reload(node) => {
                // Nobody who waits is to notice.
                let limits = self.setup.limits.clone();
                self.seats[seat(node)].node.reload(self.now, &limits);
            }
            Trouble::Thaw => {
                if std::mem::take(&mut self.is_frozen) | std::mem::take(&mut self.is_slow) {
                    self.troubled();
                }
            }
            Trouble::Full(is_full) => {
                self.redis.is_full = is_full;
                self.troubled();
            }
            Trouble::Replicate => {
                self.replica = self.redis.keyspace();
                self.judge.replicate();
            }
            Trouble::FailOver => {
                self.note_lost();
                self.judge.fail_over();
                self.run_anew(self.replica.clone());
                self.lost_at = Some(self.now);
            }
            Trouble::Restart(ms) => {
                self.is_away_until = self.now + u64::from(ms);
                self.run_anew(self.redis.keyspace());
            }
            Trouble::Flush => {
                self.redis.flush();
                self.replica = Keyspace::default();
                self.judge.flush();
                self.troubled();
                self.lost_at = Some(self.now);
            }
        }
    }

    /// What the next master lacks and nodes have that nothing is wrong with, of channels that somebody there is subscribed
    /// to: what is left of others they may let go of before they come to it.
    fn note_lost(&mut self) {
        let replicated = self.judge.replicated();
        let is_slow = self.is_slow;
        let well = self.seats.iter().filter(|seat| !is_slow && !seat.is_troubled() && !seat.node.hub.is_behind());
        let messages = well.flat_map(|seat| {
            let hub = &seat.node.hub;
            let clients: Vec<_> = CLIENTS.iter().filter_map(|id| hub.find_client(id)).collect();
            let subscriptions = clients.into_iter().flat_map(|client| hub.subscriptions_of(client));
            let needed: BTreeSet<String> = subscriptions.map(|(channel, _)| channel.into()).collect();
            CHANNELS.iter().filter(move |&&channel| needed.contains(channel)).flat_map(move |&channel| {
                let (messages, _) = hub.messages_behind(channel, replicated);
                messages.into_iter().map(move |message| (channel, message.seq)).collect::<Vec<_>>()
            })
        });
        self.lost = Some(Lost { at: self.now, messages: messages.collect() });
    }

    /// If there was time for it what a failover has lost is there again.
    fn check_put_back(&mut self) {
        let Some(lost) = self.lost.take().filter(|lost| lost.at + HEALED_MS <= self.now) else { return };
        for &(channel, seq) in &lost.messages {
            assert!(
                !self.judge.is_undone(self.redis_now(), channel, seq),
                "{seq} of {channel:?} is lost, and a node had it"
            );
        }
    }

    fn run_anew(&mut self, keyspace: Keyspace) {
        self.runs += 1;
        self.redis.restart(keyspace, self.runs);
        // A replica that has lost its master takes everything over anew, before it can become one.
        self.replica = self.redis.keyspace();
        self.judge.replicate();
        (self.is_frozen, self.is_slow, self.redis.is_full) = (false, false, false);
        self.troubled();
    }

    /// Something is wrong for all nodes.
    fn troubled(&mut self) {
        let now = self.now;
        self.seats.iter_mut().for_each(|seat| seat.trouble_at = now);
    }

    fn mend(&mut self, node: usize) {
        let now = self.now;
        let seat = &mut self.seats[node];
        if seat.is_troubled() {
            seat.trouble_at = now;
        }
        (seat.is_hung, seat.is_cut, seat.is_deaf, seat.is_dumb) = (false, false, false, false);
    }

    fn kill(&mut self, node: usize) {
        let seat = &mut self.seats[node];
        seat.node.die(&mut self.redis);
        seat.lives += 1;
        seat.node = Node::new(self.now, &name_of(node), &self.setup.limits, seed(node, seat.lives));
        seat.is_hung = false;
        seat.trouble_at = self.now;
        let lost: Vec<u64> = self.calls.iter().filter(|(_, (at, _))| *at == node).map(|(&owner, _)| owner).collect();
        for owner in lost {
            self.called(owner, Err(Failure::Lost));
        }
        for page in &mut self.pages {
            if page.poll.as_ref().is_some_and(|poll| poll.node == node) {
                page.poll = None;
            }
        }
    }

    // --- coming to rest

    /// All pages that can poll and read until nothing is due.
    fn round(&mut self) {
        for round in 0..ROUNDS_MAX {
            let before = (self.owners, self.deliveries());
            for at in 0..self.pages.len() {
                self.poll(at, (at + round) % self.seats.len(), Begin::Acknowledged, false);
            }
            self.flow();
            for at in 0..self.pages.len() {
                self.read(at);
            }
            self.flow();
            if round > 3 || before == (self.owners, self.deliveries()) {
                return;
            }
        }
    }

    /// Everything is mended, and after a while all is as it should be.
    pub(crate) fn settle(&mut self) {
        (self.is_frozen, self.is_slow, self.redis.is_full, self.is_away_until) = (false, false, false, 0);
        for node in 0..self.seats.len() {
            self.mend(node);
        }
        self.troubled();
        let calm = self.now + CALM_MS;
        while self.now < calm {
            self.round();
            self.advance(500);
        }
        self.check_put_back();
        while let Some(parts) = self.retries.pop() {
            self.ask(0, parts);
        }
        self.flow();
        for _ in 0..ROUNDS_MAX {
            let before = self.deliveries();
            self.round();
            if before == self.deliveries() {
                break;
            }
        }
        self.check();
    }

    fn check(&self) {
        let now = self.redis_now();
        assert!(self.calls.is_empty(), "calls without an answer: {:?}", self.calls);
        let Some(truth) = self.judge.truth() else { panic!("nobody has said hello") };
        for (at, page) in self.pages.iter().enumerate() {
            let members: Vec<&str> = page.members.iter().map(|&member| CLIENTS[member]).collect();
            if !members.iter().all(|client| truth.clients.contains_key(*client)) {
                continue;
            }
            let Some(poll) = &page.poll else {
                assert!(page.members.iter().any(|&member| self.is_crowded(member)), "page {at} cannot poll");
                continue;
            };
            assert!(poll.is_parked && poll.answer.is_none(), "page {at} waits for nothing: {:?}", poll.start);
            if page.medium != Medium::Original {
                // For who was killed and made anew it waits no more, and for the others it goes on.
                let keys = page.keys.as_ref().expect("it was loaded");
                let is_current = |&(id, key): &(&&str, &String)| self.is_current(id, key, poll.at);
                let current: Vec<&str> = members.iter().zip(keys).filter(is_current).map(|(id, _)| *id).collect();
                self.judge.check_nothing_due(now, &current, poll.basis);
            }
        }
        for client in CLIENTS {
            if PAGES
                .iter()
                .any(|(members, medium)| *medium == Medium::Original && members.iter().any(|&at| CLIENTS[at] == client))
            {
                self.judge.check_all_had(now, client);
            }
        }
        for (node, seat) in self.seats.iter().enumerate() {
            let hub = &seat.node.hub;
            hub.check();
            assert!(!hub.is_behind(), "node {node} is behind");
            for id in CLIENTS {
                let Some(client) = hub.find_client(id) else { continue };
                let here: BTreeSet<String> =
                    hub.subscriptions_of(client).into_iter().map(|(channel, _)| channel.into()).collect();
                assert_eq!(here, truth.channels_of(id), "node {node} has other subscriptions of {id:?} than Redis");
                assert!(hub.is_settled(client), "{id:?} settles for ever at node {node}");
            }
        }
    }

    /// Whether a client has as many polls at one node as it may: then its pages only take turns.
    fn is_crowded(&self, client: usize) -> bool {
        (0..self.seats.len()).any(|node| {
            let polls =
                self.pages.iter().filter(|page| page.members.contains(&client)).filter_map(|page| page.poll.as_ref());
            polls.filter(|poll| poll.node == node).count() >= self.setup.limits.polls_per_client
        })
    }
}

/// How often a slow Redis does something.
const SLOW_MS: u64 = 60;

/// Without anything to do time goes on in steps of this.
const STEP_MS: u64 = 1;

impl Seat {
    fn is_troubled(&self) -> bool {
        self.is_hung || self.is_cut || self.is_deaf || self.is_dumb
    }

    fn troubled_at(&self) -> u64 {
        if self.is_troubled() { u64::MAX } else { self.trouble_at }
    }
}

fn name_of(node: usize) -> String {
    format!("node-{node}")
}

fn seed(node: usize, lives: u64) -> u64 {
    (node as u64 + 1) << 32 | lives
}
