//! When to send a request again.
//!
//! Invariant: retrying ends. No retry is scheduled past a request's deadline; an attempt that has
//! started may run until its own timeout.

use std::time::Duration;

use rand::Rng;

/// Limits for the attempts, pauses and timeouts of a request.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Timeout of one attempt, without the time for sending the body.
    pub request_timeout: Duration,
    /// Timeout of one attempt to complete an upload, which a store may copy as a whole, or to copy a
    /// part.
    pub completion_timeout: Duration,
    /// Timeout for opening a connection.
    pub connect_timeout: Duration,
    /// Upper bound for the number of attempts, including the first.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles from there, with jitter.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// No retry is scheduled later than this after the first attempt.
    pub deadline: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(60),
            completion_timeout: Duration::from_secs(600),
            connect_timeout: Duration::from_secs(5),
            attempts: 40,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(10),
            deadline: Duration::from_secs(180),
        }
    }
}

impl RetryPolicy {
    /// Timeout of one attempt with a body of `body_bytes` bytes. `copies` says that the store
    /// may copy data before it answers.
    pub(super) fn timeout(&self, body_bytes: usize, copies: bool) -> Duration {
        if copies {
            return self.completion_timeout;
        }
        // A part in flight that is slower than this counts as stuck.
        const SLOWEST_BYTES_PER_SECOND: u64 = 32 << 10;
        self.request_timeout + Duration::from_secs(body_bytes as u64 / SLOWEST_BYTES_PER_SECOND)
    }

    /// The policy for a check that a user waits for: few retries, and short timeouts. The pauses add
    /// up to more than a second, because some stores take one write of a key each second:
    /// <https://developers.cloudflare.com/r2/platform/limits/>
    pub fn impatient(&self) -> Self {
        Self {
            request_timeout: self.request_timeout.min(Duration::from_secs(10)),
            connect_timeout: self.connect_timeout.min(Duration::from_secs(5)),
            attempts: self.attempts.min(6),
            deadline: self.deadline.min(Duration::from_secs(15)),
            ..self.clone()
        }
    }

    /// The pause after the `attempt`-th failure (from 1): a random time between half and all of a
    /// span that doubles with each failure ("equal jitter",
    /// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1)))
            .min(self.longest_pause);
        doubled.mul_f64(rand::rng().random_range(0.5..1.0))
    }
}
