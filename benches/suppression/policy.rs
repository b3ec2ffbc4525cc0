//! Whole requests: to the policy service over a socket, from a list of this size and from one of 10,000, in turns.

use super::{FEW, address, entries, rate, scramble};
use anyhow::{Context as _, Result, bail};
use nixie::config::listen::ListenAddress;
use nixie::engine::memory::Memory;
use nixie::serve::hook::{HookSettings, Hooks, Listeners};
use nixie::serve::listen::{Inherited, Listener};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 40;
const ROUND: Duration = Duration::from_millis(100);
const CLIENTS: usize = 4;

fn hooks(memory: &Arc<Memory>) -> Result<(Hooks, SocketAddr)> {
    let address: ListenAddress = "127.0.0.1:0".parse()?;
    let Listener::Tcp(listener) =
        Listener::bind("policy", &address, &mut Inherited::default())?.context("a listener")?
    else {
        bail!("expected a TCP listener");
    };
    let address = listener.local_addr()?;
    let listeners = Listeners {
        policy: Some(Listener::Tcp(listener)),
        socketmap: None,
    };
    let hooks = Hooks::start(listeners, &HookSettings::default(), Arc::clone(memory))?;
    Ok((hooks, address))
}

/// The processor time that the hooks' threads have used (proc(5), schedstat), in nanoseconds.
fn processor_time() -> f64 {
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let used = threads.filter_map(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let nanoseconds: f64 = stat.split_whitespace().next()?.parse().ok()?;
        name.starts_with("hook-").then_some(nanoseconds)
    });
    used.sum()
}

/// Requests a second from some clients with one outstanding each, and the hooks' processor time for each.
fn ask(address: SocketAddr, requests: &[Vec<u8>]) -> Result<(f64, f64)> {
    let before = processor_time();
    let begun = Instant::now();
    let client = |first: usize| -> Result<usize> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let (mut n, mut answer) = (0, [0; 512]);
        while begun.elapsed() < ROUND {
            stream.write_all(&requests[(first + n) % requests.len()])?;
            let mut got = 0;
            while !answer[..got].ends_with(b"\n\n") {
                let more = stream.read(&mut answer[got..])?;
                if more == 0 {
                    bail!("the hook closed the connection");
                }
                got += more;
            }
            n += 1;
        }
        Ok(n)
    };
    let sum = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| scope.spawn(move || client(n * 1_000)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| bail!("a client failed")))
            .sum::<Result<usize>>()
    })?;
    let took = begun.elapsed();
    Ok((rate(sum, took), (processor_time() - before) / sum as f64))
}

pub(super) fn policy(large: &Arc<Memory>, small: &Arc<Memory>) -> Result<()> {
    let request = |n: usize, of: usize| {
        let recipient = address(scramble(n) as usize % (10 * of));
        format!(
            "request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\nclient_address=192.0.2.7\n\
             client_name=app.example.org\nhelo_name=app.example.org\nsender=news@example.org\n\
             recipient={recipient}\nrecipient_count=0\nqueue_id=\ninstance=1f2c.{n}.0\nsize=20480\n\n"
        )
        .into_bytes()
    };
    let requests = |of: usize| (0..20_000).map(|n| request(n, of)).collect::<Vec<_>>();
    let ((many, many_at), (few, few_at)) = (hooks(large)?, hooks(small)?);
    let (of_many, of_few) = (requests(entries()), requests(FEW));
    let (mut most, mut least) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        most.push(ask(many_at, &of_many)?);
        least.push(ask(few_at, &of_few)?);
    }
    let median = |turns: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = turns.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (rate, few_rate) = (median(&most, |turn| turn.0), median(&least, |turn| turn.0));
    let (cost, few_cost) = (median(&most, |turn| turn.1), median(&least, |turn| turn.1));
    println!(
        "policy: {rate:.0} requests/s, {cost:.0} ns of processor each; from {FEW} entries {few_rate:.0} (ratio {:.3}), \
         {few_cost:.0} ns (ratio {:.3})",
        rate / few_rate,
        cost / few_cost
    );
    many.shutdown();
    few.shutdown();
    Ok(())
}
