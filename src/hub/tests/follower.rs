//! A hub that follows: facts in, in the order in which they happened elsewhere.

use super::*;

fn fact(seq: u64, id: u64, text: &str) -> MessageFacts<'_> {
    MessageFacts {
        seq,
        id,
        at: Ms::ZERO,
        kind: Kind::Application,
        from_json: b"\"p\"",
        text_json: text.as_bytes(),
        expires: Ms::MAX,
        excluded: Vec::new(),
    }
}

impl World {
    fn following() -> World {
        World::following_with(limits())
    }

    fn following_with(limits: Limits) -> World {
        let mut world = World { hub: Hub::following(Ms::ZERO, limits.clone()), ..World::new(limits) };
        world.hub.set_behind(false);
        world
    }

    /// A client that is subscribed to these channels from the beginning, and settled.
    fn adopted(&mut self, id: &str, channels: &[&str]) -> Key<Client> {
        let (created, seen) = (self.now, self.now);
        let key = key_of(id);
        let adoption = Adoption { id, key, created, seen, position: 0, resumes: false, forgotten: 0 };
        let client = self.hub.adopt(&adoption);
        for channel in channels {
            if self.hub.last_seq_of(channel).is_none() {
                self.hub.fill_channel(self.now, channel, &ChannelFacts::default(), []);
            }
            self.hub.link_at(client, channel, 0, 0);
        }
        self.hub.settle(client, true);
        self.hub.check();
        client
    }

    fn told(&mut self, channel: &str, before: u64, message: &MessageFacts<'_>) -> Result<(), Misfit> {
        let heard = self.hub.hear(self.now, channel, before, message);
        self.hub.check();
        heard
    }

    fn ids(&mut self) -> Vec<u64> {
        self.hear_resumed().map_or(vec![], |heard| heard.ids.into_iter().map(|(_, id)| id).collect())
    }
}

#[test]
fn what_is_heard_is_answered_and_what_does_not_fit_is_not_taken_in() {
    let mut world = World::following();
    world.adopted("a", &["room"]);
    world.resume(1, "a", Since::Acknowledged);
    assert_eq!(world.told("other", 0, &fact(5, 1, "1")), Err(Misfit::Unknown));
    assert_eq!(world.told("room", 0, &fact(5, 1, "1")), Ok(()));
    let heard = world.hear_resumed().unwrap();
    assert_eq!((heard.ids, heard.upto), (vec![("room".to_owned(), 1)], Some(5)));
    assert_eq!(world.told("room", 0, &fact(5, 1, "1")), Err(Misfit::Old));
    assert_eq!(world.told("room", 6, &fact(7, 3, "3")), Err(Misfit::Hole));
    // An id that was given already with a seq that was not is nothing that a broker says.
    assert_eq!(world.told("room", 5, &fact(8, 1, "1")), Err(Misfit::Old));
    assert_eq!((world.hub.position(), world.hub.last_seq_of("room")), (5, Some(5)));
}

#[test]
fn who_settles_is_not_answered_past_what_may_still_come() {
    let mut world = World::following();
    let client = world.adopted("a", &["room"]);
    world.hub.settle(client, false);
    world.resume(1, "a", Since::At(0));
    assert_eq!(world.told("room", 0, &fact(7, 1, "1")), Ok(()));
    assert!(world.hear_resumed().is_none());
    // Of the other channel something from before was published.
    let facts = ChannelFacts { last_id: 4, newest: [6, 0], lost: [Some((3, 2, Loss::Count)), None] };
    world.hub.fill_channel(world.now, "hall", &facts, [fact(5, 3, "3"), fact(6, 4, "4")]);
    world.hub.link_at(client, "hall", 2, 2);
    assert!(world.hear_resumed().is_none());
    world.hub.settle(client, true);
    let heard = world.hear_resumed().unwrap();
    let ids: Vec<u64> = heard.ids.iter().map(|(_, id)| *id).collect();
    assert_eq!((ids, heard.gaps, heard.upto), (vec![3, 4, 1], vec![(3, "count", false)], Some(7)));
}

