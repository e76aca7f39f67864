//! DataFusion's expressions to the kernel's, where the kernel can.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{InList, Like, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, Operator};
use probepilot_sql::{SqlError, SqlState};

use super::expression::{
    Arithmetic, Bits, COMPARED_MAX, Comparison, Expression, Kind, LeafId, MEMBER_BYTES_MAX, MEMBERS_MAX, Node,
    StringTest,
};
use super::leaf::{Leaf, STRING_BYTES_DEFAULT, STRING_BYTES_MAX, Space, StringAt, TaskFact};
use super::names::{Column, Content};
use crate::functions::memory;

/// Operators and leaves of one expression in the kernel; larger ones run after it. Keeps programs far below the
/// verifier's limits.
const EXPRESSION_SIZE_MAX: usize = 256;

/// Lowers expressions and collects the leaves they name.
pub struct Lowering<'a> {
    /// The query's columns.
    pub columns: &'a [Column],
    /// The same as the planner sees them.
    pub schema: &'a DFSchema,
    /// Every leaf named so far, once.
    pub leaves: Vec<Leaf>,
}

impl Lowering<'_> {
    /// The leaf's index.
    pub fn leaf(&mut self, leaf: Leaf) -> LeafId {
        let index = self.leaves.iter().position(|known| *known == leaf).unwrap_or_else(|| {
            self.leaves.push(leaf);
            self.leaves.len() - 1
        });
        LeafId(index)
    }

    /// The expression for the kernel; `None` when it must run after it.
    pub fn lower(&mut self, expr: &Expr) -> Option<Expression> {
        if !fits(expr) {
            return None;
        }
        // Leaves of an expression that turns out not to fit are not named by the program.
        let leaves = self.leaves.len();
        let lowered = self.expression(expr).filter(|lowered| lowered.size() <= EXPRESSION_SIZE_MAX);
        if lowered.is_none() {
            self.leaves.truncate(leaves);
        }
        lowered
    }

    /// As [`Lowering::lower`], where the event's time may stand for itself: it is the clock then.
    pub fn lower_number(&mut self, expr: &Expr) -> Option<Expression> {
        let is_time = matches!(expr, Expr::Column(column) if self.column(&column.name)?.content == Content::Time);
        if is_time {
            let node = Node::Leaf(self.leaf(Leaf::Task(TaskFact::Nsecs)));
            return Some(Expression { kind: Kind::Integer(Bits::B64), node });
        }
        self.lower(expr)
    }

    /// The leaf whose bytes are the value of a text or bytes expression.
    pub fn bytes_leaf(&mut self, expr: &Expr) -> Option<LeafId> {
        match expr {
            Expr::Column(column) => match &self.column(&column.name)?.content {
                Content::Leaf(Leaf::Number { .. }) => None,
                Content::Leaf(leaf) => {
                    let leaf = leaf.clone();
                    let is_bytes =
                        leaf.is_read() || matches!(leaf, Leaf::ContextBytes { .. } | Leaf::Task(TaskFact::Comm));
                    is_bytes.then(|| self.leaf(leaf))
                }
                Content::Time
                | Content::Mark(_)
                | Content::Pointer(..)
                | Content::Enumeration { .. }
                | Content::Unknown => None,
            },
            Expr::ScalarFunction(function) if memory::reads_string(function.name()) => {
                let leaf = self.string(function).ok()??;
                Some(self.leaf(leaf))
            }
            Expr::Cast(cast) if is_text(cast.field.data_type()) => {
                let inner = cast.expr.get_type(self.schema).ok()?;
                is_text(&inner).then(|| self.bytes_leaf(&cast.expr)).flatten()
            }
            _ => None,
        }
    }

    /// The leaf of a call that reads a string; `None` when its argument is text already.
    pub fn string(&self, function: &ScalarFunction) -> Result<Option<Leaf>, SqlError> {
        let name = function.name();
        let bytes_max = match function.args.get(1) {
            None => STRING_BYTES_DEFAULT,
            Some(Expr::Literal(ScalarValue::Int64(Some(bytes)), _)) => {
                u16::try_from(*bytes).ok().filter(|bytes| (1..=STRING_BYTES_MAX).contains(bytes)).ok_or_else(|| {
                    SqlError::new(
                        SqlState::INVALID_PARAMETER_VALUE,
                        format!("the maximum of {name} must lie between 1 and {STRING_BYTES_MAX} bytes"),
                    )
                })?
            }
            Some(_) => {
                return Err(SqlError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("the maximum of {name} must be a whole number"),
                ));
            }
        };
        let Some(Expr::Column(argument)) = function.args.first() else {
            return Err(SqlError::unsupported(format!("{name} takes a column, not an expression")));
        };
        let column = self
            .column(&argument.name)
            .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_COLUMN, "unknown column in a memory function"))?;
        let leaf = column.content.leaf();
        let (place, declared) = match (&column.content, leaf) {
            (Content::Pointer(place, space), _) => (place.clone(), *space),
            // An address in an integer: arguments of raw hooks.
            (_, Some(Leaf::Number { place, bits: None, .. })) if column.data_type == DataType::Int64 => {
                (place.clone(), Space::Kernel)
            }
            (_, Some(Leaf::String { at, space, .. })) => {
                let string = Leaf::String { at: at.clone(), space: *space, bytes_max };
                return Ok(Some(string.of(column.side)));
            }
            (Content::Leaf(leaf), _) if is_text(&column.data_type) => return Ok(Some(leaf.clone())),
            _ => {
                return Err(SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!("{name} takes a pointer, but column \"{}\" is none", argument.name),
                ));
            }
        };
        let space = match name {
            memory::USER_STRING => Space::User,
            memory::KERNEL_STRING => Space::Kernel,
            _ => declared,
        };
        if matches!(column.content, Content::Pointer(..)) && space != declared {
            let right = if declared == Space::User { memory::USER_STRING } else { memory::KERNEL_STRING };
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("{name} cannot read column \"{}\"", argument.name),
            )
            .hint(format!("Write {right}({}).", argument.name)));
        }
        Ok(Some(Leaf::String { at: StringAt::Pointer(place), space, bytes_max }.of(column.side)))
    }

    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    fn expression(&mut self, expr: &Expr) -> Option<Expression> {
        let data_type = expr.get_type(self.schema).ok()?;
        let kind = match data_type {
            DataType::Boolean => Kind::Boolean,
            DataType::Int16 => Kind::Integer(Bits::B16),
            DataType::Int32 => Kind::Integer(Bits::B32),
            DataType::Int64 => Kind::Integer(Bits::B64),
            _ => return None,
        };
        Some(Expression { kind, node: self.node(expr)? })
    }

    fn boxed(&mut self, expr: &Expr) -> Option<Box<Expression>> {
        self.expression(expr).map(Box::new)
    }

    fn node(&mut self, expr: &Expr) -> Option<Node> {
        Some(match expr {
            Expr::Alias(alias) => return self.node(&alias.expr),
            Expr::Literal(value, _) => return literal(value),
            Expr::Column(column) => match &self.column(&column.name)?.content {
                Content::Leaf(leaf) => {
                    let leaf = leaf.clone();
                    Node::Leaf(self.leaf(leaf))
                }
                Content::Time
                | Content::Mark(_)
                | Content::Pointer(..)
                | Content::Enumeration { .. }
                | Content::Unknown => return None,
            },
            Expr::BinaryExpr(binary) => return self.binary(binary),
            Expr::Not(inner) => Node::Not(self.boxed(inner)?),
            // DataFusion wraps a column's least number, but a constant's is an error, also one that a branch gave to all
            // rows of a batch.
            Expr::Negative(inner) if inner.column_refs().is_empty() || has_least_number(inner) => return None,
            Expr::Negative(inner) => Node::Negate(self.boxed(inner)?),
            Expr::IsNull(inner) => self.is_null(inner)?,
            Expr::IsNotNull(inner) => {
                let node = self.is_null(inner)?;
                Node::Not(Box::new(Expression { kind: Kind::Boolean, node }))
            }
            Expr::IsTrue(inner) => Node::Is(true, self.boxed(inner)?),
            Expr::IsFalse(inner) => Node::Is(false, self.boxed(inner)?),
            Expr::IsUnknown(inner) => Node::IsNull(self.boxed(inner)?),
            Expr::IsNotTrue(inner) => not(Node::Is(true, self.boxed(inner)?)),
            Expr::IsNotFalse(inner) => not(Node::Is(false, self.boxed(inner)?)),
            Expr::IsNotUnknown(inner) => not(Node::IsNull(self.boxed(inner)?)),
            Expr::Between(between) => {
                let low = Node::Compare(
                    Comparison::GreaterEqual,
                    self.boxed(&between.expr)?,
                    self.same(&between.expr, &between.low)?,
                );
                let high = Node::Compare(
                    Comparison::LessEqual,
                    self.boxed(&between.expr)?,
                    self.same(&between.expr, &between.high)?,
                );
                let both = Node::And(truth(low), truth(high));
                if between.negated { not(both) } else { both }
            }
            Expr::InList(list) => return self.in_list(list),
            Expr::Like(like) => return self.like(like),
            Expr::Case(case) => return self.case(expr, case),
            Expr::Cast(cast) => Node::Cast(self.boxed(&cast.expr)?, false),
            Expr::TryCast(cast) => Node::Cast(self.boxed(&cast.expr)?, true),
            Expr::ScalarFunction(function) => return self.function(function),
            _ => return None,
        })
    }

    /// The other side of a comparison, if it has the same type.
    fn same(&mut self, one: &Expr, other: &Expr) -> Option<Box<Expression>> {
        let same = one.get_type(self.schema).ok()? == other.get_type(self.schema).ok()?;
        same.then(|| self.boxed(other)).flatten()
    }

    fn is_null(&mut self, inner: &Expr) -> Option<Node> {
        if let Some(leaf) = self.bytes_leaf(inner) {
            return Some(Node::BytesIsNull(leaf));
        }
        Some(Node::IsNull(self.boxed(inner)?))
    }

    fn binary(&mut self, binary: &BinaryExpr) -> Option<Node> {
        let BinaryExpr { left, op, right } = binary;
        let comparison = match op {
            Operator::And => return Some(Node::And(self.boxed(left)?, self.boxed(right)?)),
            Operator::Or => return Some(Node::Or(self.boxed(left)?, self.boxed(right)?)),
            Operator::Eq => Comparison::Equal,
            Operator::NotEq => Comparison::NotEqual,
            Operator::Lt => Comparison::Less,
            Operator::LtEq => Comparison::LessEqual,
            Operator::Gt => Comparison::Greater,
            Operator::GtEq => Comparison::GreaterEqual,
            Operator::Plus => return self.arithmetic(Arithmetic::Add, left, right),
            Operator::Minus => return self.arithmetic(Arithmetic::Subtract, left, right),
            Operator::Multiply => return self.arithmetic(Arithmetic::Multiply, left, right),
            Operator::Divide => return self.arithmetic(Arithmetic::Divide, left, right),
            Operator::Modulo => return self.arithmetic(Arithmetic::Remainder, left, right),
            Operator::BitwiseAnd => return self.arithmetic(Arithmetic::And, left, right),
            Operator::BitwiseOr => return self.arithmetic(Arithmetic::Or, left, right),
            Operator::BitwiseXor => return self.arithmetic(Arithmetic::Xor, left, right),
            Operator::BitwiseShiftLeft => return self.arithmetic(Arithmetic::ShiftLeft, left, right),
            Operator::BitwiseShiftRight => return self.arithmetic(Arithmetic::ShiftRight, left, right),
            Operator::IsNotDistinctFrom => return self.same_or_both_null(left, right),
            Operator::IsDistinctFrom => return self.same_or_both_null(left, right).map(not),
            _ => return None,
        };
        if matches!(comparison, Comparison::Equal | Comparison::NotEqual) {
            let sides = match (text_literal(left), text_literal(right)) {
                (None, Some(text)) => Some((left, text)),
                (Some(text), None) => Some((right, text)),
                _ => None,
            };
            if let Some((side, text)) = sides {
                let test = Node::Test(self.bytes_leaf(side)?, StringTest::Equals(comparable(text)?));
                return Some(if comparison == Comparison::Equal { test } else { not(test) });
            }
        }
        Some(Node::Compare(comparison, self.boxed(left)?, self.same(left, right)?))
    }

    /// Equal, or both NULL: never NULL itself.
    fn same_or_both_null(&mut self, left: &Expr, right: &Expr) -> Option<Node> {
        let equal = BinaryExpr::new(Box::new(left.clone()), Operator::Eq, Box::new(right.clone()));
        let same = Node::Is(true, truth(self.binary(&equal)?));
        let never_null = |side: &Expr| matches!(side, Expr::Literal(value, _) if !value.is_null());
        if never_null(left) || never_null(right) {
            return Some(same);
        }
        let both_null = Node::And(truth(self.is_null(left)?), truth(self.is_null(right)?));
        Some(Node::Or(truth(same), truth(both_null)))
    }

    fn arithmetic(&mut self, operation: Arithmetic, left: &Expr, right: &Expr) -> Option<Node> {
        let (left, right) = (self.boxed(left)?, self.same(left, right)?);
        matches!(left.kind, Kind::Integer(_)).then_some(Node::Arithmetic(operation, left, right))
    }

    fn in_list(&mut self, list: &InList) -> Option<Node> {
        if list.list.len() > MEMBERS_MAX {
            return None;
        }
        let node = match self.bytes_leaf(&list.expr) {
            Some(leaf) => one_of(leaf, &list.list)?,
            None => {
                let wanted = list.expr.get_type(self.schema).ok()?;
                let (mut numbers, mut has_null) = (Vec::new(), false);
                for item in &list.list {
                    let Expr::Literal(value, _) = item else { return None };
                    match literal(value)? {
                        Node::Null => has_null = true,
                        Node::Literal(number) if value.data_type() == wanted => numbers.push(number),
                        _ => return None,
                    }
                }
                Node::In(self.boxed(&list.expr)?, numbers, has_null)
            }
        };
        Some(if list.negated { not(node) } else { node })
    }

    fn like(&mut self, like: &Like) -> Option<Node> {
        if like.case_insensitive || like.escape_char.is_some() {
            return None;
        }
        let test = like_test(text_literal(&like.pattern)?)?;
        let node = Node::Test(self.bytes_leaf(&like.expr)?, test);
        Some(if like.negated { not(node) } else { node })
    }

    fn case(&mut self, expr: &Expr, case: &Case) -> Option<Node> {
        let mut branches = Vec::new();
        for (when, then) in &case.when_then_expr {
            let condition = match &case.expr {
                None => self.expression(when)?,
                Some(operand) => {
                    let equal = BinaryExpr::new(operand.clone(), Operator::Eq, when.clone());
                    let equal = Expression { kind: Kind::Boolean, node: self.binary(&equal)? };
                    // Unlike a comparison, DataFusion does not look at WHEN when the operand is NULL.
                    if self.expression(when).is_some_and(|when| when.can_fail()) {
                        return None;
                    }
                    equal
                }
            };
            branches.push((condition, self.branch_value(expr, then)?));
        }
        let otherwise = match &case.else_expr {
            Some(otherwise) => self.branch_value(expr, otherwise)?,
            None => Expression { kind: self.expression_kind(expr)?, node: Node::Null },
        };
        Some(Node::Case(branches, Box::new(otherwise)))
    }

    fn expression_kind(&self, expr: &Expr) -> Option<Kind> {
        Some(match expr.get_type(self.schema).ok()? {
            DataType::Boolean => Kind::Boolean,
            DataType::Int16 => Kind::Integer(Bits::B16),
            DataType::Int32 => Kind::Integer(Bits::B32),
            DataType::Int64 => Kind::Integer(Bits::B64),
            _ => return None,
        })
    }

    /// A value of a CASE or coalesce: of its type, or a bare NULL.
    fn branch_value(&mut self, whole: &Expr, value: &Expr) -> Option<Expression> {
        let kind = self.expression_kind(whole)?;
        if matches!(value, Expr::Literal(literal, _) if literal.is_null()) {
            return Some(Expression { kind, node: Node::Null });
        }
        self.expression(value).filter(|value| value.kind == kind)
    }

    fn function(&mut self, function: &ScalarFunction) -> Option<Node> {
        match (function.name(), function.args.as_slice()) {
            ("starts_with", [text, prefix]) => {
                let prefix = comparable(text_literal(prefix)?)?;
                Some(Node::Test(self.bytes_leaf(text)?, StringTest::StartsWith(prefix)))
            }
            ("coalesce", values) => {
                let whole = Expr::ScalarFunction(function.clone());
                let values: Option<Vec<_>> = values.iter().map(|value| self.branch_value(&whole, value)).collect();
                Some(Node::Coalesce(values?))
            }
            _ => None,
        }
    }
}

