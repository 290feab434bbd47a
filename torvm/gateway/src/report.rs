//! What goes to dom0: a queue with little room, so that nobody ever waits for dom0 but who has a document for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use control::tor::GatewayReport;
use tokio::sync::Notify;

/// Reports that wait at most.
const ROOM: usize = 32;

/// The way to dom0. Without a control socket reports go nowhere.
#[derive(Clone, Default)]
pub struct Reports {
    queue: Option<Arc<Queue>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<VecDeque<GatewayReport>>,
    filled: Notify,
    emptied: Notify,
}

impl Reports {
    /// A way that leads somewhere.
    #[must_use]
    pub fn new() -> Self {
        Self { queue: Some(Arc::default()) }
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn heard(&self) -> bool {
        self.queue.is_some()
    }

    /// Reports if there is room; says whether.
    pub fn offer(&self, report: GatewayReport) -> bool {
        let Some(queue) = &self.queue else { return true };
        let mut waiting = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let room = waiting.len() < ROOM;
        if room {
            waiting.push_back(report);
            queue.filled.notify_one();
        }
        room
    }

    /// Reports as soon as there is room.
    pub async fn send(&self, report: GatewayReport) {
        let Some(queue) = &self.queue else { return };
        let mut report = Some(report);
        loop {
            let emptied = queue.emptied.notified();
            {
                let mut waiting = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                // Half of the room stays free for those who do not wait.
                if waiting.len() < ROOM / 2 {
                    waiting.extend(report.take());
                    queue.filled.notify_one();
                    return;
                }
            }
            emptied.await;
        }
    }

    /// The next report. One at a time may wait for it.
    pub async fn next(&self) -> GatewayReport {
        let Some(queue) = &self.queue else { return std::future::pending().await };
        loop {
            let next = queue.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(report) = next {
                queue.emptied.notify_waiters();
                return report;
            }
            queue.filled.notified().await;
        }
    }
}

/// Lets a few things a second through and counts the rest.
pub struct Few {
    per_second: u32,
    since: Instant,
    passed: u32,
    suppressed: u32,
}

impl Few {
    /// So many a second.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second, since: Instant::now(), passed: 0, suppressed: 0 }
    }

    /// Whether one more passes now; then with the number of those that did not since the last that did.
    pub fn pass(&mut self, now: Instant) -> Option<u32> {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            (self.since, self.passed) = (now, 0);
        }
        if self.passed >= self.per_second {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.passed += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::tor::{Level, cut};

    fn report(n: usize) -> GatewayReport {
        GatewayReport::Log { level: Level::Info, text: cut(&n.to_string()) }
    }

    #[test]
    fn a_full_queue_refuses_and_keeps_order() {
        let reports = Reports::new();
        let taken = (0..).take_while(|n| reports.offer(report(*n))).count();
        assert_eq!(taken, ROOM);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        for n in 0..ROOM {
            assert_eq!(runtime.block_on(reports.next()), report(n));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_can_wait_leaves_room_and_loses_nothing() {
        let reports = Reports::new();
        let sender = reports.clone();
        tokio::spawn(async move {
            for n in 0..100 {
                sender.send(report(n)).await;
            }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(reports.offer(report(100)), "room for those who do not wait");
        let mut seen = Vec::new();
        while let Ok(next) = tokio::time::timeout(Duration::from_secs(1), reports.next()).await {
            seen.push(next);
        }
        assert_eq!(seen.len(), 101);
        seen.retain(|r| *r != report(100));
        assert_eq!(seen, (0..100).map(report).collect::<Vec<_>>());
    }

    #[test]
    fn few_are_few_and_the_rest_is_counted() {
        let mut few = Few::new(2);
        let start = Instant::now();
        let passes: Vec<_> = (0..5).map(|_| few.pass(start)).collect();
        assert_eq!(passes, [Some(0), Some(0), None, None, None]);
        assert_eq!(few.pass(start + Duration::from_secs(1)), Some(3));
    }
}
