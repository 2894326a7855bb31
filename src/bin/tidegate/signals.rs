//! Signals that end a statement or the program.
//!
//! Invariant: signals are received even while queries keep all of tokio's worker threads busy. They
//! have a thread and a runtime of their own for that.

use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Ctrl-C.
pub(crate) const SIGINT: u8 = 2;

/// Sent when the terminal is closed.
pub(crate) const SIGHUP: u8 = 1;

/// Sent by schedulers to end a program.
const SIGTERM: u8 = 15;

/// How long the program may take to end after a signal. It is longer than the wait for clean-up.
const PATIENCE: Duration = Duration::from_millis(5500);

/// Which signals end the program besides SIGTERM, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ending {
    /// Ctrl-C
    pub(crate) interrupts_end: bool,
    /// SIGHUP
    pub(crate) hangups_end: bool,
    pub(crate) patience: Duration,
}

/// The signals received, by their numbers.
#[derive(Debug)]
pub(crate) struct Signals {
    received: UnboundedReceiver<u8>,
}

impl Signals {
    /// Starts to listen. Signals are received as soon as this returns. SIGTERM and SIGHUP, and
    /// Ctrl-C if `interrupts_end` is set, end the program after `PATIENCE` if it has not ended by
    /// then.
    pub(crate) fn listen(interrupts_end: bool) -> Self {
        Self::listen_to(Ending {
            interrupts_end,
            hangups_end: true,
            patience: PATIENCE,
        })
    }

    /// As [`Self::listen`], with other signals that end the program.
    pub(crate) fn listen_to(ending: Ending) -> Self {
        let (sender, received) = unbounded_channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("signals".to_owned());
        let listening = thread.spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            match runtime.enable_all().build() {
                Ok(runtime) => runtime.block_on(forward(sender, ending, ready)),
                Err(error) => tracing::error!(%error, "can't listen for signals"),
            }
        });
        if let Err(error) = listening {
            tracing::error!(%error, "can't listen for signals");
        }
        // This fails at once if the thread has ended.
        let _ = is_ready.recv();
        Self { received }
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> u8 {
        match self.received.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }
}

async fn forward(sender: UnboundedSender<u8>, ending: Ending, ready: Sender<()>) {
    let open = |kind: SignalKind| match signal(kind) {
        Ok(signal) => Some(signal),
        Err(error) => {
            tracing::error!(%error, "can't listen for a signal");
            None
        }
    };
    let mut interrupt = open(SignalKind::interrupt());
    let mut terminate = open(SignalKind::terminate());
    let mut hangup = open(SignalKind::hangup());
    let _ = ready.send(());
    loop {
        let received = tokio::select! {
            () = wait(&mut interrupt) => SIGINT,
            () = wait(&mut terminate) => SIGTERM,
            () = wait(&mut hangup) => SIGHUP,
        };
        let ends = match received {
            SIGINT => ending.interrupts_end,
            SIGHUP => ending.hangups_end,
            _ => true,
        };
        if ends {
            tokio::spawn(end_in_time(received, ending.patience));
        }
        if sender.send(received).is_err() {
            // The receiver is gone. The signal must end the program all the same.
            std::process::exit(128 + i32::from(received));
        }
    }
}

async fn wait(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Ends the program if it does not end by itself in time.
async fn end_in_time(signal: u8, patience: Duration) {
    tokio::time::sleep(patience).await;
    crate::print::complain("tidegate: cancelled while a query kept every thread busy");
    std::process::exit(128 + i32::from(signal));
}
