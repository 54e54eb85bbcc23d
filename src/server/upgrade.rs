//! Becoming another program, with nothing lost and nobody hung up on: SIGUSR2.
//!
//! First a child runs the new program on a copy of everything, to see whether it can begin: its configuration, its reading of
//! what is known, the addresses that are new. Meanwhile all goes on. Then no new calls are looked at until those under way
//! are answered, some milliseconds mostly; everything is written down, and the process executes the program. If anything
//! fails up to there this program goes on as if nothing had been.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use log::{info, warn};

use crate::api::Secret;
use crate::clock::Ms;
use crate::cluster::Cluster;
use crate::config::Config;

use super::handover::{Estate, Inventory, read_all};
use super::listener::Listener;
use super::supervisor::{self, Supervisor};
use super::{BindError, Server, verdict};

/// Says in the environment of a program how it is to begin: [`TRIAL`], or the number of times that the process has become
/// another.
pub const VARIABLE: &str = "_SHAVEET_TAKES_OVER";

/// It only says whether it could.
const TRIAL: &str = "trial";

/// For how long a child may try: longer than a million clients take.
const TRIAL_MAX: Ms = Ms::from_secs(10);

/// For how long calls under way may take.
const SETTLE_MAX: Ms = Ms::from_secs(5);

/// For how long a node that has taken over leaves requests where they are, until Redis has answered: some milliseconds mostly. Without
/// Redis it refuses what needs one, as always.
const ARRIVE_MAX: Ms = Ms::from_secs(1);

/// The file that this process executes, and how it was called.
#[derive(Debug)]
pub(super) struct Program {
    /// `None` if the system does not say.
    path: Option<PathBuf>,
    arguments: Vec<OsString>,
    /// How often the process has become another.
    times: u64,
}

/// Says why there is no upgrade, in the log and to the command that waits for it.
fn fail(why: &str) {
    warn!("no upgrade, all goes on: {why}");
    verdict::tell(why);
}

/// How far an upgrade has come.
#[derive(Debug)]
pub(super) enum Upgrade {
    /// A child tries the new program.
    Trying { child: Child, until: Ms },
    /// Nothing new is begun; what is under way comes to its end.
    Settling { until: Ms },
}

/// How a server begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// With what is in the state file, if there is one.
    Anew,
    /// In the place of another, if nothing stands against it: exit code 0.
    Trial,
    /// In the place of another.
    TakeOver,
}

impl Beginning {
    /// How this process was told to.
    #[must_use]
    pub fn of_this_process() -> Beginning {
        match std::env::var(VARIABLE) {
            Ok(value) if value == TRIAL => Beginning::Trial,
            Ok(_) => Beginning::TakeOver,
            Err(_) => Beginning::Anew,
        }
    }
}

impl Program {
    /// The one that runs. To be asked at the beginning: later another file may have its name.
    pub(super) fn this() -> Program {
        Program {
            path: std::env::current_exe().ok(),
            arguments: std::env::args_os().skip(1).collect(),
            times: std::env::var(VARIABLE).ok().and_then(|value| value.parse().ok()).unwrap_or(0),
        }
    }

    fn command(&self, stdin: impl Into<Stdio>, how: &str) -> io::Result<Command> {
        let path = self.path.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut command = Command::new(path);
        command.args(&self.arguments).stdin(stdin).env(VARIABLE, how);
        // What a supervisor had handed over at the start is handed over with the rest.
        command.env_remove("LISTEN_FDS").env_remove("LISTEN_PID");
        Ok(command)
    }
}

impl Upgrade {
    /// When there is something to do about it, if nothing happens.
    pub(super) fn until(&self) -> Ms {
        match self {
            Upgrade::Trying { until, .. } | Upgrade::Settling { until } => *until,
        }
    }
}

impl Server {
    /// SIGUSR2: a child tries the program that stands where this one was started from.
    pub(super) fn begin_upgrade(&mut self) {
        if self.upgrade.is_some() {
            // Whoever has asked for that one is not to take this for its end.
            return warn!("no upgrade: one is under way");
        }
        if self.stopping.is_some() {
            return fail("the server stops");
        }
        let tried = self.write_down().and_then(|mut state| {
            io::Seek::rewind(&mut state)?;
            self.program.command(state, TRIAL)?.stdout(Stdio::null()).spawn()
        });
        match tried {
            Ok(child) => {
                info!("upgrade: process {} tries the new program", child.id());
                self.upgrade = Some(Upgrade::Trying { child, until: self.now + TRIAL_MAX });
            }
            Err(error) => fail(&format!("the new program cannot be tried: {error}")),
        }
    }

