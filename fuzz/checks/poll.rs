//! The query of a poll: ids, keys, callbacks, tokens. What comes back as a script is a call of one name and no more.

use super::world;

pub(crate) fn check(query: &[u8]) {
    if query.iter().any(|byte| !byte.is_ascii_graphic()) {
        return;
    }
    let mut world = world::World::new();
    let made = world.call(br#"{"method":"create_client","params":["a"]}"#).expect("a call is answered");
    world.call(br#"{"method":"subscribe","params":["a","room"]}"#);
    let made = String::from_utf8(made).expect("ASCII");
    let key = made.rsplit('"').nth(1).expect("a key");
    // K stands for the key, which is another each time.
    let query = String::from_utf8_lossy(query).replace('K', key);
    let Some(answer) = world.ask(format!("GET /message_updates?{query} HTTP/1.1\r\n\r\n").as_bytes()) else { return };
    assert!(answer.is_ascii());
    let body = world::body(&answer);
    let text = String::from_utf8_lossy(&answer);
    if text.contains("javascript") {
        let call = body.strip_prefix(b"/**/").unwrap_or(body);
        let name = call.iter().position(|&byte| byte == b'(').expect("it is a call");
        assert!(call[..name].iter().all(|byte| byte.is_ascii_alphanumeric() || b"_$.[]".contains(byte)) && name <= 256);
        let object = call[name + 1..].strip_suffix(b");").expect("and nothing behind it");
        serde_json::from_slice::<serde_json::Value>(object).expect("of one object");
    }
}
