//! Random expressions and rows: what our instructions compute in a user-space machine against what DataFusion computes
//! for the same row. DataFusion's errors read as NULL.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int16Array, Int32Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow::datatypes::{DataType, Field, Int16Type, Int32Type, Int64Type, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column as ColumnName, DFSchema};
use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::SelectItem;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::{facts, fixture_kernel, probe_query};
use crate::compile::assemble::{Alu, Assembler, CONTEXT, R0, R1, RECORD, Width};
use crate::compile::bind::{self, Binder};
use crate::compile::clauses;
use crate::compile::evaluate::{Evaluator, Frame};
use crate::compile::expression::LeafId;
use crate::compile::lower::Lowering;
use crate::compile::names::Scope;
use crate::compile::read::{Sources, TaskOffsets, helper};
use crate::functions::memory;
use crate::kernel::{Hook, HookContext, HookField, HookKind, Kernel, KernelType, Labels, Place};
use crate::object::{Insn, MapRef, MemberSet};

const CONTEXT_BYTES: usize = 64;
/// Result and status, then room for a string.
const RECORD_BYTES: usize = 16 + 264;

fn hook() -> Hook {
    let field = |name: &str, ty: KernelType, offset: u16| HookField {
        name: name.into(),
        ty,
        place: Place::ContextOffset { offset },
        declaration: name.into(),
        labels: Labels::default(),
    };
    let int = |bytes, signed| KernelType::Int { bytes, signed };
    Hook {
        kind: HookKind::Tracepoint,
        group: "test".into(),
        name: "test".into(),
        context: HookContext::Task,
        fields: vec![
            field("a", int(8, true), 0),
            field("b", int(4, true), 8),
            field("c", int(2, true), 12),
            field("d", KernelType::Bool, 14),
            field("u", int(4, false), 16),
            field("s", KernelType::CharArray { length: 16 }, 24),
            field("p", KernelType::UserPointer { to: "char".into() }, 40),
            // Odd place: put together from pieces.
            field("e", int(4, true), 50),
        ],
        tracepoint_id: None,
        btf_id: None,
        sampling: None,
    }
}

/// One event. `p` is `None` where the memory cannot be read.
#[derive(Clone, Debug)]
struct Row {
    a: i64,
    b: i32,
    c: i16,
    d: bool,
    u: u32,
    e: i32,
    s: String,
    p: Option<String>,
}

impl Row {
    /// The context as the kernel would hand it over; `string` is what `p` points to.
    fn context(&self, string: &[u8]) -> [u8; CONTEXT_BYTES] {
        let mut bytes = [0; CONTEXT_BYTES];
        bytes[0..8].copy_from_slice(&self.a.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.b.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.c.to_le_bytes());
        bytes[14] = u8::from(self.d);
        bytes[16..20].copy_from_slice(&self.u.to_le_bytes());
        bytes[24..24 + self.s.len()].copy_from_slice(self.s.as_bytes());
        let pointer = if self.p.is_some() { string.as_ptr() as u64 } else { 0 };
        bytes[40..48].copy_from_slice(&pointer.to_le_bytes());
        bytes[50..54].copy_from_slice(&self.e.to_le_bytes());
        bytes
    }

    /// The value of a column as DataFusion takes it.
    fn array(&self, column: &str) -> ArrayRef {
        match column {
            "a" => Arc::new(Int64Array::from(vec![self.a])),
            "b" => Arc::new(Int32Array::from(vec![self.b])),
            "c" => Arc::new(Int16Array::from(vec![self.c])),
            "d" => Arc::new(BooleanArray::from(vec![self.d])),
            "u" => Arc::new(Int64Array::from(vec![i64::from(self.u)])),
            "e" => Arc::new(Int32Array::from(vec![self.e])),
            "s" => Arc::new(StringViewArray::from(vec![self.s.as_str()])),
            _ => Arc::new(StringViewArray::from(vec![self.p.as_deref()])),
        }
    }
}

