//! Growing vectors where there may be no memory.

use crate::program::Refusal;
use alloc::{boxed::Box, vec::Vec};

/// Adds an item.
#[inline]
pub(crate) fn push<T>(items: &mut Vec<T>, item: T) -> Result<(), Refusal> {
    if items.len() == items.capacity() {
        items.try_reserve(1).map_err(|_| Refusal::OutOfMemory)?;
    }
    items.push(item);
    Ok(())
}

/// Adds copies of some items.
pub(crate) fn extend<T: Copy>(items: &mut Vec<T>, more: &[T]) -> Result<(), Refusal> {
    items.try_reserve(more.len()).map_err(|_| Refusal::OutOfMemory)?;
    items.extend_from_slice(more);
    Ok(())
}

/// Empties the items and puts `len` copies of one there.
pub(crate) fn fill<T: Copy>(items: &mut Vec<T>, item: T, len: usize) -> Result<(), Refusal> {
    items.clear();
    items.try_reserve(len).map_err(|_| Refusal::OutOfMemory)?;
    items.resize(len, item);
    Ok(())
}

/// At most `most` items.
pub(crate) fn collect<T>(from: impl Iterator<Item = T>, most: usize) -> Result<Box<[T]>, Refusal> {
    let mut items = Vec::new();
    items.try_reserve_exact(most).map_err(|_| Refusal::OutOfMemory)?;
    items.extend(from.take(most));
    exact(items)
}

/// The items without spare room.
pub(crate) fn exact<T>(items: Vec<T>) -> Result<Box<[T]>, Refusal> {
    if items.len() == items.capacity() {
        return Ok(items.into_boxed_slice());
    }
    let mut fitting = Vec::new();
    fitting.try_reserve_exact(items.len()).map_err(|_| Refusal::OutOfMemory)?;
    fitting.extend(items);
    Ok(fitting.into_boxed_slice())
}
