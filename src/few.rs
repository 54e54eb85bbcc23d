//! Lists that mostly have one entry: [`Few`] keeps that one in place and takes hardly more room, as there are two such lists for
//! each client. Two entries and more are a list elsewhere.

use std::ops::{Deref, DerefMut};

/// A list that mostly has one entry. It is used as the slice that it is.
#[derive(Debug, Default)]
pub enum Few<T> {
    /// None.
    #[default]
    None,
    /// One, or the last that is left of one.
    One(T),
    /// There were two or more at a time. It stays this until it is empty: who has two now and then does not move each time.
    More(Box<More<T>>),
}

/// The entries of a [`Few`] that has more than one.
#[derive(Debug)]
pub struct More<T>(Vec<T>);

impl<T> Few<T> {
    /// Puts an entry at the end.
    pub fn push(&mut self, entry: T) {
        match std::mem::take(self) {
            Few::None => *self = Few::One(entry),
            Few::One(first) => *self = Few::More(Box::new(More(vec![first, entry]))),
            Few::More(mut more) => {
                more.0.push(entry);
                *self = Few::More(more);
            }
        }
    }

    /// Takes an entry away; the last one moves to its place.
    ///
    /// # Panics
    /// If there is none at that place.
    pub fn swap_remove(&mut self, at: usize) -> T {
        match std::mem::take(self) {
            Few::One(only) if at == 0 => only,
            Few::More(mut more) => {
                let entry = more.0.swap_remove(at);
                if !more.0.is_empty() {
                    *self = Few::More(more);
                }
                entry
            }
            Few::None | Few::One(_) => panic!("no entry at {at}"),
        }
    }

    /// Keeps the entries that are to be kept, in order.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        match self {
            Few::None => {}
            Few::One(only) => {
                if !is_kept(only) {
                    *self = Few::None;
                }
            }
            Few::More(more) => {
                more.0.retain(is_kept);
                if more.0.is_empty() {
                    *self = Few::None;
                }
            }
        }
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Few<T> {
        let mut few = Few::None;
        entries.into_iter().for_each(|entry| few.push(entry));
        few
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Few::None => &[],
            Few::One(only) => std::slice::from_ref(only),
            Few::More(more) => &more.0,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Few::None => &mut [],
            Few::One(only) => std::slice::from_mut(only),
            Few::More(more) => &mut more.0,
        }
    }
}

impl<'a, T> IntoIterator for &'a Few<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> std::slice::Iter<'a, T> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_what_a_vector_does() {
        for seed in 0..100 {
            println!("seed {seed}");
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut twin: Vec<i32> = (0..rng.i32(0..4)).collect();
            let mut few: Few<i32> = twin.iter().copied().collect();
            for step in 0..200 {
                match rng.u32(0..4) {
                    0 | 1 if twin.len() < 4 => {
                        few.push(step);
                        twin.push(step);
                    }
                    2 if !twin.is_empty() => {
                        let at = rng.usize(..twin.len());
                        assert_eq!(few.swap_remove(at), twin.swap_remove(at));
                    }
                    _ => {
                        let odd = rng.i32(1..5);
                        few.retain(|entry| entry % odd != 0);
                        twin.retain(|entry| entry % odd != 0);
                    }
                }
                for entry in few.iter_mut().chain(&mut twin) {
                    *entry += 1;
                }
                assert_eq!(*few, *twin);
                assert_eq!(matches!(few, Few::None), twin.is_empty(), "an empty one holds nothing");
            }
        }
    }

    #[test]
    #[should_panic(expected = "no entry at 1")]
    fn what_is_not_there_cannot_be_taken() {
        let mut few = Few::default();
        few.push(1);
        few.swap_remove(1);
    }

    #[test]
    fn one_takes_hardly_more_room_than_itself() {
        assert_eq!(size_of::<Few<u64>>(), 16);
    }
}
