//! Pages that hold a part of a large value: the page header, then content to the end.
//!
//! Such a page has the size of its class in memory, but its image on disk is only as long as the content needs, in class 0
//! pages ("units"): the header says how many at byte 6, and the checksum covers those. So a value wastes less than one
//! class 0 page, and still lies in one piece of memory when it is read. The image is written once, before anything
//! refers to it, with LSN 0, and never again.

use super::bytes::{PageReader, PageWriter};
use super::header::{CHECKSUM, HEADER_BYTES, PageHeader, checksum};
use crate::types::{Lsn, PageId, PageKind, SizeClass, TreeId};

/// Where in the header the image's length stands, in units.
const UNITS: usize = 6;

/// What the header of a content page has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHeader {
    /// The page's own id.
    pub id: PageId,
    /// Its class in memory.
    pub class: SizeClass,
    /// Class 0 pages its image takes.
    pub units: u64,
    /// The tree whose value it is part of.
    pub tree: TreeId,
}

impl ContentHeader {
    /// Makes `image` the page that holds `content`, which fits, and zeros behind it. Cost: a copy and a pass for the checksum.
    pub fn seal(&self, image: &mut PageWriter<'_>, content: &[u8]) {
        let header = PageHeader {
            checksum: 0,
            kind: PageKind::VALUE,
            class: self.class,
            id: self.id,
            lsn: Lsn::NONE,
            tree: self.tree,
            swip_offset: 0,
            swip_count: 0,
        };
        header.write(image);
        image.set_u16(UNITS, self.units as u16);
        image.write(HEADER_BYTES, content);
        let end = HEADER_BYTES + content.len();
        image.fill(end, image.len() - end, 0);
        let sum = checksum(image.as_slice());
        image.set_u32(CHECKSUM, sum);
    }

    /// Compares what was read: the first bytes of an image, and the checksum over all of it behind the checksum's own field.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub fn verify(&self, head: &[u8], sum: u32) -> Result<(), String> {
        let page = PageReader::from_slice(head.get(..HEADER_BYTES).unwrap_or_default());
        let (Ok(found), Ok(units)) = (PageHeader::read(page), page.u16(UNITS)) else {
            return Err("header out of range".into());
        };
        if found.checksum != sum && !cfg!(pagebox_break = "page_checksum") {
            return Err(format!("checksum is {:08x}, header says {:08x}", sum, found.checksum));
        }
        if found.id != self.id || found.class != self.class || u64::from(units) != self.units {
            let (class, wanted) = (found.class.get(), self.class.get());
            return Err(format!(
                "holds page {} of class {class}, {units} long; a value's page of class {wanted}, {} long, is referred to",
                found.id, self.units
            ));
        }
        if found.kind != PageKind::VALUE || found.tree != self.tree {
            return Err(format!(
                "kind {} of tree {} where a value's content should be",
                found.kind.get(),
                found.tree.get()
            ));
        }
        Ok(())
    }
}
