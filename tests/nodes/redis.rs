//! A modelled Redis: the very functions of `library.lua` over a keyspace in memory, connections that speak RESP3, and everything that
//! can become of a Redis.
//!
//! It does nothing by itself: [`Redis::take`] does the next command of one connection, and what comes of it stands in the
//! outboxes of all that are concerned.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value, Variadic};

use super::keyspace::{Keyspace, Reply};

pub(crate) struct Redis {
    shared: Rc<RefCell<Shared>>,
    lua: Option<Lua>,
    library: Option<String>,
    functions: HashMap<String, (Function, bool)>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    last_connection: u64,
    /// Redis 7.2 and later say what a function publishes to its own caller after the reply; 7.0 before it.
    pub(crate) says_own_last: bool,
    /// It has no memory left: what would write is refused.
    pub(crate) is_full: bool,
}

/// What the functions see.
struct Shared {
    keyspace: Keyspace,
    /// In milliseconds since 1970.
    now: u64,
    run_id: String,
    published: Vec<(Vec<u8>, Vec<u8>)>,
    may_write: bool,
    readings: u64,
}

/// Redis's end of a connection.
#[derive(Default)]
pub(crate) struct Connection {
    pub(crate) inbox: Vec<u8>,
    pub(crate) outbox: Vec<u8>,
    channels: BTreeSet<Vec<u8>>,
    /// The other end has gone: what has come is done, and nobody hears of it.
    pub(crate) is_closed: bool,
}

/// A function that was called.
pub(crate) struct Deed {
    pub(crate) function: String,
    pub(crate) arguments: Vec<Vec<u8>>,
    pub(crate) reply: Reply,
    pub(crate) published: Vec<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).escape_debug().to_string();
        let arguments: Vec<String> = self.arguments.iter().map(|argument| text(argument)).collect();
        write!(f, "Redis: {} {}", self.function, arguments.join(" "))?;
        if !matches!(self.reply, Reply::Status(_)) {
            let mut reply = Vec::new();
            write(&mut reply, &self.reply);
            write!(f, " -> {}", text(&reply).replace("\\r\\n", " "))?;
        }
        for (channel, payload) in &self.published {
            write!(f, "\n        {}: {}", text(channel), text(payload))?;
        }
        Ok(())
    }
}

impl Redis {
    pub(crate) fn new(now: u64, says_own_last: bool) -> Redis {
        let shared = Shared {
            keyspace: Keyspace::default(),
            now,
            run_id: run_id(0),
            published: Vec::new(),
            may_write: true,
            readings: 0,
        };
        Redis {
            shared: Rc::new(RefCell::new(shared)),
            lua: None,
            library: None,
            functions: HashMap::new(),
            connections: BTreeMap::new(),
            last_connection: 0,
            says_own_last,
            is_full: false,
        }
    }

    pub(crate) fn set_time(&mut self, now: u64) {
        self.shared.borrow_mut().now = now;
    }

    pub(crate) fn connect(&mut self) -> u64 {
        self.last_connection += 1;
        self.connections.insert(self.last_connection, Connection::default());
        self.last_connection
    }

    /// A copy of everything, as a replica has it.
    pub(crate) fn keyspace(&self) -> Keyspace {
        self.shared.borrow().keyspace.clone()
    }

    /// Another process goes on with this: a restart, or a replica that has become master. It has the functions, and what they
    /// have not written down is forgotten.
    pub(crate) fn restart(&mut self, keyspace: Keyspace, number: u64) {
        self.connections.clear();
        let mut shared = self.shared.borrow_mut();
        shared.keyspace = keyspace;
        shared.run_id = run_id(number);
        drop(shared);
        if let Some(text) = self.library.take() {
            self.load(&text);
        }
    }

    /// The epoch that stands in it.
    pub(crate) fn epoch(&self) -> Option<u64> {
        let command = [&b"HGET"[..], b"{shaveet}:hub", b"epoch"].map(<[u8]>::to_vec);
        let mut shared = self.shared.borrow_mut();
        let now = shared.now;
        let Reply::Text(epoch) = shared.keyspace.run(now, &command) else { return None };
        u64::from_str_radix(std::str::from_utf8(&epoch).expect("it is ASCII"), 16).ok()
    }

