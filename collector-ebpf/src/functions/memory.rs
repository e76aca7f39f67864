//! `user_string(pointer [, max])`, `kernel_string(pointer [, max])`, `user_bytes(pointer, number [, max])`: placed by the
//! compiler, never run after the kernel.

use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

use super::stack;

/// Name of the function that reads a string of the process's memory.
pub const USER_STRING: &str = "user_string";

/// Name of the function that reads a string of the kernel's memory.
pub const KERNEL_STRING: &str = "kernel_string";

/// Name of the function that reads a string from whichever memory the pointer is declared for.
pub const STRING: &str = "str";

/// Name of the function that reads bytes of the process's memory.
pub const USER_BYTES: &str = "user_bytes";

/// The functions that read memory.
pub fn all() -> Vec<ScalarUDF> {
    let strings = [USER_STRING, KERNEL_STRING, STRING].map(|name| (name, [1, 2], DataType::Utf8View));
    let bytes = [(USER_BYTES, [2, 3], DataType::BinaryView)];
    strings
        .into_iter()
        .chain(bytes)
        .map(|(name, arguments, gives)| ScalarUDF::from(ReadMemory::new(name, arguments, gives)))
        .collect()
}

/// Whether the name is one of them, or takes the addresses of a stack.
pub fn reads_memory(name: &str) -> bool {
    reads_string(name) || name == USER_BYTES || stack::takes_frames(name)
}

/// Whether the name is one of those that read a string.
pub fn reads_string(name: &str) -> bool {
    [USER_STRING, KERNEL_STRING, STRING].contains(&name)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ReadMemory {
    name: &'static str,
    gives: DataType,
    signature: Signature,
}

impl ReadMemory {
    fn new(name: &'static str, arguments: [usize; 2], gives: DataType) -> ReadMemory {
        let arguments = arguments.into_iter().map(TypeSignature::Any).collect();
        // Volatile: reading memory is nothing to fold while planning.
        ReadMemory { name, gives, signature: Signature::one_of(arguments, Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for ReadMemory {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.gives.clone())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{} was not placed in the kernel", self.name)
    }
}