#[test]
fn while_messages_may_be_missing_polls_end_where_they_are() {
    let mut world = World::following();
    world.adopted("a", &["room"]);
    assert_eq!(world.told("room", 0, &fact(3, 1, "1")), Ok(()));
    world.hub.set_behind(true);
    world.resume(1, "a", Since::At(1));
    world.resume(2, "a", Since::Lost);
    assert!(world.hear_resumed().is_none());
    world.now += Ms::from_secs(25);
    world.hub.handle_timeout(world.now, &mut 1000);
    let heard = world.hear_resumed().unwrap();
    assert_eq!((heard.owner, heard.ids, heard.upto), (1, vec![], Some(1)));
    // Whom nobody knows is told when it is known.
    assert!(world.hear_resumed().is_none());
    let facts = ChannelFacts { last_id: 9, newest: [11, 0], lost: [Some((10, 8, Loss::Count)), None] };
    assert_eq!(world.hub.fill_channel(world.now, "room", &facts, [fact(11, 9, "9")]), 0);
    world.hub.set_behind(false);
    let heard = world.hear_resumed().unwrap();
    assert_eq!((heard.owner, heard.gaps), (2, vec![(9, "restart", false)]));
    world.resume(3, "a", Since::At(3));
    let heard = world.hear_resumed().unwrap();
    assert_eq!((heard.gaps, heard.upto), (vec![(9, "count", false)], Some(11)));
}

#[test]
fn what_was_never_here_is_told_as_lost_though_older_messages_fall_out_after_it_was_known() {
    let limits = Limits { policies: Policies::uniform(policy(3, SystemShare::Shared)), ..limits() };
    let mut world = World::following_with(limits);
    world.adopted("a", &["room"]);
    assert_eq!(world.told("room", 0, &fact(3, 1, "1")), Ok(()));
    world.resume(1, "a", Since::At(3));
    world.hub.set_behind(true);
    // While nobody was heard something came and fell out at the broker; the one before that is still here.
    let facts = ChannelFacts { last_id: 4, newest: [6, 0], lost: [Some((4, 2, Loss::Count)), None] };
    world.hub.fill_channel(world.now, "room", &facts, [fact(5, 3, "3"), fact(6, 4, "4")]);
    assert_eq!(world.told("room", 6, &fact(7, 5, "5")), Ok(()), "so the first falls out");
    world.hub.set_behind(false);
    let heard = world.hear_resumed().unwrap();
    assert_eq!((heard.gaps, heard.upto), (vec![(3, "count", false)], Some(7)));
}

#[test]
fn the_originals_polls_are_answered_by_the_node_with_the_lease() {
    let mut world = World::following();
    let client = world.adopted("a", &["room"]);
    world.poll(1, &["a"]);
    assert!(world.hub.next_answer(world.now, &mut 100).is_none());
    assert_eq!(world.hub.take_wishes(), []);
    assert_eq!(world.told("room", 0, &fact(3, 1, "1")), Ok(()));
    assert!(world.hear_resumed().is_none());
    assert_eq!(world.hub.take_wishes(), [Wish::Leases(vec![client])]);
    // Once.
    assert_eq!(world.told("room", 3, &fact(4, 2, "2")), Ok(()));
    assert!(world.hear_resumed().is_none());
    assert_eq!(world.hub.take_wishes(), []);
    // Another node has delivered the first.
    world.hub.refuse_lease(client);
    world.hub.move_client(world.now, client, 3);
    assert!(world.hear_resumed().is_none());
    assert_eq!(world.hub.take_wishes(), [Wish::Leases(vec![client])]);
    world.hub.lease(world.now, client, true, 3);
    assert_eq!(world.ids(), [2]);
    assert_eq!(world.hub.take_wishes(), [Wish::Settled(client)]);
    assert_eq!(world.hub.acknowledged(client), 4);
    // It is kept until it is given up.
    world.poll(2, &["a"]);
    assert_eq!(world.told("room", 4, &fact(6, 3, "3")), Ok(()));
    assert_eq!(world.ids(), [3]);
    world.hub.lease(world.now, client, false, 0);
    world.poll(3, &["a"]);
    assert_eq!(world.told("room", 6, &fact(7, 4, "4")), Ok(()));
    world.now += Ms::from_secs(25);
    world.hub.handle_timeout(world.now, &mut 1000);
    assert_eq!(world.ids(), [0; 0]);
    assert_eq!(world.hub.acknowledged(client), 6);
}

