//! Which events are left out before anything is asked of them: by the query's `TABLESAMPLE`, or to keep within a budget.
//!
//! Each event is drawn for itself. One draw serves both: who is over a budget keeps part of what the query samples, so a
//! row stands for 2³² / keep events, whatever the reason. What is left out is counted, by its reason.

use arrow::datatypes::DataType;
use datafusion::logical_expr::{Case, Expr, cast, lit};

use super::assemble::{Condition, FRAME, R0, R1, R2, Width};
use super::emit::Emitter;
use super::expression::LeafId;
use super::leaf::{Leaf, TaskFact};
use super::read::helper;
use crate::object::MapRef;

/// How many of 2³² events are let through; 0 stands for all.
pub type Keep = u32;

/// What a program leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// What the query's own `TABLESAMPLE` keeps; `None` without one.
    pub keep: Option<Keep>,
    /// Whether the loader may thin it further while it runs.
    pub budget: bool,
}

impl Sample {
    /// Whether it leaves nothing out, now and later.
    pub fn is_everything(self) -> bool {
        self == Sample::default()
    }
}

/// What keeps such a share of the events; `None` for all of them.
pub fn keep_of(share: f64) -> Option<Keep> {
    // Saturates: a share so small that it rounds to nothing keeps one of 2³².
    let keep = (share * 2_f64.powi(32)).round() as u64;
    u32::try_from(keep.max(1)).ok()
}

/// Events that a row stands for.
pub fn weight(keep: Keep) -> f64 {
    if keep == 0 { 1.0 } else { 2_f64.powi(32) / f64::from(keep) }
}

/// The same over the column of what is kept.
pub(super) fn weight_of(keep: Expr) -> Expr {
    let of_kept = lit(2_f64.powi(32)) / cast(keep.clone(), DataType::Float64);
    Expr::Case(Case::new(None, vec![(Box::new(keep.eq(lit(0_i64))), Box::new(lit(1.0)))], Some(Box::new(of_kept))))
}

impl Emitter<'_> {
    /// Goes on with an event that is let through, at about 10 ns; where nothing is left out now, at about one.
    pub(super) fn sample(&mut self) {
        let Sample { keep, budget } = self.settings.sample;
        if self.settings.sample.is_everything() {
            return;
        }
        let pass = self.assembler.label();
        let slot = self.frame.take();
        let assembler = &mut self.assembler;
        assembler.load_number(R1, 0);
        if budget {
            assembler.load_map(R1, MapRef::Keep);
            assembler.load(Width::Four, R1, R1, 0);
        }
        assembler.store(Width::Eight, FRAME, slot, R1);
        if keep.is_none() {
            assembler.jump_if_imm(Condition::Equal, R1, 0, pass);
        }
        assembler.call(helper::GET_PRANDOM_U32);
        if let Some(keep) = keep {
            assembler.load_number(R2, i64::from(keep));
            assembler.jump_if(Condition::GreaterEqualUnsigned, R0, R2, self.labels.sampled);
        }
        if budget {
            let (all, done) = (assembler.label(), assembler.label());
            assembler.load(Width::Eight, R1, FRAME, slot);
            if let Some(keep) = keep {
                assembler.jump_if_imm(Condition::NotEqual, R1, 0, all);
                assembler.load_number(R1, i64::from(keep));
                assembler.store(Width::Eight, FRAME, slot, R1);
                assembler.jump(done);
            }
            assembler.place(all);
            assembler.jump_if(Condition::GreaterEqualUnsigned, R0, R1, self.labels.budget);
            assembler.place(done);
        } else if let Some(keep) = keep {
            assembler.load_number(R1, i64::from(keep));
            assembler.store(Width::Eight, FRAME, slot, R1);
        }
        assembler.place(pass);
        if let Some(leaf) = self.keep_leaf() {
            self.sources.set_slot(leaf, slot);
        }
    }

    fn keep_leaf(&self) -> Option<LeafId> {
        self.split.leaves.iter().position(|leaf| *leaf == Leaf::Task(TaskFact::SampleKeep)).map(LeafId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_and_its_weight_belong_together() {
        assert_eq!(keep_of(1.0), None);
        assert_eq!(keep_of(0.0), Some(1));
        for share in [0.5, 0.1, 0.001] {
            let weight = weight(keep_of(share).unwrap());
            assert!((weight * share - 1.0).abs() < 1e-6, "{share}: {weight}");
        }
        assert_eq!(weight(0), 1.0);
    }
}
