//! The state file (`--state`): what the server knows is written when it stops and, if wanted, every so often, and read when
//! it starts.
//!
//! A file is written beside the old one and renamed, so there is a whole one at any time. One that is written while the
//! server serves is written in slices, and is of no single moment; so is one of a server that came to its end
//! without stopping, as more has happened since. Who starts from such a file begins a new epoch: pages with a position are
//! told a gap rather than believed.

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use log::{info, warn};
use rustix::fs::{FlockOperation, flock};

use crate::api::Attempts;
use crate::clock::Ms;
use crate::config::Config;
use crate::hub::{Hub, Limits, Restoration, Resumption, Snapshot};
use crate::state::{Damage, Header, Reader, WHOLE_AT, Writer};

use super::clock::Clock;

/// The keys of all clients are in it: it is for the eyes of the one who runs the server.
const MODE: u32 = 0o600;

/// Places that are looked at before the clock is looked at again, at some 100 ns each.
const PLACES_PER_STEP: u32 = 32;

/// Bytes that are written before it is looked at again, some 10 us. A record is written whole, however large it is.
const BYTES_PER_STEP: usize = 16 << 10;

/// Ids that a channel may have given in each millisecond since the file was written: ten thousand a second, all the time, is more
/// than any page reads. Those of several lives that began with the same file do not meet either, as each later one skips more.
const IDS_PER_MS: u64 = 10;

/// The least that is skipped: a wall clock may have been set back meanwhile.
const IDS_MIN: u64 = 1_000;

/// Where the state is kept.
#[derive(Debug)]
pub(super) struct Storage {
    path: PathBuf,
    /// [`Ms::ZERO`]: only when the server stops.
    interval: Ms,
    /// When it is written next, if it is not being written.
    due: Ms,
    writing: Option<Writing>,
    attempts: Attempts,
    /// Held for as long as the server runs: two of them would write over each other.
    _lock: File,
}

/// A file that is being written.
#[derive(Debug)]
struct Writing {
    writer: Writer<File>,
    snapshot: Snapshot,
    began: Ms,
}

/// What a server begins with.
#[derive(Debug)]
pub(super) struct Past {
    /// The time on the clock of the one who wrote it, and what has passed since.
    pub(super) now: Ms,
    /// What it knew.
    pub(super) hub: Hub,
    /// In which positions are named; `None` if a new one has to be drawn.
    pub(super) epoch: Option<u64>,
}

/// Why the state cannot be kept.
#[derive(Debug)]
pub struct StateError {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Locked,
    /// What could not be done.
    System(&'static str, io::Error),
    Damaged(Damage),
}

impl Storage {
    /// The state file of the configuration, if there is one to be kept. If what stands in it is to be ignored it is put aside.
    ///
    /// # Errors
    /// [`StateError`] if another server keeps its state there, or no file can be made there.
    pub(super) fn open(config: &Config) -> Result<Option<Storage>, StateError> {
        let Some(path) = &config.state else { return Ok(None) };
        let failed = |what| move |cause| StateError { path: path.clone(), kind: Kind::System(what, cause) };
        let lock = beside(path, "lock");
        let lock = create(&lock).map_err(failed("make a file beside"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(StateError { path: path.clone(), kind: Kind::Locked });
        }
        if config.state_ignore && path.exists() {
            let aside = beside(path, &format!("ignored-{}", wall_ms()));
            std::fs::rename(path, &aside).map_err(failed("put aside"))?;
            warn!("the state in {} is ignored; it is in {} now", path.display(), aside.display());
        }
        let (path, interval) = (path.clone(), config.state_interval);
        Ok(Some(Storage { path, interval, due: Ms::MAX, writing: None, attempts: Attempts::default(), _lock: lock }))
    }

    /// What stands in the file; `None` if there is none.
    fn read(&self) -> Result<Option<Vec<u8>>, StateError> {
        match std::fs::read(&self.path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", error)),
        }
    }

    /// Makes a hub of what stands in the file, if there is one. From now on the file is of a server that has not stopped.
    ///
    /// # Errors
    /// [`StateError`] if it is damaged, or of another version, or cannot be read or written to.
    pub(super) fn past(&self, limits: Limits) -> Result<Option<Past>, StateError> {
        let Some(bytes) = self.read()? else { return Ok(None) };
        let damaged = |damage| StateError { path: self.path.clone(), kind: Kind::Damaged(damage) };
        let mut reader = Reader::open(&bytes).map_err(damaged)?;
        let away = Ms(wall_ms().saturating_sub(reader.header.wall_ms));
        let now = reader.header.now + away;
        let mut hub = restore(&mut reader, limits, Resumption { now, away }).map_err(damaged)?;
        let stats = hub.stats();
        info!(
            "went on from {}: {} clients, {} departed, {} channels, written by {} {:.1} s ago",
            self.path.display(),
            stats.clients,
            stats.departed,
            stats.channels,
            reader.header.program,
            away.as_duration().as_secs_f64()
        );
        if !reader.is_whole {
            let skipped = IDS_MIN + away.0.saturating_mul(IDS_PER_MS);
            hub.skip_ids(skipped);
            warn!(
                "the server had not stopped, and more happened than is in its state: pages are told so, and ids go on \
                 {skipped} higher"
            );
        }
        self.take_back().map_err(|error| self.failed("write to", error))?;
        Ok(Some(Past { now, hub, epoch: reader.is_whole.then_some(reader.header.epoch) }))
    }

    /// The file is not whole any more: things happen that are not in it.
    fn take_back(&self) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(&self.path)?;
        file.seek(SeekFrom::Start(WHOLE_AT as u64))?;
        file.write_all(&[false.into()])?;
        file.sync_all()
    }

