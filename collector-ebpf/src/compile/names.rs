//! Names to columns: every identifier of the query is resolved here, against the current task's facts and the hook's
//! fields, and replaced by the unique name of a column.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::tokenizer::Span;
use probepilot_sql::{SqlError, SqlState};

use super::assemble::Width;
use super::leaf::{Leaf, Place, Space, StringAt, TaskFact};
use super::marks::Mark;
use super::position;
use super::resolver::{self, cast_to, element_number};
use crate::functions::enumeration::Names;
use crate::kernel::{Hook, HookContext, HookKind, Kernel, KernelType, Labels, Place as FieldPlace};

/// The qualifier by which a field of the event is always found.
pub const ARGUMENTS: &str = "args";

/// The qualifier of facts of whoever runs when the event happens, be it a bystander.
pub const CURRENT: &str = "current";

/// What the value of a column is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// An integer, boolean, text or bytes that a program reads.
    Leaf(Leaf),
    /// The event's time: the record's clock, converted after the kernel.
    Time,
    /// What a program notes of the memory it reads.
    Mark(Mark),
    /// An address: only memory functions take it.
    Pointer(Place, Space),
    /// An enumeration: its number is the column of this name.
    Enumeration {
        /// A column that users cannot write.
        number: String,
    },
    /// NULL: the hook runs in interrupt context, the current task is a bystander.
    Unknown,
}

/// Which event of a pair; the only one of a query on one hook is the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Of the hook before JOIN: kept until its end comes.
    Start,
    /// Of the hook behind JOIN: makes the row.
    End,
}

/// A column that the query names.
#[derive(Clone, Debug)]
pub struct Column {
    /// Unique: `pid`, `args.pid`, `next.real_parent.tgid`; in a join with the hook's alias before it.
    pub name: String,
    /// Whose it is.
    pub side: Side,
    /// What the planner takes it for.
    pub data_type: DataType,
    /// What it is.
    pub content: Content,
    /// Meaning and unit.
    pub comment: String,
    /// Where it was first named.
    pub span: Span,
    /// The kernel's names of its values.
    pub labels: Option<Arc<Names>>,
}

impl Column {
    /// Whether it can be NULL.
    pub fn nullable(&self) -> bool {
        match &self.content {
            Content::Leaf(leaf) => leaf.nullable(),
            Content::Time => false,
            Content::Mark(mark) => mark.nullable(),
            Content::Pointer(..) | Content::Enumeration { .. } | Content::Unknown => true,
        }
    }
}

/// The type of event time.
pub fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// A fact of the current task by its column name.
pub(super) struct TaskColumn {
    pub(super) name: &'static str,
    fact: Option<TaskFact>,
    data_type: fn() -> DataType,
    comment: &'static str,
}

pub(super) const TASK_COLUMNS: [TaskColumn; 12] = [
    task("time", None, time_type, "when the event happened"),
    task("pid", Some(TaskFact::Pid), || DataType::Int32, "process (thread group) id"),
    task("tid", Some(TaskFact::Tid), || DataType::Int32, "thread id"),
    task("ppid", Some(TaskFact::Ppid), || DataType::Int32, "process id of the parent"),
    task("uid", Some(TaskFact::Uid), || DataType::Int64, "user id"),
    task("gid", Some(TaskFact::Gid), || DataType::Int64, "group id"),
    task("comm", Some(TaskFact::Comm), || DataType::Utf8View, "thread name, at most 15 bytes"),
    task("cgroup_id", Some(TaskFact::CgroupId), || DataType::Int64, "id of the cgroup (version 2)"),
    task("cpu", Some(TaskFact::Cpu), || DataType::Int32, "processor"),
    task("nsecs", Some(TaskFact::Nsecs), || DataType::Int64, "monotonic clock; ns"),
    // No name a user can write: for the identity of the process.
    task(START_COLUMN, Some(TaskFact::StartBoottime), || DataType::Int64, "start of the process since boot; ns"),
    // Nor has this one: for the weight of a row.
    task(SAMPLE_KEEP_COLUMN, Some(TaskFact::SampleKeep), || DataType::Int64, "events kept of 2³²"),
];

