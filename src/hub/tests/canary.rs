//! The canary: it comes out as any message, nobody else sees it, and nothing is left of it.

use super::*;

/// All that can be asked about a hub.
fn seen(world: &World) -> (Stats, Usage, Vec<String>, Vec<String>, [u64; 2]) {
    let hub = &world.hub;
    let names = |(names, _): Page<'_>| names.into_iter().map(str::to_owned).collect();
    let (clients, channels) = (hub.list_clients("", 0, 99, 99), hub.list_channels("", 0, 99, 99));
    (hub.stats(), hub.usage(), names(clients), names(channels), hub.tally().published)
}

/// Who is answered next, and whether by a canary.
fn answered(world: &mut World) -> Option<(u64, bool)> {
    let answer = world.hub.next_answer(world.now, &mut u32::MAX.clone())?;
    let (owner, waiter, brings) = (answer.owner().0, answer.waiter(), answer.brings_canary());
    world.hub.check();
    world.hub.delivered(world.now, waiter);
    world.hub.check();
    Some((owner, brings))
}

fn busy(limits: Limits) -> World {
    let mut world = World::new(limits);
    world.client("alice", &["room"]);
    world.poll(1, &["alice"]);
    while world.hub.has_answers() {
        answered(&mut world);
    }
    world.poll(1, &["alice"]);
    while world.hub.has_answers() {
        assert!(answered(&mut world).is_none());
    }
    world
}

#[test]
fn it_comes_out_at_its_own_poll_and_nothing_is_left_of_it() {
    let mut world = busy(limits());
    let before = seen(&world);
    world.hub.send_canary(world.now, Owner(7)).unwrap();
    world.hub.check();
    let (stats, _, clients, channels, published) = seen(&world);
    assert_eq!((stats, clients, channels, published), (before.0, before.2.clone(), before.3.clone(), before.4));
    assert_eq!((answered(&mut world), answered(&mut world)), (Some((7, true)), None));
    assert_eq!(seen(&world), before);
    assert!(!world.hub.has_answers());
    // Nor does anything tick for it.
    assert_eq!(world.hub.next_timeout(), busy(limits()).hub.next_timeout());
    // Who waited waits on, and gets what is his.
    world.publish("room", "hello");
    assert_eq!((answered(&mut world), answered(&mut world)), (Some((1, false)), None));
}

#[test]
fn several_and_other_messages_come_out_beside_each_other() {
    let mut world = busy(limits());
    world.hub.send_canary(world.now, Owner(7)).unwrap();
    world.publish("room", "hello");
    world.hub.send_canary(world.now, Owner(8)).unwrap();
    let mut all: Vec<_> = std::iter::from_fn(|| answered(&mut world)).collect();
    all.sort_unstable();
    assert_eq!(all, [(1, false), (7, true), (8, true)]);
}

#[test]
fn one_whose_asker_has_gone_goes_too() {
    let mut world = busy(limits());
    let before = seen(&world);
    let parked = world.hub.send_canary(world.now, Owner(7)).unwrap();
    world.hub.cancel(world.now, parked);
    world.hub.check();
    let sent = world.hub.send_canary(world.now, Owner(8)).unwrap();
    assert_eq!(world.hub.next_answer(world.now, &mut u32::MAX.clone()).map(|answer| answer.waiter()), Some(sent));
    world.hub.cancel(world.now, sent);
    world.hub.check();
    assert_eq!((answered(&mut world), seen(&world)), (None, before));
}

#[test]
fn nobody_can_name_it() {
    let mut world = busy(limits());
    world.hub.send_canary(world.now, Owner(7)).unwrap();
    assert_eq!(world.try_poll(2, &[""]), Err(WaitError::UnknownClient));
    assert_eq!(world.hub.channel_info(""), Err(Error::UnknownChannel));
    assert_eq!(world.hub.kill_client(world.now, ""), Err(Error::UnknownClient));
    // These names are anybody's.
    world.client("", &[""]);
    world.publish("", "hello");
    world.hub.check();
    assert_eq!(world.hub.channel_info("").map(|info| info.subscribers), Ok(1));
    assert_eq!(answered(&mut world), Some((7, true)));
    assert_eq!(world.hub.channel_info("").map(|info| info.subscribers), Ok(1));
}

#[test]
fn it_takes_nobodys_place() {
    let (clients_max, channels_max) = (2, 3);
    let mut world = busy(Limits { clients_max, channels_max, ..limits() });
    world.hub.send_canary(world.now, Owner(7)).unwrap();
    world.client("bob", &["other"]);
    let full = Err(Error::Full(Limit::Clients(2)));
    assert_eq!(world.hub.create_client(world.now, "carol", key_of("carol")), full);
    world.hub.send_canary(world.now, Owner(8)).unwrap();
    assert_eq!(world.hub.create_client(world.now, "carol", key_of("carol")), full);
    let refused = world.hub.tally().refused;
    assert_eq!(refused, Refused { clients: 2, ..Refused::default() });
}

#[test]
fn where_nothing_can_be_published_it_cannot_be_either() {
    let mut world = busy(limits());
    world.hub.live_in(world.now, Room { excess: 0, full: Some(1000) });
    let before = seen(&world);
    assert_eq!(world.hub.send_canary(world.now, Owner(7)), Err(Error::Full(Limit::Memory(1000))));
    assert_eq!((answered(&mut world), seen(&world)), (None, before));
    assert_eq!(world.hub.tally().refused, Refused::default(), "nobody was refused");
}

#[test]
fn a_hub_that_stops_ends_it() {
    let mut world = busy(limits());
    let parked = world.hub.send_canary(world.now, Owner(7)).unwrap();
    world.hub.end_waiting(parked, Ending::Stopping);
    let answer = world.hub.next_answer(world.now, &mut u32::MAX.clone()).unwrap();
    assert_eq!((answer.owner(), answer.ending()), (Owner(7), Some(Ending::Stopping)));
}
