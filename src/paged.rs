//! Long lists in pages: [`List`] is a `Vec`, [`Queue`] a `VecDeque`, and neither ever moves what it has.
//!
//! A `Vec` of a million entries that needs room for one more asks for twice as much and moves all of them there, some ms in
//! which nobody is served; one that gives memory back does the same. Here a page is added when the last one is full, and
//! given back when it is empty. A short list is one small page that grows as a `Vec` does, and costs one word more.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};

/// Entries of a full page: some KiB, so that moving a page that is not full yet takes less than a us. The tests have
/// short ones.
const PAGE: usize = if cfg!(test) { 8 } else { 512 };

/// A short list keeps room for so many entries while it has fewer: lists come and go.
const KEPT: usize = 16;

/// A list that grows at its end.
#[derive(Debug)]
pub struct List<T> {
    /// The first entries: all of them, for most lists.
    first: Vec<T>,
    /// The pages behind, all full but for the last, if there are any.
    more: Option<Box<More<T>>>,
}

#[derive(Debug)]
struct More<T> {
    pages: Vec<Vec<T>>,
}

impl<T> List<T> {
    /// An empty list that holds no memory.
    #[must_use]
    pub const fn new() -> List<T> {
        List { first: Vec::new(), more: None }
    }

    /// Puts an entry at the end.
    pub fn push(&mut self, entry: T) {
        if self.first.len() < PAGE {
            if self.first.capacity() == 0 {
                // Most lists have one entry.
                self.first.reserve_exact(1);
            }
            return self.first.push(entry);
        }
        let pages = &mut self.more.get_or_insert_with(|| Box::new(More { pages: Vec::new() })).pages;
        match pages.last_mut() {
            Some(last) if last.len() < PAGE => last.push(entry),
            _ => {
                let mut page = Vec::with_capacity(PAGE);
                page.push(entry);
                pages.push(page);
            }
        }
    }

    /// Takes the last entry away.
    pub fn pop(&mut self) -> Option<T> {
        let Some(more) = &mut self.more else {
            let last = self.first.pop();
            if self.first.len() * 4 < self.first.capacity() && self.first.capacity() > KEPT {
                self.first.shrink_to(self.first.len() * 2);
            }
            return last;
        };
        let page = more.pages.last_mut().expect("there is no more without pages");
        let last = page.pop();
        if page.is_empty() {
            more.pages.pop();
            if more.pages.len() * 4 < more.pages.capacity() {
                more.pages.shrink_to(more.pages.len() * 2);
            }
        }
        if more.pages.is_empty() {
            self.more = None;
        }
        last
    }

    /// Takes an entry away; the last one moves to its place.
    ///
    /// # Panics
    /// If there is none at that place.
    pub fn swap_remove(&mut self, at: usize) -> T {
        assert!(at < self.len(), "no entry at {at}: there are {}", self.len());
        let last = self.pop().expect("it is not empty");
        if at == self.len() { last } else { std::mem::replace(&mut self[at], last) }
    }

    /// The entry at a place.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&T> {
        match at.checked_sub(PAGE) {
            None => self.first.get(at),
            Some(at) => self.more.as_ref()?.pages.get(at / PAGE)?.get(at % PAGE),
        }
    }

    /// The entry at a place, to change.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        match at.checked_sub(PAGE) {
            None => self.first.get_mut(at),
            Some(at) => self.more.as_mut()?.pages.get_mut(at / PAGE)?.get_mut(at % PAGE),
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let Some(more) = &self.more else { return self.first.len() };
        more.pages.len() * PAGE + more.pages.last().map_or(0, Vec::len)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(self.more.iter().flat_map(|more| &more.pages).flatten())
    }
}

impl<T> Default for List<T> {
    fn default() -> List<T> {
        List::new()
    }
}

/// # Panics
/// If there is no entry at that place.
impl<T> Index<usize> for List<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        self.get(at).expect("the place is within the list")
    }
}

/// As [`Index`].
impl<T> IndexMut<usize> for List<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        self.get_mut(at).expect("the place is within the list")
    }
}

/// A list that grows at both ends.
#[derive(Debug)]
pub struct Queue<T> {
    /// All are full but for the first and the last; one that is alone may be empty.
    pages: VecDeque<VecDeque<T>>,
    len: usize,
}

impl<T> Queue<T> {
    /// An empty queue that holds no memory.
    #[must_use]
    pub const fn new() -> Queue<T> {
        Queue { pages: VecDeque::new(), len: 0 }
    }

