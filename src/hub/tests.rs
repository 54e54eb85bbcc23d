//! The hub as a value: verbs in, answers out, a clock that the tests turn.

use super::*;

mod canary;
mod follower;
mod own;
mod snapshot;
mod streams;

/// The original's history and times (WIRE C4, section 6).
fn limits() -> Limits {
    Limits {
        policies: Policies::uniform(policy(10, SystemShare::Shared)),
        max_idle: Ms::from_secs(10),
        min_alive: Ms::from_secs(60),
        sweep_interval: Ms::from_secs(10),
        channel_idle: Ms::from_secs(600),
        departed_max: 100,
        departed_age: Ms::from_secs(86_400),
        answer_bytes: 1 << 20,
        polls_per_client: 4,
        clients_max: 2000,
        channels_max: 100,
        subscriptions_max: 50,
        history_bytes_max: 1 << 20,
    }
}

fn policy(history: usize, history_system: SystemShare) -> Policy {
    let (history_bytes, history_age) = (1 << 20, Ms::from_secs(86_400));
    Policy { history, history_system, history_bytes, history_age, presence: true }
}

/// A hub whose clock the test turns, and whose polls are named by numbers.
struct World {
    hub: Hub,
    /// Whom the last poll was for, as if all came by one connection.
    usual: Key<Client>,
    now: Ms,
}

/// One answer: whose poll, which waiter, and its messages as `channel:triple`.
type Heard = (u64, Key<Waiter>, Vec<String>);

/// An answer of the resume protocol.
#[derive(Debug)]
struct Resumed {
    owner: u64,
    /// Channels and ids of its messages.
    ids: Vec<(String, u64)>,
    /// Next id, reason, and whether only the server's own messages were lost.
    gaps: Vec<(u64, &'static str, bool)>,
    upto: Option<u64>,
}

impl World {
    fn new(limits: Limits) -> World {
        World { hub: Hub::new(Ms::ZERO, limits), usual: Key::unpack(0), now: Ms::ZERO }
    }

    fn client(&mut self, id: &str, channels: &[&str]) {
        self.hub.create_client(self.now, id, key_of(id)).unwrap();
        for channel in channels {
            self.hub.subscribe(self.now, id, channel, None).unwrap();
        }
    }

    fn publish(&mut self, channel: &str, text: &str) {
        let submission = Submission { channel, from: Sender::Id("p"), text, exclude: &[], ttl: None };
        self.hub.publish(self.now, submission).unwrap();
    }

    fn try_poll(&mut self, owner: u64, ids: &[&str]) -> Result<Key<Waiter>, WaitError> {
        let keys: Vec<String> = ids.iter().map(|id| key_of(id).to_string()).collect();
        let pairs = ids.iter().copied().zip(keys.iter().map(String::as_str));
        let waiter = self.hub.wait(
            self.now,
            Owner(owner),
            &mut self.usual,
            pairs,
            Protocol::Original,
            self.now + Ms::from_secs(25),
        );
        self.hub.check();
        waiter
    }

    fn poll(&mut self, owner: u64, ids: &[&str]) -> Key<Waiter> {
        self.try_poll(owner, ids).unwrap()
    }

    /// Parks a poll of the resume protocol.
    fn resume(&mut self, owner: u64, id: &str, since: Since) -> Key<Waiter> {
        let key = key_of(id).to_string();
        let deadline = self.now + Ms::from_secs(25);
        let waiter =
            self.hub.wait(self.now, Owner(owner), &mut self.usual, [(id, &*key)], Protocol::Resume(since), deadline);
        self.hub.check();
        waiter.unwrap()
    }

    /// The next answer of the resume protocol, delivered at once.
    fn hear_resumed(&mut self) -> Option<Resumed> {
        let answer = self.hub.next_answer(self.now, &mut u32::MAX.clone())?;
        let ids = answer.messages().map(|(channel, message)| (channel.name().to_string(), message.id)).collect();
        let gaps = answer.gaps().map(|(_, gap)| (gap.next_id, gap.loss.name(), gap.system)).collect();
        let resumed = Resumed { owner: answer.owner().0, ids, gaps, upto: answer.upto() };
        let waiter = answer.waiter();
        self.hub.delivered(self.now, waiter);
        self.hub.check();
        Some(resumed)
    }

