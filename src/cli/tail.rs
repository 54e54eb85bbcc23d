//! `shaveet tail`: what is said in channels, as it is said.
//!
//! It is a page: a client of its own, and long polls of the resume protocol. So it gets each message once and in order or is told
//! what is lost, and goes on where it was when its connection breaks. When the server does not know its client any more, as
//! after a restart without `--state`, it makes itself another, from the same position.

use std::fmt;
use std::time::Duration;

use clap::ArgMatches;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::ask::api::Api;
use super::ask::failure::Failure;
use super::ask::http::{Answer, Connection, encoded, request};
use super::ask::news::News;
use super::ask::output::{Output, Plain, say};
use super::ask::random_name;
use super::ask::reach::{PAGES_URL, Reach};
use super::ask::syntax::{Argument, Form, Syntax};
use super::ask::wait::{Event, Interrupts};

/// What is followed, and how it is shown.
#[derive(Debug)]
pub(super) struct Options {
    channels: Vec<String>,
    from_beginning: bool,
    count: Option<u64>,
    without_system: bool,
    as_json: bool,
}

pub(super) const SYNTAX: Syntax = Syntax {
    name: "tail",
    about: "Show what is published in channels, until Ctrl-C; goes on when the server has been restarted",
    notes: NOTES,
    arguments: &[
        Argument::new("CHANNEL", Form::Words, "Which; may be several"),
        Argument::new("all", Form::Switch, "Begin with what the channels hold").short('a'),
        Argument::new("count", Form::Number("COUNT", 1, u64::MAX), "End after so many messages").short('n'),
        Argument::new("no-system", Form::Switch, "Without joins and leaves"),
        Argument::new(
            "json",
            Form::Switch,
            "An object of JSON for each message, on a line of its own; and for each loss: {\"gap\": {...}}",
        ),
        PAGES_URL,
    ],
};

const NOTES: &str = "\
A line is the channel, the message's id, who says it, and the text; what is lost
is told on standard error. It is a client as pages are: others see it join and
leave, and it is killed in the end.
The exit code is 0 after Ctrl-C, 1 if it could not begin or may not go on, 2 for
wrong arguments.

Examples:
  shaveet tail room
  shaveet tail --json --all room news | jq .data
  shaveet tail -n 1 room    wait for a message";

impl Options {
    pub(super) fn of(matches: &ArgMatches) -> Options {
        Options {
            channels: matches.get_many::<String>("CHANNEL").unwrap_or_default().cloned().collect(),
            from_beginning: matches.get_flag("all"),
            count: matches.get_one("count").copied(),
            without_system: matches.get_flag("no-system"),
            as_json: matches.get_flag("json"),
        }
    }
}

/// Follows until the user has enough of it.
///
/// # Errors
/// It cannot begin, or the server does not let it go on. That it cannot be reached for a while is none.
pub(super) fn run(options: &Options, reach: &Reach, output: &mut Output) -> Result<(), Failure> {
    let interrupts = Interrupts::new().map_err(|error| Failure::Other(format!("cannot listen to signals: {error}")))?;
    // Ids with `admin` in them are not listed among those who are in a channel.
    let id = format!("admin-tail-{}", random_name()?);
    let mut follower = Follower {
        options,
        api: Api::new(reach),
        interrupts,
        id,
        key: String::new(),
        since: String::new(),
        connection: None,
        pause: PAUSE_MIN,
        is_away: false,
        has_begun: false,
        seen: 0,
    };
    let done = follower.begin().and_then(|()| follower.follow(output));
    follower.leave();
    done
}

/// How long it waits before it tries again: at first, and when that has not helped for long.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The longest time that the server may have it stay away.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Older than all messages: a position of no server's.
const BEGINNING: &str = "0000000000000000-0";

struct Follower<'r> {
    options: &'r Options,
    api: Api<'r>,
    interrupts: Interrupts,
    id: String,
    key: String,
    /// How far it has come; empty before it has begun.
    since: String,
    connection: Option<Connection>,
    pause: Duration,
    /// The user has been told that the server cannot be reached.
    is_away: bool,
    /// It has been heard, or the server has gone: that its client is not known now is no mistake in the arguments.
    has_begun: bool,
    /// Messages that were shown.
    seen: u64,
}

/// Why nothing more is followed.
enum End {
    Wanted,
    Failed(Failure),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> End {
        End::Failed(failure)
    }
}