    /// Whether requests that come now are left for later: for the program to come, or until this one, which has come, knows its Redis.
    pub(super) fn is_settling(&self) -> bool {
        matches!(self.upgrade, Some(Upgrade::Settling { .. })) || self.arrives_until.is_some()
    }

    /// A node that has taken over has arrived when it can ask Redis, or does not wait for that any longer.
    pub(super) fn arrive(&mut self) {
        let is_there = |cluster: &Cluster| cluster.link.is_live();
        if self.arrives_until.is_some_and(|until| until <= self.now) || self.api.cluster.as_deref().is_none_or(is_there)
        {
            self.arrives_until = None;
        }
    }

    /// Goes on with an upgrade that is under way.
    pub(super) fn go_on_upgrading(&mut self) {
        match &mut self.upgrade {
            None => {}
            Some(Upgrade::Trying { child, until }) => match child.try_wait() {
                Ok(Some(status)) if status.success() => {
                    self.upgrade = Some(Upgrade::Settling { until: self.now + SETTLE_MAX });
                    // Mostly nothing is under way, and no event would make another turn.
                    self.go_on_upgrading();
                }
                Ok(None) if self.now < *until => {}
                Ok(None) => self.give_up_upgrade("the new program does not say whether it can begin"),
                Ok(Some(status)) => {
                    self.upgrade = None;
                    fail(&format!("the new program cannot begin ({status}; what it said is in the log)"));
                }
                Err(error) => self.give_up_upgrade(&error.to_string()),
            },
            Some(Upgrade::Settling { until }) => {
                let is_late = self.now >= *until;
                if self.jobs.is_empty() && !self.peers.iter().any(|(_, peer)| peer.is_busy()) {
                    let error = self.become_another();
                    self.give_up_upgrade(&error.to_string());
                    Supervisor::is_ready();
                } else if is_late {
                    self.give_up_upgrade("calls are under way that do not come to their end");
                }
            }
        }
    }

    /// Ends an upgrade that cannot be.
    pub(super) fn give_up_upgrade(&mut self, why: &str) {
        if let Some(Upgrade::Trying { mut child, .. }) = self.upgrade.take() {
            // Both fail only if it has gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
        fail(why);
    }

    /// Comes back only if it fails.
    fn become_another(&mut self) -> io::Error {
        Supervisor::reloads();
        // A million connections take some seconds.
        self.supervisor.is_alive(self.now);
        info!("upgrade: {} connections are handed over", self.peers.len());
        if let Some(cluster) = &mut self.api.cluster {
            // It knows nothing of a time before.
            cluster.let_go_of_all(self.now, &mut self.api.hub);
        }
        let handed =
            self.bequeath().and_then(|sockets| self.program.command(sockets, &(self.program.times + 1).to_string()));
        match handed {
            Ok(mut command) => command.exec(),
            Err(error) => error,
        }
    }

    /// Goes on where another program was, in its process.
    ///
    /// # Errors
    /// [`BindError`] as for [`Server::bind`], and if what was handed over is not what it should be.
    pub fn inherit(config: Config, used: fn() -> usize) -> Result<Server, BindError> {
        let estate = Estate::receive(&config)?;
        let nothing = File::open("/dev/null").map_err(BindError::Loop)?;
        rustix::stdio::dup2_stdin(&nothing).map_err(|error| BindError::Loop(error.into()))?;
        let Estate { past, listeners, peers } = estate;
        let mut server = Server::assemble(config, used, listeners, |_| Ok(Some(past)))?;
        info!(
            "shaveet {} has taken over {} connections and {} parked polls",
            env!("CARGO_PKG_VERSION"),
            peers.len(),
            server.api.hub.stats().waiters
        );
        server.adopt(peers);
        server.arrives_until = Some(server.now + ARRIVE_MAX);
        Ok(server)
    }

    /// Whether this program could go on where another is.
    ///
    /// # Errors
    /// [`BindError`] says what stands against it.
    pub fn try_to_inherit(config: &Config) -> Result<(), BindError> {
        let state = rustix::io::dup(rustix::stdio::stdin()).map_err(|error| BindError::Loop(error.into()))?;
        let bytes = read_all(state.into()).map_err(BindError::Loop)?;
        let inventory = Inventory::read(&bytes, config).map_err(BindError::Estate)?;
        let mut config = config.clone();
        supervisor::amend(&mut config, &inventory.supervised());
        if let Some(path) = &config.rpc_token_file {
            Secret::read(path).map_err(|error| BindError::Token(path.clone(), error))?;
        }
        let all = config.listen.iter().map(|address| (address, false));
        let all = all.chain(config.rpc_listen.iter().map(|address| (address, true)));
        for (address, _) in all.filter(|&(address, is_for_calls)| !inventory.has(address, is_for_calls)) {
            Listener::bind(address, None)?;
        }
        Ok(())
    }
}
