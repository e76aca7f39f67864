//! `signal_name(n)`, `errno_name(n)`, `syscall_name(n)`, `tcp_state_name(n)`: the kernel's numbers as the words people use.

use std::sync::Arc;

use arrow::array::{AsArray, StringViewBuilder};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::syscalls;

/// The functions. A number without a name reads NULL.
pub fn all() -> Vec<ScalarUDF> {
    [Numbered::Signal, Numbered::Error, Numbered::SystemCall, Numbered::TcpState]
        .into_iter()
        .map(|of| {
            let signature = Signature::exact(vec![DataType::Int64], Volatility::Immutable);
            ScalarUDF::from(NameOf { of, signature })
        })
        .collect()
}

/// What the numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Numbered {
    Signal,
    Error,
    SystemCall,
    TcpState,
}

impl Numbered {
    fn name(self, number: i64) -> Option<&'static str> {
        match self {
            Numbered::Signal => signal(number),
            Numbered::Error => errno(number),
            Numbered::SystemCall => syscalls::name(number),
            Numbered::TcpState => tcp_state(number),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct NameOf {
    of: Numbered,
    signature: Signature,
}

impl ScalarUDFImpl for NameOf {
    fn name(&self) -> &str {
        match self.of {
            Numbered::Signal => "signal_name",
            Numbered::Error => "errno_name",
            Numbered::SystemCall => "syscall_name",
            Numbered::TcpState => "tcp_state_name",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(numbers) = arrays[0].as_primitive_opt::<Int64Type>() else {
            return internal_err!("{} takes a bigint", self.name());
        };
        let mut names = StringViewBuilder::with_capacity(numbers.len());
        for number in numbers {
            names.append_option(number.and_then(|number| self.of.name(number)));
        }
        Ok(ColumnarValue::Array(Arc::new(names.finish())))
    }
}

/// Signals 1 to 31 as the kernel numbers them on all architectures but Alpha, MIPS, PA-RISC and SPARC.
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// States of a TCP connection from 1, as the kernel numbers them; the words are those of the state diagram.
const TCP_STATES: [&str; 12] = [
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
];

fn from_one(names: &'static [&'static str], number: i64) -> Option<&'static str> {
    names.get(usize::try_from(number.checked_sub(1)?).ok()?).copied()
}

fn signal(number: i64) -> Option<&'static str> {
    from_one(&SIGNALS, number)
}

fn tcp_state(number: i64) -> Option<&'static str> {
    from_one(&TCP_STATES, number)
}

/// System calls return errors below zero; both signs are understood.
fn errno(number: i64) -> Option<&'static str> {
    let number = number.checked_abs()?;
    ERRORS.binary_search_by_key(&number, |(number, _)| *number).ok().map(|index| ERRORS[index].1)
}

