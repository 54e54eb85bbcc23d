//! Header lines of a call that a trusted proxy passes on: nobody gets in by what he writes before what the proxy adds.

use shaveet::api::{Access, Entrance, Secret, Visit};
use shaveet::clock::Ms;
use shaveet::config::Config;
use shaveet::http::{Decoder, Limits, Step};
use shaveet::hub::Owner;

pub(crate) fn check(headers: &[u8]) {
    // An empty line would end the head before the proxy's word.
    let is_whole = headers.is_empty() || headers.ends_with(b"\r\n");
    if !is_whole || headers.starts_with(b"\r\n") || headers.windows(4).any(|four| four == b"\r\n\r\n") {
        return;
    }
    let mut access = Access::new(&Config::default());
    let check = |access: &Access, input: &[u8], from: &str| {
        let limits = Limits { head_bytes: 64 << 10, body_bytes: 1 << 10 };
        let address = Some(from.parse().expect("an address"));
        let visit = Visit { now: Ms(1), date: "", owner: Owner(1), address, entrance: Entrance::Shared };
        match Decoder::new().next(&limits, input) {
            Ok(Step::Request { request, .. }) => access.check(&visit, &request).map_err(|refusal| refusal.to_string()),
            _ => Err("no request".to_owned()),
        }
    };
    let whole = |last: &str| [b"GET / HTTP/1.1\r\n", headers, last.as_bytes(), b"\r\n"].concat();
    // What the proxy adds is the last word.
    assert!(check(&access, &whole("X-Forwarded-For: 203.0.113.7\r\n"), "127.0.0.1").is_err());
    assert!(check(&access, &whole("Origin: null\r\n"), "127.0.0.1").is_err());
    assert!(check(&access, &whole(""), "192.0.2.1").is_err());
    if let Err(why) = check(&access, &whole(""), "127.0.0.1") {
        assert!(why.bytes().all(|byte| matches!(byte, b' '..=b'~')) && why.len() < 1200, "{why}");
    }
    access.require(Secret::parse("0123456789abcdef0123456789abcdef").expect("a token"));
    let brings_it = headers.windows(32).any(|part| part == b"0123456789abcdef0123456789abcdef");
    assert!(brings_it || check(&access, &whole(""), "127.0.0.1").is_err());
}
