//! The columns that `*` stands for.

use datafusion::sql::sqlparser::ast::{Expr, Ident};
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::{SqlError, SqlState};

use super::marks::Mark;
use super::names::{ARGUMENTS, Scope, Side, TASK_COLUMNS, is_visible};
use super::position;
use crate::kernel::KernelType;

impl Scope<'_> {
    /// The columns of `*` or of `alias.*`: the current task's, then the event's.
    ///
    /// An event's field whose name the task's columns have is called `args_…`, and in `*` of a join every column of the
    /// start begins with its hook's alias. Pointers to characters are read; other pointers, structs and arrays are left
    /// out.
    pub fn star(&self, qualifier: Option<&[String]>, span: Span) -> Result<Vec<(Expr, String)>, SqlError> {
        let Some(qualifier) = qualifier else {
            let mut items = Vec::new();
            for &side in self.sides() {
                let named = self.star_of(side).into_iter().map(|(item, name)| match side {
                    Side::Start => (item, format!("{}_{name}", self.label(side))),
                    Side::End => (item, name),
                });
                items.extend(named);
            }
            return Ok(items);
        };
        // A qualifier is one when a name may follow it.
        let mut parts = qualifier.to_vec();
        parts.push(TASK_COLUMNS[0].name.to_owned());
        let side =
            self.sides().iter().find(|&&side| self.without_qualifier(side, &parts).is_some_and(|rest| rest.len() == 1));
        side.map(|&side| self.star_of(side)).ok_or_else(|| {
            SqlError::new(
                SqlState::UNDEFINED_TABLE,
                format!("missing FROM-clause entry for table \"{}\"", qualifier.join(".")),
            )
            .at(position::of_span(self.text, span))
        })
    }

    fn star_of(&self, side: Side) -> Vec<(Expr, String)> {
        let qualified = |parts: Vec<Ident>| {
            let label = self.start.as_ref().map(|_| ident(self.label(side)));
            match label {
                Some(label) => Expr::CompoundIdentifier(std::iter::once(label).chain(parts).collect()),
                None if parts.len() == 1 => Expr::Identifier(parts[0].clone()),
                None => Expr::CompoundIdentifier(parts),
            }
        };
        let mut items = Vec::new();
        for column in TASK_COLUMNS.iter().filter(|column| is_visible(column.name)) {
            items.push((qualified(vec![Ident::new(column.name)]), column.name.to_owned()));
        }
        for field in &self.hook(side).fields {
            let path = || qualified(vec![Ident::new(ARGUMENTS), ident(&field.name)]);
            let collides =
                TASK_COLUMNS.iter().any(|column| column.name == field.name) || Mark::of_name(&field.name).is_some();
            let name = if collides { format!("{ARGUMENTS}_{}", field.name) } else { field.name.clone() };
            let item = match &field.ty {
                KernelType::UserPointer { to } if to == "char" => call("user_string", path()),
                KernelType::KernelPointer { to, .. } if to == "char" => call("kernel_string", path()),
                KernelType::Int { .. }
                | KernelType::Bool
                | KernelType::Enum { .. }
                | KernelType::CharArray { .. }
                | KernelType::ByteArray { .. }
                | KernelType::DataLocString => path(),
                KernelType::IntArray { .. }
                | KernelType::DataLocBytes
                | KernelType::UserPointer { .. }
                | KernelType::KernelPointer { .. }
                | KernelType::Aggregate { .. }
                | KernelType::Opaque { .. } => continue,
            };
            items.push((item, name));
        }
        items
    }
}

/// The name as a user would write it.
fn ident(name: &str) -> Ident {
    let plain = name == name.to_lowercase();
    if plain { Ident::new(name) } else { Ident::with_quote('"', name) }
}

fn call(function: &str, argument: Expr) -> Expr {
    use datafusion::sql::sqlparser::ast::{
        Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, ObjectName,
    };
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(function)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))],
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}
