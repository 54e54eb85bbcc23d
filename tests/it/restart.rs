//! A restart where somebody else keeps the listening sockets, as systemd does: nobody is refused, and with `--state` every page
//! goes on where it was.

use crate::support::crowd::{newcomers, raise_descriptor_limit};
use crate::support::metrics::Scraper;
use crate::support::streams::Events;
use crate::support::{
    BINARY, Client, Connection, Missing, Nest, PATIENCE, Server, Shape, Signal, get, post, said, since, until,
};
use serde_json::json;
use socket2::SockAddr;
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// Listens at two ports of 127.0.0.1, and runs the server there again and again: a USR1 ends it, and another begins; with a TERM it
/// is the last.
const KEEPER: &str = r#"
    use Socket; use POSIX;
    my @kept = map {
        socket(my $socket, PF_INET, SOCK_STREAM, 0) or die $!;
        bind($socket, sockaddr_in(0, INADDR_LOOPBACK)) && listen($socket, 4096) or die $!;
        my $fd = POSIX::dup(fileno($socket));
        $fd = POSIX::dup($fd) while $fd < 10;
        $fd
    } 1..2;
    my ($child, $is_over) = (0, 0);
    $SIG{USR1} = sub { kill 'TERM', $child };
    $SIG{TERM} = sub { $is_over = 1; kill 'TERM', $child };
    until ($is_over) {
        $child = fork;
        if (!$child) {
            POSIX::dup2($kept[$_], 3 + $_) for 0..1;
            POSIX::close($_) for @kept;
            @ENV{"LISTEN_FDS", "LISTEN_PID"} = (2, $$);
            # If the test fails nobody is left.
            exec "setpriv", "--pdeathsig", "KILL", @ARGV;
        }
        1 while waitpid($child, 0) != $child;
    }
    exit($? >> 8);
"#;

/// Pages that poll, and pages that stream.
const POLLS: usize = 5000;
const STREAMS: usize = 500;

const RESTARTS: usize = 2;

const PUBLISHED_EVERY: Duration = Duration::from_millis(100);

#[test]
fn thousands_hear_everything_once_through_two_restarts() {
    raise_descriptor_limit();
    let nest = Nest::new("restart");
    let state = nest.file("other", "").with_file_name("state").display().to_string();
    let mut command = Command::new("perl");
    command.args(["-e", KEEPER, BINARY]);
    // All are to be parked at a time, however long the last ones take.
    let kept = ["--presence", "off", "--history", "10000", "--history-age", "1h", "--poll-timeout", "1h"];
    let more = [&kept[..], &["--drain", "1s", "--state", &state]].concat();
    let server = Server::run_bare(command, &more);
    let ids: Vec<String> = (0..POLLS + STREAMS).map(|id| format!("c{id}")).collect();
    let keys = newcomers(&server, &ids);
    let client = |at: usize| Client { server: &server, id: ids[at].clone(), key: keys[at].clone() };
    let mut pages: Vec<Page> = (0..POLLS).map(|at| Page::open(&client(at))).collect();
    let mut streams: Vec<Stream<'_>> = (POLLS..ids.len()).map(|at| Stream::open(client(at))).collect();
    // The number of what is published next. Whoever holds it has nothing published.
    let (published, (over, is_over)) = (Mutex::new(0), mpsc::channel::<()>());
    let next = || published.lock().expect("nobody who has it panics");
    thread::scope(|scope| {
        let (address, next) = (server.address(), &next);
        scope.spawn(move || {
            while is_over.recv_timeout(PUBLISHED_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
                let mut next = next();
                publish(address, *next);
                *next += 1;
            }
        });
        for round in 0..=RESTARTS {
            let before = *next();
            until("this server has published something", || *next() > before);
            let held = next();
            pages.iter_mut().for_each(|page| page.hear_all(*held));
            streams.iter_mut().for_each(|stream| stream.hear_all(*held));
            let mut scraper = Scraper::new(&server);
            scraper.until("parked{transport=resume}", |parked| parked == POLLS as f64);
            scraper.until("parked{transport=events}", |parked| parked == STREAMS as f64);
            if round < RESTARTS {
                server.signal(Signal::USR1);
                // What is published from then on is for the next one, and for those who have not been sent away yet.
                let stops = format!(", {} parked polls\n", POLLS + STREAMS);
                until("it stops, and everybody waits", || server.log().matches(&stops).count() > round);
                drop(held);
                until("another one has begun", || server.log().matches("room for about").count() > round + 1);
            }
        }
        drop(over);
    });
    assert!(*next() > RESTARTS, "{} messages", *next());
    assert_eq!(server.stop().code(), Some(0));
}

/// Publishes a number, until it is certain that it is.
fn publish(to: &SockAddr, number: usize) {
    let options = json!({"idempotency_key": number.to_string()});
    let call = json!({"method": "publish", "params": ["room", number.to_string(), options], "id": 1});
    loop {
        let mut connection = Connection::open(to, None);
        connection.offer(post(call.to_string()));
        match connection.within(PATIENCE) {
            Ok(answer) if answer.status == 200 => return,
            Ok(_) | Err(Missing::Closed) => {}
            Err(Missing::Silent) => panic!("a call is not answered"),
        }
    }
}

/// A page that polls, and counts what it hears: 0, 1, 2...
struct Page {
    address: SockAddr,
    connection: Connection,
    path: String,
    heard: usize,
}

impl Page {
    fn open(client: &Client<'_>) -> Page {
        let path = Shape::Object.path(&[client], "");
        let address = client.server.address().clone();
        let mut page = Page { connection: Connection::open(&address, None), address, path, heard: 0 };
        page.connection.offer(get(&page.path));
        page
    }

    /// Up to this one, which is the next to be published.
    fn hear_all(&mut self, upto: usize) {
        while self.heard < upto {
            self.go_on();
        }
    }

    /// Its answer, if there is one, and the next poll.
    fn go_on(&mut self) {
        match self.connection.within(PATIENCE) {
            Ok(answer) => {
                let answer = answer.json();
                assert_eq!(answer["gaps"], json!([]), "{answer}");
                for text in said(&answer) {
                    assert_eq!(text, self.heard.to_string());
                    self.heard += 1;
                }
                let path = self.path.rsplit_once('=').expect("it ends with the position").0;
                self.path = format!("{path}={}", since(&answer));
            }
            Err(Missing::Closed) => self.connection = Connection::open(&self.address, None),
            Err(Missing::Silent) => panic!("a poll is not answered"),
        }
        self.connection.offer(get(&self.path));
    }
}

/// A page that streams, on another connection when one has ended, and counts what it hears.
struct Stream<'s> {
    client: Client<'s>,
    events: Events,
    heard: usize,
}

impl<'s> Stream<'s> {
    fn open(client: Client<'s>) -> Stream<'s> {
        let events = Events::open(&client, None);
        Stream { client, events, heard: 0 }
    }

    fn hear_all(&mut self, upto: usize) {
        while self.heard < upto {
            match self.events.within(PATIENCE) {
                Ok(Some(event)) => {
                    assert_eq!((&*event.kind, &event.data["data"]), ("message", &json!(self.heard.to_string())));
                    self.heard += 1;
                }
                Ok(None) | Err(Missing::Closed) => self.events = Events::resume(&self.client, &self.events.last_id),
                Err(Missing::Silent) => panic!("no event"),
            }
        }
    }
}
