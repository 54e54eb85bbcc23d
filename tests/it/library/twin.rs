//! A twin: what is done to a hub is done to the library too, by chance, and after each step both know the same.
//!
//! Where one step says several things their order may differ: the hub goes over its lists as they stand in memory, Redis as
//! they stand in a hash. So a seq of the library has its counterpart in the hub, which is the same number but within such a
//! step; nobody is at a position within one.
//!
//! Reminders come at ticks of 100 ms, and all that is done is done at multiples of 800: so no two clients expire at one time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fastrand::Rng;
use shaveet::clock::Ms;
use shaveet::config::Config;
use shaveet::hub::{
    ClientKey, Error, Fate, Hub, Kind, Limit, Limits, Owner, Policies, Policy, Protocol, Sender, Since, Submission,
    SystemShare,
};
use shaveet::json;
use shaveet::slots::Key;

use super::{Node, outcome};
use crate::support::resp::Reply;

const CLIENTS: [&str; 5] = ["a", "b", "c c", "\"d\\<\u{7f}é€😀", "admin e"];
const CHANNELS: [&str; 6] = ["room", "quiet", "small", "own", "with spaces\n\"é😀", "admin"];

/// What is done is done at multiples of this, in milliseconds.
const STEP: u64 = 800;
const TICK: u64 = 100;

/// Of this day, so that none ends meanwhile: what was freed the day before is remembered otherwise.
const START: u64 = 20_000 * 24 * 3600 * 1000;

struct Twin {
    hub: Hub,
    node: Node,
    now: u64,
    keys: HashMap<&'static str, String>,
    /// The hub's seq when each client was made: who is excluded from something was there.
    born: HashMap<&'static str, u64>,
    /// The hub's seq after each step.
    positions: Vec<u64>,
    /// What the library's seqs are in the hub, if it is not the same number.
    counterparts: HashMap<u64, u64>,
    /// What has been done.
    steps: Vec<String>,
}

/// What the library knows of a channel, with the hub's seqs.
struct Followed {
    newest: [u64; 2],
    lost: u64,
    messages: Vec<Heard>,
}

#[derive(Clone, Debug, PartialEq)]
struct Heard {
    seq: u64,
    kind: String,
    triple: String,
    expires: u64,
    excluded: Vec<String>,
}

/// A test that fails shows what has been done.
impl Drop for Twin {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.steps.iter().for_each(|step| eprintln!("{step}"));
        }
    }
}

fn limits(random: &mut Rng) -> Limits {
    let system =
        |random: &mut Rng| if random.bool() { SystemShare::Shared } else { SystemShare::Own(random.usize(1..6)) };
    let policy = Policy {
        // Of 8 and more the library keeps some more.
        history: random.usize(2..8),
        history_system: system(random),
        history_bytes: 1_000_000,
        history_age: Ms(TICK * random.u64(10..2000)),
        presence: true,
    };
    let with = |change: &dyn Fn(&mut Policy)| {
        let mut other = policy.clone();
        change(&mut other);
        Arc::new(other)
    };
    let own = random.usize(1..4);
    let mut policies = Policies::uniform(policy.clone());
    policies.by_prefix = vec![
        ("quiet".into(), with(&|policy| policy.presence = false)),
        ("sma".into(), with(&|policy| policy.history_bytes = 200)),
        ("s".into(), with(&|policy| policy.history = 1)),
        ("own".into(), with(&|policy| policy.history_system = SystemShare::Own(own))),
    ];
    Limits {
        policies,
        max_idle: Ms(STEP * random.u64(1..60) + 2 * TICK),
        min_alive: Ms(STEP * random.u64(0..60) + TICK),
        sweep_interval: Ms(TICK),
        channel_idle: Ms(STEP * random.u64(1..60)),
        departed_max: random.usize(0..5),
        departed_age: Ms(STEP * random.u64(1..80) + 4 * TICK),
        clients_max: random.usize(3..7),
        channels_max: random.usize(3..7),
        // Where there are too many, the hub forgets another ended one than the library.
        subscriptions_max: 100,
        ..Config::default().hub_limits()
    }
}

