//! The hub's own channel: nobody hears of it but who listens to it, and it is in no count.

use super::*;

fn world() -> World {
    let mut world = World::new(limits());
    world.client("alice", &["room", "admin"]);
    world.hub.open_own(world.now, "own");
    world.client("watcher", &["own"]);
    world.hub.check();
    world
}

#[test]
fn it_is_made_and_heard_in_silence() {
    let mut world = world();
    let before = (world.hub.tally().published, world.hub.position());
    let mut quiet = World::new(limits());
    quiet.client("alice", &["room", "admin"]);
    assert_eq!(before.0, quiet.hub.tally().published, "no announcement, no join");
    assert_eq!(world.hub.own_listeners(), 0);
    world.resume(5, "watcher", Since::Acknowledged);
    assert_eq!(world.hub.own_listeners(), 1);
    // Also when there is no memory for anybody else.
    world.hub.live_in(world.now, Room { full: Some(1), excess: 0 });
    world.hub.say_own(world.now, "figures");
    let answer = world.hub.next_answer(world.now, &mut u32::MAX.clone()).expect("somebody listens");
    assert!(
        answer.messages().all(|(channel, message)| channel.name() == "own" && message.text_json() == b"\"figures\"")
    );
    let waiter = answer.waiter();
    world.hub.delivered(world.now, waiter);
    world.hub.check();
    let tally = world.hub.tally();
    assert_eq!((tally.published, tally.sent), (before.0, [0; MEDIA.len()]));
    assert_eq!(tally.latency.counts.iter().sum::<u64>(), 0);
}

#[test]
fn it_keeps_little_whatever_the_limits_become() {
    let mut world = world();
    world.hub.change_limits(Limits { policies: Policies::uniform(policy(50, SystemShare::Shared)), ..limits() });
    while world.hub.is_changing() {
        world.hub.go_on_changing(world.now, &mut 10);
    }
    for at in 0..20 {
        world.hub.say_own(world.now, &format!("figures {at}"));
    }
    world.hub.check();
    assert_eq!(world.hub.channel_info("own").unwrap().messages, 3);
}

#[test]
fn a_few_may_come_to_look_when_no_others_may() {
    let mut world = World::new(Limits { clients_max: 2, ..limits() });
    world.client("alice", &[]);
    world.client("bob", &[]);
    let key = ClientKey::new([7; 16]);
    assert!(world.hub.create_client(world.now, "carol", key).is_err());
    let mut come = |at: usize| world.hub.create_own_client(world.now, &format!("watcher {at}"), key).is_ok();
    assert_eq!((0..99).filter(|&at| come(at)).count(), 16);
    world.hub.check();
}

#[test]
fn the_busiest_are_counted_while_somebody_wants_to_know() {
    let mut world = world();
    let told = |world: &mut World| {
        let busiest = world.hub.take_busiest();
        busiest.into_iter().map(|busy| (busy.name.to_owned(), busy.messages, busy.active)).collect::<Vec<_>>()
    };
    world.publish("room", "nobody counts yet");
    assert_eq!(told(&mut world), []);
    world.publish("room", "one");
    world.publish("empty", "two");
    world.publish("room", "three");
    world.hub.say_own(world.now, "figures");
    let counted = told(&mut world);
    assert_eq!(counted[0], ("room".to_owned(), 2, 1));
    // The new channel was announced.
    assert!(counted.contains(&("empty".to_owned(), 1, 0)) && counted.contains(&("admin".to_owned(), 1, 1)));
    assert!(!counted.iter().any(|(name, _, _)| name == "own"));
    world.publish("room", "four");
    world.hub.forget_busiest();
    assert_eq!(told(&mut world), []);
}

#[test]
fn it_does_not_outlive_its_server_but_is_handed_over() {
    let mut world = world();
    world.client("both", &["own", "room"]);
    for (with_waiters, is_there) in [(false, false), (true, true)] {
        let (mut snapshot, mut restoration) = (Snapshot::begin(with_waiters), Restoration::begin(limits()));
        let mut hub = None;
        while let Some(record) = world.hub.next_record(&mut snapshot, &mut u32::MAX.clone()) {
            hub = restoration.take(Resumption { now: world.now, away: Ms::ZERO }, record);
        }
        let hub = hub.expect("the last record makes it");
        hub.check();
        assert_eq!(hub.client_info(world.now, "watcher").is_ok(), is_there);
        assert_eq!(hub.channel_named("own").is_some(), is_there);
        assert!(hub.client_info(world.now, "alice").is_ok());
    }
}
