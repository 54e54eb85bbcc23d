//! The beginning of a line: to be let in by Redis, to see that it is one that can be used, and to bring our functions along.
//!
//! Each thing that can stand against it has a message of its own, which says what to do.

use super::{Asked, Link};
use crate::broker::address::Place;
use crate::broker::{Value, library};

/// What is asked, in this order. A Sentinel is only asked for the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// HELLO, with the user and the password.
    Hello,
    /// The number of the database, if it is not 0.
    Database,
    /// Which revision of our functions it has.
    Revision,
    /// Which life of the data it is, as those say that are older than ours.
    Life,
    /// That it takes ours.
    Library,
    /// How often there was another master, as Sentinels count.
    Epoch,
    /// Where the master is.
    Master,
}

impl Link {
    /// Says who we are to whoever is at the other end.
    pub(super) fn greet(&mut self) {
        let is_sentinel = self.asks_sentinel();
        let address = self.options.address.clone();
        let mut parts: Vec<&[u8]> = vec![b"HELLO", b"3"];
        let password = address.password.as_ref().map_or("", |password| password.secret());
        let has_login = address.password.is_some() || address.user.is_some();
        if has_login && (!is_sentinel || self.sentinels_ask) {
            let user = address.user.as_deref().unwrap_or("default");
            parts.extend([&b"AUTH"[..], user.as_bytes(), password.as_bytes()]);
        }
        let name = self.options.name.clone();
        parts.extend([&b"SETNAME"[..], name.as_bytes()]);
        self.ask(Asked::Greeting(Step::Hello), &parts);
    }

    /// Whether the other end is a Sentinel, and not whom it has named.
    fn asks_sentinel(&self) -> bool {
        self.options.address.master.is_some() && self.detour.is_none()
    }

    pub(super) fn hear_greeting(&mut self, step: Step, value: Value) {
        if let Value::Error(error) = &value {
            let error = super::told(error);
            return self.hear_refusal(step, &error);
        }
        match step {
            Step::Hello => match self.unfit(&value) {
                Some(why) => self.fail(&why),
                None if self.watches => {
                    self.go_live();
                    self.ask_for_master();
                }
                None if self.asks_sentinel() => self.ask_for_master(),
                None => self.ask_for_revision(),
            },
            Step::Epoch => self.master_epoch = config_epoch(&value).unwrap_or(0),
            Step::Master => match master(&value) {
                Some((host, port)) if self.watches => {
                    self.named = Some((self.master_epoch, Place::named(&host, port, self.place())));
                }
                Some((host, port)) => self.send_on(Place::named(&host, port, self.place())),
                None => {
                    let name = self.options.address.master.clone().unwrap_or_default();
                    self.fail(&format!("this Sentinel knows no master \"{name}\""));
                }
            },
            Step::Database => {}
            Step::Revision if value.int().is_some_and(|revision| revision >= library::REVISION) => self.go_live(),
            Step::Revision => self.ask_ours(Step::Life, library::LIFE_FUNCTION),
            Step::Life => self.load_library(value.text().unwrap_or_default()),
            Step::Library => self.go_live(),
        }
    }

    fn hear_refusal(&mut self, step: Step, error: &str) {
        match (step, error.split(' ').next()) {
            (Step::Revision | Step::Life, Some("ERR")) if error.contains("Function not found") => self.load_library(""),
            (_, Some("MOVED")) => self.follow_move(error),
            (Step::Hello, Some("NOAUTH")) if self.asks_sentinel() && self.may_log_in_to_sentinels() => {
                self.sentinels_ask = true;
                self.drop_line();
                self.dial();
            }
            // Its user may not ask, say: then all masters count alike.
            (Step::Epoch, _) => self.master_epoch = 0,
            (Step::Master, Some("ERR")) => self.fail("it is no Sentinel: a Redis is named by redis://"),
            (Step::Library, _) => self.fail(&format!("it does not take our functions: {}", explained(error))),
            (Step::Database, _) => {
                self.fail(&format!("it has no database {}: it answers: {error}", self.options.address.database));
            }
            _ => self.fail(&explained(error)),
        }
    }

    fn may_log_in_to_sentinels(&self) -> bool {
        self.options.address.password.is_some() && !self.sentinels_ask
    }

