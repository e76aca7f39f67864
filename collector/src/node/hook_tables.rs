//! `system.hooks` and `system.hook_columns`: what can be probed on this kernel.

use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Int32Builder, RecordBatch, StringViewBuilder};
use async_trait::async_trait;
use probepilot_catalog::ports::LiveTable;
use probepilot_catalog::table::{Column, TableName, arrow_schema};
use probepilot_collector_ebpf::kernel::{HookField, HookKind, HookName, KernelType, sampling};
use probepilot_sql::{SqlError, SqlType};

use crate::node::lifecycle::Probes;

/// What the first column of both tables says.
const SCHEMA_COMMENT: &str =
    "kind of hook: tracepoint, tp_btf, and the functions that sample: perf('name', period), profile(hertz)";

/// `system.hooks`.
pub struct HookTable {
    probes: Arc<Probes>,
}

impl HookTable {
    /// The hooks of the kernel that `probes` run on.
    pub fn new(probes: Arc<Probes>) -> HookTable {
        HookTable { probes }
    }
}

#[async_trait]
impl LiveTable for HookTable {
    fn name(&self) -> TableName {
        TableName::system("hooks")
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::new("schema", SqlType::Text, false, SCHEMA_COMMENT),
            Column::new("group", SqlType::Text, true, "the kernel's group of the event; NULL where it has none"),
            Column::new("name", SqlType::Text, false, "event"),
            Column::new(
                "context",
                SqlType::Text,
                false,
                "whose task is current: task, irq, any (then pid, comm and uid are NULL)",
            ),
        ]
    }

    fn comment(&self) -> &str {
        "places of this kernel that a probe may attach to; each is a table: schema.name, or a function"
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let probes = self.probes.clone();
        let columns = self.columns();
        blocking(move || {
            let mut texts: [StringViewBuilder; 4] = std::array::from_fn(|_| StringViewBuilder::new());
            let sampled = sampling::all().map(|(name, _)| name);
            for HookName { kind, group, name, context } in probes.kernel()?.hooks().into_iter().chain(sampled) {
                texts[0].append_value(kind.schema());
                texts[1].append_option((!group.is_empty()).then_some(group));
                texts[2].append_value(name);
                texts[3].append_value(context.as_str());
            }
            batch(&columns, texts.into_iter().map(|mut builder| Arc::new(builder.finish()) as ArrayRef).collect())
        })
        .await
    }
}

/// `system.hook_columns`. Made when it is first asked for, from every hook's description, and kept: a kernel's hooks
/// change only when modules come and go.
pub struct HookColumnTable {
    probes: Arc<Probes>,
    made: Arc<OnceLock<Vec<RecordBatch>>>,
}

impl HookColumnTable {
    /// The columns of the hooks of the kernel that `probes` run on.
    pub fn new(probes: Arc<Probes>) -> HookColumnTable {
        HookColumnTable { probes, made: Arc::default() }
    }
}

#[async_trait]
impl LiveTable for HookColumnTable {
    fn name(&self) -> TableName {
        TableName::system("hook_columns")
    }

    fn columns(&self) -> Vec<Column> {
        vec![
            Column::new("schema", SqlType::Text, false, SCHEMA_COMMENT),
            Column::new("hook", SqlType::Text, false, "event"),
            Column::new("position", SqlType::Integer, false, "place among the hook's fields, from 1"),
            Column::new("name", SqlType::Text, false, "field"),
            Column::new(
                "type",
                SqlType::Text,
                true,
                "SQL type; NULL for a pointer or struct, whose members have values",
            ),
            Column::new("declaration", SqlType::Text, false, "as the kernel declares it"),
        ]
    }

    fn comment(&self) -> &str {
        "fields of every hook of this kernel"
    }

    async fn rows(&self) -> Result<Vec<RecordBatch>, SqlError> {
        let (probes, made, columns) = (self.probes.clone(), self.made.clone(), self.columns());
        blocking(move || {
            if let Some(known) = made.get() {
                return Ok(known.clone());
            }
            let rows = hook_columns(&probes, &columns)?;
            Ok(made.get_or_init(|| rows).clone())
        })
        .await
    }
}

fn hook_columns(probes: &Probes, columns: &[Column]) -> Result<Vec<RecordBatch>, SqlError> {
    let kernel = probes.kernel()?;
    let mut texts: [StringViewBuilder; 5] = std::array::from_fn(|_| StringViewBuilder::new());
    let mut positions = Int32Builder::new();
    let mut add = |kind: HookKind, name: &str, fields: &[HookField]| {
        for (field, position) in fields.iter().zip(1..) {
            texts[0].append_value(kind.schema());
            texts[1].append_value(name);
            positions.append_value(position);
            texts[2].append_value(&field.name);
            texts[3].append_option(sql_type(&field.ty).map(SqlType::sql));
            texts[4].append_value(&field.declaration);
        }
    };
    for HookName { kind, group, name, .. } in kernel.hooks() {
        let parts: &[&str] = if group.is_empty() { &[kind.schema(), &name] } else { &[kind.schema(), &group, &name] };
        // A hook whose description cannot be read is in `system.hooks` all the same.
        let Ok(hook) = kernel.hook(parts) else {
            continue;
        };
        add(kind, &name, &hook.fields);
    }
    for (name, hook) in sampling::all() {
        add(hook.kind, &name.name, &hook.fields);
    }
    let [schemas, hooks, names, types, declarations] = texts.map(|mut builder| Arc::new(builder.finish()) as ArrayRef);
    batch(columns, vec![schemas, hooks, Arc::new(positions.finish()), names, types, declarations])
}

/// The type a field's bare name has in a query.
fn sql_type(kernel: &KernelType) -> Option<SqlType> {
    Some(match kernel {
        KernelType::Bool => SqlType::Boolean,
        KernelType::Int { bytes, signed } => match (bytes, signed) {
            (1, _) | (2, true) => SqlType::SmallInt,
            (2, false) | (4, true) => SqlType::Integer,
            _ => SqlType::BigInt,
        },
        KernelType::CharArray { .. } | KernelType::DataLocString | KernelType::Enum { .. } => SqlType::Text,
        KernelType::ByteArray { .. } | KernelType::DataLocBytes => SqlType::Bytea,
        KernelType::IntArray { .. }
        | KernelType::UserPointer { .. }
        | KernelType::KernelPointer { .. }
        | KernelType::Aggregate { .. }
        | KernelType::Opaque { .. } => return None,
    })
}

fn batch(columns: &[Column], arrays: Vec<ArrayRef>) -> Result<Vec<RecordBatch>, SqlError> {
    let batch = RecordBatch::try_new(arrow_schema(columns), arrays)
        .map_err(|error| SqlError::internal("could not list hooks", error))?;
    Ok(vec![batch])
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SqlError> + Send + 'static,
) -> Result<T, SqlError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| SqlError::internal("listing hooks ended early", error))?
}
