//! The methods that the original has not.

use std::borrow::Cow;

use crate::broker::Ticket;
use crate::clock::Ms;
use crate::hub::{self, Fate, History, Hub, MEDIA, Message, Page, Sender, Submission};
use crate::json;

use super::call::{Call, Service, list, name, none_left, number, options, write_member, write_names};
use super::fault::{Fault, faults};
use super::original::{new_key, write_key};
use super::remote::Remote;
use super::value::{Json, Kind};
use super::work::{Broadcast, Work};

pub(super) fn rotate_key(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let (id, key) = (call.name(0)?, new_key());
    call.service.hub.rotate_key(&id, key).map_err(|error| faults(error, &id))?;
    write_key(call, key);
    Ok(())
}

/// How something is to be published.
#[derive(Debug)]
pub(super) struct Publishing<'a> {
    from: Cow<'a, str>,
    from_is_id: bool,
    once: Option<Cow<'a, str>>,
    exclude: Vec<Cow<'a, str>>,
    ttl: Option<Ms>,
}

/// Clients that are left out of one publish: each is looked up, in some 200 ns, and kept with the message.
const EXCLUDE_MAX: usize = 1000;

/// How many of them are looked up in a step.
const EXCLUDE_PER_STEP: usize = 16;

impl<'a> Publishing<'a> {
    fn read(call: &mut Call<'a, '_, '_>, at: usize) -> Result<Publishing<'a>, Fault> {
        let mut options = options(call, at)?;
        let from = options.remove("from").unwrap_or(Json::NULL);
        let exclude = match options.remove("exclude") {
            None => Vec::new(),
            Some(one) if one.kind() != Kind::Array => vec![name(one)?],
            Some(several) => several.elements().take(EXCLUDE_MAX + 1).map(name).collect::<Result<_, _>>()?,
        };
        if exclude.len() > EXCLUDE_MAX {
            return Err(Fault::Limit(format!("exclude has more than {EXCLUDE_MAX} clients")));
        }
        let publishing = Publishing {
            from: from.text(),
            from_is_id: from.kind() == Kind::String,
            once: options.remove("idempotency_key").map(name).transpose()?,
            exclude,
            ttl: options.remove("ttl_ms").map(number).transpose()?.map(|ms| Ms(ms as u64)),
        };
        none_left(&options)?;
        if let Some(once) = &publishing.once {
            call.service.limited(once.clone())?;
        }
        Ok(publishing)
    }

    /// As it is published without any options, from this.
    pub(super) fn plain(from: Json<'a>) -> Publishing<'a> {
        let from_is_id = from.kind() == Kind::String;
        Publishing { from: from.text(), from_is_id, once: None, exclude: Vec::new(), ttl: None }
    }

    /// The same, to be kept for later turns.
    fn into_owned(self) -> Publishing<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let Publishing { from, from_is_id, once, exclude, ttl } = self;
        let exclude = exclude.into_iter().map(owned).collect();
        Publishing { from: owned(from), from_is_id, once: once.map(owned), exclude, ttl }
    }

    /// How many steps it takes beside the first.
    pub(super) fn steps(&self) -> u32 {
        u32::try_from(self.exclude.len() / EXCLUDE_PER_STEP).expect("they are limited")
    }

    /// Publishes, and writes where the message stands. Each channel of a broadcast has its own idempotency key.
    pub(super) fn perform(
        &self,
        service: &mut Service<'_>,
        out: &mut Vec<u8>,
        channel: &str,
        text: &str,
    ) -> Result<(), Fault> {
        let from = if self.from_is_id { Sender::Id(&self.from) } else { Sender::Json(self.from.as_bytes()) };
        let exclude: Vec<&str> = self.exclude.iter().map(|id| &**id).collect();
        let submission = Submission { channel, from, text, exclude: &exclude, ttl: self.ttl };
        let now = service.now;
        let placed = match &self.once {
            Some(key) => service.hub.publish_once(now, &format!("{} {key}{channel}", key.len()), submission),
            None => service.hub.publish(now, submission),
        };
        let placed = placed.map_err(|error| faults(error, channel))?;
        write_place(service, placed.id, placed.seq, out);
        Ok(())
    }

    /// The same where several nodes share one model: the reply is a place.
    pub(super) fn ask(&self, service: &mut Service<'_>, channel: &str, text: &str) -> Result<Ticket, Fault> {
        let Written { from, text, ttl, exclude, once } = self.written(text);
        let once = if once.is_empty() { once } else { format!("{once}{channel}") };
        service.ask("publish", &[channel.as_bytes(), &from, &text, ttl.as_bytes(), &exclude, once.as_bytes()])
    }

    /// The same in several channels: the reply is as many places.
    pub(super) fn ask_for(
        &self,
        service: &mut Service<'_>,
        channels: &[Box<str>],
        text: &str,
    ) -> Result<Ticket, Fault> {
        let Written { from, text, ttl, exclude, once } = self.written(text);
        let mut arguments: Vec<&[u8]> = vec![&from, &text, ttl.as_bytes(), &exclude, once.as_bytes()];
        arguments.extend(channels.iter().map(|channel| channel.as_bytes()));
        service.ask("broadcast", &arguments)
    }

    fn written(&self, text: &str) -> Written {
        let mut written = Written {
            text: Vec::with_capacity(text.len() + 2),
            ttl: self.ttl.map_or(String::new(), |ttl| ttl.0.to_string()),
            once: self.once.as_ref().map_or(String::new(), |key| format!("{} {key}", key.len())),
            ..Written::default()
        };
        if self.from_is_id {
            json::write_str(&mut written.from, &self.from);
        } else {
            written.from.extend_from_slice(self.from.as_bytes());
        }
        json::write_str(&mut written.text, text);
        if !self.exclude.is_empty() {
            write_names(&mut written.exclude, self.exclude.iter().map(|id| &**id));
        }
        written
    }
}

/// What is to be published, as the broker's functions read it.
#[derive(Default)]
struct Written {
    from: Vec<u8>,
    text: Vec<u8>,
    ttl: String,
    exclude: Vec<u8>,
    /// Before the channel's name.
    once: String,
}

pub(super) fn publish(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    let text = call.arguments[1].text();
    let publishing = Publishing::read(call, 2)?;
    if call.service.is_shared() {
        let ticket = publishing.ask(call.service, &channel, &text)?;
        call.rest = Some(Remote::place(ticket, &channel));
        return Ok(());
    }
    publishing.perform(call.service, call.out, &channel, &text)
}

/// Where a message stands.
pub(super) fn write_place(service: &Service<'_>, id: u64, seq: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"id\":{id},\"position\":").as_bytes());
    service.write_position(seq, out);
    out.push(b'}');
}

pub(super) fn broadcast(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channels = list(call.arguments[0])?;
    let publishing = Publishing::read(call, 2)?.into_owned();
    call.rest = Some(Work::Broadcast(Box::new(Broadcast::new(channels, &call.arguments[1].text(), publishing))));
    Ok(())
}

/// Messages in one answer of `history`, and names in one of the lists.
pub(super) const PAGE_MAX: usize = 1000;

/// Places of a table that one call looks at: some 50 us of work.
pub(super) const LOOKS_MAX: u32 = 10_000;

pub(super) fn history(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    let since = call.position(call.optional(1))?.unwrap_or(0);
    let limit = call.number(2, PAGE_MAX)?.min(PAGE_MAX);
    write_history(call.service, call.service.hub, &channel, since, limit, call.out)
}

/// What a hub's channel holds.
pub(super) fn write_history(
    service: &Service<'_>,
    hub: &Hub,
    channel: &str,
    since: u64,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let history = hub.history(service.now, channel, since, limit).map_err(|error| faults(error, channel))?;
    let History { messages, is_lossy, upto } = history;
    out.extend_from_slice(br#"{"messages":["#);
    for (at, message) in messages.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.push(b'{');
        write_message(message, out);
        out.push(b'}');
    }
    out.extend_from_slice(format!("],\"gap\":{is_lossy},\"position\":").as_bytes());
    service.write_position(upto, out);
    out.push(b'}');
    Ok(())
}

/// The members of a message, but for its channel's.
pub(in crate::api) fn write_message(message: &Message, out: &mut Vec<u8>) {
    let parts: [&[u8]; 7] = [
        br#""id":"#,
        message.id_json(),
        br#","from":"#,
        message.from_json(),
        br#","data":"#,
        message.text_json(),
        if message.kind().is_system() { br#","system":true"# } else { br#","system":false"# },
    ];
    parts.into_iter().for_each(|part| out.extend_from_slice(part));
    if let hub::Kind::System(Some(reason)) = message.kind() {
        out.extend_from_slice(br#","reason":"#);
        json::write_str(out, reason.name());
    }
}

pub(super) fn channel_info(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    let info = call.service.hub.channel_info(&channel).map_err(|error| faults(error, &channel))?;
    write_channel_info(call.service, &info, call.out);
    Ok(())
}

pub(super) fn write_channel_info(service: &Service<'_>, info: &hub::ChannelInfo, out: &mut Vec<u8>) {
    write_member(out, "{", "subscribers", info.subscribers as u64);
    write_member(out, ",", "active", info.active as u64);
    write_member(out, ",", "parked", info.parked as u64);
    write_member(out, ",", "messages", info.messages as u64);
    write_member(out, ",", "bytes", info.bytes as u64);
    write_member(out, ",", "next_id", info.next_id);
    out.extend_from_slice(br#","position":"#);
    service.write_position(info.position, out);
    out.push(b'}');
}

pub(super) fn client_info(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    let info = call.service.hub.client_info(call.service.now, &id).map_err(|error| faults(error, &id))?;
    write_client_info(call.service, &info, call.out);
    Ok(())
}

pub(super) fn write_client_info(service: &Service<'_>, info: &hub::ClientInfo, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"here\":{}", info.here).as_bytes());
    write_member(out, ",", "idle_ms", info.idle.0);
    write_member(out, ",", "parked", info.polls.iter().sum::<usize>() as u64);
    let transports = MEDIA.into_iter().zip(info.polls);
    out.extend_from_slice(br#","transports":"#);
    write_names(out, transports.filter(|&(_, polls)| polls > 0).map(|(name, _)| name));
    write_member(out, ",", "subscriptions", info.subscriptions as u64);
    out.extend_from_slice(br#","acknowledged":"#);
    service.write_position(info.position, out);
    out.push(b'}');
}

pub(super) fn why(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let (id, channel) = (call.name(0)?, call.name(1)?);
    let message = call.number(2, 0)? as u64;
    write_why(call.service.now, call.service.hub, &id, &channel, message, None, call.out)
}

/// What became of a message. One of several nodes says whether the client waits here; whether it does elsewhere it does not know.
pub(super) fn write_why(
    now: Ms,
    hub: &Hub,
    id: &str,
    channel: &str,
    message: u64,
    is_parked_here: Option<bool>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let fate = hub.why(now, id, channel, message);
    let fate = fate.map_err(|error| faults(error, if error == hub::Error::UnknownChannel { channel } else { id }))?;
    let (state, detail) = match fate {
        Fate::Unpublished => ("unpublished", String::new()),
        Fate::NotSubscribed => ("not_subscribed", String::new()),
        Fate::Excluded => ("excluded", String::new()),
        Fate::Expired => ("expired", String::new()),
        Fate::Lost(loss) => ("lost", format!(",\"reason\":\"{}\"", loss.name())),
        Fate::OnItsWay => ("on_its_way", String::new()),
        Fate::Waiting { .. } if is_parked_here == Some(false) => ("waiting", String::new()),
        Fate::Waiting { parked } => ("waiting", format!(",\"parked\":{}", parked || is_parked_here.is_some())),
        Fate::Delivered { by_page, ago, exactly } => {
            let by = if by_page { "resume" } else { "poll" };
            let when = if exactly { "ms_ago" } else { "at_least_ms_ago" };
            ("delivered", format!(",\"by\":\"{by}\",\"{when}\":{}", ago.0))
        }
    };
    out.extend_from_slice(format!("{{\"state\":\"{state}\"{detail}}}").as_bytes());
    Ok(())
}

pub(super) fn list_channels(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    write_page(call, "channels", Hub::list_channels)
}

pub(super) fn list_clients(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    write_page(call, "clients", Hub::list_clients)
}

/// A page of a list: `{"channels": [...], "after": 123}`; `after` asks for the next page and is null behind the last. A page
/// may be short, even empty, with more behind it: one call looks at a bounded number of places.
fn write_page(
    call: &mut Call<'_, '_, '_>,
    what: &str,
    list: for<'a> fn(&'a Hub, &str, u32, usize, u32) -> Page<'a>,
) -> Result<(), Fault> {
    let prefix = if call.optional(0).is_some() { call.name(0)? } else { Cow::Borrowed("") };
    let after = u32::try_from(call.number(1, 0)?).unwrap_or(u32::MAX);
    let limit = call.number(2, PAGE_MAX)?.clamp(1, PAGE_MAX);
    let Call { service, out, .. } = call;
    let (names, next) = list(service.hub, &prefix, after, limit, LOOKS_MAX);
    out.extend_from_slice(format!("{{\"{what}\":").as_bytes());
    write_names(out, names.into_iter());
    let next = next.map_or("null".to_owned(), |next| next.to_string());
    out.extend_from_slice(format!(",\"after\":{next}}}").as_bytes());
    Ok(())
}
