//! The learning, against a model of Synapse's limiter (`synapse/api/ratelimiting.py`).

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use rand::{SeedableRng as _, rngs::StdRng};
use ruma::{ServerName, user_id};
use tokio_util::sync::CancellationToken;

use super::{
    Action, Errand, HELD_FOR, Kind, Pacing,
    bucket::Bucket,
    budgets::{Admission, Budgets, Draws},
    counted_from,
    guess::Guess,
};
use crate::clock::SystemClock;

mod window;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::UNIX_EPOCH + self::seconds(seconds)
}

/// Synapse's token bucket. Times are seconds.
struct Limiter {
    per_second: f64,
    burst: f64,
    count: f64,
    start: f64,
}

impl Limiter {
    fn new(per_second: f64, burst: f64) -> Self {
        Self { per_second, burst, count: 0.0, start: 0.0 }
    }

    /// Lets one pass, or says how long until the next token.
    fn ask(&mut self, now: f64) -> Result<(), f64> {
        let performed = self.count - (now - self.start) * self.per_second;
        if performed < 0.0 {
            (self.count, self.start) = (0.0, now);
        }
        if performed.max(0.0) > self.burst - 1.0 {
            return Err(self.start + (self.count - self.burst + 1.0) / self.per_second - now);
        }
        self.count += 1.0;
        Ok(())
    }

    /// When `count` have passed at the earliest.
    fn least(&self, count: u32) -> f64 {
        ((f64::from(count) - self.burst) / self.per_second).max(0.0)
    }
}

/// Sends `count` requests one after the other as the bucket says, `way` seconds from here to the
/// homeserver. When the last one passed, and how many were denied.
fn send(bucket: &mut Bucket, limiter: &mut Limiter, count: u32, way: f64, from: f64) -> (f64, u32) {
    let (mut now, mut passed, mut denied) = (from, 0, 0);
    while passed < count {
        if let Some(opens) = bucket.opens() {
            now = now.max(opens.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64());
        }
        let sent = now;
        bucket.take(at(sent));
        match limiter.ask(sent + way) {
            Ok(()) => {
                now = sent + 2.0 * way;
                bucket.passed(at(sent));
                passed += 1;
            }
            Err(wait) => {
                now = sent + 2.0 * way + HELD_FOR.as_secs_f64();
                let told = (wait * 1000.0).floor() / 1000.0;
                bucket.denied(at(sent), counted_from(at(sent), at(now)) + seconds(told));
                denied += 1;
            }
        }
        assert!(denied < 200, "{passed} passed");
    }
    (now, denied)
}

#[test]
fn requests_go_out_when_tokens_come_whatever_the_rate_is() {
    let limits = [(0.01, 10.0), (0.1, 10.0), (0.2, 10.0), (0.3, 10.0), (0.5, 5.0), (1.0, 5.0)];
    for (per_second, burst) in limits {
        for way in [0.001, 0.02, 0.1] {
            let mut limiter = Limiter::new(per_second, burst);
            let mut bucket = Bucket::default();
            let (took, denied) = send(&mut bucket, &mut limiter, 100, way, 0.0);
            let least = limiter.least(100);
            let case = format!("{per_second}/{burst}, {way} s: {took} of {least}, {denied} denied");
            assert!(took <= least * 1.02 + 1.0, "{case}");
            assert!(denied <= 12, "{case}");
            let interval = bucket.interval.unwrap().as_secs_f64();
            assert!((interval * per_second - 1.0).abs() < 0.05, "{case}: {interval}");
        }
    }
}

#[test]
fn the_burst_is_learned_with_the_rate() {
    let mut limiter = Limiter::new(0.5, 5.0);
    let mut bucket = Bucket::default();
    send(&mut bucket, &mut limiter, 20, 0.01, 0.0);
    assert_eq!(bucket.burst(), Some(5));
}

#[test]
fn a_rate_that_is_known_from_before_is_kept_to_without_asking_twice() {
    let mut limiter = Limiter::new(0.1, 10.0);
    let mut bucket = Bucket::recalled(Some(seconds(10.0)), None);
    let (took, denied) = send(&mut bucket, &mut limiter, 12, 0.01, 0.0);
    assert!(took <= limiter.least(12) * 1.02 + 1.0, "{took}");
    assert_eq!(denied, 1);
}

