//! Bytes that wait: to be looked at, or to be written. One that is empty owns no memory and takes one word, as there are
//! two for each peer and hardly any in use.

/// Bytes that come in at the end and go at the beginning.
#[derive(Debug, Default)]
pub struct Buffer(Option<Box<Content>>);

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    /// How many at the beginning have gone.
    gone: usize,
}

impl Buffer {
    /// Whether nothing is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How much memory it takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.as_ref().map_or(0, |content| size_of::<Content>() + content.bytes.capacity())
    }

    /// What is there.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |content| &content.bytes[content.gone..])
    }

    /// Puts bytes behind the others.
    pub fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let content = self.0.get_or_insert_default();
        // What has gone is moved over when it is the larger part: each byte moves once or twice, not with every push.
        if content.gone > content.bytes.len() / 2 {
            content.bytes.drain(..content.gone);
            content.gone = 0;
        }
        content.bytes.extend_from_slice(bytes);
    }

    /// Takes bytes away at the beginning, and with them all that went before, without copying them. Those behind them are
    /// copied.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let Content { mut bytes, gone } = *std::mem::take(&mut self.0).unwrap_or_default();
        assert!(gone + count <= bytes.len(), "no more is taken than there is");
        self.push(&bytes[gone + count..]);
        bytes.truncate(gone + count);
        bytes
    }

    /// Takes bytes away at the beginning.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn consume(&mut self, count: usize) {
        let left = self.bytes().len().checked_sub(count).expect("no more is consumed than there is");
        match &mut self.0 {
            Some(content) if left > 0 => content.gone += count,
            _ => self.0 = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_and_empty_is_no_memory() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut buffer, mut twin) = (Buffer::default(), Vec::new());
        for step in 0..10_000_u32 {
            if random.bool() {
                let bytes = step.to_be_bytes().repeat(random.usize(..4));
                buffer.push(&bytes);
                twin.extend_from_slice(&bytes);
            } else {
                let count = random.usize(..=twin.len());
                buffer.consume(count);
                twin.drain(..count);
            }
            if random.u32(0..20) == 0 {
                let count = random.usize(..=twin.len());
                let taken = buffer.take(count);
                assert_eq!(taken[taken.len() - count..], twin[..count]);
                twin.drain(..count);
            }
            assert_eq!(buffer.bytes(), twin, "seed {seed}");
            assert_eq!(buffer.is_empty(), twin.is_empty());
        }
        assert_eq!(size_of::<Buffer>(), size_of::<usize>());
    }
}
