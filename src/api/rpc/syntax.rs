//! Whether a text is JSON, found out piece by piece.
//!
//! A body of some MiB takes a parser some ms, in which nobody else is served. [`Checker`] reads as far as it is told and
//! goes on there the next time, byte by byte, with nothing but a state and one bit for each open list or object. What it
//! accepts is JSON as RFC 8259 has it, in UTF-8, and not nested deeper than [`DEPTH_MAX`]; halves of surrogate pairs, which
//! stand in escapes, are not its concern.
//!
//! On its way it writes down where the long values of the outer levels end, so that whoever takes the text apart afterwards
//! jumps over them.

use crate::run::run_of;

/// A walk through a text that is to be JSON.
#[derive(Debug, Default)]
pub(super) struct Checker {
    /// All before this place is read.
    at: usize,
    state: State,
    nesting: Nesting,
    /// Where the open lists and objects of the outer levels begin.
    open: [usize; LEVELS],
    /// Where the string begins that is being read.
    string: usize,
    long: Vec<(usize, usize)>,
    commas: usize,
}

/// What is wrong with a text, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub(super) at: usize,
    pub(super) what: Wrong,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// This should stand there.
    Wanted(&'static str),
    /// One list or object more begins there within [`DEPTH_MAX`] others.
    TooDeep,
}

/// How deep lists and objects may be nested in a body: the call, its parameters and a message of them are three. (RFC 8259
/// section 9 leaves it to us. Who parses the message after us may do it with recursion.)
pub(super) const DEPTH_MAX: usize = 64;

/// Values that are shorter are looked through once more by who takes the text apart, at some 500 ns each.
const LONG: usize = 512;

/// How deep such values are looked for: batch, call, arguments, channels, clients, a client, and some more.
const LEVELS: usize = 8;

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// A value begins here...
    #[default]
    Value,
    /// ...or the list ends.
    ValueOrEnd,
    /// A name begins here...
    Name,
    /// ...or the object ends.
    NameOrEnd,
    Colon,
    /// A value has ended.
    Over,
    /// Within a string, which may be a name.
    String(IsName),
    Escape(IsName),
    /// So many hexadecimal digits are still to come.
    Hex(u8, IsName),
    /// So many bytes of a character are still to come, the next of them between these two.
    Utf8(u8, u8, u8, IsName),
    /// `true`, `false` or `null`, of which this is still to come.
    Word(&'static [u8]),
    Number(Digits),
}

type IsName = bool;

/// How far a number has come.
#[derive(Clone, Copy, Debug)]
enum Digits {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    PowerSign,
    Power,
}

impl Checker {
    /// A checker of a text that begins at that place.
    pub(super) fn at_place(at: usize) -> Checker {
        Checker { at, ..Checker::default() }
    }

    /// Reads on, as far as `end` at most.
    pub(super) fn read(&mut self, text: &[u8], end: usize) -> Result<(), Malformed> {
        while self.at < end {
            if let State::String(_) = self.state {
                // Most of a text is the insides of strings.
                self.at += run_of(&text[self.at..end], is_plain);
                if self.at == end {
                    break;
                }
            }
            if let State::Word(rest) = self.state
                && text[self.at..end].starts_with(rest)
            {
                self.at += rest.len();
                self.state = State::Over;
                continue;
            }
            self.state = self.next(text[self.at]).map_err(|what| Malformed { at: self.at, what })?;
            self.at += 1;
        }
        Ok(())
    }

    /// The text ends here. Gives the places of long values: where each begins and ends, in order.
    pub(super) fn finish(&mut self) -> Result<Vec<(usize, usize)>, Malformed> {
        let is_over = match self.state {
            State::Over => true,
            State::Number(digits) => digits.may_end(),
            _ => false,
        };
        if !is_over || self.nesting.depth > 0 {
            return Err(Malformed { at: self.at, what: Wrong::Wanted("more of it") });
        }
        Ok(std::mem::take(&mut self.long))
    }

