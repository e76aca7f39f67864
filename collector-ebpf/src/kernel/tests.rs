//! The fixture kernel read as tables.

use std::path::PathBuf;

use super::fixture;
use super::*;

fn fixture_directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixture")
}

/// The fixture kernel, from its files.
fn kernel() -> Kernel {
    let directory = fixture_directory();
    Kernel::from_parts(directory.join("events"), std::fs::read(directory.join("vmlinux.btf")).unwrap()).unwrap()
}

#[test]
fn the_fixtures_types_are_what_the_encoder_makes() {
    let file = fixture_directory().join("vmlinux.btf");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, fixture::btf()).unwrap();
    }
    assert!(std::fs::read(&file).unwrap() == fixture::btf(), "run with UPDATE_GOLDEN=1 and read the diff");
}

#[test]
fn a_tracepoint_is_found_by_two_parts_and_by_three() {
    let kernel = kernel();
    let hook = kernel.hook(&["tracepoint", "sched_process_exec"]).unwrap();
    assert_eq!(hook, kernel.hook(&["tracepoint", "sched", "sched_process_exec"]).unwrap());
    assert_eq!((hook.group.as_str(), hook.context), ("sched", HookContext::Task));
    assert_eq!(hook.tracepoint_id, Some(101));
    assert_eq!(hook.field("filename").unwrap().ty, KernelType::DataLocString);
    assert_eq!(hook.field("filename").unwrap().declaration, "__data_loc char[] filename");
    assert!(hook.field("common_pid").is_none());
}

#[test]
fn a_system_calls_arguments_have_their_declared_width() {
    let hook = kernel().hook(&["tracepoint", "sys_enter_openat"]).unwrap();
    let seen: Vec<_> = hook.fields.iter().map(|field| (field.name.as_str(), field.ty.clone(), field.place)).collect();
    let at = |offset| Place::ContextOffset { offset };
    assert_eq!(
        seen,
        [
            ("__syscall_nr", KernelType::Int { bytes: 4, signed: true }, at(8)),
            ("dfd", KernelType::Int { bytes: 4, signed: true }, at(16)),
            ("filename", KernelType::UserPointer { to: "char".into() }, at(24)),
            ("flags", KernelType::Int { bytes: 4, signed: true }, at(32)),
            ("mode", KernelType::Int { bytes: 2, signed: false }, at(40)),
        ]
    );
}

#[test]
fn every_tracepoint_of_the_fixture_can_be_read() {
    let kernel = kernel();
    let names = kernel.hooks();
    assert!(names.iter().filter(|name| name.kind == HookKind::Tracepoint).count() >= 12);
    assert!(names.iter().filter(|name| name.kind == HookKind::BtfTracepoint).count() >= 12);
    for name in names {
        let hook = kernel.hook(&[name.kind.schema(), &name.name]).unwrap();
        assert!(!hook.fields.is_empty(), "{hook}");
        assert_eq!((hook.context, &hook.group), (name.context, &name.group), "{hook}");
    }
}

#[test]
fn a_misspelt_hook_names_the_nearest() {
    let error = kernel().hook(&["tracepoint", "sched_proces_exec"]).unwrap_err();
    assert_eq!(error.state, SqlState::UNDEFINED_TABLE);
    assert_eq!(error.message, "hook \"tracepoint.sched_proces_exec\" does not exist");
    assert!(error.hint.unwrap().starts_with("Perhaps you meant tracepoint.sched_process_exec"));
    let error = kernel().hook(&["tp_btf", "sched_swich"]).unwrap_err();
    assert_eq!(error.hint.unwrap(), "Perhaps you meant tp_btf.sched_switch.");
    for name in ["../../sched/sched_process_exec", "", "."] {
        assert_eq!(kernel().hook(&["tracepoint", name]).unwrap_err().state, SqlState::UNDEFINED_TABLE);
        assert_eq!(kernel().hook(&["tracepoint", "..", name]).unwrap_err().state, SqlState::UNDEFINED_TABLE);
    }
}

#[test]
fn kinds_of_hooks_that_cannot_be_read_yet_are_refused() {
    assert_eq!(kernel().hook(&["kprobe", "tcp_sendmsg"]).unwrap_err().state, SqlState::FEATURE_NOT_SUPPORTED);
    assert_eq!(kernel().hook(&["nonsense", "x"]).unwrap_err().state, SqlState::INVALID_SCHEMA_NAME);
    assert_eq!(kernel().hook(&["tracepoint"]).unwrap_err().state, SqlState::UNDEFINED_TABLE);
}