    /// The next answer, left on its way.
    fn hear(&mut self) -> Option<Heard> {
        let mut budget = u32::MAX;
        let answer = self.hub.next_answer(self.now, &mut budget)?;
        let mut messages = Vec::new();
        for (channel, news) in answer.channels() {
            messages.extend(news.map(|message| {
                String::from_utf8([channel.name_json(), b":", message.triple()].concat()).unwrap().replace('"', "")
            }));
        }
        let heard = (answer.owner().0, answer.waiter(), messages);
        self.hub.check();
        Some(heard)
    }

    /// All answers there are, each delivered at once.
    fn hear_all(&mut self) -> Vec<(u64, Vec<String>)> {
        let mut all = Vec::new();
        while let Some((owner, waiter, messages)) = self.hear() {
            self.hub.delivered(self.now, waiter);
            self.hub.check();
            all.push((owner, messages));
        }
        assert!(!self.hub.has_answers());
        all
    }

    /// What a poll of these clients gets at once.
    fn news(&mut self, ids: &[&str]) -> Vec<String> {
        let waiter = self.poll(99, ids);
        match self.hear_all().pop() {
            Some((99, messages)) => messages,
            Some(other) => panic!("somebody else was answered: {other:?}"),
            None => {
                self.hub.cancel(self.now, waiter);
                Vec::new()
            }
        }
    }

    /// Lets time pass, in steps no longer than what is due next.
    fn pass(&mut self, time: Ms) {
        let end = self.now + time;
        while let Some(next) = self.hub.next_timeout().filter(|&next| next <= end) {
            self.now = self.now.max(next);
            self.hub.handle_timeout(self.now, &mut 7);
            self.hub.check();
        }
        self.now = end;
    }
}

fn key_of(id: &str) -> ClientKey {
    let mut key = [7; 16];
    for (byte, of_id) in key.iter_mut().zip(id.bytes()) {
        *byte = of_id;
    }
    ClientKey::new(key)
}

#[test]
fn c1_the_first_poll_begins_with_the_own_subscribe_message() {
    let mut world = World::new(limits());
    world.publish("room", "old");
    world.client("a", &["room"]);
    world.publish("room", "new");
    assert_eq!(world.news(&["a"]), [r"room:[2,{\type\: \subscribe\},a]", "room:[3,new,p]"]);
    assert_eq!(world.news(&["a"]), [""; 0]);
}

#[test]
fn ten_publishes_before_the_door_opens_are_one_answer() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    world.news(&["a"]);
    world.poll(1, &["a"]);
    assert_eq!(world.hear_all(), []);
    for text in 0..10 {
        world.publish("room", &text.to_string());
    }
    let heard = world.hear_all();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].1.len(), 10);
}

#[test]
fn p17_while_an_answer_is_on_its_way_the_other_poll_gets_nothing() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    world.news(&["a"]);
    world.poll(1, &["a"]);
    world.poll(2, &["a"]);
    world.publish("room", "x");
    let (owner, waiter, messages) = world.hear().unwrap();
    assert_eq!((owner, messages), (1, vec!["room:[2,x,p]".to_owned()]));
    assert!(world.hear().is_none());
    world.publish("room", "y");
    assert!(world.hear().is_none());
    world.hub.delivered(world.now, waiter);
    assert_eq!(world.hear_all(), [(2, vec!["room:[3,y,p]".to_owned()])]);
}

#[test]
fn p18_an_answer_that_is_lost_on_its_way_is_due_again() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    world.news(&["a"]);
    world.poll(1, &["a"]);
    world.poll(2, &["a"]);
    world.publish("room", "x");
    let (_, waiter, messages) = world.hear().unwrap();
    world.hub.cancel(world.now, waiter);
    assert_eq!(world.hear_all(), [(2, messages)]);
}

