//! `json_agg(value)` and `json_object_agg(key, value)`.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, AggregateUDF};

use super::build::{key, value};
use super::write::normal;
use super::{Kind, external};
use crate::functions::aggregates::{Aggregate, no_such};

/// All of them.
pub(super) fn all() -> Vec<AggregateUDF> {
    let aggregate = |name, kind: Kind, coerce| {
        AggregateUDF::new_from_impl(Aggregate {
            name,
            signature: Aggregate::signature(),
            coerce,
            returns: |_| DataType::Utf8,
            sql_type: Some(kind.name()),
            state: |_| {
                let texts = DataType::new_list(DataType::Utf8, true);
                vec![("keys", texts.clone()), ("values", texts)]
            },
            accumulator: match kind {
                Kind::Json => |args, _| Ok(Box::new(Gathered::new(Kind::Json, args.expr_fields))),
                Kind::Jsonb => |args, _| Ok(Box::new(Gathered::new(Kind::Jsonb, args.expr_fields))),
            },
            ordered_set: false,
        })
    };
    let of_one = |types: &[DataType]| match types {
        [_] => Ok(types.to_vec()),
        _ => Err(no_such("json_agg", types, "json_agg takes one value.")),
    };
    let of_two = |types: &[DataType]| match types {
        [_, _] => Ok(types.to_vec()),
        _ => Err(no_such("json_object_agg", types, "json_object_agg takes a key and a value.")),
    };
    vec![
        aggregate("json_agg", Kind::Json, of_one),
        aggregate("jsonb_agg", Kind::Jsonb, of_one),
        aggregate("json_object_agg", Kind::Json, of_two),
        aggregate("jsonb_object_agg", Kind::Jsonb, of_two),
    ]
}

/// The values of a group as JSON, and their keys where they have any; the statement's memory bounds them (53200).
#[derive(Debug)]
struct Gathered {
    kind: Kind,
    fields: Vec<FieldRef>,
    keys: Vec<String>,
    values: Vec<String>,
    bytes: usize,
}

impl Gathered {
    fn new(kind: Kind, fields: &[FieldRef]) -> Gathered {
        Gathered { kind, fields: fields.to_vec(), keys: Vec::new(), values: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, key: Option<String>, value: String) {
        self.bytes += value.len() + key.as_ref().map_or(0, String::len) + 2 * size_of::<String>();
        self.keys.extend(key);
        self.values.push(value);
    }
}

impl Accumulator for Gathered {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        for row in 0..columns[0].len() {
            let cell = |column: &ArrayRef| ScalarValue::try_from_array(column, row);
            let (key, cell) = match columns {
                [keys, values] => (Some(key(&self.fields[0], &cell(keys)?)?), cell(values)?),
                [values, ..] => (None, cell(values)?),
                [] => return Ok(()),
            };
            let value = value(&self.fields[columns.len() - 1], &cell)?;
            self.push(key, value);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (keys, values) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            let (keys, values) = (keys.value(row), values.value(row));
            let keys = keys.as_string::<i32>();
            for (index, value) in values.as_string::<i32>().iter().enumerate() {
                let key = (index < keys.len()).then(|| keys.value(index).to_owned());
                self.push(key, value.unwrap_or("null").to_owned());
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.values.is_empty() {
            return Ok(ScalarValue::Utf8(None));
        }
        let text = match self.keys.is_empty() {
            true => format!("[{}]", self.values.join(", ")),
            false => {
                let members = self.keys.iter().zip(&self.values).map(|(key, value)| format!("{key} : {value}"));
                format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
            }
        };
        let text = match self.kind {
            Kind::Json => text,
            Kind::Jsonb => normal(&text).map_err(external)?,
        };
        Ok(ScalarValue::Utf8(Some(text)))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![crate::functions::by_row::list(&self.keys), crate::functions::by_row::list(&self.values)])
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.bytes
    }
}
