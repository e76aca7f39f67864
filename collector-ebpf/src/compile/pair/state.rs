//! Where the start of a pair is kept: the cheapest place that cannot leak.

use std::sync::Arc;

use datafusion::logical_expr::Expr;

use super::key::Key;
use crate::compile::expression::{Expression, Node};
use crate::compile::leaf::{Leaf, TaskFact};
use crate::compile::names::{Content, Scope, Side};
use crate::kernel::{BtfKind, Hook, HookContext, Place};
use crate::object::StateKind;

/// Where objects end: (what a pointer to one is declared as, the event, its argument).
const ENDS_OF_OBJECTS: [(&str, &str, &str); 2] =
    [("sock *", "tcp_destroy_sock", "sk"), ("task_struct *", "sched_process_exit", "p")];

/// Where the start is kept, and what gives it back when no end comes.
#[derive(Clone, Debug)]
pub struct State {
    /// The kind of map.
    pub kind: StateKind,
    /// Why this one, for EXPLAIN.
    pub reason: String,
    /// The event after which no end can come.
    pub discard: Option<Discard>,
}

/// The event after which what is kept for a key will never be fetched.
#[derive(Clone, Debug)]
pub struct Discard {
    /// The hook.
    pub hook: Arc<Hook>,
    /// Bytes from the context to the key; `None` when it is the current task.
    pub key_offset: Option<u16>,
}

/// Chooses; each side's keys with its leaves.
pub fn choose(
    scope: &Scope<'_>,
    keys: &[Key],
    start: (&[Expression], &[Leaf]),
    end: (&[Expression], &[Leaf]),
) -> State {
    let in_task = [Side::Start, Side::End].into_iter().all(|side| scope.hook(side).context == HookContext::Task);
    if in_task && is_fact(start, TaskFact::Tid) && is_fact(end, TaskFact::Tid) {
        let exit = scope.kernel.hook(&["tp_btf", "sched_process_exit"]).ok();
        if let Some(hook) = exit.filter(|_| scope.kernel.btf().find(BtfKind::Struct, "task_struct").is_some()) {
            return State {
                kind: StateKind::TaskStorage,
                reason: "both events happen in the thread that is the key; it is freed with the thread".to_owned(),
                discard: Some(Discard { hook, key_offset: None }),
            };
        }
    }
    if is_fact(start, TaskFact::Cpu) && is_fact(end, TaskFact::Cpu) {
        return State { kind: StateKind::PerCpu, reason: "the key is the processor".to_owned(), discard: None };
    }
    if let Some(discard) = end_of_object(scope, keys) {
        return State {
            kind: StateKind::Hash,
            reason: format!(
                "the key is an object; what waits for one is dropped at {}, its end, and by age",
                discard.hook
            ),
            discard: Some(discard),
        };
    }
    State {
        kind: StateKind::Hash,
        reason: "the key is a value that no event of the kernel ends; what nobody fetches is dropped by its age"
            .to_owned(),
        discard: None,
    }
}

/// Whether the whole key is this fact.
fn is_fact((keys, leaves): (&[Expression], &[Leaf]), fact: TaskFact) -> bool {
    match keys {
        [Expression { node: Node::Leaf(leaf), .. }] => leaves[leaf.0] == Leaf::Task(fact),
        _ => false,
    }
}

/// The event that ends the object whose address is the whole key, where it is known.
fn end_of_object(scope: &Scope<'_>, keys: &[Key]) -> Option<Discard> {
    let [Key { start: Expr::Column(name), .. }] = keys else { return None };
    let column = scope.columns.iter().find(|column| column.name == name.name)?;
    let Content::Pointer(..) = column.content else { return None };
    let (_, event, argument) = ENDS_OF_OBJECTS.into_iter().find(|(declared, ..)| {
        // `const struct sock * sk`: the declaration as people read it.
        let words: Vec<&str> =
            column.comment.split_whitespace().filter(|word| !["const", "struct"].contains(word)).collect();
        words.join(" ").starts_with(declared)
    })?;
    let hook = scope.kernel.hook(&["tp_btf", event]).ok()?;
    let Place::BtfArgument { index } = hook.field(argument)?.place else { return None };
    Some(Discard { hook, key_offset: Some(index * 8) })
}
