//! How far a kind of bytes goes: what parsers and writers ask most of the time, as most of what they see is of one kind.

/// How many bytes at the beginning are of a kind. They are looked at 32 at a time, then 8, which the compiler makes one look
/// each.
pub fn run_of(bytes: &[u8], is_of: impl Fn(u8) -> bool) -> usize {
    let mut run = whole_steps::<32>(bytes, &is_of);
    run += whole_steps::<8>(&bytes[run..], &is_of);
    run + bytes[run..].iter().take_while(|&&byte| is_of(byte)).count()
}

/// The same by steps of so many bytes, as far as all of a step are of the kind.
fn whole_steps<const STEP: usize>(bytes: &[u8], is_of: impl Fn(u8) -> bool) -> usize {
    let all = |step: &&[u8; STEP]| step.iter().fold(true, |all, &byte| all & is_of(byte));
    bytes.as_chunks().0.iter().take_while(all).count() * STEP
}

/// The same for short runs, of which the end is most: eight bytes are one number, in which `stops` sets the highest bit of
/// the first byte that is of another kind. 0 is of no kind.
pub fn short_run(bytes: &[u8], stops: impl Fn(u64) -> u64) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, &word) in words.iter().enumerate() {
        let found = stops(u64::from_le_bytes(word));
        if found != 0 {
            return 8 * at + found.trailing_zeros() as usize / 8;
        }
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    8 * words.len() + stops(u64::from_le_bytes(last)).trailing_zeros() as usize / 8
}

/// The same for runs that may be longer, of which 32 bytes are looked at at a time.
pub fn longer_run(bytes: &[u8], stops: impl Fn(u64) -> u64) -> usize {
    let goes_on =
        |step: &&[[u8; 8]; 4]| step.iter().fold(0, |found, &word| found | stops(u64::from_le_bytes(word))) == 0;
    let whole = bytes.as_chunks().0.as_chunks().0.iter().take_while(goes_on).count() * 32;
    whole + short_run(&bytes[whole..], stops)
}

/// For [`short_run`]: bytes below `end`, which is 128 at most. (Of those behind the first it may take some more for such.)
pub fn below(word: u64, end: u8) -> u64 {
    word.wrapping_sub(EACH * u64::from(end)) & !word & HIGH
}

/// For [`short_run`]: a byte that is this one.
pub fn is(word: u64, byte: u8) -> u64 {
    below(word ^ (EACH * u64::from(byte)), 1)
}

/// For [`short_run`]: bytes that are not from `first` to `last`, which are ASCII. (Of those behind the first it may take some
/// more for such.)
pub fn outside(word: u64, first: u8, last: u8) -> u64 {
    let beyond_last = word.wrapping_add(EACH * u64::from(0x7f - last));
    (word.wrapping_sub(EACH * u64::from(first)) | beyond_last | word) & HIGH
}

/// For [`short_run`]: bytes that are no letter, no digit and no hyphen.
pub fn no_word(word: u64) -> u64 {
    // Of seven bits, so that no sum goes over into the next byte.
    let low = word & !HIGH;
    let from = |bits: u64, byte: u8| bits + EACH * u64::from(0x80 - byte);
    let letter = |bits: u64| from(bits, b'a') & !from(bits, b'z' + 1);
    let digit = from(low, b'0') & !from(low, b'9' + 1);
    let hyphen = from(low, b'-') & !from(low, b'-' + 1);
    (!(letter(low | (EACH * 0x20)) | digit | hyphen) | word) & HIGH
}

const EACH: u64 = u64::from_le_bytes([1; 8]);
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_the_first_byte_of_another_kind_wherever_that_stands() {
        for length in 0..100 {
            let mut bytes = vec![b'a'; length];
            for odd in (0..length).rev() {
                // Whatever stands behind it.
                for behind in [b'a', b'b', 0, 0xff] {
                    bytes[odd..].fill(behind);
                    bytes[odd] = b'b';
                    assert_eq!(run_of(&bytes, |byte| byte == b'a'), odd);
                    assert_eq!(short_run(&bytes, |word| is(word, b'b') | is(word, 0)), odd);
                    assert_eq!(longer_run(&bytes, |word| is(word, b'b') | is(word, 0)), odd);
                }
                bytes[odd..].fill(b'a');
            }
            assert_eq!(run_of(&bytes, |byte| byte == b'a'), length);
            assert_eq!(short_run(&bytes, |word| is(word, b'b') | is(word, 0)), length);
        }
    }

    #[test]
    fn kinds_are_what_they_are_called_whatever_stands_before_and_behind() {
        /// For words and, to compare, for single bytes.
        type Kind = (fn(u64) -> u64, fn(u8) -> bool);
        let kinds: [Kind; 5] = [
            (|word| below(word, b' '), |byte| byte < b' '),
            (|word| below(word, 0x80), |byte| byte < 0x80),
            (|word| is(word, 0x7f), |byte| byte == 0x7f),
            (|word| outside(word, b'!', b'~'), |byte| !(b'!'..=b'~').contains(&byte)),
            (no_word, |byte| !byte.is_ascii_alphanumeric() && byte != b'-'),
        ];
        for (stops, is_other) in kinds {
            for byte in 0..=u8::MAX {
                for other in 0..=u8::MAX {
                    let found = stops(u64::from_le_bytes([byte, other, byte, byte, other, other, 0, 0xff]));
                    assert_eq!(found & 0x80 != 0, is_other(byte), "{byte}");
                    let first = [byte, other, byte].iter().position(|&byte| is_other(byte));
                    let is_found = |at: usize| (found.trailing_zeros() / 8) as usize == at;
                    assert!(first.is_none_or(is_found), "{byte} {other}");
                }
            }
        }
    }
}
