//! What values look like: the parameters and the results of the methods, as JSON Schema.

/// The shape of a value. Each is a component of the description that `rpc.discover` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    ChannelInfo,
    ChannelPage,
    ClientInfo,
    ClientPage,
    Count,
    Cursor,
    Data,
    Description,
    Document,
    Fate,
    History,
    Key,
    Limit,
    Message,
    MethodList,
    Name,
    NameList,
    Names,
    One,
    Pairs,
    Place,
    Places,
    Position,
    Prefix,
    Publishing,
    Since,
    Spared,
    Subscribing,
    TwoHundred,
}

impl Shape {
    /// All of them, by name.
    pub(super) const ALL: [Shape; 29] = [
        Shape::ChannelInfo,
        Shape::ChannelPage,
        Shape::ClientInfo,
        Shape::ClientPage,
        Shape::Count,
        Shape::Cursor,
        Shape::Data,
        Shape::Description,
        Shape::Document,
        Shape::Fate,
        Shape::History,
        Shape::Key,
        Shape::Limit,
        Shape::Message,
        Shape::MethodList,
        Shape::Name,
        Shape::NameList,
        Shape::Names,
        Shape::One,
        Shape::Pairs,
        Shape::Place,
        Shape::Places,
        Shape::Position,
        Shape::Prefix,
        Shape::Publishing,
        Shape::Since,
        Shape::Spared,
        Shape::Subscribing,
        Shape::TwoHundred,
    ];

