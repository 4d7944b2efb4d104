//! How much longer something takes with more of it.

use std::time::Duration;

use cpu_time::ThreadTime;

/// How many times as long it may take with four times as much: four times and a little where it grows
/// as n log n, sixteen times where it grows as n².
const MOST: f64 = 9.0;

/// Holds that `work` grows no faster than n log n with the size that `input` is made for. What is
/// counted is this thread's own time, so that it matters little what else the machine does.
pub(super) fn assert_grows_as_n_log_n<I, O>(
    what: &str,
    size: usize,
    input: impl Fn(usize) -> I,
    work: impl Fn(&I) -> O,
) {
    let (small, large) = (input(size), input(4 * size));
    let least = |input: &I| {
        let took = (0..3).map(|_| took(|| work(input)));
        took.min().unwrap_or_default().max(Duration::from_micros(1))
    };
    let (of_small, of_large) = (least(&small), least(&large));
    let times = of_large.as_secs_f64() / of_small.as_secs_f64();
    println!("{what}: {of_small:?} for {size}, {times:.1} times as long for four times as many");
    assert!(times < MOST, "{what}: {of_small:?}, {of_large:?} for four times as many");
}

fn took<O>(work: impl FnOnce() -> O) -> Duration {
    let begun = ThreadTime::now();
    drop(work());
    begun.elapsed()
}
