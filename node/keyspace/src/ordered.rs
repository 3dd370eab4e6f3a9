//! The order of a large sorted set: a counted B-tree over the cells of its table.
//!
//! An item is a score and the cell in which the member lies; members of one score are in the order of their names, which
//! are read from the table and not kept here. Every child is counted, so that ranks cost what lookups cost. An item takes
//! 12 bytes, and its leaf is nearly full whether scores come in order or at random.

use crdt::Score;
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::ops::Range;

/// A member: its score, and its cell in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// The upper half of the score's ordered word. Halves keep the item at 12 bytes.
    high: u32,
    low: u32,
    /// The cell of the table.
    pub cell: u32,
}

impl Item {
    /// The item of a member.
    pub fn new(score: Score, cell: u32) -> Self {
        let word = score.to_ordered_word();
        Self { high: (word >> 32) as u32, low: word as u32, cell }
    }

    /// The score's word, which is ordered as scores are.
    pub fn word(&self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }

    /// The score.
    pub fn score(&self) -> Score {
        Score::from_ordered_word(self.word())
    }
}

/// Items of a leaf. Moving half of them for an insertion costs less than the lookup before it.
const LEAF_ITEMS_MAX: usize = 128;
/// Children of an inner node.
const CHILDREN_MAX: usize = 64;
/// Items of a leaf that grows one by one are given room for so many at once.
const ROOM_ITEMS: usize = 8;

/// The members of one sorted set in their order.
#[derive(Debug)]
pub struct Order {
    root: Node,
    len: u32,
}

#[derive(Debug)]
enum Node {
    Leaf(Vec<Item>),
    /// Never empty.
    Inner(Vec<Child>),
}

#[derive(Debug)]
struct Child {
    /// The first item below.
    first: Item,
    /// How many items there are below.
    count: u32,
    node: Node,
}

/// The name of the member in a cell.
pub trait Names<'n>: Fn(u32) -> &'n [u8] {}

impl<'n, F: Fn(u32) -> &'n [u8]> Names<'n> for F {}

fn compare<'n>(one: &Item, other: &Item, names: &impl Names<'n>) -> Ordering {
    one.word().cmp(&other.word()).then_with(|| match one.cell == other.cell {
        true => Ordering::Equal,
        false => names(one.cell).cmp(names(other.cell)),
    })
}

impl Order {
    /// No members.
    pub fn new() -> Self {
        Self { root: Node::Leaf(Vec::new()), len: 0 }
    }

