//! A real Redis of the test's own, on a free port of 127.0.0.1 and on a Unix socket, with a directory that goes with it. Only its
//! process is ended, by its id.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::until;

/// Debian's, unless `TEST_REDIS` names another, as may be a Valkey.
fn program() -> String {
    std::env::var("TEST_REDIS").unwrap_or_else(|_| "/usr/bin/redis-server".into())
}

/// A running Redis. It ends with the value, and shows its log if the test fails.
pub(crate) struct Redis {
    process: Child,
    network: Option<String>,
    arguments: Vec<String>,
    directory: PathBuf,
    pub(crate) port: u16,
    /// What whoever asks it has to say first.
    login: Vec<String>,
}

/// How many there have been.
static STARTED: AtomicU32 = AtomicU32::new(0);

impl Redis {
    pub(crate) fn start() -> Redis {
        Redis::with(&[])
    }

    /// One with these arguments, as on the command line. Nothing is written to a disk.
    pub(crate) fn with(arguments: &[&str]) -> Redis {
        Redis::begin(arguments, Vec::new())
    }

    /// One that is in this network ([`super::network`]), for all who are.
    pub(crate) fn within(network: &str) -> Redis {
        let (network, all) = (Some(network.to_owned()), ["--save", "", "--protected-mode", "no"]);
        let redis = Redis::run(directory(), network, &all, Vec::new());
        redis.ask(&["CONFIG", "SET", "bind", "0.0.0.0"]);
        redis
    }

    /// One that wants this password.
    pub(crate) fn with_password(password: &str) -> Redis {
        Redis::begin(&["--requirepass", password], login(password))
    }

    /// Has it want another password from now on, of connections that are made.
    pub(crate) fn want(&mut self, password: &str) {
        self.ask(&["CONFIG", "SET", "requirepass", password]);
        self.login = login(password);
    }

    /// A Sentinel that watches a master under the name `main`. It does nothing by itself ([`Redis::takes_the_silent_for_dead`]): on a
    /// busy machine a Redis is silent now and then, and whoever takes it for dead soon has one master after the other.
    pub(crate) fn sentinel(master: &Redis) -> Redis {
        let directory = directory();
        let file = directory.join("sentinel.conf");
        let port = master.port;
        let lines = [
            format!("sentinel monitor main 127.0.0.1 {port} 1"),
            "sentinel down-after-milliseconds main 3600000".to_owned(),
            "sentinel failover-timeout main 60000".to_owned(),
        ];
        fs::write(&file, lines.join("\n")).expect("the directory is ours");
        let sentinel = Redis::run(directory, None, &[&file.display().to_string(), "--sentinel"], Vec::new());
        // It asks every ten seconds who else is there, and does nothing for half a minute when it was stopped for two seconds.
        sentinel.ask(&["SENTINEL", "DEBUG", "INFO-PERIOD", "1000", "TILT-TRIGGER", "3600000"]);
        sentinel
    }

    /// From now on the Sentinel takes a master for dead that is silent for half a second.
    pub(crate) fn takes_the_silent_for_dead(&self) {
        self.ask(&["SENTINEL", "SET", "main", "down-after-milliseconds", "500"]);
    }

    /// Has the Sentinel make the replica the master, as soon as it knows enough of it.
    pub(crate) fn fails_over(&self) {
        until("the Sentinel begins", || self.try_ask(&["SENTINEL", "FAILOVER", "main"]) == "OK");
    }

    fn begin(arguments: &[&str], login: Vec<String>) -> Redis {
        let all = [&["--save", "", "--repl-diskless-sync-delay", "0"], arguments].concat();
        Redis::run(directory(), None, &all, login)
    }

    fn run(directory: PathBuf, network: Option<String>, arguments: &[&str], login: Vec<String>) -> Redis {
        let program = program();
        assert!(Path::new(&program).exists(), "{program} is missing: tests/run installs it");
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        // Somebody else may take the port between the looking and the taking: then it is another.
        for _ in 0..10 {
            let port = free_port();
            let mut process = spawn(&directory, network.as_deref(), &arguments, port);
            let mut is_there = false;
            until("Redis is there, or has gone", || {
                is_there = is_up(&directory, &login);
                is_there || process.try_wait().expect("it is our child").is_some()
            });
            if is_there {
                return Redis { process, network, arguments, directory, port, login };
            }
        }
        panic!("Redis does not start: {}", fs::read_to_string(directory.join("log")).unwrap_or_default());
    }

