//! The table of knobs: all that an operator can choose.
//!
//! Each has a name: `poll-timeout` is the flag `--poll-timeout`, the variable `SHAVEET_POLL_TIMEOUT` and the key `poll-timeout` of
//! the file, and is written in the same way in all three. The help, the manual page, `docs/configuration.md` and the defaults of
//! [`Config`](super::Config) are made from this table. Defaults that the original server had are the original's.

use super::{Draft, values};
use crate::broker;

/// One thing that an operator can choose.
#[derive(Debug)]
pub struct Knob {
    /// Its name, as flags and the file have it.
    pub name: &'static str,
    /// What it belongs to.
    pub group: Group,
    /// How it is written.
    pub form: Form,
    /// What a value is called in the help: a word that says its unit.
    pub value: &'static str,
    /// What may be written.
    pub allowed: &'static str,
    /// What holds when nothing is written.
    pub default: Preset,
    /// What it does, and when to change it.
    pub help: &'static str,
    /// Why the default is what it is.
    pub reason: &'static str,
    /// When a change of the file acts.
    pub acts: Acts,
    /// Reads a value, or one of several, into a configuration.
    pub(super) read: fn(&mut Draft, &str) -> Result<(), String>,
}

/// How alike two names are, of 1, for one to be meant by the other.
const ALIKE: f64 = 0.8;

/// Knobs that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Where it listens.
    Listening,
    /// Who may do what.
    Access,
    /// What outlives the server.
    State,
    /// More than one node.
    Broker,
    /// How long things take.
    Timers,
    /// What channels keep.
    History,
    /// How large and how many things may be.
    Limits,
    /// What is logged.
    Logging,
}

/// How a knob is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One value.
    One,
    /// Several: with commas between them, by a flag that is repeated, or as a list in the file.
    List,
    /// The same, each for all channels or for those whose names begin so, as in `chat-=500`.
    Rules,
    /// On or off; the flag has no value and says on.
    Switch,
}

/// What holds when nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// This value, as it would be written.
    Value(&'static str),
    /// No value, which means this.
    Absent(&'static str),
}

/// When a change of the file acts upon a server that is told to read it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acts {
    /// At once, on all that begins from then on.
    AtOnce,
    /// When the server is started again.
    AtStart,
}

impl Group {
    /// All of them, in the table's order.
    pub const ALL: [Group; 8] = [
        Group::Listening,
        Group::Access,
        Group::State,
        Group::Broker,
        Group::Timers,
        Group::History,
        Group::Limits,
        Group::Logging,
    ];

    /// What stands above its knobs.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Group::Listening => "Listening",
            Group::Access => "Access",
            Group::State => "State",
            Group::Broker => "Redis between several nodes",
            Group::Timers => "Timers (10ms to 1d)",
            Group::History => "History (for all channels: N; for those whose names begin so: chat-=N)",
            Group::Limits => "Limits (sizes from 1KiB to 1GiB)",
            Group::Logging => "Logging",
        }
    }
}

impl Knob {
    /// The knob of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Knob> {
        KNOBS.iter().find(|knob| knob.name == name)
    }

    /// The knob whose name is most like this one, if that is like enough to be a slip.
    #[must_use]
    pub fn meant_by(name: &str) -> Option<&'static Knob> {
        let alike = KNOBS.iter().map(|knob| (strsim::jaro_winkler(name, knob.name), knob));
        let (alike, knob) = alike.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (alike >= ALIKE).then_some(knob)
    }

    /// The flag.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// The environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("SHAVEET_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// What holds when nothing is written, as it would be written.
    #[must_use]
    pub fn preset(&self) -> Option<&'static str> {
        match self.default {
            Preset::Value(text) => Some(text),
            Preset::Absent(_) => None,
        }
    }

    /// What it means that nothing is written, if that is no value.
    #[must_use]
    pub fn absent(&self) -> Option<&'static str> {
        match self.default {
            Preset::Value(_) => None,
            Preset::Absent(what) => Some(what),
        }
    }

    /// Whether it may have several values.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self.form, Form::List | Form::Rules)
    }

    /// A value as it may be shown to whoever reads a log or a terminal: without a password in it.
    #[must_use]
    pub fn shown(&self, text: &str) -> String {
        if self.value == "URL" { broker::shown(text) } else { text.to_owned() }
    }

    /// Reads a value, or one of several.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed.
    pub(super) fn read(&self, draft: &mut Draft, text: &str) -> Result<(), String> {
        (self.read)(draft, text).map_err(|wrong| format!("{wrong}; allowed: {}", self.allowed))
    }

    /// Whether this could be its value, or one of several.
    ///
    /// # Errors
    /// As [`Knob::read`].
    pub fn check(&self, text: &str) -> Result<(), String> {
        self.read(&mut Draft::empty(), text)
    }
}

