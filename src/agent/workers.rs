//! The same for many things, on a few threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Calls `work` for each of `items`, in about their order, on up to `threads` threads, and
/// `finish` once at the end of each thread with what it kept in its `T`. The first error stops
/// all: the others end with the item that they are at, and are not finished.
pub(super) fn in_parallel<'i, I, T, E>(
    threads: usize,
    items: &'i [I],
    begin: impl Fn() -> T + Sync,
    work: impl Fn(&mut T, &'i I) -> Result<(), E> + Sync,
    finish: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E>
where
    I: Sync,
    E: Send,
{
    let (next, stop, failed) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
    let fail = |error| {
        stop.store(true, Ordering::Relaxed);
        failed.lock().get_or_insert(error);
    };
    let serve = || {
        let mut kept = begin();
        while !stop.load(Ordering::Relaxed) {
            let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else {
                if let Err(error) = finish(kept) {
                    fail(error);
                }
                return;
            };
            if let Err(error) = work(&mut kept, item) {
                fail(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(serve);
        }
        serve();
    });
    failed.into_inner().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn every_item_is_done_once_and_every_thread_finished() {
        let (sum, items) = (AtomicU64::new(0), (1..=1000).collect::<Vec<u64>>());
        let work = |kept: &mut u64, item: &u64| {
            *kept += item;
            Ok::<(), ()>(())
        };
        let finish = |kept| {
            sum.fetch_add(kept, Ordering::Relaxed);
            Ok(())
        };
        in_parallel(8, &items, || 0, work, finish).unwrap();
        assert_eq!(sum.into_inner(), 500_500);
    }

    #[test]
    fn the_first_error_stops_all() {
        let done = AtomicU64::new(0);
        let items: Vec<u32> = (0..100_000).collect();
        let work = |(): &mut (), item: &u32| {
            done.fetch_add(1, Ordering::Relaxed);
            if *item == 7 { Err("seven") } else { Ok(()) }
        };
        assert_eq!(in_parallel(4, &items, || (), work, |()| Ok(())), Err("seven"));
        assert!(done.into_inner() < 100_000);
    }
}