/// Error numbers of all architectures but Alpha, MIPS, PA-RISC and SPARC, in order.
#[rustfmt::skip]
const ERRORS: &[(i64, &str)] = &[
    (1, "EPERM"),
    (2, "ENOENT"),
    (3, "ESRCH"),
    (4, "EINTR"),
    (5, "EIO"),
    (6, "ENXIO"),
    (7, "E2BIG"),
    (8, "ENOEXEC"),
    (9, "EBADF"),
    (10, "ECHILD"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (14, "EFAULT"),
    (15, "ENOTBLK"),
    (16, "EBUSY"),
    (17, "EEXIST"),
    (18, "EXDEV"),
    (19, "ENODEV"),
    (20, "ENOTDIR"),
    (21, "EISDIR"),
    (22, "EINVAL"),
    (23, "ENFILE"),
    (24, "EMFILE"),
    (25, "ENOTTY"),
    (26, "ETXTBSY"),
    (27, "EFBIG"),
    (28, "ENOSPC"),
    (29, "ESPIPE"),
    (30, "EROFS"),
    (31, "EMLINK"),
    (32, "EPIPE"),
    (33, "EDOM"),
    (34, "ERANGE"),
    (35, "EDEADLK"),
    (36, "ENAMETOOLONG"),
    (37, "ENOLCK"),
    (38, "ENOSYS"),
    (39, "ENOTEMPTY"),
    (40, "ELOOP"),
    (42, "ENOMSG"),
    (43, "EIDRM"),
    (44, "ECHRNG"),
    (45, "EL2NSYNC"),
    (46, "EL3HLT"),
    (47, "EL3RST"),
    (48, "ELNRNG"),
    (49, "EUNATCH"),
    (50, "ENOCSI"),
    (51, "EL2HLT"),
    (52, "EBADE"),
    (53, "EBADR"),
    (54, "EXFULL"),
    (55, "ENOANO"),
    (56, "EBADRQC"),
    (57, "EBADSLT"),
    (59, "EBFONT"),
    (60, "ENOSTR"),
    (61, "ENODATA"),
    (62, "ETIME"),
    (63, "ENOSR"),
    (64, "ENONET"),
    (65, "ENOPKG"),
    (66, "EREMOTE"),
    (67, "ENOLINK"),
    (68, "EADV"),
    (69, "ESRMNT"),
    (70, "ECOMM"),
    (71, "EPROTO"),
    (72, "EMULTIHOP"),
    (73, "EDOTDOT"),
    (74, "EBADMSG"),
    (75, "EOVERFLOW"),
    (76, "ENOTUNIQ"),
    (77, "EBADFD"),
    (78, "EREMCHG"),
    (79, "ELIBACC"),
    (80, "ELIBBAD"),
    (81, "ELIBSCN"),
    (82, "ELIBMAX"),
    (83, "ELIBEXEC"),
    (84, "EILSEQ"),
    (85, "ERESTART"),
    (86, "ESTRPIPE"),
    (87, "EUSERS"),
    (88, "ENOTSOCK"),
    (89, "EDESTADDRREQ"),
    (90, "EMSGSIZE"),
    (91, "EPROTOTYPE"),
    (92, "ENOPROTOOPT"),
    (93, "EPROTONOSUPPORT"),
    (94, "ESOCKTNOSUPPORT"),
    (95, "EOPNOTSUPP"),
    (96, "EPFNOSUPPORT"),
    (97, "EAFNOSUPPORT"),
    (98, "EADDRINUSE"),
    (99, "EADDRNOTAVAIL"),
    (100, "ENETDOWN"),
    (101, "ENETUNREACH"),
    (102, "ENETRESET"),
    (103, "ECONNABORTED"),
    (104, "ECONNRESET"),
    (105, "ENOBUFS"),
    (106, "EISCONN"),
    (107, "ENOTCONN"),
    (108, "ESHUTDOWN"),
    (109, "ETOOMANYREFS"),
    (110, "ETIMEDOUT"),
    (111, "ECONNREFUSED"),
    (112, "EHOSTDOWN"),
    (113, "EHOSTUNREACH"),
    (114, "EALREADY"),
    (115, "EINPROGRESS"),
    (116, "ESTALE"),
    (117, "EUCLEAN"),
    (118, "ENOTNAM"),
    (119, "ENAVAIL"),
    (120, "EISNAM"),
    (121, "EREMOTEIO"),
    (122, "EDQUOT"),
    (123, "ENOMEDIUM"),
    (124, "EMEDIUMTYPE"),
    (125, "ECANCELED"),
    (126, "ENOKEY"),
    (127, "EKEYEXPIRED"),
    (128, "EKEYREVOKED"),
    (129, "EKEYREJECTED"),
    (130, "EOWNERDEAD"),
    (131, "ENOTRECOVERABLE"),
    (132, "ERFKILL"),
    (133, "EHWPOISON"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_names() {
        assert_eq!(signal(15), Some("SIGTERM"));
        assert_eq!(signal(0), None);
        assert_eq!(signal(32), None);
        assert_eq!(errno(-2), Some("ENOENT"));
        assert_eq!(errno(110), Some("ETIMEDOUT"));
        assert_eq!(errno(0), None);
        assert_eq!(errno(i64::MIN), None);
        assert_eq!(tcp_state(1), Some("ESTABLISHED"));
        assert_eq!(tcp_state(12), Some("NEW_SYN_RECV"));
    }

    #[test]
    fn errors_are_in_order() {
        assert!(ERRORS.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
