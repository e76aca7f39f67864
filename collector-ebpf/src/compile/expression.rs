//! Expressions as the kernel runs them: integers of 16, 32 and 64 bits, booleans, and tests on strings.
//!
//! Meaning is DataFusion's: three-valued logic, wrapping arithmetic, errors that make the whole expression NULL.

use std::collections::HashMap;

/// Index of a leaf in the program's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeafId(pub usize);

/// Bits of an integer; all are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "16, 32, 64 bits")]
pub enum Bits {
    B16,
    B32,
    B64,
}

impl Bits {
    /// The smallest value.
    pub fn min(self) -> i64 {
        match self {
            Bits::B16 => i64::from(i16::MIN),
            Bits::B32 => i64::from(i32::MIN),
            Bits::B64 => i64::MIN,
        }
    }

    /// The largest value.
    pub fn max(self) -> i64 {
        match self {
            Bits::B16 => i64::from(i16::MAX),
            Bits::B32 => i64::from(i32::MAX),
            Bits::B64 => i64::MAX,
        }
    }
}

/// What an expression's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 0 or 1.
    Boolean,
    /// A signed integer, sign-extended in its register.
    Integer(Bits),
}

/// Arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the operators' own names")]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

/// Comparison of two integers or two booleans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the operators' own names")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// Members of an `IN` list that are compared one by one; of more, one lookup in a map says whether the value is there.
pub const COMPARED_MAX: usize = 4;

/// Members of an `IN` list in the kernel; a longer list is looked through after it.
pub const MEMBERS_MAX: usize = 4096;

/// Bytes of a string that is looked up: the key is built in the program's stack. Longer ones are compared one by one.
pub const MEMBER_BYTES_MAX: usize = 126;

/// A test on a string's first bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StringTest {
    /// It is exactly this.
    Equals(Vec<u8>),
    /// It begins with this.
    StartsWith(Vec<u8>),
    /// It is exactly one of these, none longer than [`MEMBER_BYTES_MAX`]: one lookup for all.
    OneOf(Vec<Vec<u8>>),
}

/// An expression for the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expression {
    /// What its value is.
    pub kind: Kind,
    /// What it does.
    pub node: Node,
}

/// What an expression does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// NULL.
    Null,
    /// An integer, or 0 and 1 for a boolean.
    Literal(i64),
    /// A number or boolean that is read.
    Leaf(LeafId),
    /// Two integers of the same bits. A shift takes only the lowest bits of its right side: as many as number the bits.
    Arithmetic(Arithmetic, Box<Expression>, Box<Expression>),
    /// The integer below zero; wraps.
    Negate(Box<Expression>),
    /// Two values of the same kind.
    Compare(Comparison, Box<Expression>, Box<Expression>),
    /// Both; the right one is looked at only when the left one is not false.
    And(Box<Expression>, Box<Expression>),
    /// Either; the right one is looked at only when the left one is not true.
    Or(Box<Expression>, Box<Expression>),
    /// Not.
    Not(Box<Expression>),
    /// `IS NULL`
    IsNull(Box<Expression>),
    /// `IS TRUE` or `IS FALSE`
    Is(bool, Box<Expression>),
    /// `IS NULL` of a string or bytes.
    BytesIsNull(LeafId),
    /// A test on a string; NULL when the string is.
    Test(LeafId, StringTest),
    /// `IN` over literals; the flag says that NULL is among them.
    In(Box<Expression>, Vec<i64>, bool),
    /// `CASE WHEN … THEN … ELSE … END`; without ELSE the last one is NULL.
    Case(Vec<(Expression, Expression)>, Box<Expression>),
    /// The first that is not NULL.
    Coalesce(Vec<Expression>),
    /// To fewer or more bits, or between boolean and integer; the flag says that what does not fit is NULL instead of
    /// an error.
    Cast(Box<Expression>, bool),
}

impl Expression {
    /// A literal boolean.
    pub fn boolean(value: bool) -> Expression {
        Expression { kind: Kind::Boolean, node: Node::Literal(i64::from(value)) }
    }