    /// FLUSHALL.
    pub(crate) fn flush(&mut self) {
        self.shared.borrow_mut().keyspace = Keyspace::default();
    }

    /// Does the next command of a connection. `None` if there is none that is whole; a deed if it was a function.
    pub(crate) fn take(&mut self, connection: u64) -> Option<Option<Deed>> {
        let found = self.connections.get_mut(&connection)?;
        let Some((command, used)) = parse(&found.inbox) else {
            if found.is_closed {
                self.connections.remove(&connection);
            }
            return None;
        };
        found.inbox.drain(..used);
        Some(self.run(connection, &command))
    }

    fn run(&mut self, connection: u64, command: &[Vec<u8>]) -> Option<Deed> {
        let name = command[0].to_ascii_uppercase();
        let own = self.connections.get_mut(&connection).expect("it is connected");
        match &*name {
            b"HELLO" => {
                let fields = ["server", "redis", "version", "7.0.15", "mode", "standalone", "role", "master"];
                own.outbox.extend_from_slice(b"%4\r\n");
                for field in fields {
                    write(&mut own.outbox, &Reply::Text(field.into()));
                }
            }
            b"PING" => own.outbox.extend_from_slice(b"+PONG\r\n"),
            b"SUBSCRIBE" | b"UNSUBSCRIBE" => {
                let is_begun = &*name == b"SUBSCRIBE";
                if is_begun {
                    own.channels.insert(command[1].clone());
                } else {
                    own.channels.remove(&command[1]);
                }
                let word = if is_begun { "subscribe" } else { "unsubscribe" };
                own.outbox.extend_from_slice(b">3\r\n");
                write(&mut own.outbox, &Reply::Text(word.into()));
                write(&mut own.outbox, &Reply::Text(command[1].clone()));
                write(&mut own.outbox, &Reply::Int(own.channels.len() as i64));
            }
            b"FUNCTION" => {
                assert_eq!(command[1], b"LOAD");
                self.load(std::str::from_utf8(command.last().expect("the text")).expect("it is UTF-8"));
                self.reply(connection, &Reply::Text(b"shaveet1".to_vec()));
            }
            b"FCALL" | b"FCALL_RO" => return self.call(connection, command),
            _ => panic!("the model does not know {command:?}"),
        }
        None
    }

    fn call(&mut self, connection: u64, command: &[Vec<u8>]) -> Option<Deed> {
        let function = String::from_utf8(command[1].clone()).expect("ASCII");
        let keys = String::from_utf8(command[2].clone()).expect("ASCII").parse::<usize>().expect("how many keys");
        let Some((callback, writes)) = self.functions.get(&function).cloned() else {
            self.reply(connection, &Reply::Error("ERR Function not found".into()));
            return None;
        };
        if writes && self.is_full {
            let error = "OOM command not allowed when used memory > 'maxmemory'.";
            self.reply(connection, &Reply::Error(error.into()));
            return None;
        }
        self.shared.borrow_mut().may_write = writes;
        let lua = self.lua.as_ref().expect("functions have been loaded");
        let list = |parts: &[Vec<u8>]| {
            let texts = parts.iter().map(|part| lua.create_string(part).unwrap());
            lua.create_sequence_from(texts).unwrap()
        };
        let (keys, arguments) = (list(&command[3..3 + keys]), list(&command[3 + keys..]));
        let result: Value =
            callback.call((keys, arguments)).unwrap_or_else(|error| panic!("{function} fails: {error}"));
        let reply = from_lua(result);
        let published = std::mem::take(&mut self.shared.borrow_mut().published);
        if self.says_own_last {
            self.reply(connection, &reply);
        }
        for (channel, payload) in &published {
            for listener in self.connections.values_mut().filter(|listener| listener.channels.contains(channel)) {
                listener.outbox.extend_from_slice(b">3\r\n$7\r\nmessage\r\n");
                write(&mut listener.outbox, &Reply::Text(channel.clone()));
                write(&mut listener.outbox, &Reply::Text(payload.clone()));
            }
        }
        if !self.says_own_last {
            self.reply(connection, &reply);
        }
        let function = function.strip_prefix("shaveet1_").expect("our functions are called so").to_owned();
        if function == "revision" {
            return None;
        }
        Some(Deed { function, arguments: command[4..].to_vec(), reply, published })
    }