/// Name of the column with the start of the process; users cannot write it.
pub const START_COLUMN: &str = "#start_boottime";

/// Name of the column that says how many events are kept; users cannot write it.
pub const SAMPLE_KEEP_COLUMN: &str = "#sample_keep";

/// Whether users can write the name of a column of the current task.
pub(super) fn is_visible(name: &str) -> bool {
    !name.starts_with('#')
}

const fn task(
    name: &'static str,
    fact: Option<TaskFact>,
    data_type: fn() -> DataType,
    comment: &'static str,
) -> TaskColumn {
    TaskColumn { name, fact, data_type, comment }
}

/// The hook before JOIN.
#[derive(Clone, Debug)]
pub struct StartHook {
    /// The hook.
    pub hook: Arc<Hook>,
    /// Its alias.
    pub alias: Option<String>,
}

/// The names a query may use, and those it did.
pub struct Scope<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// The hook in FROM.
    pub hook: Arc<Hook>,
    /// Its alias.
    pub alias: Option<String>,
    /// The hook that is joined to it: the start of a pair.
    pub start: Option<StartHook>,
    /// The whole statement, for positions.
    pub text: &'a str,
    /// Columns named so far.
    pub columns: Vec<Column>,
    /// What the user should be told though it is no error.
    pub notices: Vec<String>,
}