    /// How far it has come.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// How many commas there are on the outermost level: a list has at most one element more.
    pub(super) fn commas(&self) -> usize {
        self.commas
    }

    /// Takes one byte.
    fn next(&mut self, byte: u8) -> Result<State, Wrong> {
        match self.state {
            State::Value | State::ValueOrEnd | State::Name | State::NameOrEnd | State::Colon | State::Over
                if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') =>
            {
                Ok(self.state)
            }
            State::ValueOrEnd if byte == b']' => Ok(self.close()),
            State::Value | State::ValueOrEnd => self.begin_value(byte),
            State::NameOrEnd if byte == b'}' => Ok(self.close()),
            State::Name | State::NameOrEnd if byte == b'"' => Ok(self.begin_string(true)),
            State::Name | State::NameOrEnd => Err(Wrong::Wanted("a name in quotes")),
            State::Colon if byte == b':' => Ok(State::Value),
            State::Colon => Err(Wrong::Wanted("a colon")),
            State::Over => self.after_value(byte),
            State::String(is_name) => self.string_byte(byte, is_name),
            State::Escape(is_name) => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(State::String(is_name)),
                b'u' => Ok(State::Hex(4, is_name)),
                _ => Err(Wrong::Wanted("a character that can be escaped")),
            },
            State::Hex(left, is_name) if byte.is_ascii_hexdigit() => {
                Ok(if left > 1 { State::Hex(left - 1, is_name) } else { State::String(is_name) })
            }
            State::Hex(..) => Err(Wrong::Wanted("four hexadecimal digits")),
            State::Utf8(left, low, high, is_name) if (low..=high).contains(&byte) => {
                Ok(if left > 1 { State::Utf8(left - 1, 0x80, 0xbf, is_name) } else { State::String(is_name) })
            }
            State::Utf8(..) => Err(Wrong::Wanted(NO_UTF8)),
            State::Word(rest) if rest[0] == byte => Ok(match &rest[1..] {
                [] => State::Over,
                rest => State::Word(rest),
            }),
            State::Word(_) => Err(Wrong::Wanted("true, false or null")),
            State::Number(digits) => match digits.next(byte) {
                Some(digits) => Ok(State::Number(digits)),
                // Only the byte behind a number tells that it has ended.
                None if digits.may_end() => self.after_value(byte),
                None => Err(Wrong::Wanted("a digit")),
            },
        }
    }

    fn begin_value(&mut self, byte: u8) -> Result<State, Wrong> {
        Ok(match byte {
            b'{' | b'[' => {
                let depth = self.nesting.depth;
                if depth == DEPTH_MAX {
                    return Err(Wrong::TooDeep);
                }
                if depth < LEVELS {
                    self.open[depth] = self.at;
                }
                self.nesting.push(byte == b'{');
                if byte == b'{' { State::NameOrEnd } else { State::ValueOrEnd }
            }
            b'"' => self.begin_string(false),
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            b'-' => State::Number(Digits::Minus),
            b'0' => State::Number(Digits::Zero),
            b'1'..=b'9' => State::Number(Digits::Whole),
            _ => return Err(Wrong::Wanted("a value")),
        })
    }

    fn begin_string(&mut self, is_name: bool) -> State {
        self.string = self.at;
        State::String(is_name)
    }

    fn string_byte(&mut self, byte: u8, is_name: bool) -> Result<State, Wrong> {
        // RFC 3629: no surrogates, nothing longer than needed, nothing beyond U+10FFFF.
        Ok(match byte {
            b'"' => {
                self.note_long(self.nesting.depth, self.string);
                if is_name { State::Colon } else { State::Over }
            }
            b'\\' => State::Escape(is_name),
            0..=0x1f => return Err(Wrong::Wanted("an escape in place of a control character")),
            0x20..=0x7f => State::String(is_name),
            0xc2..=0xdf => State::Utf8(1, 0x80, 0xbf, is_name),
            0xe0 => State::Utf8(2, 0xa0, 0xbf, is_name),
            0xed => State::Utf8(2, 0x80, 0x9f, is_name),
            0xe1..=0xef => State::Utf8(2, 0x80, 0xbf, is_name),
            0xf0 => State::Utf8(3, 0x90, 0xbf, is_name),
            0xf1..=0xf3 => State::Utf8(3, 0x80, 0xbf, is_name),
            0xf4 => State::Utf8(3, 0x80, 0x8f, is_name),
            0x80..=0xc1 | 0xf5..=0xff => return Err(Wrong::Wanted(NO_UTF8)),
        })
    }

    fn after_value(&mut self, byte: u8) -> Result<State, Wrong> {
        match (self.nesting.inner(), byte) {
            (_, b' ' | b'\t' | b'\n' | b'\r') => Ok(State::Over),
            (None, _) => Err(Wrong::Wanted("nothing behind the value")),
            (Some(is_object), b',') => {
                self.commas += usize::from(self.nesting.depth == 1);
                Ok(if is_object { State::Name } else { State::Value })
            }
            (Some(true), b'}') | (Some(false), b']') => Ok(self.close()),
            (Some(true), _) => Err(Wrong::Wanted("a comma or }")),
            (Some(false), _) => Err(Wrong::Wanted("a comma or ]")),
        }
    }

    /// The innermost list or object ends.
    fn close(&mut self) -> State {
        self.nesting.pop();
        let depth = self.nesting.depth;
        if depth < LEVELS {
            self.note_long(depth, self.open[depth]);
        }
        State::Over
    }

    /// A value ends here that began at `start`.
    fn note_long(&mut self, depth: usize, start: usize) {
        let end = self.at + 1;
        if depth < LEVELS && end - start >= LONG {
            // Those within have ended before: it comes before them.
            let place = self.long.partition_point(|&(other, _)| other < start);
            self.long.insert(place, (start, end));
        }
    }
}

