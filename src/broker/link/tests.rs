//! The machine with a clock that is turned by hand, and a Redis that says what the test says.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const TIMEOUT: Ms = Ms(2000);

fn link_to(address: &str) -> Link {
    let options = Options {
        address: address.parse().expect("an address"),
        prefix: "shaveet".into(),
        timeout: TIMEOUT,
        name: "shaveet-1".into(),
    };
    Link::new(options, Ms::ZERO, 1)
}

fn events(link: &mut Link) -> Vec<Event> {
    std::iter::from_fn(|| link.next_event()).collect()
}

/// What is on its way, as text; it has gone with that.
fn said(link: &mut Link) -> String {
    let text = String::from_utf8(link.output().to_vec()).expect("text");
    link.sent(text.len());
    text.replace("\r\n", " ")
}

fn hear(link: &mut Link, now: u64, text: &str) -> Vec<Event> {
    link.receive(Ms(now), text.replace(' ', "\r\n").as_bytes());
    events(link)
}

fn place(link: &Link) -> String {
    link.line().expect("a line").1.to_string()
}

fn down(events: &[Event]) -> &str {
    match events {
        [Event::Down(why)] => why,
        other => panic!("{other:?}"),
    }
}

/// Redis 7's answer to HELLO.
const HELLO: &str = "%3 +version $5 7.0.0 +mode +standalone +role +master ";

/// Has a line made and let in.
fn let_in(link: &mut Link, now: u64) {
    link.handle_timeout(Ms(now));
    link.connected(Ms(now));
    assert_eq!(said(link), "*4 $5 HELLO $1 3 $7 SETNAME $9 shaveet-1 ");
    assert_eq!(hear(link, now, HELLO), []);
    assert_eq!(said(link), "*4 $8 FCALL_RO $17 shaveet1_revision $1 1 $13 {shaveet}:hub ");
    assert_eq!(hear(link, now, &format!(":{} ", library::REVISION)), [Event::Up]);
}

fn live() -> Link {
    let mut link = link_to("redis://h");
    let_in(&mut link, 0);
    link
}

fn call(link: &mut Link, now: u64, ticket: u64) {
    link.call(Ms(now), Ticket(ticket), "f", &[b"k"], &[b"a"]).expect("it is live");
}

fn done(ticket: u64, number: i64) -> Event {
    Event::Reply(Ticket(ticket), Ok(Value::Int(number)))
}

fn failed(ticket: u64, failure: Failure) -> Event {
    Event::Reply(Ticket(ticket), Err(failure))
}

#[test]
fn it_dials_greets_and_is_live() {
    let mut link = link_to("redis://user:pw@h:1/5");
    assert_eq!((link.line(), link.next_timeout()), (None, Ms::ZERO));
    link.handle_timeout(Ms(10));
    assert_eq!((link.line().map(|(number, _)| number), place(&link)), (Some(1), "h:1".into()));
    assert!(link.output().is_empty() && !link.is_live());
    link.connected(Ms(20));
    assert_eq!(said(&mut link), "*7 $5 HELLO $1 3 $4 AUTH $4 user $2 pw $7 SETNAME $9 shaveet-1 ");
    assert_eq!(hear(&mut link, 30, HELLO), []);
    let asked = "*2 $6 SELECT $1 5 *4 $8 FCALL_RO $17 shaveet1_revision $1 1 $13 {shaveet}:hub ";
    assert_eq!(said(&mut link), asked);
    assert_eq!(hear(&mut link, 40, "+OK -ERR"), []);
    link.receive(Ms(40), b" Function not found\r\n");
    assert_eq!(events(&mut link), []);
    let library = String::from_utf8(link.output().to_vec()).unwrap();
    assert!(library.starts_with("*4\r\n$8\r\nFUNCTION\r\n$4\r\nLOAD\r\n$7\r\nREPLACE\r\n"), "{library}");
    assert!(library.contains(library::TEXT));
    assert_eq!(hear(&mut link, 50, "$8 shaveet1 "), [Event::Up]);
    assert!(link.is_live() && link.why_down().is_none());
}

use crate::broker::library;

#[test]
fn only_older_functions_give_way() {
    for (revision, gives_way) in [(0, true), (library::REVISION, false), (library::REVISION + 1, false)] {
        let mut link = link_to("redis://h");
        link.handle_timeout(Ms(0));
        link.connected(Ms(0));
        hear(&mut link, 0, HELLO);
        said(&mut link);
        let events = hear(&mut link, 0, &format!(":{revision} "));
        assert_eq!((events.is_empty(), said(&mut link).contains("_life")), (gives_way, gives_way), "{revision}");
        if gives_way {
            hear(&mut link, 0, "$16 0123456789abcdef ");
            let loads = said(&mut link);
            assert!(loads.contains("LOAD") && loads.contains("local incarnation = '0123456789abcdef'"), "{loads}");
        }
    }
}

