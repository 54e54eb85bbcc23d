//! WebSocket frames, shown at once and byte by byte: both mean the same, and no message is above its limit.

use shaveet::websocket::{Decoder, Event, Limits, Step};

const LIMITS: Limits = Limits { frame_bytes: 300, message_bytes: 500 };

/// What came, and how it ended.
fn read(input: &[u8], piece: usize) -> Vec<String> {
    let (mut decoder, mut said) = (Decoder::default(), Vec::new());
    for mut rest in input.chunks(piece) {
        while !rest.is_empty() {
            match decoder.next(&LIMITS, rest) {
                Ok(Step::More) => break,
                Ok(Step::Event { event, used }) => {
                    if let Event::Binary(bytes) = &event {
                        assert!(bytes.len() <= LIMITS.message_bytes);
                    }
                    said.push(format!("{event:?}"));
                    rest = &rest[used..];
                }
                Err(error) => {
                    said.push(format!("{error:?}"));
                    return said;
                }
            }
        }
    }
    said
}

pub(crate) fn check(input: &[u8]) {
    assert_eq!(read(input, 1), read(input, usize::MAX));
}
