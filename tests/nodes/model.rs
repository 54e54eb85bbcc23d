//! The modelled Redis against a real one: the same calls of the same functions, and every byte that comes back.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use shaveet::broker::library;

use super::redis::Redis;

/// When it is, for both.
const NOW: u64 = 1_700_000_000_123;

const LIMITS: &str = r#"{"policies":[{"prefix":"","history":3,"system":"shared","bytes":1000,"age":60000,"presence":true},{"prefix":"z-","history":5,"system":2,"bytes":90,"age":60000,"presence":false}],"max_idle":30000,"min_alive":10000,"sweep_interval":1000,"channel_idle":60000,"departed_max":10,"departed_age":60000,"clients_max":3,"channels_max":5,"subscriptions_max":2}"#;

/// Functions and their arguments, one call a line. What a client is subscribed to is in the order of the names: Redis gives a hash in
/// the order in which it was made, or in none.
const CALLS: &str = r#"
publish|room|"web"|"before hello"|||
hello|n1|r1|0123456789abcdef|LIMITS||0||
create_client|alice|00000000000000000000000000000001
create_client|alice|00000000000000000000000000000002
create_client|bob|00000000000000000000000000000003
subscribe|alice|room|
subscribe|alice|room|
subscribe|alice|z-1|
subscribe|alice|z-2|
subscribe|nobody|room|
publish|room|"web"|"one"|||
publish|room|"web"|"two"|5000|["bob"]|
publish|room|"web"|"three"|||k1
publish|room|"web"|"three"|||k1
publish|z-1|"web"|"forty bytes of text, or nearly so, here"|||
publish|z-1|"web"|"forty bytes of text, or nearly so, here"|||
publish|z-1|"web"|"forty bytes of text, or nearly so, here"|||
look|alice
look|nobody
follow|room|0
follow|room|0|1
follow|z-1|9
follow|none|0
seq
touch|10000|alice|nobody|bob
touch|10000|alice|bob
touch|-5|alice
acknowledge_each|alice|0123456789abcdef-7|1|nobody|0|0
acknowledge_each|alice|fedcba9876543210-9|1
alive|n1|6000
alive|n2|6000
leave|n2
take|n1|alice|bob
take|n2|bob
give|n1|alice|0123456789abcdef-8
release|n1|bob|0
take|n2|bob
unsubscribe|alice|z-1
unsubscribe|alice|none
members|room||0|10
channels_of|alice
list_clients||0|10|10
list_channels||0|1|10
channel_info|room
channel_info|none
client_info|alice
rotate_key|alice|00000000000000000000000000000009
sweep|10
stats
kill_client|alice
hello|n1|r2|0123456789abcdef|LIMITS|0123456789abcdef|5|r1|0
publish|room|"web"|"after a restart"|||
restore|carol|00000000000000000000000000000004|room
create_client|dora|00000000000000000000000000000005
create_client|eve|00000000000000000000000000000006
follow|room|0
"#;

/// A real server of its own, with its socket in a directory of its own.
struct Server {
    child: Child,
    directory: PathBuf,
}

#[test]
fn the_model_says_what_redis_says_byte_by_byte() {
    let server = Server::start();
    let mut real = UnixStream::connect(server.directory.join("redis.sock")).expect("it listens");
    let mut model = Redis::new(NOW, false);
    let connection = model.connect();
    let clock = NOW.to_string();
    ask_real(&mut real, &["HELLO", "3"]);
    // A clock that stands still, as the model's does.
    ask_real(&mut real, &["HSET", "{shaveet}:hub", "clock", &clock]);
    let mut both = |parts: &[&str]| {
        let (said, modelled) = (ask_real(&mut real, parts), ask_model(&mut model, connection, parts));
        assert_eq!(String::from_utf8_lossy(&modelled), String::from_utf8_lossy(&said), "{parts:?}");
    };
    both(&["FUNCTION", "LOAD", "REPLACE", library::TEXT]);
    both(&["FCALL_RO", "shaveet1_revision", "1", "{shaveet}:hub"]);
    for channel in ["says:room", "says:admin", "says:z-1", "tells:alice", "tells:bob"] {
        both(&["SUBSCRIBE", &format!("{{shaveet}}:{channel}")]);
    }
    for line in CALLS.lines().filter(|line| !line.is_empty()) {
        let mut fields = line.split('|');
        let function = format!("shaveet1_{}", fields.next().expect("a name"));
        let mut parts = vec!["FCALL", &function, "1", "{shaveet}:hub"];
        parts.extend(fields.map(|field| if field == "LIMITS" { LIMITS } else { field }));
        both(&parts);
    }
    both(&["UNSUBSCRIBE", "{shaveet}:says:room"]);
    both(&["FCALL", "shaveet1_publish", "1", "{shaveet}:hub", "room", "\"web\"", "\"unheard\"", "", "", ""]);
}

/// All that comes until Redis answers a PING behind it.
fn ask_real(stream: &mut UnixStream, parts: &[&str]) -> Vec<u8> {
    stream.write_all(&[command(parts), command(&["PING"])].concat()).expect("it takes what it is sent");
    let mut said = Vec::new();
    let mut some = [0; 4096];
    while !said.ends_with(b"+PONG\r\n") {
        let count = stream.read(&mut some).expect("it answers");
        assert!(count > 0, "it has closed the connection");
        said.extend_from_slice(&some[..count]);
    }
    said
}

fn ask_model(redis: &mut Redis, connection: u64, parts: &[&str]) -> Vec<u8> {
    let found = redis.connections.get_mut(&connection).expect("it is connected");
    found.inbox.extend([command(parts), command(&["PING"])].concat());
    while redis.take(connection).is_some() {}
    std::mem::take(&mut redis.connections.get_mut(&connection).expect("it is connected").outbox)
}

fn command(parts: &[&str]) -> Vec<u8> {
    let head = format!("*{}\r\n", parts.len());
    let parts = parts.iter().map(|part| format!("${}\r\n{part}\r\n", part.len()));
    std::iter::once(head).chain(parts).collect::<String>().into_bytes()
}

impl Server {
    fn start() -> Server {
        let directory = std::env::temp_dir().join(format!("shaveet-model-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("there is a place for temporary files");
        let mut child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", "redis.sock"])
            .current_dir(&directory)
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is installed");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let is_ready = |line: String| line.contains("eady to accept connections");
        assert!(lines.map_while(Result::ok).any(is_ready), "redis-server does not start");
        Server { child, directory }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
