//! What the modelled Redis keeps: keys, and the few commands that `library.lua` uses, with the results of the real one.
//!
//! Whatever it is not asked for by the library it does not have: a new command is a panic that names it. `model.rs`
//! compares it with a real server.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// Everything that is in Redis.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keyspace {
    keys: BTreeMap<Vec<u8>, Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    value: Kind,
    /// In milliseconds since 1970; `u64::MAX` for never.
    expires: u64,
}

#[derive(Clone, Debug)]
enum Kind {
    Text(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Sorted(Sorted),
    Stream { entries: BTreeMap<u64, Vec<Vec<u8>>>, last: u64 },
}

/// Scores are whole numbers here.
#[derive(Clone, Debug, Default)]
struct Sorted {
    scores: BTreeMap<Vec<u8>, i64>,
    order: BTreeSet<(i64, Vec<u8>)>,
}

/// What a command comes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Null,
    Int(i64),
    Text(Vec<u8>),
    Status(String),
    Error(String),
    List(Vec<Reply>),
}

impl Keyspace {
    /// Whether a command of this name changes anything.
    pub(crate) fn is_write(name: &[u8]) -> bool {
        matches!(
            name,
            b"DEL"
                | b"HDEL"
                | b"HINCRBY"
                | b"HSET"
                | b"PERSIST"
                | b"PEXPIRE"
                | b"SADD"
                | b"SET"
                | b"SREM"
                | b"XADD"
                | b"XTRIM"
                | b"ZADD"
                | b"ZREM"
        )
    }

    pub(crate) fn run(&mut self, now: u64, command: &[Vec<u8>]) -> Reply {
        let [name, key, arguments @ ..] = command else { panic!("{}", shown(command)) };
        if self.keys.get(key).is_some_and(|kept| kept.expires <= now) {
            self.keys.remove(key);
        }
        let reply = match &**name {
            b"DEL" => Reply::Int(command[1..].iter().filter(|key| self.keys.remove(*key).is_some()).count() as i64),
            b"EXISTS" => Reply::Int(self.keys.contains_key(key).into()),
            b"PERSIST" => match self.keys.get_mut(key) {
                Some(kept) if kept.expires != u64::MAX => {
                    kept.expires = u64::MAX;
                    Reply::Int(1)
                }
                _ => Reply::Int(0),
            },
            b"PEXPIRE" => match self.keys.get_mut(key) {
                Some(kept) => {
                    kept.expires = now + number::<u64>(&arguments[0]);
                    Reply::Int(1)
                }
                None => Reply::Int(0),
            },
            b"GET" => match self.keys.get(key).map(|kept| &kept.value) {
                Some(Kind::Text(text)) => Reply::Text(text.clone()),
                None => Reply::Null,
                other => panic!("{}: {other:?}", shown(command)),
            },
            b"SET" => {
                let expires = match arguments {
                    [_] => u64::MAX,
                    [_, px, ttl] if px == b"PX" => now + number::<u64>(ttl),
                    _ => panic!("{}", shown(command)),
                };
                self.keys.insert(key.clone(), Kept { value: Kind::Text(arguments[0].clone()), expires });
                Reply::Status("OK".into())
            }
            name if name.starts_with(b"H") => self.hash(name, key, arguments),
            name if name.starts_with(b"S") => self.set(name, key, arguments),
            name if name.starts_with(b"Z") => self.sorted(name, key, arguments),
            name if name.starts_with(b"X") => self.stream(name, key, arguments),
            _ => panic!("the model does not know {}", shown(command)),
        };
        if let Some(kept) = self.keys.get(key) {
            let is_empty = match &kept.value {
                Kind::Hash(hash) => hash.is_empty(),
                Kind::Set(set) => set.is_empty(),
                Kind::Sorted(sorted) => sorted.scores.is_empty(),
                Kind::Text(_) | Kind::Stream { .. } => false,
            };
            if is_empty {
                self.keys.remove(key);
            }
        }
        reply
    }

