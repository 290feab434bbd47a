//! Calls on memory. Nothing that the program can write can ever be executed; only what the loader mapped is code.

use super::{Arguments, Done, numbers};
use crate::descriptors::{Object, flags};
use crate::disk::Disk;
use crate::errno::Errno;
use crate::files::{Body, NodeId};
use crate::layer::Layer;
use crate::memory::areas::Area;
use crate::memory::{Access, PAGE, Range};
use crate::processor::Processor;
use crate::sockets::Sockets;
use alloc::vec::Vec;

const PROT_READ: u32 = 1;
const PROT_WRITE: u32 = 2;
const PROT_EXEC: u32 = 4;
const MAP_SHARED: u32 = 1;
const MAP_PRIVATE: u32 = 2;
const MAP_SHARED_VALIDATE: u32 = 3;
const MAP_TYPE: u32 = 0xF;
const MAP_FIXED: u32 = 0x10;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_FIXED_NOREPLACE: u32 = 0x10_0000;
const MREMAP_MAYMOVE: u32 = 1;
const MADV_DONTNEED: u32 = 4;
/// Highest advice that is known (`MADV_COLLAPSE`).
const MADV_LAST: u32 = 25;

impl<P: Processor, S: Sockets, D: Disk> Layer<P, S, D> {
    /// The calls on memory.
    pub(super) fn memory_call(&mut self, number: u64, a: Arguments) -> Option<Done> {
        Some(match number {
            numbers::MMAP => self.mmap(a),
            numbers::MUNMAP => self.munmap(a.word(0), a.word(1)),
            numbers::MPROTECT => self.mprotect(a.word(0), a.word(1), a.low(2)),
            numbers::MREMAP => self.mremap(a.word(0), a.word(1), a.word(2), a.low(3)),
            numbers::BRK => Ok(self.brk(a.word(0))),
            numbers::MADVISE => self.madvise(a.word(0), a.word(1), a.low(2)),
            numbers::MSYNC => Ok(0),
            _ => return None,
        })
    }

    fn mmap(&mut self, a: Arguments) -> Done {
        let (len, how, offset) = (a.word(1), a.low(3), a.word(5));
        let access = access(a.low(2))?;
        if access == Access::Execute {
            return Err(Errno::ACCES.into());
        }
        if len == 0 || !offset.is_multiple_of(PAGE) {
            return Err(Errno::INVAL.into());
        }
        let shared = match how & MAP_TYPE {
            MAP_PRIVATE => false,
            MAP_SHARED | MAP_SHARED_VALIDATE => true,
            _ => return Err(Errno::INVAL.into()),
        };
        let file = if how & MAP_ANONYMOUS == 0 { Some(self.mapped_file(a.int(4))?) } else { None };
        if shared && file.is_some() && access == Access::Write {
            // A writable view of a file would have to be kept in step with it.
            return Err(Errno::NODEV.into());
        }
        let range = self.place(a.word(0), len, how)?;
        self.back(range, Area { access, backed: access != Access::None })?;
        if let Some(node) = file
            && access != Access::None
        {
            self.fill(range, node, offset)?;
        }
        Ok(range.start)
    }

    /// The file that a mapping shows.
    fn mapped_file(&self, fd: i32) -> Result<NodeId, Errno> {
        let description = self.descriptors.get(fd)?;
        if description.flags & flags::ACCMODE == flags::WRONLY {
            return Err(Errno::ACCES);
        }
        match description.object {
            Object::File(node) if matches!(self.files.node(node)?.body, Body::File(_)) => Ok(node),
            _ => Err(Errno::NODEV),
        }
    }

    /// Where a mapping goes: where the program insists, where it would like it, or anywhere.
    fn place(&self, at: u64, len: u64, how: u32) -> Result<Range, Errno> {
        if self.areas.is_full() {
            return Err(Errno::NOMEM);
        }
        let wished = Range::pages(at, len);
        if how & MAP_FIXED_NOREPLACE != 0 {
            let range = wished.ok_or(Errno::INVAL)?;
            return if self.areas.is_free(range) { Ok(range) } else { Err(Errno::EXIST) };
        }
        if how & MAP_FIXED != 0 {
            return wished.ok_or(if at.is_multiple_of(PAGE) { Errno::NOMEM } else { Errno::INVAL });
        }
        let free = wished.filter(|range| self.areas.is_free(*range));
        free.or_else(|| self.areas.room(len)).ok_or(Errno::NOMEM)
    }

    /// Makes a range what `area` says, zeroed, in place of what was there.
    fn back(&mut self, range: Range, area: Area) -> Result<(), Errno> {
        if area.backed {
            if self.memory().map(range, area.access).is_err() {
                self.areas.remove(range);
                return Err(Errno::NOMEM);
            }
        } else {
            self.memory().unmap(range);
        }
        self.areas.insert(range, area);
        Ok(())
    }

    /// Copies a file to where it is mapped. It is a copy also for who shares it: files that are mapped are replaced, not
    /// changed.
    fn fill(&mut self, range: Range, node: NodeId, offset: u64) -> Result<(), Errno> {
        self.with_scratch(|layer, buffer| {
            let mut done = 0;
            while done < range.len() {
                let left = usize::try_from(range.len() - done).unwrap_or(usize::MAX).min(buffer.len());
                let piece = buffer.get_mut(..left).ok_or(Errno::INVAL)?;
                let got = layer.files.read(node, offset.saturating_add(done), piece)?;
                if got == 0 {
                    break;
                }
                layer.memory().load(range.start + done, piece.get(..got).unwrap_or_default())?;
                done += got as u64;
            }
            Ok(())
        })
    }

