//! The hooks of one kernel as tables.
//!
//! Layouts differ between kernels, so every name is looked up in the running one: tracepoints in tracefs, typed
//! arguments and struct members in BTF. Nothing here loads or attaches anything; the only change it may make to the
//! host is to mount tracefs.

mod btf; // Reads the kernel's types.
mod context; // Whose task is current at which hook.
mod declaration; // C declarations → types.
mod error; // What can go wrong here, for the log and for users.
mod hook; // Hooks, fields, places, types.
mod labels; // Names by which tracefs prints numbers.
mod nearest; // The names closest to a misspelt one.
mod path; // From an argument by dots to a value.
pub mod sampling; // Hooks that are functions: clocks and software events.
mod tracefs; // Finds, lists and reads tracepoint formats.

#[cfg(test)]
pub mod fixture; // The fixture kernel's types, for tests.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use probepilot_sql::{SqlError, SqlState};

pub use btf::{Btf, BtfKind, BtfMember, BtfType};
pub use error::KernelError;
pub use hook::{Bits, FieldPath, Hook, HookContext, HookField, HookKind, HookName, KernelType, Place};
pub use labels::Labels;
pub use nearest::nearest;
pub use sampling::{Rate, Sampling};

/// Where a kernel's BTF is.
const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Typedefs of BTF that give a `tp_btf` its arguments start so.
const BTF_TRACE_PREFIX: &str = "btf_trace_";

/// One kernel's hooks. Share it by `Arc`; hooks are read on demand and kept.
pub struct Kernel {
    events: Result<PathBuf, KernelError>,
    btf: Btf,
    /// Why `btf` is empty, when the kernel's could not be read.
    btf_error: Option<KernelError>,
    /// Hooks looked up so far; bounded by the number of hooks the kernel has.
    hooks: parking_lot::Mutex<HashMap<(HookKind, String, String), Arc<Hook>>>,
    btf_hooks: OnceLock<Vec<String>>,
}

impl Kernel {
    /// The running kernel. Mounts tracefs when it is not mounted and we may.
    ///
    /// # Errors
    /// When neither tracefs nor BTF can be read. With one of them, hooks of the other kind fail when asked for.
    pub fn of_host() -> Result<Kernel, KernelError> {
        let events = tracefs::locate();
        let (btf, btf_error) = match std::fs::read(BTF_PATH)
            .map_err(|source| KernelError::BtfUnreadable { path: BTF_PATH.into(), source })
            .and_then(Btf::parse)
        {
            Ok(btf) => (btf, None),
            Err(error) => (Btf::empty(), Some(error)),
        };
        match (events, btf_error) {
            (Err(_), Some(error)) => Err(error),
            (events, btf_error) => Ok(Kernel::new(events, btf, btf_error)),
        }
    }

    /// A kernel from a directory of tracepoint formats, `<group>/<event>/{format,id}`, and BTF.
    ///
    /// # Errors
    /// When the BTF is malformed.
    pub fn from_parts(tracefs_events_dir: PathBuf, btf: Vec<u8>) -> Result<Kernel, KernelError> {
        Ok(Kernel::new(Ok(tracefs_events_dir), Btf::parse(btf)?, None))
    }

    /// A tracepoint by the text of its `format` file, with the types of this kernel.
    ///
    /// # Errors
    /// XX001 when the text makes no sense.
    pub fn hook_of_format(&self, group: &str, name: &str, text: &str) -> Result<Hook, SqlError> {
        tracefs::of_format(text, group, name, &self.btf).map_err(|what| {
            KernelError::FormatMalformed { path: [group, name, "format"].iter().collect(), what }.to_sql()
        })
    }

    fn new(events: Result<PathBuf, KernelError>, btf: Btf, btf_error: Option<KernelError>) -> Kernel {
        Kernel { events, btf, btf_error, hooks: parking_lot::Mutex::default(), btf_hooks: OnceLock::new() }
    }

    /// The kernel's types; empty when it has none that we can read.
    pub fn btf(&self) -> &Btf {
        &self.btf
    }

    /// The hook of a name: `["tracepoint", "sched_process_exec"]`, `["tracepoint", "sched", "sched_process_exec"]`,
    /// `["tp_btf", "sched_switch"]`.
    ///
    /// # Errors
    /// 42P01 with the nearest names when it does not exist, 42501 when tracefs may not be read, 0A000 for a kind of hook
    /// that is not read yet, XX001 when the kernel's description makes no sense.
    pub fn hook(&self, parts: &[&str]) -> Result<Arc<Hook>, SqlError> {
        let (kind, group, name) = self.split_name(parts)?;
        let key = (kind, group.unwrap_or_default().to_string(), name.to_string());
        if let Some(hook) = self.hooks.lock().get(&key) {
            return Ok(hook.clone());
        }
        let hook = Arc::new(match kind {
            HookKind::Tracepoint => self.tracepoint(group, name)?,
            HookKind::BtfTracepoint => self.btf_tracepoint(group, name)?,
            HookKind::Profile | HookKind::Perf => unreachable!("functions have no schema"),
        });
        self.hooks.lock().insert(key, hook.clone());
        Ok(hook)
    }

    /// The names of all hooks, sorted, without reading each.
    pub fn hooks(&self) -> Vec<HookName> {
        let tracepoints = self.tracepoint_names();
        let groups: HashMap<&str, &str> =
            tracepoints.iter().map(|(group, name)| (name.as_str(), group.as_str())).collect();
        let mut names: Vec<HookName> = self
            .btf_hook_names()
            .iter()
            .map(|name| {
                let group = groups.get(name.as_str()).copied().unwrap_or_default();
                let context = context::of(group, name);
                HookName { kind: HookKind::BtfTracepoint, group: group.into(), name: name.clone(), context }
            })
            .collect();
        names.extend(tracepoints.iter().map(|(group, name)| {
            let context = context::of(group, name);
            HookName { kind: HookKind::Tracepoint, group: group.clone(), name: name.clone(), context }
        }));
        names.sort();
        names
    }

