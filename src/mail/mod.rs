//! Floor 1: the mail standards. Bytes come in, types go out; nothing here keeps state, reads the
//! clock or knows of Postfix's hooks.

pub mod address;
pub mod arf;
pub mod attested;
pub mod authentication_results;
pub mod author;
pub mod dsn;
pub mod event;
mod field;
pub mod formats;
mod html;
pub mod letter;
pub mod message;
pub mod notice;
pub mod received;
pub mod reply;
pub mod signed;
pub mod status;
pub mod verp;
