//! Reads an LMDB file (data version 1), as Mender's client keeps its state in: everything in its main data base.
//!
//! The whole file is in memory, at most [`LIMIT`] bytes of it; every offset is checked, every walk is bounded, and nothing is
//! mapped or locked. Numbers are as this machine writes them; the width of a word (32 or 64 bits) is found out.

use std::collections::BTreeMap;
use std::fmt;

/// Most bytes of a file. Mender's map has 1 MiB.
pub const LIMIT: u64 = 16 << 20;

const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;
/// Flags of a page.
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const OVERFLOW: u16 = 4;
const META: u16 = 8;
/// Flags of a node: its value is on pages of its own; it is a data base, or a list of values.
const BIG: u16 = 1;
const NOT_A_VALUE: u16 = 2 | 4;
/// Bytes of a node before its key.
const NODE: usize = 8;
/// LMDB's own limit of the depth of a tree.
const DEPTH: usize = 32;

/// Why a file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error(&'static str);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected an LMDB data base of version 1, found one in which {}", self.0)
    }
}

impl std::error::Error for Error {}

/// Keys with their values.
pub type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Every pair of the main data base in its newest state.
pub fn read(bytes: &[u8]) -> Result<Pairs, Error> {
    let file = File::new(bytes)?;
    let mut pairs = Pairs::new();
    if let Some(root) = file.root {
        let mut budget = Budget { pages: bytes.len() / file.page, bytes: bytes.len() };
        file.walk(root, DEPTH, &mut budget, &mut pairs)?;
    }
    Ok(pairs)
}

/// What a whole file can hold at most: a tree that leads in a circle, or values that overlap, come to its end.
struct Budget {
    pages: usize,
    bytes: usize,
}

impl Budget {
    fn pages(&mut self, count: usize) -> Result<(), Error> {
        self.pages = self.pages.checked_sub(count).ok_or(Error("pages lead in a circle"))?;
        Ok(())
    }

    fn bytes(&mut self, count: usize) -> Result<(), Error> {
        self.bytes = self.bytes.checked_sub(count).ok_or(Error("values overlap"))?;
        Ok(())
    }
}

struct File<'a> {
    bytes: &'a [u8],
    /// Bytes of a word of the machine that wrote it, and of a page.
    word: usize,
    page: usize,
    /// The page at the top of the main data base; `None` when that is empty.
    root: Option<u64>,
}

/// What a meta page says: size of a page, root of the main data base, number of the transaction.
struct Meta {
    page: usize,
    root: Option<u64>,
    transaction: u64,
}

