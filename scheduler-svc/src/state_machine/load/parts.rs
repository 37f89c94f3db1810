//! Work on many records that depend on nothing but themselves, done on all processors. What comes of it is the same
//! with any number of them.

use std::{num::NonZero, thread};

/// With fewer a thread costs more than it spares.
const PART_MIN: usize = 4_096;

fn part_length(items: usize) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    items.div_ceil(processors.min(items / PART_MIN).max(1))
}

/// `each` of all items, in their order, and what it remembered from item to item: one for each part.
pub fn map<T: Send, M: Default + Send, R: Send>(
    mut items: Vec<T>,
    each: impl Fn(&mut M, T) -> R + Sync,
) -> (impl Iterator<Item = R>, Vec<M>) {
    let length = part_length(items.len());
    let work = |items: Vec<T>| {
        let mut memory = M::default();
        let done: Vec<R> = items.into_iter().map(|item| each(&mut memory, item)).collect();
        (done, memory)
    };
    let mut parts = Vec::new();
    while items.len() > length {
        parts.push(items.split_off((items.len() - 1) / length * length));
    }
    let done = thread::scope(|scope| {
        let others: Vec<_> = parts.into_iter().rev().map(|part| scope.spawn(|| work(part))).collect();
        let mut done = vec![work(items)];
        for other in others {
            done.push(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    let (done, memories): (Vec<_>, Vec<_>) = done.into_iter().unzip();
    (done.into_iter().flatten(), memories)
}

/// Two works at once.
pub fn both<R: Send, S>(one: impl FnOnce() -> R + Send, other: impl FnOnce() -> S) -> (R, S) {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), other)
    })
}

/// Sorts each part, so that a sort that knows runs has only to merge them. Equal items keep their order.
pub fn sort<T: Ord + Send>(items: &mut [T]) {
    let length = part_length(items.len());
    if length >= items.len() {
        return items.sort();
    }
    thread::scope(|scope| items.chunks_mut(length).for_each(|part| drop(scope.spawn(|| part.sort()))));
    items.sort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_works_both_end() {
        assert_eq!(both(|| 1, || "2"), (1, "2"));
    }

    #[test]
    fn many_parts_are_as_one() {
        for count in [0, 1, PART_MIN - 1, 2 * PART_MIN, 2 * PART_MIN + 1, 9 * PART_MIN + 5] {
            let items: Vec<usize> = (0..count).collect();
            let expected: Vec<usize> = items.iter().map(|item| item * 3).collect();
            let counting = |count: &mut usize, item| {
                *count += 1;
                item * 3
            };
            let (done, counted) = map(items, counting);
            assert!(done.eq(expected), "{count}");
            assert_eq!(counted.into_iter().sum::<usize>(), count);
            let mut mixed: Vec<usize> =
                (0..count).map(|item| item.wrapping_mul(0x9e37_79b9) % 1_000).collect();
            let mut expected = mixed.clone();
            expected.sort_unstable();
            sort(&mut mixed);
            assert!(mixed == expected, "{count}");
        }
    }
}
