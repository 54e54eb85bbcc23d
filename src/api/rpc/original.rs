//! The original's ten methods (WIRE section 3).

use crate::hub::{ClientKey, Sender, Submission};

use super::call::{Call, list, none_left, options};
use super::fault::{Fault, faults};
use super::value::{Json, Kind};
use super::work::{Names, Pairs, UnsubscribeAll, Verb, Work};

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
    each_pair(call, Verb::Subscribe)
}

pub(super) fn unsubscribe_many(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    each_pair(call, Verb::Unsubscribe)
}

fn each_pair(call: &mut Call<'_, '_, '_>, verb: Verb) -> Result<(), Fault> {
    if call.arguments[0].kind() != Kind::Object {
        return Err(Fault::Arguments("channels is not an object of channels and lists of clients".to_owned()));
    }
    call.rest = Some(Work::Pairs(Pairs::new(call.arguments[0], verb)));
    Ok(())
}

pub(super) fn unsubscribe_all_channel(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let exclude = call.optional(1).map(list).transpose()?;
    call.rest = Some(Work::UnsubscribeAll(UnsubscribeAll::new(&call.name(0)?, exclude)));
    Ok(())
}

pub(super) fn new_message(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let channel = call.name(2)?;
    let [from, message] = [call.arguments[0], call.arguments[1]].map(Json::text);
    let from = match call.arguments[0].kind() {
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
    match call.service.hub.walk_channel(&channel) {
        Some(walk) => call.rest = Some(Work::Clients(Names::new(walk))),
        None => call.out.extend_from_slice(b"[]"),
    }
    Ok(())
}

pub(super) fn get_client_channels(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    let walk = call.service.hub.walk_client(&id).map_err(|error| faults(error, &id))?;
    call.rest = Some(Work::Channels(Names::new(walk)));
    Ok(())
}

pub(super) fn kill_client(call: &mut Call<'_, '_, '_>) -> Result<(), Fault> {
    let id = call.name(0)?;
    call.service.hub.kill_client(call.service.now, &id).map_err(|error| faults(error, &id))?;
    call.nothing();
    Ok(())
}

pub(in crate::api) fn new_key() -> ClientKey {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the operating system's generator works once the system is up");
    ClientKey::new(random)
}

pub(super) fn write_key(call: &mut Call<'_, '_, '_>, key: ClientKey) {
    write_hex(call.out, &key.hex());
}

/// A key as the API gives it.
pub(super) fn write_hex(out: &mut Vec<u8>, hex: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(hex);
    out.push(b'"');
}
