//! The decoder against every split, against what the public conformance suite asks (by its case numbers), against a naive
//! twin and against another implementation.

use std::io::{Cursor, Read, Write};

use proptest::prelude::*;
use tungstenite::protocol::{Role, WebSocketConfig};

use super::*;

const LIMITS: Limits = Limits { frame_bytes: 1 << 16, message_bytes: 1 << 17 };

/// What a connection amounts to: its events, and the error it ends in, if any.
type Heard = (Vec<Event>, Option<Error>);

/// A frame as a client may write it, right or wrong.
#[derive(Clone, Debug)]
struct Written {
    first: u8,
    mask: Option<[u8; 4]>,
    /// The code of the length: 126 and 127 also where a shorter one would do.
    code: Option<u8>,
    payload: Vec<u8>,
}

impl Written {
    fn bytes(&self) -> Vec<u8> {
        let length = self.payload.len();
        let shortest = if length < 126 { u8::try_from(length).unwrap() } else { 126 + u8::from(length > 65_535) };
        let code = self.code.unwrap_or(shortest);
        let mut bytes = vec![self.first, code | if self.mask.is_some() { 0x80 } else { 0 }];
        match code {
            126 => bytes.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()),
            127 => bytes.extend_from_slice(&(length as u64).to_be_bytes()),
            _ => {}
        }
        bytes.extend(self.mask.iter().flatten());
        let mask = self.mask.unwrap_or_default();
        bytes.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }
}

fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    Written { first, mask: Some([7, 0, 200, 99]), code: None, payload: payload.as_ref().to_vec() }.bytes()
}

/// The same cut into frames of so many bytes, and all behind each other.
fn fragments(opcode: u8, payload: &[u8], size: usize) -> Vec<u8> {
    let count = payload.chunks(size).len();
    let parts = payload.chunks(size).enumerate().map(|(at, part)| {
        let (fin, opcode) = (if at + 1 == count { 0x80 } else { 0 }, if at == 0 { opcode } else { 0 });
        frame(fin | opcode, part)
    });
    parts.collect::<Vec<_>>().concat()
}