    fn hash(&mut self, name: &[u8], key: &[u8], arguments: &[Vec<u8>]) -> Reply {
        let empty = || Kept { value: Kind::Hash(BTreeMap::new()), expires: u64::MAX };
        let Kind::Hash(hash) = &mut self.keys.entry(key.into()).or_insert_with(empty).value else {
            panic!("{} is no hash", String::from_utf8_lossy(key))
        };
        let field = |hash: &BTreeMap<Vec<u8>, Vec<u8>>, field| {
            hash.get(field).map_or(Reply::Null, |text| Reply::Text(text.clone()))
        };
        match name {
            b"HGET" => field(hash, &arguments[0]),
            b"HMGET" => Reply::List(arguments.iter().map(|name| field(hash, name)).collect()),
            b"HGETALL" => {
                Reply::List(hash.iter().flat_map(|(a, b)| [Reply::Text(a.clone()), Reply::Text(b.clone())]).collect())
            }
            b"HKEYS" => Reply::List(hash.keys().map(|name| Reply::Text(name.clone())).collect()),
            b"HLEN" => Reply::Int(hash.len() as i64),
            b"HEXISTS" => Reply::Int(hash.contains_key(&arguments[0]).into()),
            b"HSET" => {
                assert!(arguments.len() >= 2 && arguments.len().is_multiple_of(2), "HSET takes pairs");
                let pairs = arguments.chunks_exact(2);
                Reply::Int(pairs.filter(|pair| hash.insert(pair[0].clone(), pair[1].clone()).is_none()).count() as i64)
            }
            b"HDEL" => Reply::Int(arguments.iter().filter(|name| hash.remove(*name).is_some()).count() as i64),
            b"HINCRBY" => {
                let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().parse::<i64>().expect("a whole number");
                let value = hash.get(&arguments[0]).map_or(0, |old| text(old)) + text(&arguments[1]);
                hash.insert(arguments[0].clone(), value.to_string().into());
                Reply::Int(value)
            }
            _ => panic!("the model does not know {}", String::from_utf8_lossy(name)),
        }
    }

    fn set(&mut self, name: &[u8], key: &[u8], arguments: &[Vec<u8>]) -> Reply {
        let empty = || Kept { value: Kind::Set(BTreeSet::new()), expires: u64::MAX };
        let Kind::Set(set) = &mut self.keys.entry(key.into()).or_insert_with(empty).value else {
            panic!("{} is no set", String::from_utf8_lossy(key))
        };
        match name {
            b"SADD" => Reply::Int(arguments.iter().filter(|member| set.insert((*member).clone())).count() as i64),
            b"SREM" => Reply::Int(arguments.iter().filter(|member| set.remove(*member)).count() as i64),
            b"SCARD" => Reply::Int(set.len() as i64),
            b"SMEMBERS" => Reply::List(set.iter().map(|member| Reply::Text(member.clone())).collect()),
            // All at once, as Redis may, and does with small ones.
            b"SSCAN" => {
                let members = set.iter().map(|member| Reply::Text(member.clone())).collect();
                Reply::List(vec![Reply::Text(b"0".to_vec()), Reply::List(members)])
            }
            _ => panic!("the model does not know {}", String::from_utf8_lossy(name)),
        }
    }

    fn sorted(&mut self, name: &[u8], key: &[u8], arguments: &[Vec<u8>]) -> Reply {
        let empty = || Kept { value: Kind::Sorted(Sorted::default()), expires: u64::MAX };
        let Kind::Sorted(sorted) = &mut self.keys.entry(key.into()).or_insert_with(empty).value else {
            panic!("{} is no sorted set", String::from_utf8_lossy(key))
        };
        match name {
            b"ZADD" => {
                let options = arguments.iter().take_while(|word| word[0].is_ascii_uppercase()).count();
                let (options, pairs) = arguments.split_at(options);
                assert!(pairs.len() >= 2 && pairs.len().is_multiple_of(2), "ZADD takes pairs");
                let added = pairs.chunks_exact(2).map(|pair| sorted.add(score(&pair[0]), &pair[1], options));
                Reply::Int(added.filter(|counts| *counts).count() as i64)
            }
            b"ZSCORE" => sorted.score(&arguments[0]),
            b"ZMSCORE" => Reply::List(arguments.iter().map(|member| sorted.score(member)).collect()),
            b"ZREM" => Reply::Int(arguments.iter().filter(|member| sorted.remove(member)).count() as i64),
            b"ZCARD" => Reply::Int(sorted.scores.len() as i64),
            b"ZRANGE" => {
                let (from, to): (usize, usize) = (number(&arguments[0]), number(&arguments[1]));
                let range = sorted.order.iter().skip(from).take(to + 1 - from);
                listed(range, arguments.get(2).is_some())
            }
            b"ZRANGEBYSCORE" => {
                let from = match &*arguments[0] {
                    b"-inf" => i64::MIN,
                    [b'(', after @ ..] => score(after) + 1,
                    from => score(from),
                };
                let to = if arguments[1] == b"+inf" { i64::MAX } else { score(&arguments[1]) };
                let has_scores = arguments.iter().any(|argument| argument == b"WITHSCORES");
                let limit = arguments.iter().position(|argument| argument == b"LIMIT");
                let most = limit.map_or(usize::MAX, |at| number(&arguments[at + 2]));
                let range = sorted.order.range((from, Vec::new())..).take_while(|(score, _)| *score <= to).take(most);
                listed(range, has_scores)
            }
            _ => panic!("the model does not know {}", String::from_utf8_lossy(name)),
        }
    }

