//! Conditions that hold at both ends of a pair: on what the key makes equal.
//!
//! `e.tid = x.tid AND x.pid = 5` also says `e.pid = 5`: so nothing is kept for other processes, and their ends are not
//! looked up.

use std::collections::HashMap;

use crate::compile::expression::{Expression, LeafId, Node};
use crate::compile::leaf::{Leaf, TaskFact};
use crate::compile::names::{Scope, Side};
use crate::compile::split::KernelFilter;
use crate::kernel::HookContext;

/// (leaf of the start, leaf of the end) that are equal whenever two events pair.
pub type SameLeaves = Vec<(Leaf, Leaf)>;

/// What the key makes equal; each side's keys with its leaves.
pub fn same_leaves(scope: &Scope<'_>, start: (&[Expression], &[Leaf]), end: (&[Expression], &[Leaf])) -> SameLeaves {
    let mut same = SameLeaves::new();
    let in_task = [Side::Start, Side::End].into_iter().all(|side| scope.hook(side).context == HookContext::Task);
    for (first, second) in start.0.iter().zip(end.0) {
        let (Node::Leaf(first), Node::Leaf(second)) = (&first.node, &second.node) else { continue };
        let (first, second) = (start.1[first.0].clone(), end.1[second.0].clone());
        let thread = Leaf::Task(TaskFact::Tid);
        if in_task && first == thread && second == thread {
            // A thread stays in its process.
            same.push((Leaf::Task(TaskFact::Pid), Leaf::Task(TaskFact::Pid)));
        }
        same.push((first, second));
    }
    same
}

/// The start's condition for the end; `None` when the end cannot know.
pub fn to_end(filter: &KernelFilter, same: &SameLeaves, from: &[Leaf], to: &mut Vec<Leaf>) -> Option<KernelFilter> {
    let other = |leaf: &Leaf| same.iter().find(|(start, _)| start == leaf).map(|(_, end)| end.clone());
    transfer(filter, &other, from, to)
}

/// The end's condition for the start; `None` when the start cannot know.
pub fn to_start(filter: &KernelFilter, same: &SameLeaves, from: &[Leaf], to: &mut Vec<Leaf>) -> Option<KernelFilter> {
    let other = |leaf: &Leaf| same.iter().find(|(_, end)| end == leaf).map(|(start, _)| start.clone());
    transfer(filter, &other, from, to)
}

fn transfer(
    filter: &KernelFilter,
    other: &impl Fn(&Leaf) -> Option<Leaf>,
    from: &[Leaf],
    to: &mut Vec<Leaf>,
) -> Option<KernelFilter> {
    // What fails would be counted twice.
    if filter.condition.can_fail() {
        return None;
    }
    let mut named = Vec::new();
    filter.condition.for_each_leaf(&mut |leaf| named.push(leaf));
    let mut ids = HashMap::new();
    for leaf in named {
        let there = other(&from[leaf.0])?;
        let known = to.iter().position(|leaf| *leaf == there);
        let id = known.unwrap_or_else(|| {
            to.push(there);
            to.len() - 1
        });
        ids.insert(leaf, LeafId(id));
    }
    let mut condition = filter.condition.clone();
    condition.rename_leaves(&ids);
    Some(KernelFilter { condition, span: filter.span, text: filter.text.clone() })
}
