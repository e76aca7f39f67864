//! What runs in the kernel and what after it.
//!
//! Conjunct by conjunct and column by column: an expression that the kernel can evaluate whole runs there; of any other
//! the record carries the columns and strings it names, and DataFusion evaluates it per batch.

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column as ColumnName, DFSchema, DataFusionError};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::{SqlError, SqlState};

use super::expression::{Expression, Kind, LeafId};
use super::leaf::Leaf;
use super::lower::Lowering;
use super::marks::{Mark, Marks};
use super::names::{Content, Scope};
use super::position;
use crate::functions::{memory, process};

/// A conjunct of the filter or an item of the select list, planned.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What it says.
    pub expr: Expr,
    /// Where the user wrote it.
    pub span: Span,
    /// What the user wrote.
    pub text: String,
}

/// A conjunct that the kernel evaluates.
#[derive(Clone, Debug)]
pub struct KernelFilter {
    /// What must be true.
    pub condition: Expression,
    /// Where the user wrote it.
    pub span: Span,
    /// What the user wrote.
    pub text: String,
}

/// What a column of the record carries.
#[derive(Clone, Debug, PartialEq)]
pub enum Carried {
    /// Something that is read.
    Leaf(LeafId),
    /// The value of an expression.
    Value(Expression),
    /// The event's time, which the record's header has.
    Time,
    /// What the header's word of marks says.
    Mark(Mark),
}

/// A column of the record, from the kernel to the part after it.
#[derive(Clone, Debug)]
pub struct RecordColumn {
    /// By which the expressions after the kernel name it.
    pub name: String,
    /// Its Arrow type there.
    pub data_type: DataType,
    /// Whether it can be NULL.
    pub nullable: bool,
    /// What it carries.
    pub carried: Carried,
    /// Where the user wrote what it is for.
    pub span: Span,
}

/// The two parts.
#[derive(Clone, Debug)]
pub struct Split {
    /// What programs read.
    pub leaves: Vec<Leaf>,
    /// The filter in the kernel, cheapest first.
    pub kernel_filters: Vec<KernelFilter>,
    /// The columns of the record.
    pub record: Vec<RecordColumn>,
    /// The filter after the kernel, over the record's columns.
    pub after_filters: Vec<Planned>,
    /// The outputs, over the record's columns.
    pub outputs: Vec<Planned>,
    /// For each output whether the kernel evaluates it or only carries what it needs.
    pub in_kernel: Vec<bool>,
    /// What is noted for the columns that tell of it.
    pub marks: Marks,
}

impl Split {
    /// The record's columns.
    pub fn record_schema(&self) -> Result<DFSchema, SqlError> {
        let fields = self.record.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true));
        DFSchema::try_from(Schema::new(fields.collect::<Vec<_>>()))
            .map_err(|error| SqlError::internal("cannot make the record's schema", error))
    }

    /// Whether the part after the kernel needs what processes' own events tell.
    pub fn asks_for_processes(&self) -> bool {
        self.after_filters.iter().chain(&self.outputs).any(|planned| process::asks(&planned.expr))
    }
}

/// Splits a query's filter and select list.
pub fn split(
    scope: &Scope<'_>,
    schema: &DFSchema,
    conjuncts: Vec<Planned>,
    outputs: Vec<Planned>,
) -> Result<Split, SqlError> {
    let (split, _) = split_inputs(scope, schema, conjuncts, outputs, &[])?;
    Ok(split)
}

/// What an aggregate looks at in an event.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its argument; `None` when only the event itself counts.
    pub value: Option<Expr>,
    /// What must be true for the event to count.
    pub condition: Option<Expr>,
    /// Its argument must be known after the kernel, whether or not the kernel could evaluate it.
    pub after_kernel: bool,
    /// Where the user wrote it.
    pub span: Span,
    /// What the user wrote.
    pub text: String,
}

/// Where an aggregate's input is evaluated.
#[derive(Clone, Debug, PartialEq)]
pub enum PlacedInput {
    /// For each event, in the kernel.
    Kernel {
        /// The argument.
        value: Option<Expression>,
        /// What must be true.
        condition: Option<Expression>,
    },
    /// For each group of the kernel, after it: what it needs is part of the key. Both are indexes of outputs.
    After {
        /// The argument.
        value: Option<usize>,
        /// What must be true.
        condition: Option<usize>,
    },
}