#[test]
fn p16_clients_with_different_positions_get_the_union_once() {
    let mut world = World::new(limits());
    world.client("early", &["room", "own"]);
    world.news(&["early"]);
    world.publish("room", "1");
    world.client("late", &["room"]);
    world.publish("room", "2");
    for ids in [["early", "late"], ["late", "early"]] {
        let waiter = world.poll(1, &ids);
        let (_, _, messages) = world.hear().unwrap();
        assert_eq!(messages, ["room:[2,1,p]", r"room:[3,{\type\: \subscribe\},late]", "room:[4,2,p]"]);
        world.hub.cancel(world.now, waiter);
    }
}

#[test]
fn p10_killing_answers_a_poll_that_waits_for_nobody_else() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    world.client("b", &["room"]);
    world.news(&["a", "b"]);
    world.poll(1, &["a"]);
    world.poll(2, &["a", "b"]);
    assert_eq!(world.hear_all(), []);
    world.hub.kill_client(world.now, "a").unwrap();
    let heard = world.hear_all();
    let gone = r"room:[3,{\type\: \unsubscribe\, \gc\: true},a]".to_owned();
    assert_eq!(heard, [(1, vec![]), (2, vec![gone])]);
    assert_eq!(world.try_poll(3, &["a"]), Err(WaitError::UnknownClient));
    assert_eq!(world.try_poll(3, &["b", "a"]), Err(WaitError::UnknownClient));
}

#[test]
fn p7_a_poll_ends_at_its_deadline_and_not_before() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    world.news(&["a"]);
    world.pass(Ms::from_secs(3));
    world.poll(1, &["a"]);
    world.pass(Ms(24_999));
    assert_eq!(world.hear_all(), []);
    world.pass(Ms(101));
    assert_eq!(world.hear_all(), [(1, vec![])]);
}

#[test]
fn l1_to_l3_a_stale_client_departs_and_comes_back_with_what_it_missed() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    world.client("witness", &["room"]);
    world.news(&["a"]);
    world.news(&["witness"]);
    world.pass(Ms::from_secs(60));
    let mut walk = world.hub.walk_channel("room").unwrap();
    assert_eq!(std::iter::from_fn(|| world.hub.next_client(world.now, &mut walk, &mut 1)).count(), 2);
    world.poll(1, &["witness"]);
    world.pass(Ms::from_secs(11));
    assert_eq!(world.hub.stats(), Stats { clients: 1, departed: 1, channels: 2, waiters: 1 });
    assert_eq!(world.hub.subscribe(world.now, "a", "room", None), Err(Error::UnknownClient));
    assert_eq!(world.hear_all(), [(1, vec![r"room:[3,{\type\: \unsubscribe\, \gc\: true},a]".to_owned()])]);
    world.publish("room", "meanwhile");
    let missed = [
        r"room:[3,{\type\: \unsubscribe\, \gc\: true},a]",
        "room:[4,meanwhile,p]",
        r"room:[5,{\type\: \subscribe\},a]",
    ];
    // It had not polled since the witness came.
    assert_eq!(world.news(&["a"])[..], missed);
}

#[test]
fn l4_a_wrong_key_brings_nobody_back() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    world.pass(Ms::from_secs(80));
    let wrong = [("a", "00000000000000000000000000000000")];
    assert_eq!(
        world.hub.wait(world.now, Owner(1), &mut world.usual, wrong, Protocol::Original, world.now),
        Err(WaitError::WrongKey)
    );
    assert_eq!(world.hub.stats().departed, 1);
}

#[test]
fn l6_creating_a_departed_client_brings_it_back_with_its_key() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    world.pass(Ms::from_secs(80));
    world.publish("room", "meanwhile");
    assert!(world.hub.create_client(world.now, "a", ClientKey::new([9; 16])) == Ok(key_of("a")));
    assert_eq!(world.news(&["a"]).len(), 4);
}

