//! Texts to values: what a flag, a variable or the file says of a knob, read and bounded.
//!
//! An error says what is wrong with the text; what would be right the [knob](super::knobs) adds.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;
use log::LevelFilter;

use super::network::{any_network, network};
use super::{Address, Log};
use crate::broker;
use crate::clock::Ms;
use crate::hub::SystemShare;

type Read<T> = Result<T, String>;

/// A timer that is shorter keeps the server busy with nothing.
const SHORTEST: Duration = Duration::from_millis(10);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// Below, not even a browser's headers fit; above, one request could take a small machine's memory.
const SIZES: RangeInclusive<usize> = 1024..=1024 * 1024 * 1024;

pub(super) fn timer(text: &str) -> Read<Ms> {
    time(text, DAY)
}

pub(super) fn drain(text: &str) -> Read<Ms> {
    if text == "0s" || text == "0" { Ok(Ms::ZERO) } else { time(text, 10 * MINUTE) }
}

pub(super) fn broker_timeout(text: &str) -> Read<Ms> {
    time(text, MINUTE).and_then(|time| if time < Ms(100) { Err("out of range".into()) } else { Ok(time) })
}

pub(super) fn long_time(text: &str) -> Read<Ms> {
    time(text, 30 * DAY)
}

fn time(text: &str, longest: Duration) -> Read<Ms> {
    match humantime::parse_duration(text) {
        Ok(time) if (SHORTEST..=longest).contains(&time) => Ok(time.into()),
        Ok(_) => Err("out of range".into()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn size(text: &str) -> Read<usize> {
    bytes(text, SIZES)
}

pub(super) fn name_size(text: &str) -> Read<usize> {
    bytes(text, 16..=1 << 20)
}

pub(super) fn memory(text: &str) -> Read<usize> {
    bytes(text, 16 << 20..=usize::MAX)
}

fn bytes(text: &str, allowed: RangeInclusive<usize>) -> Read<usize> {
    let Ok(ByteSize(bytes)) = text.parse() else { return Err("not a size".into()) };
    let bytes = usize::try_from(bytes).ok().filter(|bytes| allowed.contains(bytes));
    bytes.ok_or_else(|| "out of range".into())
}

pub(super) fn count(text: &str, allowed: RangeInclusive<usize>) -> Read<usize> {
    let count = text.parse().ok().filter(|count| allowed.contains(count));
    count.ok_or_else(|| "not such a number".into())
}

pub(super) fn history(text: &str) -> Read<usize> {
    count(text, 1..=1_000_000)
}

pub(super) fn history_system(text: &str) -> Read<SystemShare> {
    if text == "shared" { Ok(SystemShare::Shared) } else { history(text).map(SystemShare::Own) }
}

pub(super) fn many(text: &str) -> Read<usize> {
    count(text, 1..=10_000_000)
}

pub(super) fn many_small(text: &str) -> Read<u32> {
    Ok(u32::try_from(many(text)?).expect("ten million fit into 32 bits"))
}

/// As the file has it, and `true` and `false` besides: so the variable of a flag without a value is written.
pub(super) fn on_or_off(text: &str) -> Read<bool> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err("neither on nor off".into()),
    }
}

pub(super) fn address(text: &str) -> Read<Address> {
    text.parse::<Address>().map_err(|error| error.to_string())
}

pub(super) fn socket_mode(text: &str) -> Read<u32> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && mode & 0o600 == 0o600);
    mode.ok_or_else(|| "not such a file mode".into())
}

pub(super) fn path(text: &str) -> Read<Option<std::path::PathBuf>> {
    if text.is_empty() { Err("the path is empty".into()) } else { Ok(Some(text.into())) }
}

pub(super) fn host_name(text: &str) -> Read<String> {
    let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    is_name.then(|| text.to_owned()).ok_or_else(|| "not a host's name".into())
}

pub(super) fn broker(text: &str) -> Read<Option<broker::Address>> {
    text.parse().map(Some)
}

pub(super) fn broker_prefix(text: &str) -> Read<String> {
    let is_prefix = (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    is_prefix.then(|| text.to_owned()).ok_or_else(|| "not such a name".into())
}

/// The networks that one entry stands for: `any` is two of them.
pub(super) fn rpc_allow(text: &str) -> Read<Vec<IpNet>> {
    match text {
        "any" => Ok(any_network()),
        // The original's empty list let everybody in: who writes one may mean that, or may have lost a variable.
        "" => Err("empty; write `any` to let everybody call the API".into()),
        text => one_network(text),
    }
}

/// The same; `none` is none.
pub(super) fn trusted_proxy(text: &str) -> Read<Vec<IpNet>> {
    match text {
        "any" => Ok(any_network()),
        "none" => Ok(Vec::new()),
        "" => Err("empty; write `none` to believe nobody".into()),
        text => one_network(text),
    }
}

fn one_network(text: &str) -> Read<Vec<IpNet>> {
    network(text).map(|net| vec![net]).map_err(|_| "not a network".into())
}

/// An origin as a browser sends it (RFC 6454 section 6.2), or `*` for all.
pub(super) fn origin(text: &str) -> Read<String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    let is_origin =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
    (is_origin || text == "*").then(|| text.to_ascii_lowercase()).ok_or_else(|| "not an origin".into())
}

/// A level, or directives: what has more than a word in it env_logger reads when logging begins.
pub(super) fn log(text: &str) -> Read<Log> {
    match text.parse::<LevelFilter>() {
        Ok(level) => Ok(Log::Level(level)),
        Err(_) if text.contains('=') => Ok(Log::Directives(text.to_owned())),
        Err(_) => Err("not a level".into()),
    }
}