impl Follower<'_> {
    /// What does not go now will not go later.
    fn begin(&mut self) -> Result<(), Failure> {
        self.enter()?;
        let pages = &self.api.reach.pages;
        self.connection = Some(Connection::open(&pages.place).map_err(|error| Failure::of(&error, pages))?);
        Ok(())
    }

    /// Makes the client, and subscribes it from where it was.
    fn enter(&mut self) -> Result<(), Failure> {
        let key = self.api.call("create_client", json!([self.id]))?;
        self.key = key.as_str().unwrap_or_default().to_owned();
        let how = match &*self.since {
            "" if self.options.from_beginning => json!({"since": BEGINNING}),
            "" => Value::Null,
            since => json!({"since": since}),
        };
        if self.since.is_empty() {
            // The position before everything, but of this server: another one will be told from it.
            let info = self.api.call("client_info", json!([self.id]))?;
            self.since = info["acknowledged"].as_str().unwrap_or_default().to_owned();
        }
        let calls = self.options.channels.iter().map(|channel| ("subscribe", json!([self.id, channel, how])));
        self.api.calls(calls)?.into_iter().try_for_each(|subscribed| subscribed.map(drop))
    }

    /// Leaves nothing behind. If that does not go, the server has forgotten the client already, or will.
    fn leave(&mut self) {
        let _ = self.api.call("kill_client", json!([self.id]));
    }

    fn follow(&mut self, output: &mut Output) -> Result<(), Failure> {
        loop {
            let step = match self.poll() {
                Ok(Some(answer)) if answer.status == 200 => {
                    self.is_back();
                    self.show(&answer.body, output)
                }
                Ok(Some(answer)) if answer.status == 404 && self.has_begun => self.come_back(),
                // A proxy whose server is not there.
                Ok(Some(answer)) if answer.status >= 500 => self.missed().map(drop),
                Ok(Some(answer)) => Err(End::Failed(self.strange(&answer))),
                Ok(None) => Ok(()),
                Err(end) => Err(end),
            };
            match step {
                Ok(()) => {}
                Err(End::Wanted) => return Ok(()),
                Err(End::Failed(failure)) => return Err(failure),
            }
        }
    }

    /// Asks for what is new, and waits for the answer. There is none if the connection breaks; it is made anew next time.
    fn poll(&mut self) -> Result<Option<Answer>, End> {
        let pages = &self.api.reach.pages;
        let connection = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(&pages.place),
        };
        let credential = encoded(&format!("{}_!!_{}", self.id, self.key));
        let target = format!("/message_updates?client_id={credential}&since={}", self.since);
        let request = request("GET", &target, &pages.place.host(), "", b"");
        let sent = connection.and_then(|mut connection| connection.send(&request).map(|()| connection));
        let mut connection = match sent {
            Ok(connection) => connection,
            Err(_) => return self.missed(),
        };
        loop {
            let event = self.interrupts.wait(Some(std::os::fd::AsFd::as_fd(&connection)), None);
            match event.map_err(|error| Failure::Other(format!("cannot wait: {error}")))? {
                Event::Interrupted => return Err(End::Wanted),
                Event::OutputClosed => return Err(End::Failed(Failure::OutputClosed)),
                Event::Readable | Event::TimedOut => {}
            }
            match connection.read() {
                Ok(Some(answer)) => {
                    if !answer.is_last {
                        self.connection = Some(connection);
                    }
                    return Ok(Some(answer));
                }
                Ok(None) => {}
                Err(_) => return self.missed(),
            }
        }
    }

    /// Notes that there is no connection. It is told once, and not at all if the next one is there at once.
    fn missed(&mut self) -> Result<Option<Answer>, End> {
        if self.pause > PAUSE_MIN && !self.is_away {
            self.is_away = true;
            let pages = &self.api.reach.pages.place;
            say(format_args!("{pages} has gone; trying again until it is back, Ctrl-C ends that"));
        }
        self.has_begun = true;
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        self.wait(pause).map(|()| None)
    }

    fn is_back(&mut self) {
        self.has_begun = true;
        self.pause = PAUSE_MIN;
        if std::mem::take(&mut self.is_away) {
            say(format_args!("{} is back", self.api.reach.pages.place));
        }
    }

    /// The server does not know the client: it has been killed, or the server has forgotten all.
    fn come_back(&mut self) -> Result<(), End> {
        self.is_back();
        // Who is killed again and again shall not be made as fast.
        self.wait(PAUSE_MIN)?;
        match self.enter() {
            Ok(()) => {
                say("the server did not know this client any more; it has a new one");
                Ok(())
            }
            // It has just gone again.
            Err(Failure::Unreachable(_)) => self.missed().map(drop),
            Err(failure) => Err(failure.into()),
        }
    }

    fn wait(&self, time: Duration) -> Result<(), End> {
        match self.interrupts.wait(None, Some(time)).map_err(|error| Failure::Other(format!("cannot wait: {error}")))? {
            Event::Interrupted => Err(End::Wanted),
            Event::OutputClosed => Err(End::Failed(Failure::OutputClosed)),
            Event::TimedOut | Event::Readable => Ok(()),
        }
    }

    /// Shows what an answer holds, and waits as long as it says.
    fn show(&mut self, body: &[u8], output: &mut Output) -> Result<(), End> {
        let news = News::read(body)?;
        for gap in news.gaps {
            self.show_gap(gap, output)?;
        }
        for raw in news.messages {
            let message = Message(serde_json::from_str(raw.get()).unwrap_or_default());
            if message.is_system() && (self.options.without_system || message.from() == self.id) {
                continue;
            }
            if self.options.as_json {
                output.line(raw)?
            } else {
                output.line(&message)?
            }
            self.seen += 1;
            if self.options.count == Some(self.seen) {
                output.flush()?;
                return Err(End::Wanted);
            }
        }
        output.flush()?;
        self.since = news.since;
        if news.retry_ms > 0 { self.wait(Duration::from_millis(news.retry_ms).min(RETRY_MAX)) } else { Ok(()) }
    }

    fn show_gap(&self, raw: &RawValue, output: &mut Output) -> Result<(), Failure> {
        if self.options.as_json {
            return output.line(format_args!("{{\"gap\":{raw}}}"));
        }
        let gap: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        let limit = match gap["reason"].as_str().unwrap_or_default() {
            "count" => Some("the channel keeps no more (--history)"),
            "bytes" => Some("the channel keeps no more bytes (--history-bytes)"),
            "age" => Some("they were too old (--history-age)"),
            "memory" => Some("the server's memory was used up (--history-total, --memory-max)"),
            _ => None,
        };
        let what = if gap["system"] == Value::Bool(true) { "joins and leaves" } else { "messages" };
        output.flush()?;
        let channel = Plain(gap["channel"].as_str().unwrap_or_default());
        match limit {
            Some(why) => say(format_args!("{what} of {channel} before {} may be lost: {why}", gap["next_id"])),
            None => {
                let why = "the server began anew, without what it knew last (--state)";
                say(format_args!("{what} of {channel} may be lost, or come again: {why}"));
            }
        }
        Ok(())
    }

    fn strange(&self, answer: &Answer) -> Failure {
        let Reach { pages, calls, .. } = self.api.reach;
        let text = String::from_utf8_lossy(&answer.body);
        let text = Plain(text.trim());
        Failure::Other(match answer.status {
            404 if text.0.starts_with('{') => {
                format!("{} does not know the client that {} has made: are they one server?", pages.place, calls.place)
            }
            404 => format!("{} serves no pages: say by --pages-url where they are", pages.place),
            status => format!("{} answers {status}: {text}", pages.place),
        })
    }
}