fn kind_name(kind: Kind) -> String {
    match kind {
        Kind::Application => "app".into(),
        Kind::System(None) => "new".into(),
        Kind::System(Some(reason)) => reason.name().into(),
    }
}

fn json_of(text: &str) -> String {
    let mut out = Vec::new();
    json::write_str(&mut out, text);
    String::from_utf8(out).expect("it is ASCII")
}

fn error_name(error: Error) -> String {
    match error {
        Error::UnknownClient => "UNKNOWNCLIENT".into(),
        Error::UnknownChannel => "UNKNOWNCHANNEL".into(),
        Error::Full(Limit::Clients(most)) => format!("FULL clients {most}"),
        Error::Full(Limit::Channels(most)) => format!("FULL channels {most}"),
        Error::Full(Limit::Subscriptions(most)) => format!("FULL subscriptions {most}"),
        Error::Full(Limit::Memory(_)) => unreachable!("nobody has said that memory is short"),
    }
}

impl Twin {
    fn new(random: &mut Rng) -> Twin {
        let limits = limits(random);
        let mut node = Node::new(&limits);
        node.turn_clock(START);
        Twin {
            hub: Hub::new(Ms(START), limits),
            node,
            now: START,
            keys: HashMap::new(),
            born: HashMap::new(),
            positions: vec![0],
            counterparts: HashMap::new(),
            steps: Vec::new(),
        }
    }

    fn now(&self) -> Ms {
        Ms(self.now)
    }

    fn a_step(&mut self, random: &mut Rng) {
        let client = CLIENTS[random.usize(..CLIENTS.len())];
        let channel = CHANNELS[random.usize(..CHANNELS.len())];
        let position = self.positions[random.usize(..self.positions.len())];
        let now = self.now();
        match random.u8(0..100) {
            0..10 => self.create(random, client),
            10..12 => {
                let key = ClientKey::new(random.u128(..).to_be_bytes());
                let done = self.hub.rotate_key(client, key).map_err(error_name);
                let said = outcome(self.node.call("rotate_key", &[client, &key.to_string()]));
                assert_eq!(said.map(drop), done);
                if done.is_ok() {
                    self.keys.insert(client, key.to_string());
                }
            }
            12..30 => {
                let since = random.bool().then_some(position).filter(|_| random.bool());
                self.steps.push(format!("subscribe {client} {channel} {since:?}"));
                let done = self.hub.subscribe(now, client, channel, since).map_err(error_name);
                let since = since.map_or(String::new(), |since| since.to_string());
                assert_eq!(outcome(self.node.call("subscribe", &[client, channel, &since])).map(drop), done);
            }
            30..42 => {
                let channel = self.a_channel_of(random, client).unwrap_or(channel.into());
                self.steps.push(format!("unsubscribe {client} {channel}"));
                let done = self.hub.unsubscribe(now, client, &channel).map_err(error_name);
                assert_eq!(outcome(self.node.call("unsubscribe", &[client, &channel])).map(drop), done);
            }
            42..44 => {
                self.steps.push(format!("kill {client}"));
                let done = self.hub.kill_client(now, client).map_err(error_name);
                assert_eq!(outcome(self.node.call("kill_client", &[client])).map(drop), done);
            }
            44..65 => self.publish(random, channel),
            65..90 => self.poll(random, client, position),
            _ => {
                let most = [2, 10, 60][random.usize(..3)];
                let steps = random.u64(1..=most);
                self.pass(steps * STEP);
            }
        }
    }

    /// Mostly one to which it is subscribed, if it is to any.
    fn a_channel_of(&self, random: &mut Rng, client: &str) -> Option<String> {
        let mut walk = self.hub.walk_client(client).ok()?;
        let mut budget = random.u32(1..5);
        let mut found = None;
        while let Some(name) = self.hub.next_channel(&mut walk, &mut budget) {
            found = Some(name.to_owned());
        }
        found
    }