/// What a row's expression is: a number, 0 and 1 for truth, or NULL.
type Value = Option<i64>;

struct Case {
    schema: Arc<Schema>,
    oracle: Arc<dyn datafusion::physical_expr::PhysicalExpr>,
    program: Vec<u8>,
    sets: Vec<MemberSet>,
}

/// The expression as a program and as DataFusion's; `None` when it is not the kernel's.
fn prepare(kernel: &Kernel, binder: &Binder, sql: &str) -> Option<Case> {
    let text = format!("SELECT {sql} FROM tracepoint.test");
    let query = probe_query(&text);
    let clauses = clauses::read(&query).unwrap();
    let SelectItem::UnnamedExpr(expression) = &clauses.items[0] else { panic!("one expression") };
    let mut scope = Scope {
        kernel,
        hook: Arc::new(hook()),
        alias: None,
        start: None,
        text: &text,
        columns: Vec::new(),
        notices: Vec::new(),
    };
    let mut expression = expression.clone();
    scope.resolve(&mut expression).unwrap();
    // Constants that fail are refused when planned.
    let expr = binder.bind(expression, &scope).ok()?;
    let schema = bind::schema(&scope.columns).unwrap();
    let mut lowering = Lowering { columns: &scope.columns, schema: &schema, leaves: Vec::new() };
    let lowered = lowering.lower(&expr)?;
    let leaves = lowering.leaves;

    let offsets = (0..leaves.len()).map(|leaf| (LeafId(leaf), 16)).collect::<HashMap<_, _>>();
    let mut sources = Sources::new(&leaves, TaskOffsets::default(), offsets);
    let (mut assembler, mut frame) = (Assembler::new(), Frame::default());
    assembler.mov(CONTEXT, R1);
    assembler.mov(RECORD, R1);
    assembler.alu_imm(Alu::Add, RECORD, CONTEXT_BYTES as i32);
    for leaf in 0..leaves.len() {
        sources.fetch(&mut assembler, &mut frame, LeafId(leaf));
    }
    let (null, error, end) = (assembler.label(), assembler.label(), assembler.label());
    Evaluator { assembler: &mut assembler, frame: &mut frame, leaves: &sources, error }.value(&lowered, null);
    assembler.store(Width::Eight, RECORD, 0, R0);
    assembler.store_imm(Width::Eight, RECORD, 8, 0);
    assembler.jump(end);
    assembler.place(null);
    assembler.store_imm(Width::Eight, RECORD, 8, 1);
    assembler.jump(end);
    assembler.place(error);
    assembler.store_imm(Width::Eight, RECORD, 8, 2);
    assembler.place(end);
    assembler.load_number(R0, 0);
    assembler.exit();
    if frame.overflowed() {
        return None;
    }
    let mut assembled = assembler.finish().unwrap();
    for (index, map) in &assembled.map_uses {
        let MapRef::Set(set) = map else { panic!("an expression has no maps but lists") };
        // To the machine a map is the number of its list.
        assembled.insns[*index] = Insn { src: 0, imm: i32::from(*set), ..assembled.insns[*index] };
    }
    let program = assembled.insns.into_iter().flat_map(Insn::bytes).collect();
    let sets = assembled.sets;

    // The strings behind pointers are columns to DataFusion.
    let oracle = expr
        .transform_up(|expr| match &expr {
            Expr::ScalarFunction(function) if memory::reads_memory(function.name()) => {
                Ok(Transformed::yes(Expr::Column(ColumnName::new_unqualified("p"))))
            }
            _ => Ok(Transformed::no(expr)),
        })
        .unwrap()
        .data;
    let fields: Vec<Field> = ["a", "b", "c", "d", "u", "e", "s", "p"]
        .into_iter()
        .map(|name| {
            let data_type = match name {
                "a" | "u" => DataType::Int64,
                "b" | "e" => DataType::Int32,
                "c" => DataType::Int16,
                "d" => DataType::Boolean,
                _ => DataType::Utf8View,
            };
            Field::new(name, data_type, true)
        })
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let planner_schema = DFSchema::try_from(schema.as_ref().clone()).unwrap();
    let oracle = binder.state().create_physical_expr(oracle, &planner_schema).unwrap();
    Some(Case { schema, oracle, program, sets })
}

