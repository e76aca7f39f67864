//! Messages from and to a client's socket.
//!
//! What we send is written with pgwire's messages. What we receive is read here: pgwire's decoders trust the counts
//! inside a message and panic on a short one, and bad input must never panic.

mod inbox; // Messages from the client.
mod outbox; // Messages to the client.

pub use inbox::{Inbox, Message, Object, take_message, take_packet};
pub use outbox::{FLUSH_BYTES, Outbox, Severity};