    fn create(&mut self, random: &mut Rng, client: &'static str) {
        self.steps.push(format!("create {client}"));
        let key = ClientKey::new(random.u128(..).to_be_bytes());
        let is_new = self.hub.client_info(self.now(), client).is_err();
        let done = self.hub.create_client(self.now(), client, key).map(|key| key.to_string()).map_err(error_name);
        let said = outcome(self.node.call("create_client", &[client, &key.to_string()]));
        assert_eq!(said.map(|reply| reply.text().to_string()), done);
        if let Ok(key) = done {
            self.keys.insert(client, key);
            if is_new {
                self.born.insert(client, self.hub.position());
            }
        }
    }

    fn publish(&mut self, random: &mut Rng, channel: &str) {
        let long = "long".repeat(random.usize(..60));
        let text = ["x", "\"é😀\u{2028}</script>", &long][random.usize(..3)];
        // Whom something is not for counts in the hub as bytes of it, and here not.
        let may_exclude = random.bool() && !channel.starts_with("sma");
        let exclude: Vec<&str> = CLIENTS.into_iter().filter(|_| may_exclude && random.u8(0..3) == 0).collect();
        let ttl = (random.u8(0..4) == 0).then(|| Ms(TICK * random.u64(0..300)));
        // A key is forgotten after five minutes of Redis's own time.
        let once = (random.u8(0..4) == 0).then(|| format!("{} {}", self.now / 100_000, random.u8(0..3)));
        self.steps.push(format!("publish {channel} {text} {exclude:?} {ttl:?} {once:?}"));
        let submission = Submission { channel, from: Sender::Id("me"), text, exclude: &exclude, ttl };
        let done = match &once {
            Some(once) => self.hub.publish_once(self.now(), once, submission),
            None => self.hub.publish(self.now(), submission),
        };
        let ttl = ttl.map_or(String::new(), |ttl| ttl.0.to_string());
        let excluded = if exclude.is_empty() { String::new() } else { serde_json::to_string(&exclude).expect("texts") };
        let arguments = [channel, "\"me\"", &json_of(text), &ttl, &excluded, once.as_deref().unwrap_or("")];
        let said = outcome(self.node.call("publish", &arguments));
        assert_eq!(
            said.map(|reply| (reply.list()[0].number(), reply.list()[1].number())),
            done.map(|placed| (placed.id, placed.seq)).map_err(error_name)
        );
    }

    /// A page polls, in one of the protocols, and hangs up if there is nothing for it.
    fn poll(&mut self, random: &mut Rng, client: &'static str, position: u64) {
        let Some(key) = self.keys.get(client).cloned() else { return };
        let now = self.now();
        let Ok(info) = self.hub.client_info(now, client) else {
            assert_eq!(self.node.call("look", &["", client]), Reply::Nil);
            assert_eq!(self.node.ask("touch", &["", "0", client]), [client]);
            return;
        };
        // Some clients have only ever spoken the original's protocol.
        let protocol = match random.u8(0..3) {
            _ if client == "a" || client == "c c" => Protocol::Original,
            0 => Protocol::Original,
            1 => Protocol::Resume(Since::At(position)),
            _ => Protocol::Resume(Since::Acknowledged),
        };
        self.steps.push(format!("poll {client} {protocol:?}, which is {info:?}"));
        if !info.here {
            assert_eq!(self.node.ask("touch", &["", "0", client]), [client]);
            let record = self.node.call("revive", &["", client]);
            assert_eq!((record.list()[0].text(), record.list()[5].text()), (&*key, ""));
        }
        let mut arguments =
            [String::new(), client.to_string(), String::new(), u8::from(protocol != Protocol::Original).to_string()];
        let usual = &mut Key::unpack(0);
        let waiter = self.hub.wait(now, Owner(0), usual, [(client, &key)], protocol, Ms::MAX).expect("it is known");
        if protocol == Protocol::Original {
            while let Some(answer) = self.hub.next_answer(now, &mut 1000) {
                assert_eq!(answer.waiter(), waiter);
                self.hub.delivered(now, waiter);
            }
            let position = self.hub.client_info(now, client).expect("it is here").position;
            arguments[2] = position.to_string();
        } else {
            while self.hub.next_answer(now, &mut 1000).is_some() {}
            if let Protocol::Resume(Since::At(position)) = protocol {
                arguments[2] = position.to_string();
            }
        }
        self.hub.cancel(now, waiter);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert!(self.node.ask("touch", &["", "0", client]).is_empty());
        assert!(self.node.ask("acknowledge_each", &arguments).is_empty());
    }

