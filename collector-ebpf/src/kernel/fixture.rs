//! The types of the fixture kernel: few, our own, and laid out as no real kernel lays them out.
//!
//! `tests/fixture/vmlinux.btf` is what this makes; a test keeps the two the same (`UPDATE_GOLDEN=1` writes the file).

use std::collections::HashMap;

use crate::btf_encoder::BtfEncoder;

const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const CONST: u32 = 10;
const FUNCTION: u32 = 12;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// Bytes of `tests/fixture/vmlinux.btf`.
pub fn btf() -> Vec<u8> {
    let mut types = Types::new();
    types.scalars();
    types.structs();
    types.tracepoints();
    types.encoder.finish()
}

struct Types {
    encoder: BtfEncoder,
    named: HashMap<String, u32>,
}

impl Types {
    fn new() -> Types {
        Types { encoder: BtfEncoder::new(), named: HashMap::new() }
    }

    /// A type by what C would write: `task_struct *`, `char[16]`, `const char *`, `char user *`.
    fn id(&mut self, spelled: &str) -> u32 {
        if let Some(id) = self.named.get(spelled) {
            return *id;
        }
        let id = if let Some(to) = spelled.strip_suffix(" user *") {
            let to = self.id(to);
            let tagged = self.encoder.add(TYPE_TAG, "user", 0, false, to, &[]);
            self.encoder.pointer(tagged)
        } else if let Some(to) = spelled.strip_suffix(" *") {
            let to = self.id(to);
            self.encoder.pointer(to)
        } else if let Some(of) = spelled.strip_prefix("const ") {
            let of = self.id(of);
            self.encoder.add(CONST, "", 0, false, of, &[])
        } else if let Some((element, length)) = spelled.split_once('[') {
            let length: u32 = length.trim_end_matches(']').parse().unwrap();
            let (element, index) = (self.id(element), self.id("int"));
            self.encoder.array(element, index, length)
        } else if spelled == "void" {
            0
        } else {
            panic!("the fixture has no type {spelled}");
        };
        self.named.insert(spelled.to_string(), id);
        id
    }

    fn scalars(&mut self) {
        for (name, bytes, signed) in [
            ("char", 1, true),
            ("unsigned char", 1, false),
            ("short", 2, true),
            ("unsigned short", 2, false),
            ("int", 4, true),
            ("unsigned int", 4, false),
            ("long", 8, true),
            ("unsigned long", 8, false),
        ] {
            let id = self.encoder.int(name, bytes, signed);
            self.named.insert(name.to_string(), id);
        }
        // Encoding 4 is a boolean.
        let id = self.encoder.add(1, "_Bool", 0, false, 1, &[(4 << 24) | 8]);
        self.named.insert("_Bool".to_string(), id);
        for (name, of) in [
            ("bool", "_Bool"),
            ("u8", "unsigned char"),
            ("__u8", "unsigned char"),
            ("u16", "unsigned short"),
            ("__u16", "unsigned short"),
            ("__be16", "__u16"),
            ("u32", "unsigned int"),
            ("u64", "unsigned long"),
            ("s32", "int"),
            ("pid_t", "int"),
            ("uid_t", "unsigned int"),
            ("umode_t", "unsigned short"),
            ("dev_t", "u32"),
            ("sector_t", "u64"),
        ] {
            self.typedef(name, of);
        }
        // One signed, one of 64 bits.
        let words: Vec<u32> = [("PIDTYPE_NONE", -1_i32), ("PIDTYPE_PID", 0), ("PIDTYPE_TGID", 1)]
            .into_iter()
            .flat_map(|(name, value)| [self.encoder.string(name), value.cast_unsigned()])
            .collect();
        let id = self.encoder.add(ENUM, "pid_type", 3, true, 4, &words);
        self.named.insert("pid_type".to_string(), id);
        let words: Vec<u32> = [("SKB_DROP_REASON_NOT_SPECIFIED", 2), ("SKB_DROP_REASON_NO_SOCKET", 3)]
            .into_iter()
            .flat_map(|(name, value)| [self.encoder.string(name), value])
            .collect();
        let id = self.encoder.add(ENUM, "skb_drop_reason", 2, false, 4, &words);
        self.named.insert("skb_drop_reason".to_string(), id);
        let name = self.encoder.string("BIG_MASK");
        let id = self.encoder.add(ENUM64, "big_mask", 1, false, 8, &[name, 1, 1]);
        self.named.insert("big_mask".to_string(), id);
    }