impl Digits {
    fn next(self, byte: u8) -> Option<Digits> {
        match (self, byte) {
            (Digits::Minus, b'0') => Some(Digits::Zero),
            (Digits::Minus, b'1'..=b'9') | (Digits::Whole, b'0'..=b'9') => Some(Digits::Whole),
            (Digits::Zero | Digits::Whole, b'.') => Some(Digits::Point),
            (Digits::Point | Digits::Fraction, b'0'..=b'9') => Some(Digits::Fraction),
            (Digits::Zero | Digits::Whole | Digits::Fraction, b'e' | b'E') => Some(Digits::Exponent),
            (Digits::Exponent, b'+' | b'-') => Some(Digits::PowerSign),
            (Digits::Exponent | Digits::PowerSign | Digits::Power, b'0'..=b'9') => Some(Digits::Power),
            _ => None,
        }
    }

    fn may_end(self) -> bool {
        matches!(self, Digits::Zero | Digits::Whole | Digits::Fraction | Digits::Power)
    }
}

const NO_UTF8: &str = "UTF-8";

fn is_plain(byte: u8) -> bool {
    // Not `&&`, so that many bytes are looked at at a time.
    (0x20..=0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\')
}

/// Which of the open lists and objects are objects: a bit each.
#[derive(Debug, Default)]
struct Nesting {
    bits: u64,
    depth: usize,
}

const _: () = assert!(DEPTH_MAX <= u64::BITS as usize, "each open list or object has its bit");

impl Nesting {
    fn push(&mut self, is_object: bool) {
        self.bits = self.bits << 1 | u64::from(is_object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.bits >>= 1;
        self.depth -= 1;
    }

    /// Whether the innermost is an object; `None` outside of all.
    fn inner(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    /// Reads `text` in pieces of so many bytes.
    fn check(text: &[u8], piece: usize) -> Result<Vec<(usize, usize)>, Malformed> {
        let mut checker = Checker::default();
        while checker.at() < text.len() {
            checker.read(text, (checker.at() + piece).min(text.len()))?;
        }
        checker.finish()
    }

    fn is_json(text: &[u8]) -> bool {
        std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok())
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let wrong = |text: &str| check(text.as_bytes(), 3).unwrap_err();
        assert_eq!(wrong(""), Malformed { at: 0, what: Wrong::Wanted("more of it") });
        assert_eq!(wrong(r#"{"a" 1}"#), Malformed { at: 5, what: Wrong::Wanted("a colon") });
        assert_eq!(wrong("[1 2]"), Malformed { at: 3, what: Wrong::Wanted("a comma or ]") });
        assert_eq!(wrong("[] x"), Malformed { at: 3, what: Wrong::Wanted("nothing behind the value") });
        assert_eq!(check(b"\"\xff\"", 3).unwrap_err(), Malformed { at: 1, what: Wrong::Wanted("UTF-8") });
    }

    #[test]
    fn lists_and_objects_are_nested_64_deep_at_most() {
        for (levels, open, inner, close) in [(1, "[", "", "]"), (1, r#"{"a":"#, "1", "}"), (2, r#"[{"a":"#, "1", "}]")]
        {
            let nested = |times: usize| format!("{}{inner}{}", open.repeat(times), close.repeat(times));
            let most = DEPTH_MAX / levels;
            assert!(check(nested(most).as_bytes(), 7).is_ok(), "{open}");
            let too_deep = Malformed { at: most * open.len(), what: Wrong::TooDeep };
            assert_eq!(check(nested(most + 1).as_bytes(), 7), Err(too_deep), "{open}");
        }
        let wide = format!("[{}[]]", "[],".repeat(1000));
        assert!(check(wide.as_bytes(), 7).is_ok());
    }

    #[test]
    fn long_values_are_written_down_in_order() {
        let long = "x".repeat(LONG);
        let text = format!(r#"[{{"a": "{long}", "{long}": ["short", ["{long}"]]}}, 1]"#);
        let found = check(text.as_bytes(), 100).unwrap();
        assert!(found.is_sorted());
        let begins: Vec<&str> = found.iter().map(|&(start, end)| &text[start..end][..2]).collect();
        assert_eq!(begins, ["[{", r#"{""#, r#""x"#, r#""x"#, r#"[""#, r#"[""#, r#""x"#]);
        assert!(found.iter().all(|&(start, end)| is_json(&text.as_bytes()[start..end])));
    }

    #[test]
    fn commas_of_the_outermost_level_are_counted() {
        let mut checker = Checker::default();
        let text = br#"[[1, 2], {"a": 1, "b": 2}, "a,b"]"#;
        checker.read(text, text.len()).unwrap();
        assert_eq!(checker.commas(), 2);
    }

    proptest! {
        #[test]
        fn it_accepts_what_the_parser_accepts(pieces in prop::collection::vec(prop::sample::select(vec![
            &b"{"[..], b"}", b"[", b"]", b",", b":", b"\"a\"", b"\"", b"\\", b"\\u12aF", b"\\n", b"0", b"1", b"-", b".5",
            b"e", b"E+1", b"true", b"false", b"null", b"nul", b" ", b"\n", "é".as_bytes(), "😀".as_bytes(), b"\xed\xa0\x80",
            b"\xff", b"\x01", b"\xc3", b"\"\\ud83d\"", b"{\"a\":1}", b"[1,2]", b"\xf4\x90\x80\x80",
        ]), 0..8), piece in 1_usize..9) {
            let text = pieces.concat();
            prop_assert_eq!(check(&text, piece).is_ok(), is_json(&text), "{:?}", String::from_utf8_lossy(&text));
        }

        #[test]
        fn strings_of_any_bytes_too(inside in prop::collection::vec(any::<u8>(), 0..6), piece in 1_usize..9) {
            let text = [b"\"", &inside[..], b"\""].concat();
            prop_assert_eq!(check(&text, piece).is_ok(), is_json(&text));
        }

        #[test]
        fn numbers_too(text in "[-+.0-9eE]{0,6}", piece in 1_usize..9) {
            prop_assert_eq!(check(text.as_bytes(), piece).is_ok(), is_json(text.as_bytes()));
        }
    }
}
