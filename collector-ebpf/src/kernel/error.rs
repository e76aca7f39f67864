//! What can go wrong while reading a kernel's description of itself.

use std::io;
use std::path::PathBuf;

use probepilot_sql::{SqlError, SqlState};

/// Why a kernel's hooks or types cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel has no BTF, or we may not read it.
    #[error("cannot read the kernel's types at {}", path.display())]
    BtfUnreadable {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The BTF makes no sense.
    #[error("the kernel's types are malformed: {what}")]
    BtfMalformed {
        /// What is wrong, with the type's number.
        what: String,
    },
    /// tracefs is not mounted and could not be mounted.
    #[error("tracefs is not mounted at {} and could not be mounted", path.display())]
    TracefsMissing {
        /// Where it should be.
        path: PathBuf,
        /// Why mounting failed.
        source: io::Error,
    },
    /// Something in tracefs could not be read.
    #[error("cannot read {}", path.display())]
    TracefsUnreadable {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A tracepoint's format makes no sense.
    #[error("the format of a tracepoint at {} is malformed: {what}", path.display())]
    FormatMalformed {
        /// The file.
        path: PathBuf,
        /// The line and what is wrong with it.
        what: String,
    },
}

impl KernelError {
    /// What a user is told: 42501 when rights are missing, XX001 when the description is malformed, else 58030.
    pub fn to_sql(&self) -> SqlError {
        let (state, hint, source) = match self {
            KernelError::BtfUnreadable { source, .. } => {
                (SqlState::IO_ERROR, Some("Hooks of kind tp_btf need a kernel built with BTF."), Some(source))
            }
            KernelError::TracefsMissing { source, .. } => {
                (SqlState::IO_ERROR, Some("Mount it with: mount -t tracefs tracefs /sys/kernel/tracing"), Some(source))
            }
            KernelError::TracefsUnreadable { source, .. } => {
                (SqlState::IO_ERROR, Some("Tracepoints need root or the capability CAP_DAC_READ_SEARCH."), Some(source))
            }
            KernelError::BtfMalformed { .. } | KernelError::FormatMalformed { .. } => {
                (SqlState::DATA_CORRUPTED, None, None)
            }
        };
        let denied = source.is_some_and(|source| source.kind() == io::ErrorKind::PermissionDenied);
        let mut error = SqlError::new(if denied { SqlState::INSUFFICIENT_PRIVILEGE } else { state }, self.to_string());
        if let Some(source) = source {
            error = error.detail(format!("The system says: {source}."));
        }
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}