    /// Time passes, and what is due by then is done when it is due.
    fn pass(&mut self, time: u64) {
        let end = self.now + time;
        self.steps.push(format!("pass {time} to {}", end - START));
        loop {
            let soonest = self.sweep().min(self.hub.next_timeout().map_or(u64::MAX, |at| at.0));
            let next = soonest.max(self.now + 1).div_ceil(TICK).saturating_mul(TICK).min(end);
            if self.now == end {
                return;
            }
            self.now = next;
            self.node.turn_clock(next);
            self.sweep();
            let mut budget = u32::MAX;
            self.hub.handle_timeout(Ms(next), &mut budget);
            self.find_counterparts();
        }
    }

    /// When there is something to do next.
    fn sweep(&mut self) -> u64 {
        for _ in 0..100 {
            let swept = self.node.ask("sweep", &["3"]);
            if swept[0] == "0" {
                return swept[1].parse().unwrap_or(u64::MAX);
            }
        }
        panic!("what was looked at is due again and again");
    }

    /// Pairs what the library has said in the last step with what the hub has said: by channel, in order.
    fn find_counterparts(&mut self) {
        let before = *self.positions.last().expect("it begins with one");
        let mut said: BTreeMap<String, Vec<(u64, Vec<String>)>> = BTreeMap::new();
        let mut last = before;
        for (channel, payload) in self.node.heard() {
            let Some(channel) = channel.strip_prefix("says:") else { continue };
            let fields: Vec<String> = payload.split('\n').map(String::from).collect();
            let seq = fields[1].parse().expect("a seq");
            assert!(seq > last, "seqs are said in order");
            last = seq;
            said.entry(channel.into()).or_default().push((seq, fields));
        }
        for (channel, said) in said {
            // What fell out at once stays without: that is the older of two of `admin`, at most.
            let Ok(history) = self.hub.history(Ms::ZERO, &channel, before, usize::MAX) else { continue };
            for ((seq, fields), message) in said.iter().rev().zip(history.messages.iter().rev()) {
                if *seq != message.seq() {
                    self.counterparts.insert(*seq, message.seq());
                }
                assert_eq!(fields[5], kind_name(message.kind()));
                let triple = format!("[{},{},{}]", fields[2], fields[10], fields[9]);
                assert_eq!(triple.as_bytes(), message.triple());
            }
        }
        self.positions.push(self.hub.position());
    }

    fn counterpart(&self, seq: u64) -> u64 {
        *self.counterparts.get(&seq).unwrap_or(&seq)
    }

    /// Everything that can be asked has one answer.
    fn compare(&mut self) {
        self.hub.check();
        let stats = self.hub.stats();
        let counts = [stats.clients, stats.departed, stats.channels].map(|count| count.to_string());
        let said = self.node.ask("stats", &[]);
        assert_eq!((&said[..3], &*said[3]), (&counts[..], &*self.hub.position().to_string()));
        self.compare_lists();
        let mut channels = BTreeMap::new();
        for name in CHANNELS {
            if let Some(followed) = self.compare_channel(name) {
                channels.insert(name, followed);
            }
        }
        for id in CLIENTS {
            self.compare_client(id, &channels);
        }
    }