    /// The server begins.
    pub(super) fn begin(&mut self, now: Ms) {
        self.due = if self.interval == Ms::ZERO { Ms::MAX } else { now + self.interval };
    }

    /// How it was written while the server ran.
    pub(super) fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// When there is something to do; now, while a file is being written.
    pub(super) fn due(&self, now: Ms) -> Ms {
        if self.writing.is_some() { now } else { self.due }
    }

    /// Writes some of what is to be written now, as long as there is time.
    pub(super) fn write_some(&mut self, now: Ms, epoch: u64, hub: &Hub, mut has_time: impl FnMut() -> bool) {
        if self.writing.is_none() && now < self.due {
            return;
        }
        let began = self.writing.as_ref().map_or(now, |writing| writing.began);
        let went = self.go_on(now, epoch, hub, &mut has_time);
        if self.writing.is_none() || went.is_err() {
            self.attempts.note(went.is_ok(), Clock::since_1970(), (now - began).as_duration());
        }
        if let Err(error) = went {
            warn!("the state cannot be written to {}: {error}; it is tried again", self.path.display());
            self.give_up();
            self.begin(now);
        }
    }

    fn go_on(&mut self, now: Ms, epoch: u64, hub: &Hub, has_time: &mut dyn FnMut() -> bool) -> io::Result<()> {
        let writing = match &mut self.writing {
            Some(writing) => writing,
            none => none.insert(Writing::begin(&self.path, false, now, epoch)?),
        };
        while !writing.snapshot.is_over() {
            writing.step(hub)?;
            if !has_time() {
                return Ok(());
            }
        }
        // Not synchronised: that would stop the loop for as long as the disk takes. The kernel writes it within seconds, and the
        // checksum tells if it has not.
        let writing = self.writing.take().expect("it is there since some lines ago");
        writing.writer.finish()?;
        std::fs::rename(beside(&self.path, "new"), &self.path)?;
        self.begin(now);
        Ok(())
    }

    /// Writes everything at once: nothing happens any more.
    ///
    /// # Errors
    /// [`StateError`] if it cannot be written. Then the file is as it was.
    pub(super) fn write_whole(&mut self, now: Ms, epoch: u64, hub: &Hub) -> Result<(), StateError> {
        self.give_up();
        let write = || -> io::Result<()> {
            let mut writing = Writing::begin(&self.path, true, now, epoch)?;
            while !writing.snapshot.is_over() {
                writing.step(hub)?;
            }
            writing.writer.finish()?.sync_all()?;
            std::fs::rename(beside(&self.path, "new"), &self.path)?;
            let directory = self.path.parent().filter(|path| !path.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        };
        if let Err(error) = write() {
            self.give_up();
            return Err(self.failed("write", error));
        }
        let stats = hub.stats();
        info!(
            "the state is in {}: {} clients, {} departed, {} channels",
            self.path.display(),
            stats.clients,
            stats.departed,
            stats.channels
        );
        Ok(())
    }

    /// Lets a file be that is half written, or could not take the place of the one before: where the disk is full it would only
    /// take room.
    fn give_up(&mut self) {
        self.writing = None;
        let _ = std::fs::remove_file(beside(&self.path, "new"));
    }

    fn failed(&self, what: &'static str, cause: io::Error) -> StateError {
        StateError { path: self.path.clone(), kind: Kind::System(what, cause) }
    }
}

impl Writing {
    fn begin(path: &Path, is_whole: bool, now: Ms, epoch: u64) -> io::Result<Writing> {
        let file = create(&beside(path, "new"))?;
        file.set_len(0)?;
        let writer = Writer::begin(file, is_whole, &header(now, epoch))?;
        Ok(Writing { writer, snapshot: Snapshot::begin(false), began: now })
    }