#[test]
fn a_limit_that_becomes_slower_or_faster_is_learned_anew() {
    for (before, after) in [(1.0, 0.3), (0.3, 1.0)] {
        let mut limiter = Limiter::new(before, 5.0);
        let mut bucket = Bucket::default();
        let (now, _) = send(&mut bucket, &mut limiter, 40, 0.01, 0.0);
        let mut limiter = Limiter { start: now, ..Limiter::new(after, 5.0) };
        limiter.count = 5.0;
        let (then, denied) = send(&mut bucket, &mut limiter, 100, 0.01, now);
        // Up to 32 go out at the old rate before one is tried early.
        let least = 100.0 / after + 32.0 / before;
        assert!(then - now <= least * 1.05, "{before} to {after}: {} of {least}", then - now);
        assert!(denied <= 20, "{before} to {after}: {denied} denied");
    }
}

#[test]
fn a_limit_that_is_lifted_is_noticed() {
    let mut limiter = Limiter::new(1.0, 5.0);
    let mut bucket = Bucket::default();
    let (now, _) = send(&mut bucket, &mut limiter, 20, 0.01, 0.0);
    let mut open = Limiter { start: now, ..Limiter::new(1000.0, 1000.0) };
    let (then, _) = send(&mut bucket, &mut open, 200, 0.01, now);
    assert!(then - now < 80.0, "{}", then - now);
    assert_eq!(bucket.opens(), None);
}

#[test]
fn what_was_not_used_meanwhile_is_there_at_once() {
    let mut limiter = Limiter::new(0.1, 10.0);
    let mut bucket = Bucket::default();
    let (now, _) = send(&mut bucket, &mut limiter, 20, 0.01, 0.0);
    let (then, _) = send(&mut bucket, &mut limiter, 5, 0.01, now + 60.0);
    assert!(then - now - 60.0 < 1.0, "{}", then - now);
}

#[test]
fn who_speaks_from_an_account_that_the_bot_keeps_busy_gets_through_at_once() {
    let mut limiter = Limiter::new(0.2, 10.0);
    let mut bucket = Bucket::default().with_reserve(1);
    let (mut now, _) = send(&mut bucket, &mut limiter, 20, 0.01, 0.0);
    for _ in 0..10 {
        // By and by at another moment between two requests, and now and then when the reserve is
        // used up to see whether tokens come faster: then it is the next moment.
        let said = [now, now + 5.0].into_iter().find(|at| limiter.ask(*at).is_ok());
        assert!(said.is_some(), "at {now}");
        (now, _) = send(&mut bucket, &mut limiter, 7, 0.01, now);
    }
}

#[test]
fn a_reserve_costs_its_tokens_once_and_hides_no_change_of_the_limit() {
    let mut limiter = Limiter::new(0.2, 10.0);
    let mut bucket = Bucket::default().with_reserve(1);
    let (took, denied) = send(&mut bucket, &mut limiter, 100, 0.01, 0.0);
    assert!(took <= limiter.least(100) + 5.0 + 2.0, "{took}");
    assert!(denied <= 12, "{denied}");
    let mut open = Limiter { start: took, ..Limiter::new(1000.0, 1000.0) };
    let (then, _) = send(&mut bucket, &mut open, 200, 0.01, took);
    assert!(then - took < 400.0, "{}", then - took);
    assert_eq!(bucket.opens(), None);
}

/// Invites `count` times over federation: the inviting homeserver tries four times within five
/// seconds, and then gives up. When the last one passed, and how many were refused.
fn invite(guess: &mut Guess, limiter: &mut Limiter, count: u32) -> (f64, u32) {
    let (mut now, mut passed, mut refused) = (0.0_f64, 0, 0);
    while passed < count {
        if let Some(opens) = guess.opens() {
            now = now.max(opens.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64());
        }
        let sent = now;
        guess.take();
        let tries = [0.0, 1.05, 2.65, 5.25].into_iter();
        match tries.map(|after| sent + after).find(|then| limiter.ask(*then).is_ok()) {
            Some(then) => {
                now = then + 0.1;
                guess.passed(at(now));
                passed += 1;
            }
            None => {
                now = sent + 5.8;
                guess.refused(at(sent), at(now));
                refused += 1;
            }
        }
        assert!(guess.refused_in_a_row() < 16);
    }
    (now, refused)
}

#[test]
fn a_limit_that_nobody_tells_of_is_found_out() {
    for (per_second, burst) in [(0.003, 5.0), (0.02, 5.0), (0.1, 5.0), (0.2, 1.0), (0.5, 5.0)] {
        let mut limiter = Limiter::new(per_second, burst);
        let mut guess = Guess::default();
        let (took, refused) = invite(&mut guess, &mut limiter, 50);
        let least = limiter.least(50);
        let case = format!("{per_second}/{burst}: {took} of {least}, {refused} refused");
        assert!(took <= least * 1.1 + 15.0, "{case}");
        assert!(refused <= 25, "{case}");
    }
}