    fn munmap(&mut self, at: u64, len: u64) -> Done {
        let range = Range::pages(at, len).ok_or(Errno::INVAL)?;
        self.take_away(range)?;
        Ok(0)
    }

    fn take_away(&mut self, range: Range) -> Result<(), Errno> {
        if self.areas.is_full() && self.areas.at(range.start).is_some_and(|(area, _)| area.end > range.end) {
            return Err(Errno::NOMEM);
        }
        self.memory().unmap(range);
        self.areas.remove(range);
        Ok(())
    }

    fn mprotect(&mut self, at: u64, len: u64, protection: u32) -> Done {
        let access = access(protection)?;
        if !at.is_multiple_of(PAGE) {
            return Err(Errno::INVAL.into());
        }
        if len == 0 {
            return Ok(0);
        }
        let range = Range::pages(at, len).ok_or(Errno::NOMEM)?;
        if !self.areas.covers(range) || self.areas.is_full() {
            return Err(Errno::NOMEM.into());
        }
        let pieces: Vec<_> = self.areas.within(range).collect();
        let is_code = |piece: &(Range, Area)| piece.1.access == Access::Execute;
        if access == Access::Execute && !pieces.iter().all(is_code) {
            return Err(Errno::ACCES.into());
        }
        for (piece, area) in pieces {
            if area.backed {
                self.memory().protect(piece, access)?;
                self.areas.insert(piece, Area { access, backed: true });
            } else if access != Access::None {
                self.back(piece, Area { access, backed: true })?;
            }
        }
        Ok(0)
    }

    fn mremap(&mut self, at: u64, old_len: u64, new_len: u64, how: u32) -> Done {
        if how & !MREMAP_MAYMOVE != 0 || old_len == 0 {
            return Err(Errno::INVAL.into());
        }
        let old = Range::pages(at, old_len).ok_or(Errno::INVAL)?;
        let new = Range::pages(at, new_len).ok_or(if new_len == 0 { Errno::INVAL } else { Errno::NOMEM })?;
        let (whole, area) = self.areas.at(old.start).ok_or(Errno::FAULT)?;
        if whole.end < old.end {
            return Err(Errno::FAULT.into());
        }
        if new.end <= old.end {
            if new.end < old.end {
                self.take_away(Range { start: new.end, end: old.end })?;
            }
            return Ok(at);
        }
        let more = Range { start: old.end, end: new.end };
        if self.areas.is_free(more) && self.back(more, area).is_ok() {
            return Ok(at);
        }
        if how & MREMAP_MAYMOVE == 0 || self.areas.is_full() {
            return Err(Errno::NOMEM.into());
        }
        let to = self.areas.room(new.len()).ok_or(Errno::NOMEM)?;
        self.relocate(old, to, area)?;
        Ok(to.start)
    }

    /// Moves what is in `old` to the beginning of `to`, with zeros behind it.
    fn relocate(&mut self, old: Range, to: Range, area: Area) -> Result<(), Errno> {
        let behind = Range { start: to.start + old.len(), end: to.end };
        if !area.backed {
            self.areas.remove(old);
            return self.back(to, area);
        }
        self.back(behind, area)?;
        if !self.memory().relocate(old, to.start) {
            self.take_away(behind)?;
            return Err(Errno::NOMEM);
        }
        self.areas.remove(old);
        self.areas.insert(Range { start: to.start, end: behind.start }, area);
        Ok(())
    }

    /// Moves the end of the heap, where there is room; returns where it is.
    fn brk(&mut self, wanted: u64) -> u64 {
        let (start, end) = (self.program.heap_start, self.program.heap_end);
        let Some(new_pages) = wanted.checked_next_multiple_of(PAGE) else { return end };
        let old_pages = end.next_multiple_of(PAGE);
        if wanted < start {
            return end;
        }
        let moved = if new_pages > old_pages {
            let more = Range { start: old_pages, end: new_pages };
            let whole = Range::pages(old_pages, more.len() + PAGE);
            whole.is_some_and(|whole| self.areas.is_free(whole))
                && !self.areas.is_full()
                && self.back(more, Area { access: Access::Write, backed: true }).is_ok()
        } else {
            let less = Range { start: new_pages, end: old_pages };
            less.is_empty() || self.take_away(less).is_ok()
        };
        if moved {
            self.program.heap_end = wanted;
        }
        self.program.heap_end
    }

    fn madvise(&mut self, at: u64, len: u64, advice: u32) -> Done {
        if advice > MADV_LAST || !at.is_multiple_of(PAGE) {
            return Err(Errno::INVAL.into());
        }
        if len == 0 {
            return Ok(0);
        }
        let range = Range::pages(at, len).ok_or(Errno::NOMEM)?;
        if !self.areas.covers(range) {
            return Err(Errno::NOMEM.into());
        }
        if advice == MADV_DONTNEED {
            let pieces: Vec<_> = self.areas.within(range).filter(|(_, area)| area.backed).collect();
            if pieces.iter().any(|(_, area)| area.access != Access::Write) {
                return Err(Errno::INVAL.into());
            }
            for (piece, area) in pieces {
                self.back(piece, area)?;
            }
        }
        Ok(0)
    }
}

/// What a protection means.
fn access(protection: u32) -> Result<Access, Errno> {
    if protection & !(PROT_READ | PROT_WRITE | PROT_EXEC) != 0 {
        return Err(Errno::INVAL);
    }
    match (protection & PROT_WRITE != 0, protection & PROT_EXEC != 0) {
        (true, true) => Err(Errno::ACCES),
        (true, false) => Ok(Access::Write),
        (false, true) => Ok(Access::Execute),
        (false, false) if protection == 0 => Ok(Access::None),
        (false, false) => Ok(Access::Read),
    }
}