fn run_ours(case: &Case, row: &Row) -> Value {
    let string = std::ffi::CString::new(row.p.clone().unwrap_or_default()).unwrap();
    let mut memory = [0_u8; CONTEXT_BYTES + RECORD_BYTES];
    memory[..CONTEXT_BYTES].copy_from_slice(&row.context(string.as_bytes_with_nul()));
    let mut machine = rbpf::EbpfVmRaw::new(Some(&case.program)).unwrap();
    machine.register_helper(helper::PROBE_READ_USER_STR as u32, read_string).unwrap();
    machine.register_helper(helper::PROBE_READ_KERNEL_STR as u32, read_string).unwrap();
    machine.register_helper(helper::MAP_LOOKUP as u32, look_up).unwrap();
    SETS.set(case.sets.clone());
    machine.execute_program(&mut memory).unwrap();
    let word = |offset: usize| {
        let at = CONTEXT_BYTES + offset;
        i64::from_le_bytes(memory[at..at + 8].try_into().unwrap())
    };
    (word(8) == 0).then(|| word(0))
}

/// The kernel's helper: copies a string with its NUL, returns the bytes copied or an error.
fn read_string(to: u64, bytes: u64, from: u64, _: u64, _: u64) -> u64 {
    if from == 0 {
        return -14_i64 as u64;
    }
    let mut copied = 0;
    loop {
        // SAFETY: from a C string that lives while the program runs, or from a place of the program's that is as long as
        // the program says.
        let byte = if copied + 1 < bytes as usize { unsafe { *(from as *const u8).add(copied) } } else { 0 };
        // SAFETY: the program passes a place in its record or frame with room for `bytes`.
        unsafe { *(to as *mut u8).add(copied) = byte };
        copied += 1;
        if byte == 0 {
            return copied as u64;
        }
    }
}

thread_local! {
    /// The lists of the program that this thread runs.
    static SETS: RefCell<Vec<MemberSet>> = const { RefCell::new(Vec::new()) };
}

/// The kernel's helper: an address when the key is in the map, else zero.
fn look_up(map: u64, key: u64, _: u64, _: u64, _: u64) -> u64 {
    SETS.with_borrow(|sets| {
        let set = &sets[map as usize];
        // SAFETY: the program passes a key of the map's size in its frame.
        let key = unsafe { std::slice::from_raw_parts(key as *const u8, set.key_bytes as usize) };
        u64::from(set.keys.contains(key))
    })
}

fn run_datafusion(case: &Case, row: &Row) -> Value {
    let columns = case.schema.fields().iter().map(|field| row.array(field.name())).collect();
    let batch = RecordBatch::try_new(Arc::clone(&case.schema), columns).unwrap();
    let values = case.oracle.evaluate(&batch).and_then(|values| values.into_array(1)).ok()?;
    if values.is_null(0) {
        return None;
    }
    Some(match values.data_type() {
        DataType::Boolean => i64::from(values.as_boolean().value(0)),
        DataType::Int16 => i64::from(values.as_primitive::<Int16Type>().value(0)),
        DataType::Int32 => i64::from(values.as_primitive::<Int32Type>().value(0)),
        _ => values.as_primitive::<Int64Type>().value(0),
    })
}

fn number_literal() -> impl Strategy<Value = String> {
    prop_oneof![
        (-3_i64..=3).prop_map(|number| format!("({number})")),
        prop_oneof![
            Just(i64::from(i32::MAX)),
            Just(i64::from(i32::MIN)),
            Just(i64::from(i16::MAX)),
            Just(i64::from(i16::MIN)),
            Just(i64::MAX),
            Just(i64::MIN + 1),
            any::<i64>(),
        ]
        .prop_map(|number| format!("({number})")),
    ]
}