const TIMES: &str = "10ms to 1d, written as 500ms, 25s or 1h30m";
const LONG_TIMES: &str = "10ms to 30d, written as 500ms, 25s or 1d";
const SIZES: &str = "1KiB to 1GiB, written as 65536, 128KiB or 4MB";
const MILLIONS: &str = "1 to 10000000";
const MILLION: &str = "1 to 1000000";
const ADDRESSES: &str = "127.0.0.1:8082, [::1]:8082, unix:/path, or 8082 for all interfaces";

/// All of them, as the help shows them.
pub static KNOBS: &[Knob] = &[
    Knob {
        name: "listen",
        group: Group::Listening,
        form: Form::List,
        value: "ADDR",
        allowed: ADDRESSES,
        default: Preset::Value("8082"),
        help: "Where to listen: 127.0.0.1:8082, [::1]:8082, unix:/path, or 8082 for all interfaces. May be given several times, or \
               as a list with commas. Port 0 is any free port; the real one is printed at the start",
        reason: "The original's port, on all interfaces as there.",
        acts: Acts::AtStart,
        read: |draft, text| push(&mut draft.config.listen, values::address(text)),
    },
    Knob {
        name: "rpc-listen",
        group: Group::Access,
        form: Form::List,
        value: "ADDR",
        allowed: ADDRESSES,
        default: Preset::Absent("nowhere; the listeners serve both"),
        help: "Listen here for the JSON-RPC API alone, written as for --listen; the other listeners serve it no more",
        reason: "The original's port serves pages and the web application.",
        acts: Acts::AtStart,
        read: |draft, text| push(&mut draft.config.rpc_listen, values::address(text)),
    },
    Knob {
        name: "rpc-socket-mode",
        group: Group::Access,
        form: Form::One,
        value: "MODE",
        allowed: "a file mode of three octal digits that lets its owner in, such as 600 or 660",
        default: Preset::Value("660"),
        help: "File mode of a Unix socket there: who may write to it may call",
        reason: "Who is to call is put into the file's group.",
        acts: Acts::AtStart,
        read: |draft, text| set(&mut draft.config.rpc_socket_mode, values::socket_mode(text)),
    },
    Knob {
        name: "rpc-token-file",
        group: Group::Access,
        form: Form::One,
        value: "FILE",
        allowed: "the path of a file with one line",
        default: Preset::Absent("calls need no token"),
        help: "A file with a token of 16 characters or more: calls without `Authorization: Bearer TOKEN` are refused",
        reason: "The original's clients send none.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.rpc_token_file, values::path(text)),
    },
    Knob {
        name: "rpc-host",
        group: Group::Access,
        form: Form::List,
        value: "NAME",
        allowed: "letters, digits, dots and hyphens, without a port",
        default: Preset::Absent("localhost and addresses alone"),
        help: "Names, besides localhost, that the web application on this machine calls it by, and that the dashboard has",
        reason: "Any site can have its name lead to this machine's address (DNS rebinding).",
        acts: Acts::AtOnce,
        read: |draft, text| push(&mut draft.config.rpc_host, values::host_name(text)),
    },
    Knob {
        name: "rpc-allow",
        group: Group::Access,
        form: Form::List,
        value: "NET",
        allowed: "127.0.0.1, 10.0.0.0/8, ::1, fd00::/8, any",
        default: Preset::Value("127.0.0.1/32,::1/128"),
        help: "Who may call the JSON-RPC API: addresses and networks (127.0.0.1, 10.0.0.0/8) of the web application, with commas \
               between them, or `any`. Whoever is listed can read and send everything",
        reason: "This machine alone, since whoever calls the API reads and writes everything.",
        acts: Acts::AtOnce,
        read: |draft, text| extend(&mut draft.config.rpc_allow, values::rpc_allow(text)),
    },
    Knob {
        name: "trusted-proxy",
        group: Group::Access,
        form: Form::List,
        value: "NET",
        allowed: "127.0.0.1, 10.0.0.0/8, ::1, fd00::/8, any, none",
        default: Preset::Value("127.0.0.1/32,::1/128"),
        help: "Proxies whose X-Forwarded-For is believed, written likewise, or `none`. Name the nginx in front if it runs on another \
               machine, so that pages behind it are not taken for the web application",
        reason: "Where nginx usually runs; without it each page behind that nginx would look like the web application.",
        acts: Acts::AtOnce,
        read: |draft, text| extend(&mut draft.config.trusted_proxy, values::trusted_proxy(text)),
    },
    Knob {
        name: "allow-origin",
        group: Group::Access,
        form: Form::List,
        value: "ORIGIN",
        allowed: "an origin such as https://www.example.org, without a path, or * for all",
        default: Preset::Value("*"),
        help: "Origins of the pages that may poll from another host than this, such as https://www.example.org, or * for all",
        reason: "As the original; a page is given away nothing but by its key.",
        acts: Acts::AtOnce,
        read: |draft, text| push(&mut draft.config.allow_origin, values::origin(text)),
    },
    Knob {
        name: "demo",
        group: Group::Access,
        form: Form::Switch,
        value: "ON",
        allowed: "on, off",
        default: Preset::Value("off"),
        help: "Serve /demo, a page that shows the server at work: for a first look, as whoever reaches it may speak there",
        reason: "Whoever reaches it gets a client, and may speak in one channel.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.demo, values::on_or_off(text)),
    },
    Knob {
        name: "state",
        group: Group::State,
        form: Form::One,
        value: "FILE",
        allowed: "the path of a file",
        default: Preset::Absent("nothing is kept"),
        help: "Keep what is known over a restart in this file: clients, subscriptions, positions, history. It is written when the \
               server stops",
        reason: "The original kept nothing.",
        acts: Acts::AtStart,
        read: |draft, text| set(&mut draft.config.state, values::path(text)),
    },
    Knob {
        name: "state-interval",
        group: Group::State,
        form: Form::One,
        value: "TIME",
        allowed: TIMES,
        default: Preset::Absent("only when it stops"),
        help: "Write it this often besides, for when the server is killed",
        reason: "Pages are told a gap after a kill in any case; it is written in some milliseconds of each such time. It is put in the \
                 place of the one before without waiting for the disk: whether it outlives a loss of power is up to the file system.",
        acts: Acts::AtStart,
        read: |draft, text| set(&mut draft.config.state_interval, values::timer(text)),
    },
    Knob {
        name: "state-ignore",
        group: Group::State,
        form: Form::Switch,
        value: "ON",
        allowed: "on, off",
        default: Preset::Value("off"),
        help: "Start without what is in the file, which is put aside",
        reason: "Clients that pages have would be forgotten.",
        acts: Acts::AtStart,
        read: |draft, text| set(&mut draft.config.state_ignore, values::on_or_off(text)),
    },
    Knob {
        name: "broker",
        group: Group::Broker,
        form: Form::One,
        value: "URL",
        allowed: "redis://[user:password@]host[:port][/database], rediss:// (TLS), redis+sentinel://host,host/NAME, redis+unix:///path",
        default: Preset::Absent("none; one node alone, in memory"),
        help: "The Redis (7.0 or newer, or Valkey) that several nodes share: redis://[user:password@]host[:port][/database]; \
               rediss:// by TLS, if the program is built with it; redis+unix:///path; redis+sentinel://host,host/NAME; several hosts of a Cluster with commas",
        reason: "One node needs nothing beside it.",
        acts: Acts::AtStart,
        read: |draft, text| set(&mut draft.config.broker, values::broker(text)),
    },
    Knob {
        name: "broker-password-file",
        group: Group::Broker,
        form: Form::One,
        value: "FILE",
        allowed: "the path of a file with one line",
        default: Preset::Absent("the password of the URL, if it has one"),
        help: "A file with the password for it, read at each connection: other users of the machine see what flags say",
        reason: "Many a Redis has none.",
        acts: Acts::AtStart,
        read: |draft, text| set(&mut draft.config.broker_password_file, values::path(text)),
    },
    Knob {
        name: "broker-prefix",
        group: Group::Broker,
        form: Form::One,
        value: "NAME",
        allowed: "1 to 64 letters, digits, dots, hyphens and underscores",
        default: Preset::Value("shaveet"),
        help: "What its keys and channels begin with, in braces: nodes with the same one are one server",
        reason: "They are found by KEYS {shaveet}:*, and a Cluster keeps what is in the same braces together.",
        acts: Acts::AtStart,
        read: |draft, text| set(&mut draft.config.broker_prefix, values::broker_prefix(text)),
    },
    Knob {
        name: "broker-timeout",
        group: Group::Broker,
        form: Form::One,
        value: "TIME",
        allowed: "100ms to 1m, written as 500ms or 2s",
        default: Preset::Value("2s"),
        help: "A call that it does not answer within this time fails, and a connection on which nothing comes is made anew",
        reason: "A thousand times what it takes, and shorter than a web application waits.",
        acts: Acts::AtStart,
        read: |draft, text| set(&mut draft.config.broker_timeout, values::broker_timeout(text)),
    },
    Knob {
        name: "drain",
        group: Group::Timers,
        form: Form::One,
        value: "TIME",
        allowed: "0s to 10m, written as 500ms or 5s",
        default: Preset::Value("5s"),
        help: "Over how much time a server that stops answers the parked polls and streams, each page to come back after a time of its \
               own; 1000 a second at least, so a few take none of it. 0s for all at once",
        reason: "A crowd that returns within a second is the next server's first load.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.drain, values::drain(text)),
    },
    Knob {
        name: "poll-timeout",
        group: Group::Timers,
        form: Form::One,
        value: "TIME",
        allowed: TIMES,
        default: Preset::Value("25s"),
        help: "Answer a poll without news after this time, or up to a tenth earlier, so that pages do not return all at once. Keep it \
               below the read timeout of the proxy in front",
        reason: "The original's; well below the 60 s for which nginx waits for an answer (`proxy_read_timeout`).",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.poll_timeout, values::timer(text)),
    },
    Knob {
        name: "max-idle",
        group: Group::Timers,
        form: Form::One,
        value: "TIME",
        allowed: TIMES,
        default: Preset::Value("10s"),
        help: "A client that has not polled for this time is gone. Raise it for pages on bad lines, lower it to see people leave \
               sooner",
        reason: "The original's: a page polls again at once, or a second after an error.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.max_idle, values::timer(text)),
    },
    Knob {
        name: "min-alive",
        group: Group::Timers,
        form: Form::One,
        value: "TIME",
        allowed: TIMES,
        default: Preset::Value("60s"),
        help: "A new client has this long for its first poll. Raise it if your pages load slowly",
        reason: "The original's: the page is still loading when the web application has made its client.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.min_alive, values::timer(text)),
    },
    Knob {
        name: "sweep-interval",
        group: Group::Timers,
        form: Form::One,
        value: "TIME",
        allowed: TIMES,
        default: Preset::Value("10s"),
        help: "How often clients that are gone are collected",
        reason: "The original's.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.sweep_interval, values::timer(text)),
    },
    Knob {
        name: "channel-idle",
        group: Group::Timers,
        form: Form::One,
        value: "TIME",
        allowed: TIMES,
        default: Preset::Value("10m"),
        help: "Forget a channel that nobody is subscribed to, with its history, when unused for this time",
        reason: "Longer than a page reload or a short outage, short enough that channel names made per user or per day do not pile \
                 up.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.channel_idle, values::timer(text)),
    },
    Knob {
        name: "head-timeout",
        group: Group::Timers,
        form: Form::One,
        value: "TIME",
        allowed: TIMES,
        default: Preset::Value("10s"),
        help: "Time for a request line and its headers to arrive, from the first byte",
        reason: "Ample on a bad line, and the end of a peer that sends a byte now and then.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.head_timeout, values::timer(text)),
    },
    Knob {
        name: "body-timeout",
        group: Group::Timers,
        form: Form::One,
        value: "TIME",
        allowed: TIMES,
        default: Preset::Value("30s"),
        help: "Time for a request body to arrive. Raise it for large messages over slow lines",
        reason: "4 MiB at a little more than 1 Mbit/s.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.body_timeout, values::timer(text)),
    },
    Knob {
        name: "idle-timeout",
        group: Group::Timers,
        form: Form::One,
        value: "TIME",
        allowed: TIMES,
        default: Preset::Value("75s"),
        help: "Close a connection without a request after this time. Keep it above the keepalive_timeout of an nginx in front (60s)",
        reason: "Longer than the 60 s for which nginx keeps its connections to us, so that nginx closes first and never sends a \
                 request into a closing one.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.idle_timeout, values::timer(text)),
    },
    Knob {
        name: "write-timeout",
        group: Group::Timers,
        form: Form::One,
        value: "TIME",
        allowed: TIMES,
        default: Preset::Value("30s"),
        help: "Close a connection whose peer takes nothing of its answer for this time",
        reason: "Past it the line is dead, and the answer's memory is better used for others.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.write_timeout, values::timer(text)),
    },
    Knob {
        name: "history",
        group: Group::History,
        form: Form::Rules,
        value: "COUNT",
        allowed: MILLION,
        default: Preset::Value("100"),
        help: "Messages kept per channel, 1 to 1000000: a page that is further behind is told that it has lost the rest",
        reason: "Covers a page reload, a tunnel and a short outage. The original kept 10.",
        acts: Acts::AtOnce,
        read: |draft, text| draft.rules.history.add(text, values::history),
    },
    Knob {
        name: "history-system",
        group: Group::History,
        form: Form::Rules,
        value: "COUNT",
        allowed: "1 to 1000000, or shared",
        default: Preset::Value("100"),
        help: "Joins, leaves and other system messages kept beside them, 1 to 1000000, or `shared` to have them count among the \
               others, as the original server did",
        reason: "A crowd that comes and goes does not push out what was said.",
        acts: Acts::AtOnce,
        read: |draft, text| draft.rules.history_system.add(text, values::history_system),
    },
    Knob {
        name: "history-bytes",
        group: Group::History,
        form: Form::Rules,
        value: "SIZE",
        allowed: SIZES,
        default: Preset::Value("1MiB"),
        help: "Bytes kept per channel, of either kind; the newest message stays however large it is",
        reason: "100 messages of 10 KB.",
        acts: Acts::AtOnce,
        read: |draft, text| draft.rules.history_bytes.add(text, values::size),
    },
    Knob {
        name: "history-age",
        group: Group::History,
        form: Form::Rules,
        value: "TIME",
        allowed: LONG_TIMES,
        default: Preset::Value("10m"),
        help: "How long messages are kept, 10ms to 30d; the newest stays",
        reason: "A page that was away for longer is better told to load anew.",
        acts: Acts::AtOnce,
        read: |draft, text| draft.rules.history_age.add(text, values::long_time),
    },
    Knob {
        name: "history-total",
        group: Group::History,
        form: Form::One,
        value: "SIZE",
        allowed: SIZES,
        default: Preset::Value("256MiB"),
        help: "Bytes kept by all channels together: those that were not used for longest give up theirs first",
        reason: "Fits a small machine beside its web application.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.history_total, values::size(text)),
    },
    Knob {
        name: "presence",
        group: Group::History,
        form: Form::Rules,
        value: "ON",
        allowed: "on, off",
        default: Preset::Value("on"),
        help: "Whether joins and leaves are published: `on` or `off`. In a room of n pages each costs n deliveries",
        reason: "As the original.",
        acts: Acts::AtOnce,
        read: |draft, text| draft.rules.presence.add(text, values::on_or_off),
    },
    Knob {
        name: "departed-max",
        group: Group::Limits,
        form: Form::One,
        value: "COUNT",
        allowed: "0 to 10000000",
        default: Preset::Value("100000"),
        help: "Clients remembered after they are gone, 0 to 10000000, so that they can come back with their subscriptions",
        reason: "The original's. The least recently collected go first.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.departed_max, values::count(text, 0..=10_000_000)),
    },
    Knob {
        name: "departed-age",
        group: Group::Limits,
        form: Form::One,
        value: "TIME",
        allowed: LONG_TIMES,
        default: Preset::Value("1d"),
        help: "How long they are remembered, 10ms to 30d: the longest sleep of a laptop that matters",
        reason: "A laptop that slept over night finds its subscriptions; the original had no such limit.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.departed_age, values::long_time(text)),
    },
    Knob {
        name: "max-head",
        group: Group::Limits,
        form: Form::One,
        value: "SIZE",
        allowed: SIZES,
        default: Preset::Value("128KiB"),
        help: "Size of a request line with its headers. Long client ids, many in one poll, or large cookies need more",
        reason: "Room for a request line of 64 KB, as the original has it.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.max_head, values::size(text)),
    },
    Knob {
        name: "max-body",
        group: Group::Limits,
        form: Form::One,
        value: "SIZE",
        allowed: SIZES,
        default: Preset::Value("4MiB"),
        help: "Size of a request body, and so of the largest message",
        reason: "Messages of 3 MB have been seen. Large calls are done in slices, but a single message is published and written in one \
                 go: each MiB of it takes the loop more than 1 ms, each time.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.max_body, values::size(text)),
    },
    Knob {
        name: "max-answer",
        group: Group::Limits,
        form: Form::One,
        value: "SIZE",
        allowed: SIZES,
        default: Preset::Value("256KiB"),
        help: "Size of one poll answer; the rest comes with the next poll, at once. A larger one takes the loop longer",
        reason: "It is written in one go, in some 200 us. At least one message is always in it, however large.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.max_answer, values::size(text)),
    },
    Knob {
        name: "memory-max",
        group: Group::Limits,
        form: Form::One,
        value: "SIZE",
        allowed: "16MiB or more, written as 512MiB or 4GiB",
        default: Preset::Absent("three quarters of the machine's, or of its control group's"),
        help: "Memory that the process may use, 16MiB or more. Near it channels give up their history, then new clients and messages \
               are refused",
        reason: "The rest is for the kernel's buffers and the allocator's gaps.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.memory_max, values::memory(text).map(Some)),
    },
    Knob {
        name: "max-connections",
        group: Group::Limits,
        form: Form::One,
        value: "COUNT",
        allowed: MILLIONS,
        default: Preset::Value("1000000"),
        help: "Connections, 1 to 10000000. The system's limit of open files (ulimit -n) holds besides",
        reason: "Some 500 MB; the limit of descriptors is mostly lower, and does the same.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.max_connections, values::many(text)),
    },
    Knob {
        name: "max-connections-per-address",
        group: Group::Limits,
        form: Form::One,
        value: "COUNT",
        allowed: MILLIONS,
        default: Preset::Value("1000"),
        help: "Connections of one address that is no trusted proxy, 1 to 10000000; of IPv6 all with the same first 64 bits",
        reason: "A school behind one address, and not the process's descriptors.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.max_connections_per_address, values::many_small(text)),
    },
    Knob {
        name: "max-new-per-address",
        group: Group::Limits,
        form: Form::One,
        value: "COUNT",
        allowed: MILLIONS,
        default: Preset::Value("200"),
        help: "New ones of these within a second, 1 to 10000000",
        reason: "That school when a lesson begins.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.max_new_per_address, values::many_small(text)),
    },
    Knob {
        name: "max-clients",
        group: Group::Limits,
        form: Form::One,
        value: "COUNT",
        allowed: MILLIONS,
        default: Preset::Value("1000000"),
        help: "Clients, 1 to 10000000, those remembered included",
        reason: "Some 500 MB.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.max_clients, values::many(text)),
    },
    Knob {
        name: "max-channels",
        group: Group::Limits,
        form: Form::One,
        value: "COUNT",
        allowed: MILLIONS,
        default: Preset::Value("1000000"),
        help: "Channels, 1 to 10000000",
        reason: "One for each client.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.max_channels, values::many(text)),
    },
    Knob {
        name: "max-subscriptions",
        group: Group::Limits,
        form: Form::One,
        value: "COUNT",
        allowed: MILLION,
        default: Preset::Value("1000"),
        help: "Subscriptions of one client, 1 to 1000000; each of its polls looks at all of them",
        reason: "When a client with so many comes or goes it takes some 300 us in which nobody else is served. The original had no such \
                 limit.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.max_subscriptions, values::history(text)),
    },
    Knob {
        name: "max-polls",
        group: Group::Limits,
        form: Form::One,
        value: "COUNT",
        allowed: "2 to 1000",
        default: Preset::Value("16"),
        help: "Polls that one client may have parked, 2 to 1000: tabs that share an id",
        reason: "As many tabs of one page.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.max_polls, values::count(text, 2..=1000)),
    },
    Knob {
        name: "max-poll-rate",
        group: Group::Limits,
        form: Form::One,
        value: "COUNT",
        allowed: MILLIONS,
        default: Preset::Value("100"),
        help: "Polls of one client within a second that come to nothing new, 1 to 10000000: a page in a hot loop has to wait",
        reason: "No page that works does so more than now and then, and one in a hot loop takes a hundredth of the loop's time.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.max_poll_rate, values::many_small(text)),
    },
    Knob {
        name: "max-name",
        group: Group::Limits,
        form: Form::One,
        value: "SIZE",
        allowed: "16 to 1MiB, written as 256 or 64KiB",
        default: Preset::Value("64KiB"),
        help: "Size of a client's id or a channel's name. 256 bytes are plenty for new applications",
        reason: "Ids of 60 KB have been seen.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.max_name, values::name_size(text)),
    },
    Knob {
        name: "log",
        group: Group::Logging,
        form: Form::One,
        value: "LEVEL",
        allowed: "off, error, warn, info, debug, trace, or such as shaveet=debug,mio=info",
        default: Preset::Value("info"),
        help: "What is logged to stderr: off, error, warn, info, debug or trace. RUST_LOG says the same, if SHAVEET_LOG does not",
        reason: "What an operator wants to know, and no line for each of 10,000 pages.",
        acts: Acts::AtOnce,
        read: |draft, text| set(&mut draft.config.log, values::log(text)),
    },
];

fn set<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    value.map(|value| *place = value)
}

fn push<T>(place: &mut Vec<T>, value: Result<T, String>) -> Result<(), String> {
    value.map(|value| place.push(value))
}

fn extend<T>(place: &mut Vec<T>, values: Result<Vec<T>, String>) -> Result<(), String> {
    values.map(|values| place.extend(values))
}
