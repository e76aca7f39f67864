//! Finds tracefs (and mounts it when it may), lists tracepoints and reads their formats.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::btf::Btf;
use super::context;
use super::declaration::{self, Slot};
use super::error::KernelError;
use super::hook::{Hook, HookField, HookKind, KernelType, Place};
use super::labels::{self, Labels};

/// Where tracefs belongs.
const MOUNT_POINT: &CStr = c"/sys/kernel/tracing";

/// Where it may be as well: debugfs shows it inside itself on older hosts.
const WITHIN_DEBUGFS: &str = "/sys/kernel/debug/tracing";

/// The tracer's own events: nothing can be attached to them.
const GROUP_OF_TRACER: &str = "ftrace";

/// The directory of events of the running kernel.
pub fn locate() -> Result<PathBuf, KernelError> {
    let mount_point = PathBuf::from(MOUNT_POINT.to_str().expect("the path is ASCII"));
    let mut denied = None;
    for root in mounted().into_iter().chain([mount_point.clone(), WITHIN_DEBUGFS.into()]) {
        let events = root.join("events");
        match fs::read_dir(&events) {
            Ok(_) => return Ok(events),
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                denied.get_or_insert(KernelError::TracefsUnreadable { path: events, source });
            }
            Err(_) => {}
        }
    }
    if let Some(error) = denied {
        return Err(error);
    }
    mount().map_err(|source| KernelError::TracefsMissing { path: mount_point.clone(), source })?;
    Ok(mount_point.join("events"))
}

/// Says whether the group has this event. Names with anything but letters, digits and `_` do not exist.
pub fn exists(events: &Path, group: &str, name: &str) -> bool {
    is_name(group) && is_name(name) && group != GROUP_OF_TRACER && events.join(group).join(name).join("format").exists()
}

/// The groups that have an event of this name: one, on the kernels we know.
pub fn groups_of(events: &Path, name: &str) -> Result<Vec<String>, KernelError> {
    let mut groups = directories(events)?;
    groups.retain(|group| exists(events, group, name));
    Ok(groups)
}

/// All (group, event), sorted.
pub fn list(events: &Path) -> Result<Vec<(String, String)>, KernelError> {
    let mut names = Vec::new();
    for group in directories(events)?.into_iter().filter(|group| group != GROUP_OF_TRACER) {
        names.extend(directories(&events.join(&group))?.into_iter().map(|name| (group.clone(), name)));
    }
    Ok(names)
}

/// Reads the tracepoint's number and format.
pub fn read(events: &Path, group: &str, name: &str, btf: &Btf) -> Result<Hook, KernelError> {
    let path = events.join(group).join(name).join("format");
    let text =
        fs::read_to_string(&path).map_err(|source| KernelError::TracefsUnreadable { path: path.clone(), source })?;
    of_format(&text, group, name, btf).map_err(|what| KernelError::FormatMalformed { path, what })
}

/// A tracepoint by the text of its `format` file; the error says what makes no sense in it.
pub fn of_format(text: &str, group: &str, name: &str, btf: &Btf) -> Result<Hook, String> {
    let (id, fields) = parse(text, group, name, btf)?;
    Ok(Hook {
        kind: HookKind::Tracepoint,
        group: group.to_string(),
        name: name.to_string(),
        context: context::of(group, name),
        fields,
        tracepoint_id: Some(id),
        btf_id: None,
        sampling: None,
    })
}

/// A `format` file's number and fields, the kernel's `common_…` ones left out.
fn parse(text: &str, group: &str, name: &str, btf: &Btf) -> Result<(u32, Vec<HookField>), String> {
    let syscall_argument = group == "syscalls" && name.starts_with("sys_enter_");
    let id = text
        .lines()
        .find_map(|line| line.strip_prefix("ID:"))
        .and_then(|id| id.trim().parse().ok())
        .ok_or("it has no ID")?;
    let labels = labels::of_format(text);
    let mut fields = Vec::new();
    for line in text.lines().filter(|line| line.trim_start().starts_with("field:")) {
        let mut field =
            parse_field(line, syscall_argument, btf).ok_or_else(|| format!("the line \"{}\"", line.trim()))?;
        if !field.name.starts_with("common_") {
            field.labels = labels.get(field.name.as_str()).cloned().unwrap_or_default();
            fields.push(field);
        }
    }
    Ok((id, fields))
}