/// A message of an answer.
struct Message(Value);

impl Message {
    fn text(&self, member: &str) -> &str {
        self.0[member].as_str().unwrap_or_default()
    }

    /// The server says it.
    fn is_system(&self) -> bool {
        self.0["system"] == Value::Bool(true)
    }

    /// A name as it is, nothing as nothing, another value as its JSON text.
    fn from(&self) -> String {
        match &self.0["from"] {
            Value::String(name) => name.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        }
    }
}

/// `room 41 alice: hello`, `room 42 page1 joins`.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [channel, data] = ["channel", "data"].map(|member| Plain(self.text(member)));
        write!(f, "{channel} {} {}", self.0["id"], Plain(&self.from()))?;
        if !self.is_system() {
            return write!(f, ": {data}");
        }
        let said: Value = serde_json::from_str(data.0).unwrap_or_default();
        match said["type"].as_str() {
            Some("subscribe") => f.write_str(" joins")?,
            Some("unsubscribe") => f.write_str(" leaves")?,
            Some("new_channel") => write!(f, " has a new channel, {}", Plain(said["name"].as_str().unwrap_or("?")))?,
            _ => write!(f, ": {data}")?,
        }
        match self.text("reason") {
            "" | "subscribed" | "unsubscribed" => Ok(()),
            reason => write!(f, " ({reason})"),
        }
    }
}