#[test]
fn calls_are_answered_in_order_and_what_is_followed_comes_between() {
    let mut link = live();
    call(&mut link, 0, 7);
    link.follow(b"c");
    call(&mut link, 0, 8);
    link.unfollow(b"c");
    let asked =
        "*5 $5 FCALL $1 f $1 1 $1 k $1 a *2 $9 SUBSCRIBE $1 c *5 $5 FCALL $1 f $1 1 $1 k $1 a *2 $11 UNSUBSCRIBE $1 c ";
    assert_eq!(said(&mut link), asked);
    let answers = ":1 >3 $9 subscribe $1 c :1 >3 $7 message $1 c $2 hi :2 >3 $11 unsubscribe $1 c :0 ";
    let push = Event::Push { channel: (*b"c").into(), payload: (*b"hi").into() };
    assert_eq!(hear(&mut link, 5, answers), [done(7, 1), push, done(8, 2)]);
    assert_eq!((link.pending(), link.counts().calls[0], link.counts().times.sum), (0, 2, 10));
}

#[test]
fn where_an_answer_is_owed_and_something_else_comes_its_caller_is_told() {
    let mut link = live();
    call(&mut link, 0, 1);
    let heard = hear(&mut link, 1, ">3 $9 subscribe $1 c :1 ");
    assert_eq!(heard[0], failed(1, Failure::Lost));
    assert!(down(&heard[1..]).ends_with("it follows what it was not asked to"), "{heard:?}");
}

#[test]
fn an_error_is_its_callers_and_the_line_goes_on() {
    let mut link = live();
    call(&mut link, 0, 1);
    call(&mut link, 0, 2);
    link.receive(Ms(1), b"-OOM command not allowed when used memory > 'maxmemory'.\r\n:5\r\n");
    let refused = Failure::Refused("OOM command not allowed when used memory > 'maxmemory'.".into());
    assert_eq!(events(&mut link), [failed(1, refused), done(2, 5)]);
}

#[test]
fn an_error_that_all_would_get_ends_the_line() {
    for (error, told) in [
        ("READONLY You can't write against a read only replica.", "read-only replica"),
        ("ERR Function not found", "functions have been deleted"),
        ("LOADING Redis is loading", "loading its data"),
    ] {
        let mut link = live();
        call(&mut link, 0, 1);
        call(&mut link, 0, 2);
        link.receive(Ms(1), format!("-{error}\r\n").as_bytes());
        let events = events(&mut link);
        assert_eq!(events[..2], [failed(1, Failure::Refused(error.into())), failed(2, Failure::Lost)]);
        assert!(down(&events[2..]).contains(told), "{events:?}");
        assert_eq!(link.line(), None);
    }
}

#[test]
fn what_stands_against_a_line_is_told_once_in_words_of_its_own() {
    for (hello, told) in [
        ("-WRONGPASS invalid username-password pair or user is disabled.", "wrong user name or password: see --broker"),
        ("-NOAUTH HELLO must be called with the client already authenticated", "asks for a password"),
        ("-ERR unknown command 'HELLO', with args beginning with: '3' ", "Redis 7.0 or newer"),
        ("-NOPROTO unsupported protocol version", "Redis 7.0 or newer"),
        ("%2\r\n+version\r\n+6.2.14\r\n+role\r\n+master", "it is Redis 6.2.14: 7.0 or newer"),
        ("%2\r\n+version\r\n+7.2.4\r\n+role\r\n+replica", "read-only replica"),
        ("%2\r\n+version\r\n+7.2.4\r\n+mode\r\n+sentinel", "redis+sentinel://"),
        ("-LOADING Redis is loading the dataset in memory", "loading its data"),
        ("-ERR max number of clients reached", "max number of clients"),
        ("HTTP/1.1 400 Bad Request", "it is no Redis, or not only: it says \"HTTP/1.1 400 Bad Request\\r\\n\""),
    ] {
        let mut link = link_to("redis://h");
        let mut events_told = Vec::new();
        let mut now = 0;
        for _ in 0..20 {
            now = now.max(link.next_timeout().0);
            link.handle_timeout(Ms(now));
            link.connected(Ms(now));
            link.receive(Ms(now), format!("{hello}\r\n").as_bytes());
            events_told.extend(events(&mut link));
        }
        let why = down(&events_told);
        assert!(why.starts_with("h:6379: ") && why.contains(told), "{why}");
        assert_eq!((link.counts().dials, link.why_down()), (20, Some(why)));
    }
}

