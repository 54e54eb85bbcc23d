//! The original's ten methods (WIRE section 3).

use std::borrow::Cow;
use std::collections::HashSet;

use crate::clock::Ms;
use crate::hub::{self, ClientKey, Hub, Sender, Submission};

use super::call::{Call, list, name, none_left, options, write_names};
use super::fault::{Fault, faults};
use super::value::{Kind, members, text_of};

pub(super) fn create_client(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    let created = call.service.hub.create_client(call.service.now, &id, new_key());
    write_key(call, created.map_err(|error| faults(error, &id))?);
    Ok(())
}

pub(super) fn subscribe(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let (id, channel) = (call.name(0)?, call.name(1)?);
    let mut options = options(call, 2)?;
    let since = call.position(options.remove("since"))?;
    none_left(&options)?;
    let done = call.service.hub.subscribe(call.service.now, &id, &channel, since);
    done.map_err(|error| faults(error, &id))?;
    call.one();
    Ok(())
}

pub(super) fn unsubscribe(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let (id, channel) = (call.name(0)?, call.name(1)?);
    let done = call.service.hub.unsubscribe(call.service.now, &id, &channel);
    done.map_err(|error| faults(error, &id))?;
    call.one();
    Ok(())
}

pub(super) fn subscribe_many(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    each_pair(call, |hub, now, client, channel| hub.subscribe(now, client, channel, None))
}

pub(super) fn unsubscribe_many(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    each_pair(call, Hub::unsubscribe)
}

/// Does the same for every client of every channel in `{channel: [client, ...]}` (WIRE M4). Stops at the first client
/// that is not here; what was done stays done (WIRE M5).
fn each_pair(
    call: &mut Call<'_, '_, '_>,
    verb: fn(&mut Hub, Ms, &str, &str) -> Result<(), hub::Error>,
) -> Result<(), Fault> {
    if Kind::of(call.arguments[0]) != Kind::Object {
        return Err(Fault::Arguments("channels is not an object of channels and lists of clients".to_owned()));
    }
    for (channel, clients) in members(call.arguments[0]) {
        for client in list(clients)? {
            let id = call.limited(name(client)?)?;
            let channel = call.limited(Cow::Borrowed(&channel))?;
            verb(call.service.hub, call.service.now, &id, &channel).map_err(|error| faults(error, &id))?;
        }
    }
    call.nothing();
    Ok(())
}

pub(super) fn unsubscribe_all_channel(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    let exclude = match Kind::of(call.arguments[1]) {
        Kind::Null => Vec::new(),
        _ => list(call.arguments[1])?,
    };
    let exclude = exclude.into_iter().map(name).collect::<Result<HashSet<_>, _>>()?;
    call.service.hub.unsubscribe_all(call.service.now, &channel, |id| exclude.contains(id));
    call.nothing();
    Ok(())
}

pub(super) fn new_message(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(2)?;
    let [from, message] = [call.arguments[0], call.arguments[1]].map(text_of);
    let from = match Kind::of(call.arguments[0]) {
        Kind::String => Sender::Id(&from),
        _ => Sender::Json(from.as_bytes()),
    };
    let submission = Submission { channel: &channel, from, text: &message, exclude: &[], ttl: None };
    call.service.hub.publish(call.service.now, submission).map_err(|error| faults(error, &channel))?;
    call.one();
    Ok(())
}

pub(super) fn get_channel_clients(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(0)?;
    let Call { service, out, .. } = call;
    write_names(out, service.hub.channel_clients(service.now, &channel));
    Ok(())
}

pub(super) fn get_client_channels(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    let Call { service, out, .. } = call;
    write_names(out, service.hub.client_channels(&id).map_err(|error| faults(error, &id))?);
    Ok(())
}

pub(super) fn kill_client(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    call.service.hub.kill_client(call.service.now, &id).map_err(|error| faults(error, &id))?;
    call.nothing();
    Ok(())
}

pub(super) fn new_key() -> ClientKey {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the operating system's generator works once the system is up");
    ClientKey::new(random)
}

pub(super) fn write_key(call: &mut Call<'_, '_, '_>, key: ClientKey) {
    call.out.push(b'"');
    call.out.extend_from_slice(&key.hex());
    call.out.push(b'"');
}