#[test]
fn only_so_many_departed_are_kept_and_only_so_long() {
    let mut world = World::new(Limits { departed_max: 3, ..limits() });
    for id in ["a", "b", "c", "d", "e"] {
        world.client(id, &["room"]);
        world.pass(Ms::from_secs(100));
    }
    assert_eq!(world.hub.stats().departed, 3);
    assert_eq!(world.try_poll(1, &["b"]), Err(WaitError::UnknownClient));
    assert!(world.try_poll(1, &["c"]).is_ok());
    world.hear_all();
    world.pass(Ms::from_secs(2 * 86_400));
    assert_eq!(world.hub.stats(), Stats::default());
}

#[test]
fn c5_a_channel_is_freed_when_nobody_can_miss_anything() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    world.publish("stray", "x");
    world.pass(Ms::from_secs(700));
    // The departed client keeps its channel; the stray one and admin have gone.
    assert_eq!(world.hub.stats(), Stats { clients: 0, departed: 1, channels: 1, waiters: 0 });
    assert_eq!(world.news(&["a"]).len(), 3);
    world.hub.kill_client(world.now, "a").unwrap();
    world.pass(Ms::from_secs(599));
    assert_eq!(world.hub.stats().channels, 1);
    world.pass(Ms::from_secs(2));
    assert_eq!(world.hub.stats(), Stats::default());
}

#[test]
fn a_large_answer_is_cut_where_the_next_poll_goes_on() {
    let mut world = World::new(Limits { answer_bytes: 50, ..limits() });
    world.client("a", &["x", "y"]);
    while !world.news(&["a"]).is_empty() {}
    for text in ["one", "two", "three", "four", "five"] {
        world.publish(if text.len() == 3 { "x" } else { "y" }, text);
    }
    world.publish("x", &"L".repeat(100));
    let (mut all, mut answers) = (Vec::new(), 0);
    loop {
        let news = world.news(&["a"]);
        if news.is_empty() {
            break;
        }
        answers += 1;
        all.extend(news);
    }
    all.sort();
    let large = format!("x:[4,{},p]", "L".repeat(100));
    let mut sent = vec!["x:[2,one,p]", "x:[3,two,p]", "y:[2,three,p]", "y:[3,four,p]", "y:[4,five,p]", &large];
    sent.sort_unstable();
    assert_eq!(all, sent);
    assert_eq!(answers, 3);
}

#[test]
fn small_work_does_not_wait_behind_a_large_sweep() {
    let mut world = World::new(limits());
    for i in 0..1000 {
        world.client(&format!("c{i}"), &["crowd"]);
    }
    world.client("single", &["quiet"]);
    while world.hub.next_answer(world.now, &mut 1000).is_some() || world.hub.has_answers() {}
    world.news(&["single"]);
    world.poll(1, &["single"]);
    world.hear_all();
    world.publish("crowd", "to a thousand, none of whom waits");
    world.publish("quiet", "to one");
    let mut budget = 40;
    let answer = world.hub.next_answer(world.now, &mut budget).expect("the other channel has its turn after one slice");
    assert_eq!(answer.owner(), Owner(1));
}

#[test]
fn a_budget_stops_the_search_and_nothing_is_lost() {
    let mut world = World::new(limits());
    for i in 0..100 {
        world.client(&format!("c{i}"), &["room"]);
    }
    for i in 0..100 {
        let id = format!("c{i}");
        while !world.news(&[&id]).is_empty() {}
        world.poll(i, &[&id]);
    }
    world.hear_all();
    world.publish("room", "x");
    let mut heard = Vec::new();
    let mut turns = 0;
    while world.hub.has_answers() {
        turns += 1;
        let mut budget = 7;
        while let Some(answer) = world.hub.next_answer(world.now, &mut budget) {
            heard.push(answer.owner().0);
            let waiter = answer.waiter();
            world.hub.delivered(world.now, waiter);
        }
    }
    heard.sort_unstable();
    assert_eq!(heard, (0..100).collect::<Vec<_>>());
    assert!(turns >= 100 / 7, "{turns}");
}

