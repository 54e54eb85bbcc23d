//! What a server knows, as bytes: for a file that outlives it, or for the process that comes after it.
//!
//! ```text
//!   magic   version   whole   records                                  checksum
//!   16      2         1       one behind the other, the first: Header  4
//! ```
//!
//! Numbers are little-endian, records are in postcard's wire format, and the checksum (CRC-32) is of all records. `whole` stands
//! apart from what is summed up: whoever goes on from a file takes it back in place, as what comes then is not in it.
//! Nothing here knows what the records mean.

use std::fmt;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::clock::Ms;

/// What a file of ours begins with: a name for people, an end of it for terminals.
const MAGIC: [u8; 16] = *b"shaveet state\r\n\x1a";

/// What is written and read. Another number for every change of a record.
pub const VERSION: u16 = 1;

/// Where [`Reader::is_whole`] stands.
pub const WHOLE_AT: usize = 18;

/// Bytes before the records, and behind them.
const HEAD: usize = WHOLE_AT + 1;
const TAIL: usize = 4;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 64 << 10;

/// The first record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Which program wrote it, for messages.
    pub program: String,
    /// In which positions are named.
    pub epoch: u64,
    /// When it was written, on the clock of the one who wrote...
    pub now: Ms,
    /// ...and on the wall clock, in milliseconds since 1970.
    pub wall_ms: u64,
}

/// Why bytes are no state that can be gone on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// They are something else.
    Foreign,
    /// They are of a version that is not known here.
    Version(u16),
    /// They are cut short, or not what was written.
    Broken,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Foreign => write!(f, "it is not a state of shaveet"),
            Damage::Version(version) if *version > VERSION => {
                write!(f, "a newer shaveet has written it (format {version}; this one reads format {VERSION})")
            }
            Damage::Version(version) => {
                write!(f, "an older shaveet has written it (format {version}; this one reads format {VERSION})")
            }
            Damage::Broken => write!(f, "it is damaged: cut short, or not what was written"),
        }
    }
}

impl std::error::Error for Damage {}

/// Writes a state.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    gathered: Vec<u8>,
    checksum: crc32fast::Hasher,
}

impl<W: Write> Writer<W> {
    /// Writes what comes before the records, and the first of them. `is_whole` says that nothing happens any more before the
    /// last record is written, nor after.
    ///
    /// # Errors
    /// Those of `out`, as for all that follows.
    pub fn begin(mut out: W, is_whole: bool, header: &Header) -> io::Result<Writer<W>> {
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&[is_whole.into()])?;
        let mut writer = Writer { out, gathered: Vec::with_capacity(2 * GATHERED), checksum: crc32fast::Hasher::new() };
        writer.put(header)?;
        Ok(writer)
    }

    /// Writes a record. Gives how many bytes it has.
    ///
    /// # Errors
    /// Those of the output.
    pub fn put(&mut self, record: &impl Serialize) -> io::Result<usize> {
        let gathered = std::mem::take(&mut self.gathered);
        let before = gathered.len();
        self.gathered = postcard::to_extend(record, gathered).map_err(io::Error::other)?;
        let count = self.gathered.len() - before;
        if self.gathered.len() >= GATHERED {
            self.flush()?;
        }
        Ok(count)
    }

    /// Writes the checksum: this is all.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        self.out.write_all(&self.checksum.finalize().to_le_bytes())?;
        Ok(self.out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.checksum.update(&self.gathered);
        self.out.write_all(&self.gathered)?;
        self.gathered.clear();
        Ok(())
    }
}

/// Reads a state.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The first record.
    pub header: Header,
    /// What is in it is all that there was, up to the end.
    pub is_whole: bool,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Looks whether the bytes are whole, and reads the first record.
    ///
    /// # Errors
    /// [`Damage`] says what is wrong with them.
    pub fn open(bytes: &'a [u8]) -> Result<Reader<'a>, Damage> {
        let rest = bytes.strip_prefix(&MAGIC).ok_or(Damage::Foreign)?;
        let version = rest.first_chunk().ok_or(Damage::Broken)?;
        let version = u16::from_le_bytes(*version);
        if version != VERSION {
            return Err(Damage::Version(version));
        }
        let (head, rest) = bytes.split_at_checked(HEAD).ok_or(Damage::Broken)?;
        let (records, checksum) = rest.split_last_chunk::<TAIL>().ok_or(Damage::Broken)?;
        if crc32fast::hash(records) != u32::from_le_bytes(*checksum) {
            return Err(Damage::Broken);
        }
        let (header, rest) = postcard::take_from_bytes(records).map_err(|_| Damage::Broken)?;
        Ok(Reader { header, is_whole: head[HEAD - 1] == 1, rest })
    }

    /// The next record.
    ///
    /// # Errors
    /// [`Damage::Broken`] if there is no more, or what comes is no such record.
    pub fn read<T: Deserialize<'a>>(&mut self) -> Result<T, Damage> {
        let (record, rest) = postcard::take_from_bytes(self.rest).map_err(|_| Damage::Broken)?;
        self.rest = rest;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { program: "shaveet 9".into(), epoch: u64::MAX, now: Ms(5), wall_ms: 7 }
    }

    fn written(records: &[&str]) -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new(), true, &header()).unwrap();
        for record in records {
            writer.put(record).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "x".repeat(3 * GATHERED);
        let bytes = written(&["a", &long, ""]);
        let mut reader = Reader::open(&bytes).unwrap();
        assert_eq!((&reader.header, reader.is_whole), (&header(), true));
        for expected in ["a", &long, ""] {
            assert_eq!(reader.read::<&str>(), Ok(expected));
        }
        assert_eq!(reader.read::<&str>(), Err(Damage::Broken));
        let mut taken_back = bytes.clone();
        taken_back[WHOLE_AT] = 0;
        assert!(!Reader::open(&taken_back).unwrap().is_whole);
    }

    #[test]
    fn damage_is_found_wherever_it_is() {
        let bytes = written(&["some text", "more"]);
        for cut in 0..bytes.len() {
            let damage = Reader::open(&bytes[..cut]).unwrap_err();
            assert_eq!(damage, if cut < MAGIC.len() { Damage::Foreign } else { Damage::Broken }, "{cut} bytes");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            let expected = match at {
                0..16 => Damage::Foreign,
                16 => Damage::Version(VERSION ^ 0x10),
                17 => Damage::Version(VERSION ^ 0x1000),
                18 => continue,
                _ => Damage::Broken,
            };
            assert_eq!(Reader::open(&changed).unwrap_err(), expected, "byte {at}");
        }
        assert!(Reader::open(b"").is_err());
    }
}
