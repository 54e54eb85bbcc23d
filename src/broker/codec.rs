//! RESP3, the protocol of Redis 7: commands to bytes, bytes to values.
//!
//! What comes is decoded by redis-protocol, which would begin anew at the start of a large reply with every read, follow nested
//! lists as deep as they go, and wait for ever for what is no RESP3. So [`Bounds`] looks first: it finds where a reply ends, goes
//! on where it was when more comes, and refuses what is too large, too deep or something else. The crate gets whole replies.
//!
//! <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use redis_protocol::resp3::decode::complete::decode_range;
use redis_protocol::resp3::types::RangeFrame;

use super::Value;
use crate::buffer::Buffer;
use crate::decimal;

/// Bytes of one reply: twice what a client that is taken over with a thousand full channels brings along.
pub(super) const REPLY_BYTES_MAX: usize = 64 << 20;

/// Values in one reply. The crate takes some 100 bytes for each while it decodes.
const VALUES_MAX: usize = 1 << 20;

/// Lists within lists: a stream's entries are three deep, and our own functions answer little more.
const DEPTH_MAX: usize = 16;

/// Bytes of a line, which is a number, or an error with the name of what was wrong.
const LINE_MAX: usize = 64 << 10;

/// What Redis says.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    /// The answer to what was asked first of what is not answered.
    Reply(Value),
    /// What was not asked for.
    Push(Vec<Value>),
}

/// Why what came cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Junk {
    /// It is no RESP3.
    Malformed,
    /// It is larger, has more values or is deeper than the limits.
    TooLarge,
}

/// Bytes to frames.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bytes: Buffer,
    bounds: Bounds,
}

impl Decoder {
    /// More bytes have come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.push(bytes);
    }

    /// The next frame, if it is whole.
    ///
    /// # Errors
    /// What came is nothing that could be answered; there will be no frame after it.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, Junk> {
        if !self.bounds.go_on(self.bytes.bytes())? {
            return Ok(None);
        }
        let end = self.bounds.at;
        let bytes = &self.bytes.bytes()[..end];
        let frame = match decode_range(bytes) {
            Ok(Some((RangeFrame::Push { data, .. }, used))) if used == end => {
                Frame::Push(data.iter().map(|one| value(bytes, one)).collect())
            }
            Ok(Some((frame, used))) if used == end => Frame::Reply(value(bytes, &frame)),
            _ => return Err(Junk::Malformed),
        };
        self.bytes.consume(end);
        self.bounds = Bounds::default();
        Ok(Some(frame))
    }

    /// What there is and was not decoded.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.bytes()
    }
}

/// How far a reply has come.
#[derive(Debug, Default)]
struct Bounds {
    /// Bytes that were looked at, all of one reply.
    at: usize,
    /// As many of them need not be searched again for the end of the line.
    searched: usize,
    /// The bytes of a text, with its end, that are to come before the next line.
    skip: usize,
    /// How many values the lists that are open still want, the outermost first.
    open: [usize; DEPTH_MAX],
    depth: usize,
    values: usize,
}

impl Bounds {
    /// Looks at what has come since, and says whether the reply is whole: then it ends at `at`.
    fn go_on(&mut self, bytes: &[u8]) -> Result<bool, Junk> {
        loop {
            if self.skip > 0 {
                let end = self.at + self.skip;
                let Some(text) = bytes.get(self.at..end) else { return Ok(false) };
                if !text.ends_with(b"\r\n") {
                    return Err(Junk::Malformed);
                }
                (self.at, self.skip) = (end, 0);
                if self.close() {
                    return Ok(true);
                }
            }
            let Some(line) = self.line(bytes)? else { return Ok(false) };
            if self.begin(line)? {
                return Ok(true);
            }
        }
    }

    /// The next line without its end.
    fn line<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, Junk> {
        let from = self.at + self.searched;
        if let Some(kind) = bytes.get(self.at)
            && !b"+-:,#_($!=*~%>|".contains(kind)
        {
            return Err(Junk::Malformed);
        }
        let Some(found) = memchr::memmem::find(&bytes[from.min(bytes.len())..], b"\r\n") else {
            // The last byte may be the first half of the end.
            self.searched = (bytes.len() - self.at).saturating_sub(1);
            return if self.searched > LINE_MAX { Err(Junk::TooLarge) } else { Ok(None) };
        };
        let line = &bytes[self.at..from + found];
        self.at = from + found + 2;
        self.searched = 0;
        Ok(Some(line))
    }