    fn reply(&mut self, connection: u64, reply: &Reply) {
        write(&mut self.connections.get_mut(&connection).expect("it is connected").outbox, reply);
    }

    /// FUNCTION LOAD REPLACE.
    fn load(&mut self, text: &str) {
        let lua = Lua::new();
        let registered = Rc::new(RefCell::new(HashMap::new()));
        let redis = lua.create_table().unwrap();
        let to = Rc::clone(&registered);
        let register = move |_: &Lua, arguments: MultiValue| {
            let mut arguments = arguments.into_iter();
            let (name, callback, flags) = match (arguments.next(), arguments.next()) {
                (Some(Value::Table(table)), _) => {
                    let flags = table.get::<Option<Vec<String>>>("flags")?.unwrap_or_default();
                    (table.get::<String>("function_name")?, table.get::<Function>("callback")?, flags)
                }
                (Some(Value::String(name)), Some(Value::Function(callback))) => {
                    (name.to_str()?.to_owned(), callback, Vec::new())
                }
                other => panic!("register_function is called with {other:?}"),
            };
            to.borrow_mut().insert(name, (callback, !flags.contains(&"no-writes".to_owned())));
            Ok(())
        };
        redis.set("register_function", lua.create_function(register).unwrap()).unwrap();
        let shared = Rc::clone(&self.shared);
        let call = move |lua: &Lua, arguments: Variadic<Value>| {
            let command: Vec<Vec<u8>> = arguments.iter().map(argument).collect();
            to_lua(lua, shared.borrow_mut().run(&command))
        };
        redis.set("call", lua.create_function(call).unwrap()).unwrap();
        let sha1 = |_: &Lua, text: mlua::LuaString| Ok(sha1_smol::Sha1::from(text.as_bytes()).digest().to_string());
        redis.set("sha1hex", lua.create_function(sha1).unwrap()).unwrap();
        let status = |lua: &Lua, text: mlua::LuaString| {
            let table = lua.create_table()?;
            table.set("ok", text)?;
            Ok(table)
        };
        redis.set("status_reply", lua.create_function(status).unwrap()).unwrap();
        let cjson = lua.create_table().unwrap();
        let decode = |lua: &Lua, text: mlua::LuaString| {
            let value: serde_json::Value = serde_json::from_slice(&text.as_bytes()).map_err(mlua::Error::external)?;
            json_to_lua(lua, &value)
        };
        cjson.set("decode", lua.create_function(decode).unwrap()).unwrap();
        lua.globals().set("redis", redis).unwrap();
        lua.globals().set("cjson", cjson).unwrap();
        // Its first line is for Redis.
        let body = text.find('\n').map_or("", |end| &text[end..]);
        lua.load(body).set_name("library.lua").exec().expect("the library loads");
        self.functions = registered.take();
        (self.lua, self.library) = (Some(lua), Some(text.to_owned()));
    }
}

impl Shared {
    /// What a function calls.
    fn run(&mut self, command: &[Vec<u8>]) -> Reply {
        match &*command[0] {
            b"TIME" => {
                // No two readings are the same.
                self.readings += 1;
                let (seconds, micros) = (self.now / 1000, self.now % 1000 * 1000 + self.readings % 1000);
                Reply::List(vec![Reply::Text(seconds.to_string().into()), Reply::Text(micros.to_string().into())])
            }
            b"INFO" => Reply::Text(format!("# Server\r\nrun_id:{}\r\n", self.run_id).into()),
            b"PUBLISH" => {
                self.published.push((command[1].clone(), command[2].clone()));
                Reply::Int(0)
            }
            name => {
                assert!(
                    self.may_write || !Keyspace::is_write(name),
                    "a function that says it writes nothing calls {name:?}"
                );
                self.keyspace.run(self.now, command)
            }
        }
    }
}

fn run_id(number: u64) -> String {
    format!("{number:040x}")
}

fn argument(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Integer(number) => number.to_string().into(),
        Value::Number(number) if number.fract() == 0.0 => format!("{number:.0}").into(),
        other => panic!("redis.call takes texts and numbers, and gets {other:?}"),
    }
}