#[test]
fn a_reminder_a_client_not_one_a_poll() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    world.news(&["a"]);
    for _ in 0..1000 {
        world.poll(1, &["a"]);
        world.publish("room", "x");
        assert_eq!(world.hear_all().len(), 1);
        world.pass(Ms(20));
    }
    // The client's, leftovers of it, and none for its channels, which are in use, but admin's.
    assert!(world.hub.reminders.len() <= 6, "{}", world.hub.reminders.len());
}

#[test]
fn a_cut_answer_tells_of_each_kinds_loss_when_it_passes_it() {
    let policies = Policies::uniform(policy(2, SystemShare::Own(1)));
    let mut world = World::new(Limits { policies, answer_bytes: 20, ..limits() });
    world.client("a", &["room"]);
    ["one", "two", "three"].iter().for_each(|text| world.publish("room", text));
    world.client("b", &["room"]);
    world.client("c", &["room"]);
    let mut since = Since::Acknowledged;
    let mut heard = Vec::new();
    for _ in 0..3 {
        world.resume(1, "a", since);
        let answer = world.hear_resumed().unwrap();
        since = Since::At(answer.upto.unwrap());
        heard.push((answer.ids[0].1, answer.gaps));
    }
    // Lost are 1 (a's own join), 2 ("one") and 5 (b's join). The page must not take 2 for one of the server's own.
    assert_eq!(heard, [(3, vec![(3, "count", false)]), (4, vec![]), (6, vec![(6, "count", true)])]);
}

#[test]
fn an_ended_subscription_and_a_new_one_do_not_hide_a_restart() {
    let mut world = World::new(Limits { policies: Policies::uniform(policy(1, SystemShare::Own(9))), ..limits() });
    world.client("a", &["room"]);
    ["one", "two"].iter().for_each(|text| world.publish("room", text));
    world.hub.unsubscribe(world.now, "a", "room").unwrap();
    world.client("a", &["room"]);
    world.resume(1, "a", Since::Lost);
    let gaps = world.hear_resumed().unwrap().gaps;
    assert_eq!(gaps.iter().map(|gap| gap.1).collect::<Vec<_>>(), ["restart"]);
}

#[test]
fn a_page_with_an_unknown_position_that_is_sent_away_is_told_so() {
    let mut world = World::new(Limits { polls_per_client: 1, ..limits() });
    world.client("a", &["room"]);
    world.resume(1, "a", Since::Lost);
    world.resume(2, "a", Since::Acknowledged);
    let first = world.hear_resumed().unwrap();
    assert_eq!((first.owner, first.ids.len(), first.gaps.len()), (1, 1, 1));
}

#[test]
fn what_was_published_before_an_unsubscribe_reaches_a_page_that_waits() {
    let mut quiet = policy(10, SystemShare::Shared);
    quiet.presence = false;
    let mut world = World::new(Limits { policies: Policies::uniform(quiet), ..limits() });
    world.client("a", &["room"]);
    world.resume(1, "a", Since::Acknowledged);
    assert!(world.hear_resumed().is_none());
    world.publish("room", "before");
    world.hub.unsubscribe(world.now, "a", "room").unwrap();
    world.publish("room", "after");
    assert_eq!(world.hear_resumed().unwrap().ids, [("room".to_owned(), 1)]);
}

#[test]
fn an_empty_answer_that_does_not_leave_holds_nobody_up() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    world.news(&["a"]);
    world.poll(1, &["a"]);
    world.poll(2, &["a"]);
    world.pass(Ms(25_100));
    assert_eq!(world.hear().map(|(owner, ..)| owner), Some(1));
    assert_eq!(world.hear().map(|(owner, ..)| owner), Some(2));
    world.publish("room", "x");
    assert_eq!(world.news(&["a"]), ["room:[2,x,p]"]);
}