    fn compare_lists(&mut self) {
        let all = u32::MAX;
        for prefix in ["", "a"] {
            let clients: BTreeSet<String> =
                self.hub.list_clients(prefix, 0, 100, all).0.into_iter().map(String::from).collect();
            let channels: BTreeSet<String> =
                self.hub.list_channels(prefix, 0, 100, all).0.into_iter().map(String::from).collect();
            assert_eq!(self.pages("list_clients", prefix), clients);
            assert_eq!(self.pages("list_channels", prefix), channels);
        }
    }

    fn pages(&mut self, list: &str, prefix: &str) -> BTreeSet<String> {
        let (mut after, mut names) = (String::from("0"), BTreeSet::new());
        loop {
            let mut page = self.node.ask(list, &[prefix, &after, "2", "3"]).into_iter();
            after = page.next().expect("from where to go on");
            assert!(page.len() <= 2);
            names.extend(page);
            if after.is_empty() {
                return names;
            }
        }
    }

    fn compare_channel(&mut self, name: &'static str) -> Option<Followed> {
        let now = self.now();
        let Ok(info) = self.hub.channel_info(name) else {
            assert_eq!(outcome(self.node.call("channel_info", &[name])), Err("UNKNOWNCHANNEL".into()));
            assert_eq!(self.node.call("follow", &[name, "0"]), Reply::Nil);
            return None;
        };
        let said: Vec<u64> =
            self.node.ask("channel_info", &[name]).iter().map(|field| field.parse().expect("a number")).collect();
        let followed = self.follow(name, 0);
        let counts = [info.subscribers, info.active, info.messages].map(|count| count as u64);
        assert_eq!((&said[..3], &said[4..]), (&counts[..], &[info.next_id, info.position][..]), "{name}");
        let excluded = followed.messages.iter().any(|message| !message.excluded.is_empty());
        assert!(excluded || said[3] == info.bytes as u64, "{name}: {} bytes, not {}", said[3], info.bytes);

        let history = self.hub.history(now, name, 0, usize::MAX).expect("it is there");
        let expected: Vec<(u64, String, String)> = history
            .messages
            .iter()
            .map(|one| (one.seq(), kind_name(one.kind()), String::from_utf8_lossy(one.triple()).into()))
            .collect();
        let alive = followed.messages.iter().filter(|message| message.expires == 0 || message.expires > now.0);
        let found: Vec<(u64, String, String)> =
            alive.map(|message| (message.seq, message.kind.clone(), message.triple.clone())).collect();
        assert_eq!(found, expected, "{name}");
        let is_lossy = |since| self.hub.history(now, name, since, 0).expect("it is there").is_lossy;
        assert!(!is_lossy(followed.lost), "{name}: {} is the newest that fell out", followed.lost);
        assert!(followed.lost == 0 || is_lossy(followed.lost - 1), "{name}: {} fell out", followed.lost);

        let mut members = BTreeSet::new();
        let mut walk = self.hub.walk_channel(name).expect("it is there");
        while let Some(id) = self.hub.next_client(now, &mut walk, &mut 1000) {
            members.insert(id.to_string());
        }
        let said = self.node.ask("members", &[name, "admin", "0", "1000"]);
        assert_eq!((&*said[0], said[1..].iter().cloned().collect()), ("", members), "{name}");
        Some(followed)
    }

    fn follow(&mut self, name: &str, after: u64) -> Followed {
        let said = self.node.call("follow", &[name, &after.to_string()]);
        let said = said.list();
        let lost = [3, 4].map(|at| match said[at].text().split_once(' ') {
            Some((seq, _)) => self.counterpart(seq.parse().expect("a seq")),
            None => 0,
        });
        let message = |one: &Reply| {
            let field = one.texts();
            Heard {
                seq: self.counterpart(one.list()[0].number()),
                kind: field[3].into(),
                triple: format!("[{},{},{}]", field[1], field[7], field[6]),
                expires: one.list()[4].number(),
                excluded: if field[5].is_empty() { vec![] } else { serde_json::from_str(field[5]).expect("JSON") },
            }
        };
        Followed {
            newest: [1, 2].map(|at| self.counterpart(said[at].number())),
            lost: lost.into_iter().max().expect("two"),
            messages: said[9].list().iter().map(message).collect(),
        }
    }

