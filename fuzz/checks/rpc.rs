//! A body at the JSON-RPC API: whatever it is, the hub stays sound and the answer is JSON in ASCII.

use super::world;

pub(crate) fn check(body: &[u8]) {
    let mut world = world::World::new();
    let Some(answer) = world.call(body) else { return };
    assert!(answer.is_ascii());
    if !answer.starts_with(b"HTTP/1.1 204") {
        serde_json::from_slice::<serde_json::Value>(world::body(&answer)).expect("JSON");
    }
}