#[test]
fn why_tells_what_became_of_a_message() {
    let mut world = World::new(Limits { policies: Policies::uniform(policy(3, SystemShare::Own(3))), ..limits() });
    world.publish("room", "before");
    world.client("a", &["room"]);
    world.client("b", &["room"]);
    let why = |world: &World, client, id| world.hub.why(world.now, client, "room", id).unwrap();
    assert_eq!(why(&world, "a", 9), Fate::Unpublished);
    assert_eq!(why(&world, "a", 0), Fate::Unpublished);
    assert_eq!(why(&world, "a", 1), Fate::NotSubscribed);
    let submission =
        Submission { channel: "room", from: Sender::Id("p"), text: "x", exclude: &["b"], ttl: Some(Ms(5)) };
    let id = world.hub.publish(world.now, submission).unwrap().id;
    assert_eq!(why(&world, "b", id), Fate::Excluded);
    assert_eq!(why(&world, "a", id), Fate::Waiting { parked: false });
    let waiter = world.poll(1, &["a"]);
    assert_eq!(why(&world, "a", id), Fate::Waiting { parked: true });
    world.hear().unwrap();
    assert_eq!(why(&world, "a", id), Fate::OnItsWay);
    world.hub.cancel(world.now, waiter);
    world.now = Ms(6);
    assert_eq!(why(&world, "a", id), Fate::Expired);
    for text in ["1", "2", "3"] {
        world.publish("room", text);
    }
    let first = world.hub.channel_info("room").unwrap().next_id - 3;
    assert_eq!(why(&world, "a", first), Fate::Waiting { parked: false });
    world.publish("room", "4");
    assert_eq!(why(&world, "a", first), Fate::Lost(Loss::Count));
    world.news(&["a"]);
    world.now = Ms(10);
    assert_eq!(why(&world, "a", first + 1), Fate::Delivered { by_page: false, ago: Ms(4), exactly: true });
    assert_eq!(world.hub.why(world.now, "nobody", "room", 1), Err(Error::UnknownClient));
    assert_eq!(world.hub.why(world.now, "a", "nowhere", 1), Err(Error::UnknownChannel));
}

#[test]
fn channels_that_have_gone_leave_nothing_in_the_queue_for_memory() {
    let mut world = World::new(limits());
    for day in 0..200 {
        for channel in 0..50 {
            world.publish(&format!("{day}-{channel}"), "m");
        }
        world.pass(Ms::from_secs(1200));
    }
    assert_eq!(world.hub.stats().channels, 0);
    assert!(world.hub.memory.places() <= 60, "{}", world.hub.memory.places());
}

#[test]
fn a_client_that_comes_and_goes_all_day_leaves_no_trail_of_reminders() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    for _ in 0..200 {
        world.news(&["a"]);
        world.pass(Ms::from_secs(100));
        assert_eq!(world.hub.stats().departed, 1);
    }
    assert!(world.hub.reminders.len() <= 10, "{}", world.hub.reminders.len());
    // It is forgotten a day after it was collected last, and not after the first time.
    world.pass(Ms::from_secs(86_400 - 300));
    assert_eq!(world.hub.stats().departed, 1);
    world.pass(Ms::from_secs(400));
    assert_eq!(world.hub.stats().departed, 0);
}

/// The answers there are: whose, of which edition, and how many messages.
fn editions(world: &mut World) -> Vec<(u64, u64, usize)> {
    let mut editions = Vec::new();
    while let Some(answer) = world.hub.next_answer(world.now, &mut u32::MAX.clone()) {
        editions.push((answer.owner().0, answer.edition(), answer.messages().count()));
        let waiter = answer.waiter();
        world.hub.delivered(world.now, waiter);
        world.hub.check();
    }
    editions.sort_unstable();
    editions
}

