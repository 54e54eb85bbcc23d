//! Polls for clients that nobody has: what they may cost Redis, and that those of others go on.

use super::node::{Asking, Medium, Refusal, Request, Start, Told};
use super::pair::Pair;

/// Polls with names that were made up, in a millisecond.
const STRANGERS: u64 = 20;

#[test]
fn names_that_are_made_up_cost_redis_only_so_much_and_nobody_is_refused_for_them() {
    let (mut pair, key) = Pair::with_client("alice");
    let mut owner = 10;
    let poll = |pair: &mut Pair, owner: u64, id: &str, medium| {
        let asking = Asking { ids_and_keys: vec![(id.into(), key.clone())], start: Start::Earliest, medium };
        pair.node.ask(Request::Poll { owner, asking });
    };
    for second in 0..3 {
        pair.deeds.clear();
        pair.told.clear();
        for _ in 0..1000 {
            for _ in 0..STRANGERS {
                owner += 1;
                poll(&mut pair, owner, &format!("nobody{owner}"), Medium::Resume);
            }
            pair.pass(1);
        }
        let looks = pair.named("look", |arguments| arguments[1..].to_vec()).len();
        let most = if second == 0 { 2500 } else { 502 };
        assert!((490..=most).contains(&looks), "{looks} look-ups in second {second}");
        assert_eq!(pair.told.len() as u64, 1000 * STRANGERS, "everybody is answered");
        let away = pair.told.iter().filter(|told| matches!(told, Told::Refused { why: Refusal::Away, .. })).count();
        assert_eq!(pair.told.len() - away, looks, "who was not looked for is not told that it is unknown");
    }
    // Who is there gets in as soon as there is room, and need not be looked for again.
    pair.pass(100);
    for (owner, medium) in [(1, Medium::Resume), (2, Medium::Original)] {
        pair.deeds.clear();
        pair.told.clear();
        poll(&mut pair, owner, "alice", medium);
        pair.flow();
        assert!(matches!(pair.told[..], [Told::Parked { .. }]), "{:?}", pair.told);
        assert_eq!(pair.named("look", |arguments| arguments[1..].to_vec()).len(), usize::from(owner == 1));
    }
}
