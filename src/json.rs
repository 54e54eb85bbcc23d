//! JSON text as this server writes it, and a mend for what it reads.
//!
//! **Written** is pure ASCII, for three reasons that were each somebody's bug once. The answer of a poll may be loaded as a
//! script by a page of any charset, and names none itself (WIRE P3). An old browser's `eval` takes U+2028 for the end of
//! a line, in the middle of a string. And where the text ends up in a page, `</script>` or `<!--` in a message must not
//! end the script: so `<` is written as `\u003c`, which is the same string to every parser. The rest is as Python's `json`
//! writes it, which the original server used.
//!
//! **Read** is whatever serde_json accepts, with one exception: half of a surrogate pair, which is what a cut-off emoji
//! gives, has no place in a Rust string, and serde_json refuses the whole text. The original took it (WIRE J14). So
//! [`mend_surrogates`] puts U+FFFD in its place, before the parser sees it.

use std::borrow::Cow;

use memchr::memchr;

use crate::run::run_of;

/// Appends `text` as a JSON string, with its quotes.
pub fn write_str(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape_fragment(out, text);
    out.push(b'"');
}

/// Appends JSON text that has been read and found to be well-formed: the same value in pure ASCII, without white space
/// between its parts. Everything else stays as it came, above all the digits of numbers (WIRE M8).
pub fn write_text(out: &mut Vec<u8>, json: &str) {
    let mut chars = json.chars();
    let mut in_string = false;
    while let Some(char) = chars.next() {
        match char {
            '"' => in_string = !in_string,
            ' ' | '\t' | '\n' | '\r' if !in_string => continue,
            '\\' => {
                out.push(b'\\');
                out.extend(chars.next().and_then(|escaped| u8::try_from(escaped).ok()));
                continue;
            }
            _ => {}
        }
        match u8::try_from(char) {
            Ok(byte) if is_plain(byte) || byte == b'"' => out.push(byte),
            _ => escape_char(out, char),
        }
    }
}

/// Appends `text` as the inside of a JSON string. A string may be composed of several fragments.
pub fn escape_fragment(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    // Most texts are one run of plain characters, and copied in one go.
    loop {
        let (run, tail) = rest.split_at(run_of(rest.as_bytes(), is_plain));
        out.extend_from_slice(run.as_bytes());
        rest = tail;
        // Whole words of most alphabets are not plain: one character after the other.
        while let Some(char) = rest.chars().next().filter(|&char| !u8::try_from(char).is_ok_and(is_plain)) {
            escape_char(out, char);
            rest = &rest[char.len_utf8()..];
        }
        if rest.is_empty() {
            return;
        }
    }
}