impl<'a> File<'a> {
    fn new(bytes: &'a [u8]) -> Result<File<'a>, Error> {
        let word = [8, 4].into_iter().find(|word| u32_at(bytes, word + 8) == Some(MAGIC));
        let word = word.ok_or(Error("the first page does not begin like one"))?;
        let first = Meta::read(bytes, word).ok_or(Error("the first page is broken"))?;
        let second = bytes.get(first.page..).and_then(|bytes| Meta::read(bytes, word));
        let newest = match second {
            Some(second) if second.page == first.page && second.transaction > first.transaction => second,
            _ => first,
        };
        Ok(File { bytes, word, page: newest.page, root: newest.root })
    }

    /// Bytes of the head of a page.
    fn head(&self) -> usize {
        self.word + 8
    }

    fn page(&self, number: u64) -> Result<(u16, &'a [u8]), Error> {
        let begin = usize::try_from(number).ok().and_then(|number| number.checked_mul(self.page));
        let bytes = begin.and_then(|begin| self.bytes.get(begin..)?.get(..self.page));
        let bytes = bytes.ok_or(Error("a page lies beyond the end of the file"))?;
        match (word_at(bytes, 0, self.word), u16_at(bytes, self.word + 2)) {
            (Some(own), Some(flags)) if own == number => Ok((flags, bytes)),
            _ => Err(Error("a page has the number of another")),
        }
    }

    fn walk(&self, number: u64, depth: usize, budget: &mut Budget, pairs: &mut Pairs) -> Result<(), Error> {
        budget.pages(1)?;
        let depth = depth.checked_sub(1).ok_or(Error("the tree is too deep"))?;
        let (flags, page) = self.page(number)?;
        for node in self.nodes(page)? {
            let node = node?;
            match flags & (BRANCH | LEAF | OVERFLOW | META) {
                BRANCH => self.walk(node.child(self.word), depth, budget, pairs)?,
                LEAF => {
                    let (key, value) = self.pair(&node, budget)?;
                    budget.bytes(NODE + key.len() + value.len())?;
                    pairs.insert(key.to_vec(), value.to_vec());
                }
                _ => return Err(Error("a page of the tree is of another kind")),
            }
        }
        Ok(())
    }

    fn nodes(&self, page: &'a [u8]) -> Result<impl Iterator<Item = Result<Node<'a>, Error>>, Error> {
        const BROKEN: Error = Error("the list of a page's nodes is broken");
        let head = self.head();
        let end = usize::from(u16_at(page, self.word + 4).ok_or(BROKEN)?);
        let list = page.get(head..end).ok_or(BROKEN)?;
        Ok(list.chunks_exact(2).map(move |at| {
            let at = usize::from(u16::from_ne_bytes([at[0], at[1]]));
            let node = page.get(at..).filter(|_| at >= head).and_then(Node::read);
            node.ok_or(Error("a node lies beyond its page"))
        }))
    }

    fn pair(&self, node: &Node<'a>, budget: &mut Budget) -> Result<(&'a [u8], &'a [u8]), Error> {
        const BEYOND: Error = Error("a value lies beyond its page");
        if node.flags & NOT_A_VALUE != 0 {
            return Err(Error("a key has something else than a value"));
        }
        let length = node.low as usize;
        if node.flags & BIG == 0 {
            return node.rest.get(..length).map(|value| (node.key, value)).ok_or(BEYOND);
        }
        let number = word_at(node.rest, 0, self.word).ok_or(BEYOND)?;
        let (flags, first) = self.page(number)?;
        let pages = u32_at(first, self.word + 4).unwrap_or(0) as usize;
        if flags & OVERFLOW == 0 {
            return Err(Error("a long value is on a page of another kind"));
        }
        budget.pages(pages.max(1))?;
        let begin = number as usize * self.page;
        let value = pages.checked_mul(self.page).and_then(|size| self.bytes.get(begin..)?.get(..size));
        let value = value.and_then(|value| value.get(self.head()..)?.get(..length));
        value.map(|value| (node.key, value)).ok_or(BEYOND)
    }
}

impl Meta {
    fn read(page: &[u8], word: usize) -> Option<Meta> {
        let (flags, meta) = (u16_at(page, word + 2)?, page.get(word + 8..)?);
        if flags & META == 0 || u32_at(meta, 0)? != MAGIC || u32_at(meta, 4)? != VERSION {
            return None;
        }
        // Magic, version, address, size of the map; then two data bases, of free pages and the main one.
        let data_base = 8 + 5 * word;
        let (free, main) = (8 + 2 * word, 8 + 2 * word + data_base);
        let page = u32_at(meta, free)? as usize;
        let root = word_at(meta, main + 8 + 4 * word, word)?;
        let none = if word == 8 { u64::MAX } else { u64::from(u32::MAX) };
        Some(Meta {
            page: Some(page).filter(|page| page.is_power_of_two() && (256..=65536).contains(page))?,
            root: Some(root).filter(|root| *root != none),
            transaction: word_at(meta, main + data_base + word, word)?,
        })
    }
}

struct Node<'a> {
    /// Length of the value; of a branch, the low part of its child's number.
    low: u32,
    flags: u16,
    key: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Node<'a> {
    fn read(bytes: &'a [u8]) -> Option<Node<'a>> {
        let key = usize::from(u16_at(bytes, 6)?);
        let (key, rest) = (bytes.get(NODE..NODE + key)?, bytes.get(NODE + key..)?);
        Some(Node { low: u32_at(bytes, 0)?, flags: u16_at(bytes, 4)?, key, rest })
    }

    fn child(&self, word: usize) -> u64 {
        let high = if word == 8 { u64::from(self.flags) << 32 } else { 0 };
        high | u64::from(self.low)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn word_at(bytes: &[u8], at: usize, word: usize) -> Option<u64> {
    match word {
        8 => Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?)),
        _ => u32_at(bytes, at).map(u64::from),
    }
}

/// Bytes of a page, and of the map, in files of ours.
const OUR_PAGE: usize = 4096;
const OUR_MAP: usize = 1 << 20;

/// A file with these pairs, all on one page but for long values. `None` when they do not fit.
pub fn write(pairs: &Pairs) -> Option<Vec<u8>> {
    write_for(pairs, usize::BITS as usize / 8)
}

/// The same for a machine whose words have 4 or 8 bytes.
pub fn write_for(pairs: &Pairs, word: usize) -> Option<Vec<u8>> {
    let head = word + 8;
    let (mut nodes, mut long) = (Vec::new(), Vec::new());
    for (key, value) in pairs {
        let key_length = u16::try_from(key.len()).ok().filter(|length| (1..=511).contains(length))?;
        let length = u32::try_from(value.len()).ok()?;
        // LMDB wants room for two nodes at least on every page.
        let is_long = NODE + key.len() + value.len() > (OUR_PAGE - head) / 2 - 2;
        let mut node = length.to_ne_bytes().to_vec();
        node.extend_from_slice(&(if is_long { BIG } else { 0 }).to_ne_bytes());
        node.extend_from_slice(&key_length.to_ne_bytes());
        node.extend_from_slice(key);
        if is_long {
            let (number, pages) = (3 + long.len() / OUR_PAGE, (head + value.len()).div_ceil(OUR_PAGE));
            node.extend(word_of(number as u64, word));
            let begin = long.len();
            long.extend(page_head(number, OVERFLOW, u32::try_from(pages).ok()?, word));
            long.extend_from_slice(value);
            long.resize(begin + pages * OUR_PAGE, 0);
        } else {
            node.extend_from_slice(value);
        }
        node.resize(node.len().next_multiple_of(2), 0);
        nodes.push(node);
    }
    let leaf = leaf(&nodes, word)?;
    let last = 2 + long.len() / OUR_PAGE;
    let used = (pairs.len() as u64, long.len() / OUR_PAGE);
    let mut file = [meta(0, used, last, word), meta(1, used, last, word), leaf].concat();
    file.extend(long);
    (file.len() <= OUR_MAP).then_some(file)
}

fn leaf(nodes: &[Vec<u8>], word: usize) -> Option<Vec<u8>> {
    let head = word + 8;
    let lower = head + 2 * nodes.len();
    let mut upper = OUR_PAGE;
    let mut page = vec![0; OUR_PAGE];
    for (at, node) in nodes.iter().enumerate() {
        upper = upper.checked_sub(node.len()).filter(|upper| *upper >= lower)?;
        page[upper..upper + node.len()].copy_from_slice(node);
        page[head + 2 * at..][..2].copy_from_slice(&(upper as u16).to_ne_bytes());
    }
    let bounds = [(lower as u16).to_ne_bytes(), (upper as u16).to_ne_bytes()].concat();
    let bounds = u32::from_ne_bytes(bounds.try_into().ok()?);
    page[..head].copy_from_slice(&page_head(2, LEAF, bounds, word));
    Some(page)
}

fn page_head(number: usize, flags: u16, rest: u32, word: usize) -> Vec<u8> {
    let mut head = word_of(number as u64, word);
    head.extend_from_slice(&0u16.to_ne_bytes());
    head.extend_from_slice(&flags.to_ne_bytes());
    head.extend_from_slice(&rest.to_ne_bytes());
    head
}

/// `used`: how many pairs there are, and how many pages of long values.
fn meta(number: usize, used: (u64, usize), last: usize, word: usize) -> Vec<u8> {
    const INTEGER_KEYS: u16 = 8;
    let mut page = page_head(number, META, 0, word);
    page.extend_from_slice(&MAGIC.to_ne_bytes());
    page.extend_from_slice(&VERSION.to_ne_bytes());
    page.extend(word_of(0, word));
    page.extend(word_of(OUR_MAP as u64, word));
    let data_base = |page: &mut Vec<u8>, size: u32, flags: u16, depth: u16, words: [u64; 5]| {
        page.extend_from_slice(&size.to_ne_bytes());
        page.extend_from_slice(&flags.to_ne_bytes());
        page.extend_from_slice(&depth.to_ne_bytes());
        words.iter().for_each(|number| page.extend(word_of(*number, word)));
    };
    data_base(&mut page, OUR_PAGE as u32, INTEGER_KEYS, 0, [0, 0, 0, 0, u64::MAX]);
    match used {
        (0, _) => data_base(&mut page, 0, 0, 0, [0, 0, 0, 0, u64::MAX]),
        (pairs, long) => data_base(&mut page, 0, 0, 1, [0, 1, long as u64, pairs, 2]),
    }
    page.extend(word_of(last as u64, word));
    // The first transaction wrote the second meta page.
    page.extend(word_of(number as u64, word));
    page.resize(OUR_PAGE, 0);
    page
}

fn word_of(number: u64, word: usize) -> Vec<u8> {
    match word {
        8 => number.to_ne_bytes().to_vec(),
        _ => (number as u32).to_ne_bytes().to_vec(),
    }
}

#[cfg(test)]
#[path = "lmdb/tests.rs"]
mod tests;
