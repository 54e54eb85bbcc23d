//! What is written down while something happens is a hub all the same.

use super::*;
use crate::state::{Header, Reader, Writer};

/// Something that changes what there is.
fn disturb(world: &mut World, random: &mut fastrand::Rng) {
    let (client, channel) = (random.u8(0..12).to_string(), format!("room-{}", random.u8(0..12)));
    let now = world.now;
    match random.u8(0..12) {
        0 => {
            let _ = world.hub.create_client(now, &client, key_of(&client));
        }
        1..3 => {
            let _ = world.hub.subscribe(now, &client, &channel, random.bool().then_some(0));
        }
        3 => {
            let _ = world.hub.unsubscribe(now, &client, &channel);
        }
        4 => {
            let _ = world.hub.kill_client(now, &client);
        }
        5 => {
            world.now += Ms(random.u64(0..400_000));
            world.hub.handle_timeout(world.now, &mut 1000);
        }
        6 => {
            let submission =
                Submission { channel: &channel, from: Sender::Id("p"), text: "x", exclude: &[], ttl: None };
            let _ = world.hub.publish_once(now, &client, submission);
        }
        _ => {
            let (text, exclude) = ("x".repeat(random.usize(0..99)), [client.as_str()]);
            let exclude = if random.bool() { &exclude[..] } else { &[] };
            let submission = Submission { channel: &channel, from: Sender::Id("p"), text: &text, exclude, ttl: None };
            let _ = world.hub.publish(now, submission);
        }
    }
}

#[test]
fn whatever_happens_while_it_is_written_what_comes_out_is_a_hub() {
    for seed in 0..300 {
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let limits = Limits { channel_idle: Ms(200_000), departed_age: Ms(600_000), ..limits() };
        let mut world = World::new(limits.clone());
        (0..random.usize(0..200)).for_each(|_| disturb(&mut world, &mut random));
        let header = Header { program: String::new(), epoch: 0, now: world.now, wall_ms: 0 };
        let mut writer = Writer::begin(Vec::new(), false, &header).unwrap();
        let (mut snapshot, calm) = (Snapshot::begin(false), seed % 3 == 0);
        while !snapshot.is_over() {
            if let Some(record) = world.hub.next_record(&mut snapshot, &mut random.u32(0..3)) {
                writer.put(&record).unwrap();
            }
            let disturbances = if calm { 0 } else { random.usize(0..4) };
            (0..disturbances).for_each(|_| disturb(&mut world, &mut random));
        }
        let bytes = writer.finish().unwrap();
        let (mut reader, mut restoration) = (Reader::open(&bytes).unwrap(), Restoration::begin(limits));
        let at = Resumption { now: world.now, away: Ms(random.u64(0..5000)) };
        let hub = loop {
            if let Some(hub) = restoration.take(at, reader.read().unwrap()) {
                break hub;
            }
        };
        hub.check();
        if calm {
            assert_eq!((hub.stats(), hub.position()), (world.hub.stats(), world.hub.position()));
        }
        // It can be lived with.
        world.hub = hub;
        for _ in 0..100 {
            disturb(&mut world, &mut random);
            world.hub.check();
        }
    }
}