    fn typedef(&mut self, name: &str, of: &str) {
        let of = self.id(of);
        let id = self.encoder.add(TYPEDEF, name, 0, false, of, &[]);
        self.named.insert(name.to_string(), id);
    }

    /// A struct or union whose members are (name, type, bytes from its start).
    fn aggregate(&mut self, kind: u32, name: &str, bytes: u32, members: &[(&str, &str, u32)]) -> u32 {
        let mut words = Vec::new();
        for (name, ty, offset) in members {
            let ty = self.id(ty);
            words.extend([self.encoder.string(name), ty, offset * 8]);
        }
        let id = self.encoder.add(kind, name, members.len(), false, bytes, &words);
        if !name.is_empty() {
            self.named.insert(name.to_string(), id);
        }
        id
    }

    fn structs(&mut self) {
        self.aggregate(
            STRUCT,
            "task_io_accounting",
            48,
            &[("rchar", "u64", 0), ("wchar", "u64", 8), ("read_bytes", "u64", 32), ("write_bytes", "u64", 40)],
        );
        self.aggregate(
            STRUCT,
            "signal_struct",
            256,
            &[
                ("utime", "u64", 16),
                ("stime", "u64", 24),
                ("group_exit_code", "int", 40),
                ("maxrss", "unsigned long", 48),
                ("ioac", "task_io_accounting", 64),
                ("oom_score_adj", "short", 120),
            ],
        );
        self.aggregate(STRUCT, "kernfs_node", 64, &[("id", "u64", 40)]);
        self.aggregate(STRUCT, "cgroup", 128, &[("kn", "kernfs_node *", 88)]);
        self.aggregate(STRUCT, "css_set", 96, &[("dfl_cgrp", "cgroup *", 72)]);
        self.aggregate(STRUCT, "kuid_t", 4, &[("val", "uid_t", 0)]);
        self.aggregate(STRUCT, "kgid_t", 4, &[("val", "unsigned int", 0)]);
        self.aggregate(STRUCT, "cred", 64, &[("uid", "kuid_t", 16), ("euid", "kuid_t", 40), ("egid", "kgid_t", 44)]);
        self.task_struct();
        self.linux_binprm();
        self.aggregate(
            STRUCT,
            "pt_regs",
            168,
            &[
                ("dx", "unsigned long", 96),
                ("si", "unsigned long", 104),
                ("di", "unsigned long", 112),
                ("orig_ax", "unsigned long", 120),
            ],
        );
        self.aggregate(STRUCT, "in6_addr", 16, &[("s6_addr", "u8[16]", 0), ("s6_addr32", "u32[4]", 0)]);
        let addresses = self.aggregate(STRUCT, "", 8, &[("skc_daddr", "u32", 0), ("skc_rcv_saddr", "u32", 4)]);
        self.named.insert("skc_addresses".to_string(), addresses);
        let pair = self.aggregate(UNION, "", 8, &[("skc_addrpair", "u64", 0), ("", "skc_addresses", 0)]);
        self.named.insert("skc_pair".to_string(), pair);
        self.aggregate(
            STRUCT,
            "sock_common",
            64,
            &[
                ("", "skc_pair", 0),
                ("skc_dport", "__be16", 12),
                ("skc_num", "u16", 14),
                ("skc_family", "u16", 16),
                ("skc_state", "u8", 18),
                ("skc_v6_daddr", "in6_addr", 24),
                ("skc_v6_rcv_saddr", "in6_addr", 40),
                ("skc_flags", "unsigned long", 56),
            ],
        );
        self.aggregate(STRUCT, "sock_cgroup_data", 8, &[("cgroup", "cgroup *", 0)]);
        self.aggregate(
            STRUCT,
            "sock",
            128,
            &[("__sk_common", "sock_common", 0), ("sk_err", "int", 72), ("sk_cgrp_data", "sock_cgroup_data", 96)],
        );
        self.aggregate(
            STRUCT,
            "tcp_sock",
            256,
            &[
                ("sk", "sock", 0),
                ("bytes_received", "u64", 136),
                ("bytes_sent", "u64", 152),
                ("bytes_retrans", "u64", 168),
                ("total_retrans", "u32", 184),
            ],
        );
        self.aggregate(STRUCT, "sk_buff", 64, &[("len", "unsigned int", 8)]);
        self.aggregate(
            STRUCT,
            "kernel_siginfo",
            48,
            &[("si_signo", "int", 0), ("si_errno", "int", 4), ("si_code", "int", 8)],
        );
        self.aggregate(STRUCT, "irqaction", 96, &[("irq", "unsigned int", 48), ("name", "const char *", 64)]);
        self.aggregate(STRUCT, "gendisk", 64, &[("major", "int", 8), ("first_minor", "int", 16)]);
        self.aggregate(STRUCT, "request_queue", 64, &[("disk", "gendisk *", 24)]);
        self.aggregate(
            STRUCT,
            "request",
            96,
            &[
                ("__data_len", "unsigned int", 16),
                ("__sector", "sector_t", 24),
                ("cmd_flags", "unsigned int", 40),
                ("q", "request_queue *", 48),
            ],
        );
    }