    /// A value begins with this line. Says whether the reply ends with it.
    fn begin(&mut self, line: &[u8]) -> Result<bool, Junk> {
        let (kind, rest) = line.split_first().ok_or(Junk::Malformed)?;
        self.values += 1;
        if self.values > VALUES_MAX || self.at > REPLY_BYTES_MAX {
            return Err(Junk::TooLarge);
        }
        let wanted = match kind {
            b'+' | b'-' | b':' | b',' | b'#' | b'_' | b'(' => 0,
            b'$' | b'!' | b'=' => {
                let length = number(rest)?;
                if length > REPLY_BYTES_MAX - self.at {
                    return Err(Junk::TooLarge);
                }
                self.skip = length + 2;
                return Ok(false);
            }
            b'*' | b'~' => number(rest)?,
            b'>' if self.depth == 0 => number(rest)?,
            b'%' => number(rest)?.saturating_mul(2),
            // Attributes stand before the value that they are of.
            b'|' => number(rest)?.saturating_mul(2).saturating_add(1),
            _ => return Err(Junk::Malformed),
        };
        if wanted == 0 {
            return Ok(self.close());
        }
        if wanted > VALUES_MAX || self.depth == DEPTH_MAX {
            return Err(Junk::TooLarge);
        }
        self.open[self.depth] = wanted;
        self.depth += 1;
        Ok(false)
    }

    /// A value is whole, and so may be the lists around it. Says whether the reply is.
    fn close(&mut self) -> bool {
        while let Some(open) = self.depth.checked_sub(1) {
            self.open[open] -= 1;
            if self.open[open] > 0 {
                return false;
            }
            self.depth = open;
        }
        true
    }
}

/// A length. Those that are not known at the beginning (`?`) Redis does not use.
fn number(digits: &[u8]) -> Result<usize, Junk> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_number).ok_or(Junk::Malformed)?;
    text.parse().map_err(|_| Junk::TooLarge)
}

/// As deep as [`DEPTH_MAX`].
fn value(bytes: &[u8], frame: &RangeFrame) -> Value {
    let text = |&(from, to): &(usize, usize)| Value::Text(bytes[from..to].into());
    let error = |&(from, to): &(usize, usize)| Value::Error(String::from_utf8_lossy(&bytes[from..to]).into());
    match frame {
        RangeFrame::BlobString { data, .. }
        | RangeFrame::SimpleString { data, .. }
        | RangeFrame::BigNumber { data, .. }
        | RangeFrame::VerbatimString { data, .. }
        | RangeFrame::ChunkedString(data) => text(data),
        RangeFrame::BlobError { data, .. } | RangeFrame::SimpleError { data, .. } => error(data),
        RangeFrame::Boolean { data, .. } => Value::Int(i64::from(*data)),
        RangeFrame::Number { data, .. } => Value::Int(*data),
        RangeFrame::Double { data, .. } => Value::Text(data.to_string().into_bytes().into()),
        RangeFrame::Null | RangeFrame::Hello { .. } => Value::Null,
        RangeFrame::Array { data, .. } | RangeFrame::Push { data, .. } => {
            Value::List(data.iter().map(|one| value(bytes, one)).collect())
        }
        // The library's are tables whose order is another each time.
        RangeFrame::Set { data, .. } => {
            let mut ones: Vec<Value> = data.iter().map(|one| value(bytes, one)).collect();
            ones.sort_unstable();
            Value::List(ones)
        }
        RangeFrame::Map { data, .. } => {
            let mut pairs: Vec<[Value; 2]> =
                data.iter().map(|(key, of)| [value(bytes, key), value(bytes, of)]).collect();
            pairs.sort_unstable();
            Value::List(pairs.into_iter().flatten().collect())
        }
    }
}