#[test]
fn arguments_of_a_typed_hook_come_from_its_prototype() {
    let hook = kernel().hook(&["tp_btf", "sched_switch"]).unwrap();
    assert!(hook.btf_id.is_some());
    assert_eq!(hook.group, "");
    let seen: Vec<_> = hook.fields.iter().map(|field| (field.declaration.as_str(), field.place)).collect();
    let argument = |index| Place::BtfArgument { index };
    assert_eq!(
        seen,
        [
            ("bool preempt", argument(0)),
            ("struct task_struct * prev", argument(1)),
            ("struct task_struct * next", argument(2)),
            ("unsigned int prev_state", argument(3)),
        ]
    );
    assert_eq!(hook.field("preempt").unwrap().ty, KernelType::Bool);
    assert_eq!(kernel().hook(&["tp_btf", "unnamed_argument"]).unwrap().fields[0].name, "arg0");
}

#[track_caller]
fn check_path(hook: &str, path: &str, pointers: &[u32], offset: Option<u32>, ty: &KernelType, bits: Option<Bits>) {
    let kernel = kernel();
    let hook = kernel.hook(&["tp_btf", hook]).unwrap();
    let names: Vec<&str> = path.split('.').collect();
    let found = kernel.field_path(&hook, &names).unwrap();
    assert_eq!(
        (found.pointers.as_slice(), found.offset, &found.ty, found.bits),
        (pointers, offset, ty, bits),
        "{path}"
    );
}

#[test]
fn dots_follow_pointers_structs_and_anonymous_unions() {
    let int = |bytes, signed| KernelType::Int { bytes, signed };
    check_path("sched_switch", "prev_state", &[], None, &int(4, false), None);
    check_path("sched_switch", "next.real_parent.tgid", &[64], Some(36), &int(4, true), None);
    check_path("sched_switch", "next.group_leader.real_parent.pid", &[72, 64], Some(32), &int(4, true), None);
    check_path("sched_switch", "next.comm", &[], Some(80), &KernelType::CharArray { length: 16 }, None);
    check_path("sched_process_exit", "p.signal.ioac.read_bytes", &[128], Some(96), &int(8, false), None);
    check_path("inet_sock_set_state", "sk.__sk_common.skc_rcv_saddr", &[], Some(4), &int(4, false), None);
    check_path("inet_sock_set_state", "sk.__sk_common.skc_dport", &[], Some(12), &int(2, false), None);
    let address = KernelType::ByteArray { length: 16 };
    check_path("inet_sock_set_state", "sk.__sk_common.skc_v6_daddr.s6_addr", &[], Some(24), &address, None);
    let words = KernelType::IntArray { bytes: 4, signed: false, length: 4 };
    check_path("inet_sock_set_state", "sk.__sk_common.skc_v6_daddr.s6_addr32", &[], Some(24), &words, None);
    let text = KernelType::KernelPointer { to: "const char".into(), type_id: None };
    check_path("sched_process_exec", "bprm.filename", &[], Some(24), &text, None);
    let user = KernelType::UserPointer { to: "char".into() };
    check_path("sched_switch", "next.name_in_user_memory", &[], Some(192), &user, None);
}

#[test]
fn bit_fields_and_enumerations_keep_their_values() {
    let unsigned = KernelType::Int { bytes: 4, signed: false };
    check_path("sched_switch", "next.in_execve", &[], Some(208), &unsigned, Some(Bits { shift: 1, width: 1 }));
    check_path("sched_switch", "next.in_iowait", &[], Some(212), &unsigned, Some(Bits { shift: 2, width: 3 }));
    let values = [("PIDTYPE_NONE", -1), ("PIDTYPE_PID", 0), ("PIDTYPE_TGID", 1)];
    let values = values.map(|(name, value)| (name.to_string(), value)).into();
    check_path(
        "sched_switch",
        "next.exited_as",
        &[],
        Some(184),
        &KernelType::Enum { bytes: 4, signed: true, values },
        None,
    );
    let values = [("BIG_MASK".to_string(), (1 << 32) | 1)].into();
    check_path(
        "sched_switch",
        "next.mask",
        &[],
        Some(200),
        &KernelType::Enum { bytes: 8, signed: false, values },
        None,
    );
}