impl Scope<'_> {
    /// Replaces every name in the expression by its column's.
    pub fn resolve(&mut self, expression: &mut Expr) -> Result<(), SqlError> {
        resolver::resolve(self, expression)
    }

    /// The hook of a side; of a query on one hook there is only the end's.
    pub fn hook(&self, side: Side) -> &Arc<Hook> {
        match (&self.start, side) {
            (Some(start), Side::Start) => &start.hook,
            _ => &self.hook,
        }
    }

    /// By which a side's columns are told from the other's.
    pub fn label(&self, side: Side) -> &str {
        let (hook, alias) = match (&self.start, side) {
            (Some(start), Side::Start) => (&start.hook, &start.alias),
            _ => (&self.hook, &self.alias),
        };
        alias.as_deref().unwrap_or(&hook.name)
    }

    /// The sides there are, in the order of FROM.
    pub(super) fn sides(&self) -> &'static [Side] {
        if self.start.is_some() { &[Side::Start, Side::End] } else { &[Side::End] }
    }

    /// Refuses two hooks that go by one name.
    pub fn check_labels(&self, span: Span) -> Result<(), SqlError> {
        if self.start.is_none() || self.label(Side::Start) != self.label(Side::End) {
            return Ok(());
        }
        let name = self.label(Side::End);
        Err(SqlError::new(SqlState::DUPLICATE_ALIAS, format!("table name \"{name}\" specified more than once"))
            .hint("Give each hook an alias.")
            .at(position::of_span(self.text, span)))
    }

    /// The unique name of the column that these parts name, which is now known.
    pub fn column(&mut self, parts: &[String], span: Span) -> Result<String, SqlError> {
        let sides = self.sides();
        let qualified = sides.iter().find_map(|&side| Some((side, self.without_qualifier(side, parts)?.to_vec())));
        if let Some((side, parts)) = qualified {
            return self.column_of(side, &parts, span);
        }
        // Of a pair there is one row.
        let of_row = matches!(parts, [name] if Mark::of_name(name).is_some());
        if let ([only], _) | ([_, only], true) = (sides, of_row) {
            return self.column_of(*only, parts, span);
        }
        let known: Vec<Side> = sides.iter().copied().filter(|&side| self.knows(side, parts)).collect();
        match known.as_slice() {
            [side] => self.column_of(*side, parts, span),
            [] => Err(self.unknown(Side::End, &parts.join("."), span)),
            _ => {
                let name = parts.join(".");
                let both = sides.iter().map(|&side| format!("{}.{name}", self.label(side))).collect::<Vec<_>>();
                Err(SqlError::new(SqlState::AMBIGUOUS_COLUMN, format!("column reference \"{name}\" is ambiguous"))
                    .hint(format!("Write {}.", both.join(" or ")))
                    .at(position::of_span(self.text, span)))
            }
        }
    }

    /// Whether a name without a qualifier can be of this side.
    fn knows(&self, side: Side, parts: &[String]) -> bool {
        let hook = self.hook(side);
        match parts {
            [first, second, ..] if first == ARGUMENTS && hook.field(ARGUMENTS).is_none() => {
                hook.field(second).is_some()
            }
            [first, name] if first == CURRENT && hook.field(CURRENT).is_none() => {
                TASK_COLUMNS.iter().any(|column| column.name == *name)
            }
            [name] if TASK_COLUMNS.iter().any(|column| column.name == *name) => true,
            [first, ..] => hook.field(first).is_some(),
            [] => false,
        }
    }

    /// The unique name of a side's column, which is now known; `parts` are without a qualifier.
    pub fn column_of(&mut self, side: Side, parts: &[String], span: Span) -> Result<String, SqlError> {
        let hook = Arc::clone(self.hook(side));
        let (parts, event_only) = match parts {
            [first, rest @ ..] if first == ARGUMENTS && !rest.is_empty() && hook.field(ARGUMENTS).is_none() => {
                (rest, true)
            }
            parts => (parts, false),
        };
        if let [first, name] = parts
            && first == CURRENT
            && hook.field(CURRENT).is_none()
            && let Some(task) = TASK_COLUMNS.iter().find(|column| column.name == *name && column.fact.is_some())
        {
            return Ok(self.current_column(side, task, span));
        }
        let [first, members @ ..] = parts else { return Err(self.unknown(side, &parts.join("."), span)) };
        let mark = Mark::of_name(first);
        if let Some(mark) = mark.filter(|_| !event_only && members.is_empty()) {
            return Ok(self.mark_column(mark, span));
        }
        let task = TASK_COLUMNS.iter().find(|column| column.name == *first);
        if let Some(task) = task.filter(|_| !event_only && members.is_empty()) {
            return Ok(self.task_column(side, task, span));
        }
        if hook.field(first).is_none() {
            return Err(self.unknown(side, &parts.join("."), span));
        }
        let path = parts.join(".").replace(".[", "[").replace(".::", "::");
        let name = if task.is_some() || mark.is_some() { format!("{ARGUMENTS}.{path}") } else { path };
        let name = self.unique(side, &name);
        if !self.columns.iter().any(|column| column.name == name) {
            let columns = self.event_columns(side, name.clone(), parts, span)?;
            self.columns.extend(columns);
        }
        Ok(name)
    }

    fn unique(&self, side: Side, name: &str) -> String {
        if self.start.is_some() { format!("{}.{name}", self.label(side)) } else { name.to_owned() }
    }

    /// The parts without `tracepoint.sched_switch.`, `sched_switch.` or the alias; `None` when none is there.
    pub(super) fn without_qualifier<'p>(&self, side: Side, parts: &'p [String]) -> Option<&'p [String]> {
        let hook = self.hook(side).as_ref();
        let schema = hook.kind.schema();
        let alias = match (&self.start, side) {
            (Some(start), Side::Start) => &start.alias,
            _ => &self.alias,
        };
        if let Some(alias) = alias {
            return match parts {
                [first, rest @ ..] if first == alias && !rest.is_empty() => Some(rest),
                _ => None,
            };
        }
        match parts {
            [first, group, name, rest @ ..]
                if first == schema && *group == hook.group && *name == hook.name && !rest.is_empty() =>
            {
                Some(rest)
            }
            [first, name, rest @ ..] if first == schema && *name == hook.name && !rest.is_empty() => Some(rest),
            [name, rest @ ..] if *name == hook.name && !rest.is_empty() && hook.field(name).is_none() => Some(rest),
            _ => None,
        }
    }

    /// A fact of whoever runs, without asking whether the event is theirs.
    fn current_column(&mut self, side: Side, task: &TaskColumn, span: Span) -> String {
        let name = self.unique(side, &format!("{CURRENT}.{}", task.name));
        if let Some(fact) = task.fact.filter(|_| !self.columns.iter().any(|column| column.name == name)) {
            self.columns.push(Column {
                name: name.clone(),
                side,
                data_type: (task.data_type)(),
                content: Content::Leaf(Leaf::Task(fact).of(side)),
                comment: format!("{} of whoever was running", task.comment),
                span,
                labels: None,
            });
        }
        name
    }

    fn task_column(&mut self, side: Side, task: &TaskColumn, span: Span) -> String {
        let name = self.unique(side, task.name);
        if !self.columns.iter().any(|column| column.name == name) {
            let hook = Arc::clone(self.hook(side));
            let bystander = hook.context != HookContext::Task && task.fact.is_some_and(TaskFact::belongs_to_task);
            let content = match (task.fact, side) {
                (None, Side::End) => Content::Time,
                // The start's time is its clock, which is kept until the end.
                (None, Side::Start) => Content::Leaf(Leaf::Task(TaskFact::Nsecs).of(side)),
                (Some(_), _) if bystander => Content::Unknown,
                (Some(fact), _) => Content::Leaf(Leaf::Task(fact).of(side)),
            };
            if hook.field(task.name).is_some() {
                self.notices.push(format!(
                    "\"{0}\" is the current task's; the event's own field is {1}",
                    name,
                    self.unique(side, &format!("{ARGUMENTS}.{}", task.name))
                ));
            }
            if bystander {
                let context = hook.context.as_str();
                self.notices.push(format!(
                    "\"{name}\" is NULL: {hook} runs in context \"{context}\", where the current task may have been interrupted"
                ));
            }
            self.columns.push(Column {
                name: name.clone(),
                side,
                data_type: (task.data_type)(),
                content,
                comment: task.comment.to_owned(),
                span,
                labels: None,
            });
        }
        name
    }

    /// The column, and behind an enumeration's the one of its number.
    fn event_columns(&self, side: Side, name: String, parts: &[String], span: Span) -> Result<Vec<Column>, SqlError> {
        let hook = self.hook(side);
        let at = |error: SqlError| error.at(position::of_span(self.text, span));
        let (parts, element) = match parts {
            [path @ .., last] if !path.is_empty() && element_number(last).is_some() => (path, element_number(last)),
            parts => (parts, None),
        };
        let Located { ty, location, bits, declaration, labels } = self.located(hook, &name, parts).map_err(at)?;
        let labels = Some(labels).filter(|labels| !labels.is_empty() && element.is_none());
        let (ty, place) = match element {
            None => (ty, location),
            Some(number) => self.element(hook, &ty, location, number, (&name, &declaration)).map_err(at)?,
        };
        let (data_type, content) =
            content(&ty, place, bits).ok_or_else(|| at(self.no_value(hook, &name, &declaration)))?;
        let content = match content {
            Content::Leaf(leaf) => Content::Leaf(leaf.of(side)),
            other => other,
        };
        let KernelType::Enum { values, .. } = &ty else {
            let labels = labels.map(|labels| Arc::new(Names::new(&labels)));
            return Ok(vec![Column { name, side, data_type, content, comment: declaration, span, labels }]);
        };
        // No name a user can write.
        let number = format!("{name}#number");
        let text = Column {
            name,
            side,
            data_type: DataType::Utf8View,
            content: Content::Enumeration { number: number.clone() },
            comment: declaration.clone(),
            span,
            labels: Some(Arc::new(Names::new(values))),
        };
        Ok(vec![text, Column { name: number, side, data_type, content, comment: declaration, span, labels: None }])
    }

    /// Where a path's value lies; an element was taken off it.
    fn located(&self, hook: &Hook, name: &str, parts: &[String]) -> Result<Located, SqlError> {
        if let Some(at) = parts.iter().rposition(|part| cast_to(part).is_some()) {
            return self.behind_cast(hook, name, parts, at);
        }
        if hook.kind == HookKind::BtfTracepoint {
            let names: Vec<&str> = parts.iter().map(String::as_str).collect();
            let path = self.kernel.field_path(hook, &names)?;
            let argument = u8::try_from(path.argument).map_err(|_| self.no_value(hook, name, "too many arguments"))?;
            let place = match path.offset {
                None => Place::Context { offset: u16::from(argument) * 8 },
                Some(offset) => Place::Btf { argument, pointers: path.pointers, offset },
            };
            return Ok(Located {
                ty: path.ty,
                location: Location::Here(place),
                bits: path.bits.map(|bits| (bits.shift, bits.width)),
                declaration: path.declaration,
                labels: Labels::default(),
            });
        }
        let [field_name] = parts else {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("field \"{}\" of {hook} has no members", parts[0]),
            )
            .hint(format!(
                "Members are followed in hooks of kind tp_btf; of a pointer whose type you know write ({}::type).member.",
                parts[0]
            )));
        };
        let field = hook.field(field_name).expect("the caller found the field");
        let location = match field.place {
            FieldPlace::ContextOffset { offset } => Location::Here(Place::Context { offset }),
            FieldPlace::BtfArgument { index } => Location::Here(Place::Context { offset: index * 8 }),
            FieldPlace::DataLoc { offset } => Location::Data { offset, from: 0 },
            FieldPlace::RelativeLoc { offset } => Location::Data { offset, from: offset + 4 },
        };
        Ok(Located {
            ty: field.ty.clone(),
            location,
            bits: None,
            declaration: field.declaration.clone(),
            labels: Arc::clone(&field.labels),
        })
    }

    /// A member of what the user says that a pointer points to: `(sk::tcp_sock).bytes_sent`.
    fn behind_cast(&self, hook: &Hook, name: &str, parts: &[String], at: usize) -> Result<Located, SqlError> {
        let (before, behind) = parts.split_at(at);
        let [cast, members @ ..] = behind else { return Err(self.no_value(hook, name, "nothing")) };
        let pointer = self.located(hook, name, before)?;
        let (KernelType::KernelPointer { .. }, Location::Here(mut place)) = (pointer.ty, pointer.location) else {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("\"{}\" does not point into the kernel", before.join(".")),
            )
            .detail(format!("The kernel declares it as {}.", pointer.declaration)));
        };
        let members: Vec<&str> = members.iter().map(String::as_str).collect();
        let path = self.kernel.member_path(cast_to(cast).unwrap_or_default(), &members)?;
        for offset in path.pointers.into_iter().chain(path.offset) {
            place = Place::Cast { pointer: Box::new(place), offset };
        }
        Ok(Located {
            ty: path.ty,
            location: Location::Here(place),
            bits: path.bits.map(|bits| (bits.shift, bits.width)),
            declaration: path.declaration,
            labels: Labels::default(),
        })
    }

    /// An element of an array, counted from 1.
    fn element(
        &self,
        hook: &Hook,
        array: &KernelType,
        location: Location,
        number: u64,
        (name, declaration): (&str, &str),
    ) -> Result<(KernelType, Location), SqlError> {
        let (bytes, signed, length) = match array {
            KernelType::IntArray { bytes, signed, length } => (*bytes, *signed, *length),
            KernelType::ByteArray { length } => (1, false, *length),
            _ => {
                return Err(SqlError::new(
                    SqlState::DATATYPE_MISMATCH,
                    format!("\"{name}\" is not an array of integers"),
                )
                .detail(format!("The kernel declares it as {declaration}.")));
            }
        };
        let index = number.checked_sub(1).and_then(|index| u32::try_from(index).ok()).filter(|index| *index < length);
        let index = index.ok_or_else(|| {
            SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, format!("there is no element \"{name}\""))
                .hint(format!("The elements are numbered from 1 to {length}."))
        })?;
        let behind = index * u32::from(bytes);
        let far = || self.no_value(hook, name, declaration);
        let location = match location {
            Location::Here(Place::Context { offset }) => {
                let offset = u32::from(offset).checked_add(behind).and_then(|offset| u16::try_from(offset).ok());
                Location::Here(Place::Context { offset: offset.ok_or_else(far)? })
            }
            Location::Here(Place::Btf { argument, pointers, offset }) => {
                let offset = offset.checked_add(behind).ok_or_else(far)?;
                Location::Here(Place::Btf { argument, pointers, offset })
            }
            Location::Here(Place::Cast { pointer, offset }) => {
                let offset = offset.checked_add(behind).ok_or_else(far)?;
                Location::Here(Place::Cast { pointer, offset })
            }
            Location::Data { .. } => return Err(far()),
        };
        Ok((KernelType::Int { bytes, signed }, location))
    }

    fn no_value(&self, hook: &Hook, name: &str, declaration: &str) -> SqlError {
        SqlError::unsupported(format!("column \"{name}\" of {hook} has no value in SQL"))
            .detail(format!("The kernel declares it as {declaration}."))
    }
}

