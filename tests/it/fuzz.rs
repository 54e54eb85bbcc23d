//! What the fuzzers look for (`fuzz/checks`), tried with what has been kept (`fuzz/corpus`) and with inputs that chance makes
//! of that. A fuzzer that sees which code an input reaches finds more: `fuzz/run`.
//!
//! A failure prints its input; `SHAVEET_FUZZ_SEED` makes the same inputs again.

#[path = "../../fuzz/checks/mod.rs"]
mod checks;

use fastrand::Rng;
use std::path::Path;

/// Inputs of each kind that are made.
const INPUTS: usize = 2000;

/// The same of the simulation: each is hundreds of steps.
const SIMULATIONS: usize = 60;

/// The same of facts: each has a node come up first.
const FACTS: usize = 600;

/// As in `fuzz/run`: longer ones find nothing that shorter ones do not.
const INPUT_BYTES_MAX: usize = 4096;

/// What is common in what strangers send, for fuzzers and for us.
const WORDS: &str = include_str!("../../fuzz/words");

#[test]
fn access() {
    try_out("access", INPUTS, checks::access::check);
}

#[test]
fn chunked() {
    try_out("chunked", INPUTS, checks::chunked::check);
}

#[test]
fn decoder() {
    try_out("decoder", INPUTS, checks::decoder::check);
}

#[test]
fn facts() {
    try_out("facts", FACTS, checks::facts::check);
}

#[test]
fn frames() {
    try_out("frames", INPUTS, checks::frames::check);
}

#[test]
fn link() {
    try_out("link", INPUTS, checks::link::check);
}

#[test]
fn poll() {
    try_out("poll", INPUTS, checks::poll::check);
}

#[test]
fn query() {
    try_out("query", INPUTS, checks::query::check);
}

#[test]
fn rpc() {
    try_out("rpc", INPUTS, checks::rpc::check);
}

#[test]
fn simulation() {
    try_out("simulation", SIMULATIONS, checks::simulation::check);
}

#[test]
fn token() {
    try_out("token", INPUTS, checks::token::check);
}

fn try_out(name: &str, inputs: usize, check: fn(&[u8])) {
    let kept = kept(name);
    let words: Vec<Vec<u8>> = WORDS.lines().map(word).collect();
    let seed = std::env::var("SHAVEET_FUZZ_SEED")
        .ok()
        .map_or_else(|| fastrand::u64(..), |text| text.parse().expect("a number"));
    let mut random = Rng::with_seed(seed);
    let made = (0..inputs).map(|_| make(&mut random, &kept, &words));
    for input in kept.iter().cloned().chain(made) {
        let told = Told { seed, input: &input };
        check(&input);
        drop(told);
    }
}

/// The seeds of a fuzzer.
fn kept(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = files.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "nothing has been kept for {name}");
    paths.into_iter().map(|path| std::fs::read(path).expect("a file")).collect()
}

/// A word of `fuzz/words`: in quotes, with bytes as `\x0d`.
fn word(line: &str) -> Vec<u8> {
    let inside = line.strip_prefix('"').and_then(|line| line.strip_suffix('"')).expect("in quotes");
    let mut bytes = Vec::new();
    let mut rest = inside.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
        } else if let Some(hex) = after.strip_prefix(b"x") {
            let digits = std::str::from_utf8(&hex[..2]).expect("ASCII");
            bytes.push(u8::from_str_radix(digits, 16).expect("two digits"));
            rest = &hex[2..];
        } else {
            bytes.push(after[0]);
            rest = &after[1..];
        }
    }
    bytes
}

/// One of those that were kept, with some changes.
fn make(random: &mut Rng, kept: &[Vec<u8>], words: &[Vec<u8>]) -> Vec<u8> {
    let mut input = random.choice(kept).expect("there are some").clone();
    for _ in 0..random.usize(1..9) {
        let begin = random.usize(0..=input.len());
        let end = begin + random.usize(0..=(input.len() - begin).min(20));
        match random.u8(0..7) {
            0 => drop(input.drain(begin..end)),
            1 => drop(input.splice(begin..begin, random.choice(words).expect("there are some").iter().copied())),
            2 => drop(input.splice(begin..end, [random.u8(..)])),
            3 => input.truncate(begin),
            4 => {
                let part = input[begin..end].to_vec();
                drop(input.splice(begin..begin, part));
            }
            5 => {
                let other = random.choice(kept).expect("there are some");
                drop(input.splice(begin.., other[random.usize(0..=other.len())..].iter().copied()));
            }
            _ => {
                if let Some(byte) = input.get_mut(begin) {
                    *byte ^= 1 << random.u8(0..8);
                }
            }
        }
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

/// Prints the input if its check fails.
struct Told<'a> {
    seed: u64,
    input: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SHAVEET_FUZZ_SEED={}, with the input\n{}", self.seed, self.input.escape_ascii());
        }
    }
}
