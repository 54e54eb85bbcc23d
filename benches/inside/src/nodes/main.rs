//! Many nodes with very many clients in one process and in virtual time: hub, cluster and link are the real ones, Redis is one that is
//! only counted (`redis.rs`). It shows what the numbers of docs/scaling.md come to together, at a size that no machine at hand
//! could run for real, and what becomes of the clients of a node that dies.
//!
//! Pages poll by the resume protocol, and poll again a moment after each answer. Half of them are in rooms of 10, most others in
//! rooms of 1,000, and one in ten in rooms of 100,000; the members of a room are spread over the nodes.
//!
//! ```text
//!   cargo run --release --manifest-path benches/inside/Cargo.toml --bin nodes -- --nodes 100 --clients 100000
//! ```

mod node;
mod redis;

use std::collections::BTreeMap;

use cap::Cap;
use clap::Parser;
use tikv_jemallocator::Jemalloc;

use node::Node;
use redis::{Cost, Redis};

#[global_allocator]
static MEMORY: Cap<Jemalloc> = Cap::new(Jemalloc, usize::MAX);

/// Lets nodes and their clients live for a while, kills a node, and prints what Redis and the nodes had to do.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Nodes.
    #[arg(long, default_value_t = 4)]
    nodes: usize,
    /// Clients of each node.
    #[arg(long, default_value_t = 2000)]
    clients: usize,
    /// How long they live before a node dies, in virtual seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Messages for each client in an hour.
    #[arg(long, default_value_t = 60)]
    messages: u64,
    /// `--max-idle`, in seconds.
    #[arg(long, default_value_t = 30)]
    max_idle: u64,
}

/// Which room a client is in: half of all are in small ones, one in ten in very large ones.
#[derive(Clone, Copy)]
pub(crate) struct Rooms {
    clients: usize,
}

const SIZES: [usize; 3] = [10, 1000, 100_000];

impl Rooms {
    fn shares(self) -> [usize; 3] {
        [self.clients / 2, self.clients * 2 / 5, self.clients - self.clients / 2 - self.clients * 2 / 5]
    }

    fn counts(self) -> [usize; 3] {
        std::array::from_fn(|kind| self.shares()[kind].div_ceil(SIZES[kind]))
    }

    pub(crate) fn count(self) -> usize {
        self.counts().iter().sum()
    }

    pub(crate) fn of(self, client: usize) -> usize {
        let (shares, counts) = (self.shares(), self.counts());
        let (mut at, mut before) = (client, 0);
        for kind in 0..SIZES.len() {
            if at < shares[kind] {
                return before + at % counts[kind];
            }
            at -= shares[kind];
            before += counts[kind];
        }
        unreachable!("the shares are all clients")
    }
}

/// Virtual milliseconds between two looks at everybody.
const STEP: u64 = 20;

/// Pages that come to a node in one step, while all come and after a node has died.
const COMERS: usize = 200;

struct World {
    options: Options,
    nodes: Vec<Option<Node>>,
    redis: Redis,
    rooms: Rooms,
    random: fastrand::Rng,
    now: u64,
    /// Messages that are owed to the world, by kind of room.
    owed: [f64; 3],
}

fn main() {
    let mut world = World::new(Options::parse());
    let empty = MEMORY.allocated();
    world.arrive();
    let waiting = world.waiting();
    let bytes = (MEMORY.allocated() - empty) / waiting;
    println!("{waiting} pages wait at {} nodes: {bytes} bytes for each\n", world.options.nodes);
    world.pass(2 * world.options.max_idle);
    world.redis.forget_costs();
    world.nodes.iter_mut().flatten().for_each(Node::forget_longest);
    let deliveries = world.deliveries();
    world.pass(world.options.seconds);
    world.report(world.options.seconds, world.deliveries() - deliveries);
    world.redis.forget_costs();
    world.nodes.iter_mut().flatten().for_each(Node::forget_longest);
    let took = world.lose_a_node();
    println!(
        "\nA node dies. Its {} pages come elsewhere, {COMERS} to each node in {STEP} ms: all wait again after {:.1} s",
        world.options.clients,
        took as f64 / 1000.0
    );
    world.report(took.div_ceil(1000).max(1), 0);
}