    /// A struct some of whose members are bit fields: (name, type, bits of the field << 24 | bits from the struct's start).
    fn with_bit_fields(&mut self, name: &str, bytes: u32, members: &[(&str, u32, u32)]) -> u32 {
        let words: Vec<u32> =
            members.iter().flat_map(|(name, ty, place)| [self.encoder.string(name), *ty, *place]).collect();
        let id = self.encoder.add(STRUCT, name, members.len(), true, bytes, &words);
        self.named.insert(name.to_string(), id);
        id
    }

    /// `task_struct` points to itself, and has bit fields, so it is written out by hand.
    fn task_struct(&mut self) {
        let spelled = [
            ("__state", "unsigned int", 8),
            ("flags", "unsigned int", 12),
            ("pid", "pid_t", 32),
            ("tgid", "pid_t", 36),
            ("start_time", "u64", 48),
            ("start_boottime", "u64", 56),
            ("comm", "char[16]", 80),
            ("exit_code", "int", 100),
            ("exit_signal", "int", 104),
            ("utime", "u64", 112),
            ("stime", "u64", 120),
            ("signal", "signal_struct *", 128),
            ("ioac", "task_io_accounting", 136),
            ("exited_as", "pid_type", 184),
            ("name_in_user_memory", "char user *", 192),
            ("mask", "big_mask", 200),
            ("on_cpu", "int", 216),
            ("cgroups", "css_set *", 224),
            ("cred", "const cred *", 232),
        ];
        let mut members: Vec<(&str, u32, u32)> =
            spelled.into_iter().map(|(name, ty, bytes)| (name, self.id(ty), bytes * 8)).collect();
        let bit_unit = self.id("unsigned int");
        let pointer = self.encoder.pointer(self.encoder.next_id() + 1);
        members.push(("real_parent", pointer, 64 * 8));
        members.push(("group_leader", pointer, 72 * 8));
        members.push(("in_execve", bit_unit, (1 << 24) | (208 * 8 + 1)));
        members.push(("in_iowait", bit_unit, (3 << 24) | (208 * 8 + 34)));
        let id = self.with_bit_fields("task_struct", 256, &members);
        assert_eq!(id, pointer + 1, "the pointer was made for the struct that comes next");
        self.named.insert("task_struct *".to_string(), pointer);
    }