    /// Calls `visit` for every leaf named.
    pub fn for_each_leaf(&self, visit: &mut impl FnMut(LeafId)) {
        match &self.node {
            Node::Null | Node::Literal(_) => {}
            Node::Leaf(leaf) | Node::BytesIsNull(leaf) | Node::Test(leaf, _) => visit(*leaf),
            Node::Arithmetic(_, left, right)
            | Node::Compare(_, left, right)
            | Node::And(left, right)
            | Node::Or(left, right) => {
                left.for_each_leaf(visit);
                right.for_each_leaf(visit);
            }
            Node::Negate(inner)
            | Node::Not(inner)
            | Node::IsNull(inner)
            | Node::Is(_, inner)
            | Node::In(inner, _, _)
            | Node::Cast(inner, _) => inner.for_each_leaf(visit),
            Node::Case(branches, otherwise) => {
                for (condition, value) in branches {
                    condition.for_each_leaf(visit);
                    value.for_each_leaf(visit);
                }
                otherwise.for_each_leaf(visit);
            }
            Node::Coalesce(values) => values.iter().for_each(|value| value.for_each_leaf(visit)),
        }
    }

    /// Gives every leaf its name in another program.
    pub fn rename_leaves(&mut self, names: &HashMap<LeafId, LeafId>) {
        let rename = |leaf: &mut LeafId| *leaf = names[leaf];
        match &mut self.node {
            Node::Null | Node::Literal(_) => {}
            Node::Leaf(leaf) | Node::BytesIsNull(leaf) | Node::Test(leaf, _) => rename(leaf),
            Node::Arithmetic(_, left, right)
            | Node::Compare(_, left, right)
            | Node::And(left, right)
            | Node::Or(left, right) => {
                left.rename_leaves(names);
                right.rename_leaves(names);
            }
            Node::Negate(inner)
            | Node::Not(inner)
            | Node::IsNull(inner)
            | Node::Is(_, inner)
            | Node::In(inner, _, _)
            | Node::Cast(inner, _) => inner.rename_leaves(names),
            Node::Case(branches, otherwise) => {
                for (condition, value) in branches {
                    condition.rename_leaves(names);
                    value.rename_leaves(names);
                }
                otherwise.rename_leaves(names);
            }
            Node::Coalesce(values) => values.iter_mut().for_each(|value| value.rename_leaves(names)),
        }
    }

    /// Whether evaluating it can fail for a row.
    pub fn can_fail(&self) -> bool {
        match &self.node {
            Node::Null | Node::Literal(_) | Node::Leaf(_) | Node::BytesIsNull(_) | Node::Test(..) => false,
            Node::Arithmetic(Arithmetic::Divide | Arithmetic::Remainder, ..) => true,
            Node::Arithmetic(_, left, right)
            | Node::Compare(_, left, right)
            | Node::And(left, right)
            | Node::Or(left, right) => left.can_fail() || right.can_fail(),
            Node::Negate(inner) | Node::Not(inner) | Node::IsNull(inner) | Node::Is(_, inner) => inner.can_fail(),
            Node::In(inner, _, _) => inner.can_fail(),
            Node::Case(branches, otherwise) => {
                otherwise.can_fail()
                    || branches.iter().any(|(condition, value)| condition.can_fail() || value.can_fail())
            }
            Node::Coalesce(values) => values.iter().any(Expression::can_fail),
            Node::Cast(inner, or_null) => {
                let narrows = match (inner.kind, self.kind) {
                    (Kind::Integer(from), Kind::Integer(to)) => to < from,
                    _ => false,
                };
                inner.can_fail() || (narrows && !or_null)
            }
        }
    }

    /// Operators and leaves: what a bound on the size of expressions counts.
    pub fn size(&self) -> usize {
        let mut size = 1;
        match &self.node {
            Node::Null | Node::Literal(_) | Node::Leaf(_) | Node::BytesIsNull(_) | Node::Test(..) => {}
            Node::Arithmetic(_, left, right)
            | Node::Compare(_, left, right)
            | Node::And(left, right)
            | Node::Or(left, right) => size += left.size() + right.size(),
            Node::Negate(inner)
            | Node::Not(inner)
            | Node::IsNull(inner)
            | Node::Is(_, inner)
            | Node::Cast(inner, _) => size += inner.size(),
            // A lookup costs the same for any number.
            Node::In(inner, values, _) => {
                size += inner.size() + if values.len() > COMPARED_MAX { 1 } else { values.len() };
            }
            Node::Case(branches, otherwise) => {
                size += otherwise.size();
                size += branches.iter().map(|(condition, value)| condition.size() + value.size()).sum::<usize>();
            }
            Node::Coalesce(values) => size += values.iter().map(Expression::size).sum::<usize>(),
        }
        size
    }
}