/// Reads the bytes, shown in pieces that end at the cuts.
fn read(input: &[u8], cuts: &[usize]) -> Heard {
    let mut decoder = Decoder::default();
    let (mut events, mut start) = (Vec::new(), 0);
    for &end in cuts.iter().chain([&input.len()]) {
        while start < end {
            match decoder.next(&LIMITS, &input[start..end]) {
                Ok(Step::More) => start = end,
                Ok(Step::Event { event, used }) => {
                    start += used;
                    let is_last = matches!(event, Event::Close(_));
                    events.push(event);
                    if is_last {
                        return (events, None);
                    }
                }
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}

fn whole(input: &[u8]) -> Heard {
    read(input, &[])
}

fn text(text: &str) -> Event {
    Event::Text(text.to_owned())
}

fn ping(payload: &[u8]) -> Event {
    Event::Ping(payload.to_vec())
}

#[test]
fn whole_input_equals_every_split() {
    let samples: [Vec<u8>; 10] = [
        [frame(0x81, "héllo"), frame(0x89, "p"), frame(0x82, [0, 255]), frame(0x88, [3, 232])].concat(),
        [frame(1, "\u{10348}"), frame(0x8a, ""), frame(0, "€"), frame(0x80, "")].concat(),
        fragments(1, "κόσμε €\u{10ffff}".as_bytes(), 1),
        frame(0x82, vec![5; 126]),
        frame(0x81, [b'a', 0xed, 0xa0, 0x80, b'b']),
        [frame(1, [0xce]), frame(0x80, [0x41])].concat(),
        [frame(0x81, "a"), frame(0xc1, "b")].concat(),
        [frame(0x89, vec![0; 125]), frame(0x89, vec![0; 126])].concat(),
        [frame(0x81, "a"), frame(0x88, [3])].concat(),
        [vec![0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1], vec![0; 9]].concat(),
    ];
    for sample in samples {
        let expected = whole(&sample);
        assert!(!expected.0.is_empty() || expected.1.is_some());
        for cut in 0..sample.len() {
            assert_eq!(read(&sample, &[cut]), expected, "{sample:?} cut at {cut}");
        }
        let bytewise: Vec<usize> = (0..sample.len()).collect();
        assert_eq!(read(&sample, &bytewise), expected, "{sample:?} byte by byte");
    }
}

#[test]
fn between_two_messages_it_owns_nothing() {
    assert_eq!(size_of::<Decoder>(), size_of::<usize>());
    let mut decoder = Decoder::default();
    let input = [frame(0x81, "a"), frame(0x89, "b")].concat();
    let Ok(Step::Event { used, .. }) = decoder.next(&LIMITS, &input) else { panic!("a whole message") };
    assert!(decoder.0.is_none());
    assert!(decoder.next(&LIMITS, &input[used..used + 1]).is_ok() && decoder.0.is_some());
    assert!(decoder.next(&LIMITS, &input[used + 1..]).is_ok() && decoder.0.is_none());
}

#[test]
fn limits_are_the_limits() {
    let at = |length: usize| frame(0x82, vec![1; length]);
    assert_eq!(whole(&at(LIMITS.frame_bytes)).0.len(), 1);
    assert_eq!(whole(&at(LIMITS.frame_bytes + 1)), (vec![], Some(Error::TooBig)));
    let all = vec![b'x'; LIMITS.message_bytes];
    assert_eq!(whole(&fragments(1, &all, 1 << 14)).0.len(), 1);
    let beyond = [&all[..], b"x"].concat();
    assert_eq!(whole(&fragments(1, &beyond, 1 << 14)), (vec![], Some(Error::TooBig)));
    // It is refused by its head: not a byte of it is waited for.
    assert_eq!(whole(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1]), (vec![], Some(Error::TooBig)));
    assert_eq!(whole(&[0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255]), (vec![], Some(Error::TooBig)));
    // A ping in the middle of the largest message is no part of it.
    let parts = [frame(1, &all[..1 << 16]), frame(0, &all[1 << 16..]), frame(0x89, "p"), frame(0x80, "")].concat();
    assert_eq!(whole(&parts).0.len(), 2);
}

#[test]
fn framing_pings_and_reserved_bits() {
    // 1.1.1 to 1.2.8: text and binary of all lengths around where the head changes.
    for length in [0, 1, 125, 126, 127, 128, 65_535, 65_536] {
        let payload = vec![b'*'; length];
        assert_eq!(whole(&frame(0x81, &payload)).0, [text(&"*".repeat(length))]);
        assert_eq!(whole(&frame(0x82, &payload)).0, [Event::Binary(payload)]);
    }
    // 2.1 to 2.11: pings of 0 to 125 bytes come as they are, longer ones are refused; pongs nobody asked for are none of
    // our business.
    for length in [0, 5, 125] {
        assert_eq!(whole(&frame(0x89, vec![0xfe; length])).0, [ping(&vec![0xfe; length])]);
    }
    assert!(matches!(whole(&frame(0x89, vec![0; 126])), (none, Some(Error::Protocol(_))) if none.is_empty()));
    let (events, error) = whole(&[frame(0x8a, ""), frame(0x8a, "unsolicited"), frame(0x89, "ping")].concat());
    assert_eq!((events.len(), error, &events[2]), (3, None, &ping(b"ping")));
    // 3.1 to 3.7: reserved bits in any kind of frame, before and behind good ones.
    for bits in (0x10..=0x70).step_by(0x10) {
        for opcode in [0, 1, 2, 8, 9, 10] {
            let bad = [frame(0x81, "a"), frame(0x80 | bits | opcode, "b"), frame(0x89, "")].concat();
            let (events, error) = whole(&bad);
            assert_eq!(events, [text("a")]);
            assert!(matches!(error, Some(Error::Protocol(_))));
        }
    }
    // 4.1.1 to 4.2.5: reserved opcodes.
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert!(matches!(whole(&frame(0x80 | opcode, "")).1, Some(Error::Protocol(_))), "{opcode}");
    }
}

#[test]
fn fragmentation() {
    let protocol = |input: &[Vec<u8>], before: usize| {
        let (events, error) = whole(&input.concat());
        assert_eq!(events.len(), before, "{input:?}");
        assert!(matches!(error, Some(Error::Protocol(_))), "{input:?}");
    };
    // 5.1, 5.2: control frames are never in fragments.
    protocol(&[frame(9, "a"), frame(0x80, "b")], 0);
    protocol(&[frame(10, "a"), frame(0x80, "b")], 0);
    protocol(&[frame(8, "")], 0);
    // 5.3 to 5.8: text in two, a ping between them, in any pieces.
    let parted = [frame(1, "one"), frame(0x89, "ping"), frame(0x80, "two")].concat();
    assert_eq!(whole(&parted), (vec![ping(b"ping"), text("onetwo")], None));
    // 5.9 to 5.14: nothing to continue, with and without the last bit.
    protocol(&[frame(0x80, "x"), frame(0x81, "y")], 0);
    protocol(&[frame(0, "x"), frame(0x81, "y")], 0);
    // 5.15: a message, and then a continuation of nothing.
    protocol(&[frame(1, "a"), frame(0x80, "b"), frame(0, "c"), frame(0x81, "d")], 1);
    // 5.18: a text within a text.
    protocol(&[frame(1, "a"), frame(0x81, "b")], 0);
    // 5.19, 5.20: five parts and two pings.
    let five = [frame(1, "1"), frame(0, "2"), frame(0x89, "p"), frame(0, "3"), frame(0, "4"), frame(0x89, "q")];
    let five = [five.concat(), frame(0x80, "5")].concat();
    assert_eq!(whole(&five).0, [ping(b"p"), ping(b"q"), text("12345")]);
    // 9.3 and 10.1.1: one message in many.
    assert_eq!(whole(&fragments(1, &[b'*'; 65_536], 1300)).0, [text(&"*".repeat(65_536))]);
    assert_eq!(whole(&fragments(2, &[0; 4096], 64)).0, [Event::Binary(vec![0; 4096])]);
}

#[test]
fn text_is_utf_8() {
    let good: &[&[u8]] = &[
        b"",
        "Hello-µ@ßöäüàá-UTF-8!!".as_bytes(),
        "κόσμε".as_bytes(),
        b"\0",
        b"\xc2\x80",
        b"\xe0\xa0\x80",
        b"\xf0\x90\x80\x80",
        b"\x7f",
        b"\xdf\xbf",
        b"\xef\xbf\xbf",
        b"\xf4\x8f\xbf\xbf",
        b"\xed\x9f\xbf",
        b"\xee\x80\x80",
        b"\xef\xbf\xbd",
        b"\xef\xbb\xbf",
    ];
    for &sample in good {
        for size in [1, 2, 3, 100] {
            let expected = if sample.is_empty() { "" } else { std::str::from_utf8(sample).unwrap() };
            let input = if sample.is_empty() { frame(0x81, "") } else { fragments(1, sample, size) };
            assert_eq!(whole(&input).0, [text(expected)], "{sample:?}");
        }
    }
    // 6.3 to 6.21: each ends in what cannot go on, and is refused there, whatever is to come.
    let bad: &[&[u8]] = &[
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0",
        b"\xf8\x88",
        b"\xfc\x84",
        b"\xf7",
        b"\xfb",
        b"\xfd",
        b"\xf4\x90",
        b"\x80",
        b"\xbf",
        b"\x80\xbf",
        b"\xc0",
        b"\xc1\xbf",
        b"\xce\x41",
        b"\xe0\x80",
        b"\xe0\x9f",
        b"\xf0\x80",
        b"\xf0\x8f",
        b"\xfe",
        b"\xff",
        b"\xed\xa0",
        b"\xed\xbf",
        b"a\xf5",
        b"\xe1\xbd\x41",
    ];
    for &sample in bad {
        for size in [1, 2, 100] {
            // The message goes on: the fault alone ends it.
            let parts = sample.chunks(size).enumerate().map(|(at, part)| frame(u8::from(at == 0), part));
            let open = parts.collect::<Vec<_>>().concat();
            assert_eq!(whole(&open), (vec![], Some(Error::InvalidText)), "{sample:?}");
            let more = [open, frame(0, "never looked at")].concat();
            assert_eq!(whole(&more), (vec![], Some(Error::InvalidText)), "{sample:?}");
        }
    }
    // 6.1.2 and others: what is begun and never finished is found at the end.
    for begun in [&b"\xce"[..], b"\xe0\xa0", b"\xf0\x90\x80", b"ok\xf4\x8f\xbf"] {
        assert_eq!(whole(&frame(1, begun)), (vec![], None));
        assert_eq!(whole(&frame(0x81, begun)), (vec![], Some(Error::InvalidText)));
        assert_eq!(whole(&frame(0x82, begun)).0, [Event::Binary(begun.to_vec())]);
    }
}

#[test]
fn closing() {
    let close = |payload: &[u8]| {
        let (events, error) = whole(&[frame(0x88, payload), frame(0x89, "late")].concat());
        match (&events[..], error) {
            ([Event::Close(code)], None) => Ok(code.map(|code| code.0)),
            ([], Some(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    };
    // 7.1 to 7.3: nothing counts behind it; with a code and a reason, or without.
    assert_eq!(close(b""), Ok(None));
    assert!(matches!(close(b"\x03"), Err(Error::Protocol(_))));
    assert_eq!(close(b"\x03\xe8"), Ok(Some(1000)));
    assert_eq!(close(&[&b"\x03\xe8"[..], &[b'*'; 123]].concat()), Ok(Some(1000)));
    assert!(matches!(close(&[&b"\x03\xe8"[..], &[b'*'; 124]].concat()), Err(Error::Protocol(_))));
    // 7.5.1: a reason that is no UTF-8.
    assert_eq!(close(b"\x03\xe8\xce\xba\xe1\xbd\xb9\xed\xa0\x80"), Err(Error::InvalidText));
    // 7.7 and 7.9, 7.13: every code there is.
    for code in 0..=u16::MAX {
        let good = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let heard = close(&code.to_be_bytes());
        assert!(if good { heard == Ok(Some(code)) } else { matches!(heard, Err(Error::Protocol(_))) }, "{code}");
    }
}

#[test]
fn masks_and_lengths() {
    let unmasked = Written { first: 0x81, mask: None, code: None, payload: b"abc".to_vec() };
    assert!(matches!(whole(&unmasked.bytes()), (none, Some(Error::Protocol(_))) if none.is_empty()));
    for (code, length) in [(126, 125), (127, 125), (127, 65_535)] {
        let long = Written { code: Some(code), mask: Some([1, 2, 3, 4]), ..unmasked.clone() };
        let long = Written { payload: vec![0; length], ..long };
        assert!(matches!(whole(&long.bytes()).1, Some(Error::Protocol(_))), "{code} {length}");
    }
    let highest = [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0];
    assert!(matches!(whole(&highest).1, Some(Error::Protocol(_))));
}

/// The same, the way the RFC tells it: frame by frame over the whole input, with no thought of pieces.
fn naive(mut input: &[u8]) -> Heard {
    let mut events = Vec::new();
    let mut message: Option<(u8, Vec<u8>)> = None;
    while let [first, second, rest @ ..] = input {
        let (fin, opcode, code) = (first & 0x80 != 0, first & 15, second & 127);
        let is_control = opcode >= 8;
        let wrong = first & 0x70 != 0
            || !matches!(opcode, 0..=2 | 8..=10)
            || is_control && (!fin || code > 125)
            || opcode == 0 && message.is_none()
            || matches!(opcode, 1 | 2) && message.is_some()
            || second & 0x80 == 0;
        if wrong {
            return (events, Some(Error::Protocol("")));
        }
        let size = match code {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if rest.len() < size + 4 {
            break;
        }
        let length = match code {
            126 | 127 => rest[..size].iter().fold(0, |length, &byte| length << 8 | usize::from(byte)),
            short => usize::from(short),
        };
        let payload: Vec<u8> =
            rest[size + 4..].iter().take(length).zip(rest[size..size + 4].iter().cycle()).map(|(a, b)| a ^ b).collect();
        let is_whole = payload.len() == length;
        if !is_control {
            let (kind, bytes) = message.get_or_insert((opcode, Vec::new()));
            bytes.extend_from_slice(&payload);
            if *kind == 1
                && let Err(error) = std::str::from_utf8(bytes)
                && (error.error_len().is_some() || is_whole && fin)
            {
                return (events, Some(Error::InvalidText));
            }
        }
        if !is_whole {
            break;
        }
        match opcode {
            8 => {
                return match close_code(&payload) {
                    Ok(code) => {
                        events.push(Event::Close(code));
                        (events, None)
                    }
                    Err(error) => (events, Some(error)),
                };
            }
            9 => events.push(Event::Ping(payload)),
            10 => events.push(Event::Pong(payload)),
            _ if fin => {
                let (kind, bytes) = message.take().unwrap();
                events.push(if kind == 1 { text(std::str::from_utf8(&bytes).unwrap()) } else { Event::Binary(bytes) });
            }
            _ => {}
        }
        input = &rest[size + 4 + length..];
    }
    (events, None)
}

/// What another implementation makes of it.
fn another(input: &[u8]) -> (Vec<Event>, bool) {
    struct Wire<'a>(Cursor<&'a [u8]>);
    impl Read for Wire<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Write for Wire<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let config = WebSocketConfig::default();
    let mut socket = tungstenite::WebSocket::from_raw_socket(Wire(Cursor::new(input)), Role::Server, Some(config));
    let mut events = Vec::new();
    loop {
        events.push(match socket.read() {
            Ok(tungstenite::Message::Text(found)) => text(found.as_str()),
            Ok(tungstenite::Message::Binary(found)) => Event::Binary(found.to_vec()),
            Ok(tungstenite::Message::Ping(found)) => Event::Ping(found.to_vec()),
            Ok(tungstenite::Message::Pong(found)) => Event::Pong(found.to_vec()),
            Ok(tungstenite::Message::Close(found)) => {
                events.push(Event::Close(found.map(|found| CloseCode(found.code.into()))));
                return (events, false);
            }
            Ok(tungstenite::Message::Frame(_)) => unreachable!("no raw frame is ever read"),
            // The end of the bytes, in the middle of a connection, is not one that this test is about.
            Err(tungstenite::Error::Io(_)) => return (events, false),
            Err(tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                return (events, false);
            }
            Err(_) => return (events, true),
        });
    }
}

/// Frames, mostly good.
fn frames() -> impl Strategy<Value = Vec<Written>> {
    let first = prop_oneof![
        20 => prop::sample::select(vec![0x81, 0x82, 0x89, 0x8a, 1, 2, 0, 0x80, 0, 0x80]),
        1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        prop::collection::vec(prop::sample::select("aé€\u{10348}".as_bytes().to_vec()), 0..5),
        "[aé€\u{10348}]{0,4}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 120..130),
        prop::sample::select(vec![vec![3, 232], vec![3, 237], vec![3], vec![15, 160, b'x']]),
    ];
    let mask = prop_oneof![20 => any::<[u8; 4]>().prop_map(Some), 1 => Just(None)];
    let frame = (first, mask, payload).prop_map(|(first, mask, payload)| Written { first, mask, code: None, payload });
    let close = prop::sample::select(vec![vec![], vec![3, 232], vec![3, 236], vec![9]]);
    let close = close.prop_map(|payload| Written { first: 0x88, mask: Some([9; 4]), code: None, payload });
    (prop::collection::vec(frame, 0..12), prop::option::of(close))
        .prop_map(|(frames, close)| frames.into_iter().chain(close).collect())
}

/// Errors by what they tell the other end.
fn told((events, error): Heard) -> (Vec<Event>, Option<CloseCode>) {
    (events, error.map(Error::close_code))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_frames_cut_anywhere_read_as_the_rfc_tells_it(
        frames in frames(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        end in any::<prop::sample::Index>(),
    ) {
        let input = frames.iter().map(Written::bytes).collect::<Vec<_>>().concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(told(read(&input, &cuts)), told(naive(&input)));
        // And if the connection breaks off somewhere. A first byte that is wrong is refused without the second.
        let broken = &input[..end.index(input.len() + 1)];
        let heard = whole(broken);
        let (events, error) = naive(broken);
        prop_assert_eq!(&heard.0, &events);
        prop_assert!(error.is_none() || heard.1.map(Error::close_code) == error.map(Error::close_code));
    }

    #[test]
    fn any_frames_read_as_another_reads_them(frames in frames()) {
        let input = frames.iter().map(Written::bytes).collect::<Vec<_>>().concat();
        let (events, error) = whole(&input);
        let (others, failed) = another(&input);
        if !matches!(others.last(), Some(Event::Close(Some(_)))) || error.is_none() {
            prop_assert_eq!(&events, &others);
            prop_assert_eq!(error.is_some(), failed);
        }
    }

    #[test]
    fn any_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(told(whole(&input)), told(read(&input, &(0..input.len()).collect::<Vec<_>>())));
    }
}

proptest! {
    #[test]
    fn what_the_encoder_writes_another_reads(payload in ".{0,200}", binary in prop::collection::vec(any::<u8>(), 0..70_000)) {
        let mut out = Vec::new();
        super::super::write_text(&mut out, payload.as_bytes());
        super::super::write_binary(&mut out, &binary);
        super::super::write_ping(&mut out, b"p");
        let wire = Cursor::new(out);
        let mut socket = tungstenite::WebSocket::from_raw_socket(wire, Role::Client, None);
        prop_assert_eq!(socket.read().unwrap(), tungstenite::Message::text(payload));
        prop_assert_eq!(socket.read().unwrap(), tungstenite::Message::binary(binary));
        prop_assert_eq!(socket.read().unwrap(), tungstenite::Message::Ping(b"p"[..].into()));
    }
}