#[test]
fn a_message_is_not_for_who_is_excluded_though_nobody_knew_it() {
    let mut world = World::following();
    world.adopted("a", &["room"]);
    let excluded = vec!["a".into(), "b".into()];
    assert_eq!(world.told("room", 0, &MessageFacts { excluded, ..fact(3, 1, "1") }), Ok(()));
    world.adopted("b", &["room"]);
    world.adopted("c", &["room"]);
    for (owner, id) in [(1, "a"), (2, "b"), (3, "c")] {
        world.resume(owner, id, Since::At(0));
    }
    let heard = world.hear_resumed().unwrap();
    assert_eq!((heard.owner, heard.ids.len()), (3, 1));
    assert!(world.hear_resumed().is_none());
    // What it counts for stays the same.
    for seq in 4..20 {
        assert_eq!(world.told("room", seq - 1, &fact(seq, seq, "1")), Ok(()));
    }
}

#[test]
fn what_nobody_needs_is_left_to_the_broker() {
    let mut world = World::following();
    let client = world.adopted("a", &["room", "hall"]);
    world.hub.end_at(world.now, client, "hall", None);
    world.resume(1, "a", Since::At(0));
    assert_eq!(world.told("room", 0, &fact(3, 1, "1")), Ok(()));
    assert_eq!(world.ids(), [1]);
    let end = EndFacts { until: 5, newest: [3, 0], stale: world.now };
    world.hub.end_at(world.now, client, "room", Some(end));
    world.hub.check();
    assert_eq!(world.hub.stats().clients, 1);
    for _ in 0..100 {
        world.now += Ms::from_secs(10);
        world.hub.handle_timeout(world.now, &mut 1000);
        world.hub.check();
    }
    let left = [
        Wish::LeftClient { client, id: "a".into(), is_leased: false },
        Wish::LeftChannel("hall".into()),
        Wish::LeftChannel("room".into()),
    ];
    let mut wishes = world.hub.take_wishes();
    wishes.sort_by_key(|wish| format!("{wish:?}").replace("Client", "A"));
    assert_eq!(wishes, left);
    assert_eq!((world.hub.stats().clients, world.hub.stats().channels), (0, 0));
}

#[test]
fn a_subscription_that_has_ended_is_known_once_however_often_it_is_told() {
    let mut world = World::following();
    let client = world.adopted("a", &["room"]);
    assert_eq!(world.told("room", 0, &fact(3, 1, "1")), Ok(()));
    let end = EndFacts { until: 3, newest: [3, 0], stale: world.now + Ms::from_secs(100) };
    world.hub.end_at(world.now, client, "room", Some(end));
    world.hub.link_at(client, "room", 4, 4);
    for _ in 0..2 {
        world.hub.link_ended(client, "room", 0, 0, end);
        world.hub.check();
    }
    let links: Vec<_> = world.hub.links_of(client).map(|link| (link.made, link.end.is_some())).collect();
    assert_eq!(links, [(0, true), (4, false)]);
}

