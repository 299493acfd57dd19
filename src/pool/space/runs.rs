//! Space for large values: one run of pages where there is one, a few runs otherwise.
//!
//! A record names each run, so there are few of them by construction, however the free space is cut up. The file grows
//! only for what the free space has no pieces for that are worth it.

use super::allocator::{Allocator, State};
use super::extents::Extent;
use crate::error::{Error, Result};

impl Allocator {
    /// Takes `units` pages in at most `most` runs, each but the last a multiple of `step` long; `grow` says whether the file
    /// may be made longer for it. As with [`Allocator::reserve_extent`], each run is to be allocated by a record or given
    /// back. Cost: one pass over the free extents if no single one is long enough.
    ///
    /// # Errors
    /// [`Error::NoSpace`]; a smaller `step` may find room.
    pub fn reserve_runs(&self, units: u64, step: u64, most: usize, grow: bool) -> Result<Vec<Extent>> {
        let mut state = self.state.lock();
        let runs = match state.free.take(units) {
            Some(run) => vec![run],
            None => self.gather(&mut state, units, step, most, grow)?,
        };
        for &run in &runs {
            state.reserved.insert(run);
        }
        Ok(runs)
    }

    /// Whether `units` pages are free, with a run among them as long as that or `piece`, whichever is shorter. Cost: one pass
    /// over the free extents.
    #[must_use]
    pub fn has_room(&self, units: u64, piece: u64) -> bool {
        let state = self.state.lock();
        state.free.units() >= units && state.free.iter().any(|extent| extent.units >= units.min(piece))
    }

    fn gather(&self, state: &mut State, units: u64, step: u64, most: usize, grow: bool) -> Result<Vec<Extent>> {
        let step = step.max(1);
        let least = (units / most.max(1) as u64).next_multiple_of(step).max(step);
        let mut pieces: Vec<Extent> = state.free.iter().filter(|extent| extent.units >= least).collect();
        pieces.sort_unstable_by_key(|extent| std::cmp::Reverse(extent.units));
        let (mut runs, mut left) = (Vec::new(), units);
        for piece in pieces.into_iter().take(most.saturating_sub(1)) {
            if left == 0 {
                break;
            }
            let take = if piece.units >= left { left } else { piece.units / step * step };
            runs.push(Extent::new(piece.start, take));
            left -= take;
        }
        for &run in &runs {
            state.free.remove(run);
        }
        if left > 0 {
            // What is free at the end of the file grows with it.
            let grown = match state.free.ending_at(state.end) {
                tail if tail >= left => Ok(()),
                _ if !grow => Err(Error::NoSpace { what: "free space of the page file", needed: left }),
                // Places for snapshots come first: they would lie in between.
                _ => self.keep_up(state, left).and_then(|()| match state.free.ending_at(state.end) {
                    tail if tail >= left => Ok(()),
                    tail => self.grow(state, left - tail),
                }),
            };
            let last =
                grown.and_then(|()| state.free.take(left).ok_or(Error::NoSpace { what: "page file", needed: left }));
            match last {
                Ok(last) => runs.push(last),
                Err(error) => {
                    for &run in &runs {
                        state.free.insert(run);
                    }
                    return Err(error);
                }
            }
        }
        Ok(runs)
    }
}