/// Whether the string is one of the literals: false is NULL when NULL is among them.
fn one_of(leaf: LeafId, list: &[Expr]) -> Option<Node> {
    let (mut tests, mut members, mut has_null) = (Vec::new(), Vec::new(), false);
    for item in list {
        match item {
            Expr::Literal(value, _) if value.is_null() => has_null = true,
            _ => members.push(comparable(text_literal(item)?)?),
        }
    }
    if members.len() > COMPARED_MAX {
        let (looked_up, compared) = members.into_iter().partition(|member| member.len() <= MEMBER_BYTES_MAX);
        members = compared;
        tests.push(Node::Test(leaf, StringTest::OneOf(looked_up)));
    }
    tests.extend(members.into_iter().map(|member| Node::Test(leaf, StringTest::Equals(member))));
    tests.extend(has_null.then_some(Node::Null));
    tests.into_iter().reduce(|before, test| Node::Or(truth(before), truth(test)))
}

/// Whether the expression has few enough nodes to be walked by plain recursion; a chain of ORs is as deep as it is long.
/// Literals do not count: nothing is below them, and a list may have many.
fn fits(expr: &Expr) -> bool {
    let mut nodes = 0;
    let walked = expr.apply(|expr| {
        nodes += usize::from(!matches!(expr, Expr::Literal(..)));
        Ok(if nodes > 2 * EXPRESSION_SIZE_MAX { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walked.is_ok() && nodes <= 2 * EXPRESSION_SIZE_MAX
}

/// Whether a constant in it is the least number of its type or of a narrower one.
fn has_least_number(expr: &Expr) -> bool {
    let least = [i64::from(i16::MIN), i64::from(i32::MIN), i64::MIN];
    expr.exists(|expr| {
        let Expr::Literal(value, _) = expr else { return Ok(false) };
        Ok(matches!(literal(value), Some(Node::Literal(number)) if least.contains(&number)))
    })
    .unwrap_or(true)
}

fn truth(node: Node) -> Box<Expression> {
    Box::new(Expression { kind: Kind::Boolean, node })
}

fn not(node: Node) -> Node {
    Node::Not(truth(node))
}

fn literal(value: &ScalarValue) -> Option<Node> {
    if value.is_null() {
        return Some(Node::Null);
    }
    Some(Node::Literal(match value {
        ScalarValue::Boolean(Some(value)) => i64::from(*value),
        ScalarValue::Int16(Some(value)) => i64::from(*value),
        ScalarValue::Int32(Some(value)) => i64::from(*value),
        ScalarValue::Int64(Some(value)) => *value,
        _ => return None,
    }))
}

/// Whether the type is text.
pub fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// The text of a literal.
pub fn text_literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)),
            _,
        ) => Some(text),
        _ => None,
    }
}

