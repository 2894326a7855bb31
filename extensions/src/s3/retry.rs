//! When to send a request again.
//!
//! Invariant: retrying ends; the sum of all waits and attempts of one request is bounded by its
//! deadline.

use std::time::Duration;

use rand::Rng;

/// How often and how long a request is tried.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// The longest wait for one answer, besides the time that sending the body takes.
    pub request_timeout: Duration,
    /// The longest wait for an upload to be completed: a store may copy all of it.
    pub completion_timeout: Duration,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The most attempts, the first included.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles from there, with jitter.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// When to give up on a request, counted from its first attempt.
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
    /// The longest wait for the answer to a request with a body of `body_bytes` bytes.
    pub(super) fn timeout(&self, body_bytes: usize, completes: bool) -> Duration {
        if completes {
            return self.completion_timeout;
        }
        // Slower than this, a part in flight is as good as stuck.
        const SLOWEST_BYTES_PER_SECOND: u64 = 32 << 10;
        self.request_timeout + Duration::from_secs(body_bytes as u64 / SLOWEST_BYTES_PER_SECOND)
    }

    /// For a check that a person waits for: one quick second chance.
    pub fn impatient(&self) -> Self {
        Self {
            request_timeout: self.request_timeout.min(Duration::from_secs(10)),
            connect_timeout: self.connect_timeout.min(Duration::from_secs(5)),
            attempts: self.attempts.min(2),
            deadline: self.deadline.min(Duration::from_secs(15)),
            ..self.clone()
        }
    }

    /// The pause after the `attempt`-th failure (from 1): a random part of a doubling span
    /// ("full jitter", <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        let doubled = self
            .first_pause
            .saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1)))
            .min(self.longest_pause);
        doubled.mul_f64(rand::rng().random_range(0.5..1.0))
    }
}