/// A line such as `field:const char * filename; offset:24; size:8; signed:0;`, with tabs after the semicolons.
fn parse_field(line: &str, syscall: bool, btf: &Btf) -> Option<HookField> {
    let mut parts = line.split(';').map(str::trim);
    let declaration = parts.next()?.strip_prefix("field:")?.trim().to_string();
    let mut number = |key: &str| parts.next()?.strip_prefix(key)?.strip_prefix(':')?.trim().parse::<u32>().ok();
    let (offset, bytes, signed) = (number("offset")?, number("size")?, number("signed")? != 0);
    let offset = u16::try_from(offset).ok()?;

    let (unbracketed, array) = match declaration.split_once('[') {
        // The brackets of `__data_loc char[] name` belong to the type, not to the name.
        Some((before, after)) => match after.split_once(']')? {
            (_, "") => (before.to_string(), true),
            (_, name) => (format!("{before} {}", name.trim()), true),
        },
        None => (declaration.clone(), false),
    };
    let declared = unbracketed.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let name = &unbracketed[declared.len()..];
    let declared = declared.trim();
    if name.is_empty() || declared.is_empty() {
        return None;
    }
    let dynamic = |element: &str| {
        if declaration::is_char(element) { KernelType::DataLocString } else { KernelType::DataLocBytes }
    };
    let (ty, place) = if let Some(element) = declared.strip_prefix("__data_loc ") {
        (dynamic(element), Place::DataLoc { offset })
    } else if let Some(element) = declared.strip_prefix("__rel_loc ") {
        (dynamic(element), Place::RelativeLoc { offset })
    } else {
        // The kernel prints the number of the call, `__syscall_nr`, among the arguments; its slot is an int's own.
        let slot = Slot { bytes, signed, syscall_argument: syscall && bytes == 8 };
        (declaration::of_declaration(declared, array, slot, btf), Place::ContextOffset { offset })
    };
    Some(HookField { name: name.to_string(), ty, place, declaration, labels: Labels::default() })
}

/// Mount points of tracefs that this process sees.
fn mounted() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (_, point, kind) = (words.next()?, words.next()?, words.next()?);
            (kind == "tracefs").then(|| PathBuf::from(point))
        })
        .collect()
}

fn mount() -> io::Result<()> {
    // SAFETY: all four strings are NUL-terminated and live through the call; no options are passed.
    let result =
        unsafe { libc::mount(c"tracefs".as_ptr(), MOUNT_POINT.as_ptr(), c"tracefs".as_ptr(), 0, std::ptr::null()) };
    if result == 0 {
        tracing::info!(path = ?MOUNT_POINT, "mounted tracefs");
        return Ok(());
    }
    match io::Error::last_os_error() {
        // Someone else was faster.
        error if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        error => Err(error),
    }
}

/// Names of the directories in `path`, sorted.
fn directories(path: &Path) -> Result<Vec<String>, KernelError> {
    let unreadable = |source| KernelError::TracefsUnreadable { path: path.to_path_buf(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if entry.file_type().map_err(unreadable)?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::kernel::{Btf, KernelType, Place};

    #[test]
    fn a_format_is_read_without_its_common_fields() {
        let text = "name: thing\nID: 77\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
            \tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;\n\
            \tfield:char rwbs[10];\toffset:12;\tsize:10;\tsigned:0;\n\
            \tfield:__rel_loc u8[] blob;\toffset:24;\tsize:4;\tsigned:0;\n\
            \tfield:pid_t old_pid;\toffset:28;\tsize:4;\tsigned:1;\n\nprint fmt: \"%d\", REC->old_pid\n";
        let (id, fields) = parse(text, "made", "thing", &Btf::empty()).unwrap();
        assert_eq!(id, 77);
        let seen: Vec<_> = fields.iter().map(|field| (field.name.as_str(), field.ty.clone(), field.place)).collect();
        assert_eq!(
            seen,
            [
                ("filename", KernelType::DataLocString, Place::DataLoc { offset: 8 }),
                ("rwbs", KernelType::CharArray { length: 10 }, Place::ContextOffset { offset: 12 }),
                ("blob", KernelType::DataLocBytes, Place::RelativeLoc { offset: 24 }),
                ("old_pid", KernelType::Int { bytes: 4, signed: true }, Place::ContextOffset { offset: 28 }),
            ]
        );
    }

    #[test]
    fn a_character_of_many_bytes_ends_a_type_and_is_in_no_name() {
        let line = |declaration: &str| format!("ID: 1\n\tfield:{declaration};\toffset:8;\tsize:4;\tsigned:1;\n");
        let read = |declaration: &str| parse(&line(declaration), "made", "thing", &Btf::empty());
        for blank in ["\u{a0}", "\u{2003}", "é", "😀"] {
            let (_, fields) = read(&format!("int{blank}value")).unwrap();
            assert_eq!((fields.len(), fields[0].name.as_str()), (1, "value"), "{blank:?}");
        }
        assert!(read("int valué").is_err());
    }

    #[test]
    fn a_malformed_format_names_its_line() {
        let text = "ID: 1\n\tfield:int;\toffset:x;\tsize:4;\tsigned:1;\n";
        let error = parse(text, "made", "thing", &Btf::empty()).unwrap_err();
        assert!(error.contains("field:int"), "{error}");
        assert_eq!(parse("name: x\n", "made", "x", &Btf::empty()).unwrap_err(), "it has no ID");
    }
}