fn text_literal() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("'bash'".to_owned()),
        Just("''".to_owned()),
        Just("'ba'".to_owned()),
        Just("'/etc/passwd'".to_owned()),
        Just("'ä-ö-ü-ß-é'".to_owned()),
        Just("'0123456789abcdef'".to_owned()),
        Just("'0123456789abcdefg'".to_owned()),
        Just("'0123456789abcde'".to_owned()),
        Just("'basher'".to_owned()),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just("s".to_owned()), Just("user_string(p)".to_owned())]
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("'ba%'".to_owned()),
        Just("'bash'".to_owned()),
        Just("'%'".to_owned()),
        Just("'/etc/%'".to_owned()),
        Just("'ä-ö%'".to_owned()),
        Just("'0123456789abcdef%'".to_owned()),
    ]
}

/// Numbers and truth values in turn, to a depth.
fn number(depth: u32) -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        3 => prop_oneof![Just("a"), Just("b"), Just("c"), Just("u"), Just("e")].prop_map(str::to_owned),
        2 => number_literal(),
        1 => Just("CAST(NULL AS bigint)".to_owned()),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || number(depth - 1);
    prop_oneof![
        2 => leaf,
        4 => (inner(), prop_oneof![Just("+"), Just("-"), Just("*"), Just("/"), Just("%"), Just("&"), Just("|"), Just("<<"), Just(">>")], inner())
            .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
        1 => inner().prop_map(|value| format!("(- {value})")),
        1 => (inner(), prop_oneof![Just("smallint"), Just("integer"), Just("bigint")], any::<bool>())
            .prop_map(|(value, to, or_null)| format!("{}({value} AS {to})", if or_null { "TRY_CAST" } else { "CAST" })),
        1 => (truth(depth - 1), inner(), inner())
            .prop_map(|(condition, then, other)| format!("CASE WHEN {condition} THEN {then} ELSE {other} END")),
        1 => (truth(depth - 1), inner()).prop_map(|(condition, then)| format!("CASE WHEN {condition} THEN {then} END")),
        1 => (inner(), inner(), inner())
            .prop_map(|(operand, when, then)| format!("CASE {operand} WHEN {when} THEN {then} ELSE 7 END")),
        1 => (inner(), inner()).prop_map(|(left, right)| format!("coalesce({left}, {right})")),
        1 => truth(depth - 1).prop_map(|condition| format!("CAST({condition} AS integer)")),
    ]
    .boxed()
}

