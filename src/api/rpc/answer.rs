//! An answer as it is being written: in one piece as most are, or in several, none of which is moved when it grows.

use std::collections::VecDeque;

/// What is written of an answer.
#[derive(Debug, Default)]
pub(in crate::api) struct Answer {
    /// Pieces that are full.
    full: VecDeque<Vec<u8>>,
    /// Bytes in them.
    full_bytes: usize,
    /// The last piece.
    out: Vec<u8>,
}

/// A place in an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pieces: usize,
    bytes: usize,
}

/// How large a piece becomes before the next is begun: what is sent in one go.
const PIECE_BYTES: usize = 64 << 10;

/// Bytes of one answer: a list of a million names of 60 bytes.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;

impl Answer {
    /// An answer that is written into `out`, which is empty.
    pub(super) fn new(out: Vec<u8>) -> Answer {
        Answer { out, ..Answer::default() }
    }

    /// Where to write.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The place to which it has come.
    pub(super) fn mark(&self) -> Mark {
        Mark { pieces: self.full.len(), bytes: self.out.len() }
    }

    /// Takes back what was written since.
    pub(super) fn truncate(&mut self, mark: Mark) {
        if self.full.len() > mark.pieces {
            self.full.truncate(mark.pieces + 1);
            self.out = self.full.pop_back().expect("there are more");
            self.full_bytes = self.full.iter().map(Vec::len).sum();
        }
        self.out.truncate(mark.bytes);
    }

    /// Begins another piece if the last one is full. False if it has become too much.
    pub(super) fn turn(&mut self) -> bool {
        if self.out.len() >= PIECE_BYTES {
            self.full_bytes += self.out.len();
            self.full.push_back(std::mem::take(&mut self.out));
        }
        self.full_bytes <= ANSWER_BYTES_MAX
    }

    /// How long it is.
    pub(in crate::api) fn len(&self) -> usize {
        self.full_bytes + self.out.len()
    }

    /// The answer, if it is in one piece.
    pub(in crate::api) fn whole(&self) -> Option<&[u8]> {
        self.full.is_empty().then_some(&self.out)
    }

    /// Takes away the first piece that is still here.
    pub(in crate::api) fn next_piece(&mut self) -> Vec<u8> {
        self.full.pop_front().unwrap_or_else(|| std::mem::take(&mut self.out))
    }

    /// Whether nothing is left.
    pub(in crate::api) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.out.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_since_a_mark_is_taken_back_from_several_pieces() {
        let mut answer = Answer::new(Vec::new());
        let write = |answer: &mut Answer, byte| {
            let bytes = answer.out.len() + PIECE_BYTES / 2 + 1;
            answer.out().resize(bytes, byte);
        };
        write(&mut answer, b'a');
        assert!(answer.turn() && answer.whole().is_some());
        let mark = answer.mark();
        for _ in 0..5 {
            write(&mut answer, b'b');
            assert!(answer.turn());
        }
        assert!(answer.whole().is_none());
        assert_eq!(answer.len(), 6 * (PIECE_BYTES / 2 + 1));
        answer.truncate(mark);
        assert_eq!((answer.len(), answer.whole()), (PIECE_BYTES / 2 + 1, Some(&[b'a'; PIECE_BYTES / 2 + 1][..])));
        assert!(answer.next_piece().len() == PIECE_BYTES / 2 + 1 && answer.is_empty());
    }
}
