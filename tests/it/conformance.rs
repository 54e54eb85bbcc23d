//! WebSocket as a whole (RFC 6455) over real sockets: a table of our own after the 247 cases of groups 1 to 7 and 10 of the public
//! Autobahn list, with its numbers, against `examples/ws_echo.rs`. Where that list lets a server choose, the table says what
//! ours does.

#![allow(clippy::unwrap_used, reason = "a test")]

#[allow(dead_code, reason = "its main is not called here")]
#[path = "../../examples/ws_echo.rs"]
mod ws_echo;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// What the client sends, how it is cut into packets, and what it has to hear.
struct Case {
    number: String,
    frames: Vec<Vec<u8>>,
    cut: Cut,
    expected: Vec<Heard>,
}

#[derive(Clone, Copy)]
enum Cut {
    /// All at once.
    Nowhere,
    /// Each frame for itself.
    Frames,
    /// So many bytes.
    Every(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
}

use Heard::{Binary, Close, Pong, Text};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;

const PROTOCOL_ERROR: Heard = Close(Some(1002));
const INVALID_TEXT: Heard = Close(Some(1007));

const OCTETS: Cut = Cut::Every(1);

/// A word whose letters are of two and of three bytes.
const GREEK: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";

#[test]
fn the_cases_of_the_public_list_come_out_as_the_rfc_says() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || ws_echo::serve(stream.unwrap()));
        }
    });
    let groups = [framing(), pings(), reserved_bits(), opcodes(), fragmentation(), utf8(), closing(), autofragment()];
    assert_eq!(groups.each_ref().map(Vec::len), [16, 11, 7, 10, 20, 145, 37, 1]);
    for case in groups.into_iter().flatten() {
        let heard = ask(address, &case);
        assert!(heard == case.expected, "{}: {} is not {}", case.number, told(&heard), told(&case.expected));
    }
}

// --- the table

fn framing() -> Vec<Case> {
    let lengths = [0, 125, 126, 127, 128, 65_535, 65_536, 65_536];
    let mut cases = Vec::new();
    for (at, length) in lengths.into_iter().enumerate() {
        let cut = if at == 7 { Cut::Every(997) } else { Cut::Nowhere };
        let (text, binary) = (vec![b'*'; length], vec![0xfe; length]);
        cases.push(good(format!("1.1.{}", at + 1), vec![frame(FIN | TEXT, &text)], cut, vec![Text(text)]));
        cases.push(good(format!("1.2.{}", at + 1), vec![frame(FIN | BINARY, &binary)], cut, vec![Binary(binary)]));
    }
    cases
}