    /// The way to a value of a `tp_btf`: an argument, then members by name.
    ///
    /// # Errors
    /// 42703 with the nearest names when there is no such argument or member, 42809 when something before a dot is
    /// neither a struct nor a pointer to one.
    pub fn field_path(&self, hook: &Hook, names: &[&str]) -> Result<FieldPath, SqlError> {
        path::resolve(&self.btf, hook, names)
    }

    /// The way from a pointer to a struct of this name, by dots, to a value; `argument` says nothing.
    ///
    /// # Errors
    /// 42704 when there is no such struct, 42703 and 42809 as for [`Kernel::field_path`].
    pub fn member_path(&self, name: &str, members: &[&str]) -> Result<FieldPath, SqlError> {
        path::of_struct(&self.btf, name, members)
    }

    fn split_name<'a>(&self, parts: &[&'a str]) -> Result<(HookKind, Option<&'a str>, &'a str), SqlError> {
        let (schema, group, name) = match *parts {
            [schema, name] => (schema, None, name),
            [schema, group, name] => (schema, Some(group), name),
            _ => {
                return Err(SqlError::new(
                    SqlState::UNDEFINED_TABLE,
                    format!("hook \"{}\" does not exist", parts.join(".")),
                )
                .hint("A hook is named kind.event or kind.group.event."));
            }
        };
        match HookKind::of_schema(schema) {
            Some(kind) => Ok((kind, group, name)),
            None if probepilot_sql::hooks::SCHEMAS.contains(&schema) => {
                Err(SqlError::unsupported(format!("hooks of kind {schema} are not supported yet"))
                    .hint("Kinds that can be read are tracepoint and tp_btf."))
            }
            None => Err(SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("\"{schema}\" is not a kind of hook"))
                .hint("Kinds that can be read are tracepoint and tp_btf.")),
        }
    }

    fn tracepoint(&self, group: Option<&str>, name: &str) -> Result<Hook, SqlError> {
        let events = self.events.as_ref().map_err(KernelError::to_sql)?;
        let groups = match group {
            Some(group) if tracefs::exists(events, group, name) => vec![group.to_string()],
            Some(_) => Vec::new(),
            None => tracefs::groups_of(events, name).map_err(|error| error.to_sql())?,
        };
        match groups.as_slice() {
            [] => Err(self.unknown(HookKind::Tracepoint, name)),
            [group] => tracefs::read(events, group, name, &self.btf).map_err(|error| error.to_sql()),
            several => Err(SqlError::new(
                SqlState::UNDEFINED_TABLE,
                format!("tracepoint \"{name}\" exists in more than one group"),
            )
            .hint(format!(
                "Write {}.",
                several.iter().map(|group| format!("tracepoint.{group}.{name}")).collect::<Vec<_>>().join(" or ")
            ))),
        }
    }

    fn btf_tracepoint(&self, group: Option<&str>, name: &str) -> Result<Hook, SqlError> {
        if let Some(error) = &self.btf_error {
            return Err(error.to_sql());
        }
        let found_groups = self
            .events
            .as_ref()
            .map_or_else(|_| Vec::new(), |events| tracefs::groups_of(events, name).unwrap_or_default());
        let typedef = self.btf.find(BtfKind::Typedef, &format!("{BTF_TRACE_PREFIX}{name}"));
        match typedef {
            Some(typedef) if group.is_none_or(|group| found_groups.iter().any(|found| found == group)) => {
                let group = group.map(str::to_string).or_else(|| found_groups.into_iter().next()).unwrap_or_default();
                let fields = path::arguments(&self.btf, typedef, name).map_err(|error| error.to_sql())?;
                Ok(Hook {
                    kind: HookKind::BtfTracepoint,
                    context: context::of(&group, name),
                    group,
                    name: name.to_string(),
                    fields,
                    tracepoint_id: None,
                    btf_id: Some(typedef),
                    sampling: None,
                })
            }
            _ => Err(self.unknown(HookKind::BtfTracepoint, name)),
        }
    }

    fn unknown(&self, kind: HookKind, name: &str) -> SqlError {
        let error =
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("hook \"{}.{name}\" does not exist", kind.schema()));
        let names = match kind {
            HookKind::Tracepoint => self.tracepoint_names().into_iter().map(|(_, name)| name).collect(),
            HookKind::BtfTracepoint => self.btf_hook_names().to_vec(),
            HookKind::Profile | HookKind::Perf => Vec::new(),
        };
        let near = nearest(name, names.iter().map(String::as_str));
        if near.is_empty() {
            return error.hint("SHOW HOOKS lists what this kernel has.");
        }
        let near: Vec<String> = near.into_iter().map(|name| format!("{}.{name}", kind.schema())).collect();
        error.hint(format!("Perhaps you meant {}.", near.join(" or ")))
    }

    /// (group, name); empty when tracefs cannot be read.
    fn tracepoint_names(&self) -> Vec<(String, String)> {
        self.events.as_ref().map_or_else(|_| Vec::new(), |events| tracefs::list(events).unwrap_or_default())
    }

    fn btf_hook_names(&self) -> &[String] {
        self.btf_hooks.get_or_init(|| {
            self.btf
                .names(BtfKind::Typedef)
                .filter_map(|name| name.strip_prefix(BTF_TRACE_PREFIX))
                .map(str::to_string)
                .collect()
        })
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod malformed; // Types and formats that no compiler writes, and that must not hold us up.