    fn step(&mut self, hub: &Hub) -> io::Result<()> {
        let (mut places, mut bytes) = (PLACES_PER_STEP, 0);
        while bytes < BYTES_PER_STEP
            && let Some(record) = hub.next_record(&mut self.snapshot, &mut places)
        {
            bytes += self.writer.put(&record)?;
        }
        Ok(())
    }
}

/// What is said first of what is written now.
pub(super) fn header(now: Ms, epoch: u64) -> Header {
    Header { program: concat!("shaveet ", env!("CARGO_PKG_VERSION")).into(), epoch, now, wall_ms: wall_ms() }
}

/// Makes a hub of the records that come next.
pub(super) fn restore<'a>(reader: &mut Reader<'a>, limits: Limits, at: Resumption) -> Result<Hub, Damage> {
    let mut restoration = Restoration::begin(limits);
    loop {
        if let Some(hub) = restoration.take(at, reader.read()?) {
            return Ok(hub);
        }
    }
}

/// The wall clock, for what outlives the process.
fn wall_ms() -> u64 {
    Ms::from(Clock::since_1970()).0
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).open(path)
}

/// `state`, `state.new`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(suffix);
    name.into()
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.kind {
            Kind::Locked => write!(f, "another server keeps its state in {path} (--state)"),
            Kind::System(what, cause) => write!(f, "cannot {what} the state file {path} (--state): {cause}"),
            Kind::Damaged(damage) => write!(
                f,
                "cannot go on from the state file {path} (--state): {damage}. Nothing was changed. --state-ignore starts without \
                 it, and puts it aside"
            ),
        }
    }
}

impl std::error::Error for StateError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{ClientKey, Sender, Submission};

    /// Large enough that some of them would hold everybody up, and small enough that a channel keeps all of them.
    const TEXT: usize = 20_000;
    const TEXTS: usize = 50;
    const CLIENTS: usize = 2000;

    fn crowded(config: &Config) -> Hub {
        let mut hub = Hub::new(Ms::ZERO, config.hub_limits());
        for at in 0..CLIENTS {
            hub.create_client(Ms::ZERO, &format!("c{at}"), ClientKey::new([7; 16])).unwrap();
        }
        let text = "x".repeat(TEXT);
        for _ in 0..TEXTS {
            let submission =
                Submission { channel: "room", from: Sender::Id("app"), text: &text, exclude: &[], ttl: None };
            hub.publish(Ms::ZERO, submission).unwrap();
        }
        hub
    }

    #[test]
    fn as_long_as_there_is_no_time_each_turn_writes_a_little() {
        let directory = std::env::temp_dir().join(format!("shaveet-storage-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("state");
        let config = Config { state: Some(path.clone()), state_interval: Ms(50), ..Config::default() };
        let mut hub = crowded(&config);
        let mut storage = Storage::open(&config).unwrap().unwrap();
        storage.begin(Ms::ZERO);
        let (mut turns, mut before) = (0, 0);
        let now = storage.due(Ms::ZERO);
        assert_eq!(now, Ms(50));
        while !path.exists() {
            assert_eq!(storage.due(now), now, "it goes on at once");
            storage.write_some(now, 1, &hub, || false);
            turns += 1;
            // What is gathered is written when it is too much: by one record it may be more.
            let written = std::fs::metadata(beside(&path, "new")).map_or(before, |file| file.len());
            assert!(written - before <= (64 << 10) + 2 * TEXT as u64, "{} bytes in a turn", written - before);
            before = written;
            // Others come and go meanwhile.
            hub.kill_client(now, &format!("c{turns}")).unwrap();
        }
        let least = CLIENTS.div_ceil(PLACES_PER_STEP as usize) + TEXTS;
        assert!((least..CLIENTS).contains(&turns), "{turns} turns");
        assert_eq!(storage.due(now), now + Ms(50));
        let past = storage.past(config.hub_limits()).unwrap().unwrap();
        past.hub.check();
        // And if there is time it is done in one.
        std::fs::remove_file(&path).unwrap();
        storage.write_some(storage.due(now), 1, &hub, || true);
        assert!(path.exists());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
