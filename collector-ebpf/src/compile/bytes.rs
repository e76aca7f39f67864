//! `user_bytes(pointer, number [, max])` to a leaf: bytes of the process's memory, as many as the event says.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;
use probepilot_sql::{SqlError, SqlState};

use super::expression::Kind;
use super::leaf::{Leaf, Length, Place, STRING_BYTES_DEFAULT, STRING_BYTES_MAX, Space};
use super::lower::Lowering;
use super::names::{Content, Side};
use super::stack;
use crate::functions::memory::{USER_BYTES, USER_STRING};
use crate::functions::stack::takes_frames;

impl Content {
    /// What a program reads for it, at whichever end of a pair; `None` for what is no leaf.
    pub(super) fn leaf(&self) -> Option<&Leaf> {
        match self {
            Content::Leaf(leaf) => Some(leaf.sided().1),
            Content::Time
            | Content::Mark(_)
            | Content::Pointer(..)
            | Content::Enumeration { .. }
            | Content::Unknown => None,
        }
    }
}

impl Lowering<'_> {
    /// The leaf of a call of a memory function; `None` when its argument is text already.
    pub fn memory(&mut self, function: &ScalarFunction) -> Result<Option<Leaf>, SqlError> {
        match function.name() {
            USER_BYTES => self.user_bytes(function).map(Some),
            name if takes_frames(name) => stack::leaf(function).map(Some),
            _ => self.string(function),
        }
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
        let (at, side) = self.user_address(pointer)?;
        let length = Box::new(self.length(number, side)?);
        Ok(Leaf::UserBytes { at, length, bytes_max }.of(side))
    }

    /// Where the address lies, and at which end of a pair: a pointer into the process's memory, or such an address in an
    /// integer.
    fn user_address(&self, pointer: &Expr) -> Result<(Place, Side), SqlError> {
        let Expr::Column(name) = pointer else {
            return Err(SqlError::unsupported(format!("{USER_BYTES} takes a column, not an expression")));
        };
        let column = self.columns.iter().find(|column| column.name == name.name);
        let side = column.map_or(Side::End, |column| column.side);
        let leaf = column.and_then(|column| column.content.leaf());
        match (column.map(|column| (&column.content, &column.data_type)), leaf) {
            (Some((Content::Pointer(place, Space::User), _)), _) => Ok((place.clone(), side)),
            (Some((_, DataType::Int64)), Some(Leaf::Number { place, bits: None, .. })) => Ok((place.clone(), side)),
            _ => Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("{USER_BYTES} cannot read column \"{}\"", name.name),
            )
            .hint("It takes a pointer into the process's memory, or the address as a bigint.")),
        }
    }

    /// How many bytes there are, by numbers of the event in which the address is: at another one the memory may be
    /// something else.
    fn length(&self, number: &Expr, side: Side) -> Result<Length, SqlError> {
        let refused = || {
            SqlError::unsupported(format!(
                "{USER_BYTES} takes a number of bytes that the kernel can compute of the event"
            ))
            .hint(format!("For text that ends with NUL, write {USER_STRING}."))
        };
        let mut lowering = Lowering { columns: self.columns, schema: self.schema, leaves: Vec::new() };
        let value = lowering.lower(number).filter(|length| matches!(length.kind, Kind::Integer(_)));
        let value = value.ok_or_else(refused)?;
        let mut leaves = Vec::with_capacity(lowering.leaves.len());
        for leaf in &lowering.leaves {
            let (of, leaf) = leaf.sided();
            if of != side {
                let message = format!("{USER_BYTES} takes a number of bytes of the hook that has the address");
                return Err(SqlError::unsupported(message).hint(
                    "Memory is read when the event with its address happens; give that event's number, or a constant.",
                ));
            }
            if !matches!(leaf, Leaf::Number { .. }) {
                return Err(refused());
            }
            leaves.push(leaf.clone());
        }
        Ok(Length { value, leaves })
    }
}