    /// Why somebody who answers HELLO so cannot be used, if that is so.
    fn unfit(&self, hello: &Value) -> Option<String> {
        let of = |name: &str| {
            let pairs = hello.list()?.chunks_exact(2);
            let value =
                pairs.filter(|pair| pair[0].bytes() == Some(name.as_bytes())).find_map(|pair| pair[1].bytes())?;
            Some(super::told(&String::from_utf8_lossy(value)))
        };
        let (version, mode, role) = (of("version")?, of("mode"), of("role"));
        if self.asks_sentinel() {
            return (mode.as_deref() != Some("sentinel"))
                .then(|| "it is no Sentinel: a Redis is named by redis://".into());
        }
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major < VERSION_LEAST) {
            return Some(format!("it is Redis {version}: {VERSION_LEAST}.0 or newer is needed, for its functions"));
        }
        match (mode.as_deref(), role.as_deref()) {
            (Some("sentinel"), _) => Some("it is a Sentinel: write redis+sentinel://.../NAME".into()),
            (_, Some("master") | None) => None,
            (_, Some(_)) => Some(REPLICA.into()),
        }
    }

    pub(super) fn ask_for_master(&mut self) {
        let name = self.options.address.master.clone().unwrap_or_default();
        self.ask(Asked::Greeting(Step::Epoch), &[b"SENTINEL", b"MASTER", name.as_bytes()]);
        self.ask(Asked::Greeting(Step::Master), &[b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name.as_bytes()]);
    }

    /// With a key of ours, so that another node of a Cluster says which of them has our keys.
    fn ask_for_revision(&mut self) {
        let database = self.options.address.database;
        if database > 0 {
            self.ask(Asked::Greeting(Step::Database), &[b"SELECT", database.to_string().as_bytes()]);
        }
        self.ask_ours(Step::Revision, library::REVISION_FUNCTION);
    }

    fn ask_ours(&mut self, step: Step, function: &str) {
        let key = format!("{{{}}}:hub", self.options.prefix);
        self.ask(Asked::Greeting(step), &[b"FCALL_RO", function.as_bytes(), b"1", key.as_bytes()]);
    }

    fn load_library(&mut self, life: &str) {
        let text = library::text_of(life);
        self.ask(Asked::Greeting(Step::Library), &[b"FUNCTION", b"LOAD", b"REPLACE", text.as_bytes()]);
    }

    /// `MOVED slot host:port`: another node of the Cluster has our keys.
    pub(super) fn follow_move(&mut self, error: &str) {
        let place = error.split(' ').nth(2).and_then(|place| place.rsplit_once(':'));
        match place.and_then(|(host, port)| Some((host, port.parse().ok()?))) {
            Some((host, port)) => self.send_on(Place::named(host, port, self.place())),
            None => self.fail(&explained(error)),
        }
    }
}

/// Functions came with this version of Redis; Valkey calls itself 7.2.4 for who asks so.
const VERSION_LEAST: u32 = 7;

const REPLICA: &str = "it is a read-only replica: name its master, or the Sentinels (redis+sentinel://)";

/// A host and a port, as Sentinel answers.
fn master(value: &Value) -> Option<(String, u16)> {
    let [host, port] = value.list()? else { return None };
    let host = String::from_utf8(host.bytes()?.to_vec()).ok()?;
    Some((host, std::str::from_utf8(port.bytes()?).ok()?.parse().ok()?))
}

/// As Sentinel answers to SENTINEL MASTER: it grows with each failover.
fn config_epoch(value: &Value) -> Option<u64> {
    let pairs = value.list()?.chunks_exact(2);
    pairs.filter(|pair| pair[0].bytes() == Some(b"config-epoch")).find_map(|pair| pair[1].number())
}

/// What an error of Redis means for us, and what to do.
pub(super) fn explained(error: &str) -> String {
    let means = match error.split(' ').next().unwrap_or_default() {
        "WRONGPASS" => "wrong user name or password: see --broker and --broker-password-file",
        "NOAUTH" => "it asks for a password: write redis://user:password@host, or --broker-password-file",
        "NOPROTO" => "it does not speak RESP3: Redis 7.0 or newer is needed",
        "ERR" if error.contains("unknown command") && error.contains("HELLO") => {
            "it does not speak RESP3: Redis 7.0 or newer is needed"
        }
        "LOADING" => "it is still loading its data",
        "READONLY" => REPLICA,
        "MASTERDOWN" => "it is a replica that has lost its master",
        "BUSY" => "a script keeps it busy",
        "NOPERM" => "its user may not do that: see docs/redis.md for its ACL",
        _ => return format!("it answers: {error}"),
    };
    format!("{means} ({error})")
}
