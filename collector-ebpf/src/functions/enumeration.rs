//! Enumerations as text: a function that belongs to one list of names, made while a query is planned.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{AsArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The names of an enumeration's values.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Names {
    /// As declared; several names may mean one value.
    declared: Vec<(String, i64)>,
    /// (value, index of its first name), sorted.
    by_value: Vec<(i64, usize)>,
}

impl Names {
    /// The names as the kernel declares them.
    pub fn new(declared: &[(String, i64)]) -> Names {
        let mut by_value: Vec<(i64, usize)> =
            declared.iter().enumerate().map(|(index, (_, value))| (*value, index)).collect();
        by_value.sort_unstable();
        by_value.dedup_by_key(|(value, _)| *value);
        Names { declared: declared.to_vec(), by_value }
    }

    /// The first name of a value.
    pub fn name(&self, value: i64) -> Option<&str> {
        let index = self.by_value.binary_search_by_key(&value, |(value, _)| *value).ok()?;
        Some(&self.declared[self.by_value[index].1].0)
    }

    /// The value a text means: a name, or the number of a value without one.
    pub fn value(&self, text: &str) -> Option<i64> {
        if let Some((_, value)) = self.declared.iter().find(|(name, _)| name == text) {
            return Some(*value);
        }
        // As it is shown, so no sign or zero too many.
        text.parse().ok().filter(|value: &i64| value.to_string() == text && self.name(*value).is_none())
    }

    /// All names, as declared.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.declared.iter().map(|(name, _)| name.as_str())
    }
}

/// The text of `number`: the value's name, or its digits when it has none.
pub fn text_of(number: Expr, names: Arc<Names>) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::from(TextOf { names, signature }).call(vec![number])
}

/// The number and the names behind an expression that [`text_of`] made.
pub fn number_of(expr: &Expr) -> Option<(&Expr, &Arc<Names>)> {
    let Expr::ScalarFunction(function) = expr else { return None };
    let text: &TextOf = function.func.inner().downcast_ref()?;
    Some((function.args.first()?, &text.names))
}

/// Name of the function that shows an integer by the kernel's own names: `label(newstate)`.
pub const LABEL: &str = "label";

/// The function, for the planner: [`text_of`] takes its place as soon as the column is known.
pub fn label() -> ScalarUDF {
    ScalarUDF::from(Label { signature: Signature::any(1, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Label {
    signature: Signature,
}

impl ScalarUDFImpl for Label {
    fn name(&self) -> &str {
        LABEL
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{LABEL} was not replaced while planning")
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextOf {
    names: Arc<Names>,
    signature: Signature,
}

impl ScalarUDFImpl for TextOf {
    fn name(&self) -> &str {
        "#enumeration"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(numbers) = arrays.first() else { return internal_err!("an enumeration without its number") };
        let numbers = cast(numbers, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        let mut texts = StringViewBuilder::with_capacity(numbers.len());
        let mut digits = String::new();
        for number in numbers {
            match number.map(|number| (number, self.names.name(number))) {
                None => texts.append_null(),
                Some((_, Some(name))) => texts.append_value(name),
                Some((number, None)) => {
                    digits.clear();
                    write!(digits, "{number}").expect("writing to a string cannot fail");
                    texts.append_value(&digits);
                }
            }
        }
        Ok(ColumnarValue::Array(Arc::new(texts.finish())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_its_first_name_and_every_name_means_it() {
        let names = Names::new(&[("NONE".into(), 0), ("FIRST".into(), 1), ("ALIAS".into(), 1), ("BELOW".into(), -3)]);
        assert_eq!((names.name(1), names.name(-3), names.name(7)), (Some("FIRST"), Some("BELOW"), None));
        assert_eq!((names.value("FIRST"), names.value("ALIAS")), (Some(1), Some(1)));
        assert_eq!((names.value("7"), names.value("-7"), names.value("007")), (Some(7), Some(-7), None));
        assert_eq!((names.value("1"), names.value("first")), (None, None));
    }
}
