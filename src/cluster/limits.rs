//! The limits as the functions read them.

use std::fmt::Write as _;

use crate::hub::{Limits, Policy, SystemShare};
use crate::json;

/// As JSON, for the function `hello`; see `docs/redis.md`.
#[must_use]
pub fn write(limits: &Limits) -> String {
    let mut out = String::from("{\"policies\":[");
    write_policy(&mut out, "", &limits.policies.default);
    for (prefix, policy) in &limits.policies.by_prefix {
        out.push(',');
        write_policy(&mut out, prefix, policy);
    }
    let numbers = [
        ("max_idle", limits.max_idle.0),
        ("min_alive", limits.min_alive.0),
        ("sweep_interval", limits.sweep_interval.0),
        ("channel_idle", limits.channel_idle.0),
        ("departed_max", limits.departed_max as u64),
        ("departed_age", limits.departed_age.0),
        ("clients_max", limits.clients_max as u64),
        ("channels_max", limits.channels_max as u64),
        ("subscriptions_max", limits.subscriptions_max as u64),
    ];
    out.push(']');
    for (name, number) in numbers {
        let _ = write!(out, ",\"{name}\":{number}");
    }
    out.push('}');
    out
}

fn write_policy(out: &mut String, prefix: &str, policy: &Policy) {
    let mut name = Vec::new();
    json::write_str(&mut name, prefix);
    let name = String::from_utf8(name).expect("JSON is written in ASCII");
    let system = match policy.history_system {
        SystemShare::Own(count) => count.to_string(),
        SystemShare::Shared => "\"shared\"".to_owned(),
    };
    let Policy { history, history_bytes, history_age, presence, .. } = policy;
    let _ = write!(
        out,
        "{{\"prefix\":{name},\"history\":{history},\"system\":{system},\"bytes\":{history_bytes},\"age\":{},\"presence\":{presence}}}",
        history_age.0
    );
}
