//! `user_bytes(pointer, number [, max])` to a leaf: bytes of the process's memory, as many as the event says.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;
use probepilot_sql::{SqlError, SqlState};

use super::expression::{Expression, Kind};
use super::leaf::{Leaf, Place, STRING_BYTES_DEFAULT, STRING_BYTES_MAX, Space};
use super::lower::Lowering;
use super::names::{Content, Side};
use crate::functions::memory::{USER_BYTES, USER_STRING};

impl Lowering<'_> {
    /// The leaf of a call of a memory function; `None` when its argument is text already.
    pub fn memory(&mut self, function: &ScalarFunction) -> Result<Option<Leaf>, SqlError> {
        if function.name() == USER_BYTES { self.user_bytes(function).map(Some) } else { self.string(function) }
    }

    fn user_bytes(&mut self, function: &ScalarFunction) -> Result<Leaf, SqlError> {
        let (pointer, number, most) = match function.args.as_slice() {
            [pointer, number] => (pointer, number, None),
            [pointer, number, most] => (pointer, number, Some(most)),
            _ => {
                return Err(SqlError::internal(
                    "a memory function with other arguments",
                    function.args.len().to_string(),
                ));
            }
        };
        let bytes_max = match most.unwrap_or(number) {
            Expr::Literal(ScalarValue::Int64(Some(bytes)), _) => {
                u16::try_from(*bytes).ok().filter(|bytes| (1..=STRING_BYTES_MAX).contains(bytes)).ok_or_else(|| {
                    SqlError::new(
                        SqlState::INVALID_PARAMETER_VALUE,
                        format!("{USER_BYTES} reads between 1 and {STRING_BYTES_MAX} bytes"),
                    )
                })?
            }
            _ if most.is_none() => STRING_BYTES_DEFAULT,
            _ => {
                let message = format!("the maximum of {USER_BYTES} must be a whole number");
                return Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
            }
        };
        Ok(Leaf::UserBytes { at: self.user_address(pointer)?, length: Box::new(self.length(number)?), bytes_max })
    }

    /// Where the address lies: a pointer into the process's memory, or such an address in an integer.
    fn user_address(&self, pointer: &Expr) -> Result<Place, SqlError> {
        let Expr::Column(name) = pointer else {
            return Err(SqlError::unsupported(format!("{USER_BYTES} takes a column, not an expression")));
        };
        let column = self.columns.iter().find(|column| column.name == name.name);
        if column.is_some_and(|column| column.side == Side::Start) {
            return Err(SqlError::unsupported(format!("{USER_BYTES} cannot read memory of the start of a pair"))
                .hint(format!("{USER_STRING} can.")));
        }
        match column.map(|column| (&column.content, &column.data_type)) {
            Some((Content::Pointer(place, Space::User), _)) => Ok(place.clone()),
            Some((Content::Leaf(Leaf::Number { place, bits: None, .. }), DataType::Int64)) => Ok(place.clone()),
            _ => Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("{USER_BYTES} cannot read column \"{}\"", name.name),
            )
            .hint("It takes a pointer into the process's memory, or the address as a bigint.")),
        }
    }

    fn length(&mut self, number: &Expr) -> Result<Expression, SqlError> {
        let refused = || {
            SqlError::unsupported(format!(
                "{USER_BYTES} takes a number of bytes that the kernel can compute of the event"
            ))
            .hint(format!("For text that ends with NUL, write {USER_STRING}."))
        };
        let length = self.lower(number).filter(|length| matches!(length.kind, Kind::Integer(_))).ok_or_else(refused)?;
        let mut of_event = true;
        length.for_each_leaf(&mut |leaf| of_event &= matches!(self.leaves[leaf.0], Leaf::Number { .. }));
        if of_event { Ok(length) } else { Err(refused()) }
    }
}
