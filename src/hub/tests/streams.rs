//! Streams: waiters that stay.

use super::*;

/// An answer: its ids, its gaps, its position and why it is the last, if it is.
type Said = (Vec<u64>, Vec<u64>, Option<u64>, Option<Ending>);

impl World {
    fn stream(&mut self, owner: u64, ids: &[&str], since: Since, transport: Transport) -> Key<Waiter> {
        let keys: Vec<String> = ids.iter().map(|id| key_of(id).to_string()).collect();
        let pairs = ids.iter().copied().zip(keys.iter().map(String::as_str));
        let waiter = self.hub.stream(self.now, Owner(owner), pairs, since, transport);
        self.hub.check();
        waiter.unwrap()
    }

    /// The next answer, left on its way.
    fn hear_stream(&mut self) -> Option<Said> {
        let answer = self.hub.next_answer(self.now, &mut u32::MAX.clone())?;
        let ids = answer.messages().map(|(_, message)| message.id).collect();
        let gaps = answer.gaps().map(|(_, gap)| gap.next_id).collect();
        let heard = (ids, gaps, answer.upto(), answer.ending());
        self.hub.check();
        Some(heard)
    }

    fn acknowledged(&self, id: &str) -> u64 {
        self.hub.client_info(self.now, id).unwrap().position
    }
}

#[test]
fn a_stream_says_at_once_where_it_is_and_then_what_comes() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    let waiter = world.stream(1, &["a"], Since::At(world.hub.position()), Transport::Socket);
    assert_eq!(world.hear_stream(), Some((vec![], vec![], Some(world.hub.position()), None)));
    assert_eq!(world.hear_stream(), None);
    // What comes while the answer is on its way waits for that, and leaves as one.
    world.publish("room", "x");
    world.publish("room", "y");
    assert_eq!(world.hear_stream(), None);
    world.hub.delivered(world.now, waiter);
    let end = world.hub.position();
    assert_eq!(world.hear_stream(), Some((vec![2, 3], vec![], Some(end), None)));
    world.hub.delivered(world.now, waiter);
    assert_eq!(world.hear_stream(), None);
    // Without news, on demand.
    world.hub.say_word(waiter);
    assert_eq!(world.hear_stream(), Some((vec![], vec![], Some(end), None)));
    world.hub.cancel(world.now, waiter);
    world.hub.check();
    assert_eq!(world.hub.stats().waiters, 0);
}

#[test]
fn who_does_not_keep_up_is_told_the_gap() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    let waiter = world.stream(1, &["a"], Since::Acknowledged, Transport::Events);
    assert_eq!(world.hear_stream().unwrap().0, [1]);
    for _ in 0..15 {
        world.publish("room", "x");
        assert_eq!(world.hear_stream(), None);
    }
    world.hub.delivered(world.now, waiter);
    // A history of ten.
    assert_eq!(world.hear_stream(), Some(((7..=16).collect(), vec![7], Some(world.hub.position()), None)));
    world.hub.delivered(world.now, waiter);
    assert_eq!(world.hear_stream(), None);
}

#[test]
fn what_was_not_for_it_is_no_gap_of_a_quiet_stream() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    let waiter = world.stream(1, &["a"], Since::Acknowledged, Transport::Socket);
    world.hear_stream();
    world.hub.delivered(world.now, waiter);
    for _ in 0..30 {
        let submission = Submission { channel: "room", from: Sender::Id("a"), text: "x", exclude: &["a"], ttl: None };
        world.hub.publish(world.now, submission).unwrap();
        assert_eq!(world.hear_stream(), None);
    }
    world.publish("room", "y");
    assert_eq!(world.hear_stream(), Some((vec![32], vec![], Some(world.hub.position()), None)));
}

#[test]
fn an_unknown_position_is_told_once() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    let waiter = world.stream(1, &["a"], Since::Lost, Transport::Events);
    assert_eq!(world.hear_stream(), Some((vec![1], vec![1], Some(world.hub.position()), None)));
    world.hub.delivered(world.now, waiter);
    world.publish("room", "x");
    assert_eq!(world.hear_stream(), Some((vec![2], vec![], Some(world.hub.position()), None)));
}

#[test]
fn a_socket_acknowledges_by_word_and_an_event_stream_by_going_on() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    let socket = world.stream(1, &["a"], Since::Acknowledged, Transport::Socket);
    let first = world.hear_stream().unwrap().2.unwrap();
    world.hub.delivered(world.now, socket);
    world.publish("room", "x");
    world.hear_stream();
    world.hub.delivered(world.now, socket);
    assert_eq!(world.acknowledged("a"), 0);
    assert_eq!(world.hub.why(world.now, "a", "room", 2), Ok(Fate::OnItsWay));
    world.hub.heard(world.now, socket, first);
    assert_eq!(world.acknowledged("a"), first);
    world.hub.cancel(world.now, socket);
    world.hub.heard(world.now, socket, first + 1);
    assert_eq!(world.acknowledged("a"), first);

    let events = world.stream(2, &["a"], Since::Acknowledged, Transport::Events);
    let (ids, _, second, _) = world.hear_stream().unwrap();
    assert_eq!(ids, [2]);
    world.hub.delivered(world.now, events);
    assert_eq!(world.acknowledged("a"), first);
    // While a proxy may be keeping it all back nothing counts.
    for ms in [0, 9_000, 2_000] {
        assert_eq!(world.acknowledged("a"), first);
        world.now += Ms(ms);
        world.hub.say_word(events);
        assert!(world.hear_stream().unwrap().0.is_empty());
        world.hub.delivered(world.now, events);
    }
    assert_eq!(Some(world.acknowledged("a")), second);
}