/// As [`split`], with inputs of aggregates: those that the kernel cannot evaluate become outputs behind the others.
pub fn split_inputs(
    scope: &Scope<'_>,
    schema: &DFSchema,
    conjuncts: Vec<Planned>,
    outputs: Vec<Planned>,
    inputs: &[Input],
) -> Result<(Split, Vec<PlacedInput>), SqlError> {
    let lowering = Lowering { columns: &scope.columns, schema, leaves: Vec::new() };
    let mut splitter = Splitter { scope, schema, lowering, record: Vec::new() };
    let mut kernel_filters = Vec::new();
    let mut after_filters = Vec::new();
    for Planned { expr, span, text } in conjuncts.into_iter().flat_map(parts) {
        splitter.check_pointers(&expr)?;
        match splitter.lowering.lower(&expr).filter(|lowered| lowered.kind == Kind::Boolean) {
            Some(condition) => kernel_filters.push(KernelFilter { condition, span, text }),
            None => after_filters.push(Planned { expr: splitter.carry(expr, span)?, span, text }),
        }
    }
    let mut in_kernel = Vec::new();
    let mut carried = Vec::new();
    for Planned { expr, span, text } in outputs {
        splitter.check_pointers(&expr)?;
        let (expr, whole) = splitter.output(expr, span)?;
        in_kernel.push(whole);
        carried.push(Planned { expr, span, text });
    }
    let mut placed = Vec::new();
    for input in inputs {
        placed.push(match splitter.kernel_input(input)? {
            Some(placed) => placed,
            None => {
                let mut after = |expr: &Option<Expr>| {
                    let Some(expr) = expr else { return Ok(None) };
                    let (expr, whole) = splitter.output(expr.clone(), input.span)?;
                    in_kernel.push(whole);
                    carried.push(Planned { expr, span: input.span, text: input.text.clone() });
                    Ok::<_, SqlError>(Some(carried.len() - 1))
                };
                let (value, condition) = (after(&input.value)?, after(&input.condition)?);
                PlacedInput::After { value, condition }
            }
        });
    }
    let Splitter { lowering: Lowering { leaves, .. }, record, .. } = splitter;
    kernel_filters.sort_by_cached_key(|filter| cost(&filter.condition, &leaves));
    let marks = Marks::default();
    Ok((Split { leaves, kernel_filters, record, after_filters, outputs: carried, in_kernel, marks }, placed))
}

/// Simplification may make a conjunction of one conjunct.
pub(super) fn parts(planned: Planned) -> Vec<Planned> {
    let Planned { expr, span, text } = planned;
    datafusion::logical_expr::utils::split_conjunction_owned(expr)
        .into_iter()
        .map(|expr| Planned { expr, span, text: text.clone() })
        .collect()
}

pub(super) fn cost(condition: &Expression, leaves: &[Leaf]) -> u32 {
    let mut cost = 0;
    condition.for_each_leaf(&mut |leaf| cost += leaves[leaf.0].cost());
    cost
}

struct Splitter<'a> {
    scope: &'a Scope<'a>,
    schema: &'a DFSchema,
    lowering: Lowering<'a>,
    record: Vec<RecordColumn>,
}

