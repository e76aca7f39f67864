//! `user_string(pointer [, max])`, `kernel_string(pointer [, max])`: placed by the compiler, never run after the kernel.

use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};

/// Name of the function that reads a string of the process's memory.
pub const USER_STRING: &str = "user_string";

/// Name of the function that reads a string of the kernel's memory.
pub const KERNEL_STRING: &str = "kernel_string";

/// Name of the function that reads a string from whichever memory the pointer is declared for.
pub const STRING: &str = "str";

/// The functions that read memory.
pub fn all() -> Vec<ScalarUDF> {
    [USER_STRING, KERNEL_STRING, STRING].into_iter().map(|name| ScalarUDF::from(ReadString::new(name))).collect()
}

/// Whether the name is one of them.
pub fn reads_memory(name: &str) -> bool {
    [USER_STRING, KERNEL_STRING, STRING].contains(&name)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ReadString {
    name: &'static str,
    signature: Signature,
}

impl ReadString {
    fn new(name: &'static str) -> ReadString {
        // Volatile: reading memory is nothing to fold while planning.
        let signature = Signature::one_of(vec![TypeSignature::Any(1), TypeSignature::Any(2)], Volatility::Volatile);
        ReadString { name, signature }
    }
}

impl ScalarUDFImpl for ReadString {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{} was not placed in the kernel", self.name)
    }
}
