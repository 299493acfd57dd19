//! The identifiers every layer shares: newtypes, never a bare integer.

use core::fmt;

/// The place of a page in the page file, in units of the store's page size.
///
/// Page `n` starts at byte `n * page_size`. A page of class *c* covers the `1 << c` ids from its own on. At most 34 bits
/// are used (64 TiB of 4 KiB pages). `PageId::NONE` (zero, where the superblock lies) names no page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PageId(u64);

impl PageId {
    /// No page: the value of a frame that holds none and of an empty reference.
    pub const NONE: PageId = PageId(0);
    /// The greatest page id a reference word can carry: 2^34 - 1.
    pub const MAX: PageId = PageId((1 << 34) - 1);

    /// Wraps a page number. Numbers above [`PageId::MAX`] are representable but refused by the pool.
    #[must_use]
    pub const fn new(n: u64) -> PageId {
        PageId(n)
    }

    /// The page number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether this names no page.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}", self.0)
    }
}

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A position in the stream of log records, in bytes (group headers and padding do not count).
///
/// The LSN *of a record* is its **end**: a record is durable when `durable_lsn >= its LSN`, and a page whose LSN is
/// `>=` a record's LSN already contains that record. `Lsn::NONE` (zero) marks what never went through the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(u64);

impl Lsn {
    /// Nothing logged: the LSN of unlogged pages.
    pub const NONE: Lsn = Lsn(0);
    /// Where the stream of a new store starts.
    pub const FIRST: Lsn = Lsn(1);
    /// Beyond every position: "no lower bound".
    pub const MAX: Lsn = Lsn(u64::MAX);

    /// Wraps a position.
    #[must_use]
    pub const fn new(n: u64) -> Lsn {
        Lsn(n)
    }

    /// The position in bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position `bytes` further on, or `None` beyond the end of the address space of the log.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Lsn> {
        match self.0.checked_add(bytes) {
            Some(n) => Some(Lsn(n)),
            None => None,
        }
    }
}

impl fmt::Debug for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lsn {}", self.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The number of a buffer frame within the frames of its size class: 24 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId(u32);

impl FrameId {
    /// No frame: the hint of a reference that was never resolved (all 24 bits set).
    pub const NONE: FrameId = FrameId((1 << 24) - 1);

    /// Wraps a frame number; only the low 24 bits are kept.
    #[must_use]
    pub const fn new(n: u32) -> FrameId {
        FrameId(n & ((1 << 24) - 1))
    }

    /// The frame number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// A page's size class, after Umbra: a page of class *c* is `page_size << c` bytes, contiguous on disk and in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SizeClass(u8);

impl SizeClass {
    /// Pages of exactly the store's page size: all B+tree nodes.
    pub const ZERO: SizeClass = SizeClass(0);
    /// The number of classes a reference word can tell apart.
    pub const COUNT: usize = 16;

    /// Class `c`, or `None` from 16 on.
    #[must_use]
    pub const fn new(c: u8) -> Option<SizeClass> {
        if (c as usize) < Self::COUNT { Some(SizeClass(c)) } else { None }
    }

    /// The class number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// How many page ids a page of this class covers.
    #[must_use]
    pub const fn units(self) -> u64 {
        1 << self.0
    }
}

/// The number of a tree within its store; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TreeId(u32);

impl TreeId {
    /// Pages that belong to no tree.
    pub const NONE: TreeId = TreeId(0);
    /// The catalog: the tree that maps names to trees.
    pub const CATALOG: TreeId = TreeId(1);

    /// Wraps a tree number.
    #[must_use]
    pub const fn new(n: u32) -> TreeId {
        TreeId(n)
    }

    /// The tree number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// What a page's bytes mean; selects the handler that redoes its log records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageKind(u8);

impl PageKind {
    /// Not a page: zeroed bytes.
    pub const NONE: PageKind = PageKind(0);
    /// A logged page that was freed.
    pub const FREE: PageKind = PageKind(1);
    /// Not a page but an allocation or a free of an extent, riding in a record.
    pub const SPACE: PageKind = PageKind(2);
    /// A B+tree node.
    pub const BTREE: PageKind = PageKind(3);
    /// Part of an allocator snapshot.
    pub const SNAPSHOT: PageKind = PageKind(4);
    /// Part of a large value's content.
    pub const VALUE: PageKind = PageKind(5);
    /// The root of a tree that was dropped, with its content: what leads to the pages that are still to be freed.
    pub const TOMBSTONE: PageKind = PageKind(6);
    /// The first kind that is an engine author's own; those below belong to pagebox.
    pub const FIRST_USER: PageKind = PageKind(64);

    /// Wraps a kind number.
    #[must_use]
    pub const fn new(n: u8) -> PageKind {
        PageKind(n)
    }

    /// The kind number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}
