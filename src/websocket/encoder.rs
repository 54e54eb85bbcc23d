//! Frames, written out: each message in one, never masked (RFC 6455 section 5.1).

use super::{CONTROL_BYTES_MAX, CloseCode, Opcode};

/// Writes a message of text, which must be UTF-8.
pub fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    write(out, Opcode::Text, text);
}

/// Writes a message of bytes.
pub fn write_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    write(out, Opcode::Binary, bytes);
}

/// Writes a ping: the other end sends the payload back.
pub fn write_ping(out: &mut Vec<u8>, payload: &[u8]) {
    write_control(out, Opcode::Ping, payload);
}

/// Writes the answer to a ping, with its payload.
pub fn write_pong(out: &mut Vec<u8>, payload: &[u8]) {
    write_control(out, Opcode::Pong, payload);
}

/// Writes the last frame there is; `None` answers one that gave no code.
///
/// # Panics
/// If the code may not be sent or the reason is longer than 123 bytes.
pub fn write_close(out: &mut Vec<u8>, code: Option<CloseCode>, reason: &str) {
    let Some(code) = code else { return write_control(out, Opcode::Close, b"") };
    assert!(code.may_be_sent(), "close code {code} stands for what is not sent");
    let mut payload = code.0.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    write_control(out, Opcode::Close, &payload);
}

fn write_control(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    assert!(payload.len() <= CONTROL_BYTES_MAX, "a control frame is short");
    write(out, opcode, payload);
}

fn write(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    const FIN: u8 = 0x80;
    out.push(FIN | opcode.bits());
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => out.push(length),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_as_few_bytes_as_they_can() {
        for (length, head) in [
            (0, &b"\x81\x00"[..]),
            (125, b"\x81\x7d"),
            (126, b"\x81\x7e\x00\x7e"),
            (255, b"\x81\x7e\x00\xff"),
            (65_535, b"\x81\x7e\xff\xff"),
            (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ] {
            let mut out = Vec::new();
            write_text(&mut out, &vec![b'x'; length]);
            assert_eq!(&out[..head.len()], head, "{length}");
            assert_eq!(out.len(), head.len() + length);
        }
    }

    #[test]
    fn the_last_frame_says_why() {
        let mut out = Vec::new();
        write_close(&mut out, Some(CloseCode::GOING_AWAY), "bye");
        write_close(&mut out, None, "");
        assert_eq!(out, b"\x88\x05\x03\xe9bye\x88\x00");
    }
}
