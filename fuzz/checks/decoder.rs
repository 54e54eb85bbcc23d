//! Bytes of a connection, shown at once and cut into pieces: both mean the same.

use super::read;

pub(crate) fn check(input: &[u8]) {
    let Some((&cut, input)) = input.split_first() else { return };
    let whole = read::read(input, &[]);
    assert_eq!(read::read(input, &[usize::from(cut) + 1]), whole);
    assert_eq!(read::read(input, &[usize::from(cut) % 7 + 1, usize::MAX]), whole);
}
