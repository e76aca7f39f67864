//! Stacks: `kernel_stack()` and `user_stack()` to addresses that a program takes, and names that are put to them after it.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;
use probepilot_sql::{SqlError, SqlState};

use super::assemble::{Alu, Assembler, CONTEXT, Condition, FRAME, PID_TGID, R0, R1, R2, R3, R4, RECORD, Width};
use super::evaluate::Frame;
use super::expression::LeafId;
use super::leaf::{FRAMES_MAX, LENGTH_BYTES, Leaf, Space};
use super::read::{ReadOutcome, Sources, helper};
use crate::functions::stack::{KERNEL_STACK, USER_FRAMES, USER_STACK, text_of};

/// `BPF_F_USER_STACK`
const OF_PROCESS: i64 = 1 << 8;

/// Replaces the stacks in an expression by what gives their text.
///
/// # Errors
/// 22023 for a number of frames that cannot be.
pub fn replace(expr: Expr) -> Result<Expr, SqlError> {
    let mut refused = None;
    let replaced = expr.transform_up(|expr| {
        let Expr::ScalarFunction(function) = &expr else { return Ok(Transformed::no(expr)) };
        let is_user = match function.name() {
            KERNEL_STACK => false,
            USER_STACK => true,
            _ => return Ok(Transformed::no(expr)),
        };
        match frames_max(function) {
            Ok(frames_max) => Ok(Transformed::yes(text_of(is_user, frames_max))),
            Err(error) => {
                refused = Some(error);
                Err(DataFusionError::Plan("refused".into()))
            }
        }
    });
    match (replaced, refused) {
        (Ok(replaced), _) => Ok(replaced.data),
        (Err(_), Some(error)) => Err(error),
        (Err(error), None) => Err(SqlError::internal("cannot replace a stack", error)),
    }
}

fn frames_max(function: &ScalarFunction) -> Result<u16, SqlError> {
    let name = function.name();
    let wrong = |message| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    match function.args.as_slice() {
        [] => Ok(FRAMES_MAX),
        [Expr::Literal(ScalarValue::Int64(Some(frames)), _)] => {
            u16::try_from(*frames).ok().filter(|frames| (1..=FRAMES_MAX).contains(frames)).ok_or_else(|| {
                wrong(format!("{name} keeps 1 to {FRAMES_MAX} frames, not {frames}"))
                    .hint("Those nearest to the event are kept.")
            })
        }
        [_] => Err(wrong(format!("the frames that {name} keeps must be a whole number"))),
        _ => Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("{name} takes a number of frames, or nothing"))),
    }
}

/// The leaf of a call that takes addresses.
pub fn leaf(function: &ScalarFunction) -> Result<Leaf, SqlError> {
    let space = if function.name() == USER_FRAMES { Space::User } else { Space::Kernel };
    match function.args.first() {
        Some(Expr::Literal(ScalarValue::Int64(Some(frames)), _)) => match u16::try_from(*frames) {
            Ok(frames_max) => Ok(Leaf::Stack { space, frames_max }),
            Err(error) => Err(SqlError::internal("a stack has too many frames", error)),
        },
        other => Err(SqlError::internal("a stack without a number of frames", format!("{other:?}"))),
    }
}

impl Sources<'_> {
    /// The bytes of the addresses in front of them; of a process its id comes first. The result is the bytes of all, -1 of
    /// none: a thread of the kernel has no stack of a process, and one that runs its own code none of the kernel.
    pub(super) fn read_stack(&mut self, assembler: &mut Assembler, frame: &mut Frame, leaf: LeafId) -> ReadOutcome {
        let Leaf::Stack { space, frames_max } = self.leaves[leaf.0] else {
            unreachable!("only stacks are read here");
        };
        let (flags, ahead) = match space {
            Space::User => (OF_PROCESS, 8),
            Space::Kernel => (0, 0),
        };
        let offset = self.string_offsets[&leaf];
        // One more than are kept says that there are more.
        let taken = (frames_max + 1) * 8;
        let status = frame.take();
        let (none, done) = (assembler.label(), assembler.label());
        assembler.mov(R1, CONTEXT);
        assembler.mov(R2, RECORD);
        assembler.alu_imm(Alu::Add, R2, i32::from(offset + LENGTH_BYTES + ahead));
        assembler.load_number(R3, i64::from(taken));
        assembler.load_number(R4, flags);
        assembler.call(helper::GET_STACK);
        assembler.store(Width::Eight, FRAME, status, R0);
        assembler.jump_if_imm(Condition::Less, R0, 0, done);
        assembler.jump_if_imm(Condition::Equal, R0, 0, none);
        if space == Space::User {
            assembler.mov(R1, PID_TGID);
            assembler.alu_imm(Alu::ShiftRight, R1, 32);
            assembler.store(Width::Eight, RECORD, (offset + LENGTH_BYTES) as i16, R1);
            assembler.alu_imm(Alu::Add, R0, i32::from(ahead));
        }
        assembler.store(Width::Eight, RECORD, offset as i16, R0);
        assembler.alu_imm(Alu::Add, R0, i32::from(LENGTH_BYTES));
        assembler.store(Width::Eight, FRAME, status, R0);
        assembler.jump(done);
        assembler.place(none);
        assembler.store_imm(Width::Eight, FRAME, status, -1);
        assembler.place(done);
        self.set_slot(leaf, status);
        ReadOutcome { status, cut: Some(LENGTH_BYTES + ahead + taken) }
    }
}