#[test]
fn the_wait_doubles_up_to_the_longest_and_begins_anew_after_a_good_line() {
    let mut link = link_to("redis://h");
    let mut waits = Vec::new();
    let mut now = 0;
    for _ in 0..12 {
        link.handle_timeout(Ms(now));
        link.broken(Ms(now), "connection refused");
        waits.push(link.next_timeout().0 - now);
        now = link.next_timeout().0;
    }
    for (at, wait) in waits.iter().enumerate() {
        let longest = AWAY_LONGEST.0.min(AWAY_FIRST.0 << at);
        assert!((longest / 2..=longest).contains(wait), "{waits:?}");
    }
    assert_eq!(down(&events(&mut link)), "h:6379: connection refused");
    // A line that ends at once is no reason to hurry; one that has lasted is.
    let_in(&mut link, now);
    link.broken(Ms(now), "closed");
    assert!(link.next_timeout().0 - now >= AWAY_LONGEST.0 / 2);
    assert_eq!(down(&events(&mut link)), "h:6379: closed");
    now = link.next_timeout().0;
    let_in(&mut link, now);
    link.broken(Ms(now) + GOOD_AFTER, "closed");
    assert!(link.next_timeout() - (Ms(now) + GOOD_AFTER) <= AWAY_FIRST);
}

#[test]
fn while_it_is_down_calls_fail_at_once_and_say_why() {
    let mut link = link_to("redis://h");
    let try_call = |link: &mut Link| link.call(Ms(0), Ticket(1), "f", &[], &[]);
    assert_eq!(try_call(&mut link), Err(Failure::Down("it has not answered yet".into())));
    link.handle_timeout(Ms(0));
    link.broken(Ms(0), "connection refused");
    assert_eq!(try_call(&mut link), Err(Failure::Down("h:6379: connection refused".into())));
    link.follow(b"c");
    assert!(link.output().is_empty());
    assert_eq!(link.counts().calls, [0, 0, 0, 0, 0, 2]);
}

#[test]
fn a_break_loses_what_is_not_answered_and_nothing_of_it_comes_later() {
    let mut link = live();
    call(&mut link, 0, 1);
    call(&mut link, 0, 2);
    link.receive(Ms(1), b":1\r\n:2");
    link.broken(Ms(1), "closed");
    // What was not decoded yet is lost as well: whoever drives it asks for events before it says that the line broke.
    assert_eq!(
        events(&mut link),
        [failed(1, Failure::Lost), failed(2, Failure::Lost), Event::Down("h:6379: closed".into())]
    );
    assert!(link.output().is_empty() && link.pending() == 0);
    let now = link.next_timeout().0;
    let_in(&mut link, now);
    assert_eq!(link.line().map(|(number, _)| number), Some(2));
}

#[test]
fn a_late_call_fails_and_its_answer_is_nobodys() {
    let mut link = live();
    call(&mut link, 100, 1);
    call(&mut link, 600, 2);
    // Something is heard all the time: it is slow, not frozen.
    assert_eq!(link.next_timeout(), Ms(2100));
    hear(&mut link, 2000, ">1 +x ");
    link.handle_timeout(Ms(2099));
    assert_eq!(events(&mut link), []);
    link.handle_timeout(Ms(2100));
    assert_eq!(events(&mut link), [failed(1, Failure::Late)]);
    assert_eq!((link.next_timeout(), link.pending()), (Ms(2600), 1));
    assert_eq!(hear(&mut link, 2200, ":1 :2 "), [done(2, 2)]);
    assert_eq!(link.counts().calls, [1, 0, 1, 0, 0, 0]);
}

#[test]
fn channels_are_followed_while_calls_are_refused_but_not_without_end() {
    let mut link = live();
    let name = vec![b'x'; 1 << 20];
    (0..17).for_each(|_| link.follow(&name));
    assert_eq!(link.call(Ms(0), Ticket(1), "f", &[], &[]), Err(Failure::Crowded));
    (17..64).for_each(|_| link.follow(&name));
    assert!(link.is_live());
    link.follow(&name);
    assert_eq!(down(&events(&mut link)), "h:6379: it does not take what it is sent");
}