impl World {
    fn new(options: Options) -> World {
        let rooms = Rooms { clients: options.nodes * options.clients };
        let nodes = (0..options.nodes).map(|at| Some(Node::new(at, options.max_idle))).collect();
        let redis = Redis::new(options.nodes, rooms);
        World { nodes, redis, rooms, random: fastrand::Rng::with_seed(1), now: 0, owed: [0.0; 3], options }
    }

    /// All pages come to their nodes.
    fn arrive(&mut self) {
        let (clients, nodes) = (self.options.clients, self.options.nodes);
        self.step();
        for from in (0..clients).step_by(COMERS) {
            for (at, node) in self.nodes.iter_mut().flatten().enumerate() {
                (from..clients.min(from + COMERS)).for_each(|number| node.come(number * nodes + at));
            }
            self.step();
        }
        while self.waiting() < clients * nodes {
            self.step();
        }
    }

    fn waiting(&self) -> usize {
        self.nodes.iter().flatten().map(Node::waiting).sum()
    }

    fn deliveries(&self) -> u64 {
        self.nodes.iter().flatten().map(|node| node.deliveries).sum()
    }

    /// Time passes, and messages are published.
    fn pass(&mut self, seconds: u64) {
        let end = self.now + 1000 * seconds;
        let (shares, counts) = (self.rooms.shares(), self.rooms.counts());
        while self.now < end {
            let mut first = 0;
            for kind in 0..SIZES.len() {
                let hourly = shares[kind] as f64 * self.options.messages as f64 / SIZES[kind] as f64;
                self.owed[kind] += hourly * STEP as f64 / 3_600_000.0;
                while self.owed[kind] >= 1.0 {
                    self.owed[kind] -= 1.0;
                    self.redis.publish(first + self.random.usize(..counts[kind].max(1)));
                }
                first += counts[kind];
            }
            self.step();
        }
    }

    /// The first node dies, and its pages go to the others.
    fn lose_a_node(&mut self) -> u64 {
        let all = self.options.nodes * self.options.clients;
        self.nodes[0] = None;
        self.redis.hang_up(0);
        let began = self.now;
        let others = self.options.nodes - 1;
        let mut homeless = (0..self.options.clients).map(move |number| number * (others + 1));
        loop {
            for node in self.nodes.iter_mut().flatten() {
                homeless.by_ref().take(COMERS).for_each(|client| node.come(client));
            }
            self.step();
            if others == 0 || self.waiting() == all {
                return self.now - began;
            }
        }
    }

    /// Everybody is looked at, and what they say to each other comes.
    fn step(&mut self) {
        self.now += STEP;
        self.redis.set_time(self.now);
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let Some(node) = node else { continue };
            node.retry();
            loop {
                node.hear(self.now, &std::mem::take(&mut self.redis.outboxes[at]));
                let asked = node.turn(self.now);
                if asked.is_empty() && self.redis.outboxes[at].is_empty() && !node.has_more() {
                    break;
                }
                self.redis.serve(at, &asked);
            }
        }
    }

    fn report(&self, seconds: u64, deliveries: u64) {
        println!(
            "| in a second | calls | % of Redis's core | bytes up | bytes down |\n| --- | --- | --- | --- | --- |"
        );
        let per = |number: u64| number / seconds;
        let mut all = Cost::default();
        let line = |name: &str, cost: &Cost| {
            let share = cost.us / seconds as f64 / 10_000.0;
            println!("| {name} | {} | {share:.1} | {} | {} |", per(cost.count), per(cost.up), per(cost.down));
        };
        let costs: &BTreeMap<&str, Cost> = &self.redis.costs;
        for (name, cost) in costs {
            line(name, cost);
            all.count += cost.count;
            all.us += cost.us;
            all.up += cost.up;
            all.down += cost.down;
        }
        line("all", &all);
        let nodes = self.nodes.iter().flatten().count() as u64;
        println!(
            "\nOf each node {} bytes up and {} down in a second; {} deliveries in all",
            per(all.up) / nodes,
            per(all.down) / nodes,
            per(deliveries)
        );
        let longest = self.nodes.iter().flatten().map(|node| node.longest_us).max().unwrap_or(0);
        let steps = self.nodes.iter().flatten().map(|node| node.longest_steps).max().unwrap_or(0);
        println!("The longest turn of a node: {steps} steps, {longest} us");
    }
}