fn is_plain(byte: u8) -> bool {
    // Not `&&`, so that many bytes are looked at at a time.
    (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\') & (byte != b'<')
}

fn escape_char(out: &mut Vec<u8>, char: char) {
    let short = match char {
        '"' => b'"',
        '\\' => b'\\',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        '\x08' => b'b',
        '\x0c' => b'f',
        _ => {
            for unit in char.encode_utf16(&mut [0; 2]) {
                let digit = |shift: u32| HEX[usize::from(*unit >> shift & 0xf)];
                out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Puts `\ufffd` in the place of each lone half of a surrogate pair that is escaped in the JSON text (WIRE J14). All else
/// stays as it is, at its place; a text without such halves, as nearly all are, is borrowed.
///
/// It need not be valid JSON: the parser is asked afterwards.
pub fn mend_surrogates(json: &[u8]) -> Cow<'_, [u8]> {
    let mut mended = Cow::Borrowed(json);
    let mut at = 0;
    while let Some(distance) = memchr(b'\\', &json[at..]) {
        at += distance;
        if is_lone_half(json, at) {
            mended.to_mut()[at..at + ESCAPE_BYTES].copy_from_slice(REPLACEMENT);
        }
        at = behind_escape(json, at);
    }
    mended
}

/// The same for a part of a text, from `at` to `end` or a little further. Gives the place from where to go on.
pub fn mend_surrogates_until(json: &mut [u8], mut at: usize, end: usize) -> usize {
    while at < end {
        let Some(distance) = memchr(b'\\', &json[at..end]) else { return end };
        at += distance;
        let behind = behind_escape(json, at);
        if is_lone_half(json, at) {
            json[at..at + ESCAPE_BYTES].copy_from_slice(REPLACEMENT);
        }
        at = behind;
    }
    at
}

/// Whether the escape at `at` is half of a pair, and the other half is not there.
fn is_lone_half(json: &[u8], at: usize) -> bool {
    let is_half = matches!(escaped_unit(json, at), Some(0xd800..=0xdfff));
    is_half && behind_escape(json, at) == at + ESCAPE_BYTES
}

/// Behind the escape at `at`, or behind both if they are a pair. The character after a backslash belongs to it: the second
/// one of `\\` begins nothing.
fn behind_escape(json: &[u8], at: usize) -> usize {
    match (escaped_unit(json, at), escaped_unit(json, at + ESCAPE_BYTES)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at + 2 * ESCAPE_BYTES,
        (Some(0xd800..=0xdfff), _) => at + ESCAPE_BYTES,
        _ => json.len().min(at + 2),
    }
}

const REPLACEMENT: &[u8; ESCAPE_BYTES] = b"\\ufffd";

/// How long an escape such as `\ud83d` is.
const ESCAPE_BYTES: usize = b"\\ud83d".len();

/// The UTF-16 unit whose escape begins at `at`, in upper or lower case, if one does.
fn escaped_unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + ESCAPE_BYTES)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).expect("one hexadecimal digit"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_str(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    fn rewritten(json: &str) -> String {
        let mut out = Vec::new();
        write_text(&mut out, json);
        String::from_utf8(out).unwrap()
    }

    fn mended(json: &str) -> String {
        String::from_utf8(mend_surrogates(json.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn strings_are_ascii_and_end_no_script() {
        assert_eq!(written(""), r#""""#);
        assert_eq!(written("plain ~ text"), r#""plain ~ text""#);
        assert_eq!(written("\"a\\b\"\n\r\t\x08\x0c"), r#""\"a\\b\"\n\r\t\b\f""#);
        assert_eq!(written("\0\x1f\x7f"), r#""\u0000\u001f\u007f""#);
        assert_eq!(written("</script>"), r#""\u003c/script>""#);
        assert_eq!(written("é\u{2028}€"), r#""\u00e9\u2028\u20ac""#);
        assert_eq!(written("a😀b"), r#""a\ud83d\ude00b""#);
    }

    #[test]
    fn values_are_compact_and_escaped_in_every_corner() {
        assert_eq!(rewritten(" [ ] "), "[]");
        assert_eq!(rewritten("{ }"), "{}");
        assert_eq!(rewritten(r#"{"ключ<": [null, true, false, {"a": "é"}]}"#), {
            r#"{"\u043a\u043b\u044e\u0447\u003c":[null,true,false,{"a":"\u00e9"}]}"#
        });
        assert_eq!(rewritten(r#"{"a": 1, "b": [2, 3]}"#), r#"{"a":1,"b":[2,3]}"#);
    }

    #[test]
    fn numbers_and_escapes_stay_as_they_came() {
        for same in ["12345678901234567890123", "1.0", "-0", "1E400", r#""\u00E9\/\"\\""#, r#"{"a\"":" b "}"#] {
            assert_eq!(rewritten(same), same);
        }
    }

    #[test]
    fn lone_halves_are_mended() {
        assert_eq!(mended(r#""\ud83d""#), r#""\ufffd""#);
        assert_eq!(mended(r#""\uDE00!""#), r#""\ufffd!""#);
        assert_eq!(mended(r#""\ud83d\ud83d\ude00\ude00""#), r#""\ufffd\ud83d\ude00\ufffd""#);
        assert_eq!(mended(r#""\ud83d\n\ude00""#), r#""\ufffd\n\ufffd""#);
        assert_eq!(mended(r#""\ud83dude00""#), r#""\ufffdude00""#);
        assert_eq!(mended(r#"{"\uDBFF":"\\\udc00"}"#), r#"{"\ufffd":"\\\ufffd"}"#);
    }

    #[test]
    fn all_else_is_borrowed() {
        let others = [
            "",
            "{}",
            r#""\ud83d\ude00 \uD83D\uDE00 \ud83D\uDe00""#,
            r#""\\ud83d""#,
            r#""\\\\ude00""#,
            r#""\u0041\ud7ff\ue000\ufffd""#,
            // No JSON at all, but no reason to panic either.
            r"\",
            r"\u",
            r"\ud83",
            r"\ud8zz",
            r"\u+d83",
        ];
        for other in others {
            assert!(
                matches!(mend_surrogates(other.as_bytes()), Cow::Borrowed(same) if same == other.as_bytes()),
                "{other}"
            );
        }
    }

    /// What the mended string must be, found the plain way: all units, then the standard library's own mend.
    fn read_lossy(inside: &str) -> String {
        let mut units = Vec::new();
        let mut chars = inside.chars();
        while let Some(char) = chars.next() {
            match (char, if char == '\\' { chars.next() } else { None }) {
                ('\\', Some('u')) => {
                    let digits: String = chars.by_ref().take(4).collect();
                    units.push(u16::from_str_radix(&digits, 16).unwrap());
                }
                ('\\', Some('n')) => units.push(u16::from(b'\n')),
                ('\\', Some(escaped)) => units.extend(escaped.encode_utf16(&mut [0; 2]).iter()),
                _ => units.extend(char.encode_utf16(&mut [0; 2]).iter()),
            }
        }
        String::from_utf16_lossy(&units)
    }

    /// The inside of a JSON string, dense with surrogates and with what looks like them.
    fn surrogate_soup() -> impl Strategy<Value = String> {
        let pieces = [
            r"\ud83d", r"\uDBFF", r"\uD800", r"\ude00", r"\uDC00", r"\udFfF", r"\\", r"\n", r#"\""#, r"\u0041",
            r"\ufffd", "u", "ud83d", "d83d", "é", "😀", " ",
        ];
        prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..20).prop_map(|pieces| pieces.concat())
    }

    /// Any value that JSON text can stand for.
    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(text in any::<String>()) {
            let json = written(&text);
            prop_assert!(json.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'<'));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn values_read_back(value in any_value()) {
            let mut json = Vec::new();
            write_text(&mut json, &serde_json::to_string_pretty(&value).unwrap());
            prop_assert!(json.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'<'));
            prop_assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), value);
        }

        #[test]
        fn fragments_compose_wherever_the_text_is_cut(text in any::<String>()) {
            for (cut, _) in text.char_indices() {
                let mut out = vec![b'"'];
                escape_fragment(&mut out, &text[..cut]);
                escape_fragment(&mut out, &text[cut..]);
                out.push(b'"');
                prop_assert_eq!(out, written(&text).into_bytes());
            }
        }

        #[test]
        fn a_mended_text_reads_as_the_plain_way_reads_it(inside in surrogate_soup()) {
            let json = format!("\"{inside}\"");
            let text = mended(&json);
            prop_assert_eq!(text.len(), json.len());
            let (mut pieces, mut at) = (json.clone().into_bytes(), 0);
            for end in 1..=pieces.len() {
                at = mend_surrogates_until(&mut pieces, at, end);
            }
            prop_assert_eq!(String::from_utf8(pieces).unwrap(), text.clone());
            prop_assert_eq!(serde_json::from_str::<String>(&text).unwrap(), read_lossy(&inside));
            // Only what the parser refuses is touched.
            let touched = matches!(mend_surrogates(json.as_bytes()), Cow::Owned(_));
            prop_assert_eq!(touched, serde_json::from_str::<String>(&json).is_err());
        }

        #[test]
        fn any_bytes_are_mended_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(mend_surrogates(&bytes).len(), bytes.len());
        }
    }
}
