//! `docs/configuration`, written from the table of knobs: what the help says, and why.

use std::fmt::Write;

use crate::config::knobs::{Acts, Form, Group, KNOBS, Knob, Preset};

/// The page, as it is committed.
#[must_use]
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for group in Group::ALL {
        let _ = write!(page, "\n## {}\n", group.heading());
        KNOBS.iter().filter(|knob| knob.group == group).for_each(|knob| describe(knob, &mut page));
    }
    page
}

fn describe(knob: &Knob, page: &mut String) {
    let Knob { name, help, allowed, reason, .. } = knob;
    let form = match knob.form {
        Form::One => "",
        Form::List => "; a list",
        Form::Rules => "; a list, for all channels or by the beginning of their names",
        Form::Switch => "; the flag has no value",
    };
    let default = match knob.default {
        Preset::Value(_) => format!("`{}`", super::default_in_file(knob)),
        Preset::Absent(what) => what.to_owned(),
    };
    let acts = match knob.acts {
        Acts::AtOnce => "",
        Acts::AtStart => "- Changed by a restart alone.\n",
    };
    let _ = write!(
        page,
        "\n### `{name}`\n\n{help}.\n\n- Allowed: {allowed}{form}.\n- Default: {default}. {reason}\n{acts}"
    );
}

const HEAD: &str = r#"# Configuration

<!-- Written by `shaveet reference` from the table in src/config/knobs.rs: change that instead. -->

A server needs no configuration. What is to be other than the default is told by a flag, a variable or a file; each knob below is
all three: `--poll-timeout 20s`, `SHAVEET_POLL_TIMEOUT=20s`, or in the file that `--config` or `SHAVEET_CONFIG` names:

```toml
listen = ["127.0.0.1:8082", "unix:/run/shaveet/pages.sock"]
rpc-token-file = "token"         # paths are relative to this file
poll-timeout = "20s"
history = [100, "chat-=500"]     # for all channels, and for those whose names begin with chat-
demo = true
```

Flags win over variables, variables over the file, the file over the defaults; what wins counts whole, lists too. A key that is
none, a value that is not allowed, a file that cannot be read: the server says which line, and does not start. Of a variable that
looks misspelt it warns: others may have made it.
`shaveet check`, with the same flags, says that without starting one, and prints what counts and where it comes from.

SIGHUP has a running server read the file again, and the token's. What has changed holds from then on: parked polls, streams and
connections stay, and end when they were told; who is inside stays inside though a limit is lower; channels and clients follow
their new policy and times, and what a channel has to give up is told as a loss. The log says of each change from what to what,
and whether it needs a restart instead. If anything is wrong nothing changes, and the log says what. Flags and variables win over
the file then, too, and are as they were at the start.

Times are numbers with units (`500ms`, `25s`, `10m`, `1h30m`). Sizes are bytes, or have a unit: KiB and MiB are powers of 1024, kB
and MB of 1000. Only the command line has `-p PORT` (`--port`): this port of all interfaces, besides what `listen` says.
"#;