#[test]
fn a_silent_line_is_asked_and_then_left() {
    let mut link = live();
    assert_eq!(link.next_timeout(), PING_AFTER);
    link.handle_timeout(PING_AFTER);
    assert_eq!(said(&mut link), "*1 $4 PING ");
    assert_eq!(hear(&mut link, 1500, "+PONG "), []);
    link.handle_timeout(Ms(2500));
    assert_eq!((said(&mut link), link.next_timeout()), ("*1 $4 PING ".into(), Ms(4500)));
    call(&mut link, 3000, 1);
    link.handle_timeout(Ms(4499));
    assert_eq!(events(&mut link), []);
    link.handle_timeout(Ms(4500));
    let events = events(&mut link);
    assert_eq!(events[..1], [failed(1, Failure::Lost)]);
    assert_eq!(down(&events[1..]), "h:6379: it has not answered within 2s");
}

#[test]
fn neither_a_dial_nor_a_greeting_takes_for_ever() {
    let mut link = link_to("redis://h");
    link.handle_timeout(Ms(0));
    assert_eq!(link.next_timeout(), TIMEOUT);
    link.handle_timeout(TIMEOUT);
    assert_eq!(down(&events(&mut link)), "h:6379: no connection within 2s");
    let now = link.next_timeout();
    link.handle_timeout(now);
    link.connected(now);
    // Whoever says something, but not what we need, does not hold us up either.
    hear(&mut link, now.0 + 1000, ">1 +x ");
    link.handle_timeout(now + TIMEOUT);
    assert_eq!(down(&events(&mut link)), "h:6379: it has not answered within 2s");
}

#[test]
fn no_more_is_taken_than_fits() {
    let mut link = live();
    let large = vec![0; OUTPUT_BYTES_MAX];
    let call = |link: &mut Link, bytes: &[u8]| link.call(Ms(0), Ticket(0), "f", &[], &[bytes]);
    assert_eq!(call(&mut link, &large), Ok(()));
    assert_eq!(call(&mut link, b"x"), Err(Failure::Crowded));
    link.sent(link.output().len());
    for _ in 1..CALLS_MAX {
        assert_eq!(call(&mut link, b"x"), Ok(()));
    }
    assert_eq!(call(&mut link, b"x"), Err(Failure::Crowded));
    // Late ones still wait for their answers.
    link.handle_timeout(TIMEOUT - Ms(1));
    hear(&mut link, TIMEOUT.0 - 1, ">1 +x ");
    link.handle_timeout(TIMEOUT);
    assert_eq!((events(&mut link).len(), link.pending()), (CALLS_MAX, 0));
    assert_eq!(call(&mut link, b"x"), Err(Failure::Crowded));
    hear(&mut link, TIMEOUT.0, ":1 ");
    assert_eq!(call(&mut link, b"x"), Ok(()));
}

#[test]
fn a_reply_that_is_too_large_ends_the_line() {
    let mut link = live();
    call(&mut link, 0, 1);
    link.receive(Ms(0), b"$67108865\r\n");
    let events = events(&mut link);
    assert_eq!(events[0], failed(1, Failure::Lost));
    assert!(down(&events[1..]).contains("larger than 64 MiB"));
}

#[test]
fn answers_to_nothing_and_refused_channels_end_the_line() {
    let mut link = live();
    assert!(down(&hear(&mut link, 0, "+OK ")).contains("not asked"));
    let mut link = live();
    assert!(down(&hear(&mut link, 0, ">3 $9 subscribe $1 c :1 ")).contains("not asked"));
    let mut link = live();
    link.follow(b"c");
    link.receive(Ms(0), b"-NOPERM No permissions to access a channel\r\n");
    assert!(down(&events(&mut link)).contains("ACL"));
}

#[test]
fn another_node_of_the_cluster_is_dialled_at_once() {
    let mut link = link_to("redis://a,b");
    link.handle_timeout(Ms(0));
    link.connected(Ms(0));
    hear(&mut link, 0, HELLO);
    said(&mut link);
    link.receive(Ms(0), b"-MOVED 12 10.0.0.7:7001\r\n");
    assert_eq!(events(&mut link), []);
    assert_eq!((link.line().map(|(number, _)| number), place(&link)), (Some(2), "10.0.0.7:7001".into()));
    let_in(&mut link, 0);
    // The slot moves on while it is live; a node that does not know its own name is the one that we know.
    call(&mut link, 1, 1);
    call(&mut link, 1, 2);
    link.receive(Ms(1), b"-MOVED 12 :7002\r\n");
    let moved = Failure::Refused("MOVED 12 :7002".into());
    let told = Event::Down("10.0.0.7:7001: it sends on to 10.0.0.7:7002".into());
    assert_eq!(events(&mut link), [failed(1, moved), failed(2, Failure::Lost), told]);
    let_in(&mut link, 2);
    assert_eq!(link.line().map(|(number, _)| number), Some(3));
}