    fn stream(&mut self, name: &[u8], key: &[u8], arguments: &[Vec<u8>]) -> Reply {
        if name != b"XADD" && !self.keys.contains_key(key) {
            return if name == b"XTRIM" { Reply::Int(0) } else { Reply::List(Vec::new()) };
        }
        let empty = || Kept { value: Kind::Stream { entries: BTreeMap::new(), last: 0 }, expires: u64::MAX };
        let Kind::Stream { entries, last } = &mut self.keys.entry(key.into()).or_insert_with(empty).value else {
            panic!("{} is no stream", String::from_utf8_lossy(key))
        };
        let entry = |(seq, fields): (&u64, &Vec<Vec<u8>>)| {
            let fields = fields.iter().map(|field| Reply::Text(field.clone())).collect();
            Reply::List(vec![Reply::Text(format!("{seq}-0").into()), Reply::List(fields)])
        };
        let count = arguments.iter().position(|argument| argument == b"COUNT");
        let most = count.map_or(usize::MAX, |at| number(&arguments[at + 1]));
        match name {
            b"XADD" => {
                let seq: u64 = number(arguments[0].strip_suffix(b"-0").expect("ids end with -0"));
                assert!(seq > *last, "XADD: {seq} is not newer than {last}, which Redis refuses");
                *last = seq;
                entries.insert(seq, arguments[1..].to_vec());
                Reply::Text(arguments[0].clone())
            }
            b"XTRIM" => {
                assert_eq!(arguments[0], b"MINID");
                let kept = entries.split_off(&number::<u64>(&arguments[1]));
                Reply::Int(std::mem::replace(entries, kept).len() as i64)
            }
            b"XRANGE" => {
                let from = match &*arguments[0] {
                    b"-" => 0,
                    [b'(', after @ ..] => number::<u64>(after.strip_suffix(b"-0").expect("ids end with -0")) + 1,
                    from => panic!("XRANGE from {from:?}"),
                };
                Reply::List(entries.range(from..).take(most).map(entry).collect())
            }
            b"XREVRANGE" => Reply::List(entries.iter().rev().take(most).map(entry).collect()),
            _ => panic!("the model does not know {}", String::from_utf8_lossy(name)),
        }
    }
}

impl Sorted {
    /// Whether that counts: it is new, or with `CH` another score.
    fn add(&mut self, score: i64, member: &[u8], options: &[Vec<u8>]) -> bool {
        let has = |option: &[u8]| options.iter().any(|given| given == option);
        let known = [&b"XX"[..], b"CH", b"GT", b"LT"];
        assert!(options.iter().all(|option| known.contains(&&**option)), "the model does not know {options:?}");
        let old = self.scores.get(member).copied();
        let is_refused = match old {
            None => has(b"XX"),
            Some(old) => old == score || has(b"LT") && old < score || has(b"GT") && old > score,
        };
        if is_refused {
            return false;
        }
        if let Some(old) = self.scores.insert(member.into(), score) {
            self.order.remove(&(old, member.into()));
        }
        self.order.insert((score, member.into()));
        old.is_none() || has(b"CH")
    }

    fn score(&self, member: &[u8]) -> Reply {
        self.scores.get(member).map_or(Reply::Null, |score| Reply::Text(score.to_string().into()))
    }

    fn remove(&mut self, member: &[u8]) -> bool {
        let Some(score) = self.scores.remove(member) else { return false };
        self.order.remove(&(score, member.into()))
    }
}

fn listed<'a>(range: impl Iterator<Item = &'a (i64, Vec<u8>)>, has_scores: bool) -> Reply {
    let mut list = Vec::new();
    for (score, member) in range {
        list.push(Reply::Text(member.clone()));
        if has_scores {
            list.push(Reply::Text(score.to_string().into()));
        }
    }
    Reply::List(list)
}

fn number<N: FromStr>(text: &[u8]) -> N {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number: {text:?}"))
}

fn score(text: &[u8]) -> i64 {
    number(text)
}

fn shown(command: &[Vec<u8>]) -> String {
    command.iter().map(|part| String::from_utf8_lossy(part)).collect::<Vec<_>>().join(" ")
}
