//! The methods where several nodes share one model: each is a function in Redis, and its result is that function's reply.
//!
//! What a call means is the same; only where it is done is another. A call waits for its reply while others are served. If the
//! reply does not come the caller is told so, and cannot know whether the call was done: whoever publishes with an idempotency
//! key can call again.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::broker::{Failure, Ticket, Value};
use crate::clock::Ms;
use crate::hub::{self, ADMIN_MARK, Limit, MEDIA};

use super::additions::{
    LOOKS_MAX, PAGE_MAX, Publishing, write_channel_info, write_client_info, write_history, write_place, write_why,
};
use super::call::{Call, Service, none_left, options, write_names};
use super::fault::{Fault, faults};
use super::original::{new_key, write_hex};
use super::work::Work;

/// A call that waits for its reply.
#[derive(Debug)]
pub(super) struct Remote {
    ticket: Ticket,
    wanted: Wanted,
    /// Of whom or what an error is.
    name: Box<str>,
}

/// What a reply is to become.
#[derive(Debug)]
enum Wanted {
    One,
    TwoHundred,
    Key,
    Place,
    Names,
    /// Names that come bit by bit: those that have come.
    Members(BTreeSet<Box<str>>),
    Page(&'static str),
    ChannelInfo,
    ClientInfo,
    /// So many messages of a channel after this `seq`.
    History {
        since: u64,
        limit: usize,
    },
    /// What became of a message of that channel for a client, who is asked for first.
    Client {
        channel: Box<str>,
        id: u64,
    },
    /// ...and then the channel.
    Channel {
        client: Value,
        channel: Box<str>,
        id: u64,
    },
}

type Begin = fn(&mut Call<'_, '_, '_>) -> Result<(), Fault>;

/// The methods that are done elsewhere, but for those that are several calls of another one. Sorted.
const METHODS: [(&str, Begin); 14] = [
    ("channel_info", channel_info),
    ("client_info", client_info),
    ("create_client", create_client),
    ("get_channel_clients", get_channel_clients),
    ("get_client_channels", get_client_channels),
    ("history", history),
    ("kill_client", kill_client),
    ("list_channels", |call| list(call, "channels", "list_channels")),
    ("list_clients", |call| list(call, "clients", "list_clients")),
    ("new_message", new_message),
    ("rotate_key", rotate_key),
    ("subscribe", subscribe),
    ("unsubscribe", unsubscribe),
    ("why", why),
];

/// How a method is begun elsewhere, if it is.
pub(super) fn method(name: &str) -> Option<Begin> {
    METHODS.binary_search_by_key(&name, |(name, _)| name).ok().map(|at| METHODS[at].1)
}

impl Remote {
    /// The reply that it waits for.
    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }

    /// A publish that was asked for.
    pub(super) fn place(ticket: Ticket, channel: &str) -> Work {
        Work::Remote(Box::new(Remote { ticket, wanted: Wanted::Place, name: channel.into() }))
    }

    /// Goes on. True when the result is written, false while the reply is still to come.
    pub(super) fn go_on(&mut self, service: &mut Service<'_>, out: &mut Vec<u8>) -> Result<bool, Fault> {
        let Some(answer) = service.take_answer(self.ticket) else { return Ok(false) };
        let value = answer.map_err(|failure| fault(failure, &self.name))?;
        let is_written = match &mut self.wanted {
            Wanted::One => {
                out.push(b'1');
                Some(())
            }
            Wanted::TwoHundred => {
                out.extend_from_slice(b"200");
                Some(())
            }
            Wanted::Key => value.text().map(|key| write_hex(out, key.as_bytes())),
            Wanted::Place => place(&value).map(|(id, seq)| write_place(service, id, seq, out)),
            Wanted::Names => names(&value).map(|names| write_names(out, names.into_iter())),
            Wanted::Members(found) => match page(&value) {
                None => None,
                Some((next, names)) => {
                    found.extend(names.into_iter().map(Box::from));
                    if next != "null" {
                        self.ticket = ask_for_members(service, &self.name, &next)?;
                        return self.go_on(service, out);
                    }
                    write_names(out, found.iter().map(|name| &**name));
                    Some(())
                }
            },
            Wanted::Page(what) => page(&value).map(|(next, names)| {
                out.extend_from_slice(format!("{{\"{what}\":").as_bytes());
                write_names(out, names.into_iter());
                out.extend_from_slice(format!(",\"after\":{next}}}").as_bytes());
            }),
            Wanted::ChannelInfo => {
                channel_info_of(service, &self.name, &value).map(|info| write_channel_info(service, &info, out))
            }
            Wanted::ClientInfo => {
                client_info_of(service, &self.name, &value).map(|info| write_client_info(service, &info, out))
            }
            Wanted::History { since, limit } => {
                if value == Value::Null {
                    return Err(Fault::UnknownChannel(self.name.to_string()));
                }
                match service.picture(None, &value, &self.name) {
                    Some(hub) => Some(write_history(service, &hub, &self.name, *since, *limit, out)?),
                    None => None,
                }
            }
            Wanted::Client { channel, id } => {
                if value == Value::Null {
                    return Err(Fault::UnknownClient(self.name.to_string()));
                }
                self.ticket = service.ask("follow", &[channel.as_bytes(), b"0"])?;
                self.wanted = Wanted::Channel { client: value, channel: std::mem::take(channel), id: *id };
                return self.go_on(service, out);
            }
            Wanted::Channel { client, channel, id } => {
                let message = (&**channel, *id);
                write_fate_of(service, (&self.name, client), message, &value, out)?
            }
        };
        is_written.map(|()| true).ok_or_else(|| none_of_ours(&value))
    }
}

/// What became of a message of a channel for a client, by what the broker says of both.
fn write_fate_of(
    service: &Service<'_>,
    (id, client): (&str, &Value),
    (channel, message): (&str, u64),
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<Option<()>, Fault> {
    if *value == Value::Null {
        return Err(Fault::UnknownChannel(channel.to_owned()));
    }
    let Some(hub) = service.picture(Some((id, client)), value, channel) else { return Ok(None) };
    // Who waits is known here alone.
    let here = service.hub.client_info(service.now, id);
    let is_parked = here.is_ok_and(|info| info.polls.iter().any(|&polls| polls > 0));
    write_why(service.now, &hub, id, channel, message, Some(is_parked), out).map(Some)
}

/// What the broker knows of a channel, and how many polls are parked here.
fn channel_info_of(service: &Service<'_>, name: &str, value: &Value) -> Option<hub::ChannelInfo> {
    let [subscribers, active, messages, bytes, next_id, position] = numbers(value)?;
    let at = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Some(hub::ChannelInfo {
        subscribers: at(subscribers),
        active: at(active),
        parked: service.hub.channel_info(name).map_or(0, |info| info.parked),
        messages: at(messages),
        bytes: at(bytes),
        next_id,
        position,
    })
}

/// What the broker knows of a client, and what its pages hear by here.
fn client_info_of(service: &Service<'_>, id: &str, value: &Value) -> Option<hub::ClientInfo> {
    let [here, idle, position, subscriptions] = numbers(value)?;
    let polls = service.hub.client_info(service.now, id).map_or([0; MEDIA.len()], |info| info.polls);
    // What is acknowledged here is told now and then.
    let known = service.hub.find_client(id).map_or(0, |client| service.hub.acknowledged(client));
    let position = known.max(position);
    let idle = if polls.iter().any(|&polls| polls > 0) { Ms::ZERO } else { Ms(idle) };
    let subscriptions = usize::try_from(subscriptions).unwrap_or(usize::MAX);
    Some(hub::ClientInfo { here: here == 1, idle, polls, position, subscriptions })
}

/// Asks, and waits for the reply.
fn begin(
    call: &mut Call<'_, '_, '_>,
    function: &str,
    arguments: &[&[u8]],
    name: &str,
    wanted: Wanted,
) -> Result<(), Fault> {
    let ticket = call.service.ask(function, arguments)?;
    call.rest = Some(Work::Remote(Box::new(Remote { ticket, wanted, name: name.into() })));
    Ok(())
}

fn create_client(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let (id, key) = (call.name(0)?, new_key().hex());
    begin(call, "create_client", &[id.as_bytes(), &key], &id, Wanted::Key)
}

fn rotate_key(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let (id, key) = (call.name(0)?, new_key().hex());
    begin(call, "rotate_key", &[id.as_bytes(), &key], &id, Wanted::Key)
}

fn kill_client(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    begin(call, "kill_client", &[id.as_bytes()], &id, Wanted::TwoHundred)
}

fn subscribe(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let (id, channel) = (call.name(0)?, call.name(1)?);
    let mut options = options(call, 2)?;
    let since = call.position(options.remove("since"))?;
    none_left(&options)?;
    let since = since.map_or(String::new(), |seq| seq.to_string());
    call.service.tell_position(&id);
    begin(call, "subscribe", &[id.as_bytes(), channel.as_bytes(), since.as_bytes()], &id, Wanted::One)
}

fn unsubscribe(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let (id, channel) = (call.name(0)?, call.name(1)?);
    begin(call, "unsubscribe", &[id.as_bytes(), channel.as_bytes()], &id, Wanted::One)
}

fn new_message(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(2)?;
    let [from, message] = [call.arguments[0], call.arguments[1]];
    let publishing = Publishing::plain(from);
    let ticket = publishing.ask(call.service, &channel, &message.text())?;
    call.rest = Some(Work::Remote(Box::new(Remote { ticket, wanted: Wanted::One, name: channel.as_ref().into() })));
    Ok(())
}

fn get_channel_clients(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    let ticket = ask_for_members(call.service, &channel, "0")?;
    let wanted = Wanted::Members(BTreeSet::new());
    call.rest = Some(Work::Remote(Box::new(Remote { ticket, wanted, name: channel.as_ref().into() })));
    Ok(())
}

fn ask_for_members(service: &mut Service<'_>, channel: &str, cursor: &str) -> Result<Ticket, Fault> {
    service.ask("members", &[channel.as_bytes(), ADMIN_MARK.as_bytes(), cursor.as_bytes(), MEMBERS_PER_CALL])
}

/// Clients of a channel that are looked at in one go.
const MEMBERS_PER_CALL: &[u8] = b"500";

fn get_client_channels(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    begin(call, "channels_of", &[id.as_bytes()], &id, Wanted::Names)
}

fn list(call: &mut Call<'_, '_, '_>, what: &'static str, function: &str) -> Result<(), Fault> {
    let prefix = if call.optional(0).is_some() { call.name(0)? } else { Cow::Borrowed("") };
    let after = call.number(1, 0)?.to_string();
    let limit = call.number(2, PAGE_MAX)?.clamp(1, PAGE_MAX).to_string();
    let looks = LOOKS_MAX.to_string();
    let arguments = [prefix.as_bytes(), after.as_bytes(), limit.as_bytes(), looks.as_bytes()];
    begin(call, function, &arguments, "", Wanted::Page(what))
}

fn channel_info(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    begin(call, "channel_info", &[channel.as_bytes()], &channel, Wanted::ChannelInfo)
}

fn client_info(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    begin(call, "client_info", &[id.as_bytes()], &id, Wanted::ClientInfo)
}

fn history(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    let since = call.position(call.optional(1))?.unwrap_or(0);
    let limit = call.number(2, PAGE_MAX)?.min(PAGE_MAX);
    begin(call, "follow", &[channel.as_bytes(), b"0"], &channel, Wanted::History { since, limit })
}

fn why(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let (id, channel) = (call.name(0)?, call.name(1)?);
    let message = call.number(2, 0)? as u64;
    let wanted = Wanted::Client { channel: channel.as_ref().into(), id: message };
    begin(call, "look", &[b"", id.as_bytes()], &id, wanted)
}

/// What a failure is to the caller. `name` is of whom or what it is.
pub(super) fn fault(failure: Failure, name: &str) -> Fault {
    let Failure::Refused(error) = &failure else { return Fault::Broker(failure.to_string()) };
    let mut words = error.split_whitespace();
    match (words.next(), words.next(), words.next().and_then(|count| count.parse().ok())) {
        (Some("UNKNOWNCLIENT"), ..) => Fault::UnknownClient(name.to_owned()),
        (Some("UNKNOWNCHANNEL"), ..) => Fault::UnknownChannel(name.to_owned()),
        (Some("FULL"), Some("clients"), Some(count)) => faults(hub::Error::Full(Limit::Clients(count)), name),
        (Some("FULL"), Some("channels"), Some(count)) => faults(hub::Error::Full(Limit::Channels(count)), name),
        (Some("FULL"), Some("subscriptions"), Some(count)) => {
            faults(hub::Error::Full(Limit::Subscriptions(count)), name)
        }
        (Some("OOM"), ..) => Fault::Broker(
            "Redis has no memory left, nothing was done; give it more (maxmemory), or keep less (--history)".to_owned(),
        ),
        (Some("HEALING"), ..) => Fault::Broker(
            "another Redis has the data now, and the nodes put back what it may have lost; nothing was done, try again in a second"
                .to_owned(),
        ),
        (Some("RESTORING"), ..) => Fault::Broker(format!(
            "Redis has lost everything, and the nodes are making their clients again: {name:?} may be among them; nothing was done, \
             try again in a few seconds"
        )),
        (Some("READONLY"), ..) => {
            Fault::Broker("this Redis is a replica, nothing was done; --broker has to name the master".to_owned())
        }
        (Some("MASTERDOWN"), ..) => Fault::Broker(
            "this Redis is a replica that has lost its master, nothing was done; --broker has to name the master".to_owned(),
        ),
        (Some("LOADING"), ..) => {
            Fault::Broker("Redis is still loading its data, nothing was done; try again in a few seconds".to_owned())
        }
        // Deleted by somebody, or not yet there on what has just become a replica: they are brought again, or it is left.
        (Some("ERR"), Some("Function"), _) => Fault::Broker(
            "the functions of Shaveet are not in Redis any more, nothing was done; they are brought again, try again in a second"
                .to_owned(),
        ),
        (Some("FORMAT"), Some(format), _) => Fault::Broker(format!(
            "what is in Redis is of format {format}, which this program does not know; have all nodes be of one version, or give \
             them another --broker-prefix"
        )),
        _ => Fault::Broker(failure.to_string()),
    }
}

/// What came is no result of our functions.
pub(super) fn none_of_ours(value: &Value) -> Fault {
    Fault::Broker(format!("Redis answers what is none of ours: {:.100}", format!("{value:?}")))
}

fn numbers<const N: usize>(value: &Value) -> Option<[u64; N]> {
    let numbers: Vec<u64> = value.list()?.iter().map(Value::number).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

pub(super) fn place(value: &Value) -> Option<(u64, u64)> {
    numbers::<2>(value).map(|[id, seq]| (id, seq))
}

/// Several of them, one after the other.
pub(super) fn places(value: &Value) -> Option<Vec<(u64, u64)>> {
    let numbers: Vec<u64> = value.list()?.iter().map(Value::number).collect::<Option<_>>()?;
    let (places, []) = numbers.as_chunks::<2>() else { return None };
    Some(places.iter().map(|&[id, seq]| (id, seq)).collect())
}

pub(super) fn texts<const N: usize>(value: &Value) -> Option<[&str; N]> {
    names(value)?.try_into().ok()
}

fn names(value: &Value) -> Option<Vec<&str>> {
    value.list()?.iter().map(Value::text).collect()
}

fn page(value: &Value) -> Option<(String, Vec<&str>)> {
    let mut names = names(value)?;
    if names.is_empty() {
        return None;
    }
    let next = names.remove(0);
    let next = if next.is_empty() { "null".to_owned() } else { next.parse::<u64>().ok()?.to_string() };
    Some((next, names))
}