fn truth(depth: u32) -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        2 => Just("d".to_owned()),
        1 => prop_oneof![Just("true".to_owned()), Just("false".to_owned()), Just("CAST(NULL AS boolean)".to_owned())],
        2 => (text(), prop_oneof![Just("="), Just("<>")], text_literal())
            .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
        2 => (text(), any::<bool>(), pattern())
            .prop_map(|(left, not, right)| format!("({left} {}LIKE {right})", if not { "NOT " } else { "" })),
        2 => (text(), any::<bool>(), proptest::collection::vec(text_literal(), 1..9), any::<bool>())
            .prop_map(|(left, not, list, with_null)| in_list(&left, not, list, with_null)),
        1 => (text(), any::<bool>()).prop_map(|(value, not)| format!("({value} IS {}NULL)", if not { "NOT " } else { "" })),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || truth(depth - 1);
    let compare = prop_oneof![Just("="), Just("<>"), Just("<"), Just("<="), Just(">"), Just(">=")];
    prop_oneof![
        1 => leaf,
        3 => (number(depth - 1), compare, number(depth - 1))
            .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
        1 => (number(depth - 1), any::<bool>(), number(depth - 1))
            .prop_map(|(left, not, right)| format!("({left} IS {}DISTINCT FROM {right})", if not { "NOT " } else { "" })),
        2 => (inner(), prop_oneof![Just("AND"), Just("OR")], inner())
            .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
        1 => inner().prop_map(|value| format!("(NOT {value})")),
        1 => (inner(), prop_oneof![
                Just("IS NULL"), Just("IS NOT NULL"), Just("IS TRUE"), Just("IS NOT TRUE"), Just("IS FALSE"),
                Just("IS NOT FALSE"), Just("IS UNKNOWN"), Just("IS NOT UNKNOWN")
            ])
            .prop_map(|(value, test)| format!("({value} {test})")),
        1 => number(depth - 1).prop_map(|value| format!("({value} IS NULL)")),
        1 => (number(depth - 1), any::<bool>(), proptest::collection::vec(number_literal(), 1..12), any::<bool>())
            .prop_map(|(value, not, list, with_null)| in_list(&value, not, list, with_null)),
        1 => (number(depth - 1), any::<bool>(), number(depth - 1), number(depth - 1))
            .prop_map(|(value, not, low, high)| {
                format!("({value} {}BETWEEN {low} AND {high})", if not { "NOT " } else { "" })
            }),
        1 => number(depth - 1).prop_map(|value| format!("CAST({value} AS boolean)")),
    ]
    .boxed()
}

fn in_list(value: &str, not: bool, mut list: Vec<String>, with_null: bool) -> String {
    if with_null {
        list.push("NULL".to_owned());
    }
    format!("({value} {}IN ({}))", if not { "NOT " } else { "" }, list.join(", "))
}

fn near<T: Copy + std::fmt::Debug>(edges: &'static [T], any: impl Strategy<Value = T>) -> impl Strategy<Value = T> {
    prop_oneof![proptest::sample::select(edges), any]
}

fn content(bytes_max: usize) -> impl Strategy<Value = String> {
    prop_oneof![
        Just("bash".to_owned()),
        Just(String::new()),
        Just("basher".to_owned()),
        Just("/etc/passwd".to_owned()),
        Just("ä-ö-ü-ß-é".to_owned()),
        Just("0123456789abcdef".to_owned()),
        Just("0123456789abcde".to_owned()),
    ]
    .prop_map(move |text| if text.len() <= bytes_max { text } else { String::new() })
}

fn row() -> impl Strategy<Value = Row> {
    let numbers = (
        near(&[0, 1, -1, 2, i64::MIN, i64::MAX], any::<i64>()),
        near(&[0, 1, -1, 2, i32::MIN, i32::MAX], any::<i32>()),
        near(&[0, 1, -1, 2, i16::MIN, i16::MAX], any::<i16>()),
        any::<bool>(),
        near(&[0, 1, u32::MAX], any::<u32>()),
        near(&[0, 1, -1, i32::MIN], any::<i32>()),
    );
    (numbers, content(16), proptest::option::of(content(64))).prop_map(|((a, b, c, d, u, e), s, p)| Row {
        a,
        b,
        c,
        d,
        u,
        e,
        s,
        p,
    })
}

#[track_caller]
fn check(sql: &str, row: &Row, expected: Value) {
    let (kernel, binder) = (fixture_kernel(), Binder::new(&facts(), false).unwrap());
    let case = prepare(&kernel, &binder, sql).unwrap_or_else(|| panic!("{sql} should run in the kernel"));
    assert_eq!(run_ours(&case, row), expected, "{sql} of {row:?}");
    assert_eq!(run_datafusion(&case, row), expected, "DataFusion: {sql} of {row:?}");
}

fn plain() -> Row {
    Row { a: 7, b: -7, c: 2, d: true, u: u32::MAX, e: -5, s: "bash".into(), p: Some("/etc/hostname".into()) }
}

