//! Makes what applications publish without a number part of the histories, exactly once.

mod marker;
mod message_key;
mod plain_messages;