#[test]
fn nodes_that_send_each_other_on_are_left() {
    let mut link = link_to("redis://a");
    link.handle_timeout(Ms(0));
    for _ in 0..=DETOURS_MAX {
        link.connected(Ms(0));
        hear(&mut link, 0, HELLO);
        link.receive(Ms(0), b"-MOVED 12 b:1\r\n");
        link.next_event();
    }
    assert_eq!(link.line(), None);
    assert!(link.why_down().is_some_and(|why| why.contains("sends on to b:1")), "{:?}", link.why_down());
}

/// What a Sentinel is asked.
const WHERE: &str = "*3 $8 SENTINEL $6 MASTER $4 main *3 $8 SENTINEL $23 GET-MASTER-ADDR-BY-NAME $4 main ";

/// A Sentinel of Redis 7.
const SENTINEL: &str = "%2 +version +7.0.0 +mode +sentinel ";

#[test]
fn sentinels_are_asked_one_after_the_other_and_their_master_is_dialled() {
    let mut link = link_to("redis+sentinel://:pw@s1,s2/main");
    link.handle_timeout(Ms(0));
    assert_eq!(place(&link), "s1:26379");
    link.broken(Ms(0), "connection refused");
    assert_eq!((events(&mut link), place(&link)), (vec![], "s2:26379".into()));
    link.connected(Ms(0));
    assert_eq!(said(&mut link), "*4 $5 HELLO $1 3 $7 SETNAME $9 shaveet-1 ", "the password is not a Sentinel's");
    hear(&mut link, 0, SENTINEL);
    assert_eq!(said(&mut link), WHERE);
    hear(&mut link, 0, "%1 $12 config-epoch $1 3 *2 $8 10.0.0.9 $4 6379 ");
    assert_eq!(place(&link), "10.0.0.9:6379");
    link.connected(Ms(0));
    assert!(said(&mut link).contains("AUTH $7 default $2 pw"));
    // It has been made a replica in the meantime: both are asked again, after a while.
    let events = hear(&mut link, 0, "%2 +version +7.0.0 +role +replica ");
    assert!(down(&events).contains("; 10.0.0.9:6379, named by s2:26379: it is a read-only replica"), "{events:?}");
    link.handle_timeout(link.next_timeout());
    assert_eq!(place(&link), "s1:26379");
}

#[test]
fn all_that_is_wrong_in_a_round_is_told_together() {
    let mut link = link_to("redis+sentinel://s1,s2,s3/main");
    link.handle_timeout(Ms(0));
    link.broken(Ms(0), "connection refused");
    link.connected(Ms(0));
    hear(&mut link, 0, SENTINEL);
    link.receive(Ms(0), b"-ERR No such master with that name\r\n");
    hear(&mut link, 0, "_ ");
    link.connected(Ms(0));
    let events = hear(&mut link, 0, HELLO);
    let told = "s1:26379: connection refused; s2:26379: this Sentinel knows no master \"main\"; \
                s3:26379: it is no Sentinel: a Redis is named by redis://";
    assert_eq!((down(&events), link.line()), (told, None));
}

#[test]
fn a_sentinel_that_asks_for_a_password_gets_it() {
    let mut link = link_to("redis+sentinel://:pw@s1/main");
    link.handle_timeout(Ms(0));
    link.connected(Ms(0));
    said(&mut link);
    link.receive(Ms(0), b"-NOAUTH HELLO must be called with the client already authenticated\r\n");
    assert_eq!((events(&mut link), place(&link)), (vec![], "s1:26379".into()));
    link.connected(Ms(0));
    assert!(said(&mut link).contains("AUTH $7 default $2 pw"));
    link.receive(Ms(0), b"-WRONGPASS no\r\n");
    assert!(down(&events(&mut link)).contains("wrong user name or password"));
}

#[test]
fn a_password_can_be_another_one_from_now_on() {
    let mut link = link_to("redis://u:old@h");
    link.set_password(Password::new("new"));
    link.handle_timeout(Ms(0));
    link.connected(Ms(0));
    assert!(said(&mut link).contains("AUTH $1 u $3 new"));
}