    /// Its name, and its JSON Schema without the braces.
    #[allow(clippy::too_many_lines, reason = "a table")]
    pub(super) const fn schema(self) -> (&'static str, &'static str) {
        match self {
            Shape::ChannelInfo => (
                "ChannelInfo",
                r##""type":"object","properties":{
                "subscribers":{"type":"integer",
                "description":"Clients that are subscribed, those included that are away and may come back."},
                "active":{"type":"integer","description":"Those of them that are here."},
                "parked":{"type":"integer","description":"Those of them that listen at this moment."},
                "messages":{"type":"integer","description":"Messages that it holds."},
                "bytes":{"type":"integer","description":"Bytes that they are."},
                "next_id":{"type":"integer","description":"The id that its next message gets."},
                "position":{"$ref":"#/components/schemas/Position"}},
                "required":["subscribers","active","parked","messages","bytes","next_id","position"]"##,
            ),
            Shape::ChannelPage => (
                "ChannelPage",
                r##""type":"object","properties":{
                "channels":{"$ref":"#/components/schemas/Names"},"after":{"$ref":"#/components/schemas/Cursor"}},
                "required":["channels","after"]"##,
            ),
            Shape::ClientInfo => (
                "ClientInfo",
                r##""type":"object","properties":{
                "here":{"type":"boolean","description":"It is here; if not it is away, and may come back."},
                "idle_ms":{"type":"integer","description":"Since it was last seen; 0 while it listens."},
                "parked":{"type":"integer","description":"How many of its pages listen at this moment."},
                "transports":{"type":"array","items":{"type":"string","enum":["poll","resume","events","socket"]},
                "description":"By what they listen."},
                "subscriptions":{"type":"integer","description":"How many channels it is subscribed to."},
                "acknowledged":{"$ref":"#/components/schemas/Position"}},
                "required":["here","idle_ms","parked","transports","subscriptions","acknowledged"]"##,
            ),
            Shape::ClientPage => (
                "ClientPage",
                r##""type":"object","properties":{
                "clients":{"$ref":"#/components/schemas/Names"},"after":{"$ref":"#/components/schemas/Cursor"}},
                "required":["clients","after"]"##,
            ),
            Shape::Count => ("Count", r##""type":"integer","minimum":0"##),
            Shape::Cursor => (
                "Cursor",
                r##""type":["integer","null"],"minimum":0,
                "description":"Asks for the next page; null behind the last. A page may be short with more behind it.""##,
            ),
            Shape::Data => ("Data", r##""description":"Any value.""##),
            Shape::Description => (
                "Description",
                r##""type":"object","properties":{"sdversion":{"type":"string"},"name":{"type":"string"},
                "summary":{"type":"string"},"procs":{"$ref":"#/components/schemas/MethodList"}},
                "required":["sdversion","name","summary","procs"]"##,
            ),
            Shape::Document => ("Document", r##""type":"object","description":"A document of OpenRPC.""##),
            Shape::Fate => (
                "Fate",
                r##""type":"object","properties":{
                "state":{"type":"string","enum":["delivered","waiting","on_its_way","not_subscribed","excluded",
                "expired","lost","unpublished"]},
                "reason":{"type":"string","enum":["count","bytes","age","memory","restart"],
                "description":"Of what is lost: the limit that was reached."},
                "parked":{"type":"boolean","description":"Of what waits: whether a page of the client listens. Left out by one of several nodes at which none does."},
                "by":{"type":"string","enum":["resume","poll"],
                "description":"Of what was delivered: by which protocol."},
                "ms_ago":{"type":"integer","description":"Of what was delivered: when, if that is known exactly."},
                "at_least_ms_ago":{"type":"integer","description":"The same, if it was then or before."}},
                "required":["state"]"##,
            ),
            Shape::History => (
                "History",
                r##""type":"object","properties":{
                "messages":{"type":"array","items":{"$ref":"#/components/schemas/Message"}},
                "gap":{"type":"boolean","description":"Something that would have been among them is lost."},
                "position":{"$ref":"#/components/schemas/Position"}},
                "required":["messages","gap","position"]"##,
            ),
            Shape::Key => (
                "Key",
                r##""type":"string","pattern":"^[0-9a-f]{32}$",
                "description":"A client's key: a secret between the server, the application and the client's pages.""##,
            ),
            Shape::Limit => ("Limit", r##""type":["integer","null"],"minimum":0"##),
            Shape::Message => (
                "Message",
                r##""type":"object","properties":{
                "id":{"type":"integer","description":"Its number in its channel, counted from 1."},
                "from":{"description":"Who says it: any value, a client's id as a rule."},
                "data":{"type":"string","description":"What is said: a text, or the JSON text of another value."},
                "system":{"type":"boolean",
                "description":"The server says it: somebody joins or leaves, a channel is new."},
                "reason":{"type":"string","enum":["subscribed","returned","unsubscribed","expired","killed"],
                "description":"Why somebody joins or leaves."}},
                "required":["id","from","data","system"]"##,
            ),
            Shape::MethodList => (
                "MethodList",
                r##""type":"array","items":{"type":"object","properties":{"name":{"type":"string"}},
                "required":["name"]}"##,
            ),
            Shape::Name => (
                "Name",
                r##""type":["string","integer"],
                "description":"An id of a client or a name of a channel: any text. A number is the same as its digits.""##,
            ),
            Shape::NameList => ("NameList", r##""type":"array","items":{"$ref":"#/components/schemas/Name"}"##),
            Shape::Names => ("Names", r##""type":"array","items":{"type":"string"}"##),
            Shape::One => ("One", r##""const":1,"description":"It is done.""##),
            Shape::Pairs => (
                "Pairs",
                r##""type":"object","additionalProperties":{"$ref":"#/components/schemas/NameList"},
                "description":"Channels, each with a list of clients.""##,
            ),
            Shape::Place => (
                "Place",
                r##""type":"object","properties":{
                "id":{"type":"integer","description":"The message's number in its channel, counted from 1."},
                "position":{"$ref":"#/components/schemas/Position"}},
                "required":["id","position"]"##,
            ),
            Shape::Places => (
                "Places",
                r##""type":"array","items":{"$ref":"#/components/schemas/Place"},
                "description":"In the order of the channels.""##,
            ),
            Shape::Position => (
                "Position",
                r##""type":"string","pattern":"^[0-9a-f]{16}-[0-9]+$",
                "description":"A place in the order of all messages, of all channels. Its parts mean nothing to others.""##,
            ),
            Shape::Prefix => ("Prefix", r##""type":["string","integer","null"],"description":"Any text.""##),
            Shape::Publishing => (
                "Publishing",
                r##""type":["object","null"],"properties":{
                "from":{"description":"Who says it: any value, a client's id as a rule."},
                "idempotency_key":{"$ref":"#/components/schemas/Name"},
                "exclude":{"oneOf":[{"$ref":"#/components/schemas/Name"},{"$ref":"#/components/schemas/NameList"}],
                "description":"Clients that do not get it, 1000 at most."},
                "ttl_ms":{"type":"integer","minimum":0,"description":"After this time nobody gets it any more."}},
                "additionalProperties":false"##,
            ),
            Shape::Since => {
                ("Since", r##""type":["string","null"],"description":"A position that this server gave.""##)
            }
            Shape::Spared => ("Spared", r##""type":["array","null"],"items":{"$ref":"#/components/schemas/Name"}"##),
            Shape::Subscribing => (
                "Subscribing",
                r##""type":["object","null"],"properties":{
                "since":{"type":"string",
                "description":"A position: what came after it is due too, as far as the channel still holds it."}},
                "additionalProperties":false"##,
            ),
            Shape::TwoHundred => ("TwoHundred", r##""const":200,"description":"It is done.""##),
        }
    }
}
