//! What Redis says to the link, at once and cut into pieces: both mean the same, what it says makes the link keep and say no more than
//! it should, and whoever has called is answered once.
//!
//! The first byte says at whom the link is dialled, and what it has asked before; the second where the cuts are.

use shaveet::broker::{Event, Link, Options, Ticket, library};
use shaveet::clock::Ms;

const ADDRESSES: [&str; 4] = [
    "redis://127.0.0.1",
    "redis://user:word@127.0.0.1/3",
    "redis+sentinel://127.0.0.1,127.0.0.2/main",
    "redis+sentinel://user:word@127.0.0.1/main",
];

const NOW: Ms = Ms(1000);

pub(crate) fn check(input: &[u8]) {
    let [setup, cut, input @ ..] = input else { return };
    let whole = heard(*setup, input, usize::MAX);
    assert_eq!(heard(*setup, input, usize::from(*cut) + 1), whole);
    assert_eq!(heard(*setup, input, usize::from(*cut) % 7 + 1), whole);
}

/// What comes of it.
fn heard(setup: u8, input: &[u8], piece: usize) -> Vec<Event> {
    let is_let_in = setup & 4 != 0;
    let address = if is_let_in { ADDRESSES[0] } else { ADDRESSES[usize::from(setup) % 4] };
    let options = Options {
        address: address.parse().expect("an address"),
        prefix: "shaveet".into(),
        timeout: Ms(2000),
        name: "shaveet-1".into(),
    };
    let mut link = Link::new(options, NOW, 1);
    link.handle_timeout(NOW);
    link.connected(NOW);
    let (mut events, mut calls) = (Vec::new(), 0);
    if is_let_in {
        let hello = "%3\r\n+version\r\n+7.0.0\r\n+mode\r\n+standalone\r\n+role\r\n+master\r\n";
        link.receive(NOW, format!("{hello}:{}\r\n", library::REVISION).as_bytes());
        assert_eq!(link.next_event(), Some(Event::Up));
        calls = u64::from(setup >> 4);
        for call in 0..calls {
            link.call(NOW, Ticket(call), "f", &[b"k"], &[b"a"]).expect("it is live");
            if setup & 8 != 0 {
                link.follow(b"c");
            }
        }
    }
    link.sent(link.output().len());

    let line = |link: &Link| link.line().map(|(number, _)| number);
    let first = line(&link);
    for bytes in input.chunks(piece.min(input.len().max(1))) {
        link.receive(NOW, bytes);
        events.extend(std::iter::from_fn(|| link.next_event()));
        if line(&link) != first {
            // Whoever drives it makes another line, and what would have come by this one does not.
            break;
        }
    }
    assert!(link.output().len() < library::TEXT.len() + 1000, "it says too much");
    link.broken(NOW, "the end");
    events.extend(std::iter::from_fn(|| link.next_event()));

    let answered = |event: &Event| if let Event::Reply(ticket, _) = event { Some(ticket.0) } else { None };
    assert!(events.iter().filter_map(answered).eq(0..calls), "each once, in order: {events:?}");
    let pushed =
        |event: &Event| if let Event::Push { channel, payload } = event { channel.len() + payload.len() } else { 0 };
    assert!(events.iter().map(pushed).sum::<usize>() <= input.len());
    // Why it is down shows what had come by then.
    events.iter_mut().for_each(|event| {
        if let Event::Down(why) = event {
            *why = "".into();
        }
    });
    events
}