    /// Puts an entry at the end.
    pub fn push_back(&mut self, entry: T) {
        self.len += 1;
        match self.pages.back_mut() {
            Some(last) if last.len() < PAGE => last.push_back(entry),
            _ => self.pages.push_back(page_of(entry)),
        }
    }

    /// Puts an entry before all others.
    pub fn push_front(&mut self, entry: T) {
        self.len += 1;
        match self.pages.front_mut() {
            Some(first) if first.len() < PAGE => first.push_front(entry),
            _ => self.pages.push_front(page_of(entry)),
        }
    }

    /// Takes the first entry away.
    pub fn pop_front(&mut self) -> Option<T> {
        let page = self.pages.front_mut()?;
        let entry = page.pop_front()?;
        self.len -= 1;
        // The last page stays: queues are emptied and filled again, turn after turn.
        if page.is_empty() && self.pages.len() > 1 {
            self.pages.pop_front();
            if self.pages.len() * 4 < self.pages.capacity() {
                self.pages.shrink_to(self.pages.len() * 2);
            }
        }
        Some(entry)
    }

    /// The first entry.
    #[must_use]
    pub fn front(&self) -> Option<&T> {
        self.pages.front()?.front()
    }

    /// The page of an entry, and where it is there.
    fn place(&self, at: usize) -> (usize, usize) {
        match at.checked_sub(self.pages.front().map_or(0, VecDeque::len)) {
            None => (0, at),
            // The pages between the first and the last are full.
            Some(at) => (1 + at / PAGE, at % PAGE),
        }
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }
}

/// # Panics
/// If there is no entry at that place.
impl<T> Index<usize> for Queue<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        let (page, at) = self.place(at);
        &self.pages[page][at]
    }
}

/// As [`Index`].
impl<T> IndexMut<usize> for Queue<T> {
    fn index_mut(&mut self, at: usize) -> &mut T {
        let (page, at) = self.place(at);
        &mut self.pages[page][at]
    }
}

fn page_of<T>(entry: T) -> VecDeque<T> {
    let mut page = VecDeque::with_capacity(4);
    page.push_back(entry);
    page
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_does_what_a_vector_does() {
        for seed in 0..50 {
            println!("seed {seed}");
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut list, mut twin) = (List::new(), Vec::new());
            for step in 0..2000_u32 {
                // It grows, and shrinks again.
                let growth = if step % 1000 < 500 { 6 } else { 2 };
                match rng.u32(0..8) {
                    deed if deed < growth => {
                        list.push(step);
                        twin.push(step);
                    }
                    7 => assert_eq!(list.pop(), twin.pop()),
                    _ if !twin.is_empty() => {
                        let at = rng.usize(..twin.len());
                        list[at] += 1;
                        twin[at] += 1;
                        assert_eq!(list.swap_remove(at), twin.swap_remove(at));
                    }
                    _ => {}
                }
                assert_eq!((list.len(), list.is_empty()), (twin.len(), twin.is_empty()));
                let at = rng.usize(..twin.len() + 2);
                assert_eq!(list.get(at), twin.get(at));
            }
            assert!(list.iter().eq(&twin));
        }
    }

    #[test]
    fn a_queue_does_what_a_deque_does() {
        for seed in 0..50 {
            println!("seed {seed}");
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut queue, mut twin) = (Queue::new(), VecDeque::new());
            for step in 0..2000_u32 {
                let growth = if step % 1000 < 500 { 6 } else { 2 };
                match rng.u32(0..8) {
                    0 => {
                        queue.push_front(step);
                        twin.push_front(step);
                    }
                    deed if deed < growth => {
                        queue.push_back(step);
                        twin.push_back(step);
                    }
                    _ => assert_eq!(queue.pop_front(), twin.pop_front()),
                }
                assert_eq!((queue.len(), queue.is_empty()), (twin.len(), twin.is_empty()));
                assert_eq!(queue.front(), twin.front());
                if let Some(at) = twin.len().checked_sub(1).map(|last| rng.usize(..=last)) {
                    (queue[at], twin[at]) = (step, step);
                    assert_eq!(queue[at], step);
                }
            }
            assert!(queue.iter().eq(&twin));
        }
    }

    #[test]
    fn memory_is_given_back() {
        let (mut list, mut queue) = (List::new(), Queue::new());
        for at in 0..100 * PAGE {
            list.push(at);
            queue.push_back(at);
        }
        while list.pop().is_some() {}
        while queue.pop_front().is_some() {}
        assert!(list.more.is_none() && list.first.capacity() <= KEPT);
        assert!(queue.pages.iter().map(VecDeque::capacity).sum::<usize>() <= PAGE);
    }
}