    /// As `--broker` has it, by TCP.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// By its Unix socket.
    pub(crate) fn socket_url(&self) -> String {
        format!("unix://{}", socket(&self.directory).display())
    }

    /// What redis-cli answers to a command.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        asked(&self.directory, &self.login, command).unwrap_or_else(|| panic!("{command:?} is refused"))
    }

    /// The same, or nothing if it breaks the connection off: a Redis that is made something else does so with all that it has.
    pub(crate) fn try_ask(&self, command: &[&str]) -> String {
        asked(&self.directory, &self.login, command).unwrap_or_default()
    }

    /// How many nodes are connected to it, by what they call themselves.
    pub(crate) fn nodes(&self) -> usize {
        self.try_ask(&["CLIENT", "LIST"]).matches("name=shaveet-").count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("it runs");
    }

    /// Ends it as a power cut does. Its port is nobody's then.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Ends it as an administrator does, so that it has what it is to keep on the disk.
    pub(crate) fn shut_down(&mut self) {
        self.signal(Signal::TERM);
        let _ = self.process.wait();
    }

    /// Starts it again where it was, with nothing of what it knew but what is on the disk.
    pub(crate) fn start_again(&mut self) {
        self.process = spawn(&self.directory, self.network.as_deref(), &self.arguments, self.port);
        until("Redis is there again", || {
            if self.process.try_wait().expect("it is our child").is_some() {
                // Somebody has just looked whether the port is free.
                self.process = spawn(&self.directory, self.network.as_deref(), &self.arguments, self.port);
            }
            is_up(&self.directory, &self.login)
        });
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            eprintln!("--- the log of Redis at {}\n{log}---", self.port);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn login(password: &str) -> Vec<String> {
    ["--no-auth-warning", "-a", password].map(str::to_owned).to_vec()
}

fn directory() -> PathBuf {
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("shaveet-redis-{}-{number}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory for temporary files");
    directory
}

fn spawn(directory: &Path, network: Option<&str>, arguments: &[String], port: u16) -> Child {
    let log = fs::File::options().create(true).append(true).open(directory.join("log")).expect("the directory is ours");
    // A configuration is read first, and what follows it counts.
    super::network::command(network, &program())
        .args(arguments)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--daemonize", "no"])
        .arg("--dir")
        .arg(directory)
        .arg("--unixsocket")
        .arg(socket(directory))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second descriptor"))
        .stderr(log)
        .spawn()
        .expect("Redis starts")
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("socket")
}

fn is_up(directory: &Path, login: &[String]) -> bool {
    asked(directory, login, &["PING"]).is_some_and(|answer| answer == "PONG")
}

fn asked(directory: &Path, login: &[String], command: &[&str]) -> Option<String> {
    let mut cli = Command::new("/usr/bin/redis-cli");
    let output =
        cli.arg("-e").arg("-s").arg(socket(directory)).args(login).args(command).output().expect("redis-cli runs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// A port that nobody listens at, and that the kernel gives to nobody who does not ask for it: whoever is started again has it again.
/// No other test is given it.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("this is Linux");
    let given: u16 = range.split_whitespace().next().and_then(|first| first.parse().ok()).expect("two numbers");
    let is_free = |&port: &u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut ports = std::iter::repeat_with(|| fastrand::u16(10_000..given.max(20_000)));
    let is_new = |port: &u16| GIVEN.lock().expect("nobody panics with it").insert(*port);
    ports.by_ref().take(1000).find(|port| is_free(port) && is_new(port)).expect("a free port")
}

/// The arguments of a server that has a model of its own in the Redis of `TEST_BROKER`, if there is one.
pub(crate) fn shared() -> Option<[String; 4]> {
    static SERVERS: AtomicU32 = AtomicU32::new(0);
    let url = std::env::var("TEST_BROKER").ok()?;
    let number = SERVERS.fetch_add(1, Ordering::Relaxed);
    Some(["--broker".into(), url, "--broker-prefix".into(), format!("test-{}-{number}", std::process::id())])
}