#[test]
fn who_is_owed_the_same_is_answered_in_one_edition_and_nobody_else_is() {
    let mut world = World::new(limits());
    let everybody = ["a", "b", "in two", "left out"];
    for id in everybody {
        world.client(id, &["room"]);
    }
    world.client("in two", &["other"]);
    for id in everybody {
        world.news(&[id]);
    }
    let park = |world: &mut World| {
        for (owner, id) in (1..).zip(everybody) {
            world.poll(owner, &[id]);
        }
    };
    park(&mut world);
    world.publish("room", "to all");
    let [a, b, in_two, left_out] = editions(&mut world)[..] else { panic!("four answers") };
    assert!([b.1, in_two.1, left_out.1].iter().all(|&edition| edition == a.1));
    park(&mut world);
    world.publish("other", "to one");
    world.publish("room", "to all");
    let [a, b, in_two, left_out] = editions(&mut world)[..] else { panic!("four answers") };
    assert!(a.1 == b.1 && b.1 == left_out.1 && (in_two.1, in_two.2) != (a.1, a.2));
    park(&mut world);
    let exclude = &["left out"][..];
    let submission = Submission { channel: "room", from: Sender::Id("p"), text: "not to all", exclude, ttl: None };
    world.hub.publish(world.now, submission).unwrap();
    world.publish("room", "to all");
    let [a, b, in_two, left_out] = editions(&mut world)[..] else { panic!("four answers") };
    assert_eq!([a.2, b.2, in_two.2, left_out.2], [2, 2, 2, 1]);
    assert!([a.1, b.1, in_two.1].iter().all(|&edition| edition != left_out.1));
}

#[test]
fn what_was_unsubscribed_is_kept_for_a_page_that_is_not_as_far() {
    let mut world = World::new(Limits { subscriptions_max: 2, ..limits() });
    world.client("a", &["stays", "left"]);
    world.resume(1, "a", Since::Acknowledged);
    let both = world.hear_resumed().unwrap().upto.unwrap();
    world.publish("left", "m");
    world.hub.unsubscribe(world.now, "a", "left").unwrap();
    // One page has it and says so, the other asks from where it was.
    world.resume(1, "a", Since::At(both));
    let ahead = world.hear_resumed().unwrap();
    assert_eq!(ahead.ids, [("left".to_owned(), 2)]);
    world.resume(1, "a", Since::At(ahead.upto.unwrap()));
    assert!(world.hear_resumed().is_none());
    world.resume(2, "a", Since::At(both));
    assert_eq!(world.hear_resumed().unwrap().ids, [("left".to_owned(), 2)]);
    assert_eq!(world.hub.channel_info("left").unwrap().subscribers, 0);
    // Room for another subscription is made of it: from then on nobody knows what such a page has missed.
    world.hub.subscribe(world.now, "a", "new", None).unwrap();
    assert_eq!(world.hub.subscribe(world.now, "a", "one too many", None), Err(Error::Full(Limit::Subscriptions(2))));
    while world.hear_resumed().is_some() {}
    world.resume(2, "a", Since::At(both));
    let told = world.hear_resumed().unwrap();
    assert_eq!(told.gaps, [(1, "restart", false), (1, "restart", false)]);
    world.resume(1, "a", Since::At(ahead.upto.unwrap()));
    assert_eq!(world.hear_resumed().unwrap().gaps, []);
}

#[test]
fn what_was_unsubscribed_and_read_is_forgotten_when_it_is_too_old_for_any_page() {
    let mut world = World::new(limits());
    world.client("a", &["stays", "left"]);
    world.resume(1, "a", Since::Acknowledged);
    let at = world.hear_resumed().unwrap().upto.unwrap();
    world.hub.unsubscribe(world.now, "a", "left").unwrap();
    let ended = |world: &World| world.hub.clients[world.hub.client_named("a").unwrap()].ended;
    world.resume(1, "a", Since::At(at));
    for (hours, kept) in [(23, 1), (2, 0)] {
        world.pass(Ms::from_secs(hours * 3600));
        while world.hear_resumed().is_some() {}
        world.publish("stays", "m");
        world.resume(1, "a", Since::At(world.hub.position()));
        assert_eq!(ended(&world), kept, "after {hours} more hours");
    }
}