/// The bytes to compare with; `None` when comparing the kernel's raw bytes would not mean the same: a NUL ends a
/// string there, and the replacement character stands for invalid bytes only in the row.
fn comparable(text: &str) -> Option<Vec<u8>> {
    (!text.contains(['\0', char::REPLACEMENT_CHARACTER])).then(|| text.as_bytes().to_vec())
}

/// The test that a LIKE pattern is, when it is one for the first bytes.
fn like_test(pattern: &str) -> Option<StringTest> {
    if pattern.contains(['_', '\\']) {
        return None;
    }
    match pattern.find('%') {
        None => Some(StringTest::Equals(comparable(pattern)?)),
        Some(first) if pattern[first..].chars().all(|character| character == '%') => {
            Some(StringTest::StartsWith(comparable(&pattern[..first])?))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_patterns_on_the_first_bytes_run_in_the_kernel() {
        assert_eq!(like_test("/etc/%"), Some(StringTest::StartsWith(b"/etc/".to_vec())));
        assert_eq!(like_test("bash"), Some(StringTest::Equals(b"bash".to_vec())));
        assert_eq!(like_test("%"), Some(StringTest::StartsWith(vec![])));
        assert_eq!(like_test("%x"), None);
        assert_eq!(like_test("a_c"), None);
        assert_eq!(like_test("a\\%"), None);
    }
}