    /// These members, in whatever order they come.
    pub fn of<'n>(mut items: Vec<Item>, names: &impl Names<'n>) -> Self {
        items.sort_unstable_by(|one, other| compare(one, other, names));
        let len = items.len() as u32;
        let mut nodes: Vec<Node> = items.chunks(LEAF_ITEMS_MAX * 7 / 8).map(|leaf| Node::Leaf(leaf.into())).collect();
        while nodes.len() > 1 {
            let mut level = nodes.into_iter().map(Child::of).peekable();
            nodes = Vec::new();
            while level.peek().is_some() {
                nodes.push(Node::Inner(level.by_ref().take(CHILDREN_MAX * 7 / 8).collect()));
            }
        }
        Self { root: nodes.pop().unwrap_or(Node::Leaf(Vec::new())), len }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Adds a member that is not there yet. Its name is in its cell.
    pub fn insert<'n>(&mut self, item: Item, names: &impl Names<'n>) {
        self.len += 1;
        if let Some(right) = self.root.insert(item, names) {
            let left = std::mem::replace(&mut self.root, Node::Leaf(Vec::new()));
            self.root = Node::Inner(vec![Child::of(left), Child::of(right)]);
        }
    }

    /// Takes out a member, whose name is still in its cell.
    pub fn remove<'n>(&mut self, item: Item, names: &impl Names<'n>) {
        let removed = self.root.remove(item, names);
        // Whoever changes a score says so here: an item that is not where it belongs is a defect of this crate.
        debug_assert!(removed, "{item:?} is in the order");
        self.len -= u32::from(removed);
        if let Node::Inner(children) = &mut self.root
            && children.len() == 1
            && let Some(only) = children.pop()
        {
            self.root = only.node;
        }
    }

    /// How many members come before this one.
    pub fn rank<'n>(&self, item: Item, names: &impl Names<'n>) -> usize {
        self.partition_point(|other| compare(other, &item, names).is_lt())
    }

    /// How many members come before the first of which `before` is false; it is false of all behind that one too.
    pub fn partition_point(&self, before: impl Fn(&Item) -> bool) -> usize {
        let mut node = &self.root;
        let mut rank = 0;
        loop {
            match node {
                Node::Leaf(items) => return rank + items.partition_point(before),
                Node::Inner(children) => {
                    let at = children.partition_point(|child| before(&child.first)).saturating_sub(1);
                    rank += children[..at].iter().map(|child| child.count as usize).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }

    /// The members of these ranks, from the last one down if `reversed`.
    pub fn range(&self, ranks: Range<usize>, reversed: bool) -> Walk<'_> {
        let ranks = ranks.start..ranks.end.min(self.len());
        let mut walk = Walk { path: SmallVec::new(), leaf: &[], at: 0, left: ranks.len(), reversed };
        if !ranks.is_empty() {
            walk.descend(&self.root, if reversed { ranks.end - 1 } else { ranks.start });
        }
        walk
    }

    /// The table has moved: what was in a cell is now in the one that `moved` has at its place.
    pub fn renumber(&mut self, moved: &[u32]) {
        self.root.renumber(moved);
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.root.heap_bytes()
    }

    /// Frees everything, and calls `pause` now and then.
    pub fn take_apart(self, pause: &mut dyn FnMut()) {
        let mut rest = vec![self.root];
        while let Some(node) = rest.pop() {
            match node {
                Node::Leaf(items) => drop(items),
                Node::Inner(children) => rest.extend(children.into_iter().map(|child| child.node)),
            }
            pause();
        }
    }
}

impl Child {
    fn of(node: Node) -> Self {
        let count = match &node {
            Node::Leaf(items) => items.len() as u32,
            Node::Inner(children) => children.iter().map(|child| child.count).sum(),
        };
        let first = node.first().expect("a child has items");
        Self { first, count, node }
    }
}

impl Node {
    fn first(&self) -> Option<Item> {
        match self {
            Node::Leaf(items) => items.first().copied(),
            Node::Inner(children) => children.first().map(|child| child.first),
        }
    }

    /// How full it is, in parts of what it may hold.
    fn len(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Inner(children) => children.len(),
        }
    }

    /// Adds an item. Returns the upper part of the node if it has become too large.
    fn insert<'n>(&mut self, item: Item, names: &impl Names<'n>) -> Option<Node> {
        match self {
            Node::Leaf(items) => {
                let at = items.partition_point(|other| compare(other, &item, names).is_lt());
                if items.len() == items.capacity() {
                    items.reserve_exact(ROOM_ITEMS);
                }
                items.insert(at, item);
                // Scores that come in order leave full leaves behind them.
                let split = if at == LEAF_ITEMS_MAX { at } else { LEAF_ITEMS_MAX / 2 };
                (items.len() > LEAF_ITEMS_MAX).then(|| Node::Leaf(split_off(items, split)))
            }
            Node::Inner(children) => {
                let at = child_of(children, &item, names);
                let child = &mut children[at];
                let right = child.node.insert(item, names);
                child.count += 1;
                child.first = child.node.first().unwrap_or(child.first);
                if let Some(right) = right {
                    let right = Child::of(right);
                    child.count -= right.count;
                    children.insert(at + 1, right);
                }
                let split = if at + 1 >= CHILDREN_MAX { CHILDREN_MAX } else { CHILDREN_MAX / 2 };
                (children.len() > CHILDREN_MAX).then(|| Node::Inner(split_off(children, split)))
            }
        }
    }

    /// Takes out an item; false if it is not there.
    fn remove<'n>(&mut self, item: Item, names: &impl Names<'n>) -> bool {
        match self {
            Node::Leaf(items) => {
                let at = items.partition_point(|other| compare(other, &item, names).is_lt());
                if items.get(at) != Some(&item) {
                    return false;
                }
                items.remove(at);
                if items.capacity() > 2 * items.len() + ROOM_ITEMS {
                    items.shrink_to(items.len() + ROOM_ITEMS);
                }
                true
            }
            Node::Inner(children) => {
                let at = child_of(children, &item, names);
                let child = &mut children[at];
                if !child.node.remove(item, names) {
                    return false;
                }
                child.count -= 1;
                match child.node.first() {
                    Some(first) => child.first = first,
                    None => drop(children.remove(at)),
                }
                mend(children, at);
                true
            }
        }
    }

    fn renumber(&mut self, moved: &[u32]) {
        match self {
            Node::Leaf(items) => items.iter_mut().for_each(|item| item.cell = moved[item.cell as usize]),
            Node::Inner(children) => children.iter_mut().for_each(|child| {
                child.first.cell = moved[child.first.cell as usize];
                child.node.renumber(moved);
            }),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Node::Leaf(items) => items.capacity() * size_of::<Item>(),
            Node::Inner(children) => {
                let below: usize = children.iter().map(|child| child.node.heap_bytes()).sum();
                children.capacity() * size_of::<Child>() + below
            }
        }
    }
}