/// What a path leads to.
struct Located {
    ty: KernelType,
    location: Location,
    bits: Option<(u8, u8)>,
    declaration: String,
    labels: Labels,
}

enum Location {
    Here(Place),
    Data { offset: u16, from: u16 },
}

/// What a value of the kernel's type is to SQL; `None` when it is nothing.
fn content(ty: &KernelType, location: Location, bits: Option<(u8, u8)>) -> Option<(DataType, Content)> {
    let place = match location {
        Location::Data { offset, from } => {
            return matches!(ty, KernelType::DataLocString).then(|| {
                let at = StringAt::DataLoc { offset, from };
                let bytes_max = super::leaf::STRING_BYTES_DEFAULT;
                (DataType::Utf8View, Content::Leaf(Leaf::String { at, space: Space::Kernel, bytes_max }))
            });
        }
        Location::Here(place) => place,
    };
    let bytes = |place: Place, length: u32| {
        let length =
            u16::try_from(length).ok().filter(|length| (1..=super::leaf::STRING_BYTES_MAX).contains(length))?;
        Some(Content::Leaf(match place {
            Place::Context { offset } => Leaf::ContextBytes { offset, length },
            place @ (Place::Btf { .. } | Place::Cast { .. }) => Leaf::KernelBytes { place, length },
        }))
    };
    Some(match ty {
        KernelType::Int { bytes, signed } | KernelType::Enum { bytes, signed, .. } => {
            let data_type = match (bytes, signed) {
                (1, _) | (2, true) => DataType::Int16,
                (2, false) | (4, true) => DataType::Int32,
                _ => DataType::Int64,
            };
            let width = Width::of_bytes(*bytes)?;
            (data_type, Content::Leaf(Leaf::Number { place, width, signed: *signed, bits }))
        }
        KernelType::Bool => {
            let leaf = Leaf::Number { place, width: Width::One, signed: false, bits };
            (DataType::Boolean, Content::Leaf(leaf))
        }
        KernelType::CharArray { length } => (DataType::Utf8View, bytes(place, *length)?),
        KernelType::ByteArray { length } => {
            (DataType::FixedSizeBinary(i32::try_from(*length).ok()?), bytes(place, *length)?)
        }
        KernelType::UserPointer { .. } => (DataType::FixedSizeBinary(8), Content::Pointer(place, Space::User)),
        KernelType::KernelPointer { .. } => (DataType::FixedSizeBinary(8), Content::Pointer(place, Space::Kernel)),
        KernelType::IntArray { .. }
        | KernelType::DataLocString
        | KernelType::DataLocBytes
        | KernelType::Aggregate { .. }
        | KernelType::Opaque { .. } => return None,
    })
}