/// What happens to a live link.
#[derive(Clone, Debug)]
enum Step {
    Call,
    Follow,
    /// Redis answers the next that was asked, in pieces of so many bytes.
    Answer(usize),
    Refuse,
    Publish,
    Pass(u64),
    Break,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Call),
        1 => Just(Step::Follow),
        4 => (1_usize..9).prop_map(Step::Answer),
        1 => Just(Step::Refuse),
        1 => Just(Step::Publish),
        2 => (1_u64..900).prop_map(Step::Pass),
        1 => Just(Step::Break),
    ];
    prop::collection::vec(step, 0..60)
}

/// The same, naively: a list of what is owed, looked through from the start each time.
#[derive(Default)]
struct Twin {
    /// The ticket, `None` for a channel; when it was asked; whether its caller has been told already.
    owed: VecDeque<(Option<u64>, u64, bool)>,
    expected: Vec<Event>,
    heard_at: u64,
}

impl Twin {
    fn pass(&mut self, now: u64) -> bool {
        for (ticket, at, is_told) in &mut self.owed {
            if *at + TIMEOUT.0 <= now && !*is_told {
                *is_told = true;
                self.expected.extend(ticket.map(|ticket| failed(ticket, Failure::Late)));
            }
        }
        self.owed.front().is_some_and(|(_, at, _)| self.heard_at.max(*at) + TIMEOUT.0 <= now)
    }

    fn lose(&mut self, why: &str) {
        for (ticket, _, is_told) in self.owed.drain(..) {
            self.expected.extend(ticket.filter(|_| !is_told).map(|ticket| failed(ticket, Failure::Lost)));
        }
        self.expected.push(Event::Down(format!("h:6379: {why}").into()));
    }
}

proptest! {
    #[test]
    fn every_call_has_one_end_as_with_a_naive_twin(steps in steps()) {
        let (mut link, mut twin, mut now, mut next, mut told) = (live(), Twin::default(), 0, 0, Vec::new());
        for step in steps {
            match step {
                Step::Call => {
                    call(&mut link, now, next);
                    twin.owed.push_back((Some(next), now, false));
                    next += 1;
                }
                Step::Follow => {
                    link.follow(b"c");
                    twin.owed.push_back((None, now, false));
                }
                Step::Answer(_) | Step::Refuse if twin.owed.is_empty() => continue,
                Step::Answer(size) => {
                    let (ticket, _, is_told) = twin.owed.pop_front().unwrap();
                    let answer = ticket.map_or(">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n".into(), |t| format!(":{t}\r\n"));
                    for piece in answer.as_bytes().chunks(size) {
                        link.receive(Ms(now), piece);
                        told.extend(events(&mut link));
                    }
                    twin.heard_at = now;
                    twin.expected.extend(ticket.filter(|_| !is_told).map(|t| done(t, t.try_into().unwrap())));
                }
                Step::Refuse => {
                    let (ticket, _, is_told) = twin.owed.pop_front().unwrap();
                    link.receive(Ms(now), b"-ERR no\r\n");
                    twin.heard_at = now;
                    match ticket {
                        Some(ticket) if !is_told => {
                            twin.expected.push(failed(ticket, Failure::Refused("ERR no".into())));
                        }
                        Some(_) => {}
                        None => twin.lose("it answers: ERR no"),
                    }
                }
                Step::Publish => {
                    link.receive(Ms(now), b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n");
                    twin.heard_at = now;
                    twin.expected.push(Event::Push { channel: (*b"c").into(), payload: (*b"x").into() });
                }
                Step::Pass(time) => {
                    now += time;
                    link.handle_timeout(Ms(now));
                    if twin.pass(now) {
                        twin.lose("it has not answered within 2s");
                    } else if twin.owed.is_empty() && twin.heard_at + PING_AFTER.0 <= now {
                        link.receive(Ms(now), b"+PONG\r\n");
                        twin.heard_at = now;
                    }
                }
                Step::Break => {
                    link.broken(Ms(now), "closed");
                    twin.lose("closed");
                }
            }
            link.sent(link.output().len());
            told.extend(events(&mut link));
            prop_assert_eq!(&told, &twin.expected);
            prop_assert_eq!(link.pending(), twin.owed.iter().filter(|(ticket, _, told)| ticket.is_some() && !told).count());
            if !link.is_live() {
                now = now.max(link.next_timeout().0);
                let_in(&mut link, now);
                twin.heard_at = now;
            }
        }
    }
}