    fn compare_client(&mut self, id: &'static str, channels: &BTreeMap<&str, Followed>) {
        let now = self.now();
        let Ok(info) = self.hub.client_info(now, id) else {
            assert_eq!(outcome(self.node.call("client_info", &[id])), Err("UNKNOWNCLIENT".into()));
            return;
        };
        let expected = [u64::from(info.here), info.idle.0, info.position, info.subscriptions as u64];
        assert_eq!(self.node.ask("client_info", &[id]), expected.map(|field| field.to_string()), "{id}");
        let said = outcome(self.node.call("channels_of", &[id]));
        let said = said.map(|names| names.texts().into_iter().map(String::from).collect::<BTreeSet<_>>());
        let walk = self.hub.walk_client(id).map_err(error_name);
        let names = walk.map(|mut walk| {
            let mut names = BTreeSet::new();
            while let Some(name) = self.hub.next_channel(&mut walk, &mut 1000) {
                names.insert(name.to_string());
            }
            names
        });
        assert_eq!(said, names, "{id}");

        // What became of each message, which goes by the subscriptions, the ended ones included.
        let numbers = |text: &str| text.split(' ').map_while(|field| field.parse::<u64>().ok()).collect::<Vec<_>>();
        let mut stretches = Vec::new();
        for (name, wire) in self.node.hash(&format!("subscriptions:{id}")) {
            let made = numbers(&wire);
            stretches.push((name, made[0], made[1], u64::MAX));
        }
        for (_, wire) in self.node.hash(&format!("ended:{id}")) {
            let fields: Vec<&str> = wire.splitn(7, ' ').collect();
            let made = numbers(&wire);
            stretches.push((fields[6].into(), made[0], made[1], made[2]));
        }
        for (&name, followed) in channels {
            assert!(followed.newest.iter().all(|&newest| newest <= self.hub.position()));
            for message in &followed.messages {
                let of_it = || stretches.iter().filter(|(of, _, _, till)| of == name && message.seq <= *till);
                let is_meant = of_it().any(|&(_, _, begin, _)| begin < message.seq);
                let is_had = of_it().any(|&(_, made, begin, _)| {
                    let after = if info.position < made { begin } else { info.position };
                    after >= message.seq
                });
                let is_excluded = message.excluded.iter().any(|other| other == id) && self.born[id] < message.seq;
                let expected = if !is_meant {
                    "not subscribed"
                } else if is_excluded {
                    "excluded"
                } else if is_had {
                    "delivered"
                } else if message.expires > 0 && message.expires <= now.0 {
                    "expired"
                } else {
                    "waiting"
                };
                let number = numbers(&message.triple[1..].replace(',', " "))[0];
                let fate = match self.hub.why(now, id, name, number).expect("both are known") {
                    Fate::NotSubscribed => "not subscribed",
                    Fate::Excluded => "excluded",
                    Fate::Delivered { .. } => "delivered",
                    Fate::Expired => "expired",
                    Fate::Waiting { .. } => "waiting",
                    other => panic!("{other:?}"),
                };
                assert_eq!(fate, expected, "{id}, {name}: {message:?}, {stretches:?}");
            }
        }
    }
}

#[test]
fn the_library_does_what_the_hub_does() {
    let seeds = match std::env::var("SHAVEET_TWIN_SEED") {
        Ok(seed) => vec![seed.parse().expect("a seed is a number")],
        Err(_) => (0..6).map(|_| fastrand::u64(..)).collect(),
    };
    for seed in seeds {
        println!("seed {seed}");
        let mut random = Rng::with_seed(seed);
        let mut twin = Twin::new(&mut random);
        for _ in 0..250 {
            twin.a_step(&mut random);
            twin.find_counterparts();
            twin.compare();
            twin.pass(STEP);
        }
    }
}