#[test]
fn a_stream_ends_at_once_or_when_its_answer_has_left() {
    for on_its_way in [false, true] {
        let mut world = World::new(limits());
        world.client("a", &["room"]);
        let waiter = world.stream(1, &["a"], Since::Acknowledged, Transport::Socket);
        world.hear_stream();
        if !on_its_way {
            world.hub.delivered(world.now, waiter);
            assert_eq!(world.hear_stream(), None);
        }
        world.hub.kill_client(world.now, "a").unwrap();
        if on_its_way {
            assert_eq!(world.hear_stream(), None);
            world.hub.delivered(world.now, waiter);
        }
        assert_eq!(world.hear_stream(), Some((vec![], vec![], None, Some(Ending::Gone))));
        world.hub.delivered(world.now, waiter);
        assert_eq!(world.hub.stats().waiters, 0);
    }
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    let waiter = world.stream(1, &["a"], Since::Acknowledged, Transport::Socket);
    world.hear_stream();
    world.hub.delivered(world.now, waiter);
    world.hub.rotate_key("a", key_of("b")).unwrap();
    assert_eq!(world.hear_stream().unwrap().3, Some(Ending::Gone));
    world.hub.delivered(world.now, waiter);
    // The server stops: with what is due.
    let waiter =
        world.hub.stream(world.now, Owner(2), [("a", &*key_of("b").to_string())], Since::At(0), Transport::Events);
    world.hub.end_waiting_from(&mut 0, &mut u32::MAX.clone(), &mut u64::MAX.clone());
    assert_eq!(world.hear_stream(), Some((vec![1], vec![], Some(world.hub.position()), Some(Ending::Stopping))));
    world.hub.delivered(world.now, waiter.unwrap());
    assert_eq!(world.hub.stats().waiters, 0);
}

#[test]
fn who_streams_stays_and_one_stream_too_many_ends_the_oldest() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    let waiters: Vec<_> =
        (0..5).map(|owner| world.stream(owner, &["a"], Since::Acknowledged, Transport::Events)).collect();
    let mut ended = Vec::new();
    while let Some(answer) = world.hub.next_answer(world.now, &mut u32::MAX.clone()) {
        ended.extend(answer.ending().map(|ending| (answer.owner(), ending)));
        let waiter = answer.waiter();
        world.hub.delivered(world.now, waiter);
    }
    assert_eq!(ended, [(Owner(0), Ending::Crowded)]);
    world.pass(Ms::from_secs(3600));
    assert_eq!(world.hear_stream(), None);
    let info = world.hub.client_info(world.now, "a").unwrap();
    assert_eq!((info.here, info.polls), (true, [0, 0, 4, 0, 0]));
    for &waiter in &waiters[1..] {
        world.hub.cancel(world.now, waiter);
    }
    world.pass(Ms::from_secs(30));
    assert!(!world.hub.client_info(world.now, "a").unwrap().here);
}

#[test]
fn one_answer_of_a_stream_is_little() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    let waiter = world.stream(1, &["a"], Since::At(world.hub.position()), Transport::Events);
    world.hear_stream();
    (0..8).for_each(|_| world.publish("room", &"x".repeat(20_000)));
    let mut all = Vec::new();
    for _ in 0..3 {
        world.hub.delivered(world.now, waiter);
        all.push(world.hear_stream().unwrap().0);
    }
    assert_eq!(all, [vec![2, 3, 4], vec![5, 6, 7], vec![8, 9]]);
}

/// A position before where a subscription was made says that nothing of it has been had: an answer that was cut there came
/// again and again.
#[test]
fn a_subscription_from_the_past_that_is_larger_than_an_answer_comes_once() {
    let mut world = World::new(Limits { answer_bytes: 100, ..limits() });
    world.client("a", &["hall"]);
    let begin = world.hub.position();
    (0..5).for_each(|_| world.publish("room", &"x".repeat(60)));
    let waiter = world.stream(1, &["a"], Since::At(world.hub.position()), Transport::Socket);
    world.hear_stream();
    world.hub.delivered(world.now, waiter);
    world.hub.subscribe(world.now, "a", "room", Some(begin)).unwrap();
    let mut all = Vec::new();
    while let Some((ids, ..)) = world.hear_stream() {
        all.extend(ids);
        assert!(all.len() < 10, "{all:?}");
        world.hub.delivered(world.now, waiter);
    }
    assert_eq!(all, [1, 2, 3, 4, 5, 6]);
}