#[test]
fn who_waits_when_the_broker_begins_anew_is_told_so_once() {
    let mut world = World::following();
    let client = world.adopted("a", &["room", "hall"]);
    assert_eq!(world.told("room", 0, &fact(7, 1, "1")), Ok(()));
    let keys = key_of("a").to_string();
    let (now, since) = (world.now, Since::At(7));
    let stream = world.hub.stream(now, Owner(1), [("a", &*keys)], since, Transport::Events).unwrap();
    assert_eq!(world.hub.next_answer(now, &mut 100).map(|answer| answer.waiter()), Some(stream));
    world.resume(2, "a", Since::At(7));
    world.hub.set_behind(true);
    assert_eq!(world.begin_anew(u32::MAX), [former("a", &["hall", "room"])]);
    world.hub.delivered(now, stream);
    assert!(world.hear_resumed().is_none());
    world.hub.fill_channel(now, "room", &ChannelFacts::default(), []);
    world.hub.link_at(client, "room", 2, 2);
    world.hub.settle(client, true);
    world.hub.set_behind(false);
    assert_eq!(world.told("room", 0, &fact(3, 1, "1")), Ok(()));
    let mut heard: Vec<_> =
        std::iter::from_fn(|| world.hear_resumed()).map(|heard| (heard.owner, heard.gaps, heard.ids.len())).collect();
    heard.sort();
    assert_eq!(heard, [(1, vec![(1, "restart", false)], 1), (2, vec![(1, "restart", false)], 1)]);
    assert_eq!(world.told("room", 3, &fact(4, 2, "2")), Ok(()));
    let heard = world.hear_resumed().unwrap();
    assert_eq!((heard.owner, heard.gaps, heard.ids.len()), (1, vec![], 1));
}

#[test]
fn a_crowd_is_let_go_of_bit_by_bit_and_nobody_comes_to_a_position_of_before_meanwhile() {
    let (mut world, clients) = crowd(100);
    let now = world.now;
    for (at, channel) in ["hall", "yard", "lane"].into_iter().enumerate() {
        world.hub.fill_channel(now, channel, &ChannelFacts::default(), []);
        world.hub.link_at(clients[7], channel, at as u64, 0);
    }
    world.hub.lease(now, clients[3], true, 0);
    assert_eq!(world.told("room", 0, &fact(700, 1, "1")), Ok(()));
    let sent = world.hub.next_answer(now, &mut 1000).unwrap().waiter();
    let resumes = world.resume(500, "c5", Since::At(700));
    let events = [("c6", &*key_of("c6").to_string())];
    let stream = world.hub.stream(now, Owner(501), events, Since::At(700), Transport::Events).unwrap();
    world.hub.begin_anew();
    let (mut turns, mut all) = (0, Vec::new());
    while world.hub.is_beginning_anew() {
        turns += 1;
        let mut budget = 10;
        while let Some(former) = world.hub.next_former(now, &mut budget) {
            all.push(former);
        }
        world.hub.check();
        // An answer of before arrives, and one is asked for whose time is up: neither says where anybody is now.
        if turns == 12 {
            world.hub.delivered(now, sent);
            world.hub.heard(now, stream, 600);
            world.hub.move_client(now, clients[99], 650);
            world.hub.end_waiting(resumes, Ending::Time);
        }
        assert!(world.hear_resumed().is_none());
        // One leaves whose turn is still to come.
        if turns == 22 {
            world.hub.lose_client(now, "c80");
            assert_eq!(world.hear_resumed().map(|heard| heard.owner), Some(80), "that it is gone");
        }
        if turns == 15 {
            world.hub.begin_anew();
        }
    }
    // Places of 102 polls and 100 clients, 103 subscriptions, 4 channels and what they hold.
    assert!((30..40).contains(&turns), "{turns} turns of 10 steps");
    all.sort_by_key(|former| former.id[1..].parse::<u32>().unwrap());
    let expected: Vec<Former> = (0..100)
        .filter(|at| *at != 80)
        .map(|at| former(&format!("c{at}"), if at == 7 { &["lane", "yard", "hall", "room"] } else { &["room"] }))
        .collect();
    assert_eq!(all, expected);
    assert_eq!((world.hub.position(), world.hub.stats().channels, world.hub.stats().clients), (0, 0, 99));
    assert!(clients.iter().all(|&client| world.hub.acknowledged(client) == 0));
}