#[test]
fn c5_a_name_that_is_used_again_goes_on_where_it_was_and_tells_what_has_gone() {
    let mut world = World::new(limits());
    world.client("a", &["other"]);
    world.publish("room", "1");
    let before = world.hub.position();
    world.publish("room", "2");
    world.resume(1, "a", Since::Acknowledged);
    world.pass(Ms::from_secs(700));
    assert!(world.hub.channel_info("room").is_err());
    world.hub.create_client(world.now, "a", key_of("a")).unwrap();
    world.hub.subscribe(world.now, "a", "room", Some(before)).unwrap();
    world.hub.create_client(world.now, "b", key_of("b")).unwrap();
    world.hub.subscribe(world.now, "b", "room", Some(world.hub.position())).unwrap();
    while world.hear_resumed().is_some() {}
    world.resume(2, "a", Since::Acknowledged);
    let told = world.hear_resumed().unwrap();
    assert_eq!(told.gaps, [(3, "age", false)]);
    assert_eq!(told.ids.iter().filter(|(channel, _)| channel == "room").count(), 2);
    assert!(told.ids.contains(&("room".to_owned(), 3)));
    world.resume(3, "b", Since::Acknowledged);
    assert_eq!(world.hear_resumed().unwrap().gaps, []);
}

#[test]
fn d13_a_channel_that_is_about_to_overflow_is_swept_first() {
    let mut world = World::new(Limits { policies: Policies::uniform(policy(4, SystemShare::Own(9))), ..limits() });
    world.client("hot", &["hot"]);
    let crowd: Vec<String> = (0..200).map(|id| id.to_string()).collect();
    crowd.iter().for_each(|id| world.client(id, &["large"]));
    let at = Since::At(world.hub.position());
    world.resume(1, "hot", at);
    for (owner, id) in (2..).zip(&crowd) {
        world.resume(owner, id, at);
    }
    assert!(world.hear_resumed().is_none());
    let next = |world: &mut World| world.hub.next_answer(world.now, &mut 2).map(|answer| answer.owner());
    world.publish("large", "x");
    world.publish("hot", "1");
    assert_ne!(next(&mut world), Some(Owner(1)));
    assert!(!world.hub.is_pressed());
    world.publish("hot", "2");
    world.publish("hot", "3");
    // Half of its ring is new and nobody has been visited.
    assert!(world.hub.is_pressed());
    assert_eq!(next(&mut world), Some(Owner(1)));
    while world.hub.is_pressed() {
        assert_eq!(next(&mut world), None);
    }
    assert_ne!(next(&mut world), Some(Owner(1)));
}

#[test]
fn why_tells_when_a_page_said_that_it_has_a_message_and_that_an_answer_is_on_its_way() {
    let mut world = World::new(limits());
    world.client("a", &["room"]);
    let why = |world: &World, id| world.hub.why(world.now, "a", "room", id).unwrap();
    world.resume(1, "a", Since::Acknowledged);
    let answer = world.hub.next_answer(world.now, &mut 9).unwrap();
    let (waiter, upto) = (answer.waiter(), answer.upto().unwrap());
    assert_eq!(why(&world, 1), Fate::OnItsWay);
    world.hub.delivered(world.now, waiter);
    assert_eq!(why(&world, 1), Fate::Waiting { parked: false });
    world.now = Ms(5);
    world.resume(1, "a", Since::At(upto));
    world.now = Ms(7);
    assert_eq!(why(&world, 1), Fate::Delivered { by_page: true, ago: Ms(2), exactly: true });
    world.publish("room", "m");
    let upto = world.hear_resumed().unwrap().upto.unwrap();
    world.resume(1, "a", Since::At(upto));
    assert_eq!(why(&world, 1), Fate::Delivered { by_page: true, ago: Ms(0), exactly: false });
    assert_eq!(why(&world, 2), Fate::Delivered { by_page: true, ago: Ms(0), exactly: true });
}