fn pings() -> Vec<Case> {
    let echoed = |number: &str, payload: &[u8], cut| {
        good(number, vec![frame(FIN | PING, payload)], cut, vec![Pong(payload.to_vec())])
    };
    let ten: Vec<Vec<u8>> = (0..10).map(|n| format!("payload-{n}").into_bytes()).collect();
    let tens = |number: &str, cut| {
        let frames = ten.iter().map(|payload| frame(FIN | PING, payload)).collect();
        good(number, frames, cut, ten.iter().cloned().map(Pong).collect())
    };
    vec![
        echoed("2.1", b"", Cut::Nowhere),
        echoed("2.2", b"Hello, world!", Cut::Nowhere),
        echoed("2.3", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", Cut::Nowhere),
        echoed("2.4", &[0xfe; 125], Cut::Nowhere),
        bad("2.5", vec![frame(FIN | PING, &[0xfe; 126])], Cut::Nowhere, vec![], PROTOCOL_ERROR),
        echoed("2.6", &[0xfe; 125], OCTETS),
        good("2.7", vec![frame(FIN | PONG, b"")], Cut::Nowhere, vec![]),
        good("2.8", vec![frame(FIN | PONG, b"unsolicited")], Cut::Nowhere, vec![]),
        good(
            "2.9",
            vec![frame(FIN | PONG, b"unsolicited"), frame(FIN | PING, b"ping")],
            Cut::Nowhere,
            vec![Pong(b"ping".to_vec())],
        ),
        tens("2.10", Cut::Nowhere),
        tens("2.11", OCTETS),
    ]
}

fn reserved_bits() -> Vec<Case> {
    let kinds = [TEXT, TEXT, TEXT, TEXT, BINARY, PING, CLOSE];
    (1..=7_u8)
        .zip(kinds)
        .map(|(bits, kind)| {
            let reserved = frame(FIN | bits << 4 | kind, b"**");
            let (frames, before) = match bits {
                1 | 5 | 6 | 7 => (vec![reserved], vec![]),
                _ => {
                    (vec![frame(FIN | TEXT, b"Hello"), reserved, frame(FIN | PING, b"")], vec![Text(b"Hello".to_vec())])
                }
            };
            let cut = [Cut::Nowhere, Cut::Frames, OCTETS][usize::from(bits) % 3];
            bad(format!("3.{bits}"), frames, cut, before, PROTOCOL_ERROR)
        })
        .collect()
}

fn opcodes() -> Vec<Case> {
    let mut cases = Vec::new();
    for (section, first) in [(1, 3), (2, 11)] {
        for at in 0..5_u8 {
            let payload: &[u8] = if at == 0 { b"" } else { b"reserved" };
            let reserved = frame(FIN | (first + at), payload);
            let (frames, before) = match at {
                0 | 1 => (vec![reserved], vec![]),
                _ => {
                    (vec![frame(FIN | TEXT, b"Hello"), reserved, frame(FIN | PING, b"")], vec![Text(b"Hello".to_vec())])
                }
            };
            let cut = if at > 2 { OCTETS } else { Cut::Frames };
            cases.push(bad(format!("4.{section}.{}", at + 1), frames, cut, before, PROTOCOL_ERROR));
        }
    }
    cases
}

fn fragmentation() -> Vec<Case> {
    let cuts = [Cut::Nowhere, Cut::Frames, OCTETS];
    let (one, two) = (frame(TEXT, b"fragment1"), frame(FIN, b"fragment2"));
    let whole = || Text(b"fragment1fragment2".to_vec());
    let (ping, pong) = (frame(FIN | PING, b"ping"), || Pong(b"ping".to_vec()));
    let hello = frame(FIN | TEXT, b"Hello");
    let mut cases = vec![
        bad("5.1", vec![frame(PING, b"fragment1"), two.clone()], Cut::Nowhere, vec![], PROTOCOL_ERROR),
        bad("5.2", vec![frame(PONG, b"fragment1"), two.clone()], Cut::Nowhere, vec![], PROTOCOL_ERROR),
    ];
    for (at, cut) in cuts.into_iter().enumerate() {
        cases.push(good(format!("5.{}", 3 + at), vec![one.clone(), two.clone()], cut, vec![whole()]));
        cases.push(good(
            format!("5.{}", 6 + at),
            vec![one.clone(), ping.clone(), two.clone()],
            cut,
            vec![pong(), whole()],
        ));
        for (base, last) in [(9, FIN), (12, 0)] {
            let frames = vec![frame(last | CONTINUATION, b"non-continuation"), hello.clone()];
            cases.push(bad(format!("5.{}", base + at), frames, cut, vec![], PROTOCOL_ERROR));
        }
    }
    let nothing_to_continue = vec![one.clone(), two.clone(), frame(CONTINUATION, b"fragment3"), hello.clone()];
    cases.push(bad("5.15", nothing_to_continue, Cut::Nowhere, vec![whole()], PROTOCOL_ERROR));
    for (number, last) in [("5.16", 0), ("5.17", FIN)] {
        let round = [frame(last | CONTINUATION, b"fragment1"), frame(TEXT, b"fragment2"), frame(FIN, b"fragment3")];
        cases.push(bad(number, [round.clone(), round].concat(), Cut::Nowhere, vec![], PROTOCOL_ERROR));
    }
    cases.push(bad("5.18", vec![one, frame(FIN | TEXT, b"fragment2")], Cut::Nowhere, vec![], PROTOCOL_ERROR));
    for (number, cut) in [("5.19", Cut::Frames), ("5.20", Cut::Nowhere)] {
        let mut frames: Vec<Vec<u8>> =
            (1..=5_u8).map(|n| frame([CONTINUATION, TEXT][usize::from(n == 1)], &[b'0' + n])).collect();
        frames[4][0] |= FIN;
        frames.insert(2, ping.clone());
        frames.insert(5, ping.clone());
        cases.push(good(number, frames, cut, vec![pong(), pong(), Text(b"12345".to_vec())]));
    }
    cases
}

fn utf8() -> Vec<Case> {
    const HELLO: &[u8] = "Hello-µ@ßöäüàá-UTF-8!!".as_bytes();
    let text = |payload: &[u8]| vec![Text(payload.to_vec())];
    let whole = |payload: &[u8]| vec![frame(FIN | TEXT, payload)];
    let surrogate = [GREEK, b"\xed\xa0\x80edited"].concat();
    let middle = b"middle frame payload";
    let mut cases = vec![
        good("6.1.1", whole(b""), Cut::Nowhere, text(b"")),
        good("6.1.2", vec![frame(TEXT, b""), frame(0, b""), frame(FIN, b"")], Cut::Nowhere, text(b"")),
        good("6.1.3", vec![frame(TEXT, b""), frame(0, middle), frame(FIN, b"")], Cut::Nowhere, text(middle)),
        good("6.2.1", whole(HELLO), Cut::Nowhere, text(HELLO)),
        good("6.2.2", vec![frame(TEXT, &HELLO[..8]), frame(FIN, &HELLO[8..])], Cut::Nowhere, text(HELLO)),
        good("6.2.3", fragments(TEXT, HELLO, 1), Cut::Nowhere, text(HELLO)),
        good("6.2.4", fragments(TEXT, GREEK, 1), Cut::Nowhere, text(GREEK)),
        bad("6.3.1", whole(&surrogate), Cut::Nowhere, vec![], INVALID_TEXT),
        bad("6.3.2", fragments(TEXT, &surrogate, 1), Cut::Nowhere, vec![], INVALID_TEXT),
    ];
    // Whoever waits for the end of these messages waits for ever: they are refused at the byte that is wrong.
    let beyond = [GREEK, b"\xf4\x90\x80\x80"].concat();
    let parts = |last: usize| vec![frame(TEXT, GREEK), frame(0, &beyond[GREEK.len()..last])];
    cases.push(bad("6.4.1", parts(beyond.len()), Cut::Frames, vec![], INVALID_TEXT));
    cases.push(bad("6.4.2", parts(GREEK.len() + 2), Cut::Frames, vec![], INVALID_TEXT));
    let endless = |length: usize| vec![frame(FIN | TEXT, &beyond)[..6 + length].to_vec()];
    cases.push(bad("6.4.3", endless(GREEK.len() + 4), OCTETS, vec![], INVALID_TEXT));
    cases.push(bad("6.4.4", endless(GREEK.len() + 2), OCTETS, vec![], INVALID_TEXT));
    for (section, samples) in samples() {
        for (at, sample) in samples.into_iter().enumerate() {
            let number = format!("6.{section}.{}", at + 1);
            cases.push(match std::str::from_utf8(&sample) {
                Ok(_) => good(number, whole(&sample), Cut::Nowhere, text(&sample)),
                Err(_) => bad(number, whole(&sample), Cut::Nowhere, vec![], INVALID_TEXT),
            });
        }
    }
    cases
}

/// Sections 6.5 to 6.23, which follow Markus Kuhn's stress test of decoders.
fn samples() -> Vec<(u8, Vec<Vec<u8>>)> {
    let hex = |list: &str| list.split(' ').map(from_hex).collect::<Vec<_>>();
    let continuations: Vec<u8> = (0x80..=0xbf).collect();
    let alternating = |count: usize| [0x80, 0xbf].into_iter().cycle().take(count).collect::<Vec<u8>>();
    let lonely = |range: std::ops::RangeInclusive<u8>| range.flat_map(|start| [start, b' ']).collect::<Vec<u8>>();
    let incomplete = "c0 e080 f08080 f8808080 fc80808080 df efbf f7bfbf fbbfbfbf fdbfbfbfbf";
    let planes = (0..=16_u32).flat_map(|plane| [plane << 16 | 0xfffe, plane << 16 | 0xffff]);
    let noncharacters = planes.map(|code| char::from_u32(code).expect("no surrogate").to_string().into_bytes());
    vec![
        (5, ["\u{fffd}a", "\u{1f600}", "\u{e9}\u{e9}", "κόσμε", "\u{10ffff}x"].map(|text| text.into()).into()),
        (6, (1..=GREEK.len()).map(|end| GREEK[..end].to_vec()).collect()),
        (7, hex("00 c280 e0a080 f0908080")),
        (8, hex("f888808080 fc8480808080")),
        (9, hex("7f dfbf efbfbf f48fbfbf")),
        (10, hex("f7bfbfbf fbbfbfbfbf fdbfbfbfbfbf")),
        (11, hex("ed9fbf ee8080 efbfbd f48fbfbf f4908080")),
        (12, [vec![vec![0x80], vec![0xbf]], (2..=6).map(alternating).collect(), vec![continuations]].concat()),
        (
            13,
            vec![
                lonely(0xc0..=0xdf),
                lonely(0xe0..=0xef),
                lonely(0xf0..=0xf7),
                lonely(0xf8..=0xfb),
                lonely(0xfc..=0xfd),
            ],
        ),
        (14, hex(incomplete)),
        (15, vec![from_hex(&incomplete.replace(' ', ""))]),
        (16, hex("fe ff fefeffff")),
        (17, hex("c0af e080af f08080af f8808080af fc80808080af")),
        (18, hex("c1bf e09fbf f08fbfbf f887bfbfbf fc83bfbfbfbf")),
        (19, hex("c080 e08080 f0808080 f880808080 fc8080808080")),
        (20, hex("eda080 edadbf edae80 edafbf edb080 edbe80 edbfbf")),
        (
            21,
            hex("eda080edb080 eda080edbfbf edadbfedb080 edadbfedbfbf edae80edb080 edae80edbfbf edafbfedb080 \
                 edafbfedbfbf"),
        ),
        (22, noncharacters.collect()),
        (23, hex("efbfb9 efbfba efbfbb efbfbc efbfbd efbfbe efbfbf")),
    ]
}

fn closing() -> Vec<Case> {
    let hello = || frame(FIN | TEXT, b"Hello World!");
    let echo = || Text(b"Hello World!".to_vec());
    let normal = || frame(FIN | CLOSE, &1000_u16.to_be_bytes());
    let large = vec![b'*'; 256 << 10];
    let ends = |number: &str, frames: Vec<Vec<u8>>, expected: Vec<Heard>| Case {
        number: number.to_owned(),
        frames,
        cut: Cut::Nowhere,
        expected,
    };
    let closed = |number: String, payload: &[u8], expected| Case {
        number,
        frames: vec![frame(FIN | CLOSE, payload)],
        cut: Cut::Nowhere,
        expected: vec![expected],
    };
    let with = |reason: &[u8]| [&1000_u16.to_be_bytes()[..], reason].concat();
    let done = || Close(Some(1000));
    let mut cases = vec![
        ends("7.1.1", vec![hello(), normal()], vec![echo(), done()]),
        ends("7.1.2", vec![normal(), normal()], vec![done()]),
        ends("7.1.3", vec![normal(), frame(FIN | PING, b"")], vec![done()]),
        ends("7.1.4", vec![normal(), hello()], vec![done()]),
        ends("7.1.5", vec![frame(TEXT, b"fragment1"), normal(), frame(FIN, b"fragment2")], vec![done()]),
        ends(
            "7.1.6",
            vec![frame(FIN | TEXT, &large), hello(), normal(), frame(FIN | PING, b"")],
            vec![Text(large.clone()), echo(), done()],
        ),
        closed("7.3.1".to_owned(), b"", Close(None)),
        closed("7.3.2".to_owned(), b"a", PROTOCOL_ERROR),
        closed("7.3.3".to_owned(), &with(b""), done()),
        closed("7.3.4".to_owned(), &with(b"Hello World!"), done()),
        closed("7.3.5".to_owned(), &with(&[b'*'; 123]), done()),
        closed("7.3.6".to_owned(), &with(&[b'*'; 124]), PROTOCOL_ERROR),
        closed("7.5.1".to_owned(), &with(b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"), INVALID_TEXT),
    ];
    let good = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999_u16];
    let bad = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999_u16];
    for (at, code) in good.into_iter().enumerate() {
        cases.push(closed(format!("7.7.{}", at + 1), &code.to_be_bytes(), Close(Some(code))));
    }
    for (at, code) in bad.into_iter().enumerate() {
        cases.push(closed(format!("7.9.{}", at + 1), &code.to_be_bytes(), PROTOCOL_ERROR));
    }
    for (at, code) in [5000, 65_535_u16].into_iter().enumerate() {
        cases.push(closed(format!("7.13.{}", at + 1), &code.to_be_bytes(), PROTOCOL_ERROR));
    }
    cases
}

fn autofragment() -> Vec<Case> {
    let text = vec![b'*'; 65_536];
    vec![good("10.1.1", fragments(TEXT, &text, 1300), Cut::Nowhere, vec![Text(text)])]
}

// --- making cases

/// One that the server has nothing against: the client closes in the end.
fn good(number: impl Into<String>, mut frames: Vec<Vec<u8>>, cut: Cut, mut expected: Vec<Heard>) -> Case {
    frames.push(frame(FIN | CLOSE, &1000_u16.to_be_bytes()));
    expected.push(Close(Some(1000)));
    Case { number: number.into(), frames, cut, expected }
}

/// One at which the server closes, after what it has said before.
fn bad(number: impl Into<String>, frames: Vec<Vec<u8>>, cut: Cut, mut before: Vec<Heard>, end: Heard) -> Case {
    before.push(end);
    Case { number: number.into(), frames, cut, expected: before }
}

/// A frame as clients send it, masked.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length @ ..=125) => frame.push(0x80 | length.to_be_bytes()[1]),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend(u64::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A message in fragments of so many bytes.
fn fragments(opcode: u8, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = payload.chunks(size).map(|part| frame(CONTINUATION, part)).collect();
    frames[0][0] |= opcode;
    frames.last_mut().unwrap()[0] |= FIN;
    frames
}

fn from_hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

// --- the client

/// Shakes hands, sends, and reads until the server closes.
fn ask(address: SocketAddr, case: &Case) -> Vec<Heard> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let handshake = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(handshake.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    match case.cut {
        Cut::Nowhere => stream.write_all(&case.frames.concat()).unwrap(),
        Cut::Frames => case.frames.iter().for_each(|frame| stream.write_all(frame).unwrap()),
        Cut::Every(size) => case.frames.concat().chunks(size).for_each(|piece| stream.write_all(piece).unwrap()),
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap_or_else(|error| panic!("{}: it does not close: {error}", case.number));
    read(&answer)
}

/// What stands in a server's frames: never masked, never in fragments, as short as can be.
fn read(mut bytes: &[u8]) -> Vec<Heard> {
    let mut heard = Vec::new();
    while let [first, length, rest @ ..] = bytes {
        let (length, rest) = match length {
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()), &rest[8..]),
            126 => (u64::from(u16::from_be_bytes(rest[..2].try_into().unwrap())), &rest[2..]),
            length => (u64::from(*length), rest),
        };
        let (payload, rest) = rest.split_at(usize::try_from(length).unwrap());
        heard.push(match first {
            0x81 => Text(payload.to_vec()),
            0x82 => Binary(payload.to_vec()),
            0x8a => Pong(payload.to_vec()),
            0x88 => Close(payload.first_chunk().map(|&code| u16::from_be_bytes(code))),
            _ => panic!("a frame that begins with {first:#x}"),
        });
        bytes = rest;
    }
    assert!(bytes.is_empty());
    heard
}

/// For a failure's message: no 64 KB of it.
fn told(heard: &[Heard]) -> String {
    let told = format!("{heard:?}");
    told.chars().take(500).collect()
}