/// The child in which an item is or belongs.
fn child_of<'n>(children: &[Child], item: &Item, names: &impl Names<'n>) -> usize {
    children.partition_point(|child| compare(&child.first, item, names).is_le()).saturating_sub(1)
}

/// Takes off the upper part of a list, and gives both the room they need.
fn split_off<T>(list: &mut Vec<T>, at: usize) -> Vec<T> {
    let right = list.split_off(at);
    list.shrink_to(at + ROOM_ITEMS);
    right
}

/// Joins the child at `at`, or what has come to its place, with a neighbour if both have become small.
fn mend(children: &mut Vec<Child>, at: usize) {
    for left in [at.saturating_sub(1), at] {
        let Some([one, other]) = children.get_mut(left..left + 2) else { continue };
        let joined = one.node.len() + other.node.len();
        match (&mut one.node, &mut other.node) {
            (Node::Leaf(items), Node::Leaf(more)) if joined <= LEAF_ITEMS_MAX / 2 => items.append(more),
            (Node::Inner(below), Node::Inner(more)) if joined <= CHILDREN_MAX / 2 => below.append(more),
            _ => continue,
        }
        one.count += other.count;
        children.remove(left + 1);
        return;
    }
}

/// Members in their order, or against it.
#[derive(Debug)]
pub struct Walk<'a> {
    /// The inner nodes above the leaf, each with the place of the child that the walk is in.
    path: SmallVec<[(&'a [Child], usize); 6]>,
    leaf: &'a [Item],
    /// The next item of the leaf.
    at: usize,
    left: usize,
    reversed: bool,
}

impl<'a> Walk<'a> {
    /// Goes down to the item of a rank.
    fn descend(&mut self, mut node: &'a Node, mut rank: usize) {
        loop {
            match node {
                Node::Leaf(items) => {
                    (self.leaf, self.at) = (items, rank);
                    return;
                }
                Node::Inner(children) => {
                    let mut at = 0;
                    while rank >= children[at].count as usize && at + 1 < children.len() {
                        rank -= children[at].count as usize;
                        at += 1;
                    }
                    self.path.push((children, at));
                    node = &children[at].node;
                }
            }
        }
    }

    /// Goes to the leaf after this one, or before it.
    fn go_on(&mut self) {
        while let Some((children, at)) = self.path.pop() {
            let next =
                if self.reversed { at.checked_sub(1) } else { Some(at + 1).filter(|&next| next < children.len()) };
            if let Some(next) = next {
                self.path.push((children, next));
                let rank = if self.reversed { children[next].count as usize - 1 } else { 0 };
                return self.descend(&children[next].node, rank);
            }
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        self.left = self.left.checked_sub(1)?;
        let item = *self.leaf.get(self.at)?;
        let next = if self.reversed { self.at.checked_sub(1) } else { Some(self.at + 1) };
        match next.filter(|&next| next < self.leaf.len()) {
            Some(next) => self.at = next,
            None if self.left > 0 => self.go_on(),
            None => {}
        }
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random words (splitmix64).
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, most: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            ((word ^ (word >> 31)) % most as u64) as usize
        }
    }

    /// Members by cell; a plain list is the model.
    struct Pair {
        names: Vec<Vec<u8>>,
        scores: Vec<Option<Score>>,
        order: Order,
    }

    impl Pair {
        fn new(members: usize) -> Self {
            let names = (0..members).map(|member| format!("{:x}", member * 7919 % 10_007).into_bytes()).collect();
            Self { names, scores: vec![None; members], order: Order::new() }
        }

        fn set(&mut self, member: usize, score: Option<Score>) {
            let names = |cell: u32| self.names[cell as usize].as_slice();
            if let Some(old) = self.scores[member] {
                self.order.remove(Item::new(old, member as u32), &names);
            }
            if let Some(new) = score {
                self.order.insert(Item::new(new, member as u32), &names);
            }
            self.scores[member] = score;
        }

        fn expected(&self) -> Vec<u32> {
            let mut all: Vec<u32> =
                (0..self.names.len() as u32).filter(|&m| self.scores[m as usize].is_some()).collect();
            all.sort_by(|&one, &other| {
                let key = |m: u32| (self.scores[m as usize].unwrap().to_ordered_word(), &self.names[m as usize]);
                key(one).cmp(&key(other))
            });
            all
        }

        fn check(&self, chance: &mut Chance) {
            let expected = self.expected();
            let cells = |ranks: Range<usize>, reversed| -> Vec<u32> {
                self.order.range(ranks, reversed).map(|item| item.cell).collect()
            };
            assert_eq!(self.order.len(), expected.len());
            assert_eq!(cells(0..usize::MAX, false), expected);
            let (one, other) = (chance.below(expected.len() + 2), chance.below(expected.len() + 2));
            let ranks = one.min(other)..one.max(other);
            let part = &expected[ranks.start.min(expected.len())..ranks.end.min(expected.len())];
            assert_eq!(cells(ranks.clone(), false), part);
            assert_eq!(cells(ranks, true), part.iter().rev().copied().collect::<Vec<_>>());
            let names = |cell: u32| self.names[cell as usize].as_slice();
            for _ in 0..5.min(expected.len()) {
                let rank = chance.below(expected.len());
                let cell = expected[rank];
                let item = Item::new(self.scores[cell as usize].unwrap(), cell);
                assert_eq!(self.order.rank(item, &names), rank);
                let before = expected.iter().filter(|&&m| self.scores[m as usize].unwrap() < item.score()).count();
                assert_eq!(self.order.partition_point(|other| other.score() < item.score()), before);
            }
        }
    }

    fn check(members: usize, scores: usize, rounds: usize) {
        let mut chance = Chance(members as u64 + scores as u64);
        let mut pair = Pair::new(members);
        for round in 0..rounds {
            // It grows, and then it shrinks to nothing.
            let removes = if round < rounds / 2 { 25 } else { 60 };
            let member = chance.below(members);
            let score = Score::new(chance.below(scores) as f64 - 3.0).filter(|_| chance.below(100) >= removes);
            pair.set(member, score);
            if round % 97 == 0 || members < 50 {
                pair.check(&mut chance);
            }
        }
        (0..members).for_each(|member| pair.set(member, None));
        pair.check(&mut chance);
        assert!(pair.order.heap_bytes() <= size_of::<Item>() * 2 * ROOM_ITEMS, "{}", pair.order.heap_bytes());
    }

    #[test]
    fn it_orders_as_a_sorted_list_does() {
        for (members, scores, rounds) in [(5, 3, 500), (300, 1, 5_000), (300, 1_000, 5_000), (9_000, 50, 30_000)] {
            check(members, scores, rounds);
        }
    }

    #[test]
    fn it_is_the_same_built_at_once_and_renumbered() {
        let mut chance = Chance(1);
        for members in [0, 1, 111, 112, 113, 5_000, 9_000] {
            let mut pair = Pair::new(members);
            let names = pair.names.clone();
            let names = |cell: u32| names[cell as usize].as_slice();
            let items: Vec<Item> =
                (0..members).map(|m| Item::new(Score::new(chance.below(40) as f64).unwrap(), m as u32)).collect();
            pair.scores = items.iter().map(|item| Some(item.score())).collect();
            pair.order = Order::of(items, &names);
            pair.check(&mut chance);
            // Every member moves to the cell at the other end.
            let moved: Vec<u32> = (0..members as u32).rev().collect();
            pair.order.renumber(&moved);
            pair.names.reverse();
            pair.scores.reverse();
            pair.check(&mut chance);
            (0..members).for_each(|member| pair.set(member, Score::new(chance.below(9) as f64)));
            pair.check(&mut chance);
        }
    }

    #[test]
    fn a_member_takes_little_whether_scores_come_in_order_or_not() {
        for step in [1, 7_919] {
            let mut pair = Pair::new(10_007);
            (0..10_007).for_each(|index| pair.set(index * step % 10_007, Score::new((index * step % 10_007) as f64)));
            let bytes = pair.order.heap_bytes() / 10_007;
            assert!(bytes <= 15, "{bytes} bytes");
        }
    }
}