#[test]
fn arithmetic_is_that_of_signed_numbers() {
    check("b / c", &plain(), Some(-3));
    check("b % c", &plain(), Some(-1));
    check("a / 0 = 1 OR d", &plain(), None);
    check("u", &plain(), Some(i64::from(u32::MAX)));
    check("e", &plain(), Some(-5));
    check("b + 2147483647 + 1", &plain(), Some(2_147_483_641));
    check("CAST(a * 10000 AS smallint)", &plain(), None);
    check("b >> c", &plain(), Some(-2));
    check("b IS NOT DISTINCT FROM c", &plain(), Some(0));
    check("CASE WHEN a > 0 THEN 1 ELSE 2 END = 1", &plain(), Some(1));
    check("a << 63", &plain(), Some(i64::MIN));
    check("b << CAST(33 AS integer)", &plain(), Some(-14));
}

#[test]
fn strings_are_compared_with_their_ends() {
    check("s = 'bash'", &plain(), Some(1));
    check("s = 'bas'", &plain(), Some(0));
    check("s LIKE 'ba%'", &plain(), Some(1));
    check("user_string(p) LIKE '/etc/%'", &plain(), Some(1));
    let unreadable = Row { p: None, ..plain() };
    check("user_string(p) LIKE '/etc/%'", &unreadable, None);
    check("user_string(p) IS NULL", &unreadable, Some(1));
    let full = Row { s: "0123456789abcdef".into(), ..plain() };
    check("s = '0123456789abcdef'", &full, Some(1));
    check("s = '0123456789abcde'", &full, Some(0));
}

/// Rows per expression: planning costs more than running.
const ROWS: usize = 24;

