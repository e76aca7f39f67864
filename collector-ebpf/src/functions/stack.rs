//! `kernel_stack([frames])` and `user_stack([frames])`, also `kstack` and `ustack`: the kernel takes the addresses, and their
//! names are put to them after it. `symbol(address)`: a function of the kernel.

use arrow::array::{Array, AsArray, BinaryViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use std::sync::Arc;

use crate::symbols;

/// Name of the function that gives the kernel's stack.
pub const KERNEL_STACK: &str = "kernel_stack";

/// Name of the function that gives the process's stack.
pub const USER_STACK: &str = "user_stack";

/// Names by which the compiler knows the addresses of both; users cannot call them.
pub const KERNEL_FRAMES: &str = "kernel_frames";
/// See [`KERNEL_FRAMES`].
pub const USER_FRAMES: &str = "user_frames";

/// The functions that users call.
pub fn all() -> Vec<ScalarUDF> {
    let stacks = [(KERNEL_STACK, "kstack"), (USER_STACK, "ustack")].map(|(name, short)| {
        let arguments = vec![TypeSignature::Nullary, TypeSignature::Any(1)];
        ScalarUDF::from(StackFunction { name, step: Step::Written, signature: volatile(arguments) })
            .with_aliases([short])
    });
    let symbol = StackFunction {
        name: "symbol",
        step: Step::Symbol,
        signature: Signature::exact(vec![DataType::Int64], Volatility::Volatile),
    };
    stacks.into_iter().chain([ScalarUDF::from(symbol)]).collect()
}

/// Whether the name is that of addresses which the kernel takes.
pub fn takes_frames(name: &str) -> bool {
    [KERNEL_FRAMES, USER_FRAMES].contains(&name)
}

/// The text of the stack: names put to the addresses that the kernel takes, of which so many are kept.
pub fn text_of(is_user: bool, frames_max: u16) -> Expr {
    let (frames, name) = if is_user { (USER_FRAMES, USER_STACK) } else { (KERNEL_FRAMES, KERNEL_STACK) };
    let most = Expr::Literal(ScalarValue::Int64(Some(frames_max.into())), None);
    let any = |number| volatile(vec![TypeSignature::Any(number)]);
    let taken = StackFunction { name: frames, step: Step::Taken, signature: any(1) };
    let named = StackFunction { name, step: Step::Named { is_user, frames_max }, signature: any(1) };
    ScalarUDF::from(named).call(vec![ScalarUDF::from(taken).call(vec![most])])
}

fn volatile(arguments: Vec<TypeSignature>) -> Signature {
    // Volatile: a stack is nothing to fold while planning.
    Signature::one_of(arguments, Volatility::Volatile)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// As the user wrote it.
    Written,
    /// In the kernel.
    Taken,
    /// After it.
    Named {
        is_user: bool,
        frames_max: u16,
    },
    Symbol,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct StackFunction {
    name: &'static str,
    step: Step,
    signature: Signature,
}

impl ScalarUDFImpl for StackFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.step == Step::Taken { DataType::BinaryView } else { DataType::Utf8View })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let mut texts = StringViewBuilder::with_capacity(args.number_rows);
        match (self.step, arrays.first()) {
            (Step::Named { is_user, frames_max }, Some(stacks)) => {
                let Some(stacks) = stacks.as_any().downcast_ref::<BinaryViewArray>() else {
                    return internal_err!("{} takes the addresses of a stack", self.name);
                };
                for stack in stacks {
                    texts.append_option(stack.and_then(|stack| named(stack, is_user, frames_max)));
                }
            }
            (Step::Symbol, Some(addresses)) => {
                let Some(addresses) = addresses.as_primitive_opt::<Int64Type>() else {
                    return internal_err!("{} takes a bigint", self.name);
                };
                for address in addresses {
                    texts.append_option(address.and_then(|address| symbols::kernel_name(address.cast_unsigned())));
                }
            }
            _ => return internal_err!("{} was not placed in the kernel", self.name),
        }
        Ok(ColumnarValue::Array(Arc::new(texts.finish())))
    }
}

/// The addresses from the innermost to the outermost, one more than are kept where the stack was cut; of a process its
/// id before them.
fn named(stack: &[u8], is_user: bool, frames_max: u16) -> Option<String> {
    let (words, _) = stack.as_chunks::<8>();
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let (pid, addresses) = match words.split_first() {
        Some((pid, addresses)) if is_user => (i32::try_from(*pid).ok()?, addresses),
        _ => (0, words.as_slice()),
    };
    let kept = addresses.len().min(frames_max.into());
    let cut = addresses.len() > kept;
    Some(match is_user {
        true => symbols::user_stack(pid, &addresses[..kept], cut),
        false => symbols::kernel_stack(&addresses[..kept], cut),
    })
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn a_stack_of_one_frame_more_than_kept_was_cut() {
        let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(named(&bytes(&[0x10, 0x21]), false, 2).unwrap(), "0x20;0x10");
        assert_eq!(named(&bytes(&[0x10, 0x21, 0x31]), false, 2).unwrap(), "…;0x20;0x10");
        assert_eq!(named(&bytes(&[u64::from(i32::MAX.unsigned_abs()), 0x10]), true, 2).unwrap(), "0x10");
        assert_eq!(named(&bytes(&[u64::MAX, 0x10]), true, 2), None);
    }
}
