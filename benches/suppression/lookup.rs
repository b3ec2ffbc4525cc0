//! The list by itself: what an entry takes, and how long a look-up does.
//!
//! A look-up takes as long as it takes to answer one question, when nothing else is asked meanwhile: between two of
//! them the clock is read, which on this kind of processor waits until all before it is done, and whose own time is
//! taken off. Without that, ten questions wait for memory together, which hooks never do. Each asks for an address that was
//! not asked for before (memory that was just read answers from the cache), whose text is at hand, as it is when a request
//! was just read. What no look-up can do without, a read from somewhere in as much memory, is measured in the same way.

use super::{FEW, address, entries, policy::policy, rate, resident, scramble};
use anyhow::Result;
use hashbrown::HashMap;
use nixie::engine::memory::{Memory, Question};
use nixie::engine::suppression::{Standing, Subject, SuppressionId};
use nixie::engine::verdict::Cause;
use nixie::mail::address::{Address, AddressKey, LocalPart};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// Look-ups in a round: so few that what they are about to ask stays in the cache.
const STEPS: usize = 1_000;
const ROUNDS: usize = 1_000;

fn key(n: usize) -> Result<AddressKey> {
    Ok(Address::parse(&address(n))?.key(LocalPart::Fold))
}

fn filled(n: usize) -> Result<Arc<Memory>> {
    let memory = Memory::new();
    let loading = memory.load(n, 0);
    for n in 0..n {
        let id = SuppressionId(i64::try_from(n)? + 1);
        loading.learn(
            &Subject::address_text(&key(n)?),
            id,
            Cause::UserUnknown,
            Standing::InForce,
            None,
        );
    }
    loading.finish();
    memory.set_loaded();
    Ok(Arc::new(memory))
}

/// The nth question, a number of an entry below `all`; every second one is nobody's.
fn pick(n: usize, all: usize) -> usize {
    scramble(n) as usize % all
        + if n.is_multiple_of(2) {
            0
        } else {
            entries().max(FEW)
        }
}

/// Nanoseconds that one step takes, in the best of many short rounds, since everything else on the machine only
/// adds. What a round asks is made before its clock runs.
fn best<Q>(mut make: impl FnMut(usize) -> Result<Q>, mut step: impl FnMut(&Q)) -> Result<f64> {
    let mut least = f64::INFINITY;
    for round in 0..ROUNDS {
        let questions: Vec<Q> = (0..STEPS)
            .map(|n| make(round * STEPS + n))
            .collect::<Result<_>>()?;
        let begun = Instant::now();
        for question in &questions {
            step(question);
            black_box(Instant::now());
        }
        least = least.min(begun.elapsed().as_secs_f64() * 1e9 / STEPS as f64);
    }
    Ok(least)
}

/// Nanoseconds to read from somewhere in so much memory.
fn single_read(octets: usize, clock: f64) -> Result<f64> {
    let lines = vec![[1u64; 8]; (octets / 64).max(2)];
    let read = best(
        |n| Ok(scramble(n) as usize % lines.len()),
        |&at| {
            black_box(lines[at][0]);
        },
    )?;
    Ok(read - clock)
}

fn look_up(memory: &Memory, all: usize, clock: f64) -> Result<f64> {
    let now = nixie::clock::now();
    let took = best(
        |n| key(pick(n, all)),
        |key| {
            let question = Question {
                key,
                clear: key.as_str(),
                domain: key.domain(),
                stream: None,
            };
            black_box(memory.suppressed(&question, now).is_some());
        },
    )?;
    Ok(took - clock)
}

/// Prints what the list takes and how long it takes; then, where `whole`, what policy requests do.
pub(super) fn table(whole: bool) -> Result<()> {
    let all = entries();
    let before = resident()?;
    let begun = Instant::now();
    let (large, small) = (filled(all)?, filled(FEW)?);
    let took = begun.elapsed();
    let octets = resident()?.saturating_sub(before) as f64 / all as f64;
    println!(
        "table: {:.0} entries/s put in, {octets:.1} octets an entry resident",
        rate(all, took)
    );
    let clock = best(|_| Ok(()), |()| {})?;
    let few = look_up(&small, FEW, clock)?;
    let many = look_up(&large, all, clock)?;
    let read = single_read(16 * all, clock)?;
    println!(
        "look-up: {many:.0} ns; a single read from as much memory {read:.0} ns (ratio {:.2}); of {FEW} entries {few:.0} ns",
        many / read
    );
    if !whole {
        return Ok(());
    }
    let plain: HashMap<u64, u32> = (0..all).map(|n| (scramble(n), 1)).collect();
    let map = best(
        |n| Ok(scramble(pick(n, all))),
        |key| {
            black_box(plain.contains_key(key));
        },
    )? - clock;
    println!(
        "look-up: a hash map of numbers {map:.0} ns (ratio {:.2})",
        many / map
    );
    drop(plain);
    policy(&large, &small)
}