#[test]
fn a_misspelt_member_names_the_nearest() {
    let kernel = kernel();
    let hook = kernel.hook(&["tp_btf", "sched_switch"]).unwrap();
    let fail = |names: &[&str]| {
        let error = kernel.field_path(&hook, names).unwrap_err();
        (error.state, error.message, error.hint)
    };
    assert_eq!(
        fail(&["next", "real_parnt", "tgid"]),
        (
            SqlState::UNDEFINED_COLUMN,
            "struct task_struct has no member \"real_parnt\"".to_string(),
            Some("Perhaps you meant real_parent.".to_string()),
        )
    );
    assert_eq!(fail(&["nxt"]).2.unwrap(), "Perhaps you meant next.");
    assert_eq!(fail(&["next", "pid", "x"]).0, SqlState::WRONG_OBJECT_TYPE);
    assert_eq!(fail(&["preempt", "x"]).0, SqlState::WRONG_OBJECT_TYPE);
    assert_eq!(fail(&[]).0, SqlState::UNDEFINED_COLUMN);
    let tracepoint = kernel.hook(&["tracepoint", "sched_process_exec"]).unwrap();
    assert_eq!(kernel.field_path(&tracepoint, &["pid", "x"]).unwrap_err().state, SqlState::WRONG_OBJECT_TYPE);
}

#[test]
fn cut_or_altered_types_are_refused_or_read_without_panic() {
    let whole = fixture::btf();
    for length in 0..whole.len() {
        assert!(Btf::parse(whole[..length].to_vec()).is_err(), "{length} bytes");
    }
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] ^= 0x55;
        let directory = fixture_directory();
        let Ok(kernel) = Kernel::from_parts(directory.join("events"), altered) else { continue };
        // Any answer will do, as long as there is one.
        for name in ["sched_switch", "inet_sock_set_state", "sched_process_exit"] {
            if let Ok(hook) = kernel.hook(&["tp_btf", name]) {
                for field in &hook.fields {
                    let _ = kernel.field_path(&hook, &[&field.name, "signal", "ioac", "read_bytes"]);
                    let _ = kernel.field_path(&hook, &[&field.name, "__sk_common", "skc_daddr"]);
                }
            }
        }
    }
}

/// The running kernel, when it lets us read its hooks.
fn host() -> Option<Kernel> {
    match Kernel::of_host() {
        Ok(kernel) if kernel.events.is_ok() && kernel.btf_error.is_none() => Some(kernel),
        Ok(kernel) => {
            println!("skipped: needs tracefs and BTF: {:?} {:?}", kernel.events, kernel.btf_error);
            None
        }
        Err(error) => {
            println!("skipped: needs tracefs and BTF: {error}");
            None
        }
    }
}

#[test]
fn every_hook_of_the_running_kernel_can_be_read() {
    let Some(kernel) = host() else { return };
    let names = kernel.hooks();
    assert!(names.len() > 500, "{} hooks", names.len());
    for name in &names {
        let hook = kernel.hook(&[name.kind.schema(), &name.name]).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        if name.kind == HookKind::Tracepoint {
            assert!(hook.tracepoint_id.is_some_and(|id| id > 0), "{hook}");
        }
    }
}

#[test]
fn members_of_the_running_kernels_structs_are_found() {
    let Some(kernel) = host() else { return };
    let hook = kernel.hook(&["tp_btf", "sched_switch"]).unwrap();
    let path = kernel.field_path(&hook, &["next", "real_parent", "tgid"]).unwrap();
    assert_eq!((path.argument, path.pointers.len(), path.ty), (2, 1, KernelType::Int { bytes: 4, signed: true }));
    let path = kernel.field_path(&hook, &["next", "comm"]).unwrap();
    assert_eq!(path.ty, KernelType::CharArray { length: 16 });
    let hook = kernel.hook(&["tp_btf", "inet_sock_set_state"]).unwrap();
    let path = kernel.field_path(&hook, &["sk", "__sk_common", "skc_dport"]).unwrap();
    assert_eq!((path.offset, path.ty), (Some(12), KernelType::Int { bytes: 2, signed: false }));
}
