//! The parts one by one: hub, parser, wheel, slots, JSON. For whoever changes one of them and wants to know at once.
//!
//! ```text
//! cargo bench                      # in this folder
//! cargo bench -- --save-baseline before; ...; cargo bench -- --baseline before
//! ```

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use shaveet::clock::Ms;
use shaveet::config::Config;
use shaveet::http::{Decoder, query};
use shaveet::hub::{ClientKey, Hub, Owner, Protocol, Sender, Since, Submission};
use shaveet::json;
use shaveet::slots::{Key, Slots};
use shaveet::wheel::Wheel;

criterion_group!(parts, hub, parser, wheel, slots, text);
criterion_main!(parts);

const NOW: Ms = Ms::from_secs(1);
const KEY: [u8; 16] = [7; 16];

/// What a browser sends from another origin.
const POLL: &[u8] = b"GET /message_updates?callback=noop&client_id=page1234_!!_07070707070707070707070707070707&ts=1763800000000 \
    HTTP/1.1\r\nHost: push.example.org\r\nConnection: keep-alive\r\nsec-ch-ua-platform: \"Linux\"\r\nUser-Agent: Mozilla/5.0 \
    (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\nsec-ch-ua: \
    \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\nAccept: */*\r\nOrigin: \
    https://www.example.org\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nReferer: \
    https://www.example.org/\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n\r\n";

fn hub_with(clients: u64) -> Hub {
    let mut config = Config::default();
    Arc::make_mut(&mut config.policies.default).presence = false;
    let mut hub = Hub::new(NOW, config.hub_limits());
    for at in 0..clients {
        let id = format!("page{at}");
        hub.create_client(NOW, &id, ClientKey::new(KEY)).expect("there is room");
        hub.subscribe(NOW, &id, "room", None).expect("there is room");
        park(&mut hub, at);
    }
    deliver(&mut hub);
    hub
}

fn park(hub: &mut Hub, at: u64) {
    let key = ClientKey::new(KEY).to_string();
    let protocol = Protocol::Resume(Since::At(hub.position()));
    let id = format!("page{at}");
    let poll = [(&*id, &*key)];
    hub.wait(NOW, Owner(at), &mut Key::unpack(0), poll, protocol, Ms::from_secs(30)).expect("it may poll");
}

fn publish(hub: &mut Hub, channel: &str) {
    let submission = Submission { channel, from: Sender::Id("app"), text: "hello, everybody", exclude: &[], ttl: None };
    hub.publish(NOW, submission).expect("there is room");
}

/// Answers all that is owed; returns to how many.
fn deliver(hub: &mut Hub) -> u64 {
    let mut count = 0;
    while hub.has_answers() {
        let Some(answer) = hub.next_answer(NOW, &mut u32::MAX.clone()) else { continue };
        let waiter = answer.waiter();
        hub.delivered(NOW, waiter);
        count += 1;
    }
    count
}

fn hub(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hub");
    for clients in [1000, 100_000] {
        let mut hub = hub_with(clients);
        group.throughput(Throughput::Elements(clients));
        group.bench_function(format!("publish to {clients}, answer, all wait again"), |bencher| {
            bencher.iter(|| {
                publish(&mut hub, "room");
                assert_eq!(deliver(&mut hub), clients);
                (0..clients).for_each(|at| park(&mut hub, at));
                deliver(&mut hub);
            });
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("publish where nobody is, beside {clients}"), |bencher| {
            bencher.iter(|| {
                publish(&mut hub, "empty");
                deliver(&mut hub)
            });
        });
    }
    group.bench_function("create and subscribe", |bencher| {
        let ids: Vec<String> = (0..1000).map(|at| format!("page{at}")).collect();
        bencher.iter_batched_ref(
            || Hub::new(NOW, Config::default().hub_limits()),
            |hub| {
                for id in &ids {
                    hub.create_client(NOW, id, ClientKey::new(KEY)).expect("there is room");
                    hub.subscribe(NOW, id, "room", None).expect("there is room");
                }
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn parser(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parser");
    let limits = Config::default().http_limits();
    group.throughput(Throughput::Bytes(POLL.len() as u64));
    group.bench_function("a browser's poll", |bencher| {
        let mut decoder = Decoder::new();
        bencher.iter(|| black_box(decoder.next(&limits, black_box(POLL)).is_ok()));
    });
    group.bench_function("the same in two parts", |bencher| {
        bencher.iter(|| {
            let mut decoder = Decoder::new();
            black_box(decoder.next(&limits, black_box(&POLL[..300])).is_ok());
            black_box(decoder.next(&limits, black_box(POLL)).is_ok())
        });
    });
    let asked = b"callback=noop&client_id=page1234_!!_07070707070707070707070707070707&ts=1763800000000";
    group.throughput(Throughput::Bytes(asked.len() as u64));
    group.bench_function("a poll's parameters", |bencher| {
        bencher.iter(|| query::parts(black_box(asked)).map(|part| query::parameter(part).1.len()).sum::<usize>());
    });
    group.finish();
}

fn wheel(criterion: &mut Criterion) {
    criterion.benchmark_group("wheel").throughput(Throughput::Elements(100_000)).bench_function(
        "100,000 reminders within 25 s, and all of them fire",
        |bencher| {
            let mut due = Vec::with_capacity(100_000);
            bencher.iter(|| {
                let mut wheel = Wheel::new(Ms::ZERO);
                for at in 0..100_000_u64 {
                    wheel.remind(Ms(at * 7919 % 25_000), at);
                }
                due.clear();
                wheel.expire(Ms::from_secs(30), &mut u32::MAX.clone(), &mut due);
                assert_eq!(due.len(), 100_000);
            });
        },
    );
}

fn slots(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("slots");
    let mut slots = Slots::new();
    let keys: Vec<Key<[u64; 8]>> = (0..100_000).map(|at| slots.insert([at; 8])).collect();
    group.bench_function("find one of 100,000", |bencher| {
        let mut at = 0;
        bencher.iter(|| {
            at = (at + 7919) % keys.len();
            slots.get(keys[at]).map(|value| value[0])
        });
    });
    group.bench_function("put in and take out", |bencher| {
        bencher.iter(|| {
            let key = slots.insert([1; 8]);
            slots.remove(key)
        });
    });
    group.finish();
}

fn text(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("json");
    let mut out = Vec::new();
    for (name, text) in
        [("ASCII", "hello, everybody ".repeat(64)), ("Umlauts and quotes", "\u{e4}\u{f6}\"\u{fc}\n ".repeat(128))]
    {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("write a string: {name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                json::write_str(&mut out, black_box(&text));
                out.len()
            });
        });
    }
    group.finish();
}
