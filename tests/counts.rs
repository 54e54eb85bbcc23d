//! A delivery allocates nothing: not for the answer, not for the next poll, however many pages there are and whichever
//! protocol they speak. Over the real decoder, API and hub, without sockets, with an allocator that counts.

#![allow(clippy::unwrap_used, reason = "a test")]

use allocation_counter::measure;
use shaveet::api::{Api, Entrance, Habit, Outcome, Parked, Press, Visit};
use shaveet::clock::Ms;
use shaveet::config::Config;
use shaveet::http::{Decoder, Exchange, Limits, Step};
use shaveet::hub::{ClientKey, Hub, Owner, Sender, Submission};

const DATE: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

/// How much time passes with each message. The poll whose time is up first is then no new one, so that no reminder has to be
/// set: a page has one in twenty seconds.
const PASS: Ms = Ms(100);

/// A page and the server's end of its connection.
struct Page {
    credential: String,
    wants: Wants,
    request: String,
    decoder: Decoder,
    habit: Habit,
    parked: Option<Parked>,
}

#[derive(Clone, Copy, Debug)]
enum Wants {
    /// The original's protocol.
    Call,
    /// The resume protocol, as an object and as a call.
    Object,
    Script,
}

struct World {
    now: Ms,
    api: Api,
    press: Press,
    limits: Limits,
    pages: Vec<Page>,
}

impl World {
    /// A server and its pages, each in these rooms, and one more that waits for something else all the time, as there is on
    /// every server: tables that become empty give their memory back.
    fn new(count: usize, wants: &[Wants], rooms: &[&str]) -> World {
        let config = Config::default();
        let mut hub = Hub::new(Ms::ZERO, config.hub_limits());
        let page = |(at, &wants): (usize, &Wants)| {
            let id = format!("page{at}");
            let key = hub.create_client(Ms::ZERO, &id, ClientKey::new([7; 16])).unwrap();
            let rooms = if at < count { rooms } else { &["elsewhere"] };
            rooms.iter().for_each(|room| hub.subscribe(Ms::ZERO, &id, room, None).unwrap());
            let (decoder, habit) = (Decoder::new(), Habit::default());
            let credential = format!("{id}_!!_{key}");
            Page { credential, wants, request: String::new(), decoder, habit, parked: None }
        };
        let pages = (0..=count).zip(wants.iter().cycle()).map(page).collect();
        let limits = config.http_limits();
        World { now: Ms::ZERO, api: Api::new(&config, hub, DATE, 1, 1), press: Press::default(), limits, pages }
    }

    /// What the pages are about to send. Not the server's work, so it is not counted.
    fn write_requests(&mut self) {
        let since = self.api.epoch.token(self.api.hub.position());
        for page in &mut self.pages {
            let rest = match page.wants {
                Wants::Call => "callback=noop&ts=1234567890".to_owned(),
                Wants::Object => format!("since={since}"),
                Wants::Script => format!("since={since}&callback=jQuery123_456"),
            };
            let head =
                "HTTP/1.1\r\nHost: push.example\r\nUser-Agent: x\r\nConnection: keep-alive\r\nCookie: a=b\r\n\r\n";
            page.request = format!("GET /message_updates?client_id={}&{rest} {head}", page.credential);
        }
    }

    /// A page polls.
    fn poll(&mut self, at: usize) {
        let page = &mut self.pages[at];
        let Ok(Step::Request { request, .. }) = page.decoder.next(&self.limits, page.request.as_bytes()) else {
            panic!("it is a request");
        };
        let visit =
            Visit { now: self.now, date: DATE, owner: Owner(at as u64), address: None, entrance: Entrance::Shared };
        let exchange = Exchange { head_only: false, keep_alive: true };
        match self.api.handle(visit, &request, exchange, &mut page.habit, &mut Vec::new()) {
            Outcome::Parked(parked) => page.parked = Some(parked),
            other => panic!("a poll parks: {other:?}"),
        }
    }

    /// All answers that are owed leave, and the pages poll again. Returns how many have the text in them.
    fn deliver(&mut self, text: &[u8]) -> usize {
        let mut count = 0;
        while self.api.hub.has_answers() {
            let Some(answer) = self.api.hub.next_answer(self.now, &mut 4096) else { continue };
            let at = usize::try_from(answer.owner().0).unwrap();
            let page = &mut self.pages[at];
            let parked = page.parked.take().expect("it waits");
            let bytes = self.press.print(&parked, &page.habit, &answer, self.api.epoch, DATE);
            count += usize::from(memchr::memmem::find(bytes, text).is_some());
            self.api.hub.delivered(self.now, parked.waiter);
            self.poll(at);
        }
        count
    }
}

/// Allocations of so many rounds, in each of which all pages but the last get a message and poll again.
fn allocations(world: &mut World, rounds: usize) -> u64 {
    let mut allocations = 0;
    for round in 0..rounds {
        world.now += PASS;
        let text = format!("message {round:06}");
        let submission = Submission { channel: "room", from: Sender::Id("p"), text: &text, exclude: &[], ttl: None };
        world.api.hub.publish(world.now, submission).unwrap();
        world.write_requests();
        let mut count = 0;
        allocations += measure(|| count = world.deliver(text.as_bytes())).count_total;
        assert_eq!(count, world.pages.len() - 1, "everybody in the room gets it, and once");
    }
    allocations
}

#[test]
fn a_delivery_allocates_nothing() {
    for wants in [&[Wants::Call][..], &[Wants::Object], &[Wants::Script], &[Wants::Call, Wants::Object, Wants::Script]]
    {
        for (count, rooms) in [(1, &["room"][..]), (100, &["room"]), (600, &["room"]), (100, &["room", "other"])] {
            let mut world = World::new(count, wants, rooms);
            world.write_requests();
            (0..=count).for_each(|at| world.poll(at));
            world.deliver(b"joined");
            allocations(&mut world, 40);
            let allocations = allocations(&mut world, 10);
            assert_eq!(allocations, 0, "{allocations} for {} deliveries: {wants:?}, {rooms:?}", 10 * count);
        }
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(1)))).count_total, 1);
}