impl World {
    /// What is let go of, with so many steps at a time.
    fn begin_anew(&mut self, steps: u32) -> Vec<Former> {
        self.hub.begin_anew();
        let mut all = Vec::new();
        while self.hub.is_beginning_anew() {
            all.extend(self.hub.next_former(self.now, &mut steps.clone()));
            self.hub.check();
        }
        all
    }
}

fn former(id: &str, channels: &[&str]) -> Former {
    Former { id: id.into(), key: key_of(id), channels: channels.iter().map(|&channel| channel.into()).collect() }
}

/// Clients whose pages poll by the original's protocol, with a message for each.
fn crowd(count: usize) -> (World, Vec<Key<Client>>) {
    let mut world = World::following();
    let clients: Vec<_> = (0..count).map(|at| world.adopted(&format!("c{at}"), &["room"])).collect();
    for at in 0..count {
        world.poll(at as u64, &[&format!("c{at}")]);
    }
    (world, clients)
}

#[test]
fn all_leases_are_revoked_at_once_and_asked_for_again_bit_by_bit() {
    let (mut world, clients) = crowd(100);
    for &client in &clients {
        world.hub.lease(world.now, client, true, 0);
    }
    while world.hub.next_answer(world.now, &mut 1000).is_some() {}
    world.hub.revoke_leases();
    assert!(world.hub.ready.is_empty(), "nobody has been looked at yet");
    assert!(!clients.iter().any(|&client| world.hub.has_lease(client)));
    // One is granted anew before its place is looked at, and keeps it.
    world.hub.lease(world.now, clients[90], true, 0);
    assert_eq!(world.told("room", 0, &fact(3, 1, "1")), Ok(()));
    let (mut turns, mut answered) = (0, Vec::new());
    while world.hub.has_answers() {
        turns += 1;
        let mut budget = 10;
        while let Some(answer) = world.hub.next_answer(world.now, &mut budget) {
            answered.push(answer.owner().0);
        }
    }
    assert!(turns >= 10, "{turns}");
    assert_eq!((answered, world.hub.has_lease(clients[90])), (vec![90], true));
    let asked = world.hub.take_wishes().into_iter().filter(|wish| matches!(wish, Wish::Leases(_))).count();
    assert_eq!(asked, 99);
    world.hub.check();
}

#[test]
fn a_lease_of_long_ago_is_none_however_often_they_were_revoked() {
    let (mut world, clients) = crowd(20);
    world.hub.lease(world.now, clients[0], true, 0);
    for _ in 0..200 {
        world.hub.revoke_leases();
        assert!(!world.hub.has_lease(clients[0]));
    }
}

#[test]
fn who_waited_while_messages_may_have_been_missing_is_looked_at_bit_by_bit() {
    let mut world = World::following();
    for at in 0..100 {
        world.adopted(&format!("c{at}"), &["room"]);
        world.resume(at, &format!("c{at}"), Since::At(0));
    }
    while world.hub.next_answer(world.now, &mut 1000).is_some() {}
    world.hub.set_behind(true);
    let facts = ChannelFacts { last_id: 1, newest: [3, 0], lost: [None, None] };
    assert_eq!(world.hub.fill_channel(world.now, "room", &facts, [fact(3, 1, "1")]), 0);
    while world.hub.next_answer(world.now, &mut 1000).is_some() {}
    world.hub.set_behind(false);
    assert!(world.hub.ready.is_empty(), "nobody has been looked at yet");
    // Messages may be missing again before all have been.
    let mut budget = 30;
    let mut answered = 0;
    while world.hub.next_answer(world.now, &mut budget).is_some() {
        answered += 1;
    }
    assert!((1..=30).contains(&answered), "{answered}");
    world.hub.set_behind(true);
    while world.hub.next_answer(world.now, &mut 1000).is_some() {}
    world.hub.set_behind(false);
    while world.hub.has_answers() {
        answered += usize::from(world.hub.next_answer(world.now, &mut 10).is_some());
    }
    assert_eq!(answered, 100);
}