    /// What is executed; it has bit fields, and the file's number of names is in a union.
    fn linux_binprm(&mut self) {
        let links = self.aggregate(UNION, "", 4, &[("i_nlink", "unsigned int", 0), ("__i_nlink", "unsigned int", 0)]);
        self.named.insert("inode_links".to_string(), links);
        self.aggregate(STRUCT, "inode", 128, &[("", "inode_links", 56)]);
        self.aggregate(STRUCT, "file", 64, &[("f_inode", "inode *", 32)]);
        let spelled = [
            ("filename", "const char *", 24),
            ("interp", "const char *", 32),
            ("argc", "int", 40),
            ("file", "file *", 48),
        ];
        let mut members: Vec<(&str, u32, u32)> =
            spelled.into_iter().map(|(name, ty, bytes)| (name, self.id(ty), bytes * 8)).collect();
        members.push(("secureexec", self.id("unsigned int"), (1 << 24) | (56 * 8 + 2)));
        self.with_bit_fields("linux_binprm", 128, &members);
    }

    fn tracepoints(&mut self) {
        let tracepoints: [(&str, &[(&str, &str)]); 16] = [
            ("sched_wakeup", &[("p", "task_struct *")]),
            ("sched_process_exec", &[("p", "task_struct *"), ("old_pid", "pid_t"), ("bprm", "linux_binprm *")]),
            ("sched_process_exit", &[("p", "task_struct *"), ("group_dead", "bool")]),
            ("sched_process_fork", &[("parent", "task_struct *"), ("child", "task_struct *")]),
            (
                "sched_switch",
                &[
                    ("preempt", "bool"),
                    ("prev", "task_struct *"),
                    ("next", "task_struct *"),
                    ("prev_state", "unsigned int"),
                ],
            ),
            ("sys_enter", &[("regs", "pt_regs *"), ("id", "long")]),
            ("sys_exit", &[("regs", "pt_regs *"), ("ret", "long")]),
            (
                "signal_generate",
                &[
                    ("sig", "int"),
                    ("info", "kernel_siginfo *"),
                    ("task", "task_struct *"),
                    ("group", "int"),
                    ("result", "int"),
                ],
            ),
            ("inet_sock_set_state", &[("sk", "const sock *"), ("oldstate", "const int"), ("newstate", "const int")]),
            ("tcp_retransmit_skb", &[("sk", "const sock *"), ("skb", "const sk_buff *"), ("err", "int")]),
            ("irq_handler_entry", &[("irq", "int"), ("action", "irqaction *")]),
            ("irq_handler_exit", &[("irq", "int"), ("action", "irqaction *"), ("ret", "int")]),
            ("mark_victim", &[("task", "task_struct *"), ("uid", "uid_t")]),
            ("block_rq_issue", &[("rq", "request *")]),
            ("block_rq_complete", &[("rq", "request *"), ("error", "int"), ("nr_bytes", "unsigned int")]),
            ("unnamed_argument", &[("", "int")]),
        ];
        for (name, arguments) in tracepoints {
            let mut parameters = vec![("__data", self.id("void *"))];
            for (name, ty) in arguments {
                parameters.push((name, self.id(ty)));
            }
            // As compilers do it: names stand at the function, not at the pointer's type.
            let prototype = self.encoder.prototype(0, &parameters);
            self.encoder.add(FUNCTION, &format!("__traceiter_{name}"), 0, false, prototype, &[]);
            let unnamed: Vec<(&str, u32)> = parameters.iter().map(|(_, ty)| ("", *ty)).collect();
            let prototype = self.encoder.prototype(0, &unnamed);
            let pointer = self.encoder.pointer(prototype);
            self.encoder.add(TYPEDEF, &format!("btf_trace_{name}"), 0, false, pointer, &[]);
        }
    }
}