fn to_lua(lua: &Lua, reply: Reply) -> mlua::Result<Value> {
    Ok(match reply {
        Reply::Null => Value::Boolean(false),
        Reply::Int(number) => Value::Integer(number),
        Reply::Text(text) => Value::String(lua.create_string(text)?),
        Reply::Status(text) => {
            let table = lua.create_table()?;
            table.set("ok", text)?;
            Value::Table(table)
        }
        Reply::Error(error) => return Err(mlua::Error::external(error)),
        Reply::List(list) => {
            let list = list.into_iter().map(|reply| to_lua(lua, reply)).collect::<mlua::Result<Vec<_>>>()?;
            Value::Table(lua.create_sequence_from(list)?)
        }
    })
}

fn from_lua(value: Value) -> Reply {
    match value {
        Value::Nil | Value::Boolean(false) => Reply::Null,
        Value::Boolean(true) => Reply::Int(1),
        Value::Integer(number) => Reply::Int(number),
        Value::String(text) => Reply::Text(text.as_bytes().to_vec()),
        Value::Table(table) => from_table(&table),
        other => panic!("a function gives {other:?}"),
    }
}

fn from_table(table: &Table) -> Reply {
    if let Ok(Some(error)) = table.get::<Option<String>>("err") {
        return Reply::Error(error);
    }
    if let Ok(Some(status)) = table.get::<Option<String>>("ok") {
        return Reply::Status(status);
    }
    let values = (1..).map(|at| table.get::<Value>(at).unwrap()).take_while(|value| !value.is_nil());
    Reply::List(values.map(from_lua).collect())
}

fn json_to_lua(lua: &Lua, value: &serde_json::Value) -> mlua::Result<Value> {
    use serde_json::Value as Json;
    Ok(match value {
        Json::Null => Value::Nil,
        Json::Bool(is_true) => Value::Boolean(*is_true),
        Json::Number(number) => Value::Number(number.as_f64().expect("a number")),
        Json::String(text) => Value::String(lua.create_string(text)?),
        Json::Array(values) => {
            let values = values.iter().map(|value| json_to_lua(lua, value)).collect::<mlua::Result<Vec<_>>>()?;
            Value::Table(lua.create_sequence_from(values)?)
        }
        Json::Object(fields) => {
            let table = lua.create_table()?;
            for (name, value) in fields {
                table.set(&**name, json_to_lua(lua, value)?)?;
            }
            Value::Table(table)
        }
    })
}

/// A command, and how many bytes it was; `None` if it is not whole.
fn parse(bytes: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut at = 0;
    let line = |at: &mut usize, kind: u8| -> Option<usize> {
        let end = *at + bytes[*at..].windows(2).position(|pair| pair == b"\r\n")?;
        assert_eq!(bytes[*at], kind, "commands are lists of texts");
        let number = std::str::from_utf8(&bytes[*at + 1..end]).expect("ASCII").parse().expect("a number");
        *at = end + 2;
        Some(number)
    };
    if bytes.is_empty() {
        return None;
    }
    let mut command = Vec::new();
    for _ in 0..line(&mut at, b'*')? {
        if at == bytes.len() {
            return None;
        }
        let length = line(&mut at, b'$')?;
        command.push(bytes.get(at..at + length)?.to_vec());
        at += length + 2;
        if at > bytes.len() {
            return None;
        }
    }
    Some((command, at))
}

fn write(out: &mut Vec<u8>, reply: &Reply) {
    match reply {
        Reply::Null => out.extend_from_slice(b"_\r\n"),
        Reply::Int(number) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
        Reply::Text(text) => {
            out.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
            out.extend_from_slice(text);
            out.extend_from_slice(b"\r\n");
        }
        Reply::Status(status) => out.extend_from_slice(format!("+{status}\r\n").as_bytes()),
        Reply::Error(error) => out.extend_from_slice(format!("-{error}\r\n").as_bytes()),
        Reply::List(list) => {
            out.extend_from_slice(format!("*{}\r\n", list.len()).as_bytes());
            list.iter().for_each(|reply| write(out, reply));
        }
    }
}