impl Splitter<'_> {
    /// The input as the kernel evaluates it; `None` when it cannot.
    fn kernel_input(&mut self, input: &Input) -> Result<Option<PlacedInput>, SqlError> {
        for expr in [&input.value, &input.condition].into_iter().flatten() {
            self.check_pointers(expr)?;
        }
        if input.after_kernel {
            return Ok(None);
        }
        let value = match &input.value {
            None => None,
            Some(expr) => match self.lowering.lower_number(expr) {
                Some(value) => Some(value),
                None => return Ok(None),
            },
        };
        let condition = match &input.condition {
            None => None,
            Some(expr) => match self.lowering.lower(expr).filter(|lowered| lowered.kind == Kind::Boolean) {
                Some(condition) => Some(condition),
                None => return Ok(None),
            },
        };
        Ok(Some(PlacedInput::Kernel { value, condition }))
    }

    /// The output over the record's columns, and whether the kernel evaluates all of it.
    fn output(&mut self, expr: Expr, span: Span) -> Result<(Expr, bool), SqlError> {
        let trivial = matches!(expr, Expr::Column(_) | Expr::Literal(..));
        if let Some(value) = if trivial { None } else { self.lowering.lower(&expr) } {
            let name = format!("#{}", self.record.len());
            let data_type = self.type_of(&expr, span)?;
            let column = RecordColumn { name, data_type, nullable: true, carried: Carried::Value(value), span };
            let name = self.add(column);
            return Ok((Expr::Column(ColumnName::new_unqualified(name)), true));
        }
        let is_read = matches!(&expr, Expr::ScalarFunction(function) if memory::reads_memory(function.name()));
        let is_column = trivial || is_read || self.lowering.bytes_leaf(&expr).is_some();
        Ok((self.carry(expr, span)?, is_column))
    }

    /// Replaces columns and memory functions by columns of the record.
    fn carry(&mut self, expr: Expr, span: Span) -> Result<Expr, SqlError> {
        let mut refused = None;
        let carried = expr.transform_down(|expr| {
            let column = match &expr {
                Expr::Column(column) => self.column(&column.name, span),
                Expr::ScalarFunction(function) if memory::reads_memory(function.name()) => {
                    self.memory(&expr, function, span)
                }
                _ => return Ok(Transformed::no(expr)),
            };
            match column {
                Ok(name) => {
                    Ok(Transformed::new(Expr::Column(ColumnName::new_unqualified(name)), true, TreeNodeRecursion::Jump))
                }
                Err(error) => {
                    refused = Some(error);
                    Err(DataFusionError::Plan("refused".into()))
                }
            }
        });
        match (carried, refused) {
            (Ok(carried), _) => Ok(carried.data),
            (Err(_), Some(error)) => Err(error),
            (Err(error), None) => Err(SqlError::internal("cannot split an expression", error)),
        }
    }

    fn column(&mut self, name: &str, span: Span) -> Result<String, SqlError> {
        let column = self
            .scope
            .columns
            .iter()
            .find(|column| column.name == name)
            .ok_or_else(|| SqlError::internal("a column got lost while planning", name.to_owned()))?;
        let carried = match &column.content {
            Content::Leaf(leaf) => Carried::Leaf(self.lowering.leaf(leaf.clone())),
            Content::Time => Carried::Time,
            Content::Mark(mark) => Carried::Mark(*mark),
            Content::Pointer(..) | Content::Enumeration { .. } | Content::Unknown => {
                return Err(SqlError::internal("a column without a value came through planning", name.to_owned()));
            }
        };
        let (name, data_type, nullable) = (column.name.clone(), column.data_type.clone(), column.nullable());
        Ok(self.add(RecordColumn { name, data_type, nullable, carried, span }))
    }

    fn memory(
        &mut self,
        expr: &Expr,
        function: &datafusion::logical_expr::expr::ScalarFunction,
        span: Span,
    ) -> Result<String, SqlError> {
        let leaf = self
            .lowering
            .memory(function)
            .map_err(|error| error.at(position::of_span(self.scope.text, span)))?
            .ok_or_else(|| SqlError::internal("a memory function without a leaf", function.name().to_owned()))?;
        let nullable = leaf.nullable();
        let carried = Carried::Leaf(self.lowering.leaf(leaf));
        Ok(self.add(RecordColumn {
            name: expr.schema_name().to_string(),
            data_type: self.type_of(expr, span)?,
            nullable,
            carried,
            span,
        }))
    }

    /// The name of the record's column, which it has now; columns that carry the same are one.
    fn add(&mut self, column: RecordColumn) -> String {
        let same = |known: &&RecordColumn| known.carried == column.carried && known.data_type == column.data_type;
        if let Some(known) = self.record.iter().find(same) {
            return known.name.clone();
        }
        self.record.push(column);
        self.record[self.record.len() - 1].name.clone()
    }

    fn type_of(&self, expr: &Expr, span: Span) -> Result<DataType, SqlError> {
        expr.get_type(self.schema).map_err(|error| {
            SqlError::internal("an expression lost its type", error).at(position::of_span(self.scope.text, span))
        })
    }

    /// A pointer may stand only in a function that reads what it points to.
    fn check_pointers(&self, expr: &Expr) -> Result<(), SqlError> {
        let mut bare = None;
        let walked = expr.apply(|expr| {
            match expr {
                Expr::ScalarFunction(function) if memory::reads_memory(function.name()) => {
                    return Ok(TreeNodeRecursion::Jump);
                }
                Expr::Column(column) => {
                    let known = self.scope.columns.iter().find(|known| known.name == column.name);
                    if let Some((known, Content::Pointer(_, space))) = known.map(|known| (known, &known.content)) {
                        bare = Some((known, *space));
                        return Ok(TreeNodeRecursion::Stop);
                    }
                }
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        });
        walked.map_err(|error| SqlError::internal("cannot walk an expression", error))?;
        let Some((column, space)) = bare else { return Ok(()) };
        let (whose, function) = match space {
            super::leaf::Space::User => ("a user-space", memory::USER_STRING),
            super::leaf::Space::Kernel => ("a kernel", memory::KERNEL_STRING),
        };
        Err(SqlError::new(SqlState::DATATYPE_MISMATCH, format!("column \"{}\" is {whose} pointer", column.name))
            .detail(format!("The kernel declares it as {}.", column.comment))
            .hint(format!("To read the string it points to, write {function}({}).", column.name))
            .at(position::of_span(self.scope.text, column.span)))
    }
}