#[test]
fn two_invitations_after_waits_give_the_rate() {
    let mut limiter = Limiter::new(0.01, 1.0);
    let mut guess = Guess::default();
    invite(&mut guess, &mut limiter, 3);
    let interval = guess.interval.unwrap().as_secs_f64();
    assert!((80.0..130.0).contains(&interval), "{interval}");
}

#[test]
fn of_several_limits_the_one_that_is_met_is_learned_and_leaves_a_token_to_the_person() {
    let (old, new) = (user_id!("@old:a.example"), user_id!("@new:a.example"));
    let server: &ServerName = old.server_name();
    let errand = Errand { invited: Some(new), ..Action::Invite.into() };
    let draws = Draws::of(old, &errand);
    let mut budgets = Budgets::default();
    // In the order in which Synapse looks at them. While there are few invitations, those of one
    // account are the scarcest, and then messages.
    let mut limiters = [(0.5, 5.0), (0.3, 10.0), (0.2, 10.0)]
        .map(|(per_second, burst)| Limiter::new(per_second, burst));
    let (mut now, mut passed, mut spoken) = (0.0_f64, 0, 0);
    let mut unheard_since = None;
    while passed < 60 {
        // Somebody says something now and then, and is told to wait like the bot.
        if passed > 30 && spoken < passed / 6 - 5 {
            let since = *unheard_since.get_or_insert(now);
            assert!(now - since <= 6.0, "unheard since {since} at {now}");
            if limiters[2].ask(now).is_ok() {
                (spoken, unheard_since) = (spoken + 1, None);
            }
        }
        match budgets.admit(&draws, None, at(now), 0, || true) {
            Admission::Now => {}
            Admission::At(until, _) => {
                now = until.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64();
                continue;
            }
            other => panic!("{other:?}"),
        }
        let sent = at(now);
        if let Some(wait) = limiters.iter_mut().find_map(|limiter| limiter.ask(now).err()) {
            now += HELD_FOR.as_secs_f64() + 0.02;
            budgets.denied(&draws, None, sent, counted_from(sent, at(now)) + seconds(wait));
        } else {
            now += 0.02;
            budgets.passed(&draws, None, sent, at(now));
            passed += 1;
        }
    }
    let learned = |kind| budgets.rate(server, kind).unwrap().interval.as_secs_f64();
    // What others say makes it look slower.
    assert!((4.9..6.5).contains(&learned(Kind::Messages)), "{}", learned(Kind::Messages));
    assert!((1.9..2.1).contains(&learned(Kind::InvitesOf)), "{}", learned(Kind::InvitesOf));
    assert!(now < limiters[2].least(60 + spoken) + 20.0, "{now}");
}

#[test]
fn an_answer_that_comes_late_is_not_taken_for_that_to_a_request_sent_early() {
    let mut bucket = Bucket::recalled(Some(seconds(2.0)), Some(at(0.0)));
    let mut sent = Vec::new();
    // Four at the rate that is known, and then one early.
    for _ in 0..5 {
        let now = bucket.opens().unwrap();
        bucket.take(now);
        sent.push(now);
    }
    bucket.passed(sent[3]);
    assert!(bucket.opens().is_some(), "the limit is not lifted");
    bucket.passed(sent[4]);
    assert_eq!(bucket.opens(), None, "tokens come faster");
}

#[test]
fn who_looks_at_what_is_waited_for_and_who_starts_requests_do_not_lock_each_other_out() {
    const TIMES: usize = 20_000;
    let pacing = Arc::new(Pacing::new(
        Arc::new(SystemClock),
        StdRng::seed_from_u64(0),
        Duration::from_secs(1),
    ));
    let user = user_id!("@old:a.example");
    let (done, both) = mpsc::channel();
    let (looking, looked) = (pacing.clone(), done.clone());
    thread::spawn(move || {
        (0..TIMES).for_each(|_| drop(looking.waits_of(user)));
        looked.send(())
    });
    thread::spawn(move || {
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for _ in 0..TIMES {
                let request = pacing.run(user, Action::Message.into(), &stop, || async { Ok(()) });
                request.await.unwrap();
            }
        });
        done.send(())
    });
    for _ in 0..2 {
        both.recv_timeout(Duration::from_secs(60)).expect("they wait for each other");
    }
}
