//! How much a turn does of what is done bit by bit: tests and operators see by it that all of it is.

/// A count of steps of some us at most.
#[derive(Debug, Default)]
pub(super) struct Steps {
    in_turn: usize,
    most: usize,
}

impl Steps {
    /// So many places were looked at, clients were told of, or whatever is done for each of many.
    pub(super) fn note(&mut self, count: usize) {
        self.in_turn += count;
    }

    pub(super) fn end_turn(&mut self) {
        self.most = self.most.max(std::mem::take(&mut self.in_turn));
    }

    /// The most in one turn.
    pub(super) fn most(&self) -> usize {
        self.most
    }
}
