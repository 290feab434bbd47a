//! Short queues of whole frames, for what netvm itself receives and sends. Memory is taken at start only.

use alloc::collections::VecDeque;

/// Longest frame in a queue: an Ethernet frame with a VLAN tag, rounded up.
pub(crate) const MAX_FRAME: usize = 1536;

/// One frame.
pub(crate) type Frame = heapless::Vec<u8, MAX_FRAME>;

/// A bounded queue of frames.
#[derive(Debug)]
pub(crate) struct FrameQueue {
    frames: VecDeque<Frame>,
    limit: usize,
}

impl FrameQueue {
    /// A queue for `limit` frames.
    pub(crate) fn new(limit: usize) -> Self {
        Self { frames: VecDeque::with_capacity(limit), limit }
    }

    /// Copies a frame in; `false` when the queue is full or the frame too long.
    pub(crate) fn push(&mut self, frame: &[u8]) -> bool {
        match Frame::from_slice(frame) {
            Ok(frame) => self.push_frame(frame),
            Err(_) => false,
        }
    }

    /// Moves a frame in; `false` when the queue is full.
    pub(crate) fn push_frame(&mut self, frame: Frame) -> bool {
        let room = !self.is_full();
        if room {
            self.frames.push_back(frame);
        }
        room
    }

    /// Takes the oldest frame.
    pub(crate) fn pop(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    /// Forgets all frames.
    pub(crate) fn clear(&mut self) {
        self.frames.clear();
    }

    /// Whether there is no frame.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether there is no room.
    pub(crate) fn is_full(&self) -> bool {
        self.frames.len() >= self.limit
    }
}