fn agree(expressions: impl Strategy<Value = String>, cases: u32) {
    let (kernel, binder) = (fixture_kernel(), Binder::new(&facts(), false).unwrap());
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    // The same expressions at every run, so that a change is to blame for a failure; others with DIFFERENTIAL_RANDOM=1.
    let mut runner = if std::env::var_os("DIFFERENTIAL_RANDOM").is_some() {
        TestRunner::new(config)
    } else {
        TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
    };
    let in_kernel = std::cell::Cell::new(0_u32);
    let strategy = (expressions, proptest::collection::vec(row(), ROWS));
    runner
        .run(&strategy, |(sql, rows)| {
            let Some(case) = prepare(&kernel, &binder, &sql) else { return Ok(()) };
            in_kernel.set(in_kernel.get() + 1);
            for row in rows {
                prop_assert_eq!(run_ours(&case, &row), run_datafusion(&case, &row), "{} of {:?}", sql, row);
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert!(in_kernel.get() > cases / 3, "only {} of {cases} expressions ran in the kernel", in_kernel.get());
}

#[test]
fn random_numbers_agree_with_datafusion() {
    agree(number(3), 400);
}

#[test]
fn random_truths_agree_with_datafusion() {
    agree(truth(3), 400);
}

#[test]
fn a_constant_that_cannot_be_negated_is_left_to_datafusion() {
    let (kernel, binder) = (fixture_kernel(), Binder::new(&facts(), false).unwrap());
    assert!(prepare(&kernel, &binder, "(- ((-32768) & (-9223372036854775807))) + a").is_none());
    assert!(prepare(&kernel, &binder, "(-(-5)) + a").is_some());
    assert!(prepare(&kernel, &binder, "-a").is_some());
}

#[test]
fn a_failure_beside_a_null_is_still_the_rows_failure() {
    let (kernel, binder) = (fixture_kernel(), Binder::new(&facts(), false).unwrap());
    let sql = "CASE (CASE WHEN a > 0 THEN a END + (a / a)) WHEN 5 THEN a ELSE 7 END";
    let case = prepare(&kernel, &binder, sql).unwrap();
    let row = |a| Row { a, b: 0, c: 0, d: false, u: 0, e: 0, s: "x".into(), p: None };
    for (a, expected) in [(0, None), (-3, Some(7)), (4, Some(4)), (3, Some(7))] {
        assert_eq!((run_ours(&case, &row(a)), run_datafusion(&case, &row(a))), (expected, expected), "a = {a}");
    }
}

#[test]
fn a_list_is_looked_up_with_the_logic_of_null() {
    let row = plain();
    check("a IN (1, 2, 3, 4, 5, 7)", &row, Some(1));
    check("a IN (1, 2, 3, 4, 5, 8)", &row, Some(0));
    check("a NOT IN (1, 2, 3, 4, 5, 8, NULL)", &row, None);
    check("a NOT IN (1, 2, 3, 4, 5, 7, NULL)", &row, Some(0));
    check("b IN (-1, -2, -3, -4, -5, -7)", &row, Some(1));
    check("s IN ('a', 'b', 'c', 'd', 'bash')", &row, Some(1));
    check("s IN ('a', 'b', 'c', 'd', 'bas', 'basher')", &row, Some(0));
    check("s NOT IN ('a', 'b', 'c', 'd', 'e', NULL)", &row, None);
    check("user_string(p) IN ('a', 'b', 'c', 'd', '/etc/hostname')", &row, Some(1));
    let unreadable = Row { p: None, ..plain() };
    check("user_string(p) NOT IN ('a', 'b', 'c', 'd', 'e')", &unreadable, None);
    let full = Row { s: "0123456789abcdef".into(), ..plain() };
    check("s IN ('a', 'b', 'c', 'd', '0123456789abcdef')", &full, Some(1));
    check("s IN ('a', 'b', 'c', 'd', '0123456789abcde', '0123456789abcdefg')", &full, Some(0));
}

#[test]
fn a_long_list_is_one_lookup_and_one_too_long_runs_after_the_kernel() {
    let (kernel, binder) = (fixture_kernel(), Binder::new(&facts(), false).unwrap());
    let list = |members: usize| {
        let members: Vec<String> = (0..members).map(|member| (member * 3).to_string()).collect();
        format!("a IN ({})", members.join(", "))
    };
    let case = prepare(&kernel, &binder, &list(4096)).unwrap();
    assert_eq!((case.sets.len(), case.sets[0].keys.len()), (1, 4096));
    for (a, expected) in [(0, 1), (4095 * 3, 1), (4096 * 3, 0), (1, 0), (i64::MIN, 0)] {
        let row = Row { a, ..plain() };
        assert_eq!(run_ours(&case, &row), Some(expected), "{a}");
    }
    assert!(prepare(&kernel, &binder, &list(4097)).is_none());
    assert!(prepare(&kernel, &binder, &list(4)).unwrap().sets.is_empty());
    // Strings that are too long for a key are compared.
    let long = "x".repeat(127);
    let mixed = format!("user_string(p) IN ('a', 'b', 'c', 'd', 'e', '{long}')");
    let case = prepare(&kernel, &binder, &mixed).unwrap();
    assert_eq!(case.sets[0].keys.len(), 5);
    for (p, expected) in [(long.clone(), 1), ("e".to_owned(), 1), ("x".repeat(126), 0)] {
        assert_eq!(run_ours(&case, &Row { p: Some(p), ..plain() }), Some(expected));
    }
}

#[test]
fn a_string_that_was_cut_is_looked_up_as_it_is_compared() {
    let (kernel, binder) = (fixture_kernel(), Binder::new(&facts(), false).unwrap());
    for (sql, expected) in [
        ("user_string(p, 5) = '/etc/'", 1),
        ("user_string(p, 5) IN ('a', 'b', 'c', 'd', '/etc/')", 1),
        ("user_string(p, 5) = '/etc/hostname'", 0),
        ("user_string(p, 5) IN ('a', 'b', 'c', 'd', '/etc', '/etc/h', '/etc/hostname')", 0),
    ] {
        let case = prepare(&kernel, &binder, sql).unwrap();
        assert_eq!(run_ours(&case, &plain()), Some(expected), "{sql}");
    }
}