/// Writes a command: a list of texts.
pub(super) fn write_command<'p>(out: &mut Vec<u8>, parts: impl ExactSizeIterator<Item = &'p [u8]>) {
    let head = |out: &mut Vec<u8>, kind, number: usize| {
        out.push(kind);
        decimal::write(out, number as u64);
        out.extend_from_slice(b"\r\n");
    };
    head(out, b'*', parts.len());
    for part in parts {
        head(out, b'$', part.len());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.as_bytes().into())
    }

    /// All frames of bytes that come in pieces of these sizes, and how it ends.
    fn decoded(bytes: &[u8], sizes: &mut dyn Iterator<Item = usize>) -> (Vec<Frame>, Result<usize, Junk>) {
        let (mut decoder, mut frames, mut rest) = (Decoder::default(), Vec::new(), bytes);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) if rest.is_empty() => return (frames, Ok(decoder.rest().len())),
                Ok(None) => {
                    let (piece, behind) = rest.split_at(sizes.next().unwrap_or(usize::MAX).clamp(1, rest.len()));
                    decoder.push(piece);
                    rest = behind;
                }
                Err(junk) => return (frames, Err(junk)),
            }
        }
    }

    fn one(bytes: &[u8]) -> Value {
        match decoded(bytes, &mut std::iter::empty()) {
            (mut frames, Ok(0)) if frames.len() == 1 => match frames.remove(0) {
                Frame::Reply(value) => value,
                push @ Frame::Push(_) => panic!("{push:?}"),
            },
            other => panic!("{}: {other:?}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn every_kind_of_value_is_read() {
        for (bytes, value) in [
            (&b"+OK\r\n"[..], text("OK")),
            (b"-ERR no\r\n", Value::Error("ERR no".into())),
            (b":-42\r\n", Value::Int(-42)),
            (b",1.5\r\n", text("1.5")),
            (b"#t\r\n", Value::Int(1)),
            (b"#f\r\n", Value::Int(0)),
            (b"_\r\n", Value::Null),
            (b"(12345678901234567890123\r\n", text("12345678901234567890123")),
            (b"$0\r\n\r\n", text("")),
            (b"$4\r\n\r\n\r\n\r\n", text("\r\n\r\n")),
            (b"!6\r\nERR no\r\n", Value::Error("ERR no".into())),
            (b"=8\r\ntxt:text\r\n", text("text")),
            (b"*0\r\n", Value::List(vec![])),
            (b"*2\r\n:1\r\n*1\r\n_\r\n", Value::List(vec![Value::Int(1), Value::List(vec![Value::Null])])),
            (b"~1\r\n:1\r\n", Value::List(vec![Value::Int(1)])),
            (b"%1\r\n+a\r\n:1\r\n", Value::List(vec![text("a"), Value::Int(1)])),
            (b"|1\r\n+ttl\r\n:1\r\n:2\r\n", Value::Int(2)),
            (b"*1\r\n|1\r\n+ttl\r\n:1\r\n:2\r\n", Value::List(vec![Value::Int(2)])),
        ] {
            assert_eq!(one(bytes), value, "{}", String::from_utf8_lossy(bytes));
        }
        let push = decoded(b">2\r\n+a\r\n$1\r\nb\r\n", &mut std::iter::empty());
        assert_eq!(push, (vec![Frame::Push(vec![text("a"), text("b")])], Ok(0)));
    }

    #[test]
    fn what_has_no_order_is_the_same_each_time() {
        let numbers: String = (0..20).rev().map(|number| format!(":{number}\r\n")).collect();
        let sorted = Value::List((0..20).map(Value::Int).collect());
        assert_eq!(one(format!("~20\r\n{numbers}").as_bytes()), sorted);
        let pairs: String = (0..20).rev().step_by(2).map(|odd| format!(":{}\r\n:{odd}\r\n", odd - 1)).collect();
        assert_eq!(one(format!("%10\r\n{pairs}").as_bytes()), sorted);
    }

    #[test]
    fn what_is_no_resp3_or_too_much_is_refused_before_it_is_kept() {
        let deep = "*1\r\n".repeat(DEPTH_MAX + 1);
        let long = format!("+{}", "x".repeat(LINE_MAX + 2));
        for (bytes, junk) in [
            ("H", Junk::Malformed),
            ("HTTP/1.1 400 Bad Request\r\n", Junk::Malformed),
            ("\r\n", Junk::Malformed),
            ("$-1\r\n", Junk::Malformed),
            ("$?\r\n", Junk::Malformed),
            ("*?\r\n", Junk::Malformed),
            ("$\r\n", Junk::Malformed),
            ("$+1\r\n", Junk::Malformed),
            ("$1\r\nabc", Junk::Malformed),
            (":x\r\n", Junk::Malformed),
            ("#x\r\n", Junk::Malformed),
            ("=3\r\nabc\r\n", Junk::Malformed),
            ("*1\r\n>1\r\n", Junk::Malformed),
            ("%1\r\n*0\r\n:1\r\n", Junk::Malformed),
            ("$67108865\r\n", Junk::TooLarge),
            ("$99999999999999999999999\r\n", Junk::TooLarge),
            ("*1048577\r\n", Junk::TooLarge),
            ("%9223372036854775807\r\n", Junk::TooLarge),
            ("|18446744073709551615\r\n", Junk::TooLarge),
            (&deep, Junk::TooLarge),
            (&long, Junk::TooLarge),
        ] {
            assert_eq!(decoded(bytes.as_bytes(), &mut std::iter::empty()), (vec![], Err(junk)), "{bytes}");
        }
        let wide = format!("*2\r\n*1048574\r\n{}*9\r\n{}", "_\r\n".repeat(1_048_574), "_\r\n".repeat(9));
        assert_eq!(decoded(wide.as_bytes(), &mut std::iter::empty()).1, Err(Junk::TooLarge));
    }

    /// Byte by byte it would take minutes if each began anew.
    #[test]
    fn a_large_reply_is_looked_at_once() {
        let count = 5_000;
        let bytes = format!("*{count}\r\n{}", "$3\r\nabc\r\n".repeat(count));
        let (frames, end) = decoded(bytes.as_bytes(), &mut std::iter::repeat(1));
        assert_eq!(end, Ok(0));
        assert_eq!(frames, [Frame::Reply(Value::List(vec![text("abc"); count]))]);
    }

    #[test]
    fn commands_are_lists_of_texts() {
        let mut out = Vec::new();
        write_command(&mut out, [&b"GET"[..], b"", b"a\r\nb"].into_iter());
        assert_eq!(out, b"*3\r\n$3\r\nGET\r\n$0\r\n\r\n$4\r\na\r\nb\r\n");
        assert_eq!(one(&out), Value::List(vec![text("GET"), text(""), text("a\r\nb")]));
    }

    fn written(value: &Value) -> Vec<u8> {
        match value {
            Value::Null => b"_\r\n".to_vec(),
            Value::Int(number) => format!(":{number}\r\n").into_bytes(),
            Value::Text(bytes) => [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat(),
            Value::Error(error) => format!("!{}\r\n{error}\r\n", error.len()).into_bytes(),
            Value::List(list) => {
                let mut bytes = format!("*{}\r\n", list.len()).into_bytes();
                bytes.extend(list.iter().flat_map(written));
                bytes
            }
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::Int),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Value::Text(bytes.into())),
            "[ -~é]{0,20}".prop_map(|error| Value::Error(error.into())),
        ];
        leaf.prop_recursive(5, 40, 8, |inner| prop::collection::vec(inner, 0..8).prop_map(Value::List))
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_however_it_is_split(
            values in prop::collection::vec(values(), 1..5),
            sizes in prop::collection::vec(1_usize..20, 1..10),
        ) {
            let bytes: Vec<u8> = values.iter().flat_map(written).collect();
            let (frames, end) = decoded(&bytes, &mut sizes.into_iter().cycle());
            prop_assert_eq!(end, Ok(0));
            prop_assert_eq!(frames, values.into_iter().map(Frame::Reply).collect::<Vec<_>>());
        }

        /// What is nearly RESP3 is read in the same way however it is split, and never panics.
        #[test]
        fn junk_is_junk_however_it_is_split(
            parts in prop::collection::vec(prop::sample::select(vec![
                "+", "-", ":", ",", "#", "_", "(", "$", "!", "=", "*", "~1\r\n", ">", "|", "\r\n", "\r", "\n", "0", "1", "2", "3",
                "t", "txt:", "HELLO 3", "?", ".", ";", "é", "-1", "$1\r\na\r\n", "*2\r\n", "%1\r\n", ":1\r\n", "_\r\n", "9999",
            ]), 0..30),
            sizes in prop::collection::vec(1_usize..5, 1..10),
        ) {
            let bytes = parts.concat();
            let whole = decoded(bytes.as_bytes(), &mut std::iter::empty());
            let split = decoded(bytes.as_bytes(), &mut sizes.into_iter().cycle());
            prop_assert_eq!(whole, split);
        }
    }
}
