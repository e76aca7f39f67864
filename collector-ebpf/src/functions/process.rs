//! `exe(pid)`, `cmdline(pid)`, `container(cgroup_id)`, and the identity of a process.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringViewBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Name of the function that makes a process's identity of its pid and its leader's start.
pub const UPID: &str = "process_upid";

/// What is known about processes besides what an event carries. Asked once per row: answers come from memory.
pub trait ProcessFacts: Send + Sync {
    /// Path of the executable.
    fn exe(&self, pid: i32) -> Option<Arc<str>>;
    /// Command line, arguments separated by spaces, secrets hidden.
    fn cmdline(&self, pid: i32) -> Option<Arc<str>>;
    /// Id of the container whose cgroup this is.
    fn container(&self, cgroup_id: u64) -> Option<Arc<str>>;
    /// Identity of a process: never used again on this or another host.
    fn upid(&self, pid: i32, start_boottime_ns: u64) -> i64;
}

/// Knows nothing: for compiling without running.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFacts;

impl ProcessFacts for NoFacts {
    fn exe(&self, _: i32) -> Option<Arc<str>> {
        None
    }

    fn cmdline(&self, _: i32) -> Option<Arc<str>> {
        None
    }

    fn container(&self, _: u64) -> Option<Arc<str>> {
        None
    }

    fn upid(&self, pid: i32, start_boottime_ns: u64) -> i64 {
        i64::from(pid) ^ start_boottime_ns.rotate_left(32) as i64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fact {
    Exe,
    CommandLine,
    Container,
    Upid,
}

impl Fact {
    fn function(self) -> &'static str {
        match self {
            Fact::Exe => "exe",
            Fact::CommandLine => "cmdline",
            Fact::Container => "container",
            Fact::Upid => UPID,
        }
    }
}

/// Says whether an expression asks for what is only known from processes' own events: `exe` and `cmdline`.
pub fn asks(expr: &Expr) -> bool {
    let asks = |expr: &Expr| {
        matches!(expr, Expr::ScalarFunction(function)
            if [Fact::Exe, Fact::CommandLine].iter().any(|fact| fact.function() == function.name()))
    };
    expr.exists(|expr| Ok(asks(expr))).unwrap_or(true)
}

/// The functions, answered by `facts`.
pub fn all(facts: &Arc<dyn ProcessFacts>) -> Vec<ScalarUDF> {
    [Fact::Exe, Fact::CommandLine, Fact::Container, Fact::Upid]
        .into_iter()
        .map(|fact| ScalarUDF::from(OfProcess::new(fact, facts)))
        .collect()
}

struct OfProcess {
    fact: Fact,
    facts: Arc<dyn ProcessFacts>,
    signature: Signature,
}

impl OfProcess {
    fn new(fact: Fact, facts: &Arc<dyn ProcessFacts>) -> OfProcess {
        let arguments = vec![DataType::Int64; if fact == Fact::Upid { 2 } else { 1 }];
        // Volatile: a pid means another process later.
        let signature = Signature::exact(arguments, Volatility::Volatile);
        OfProcess { fact, facts: Arc::clone(facts), signature }
    }

    fn texts(&self, keys: &Int64Array, of: impl Fn(i64) -> Option<Arc<str>>) -> ArrayRef {
        let mut builder = StringViewBuilder::with_capacity(keys.len());
        for key in keys {
            builder.append_option(key.and_then(&of));
        }
        Arc::new(builder.finish())
    }
}

impl std::fmt::Debug for OfProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OfProcess").field("fact", &self.fact).finish_non_exhaustive()
    }
}

impl PartialEq for OfProcess {
    fn eq(&self, other: &Self) -> bool {
        self.fact == other.fact && Arc::ptr_eq(&self.facts, &other.facts)
    }
}

impl Eq for OfProcess {}

impl Hash for OfProcess {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fact.hash(state);
    }
}

impl ScalarUDFImpl for OfProcess {
    fn name(&self) -> &str {
        self.fact.function()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(if self.fact == Fact::Upid { DataType::Int64 } else { DataType::Utf8View })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(keys) = arrays.first().and_then(|array| array.as_primitive_opt::<Int64Type>()) else {
            return internal_err!("{} takes a bigint", self.name());
        };
        let pid = |key: i64| i32::try_from(key).ok();
        Ok(ColumnarValue::Array(match self.fact {
            Fact::Exe => self.texts(keys, |key| self.facts.exe(pid(key)?)),
            Fact::CommandLine => self.texts(keys, |key| self.facts.cmdline(pid(key)?)),
            Fact::Container => self.texts(keys, |key| self.facts.container(key as u64)),
            Fact::Upid => {
                let starts = arrays[1].as_primitive::<Int64Type>();
                // Events of one process follow each other more often than not.
                let mut last = None;
                let ids = keys.iter().zip(starts).map(|(key, start)| {
                    let process = (pid(key?)?, start? as u64);
                    let id = match last {
                        Some((known, id)) if known == process => id,
                        _ => self.facts.upid(process.0, process.1),
                    };
                    last = Some((process, id));
                    Some(id)
                });
                Arc::new(ids.collect::<Int64Array>())
            }
        }))
    }
}
